"""TF-IDF: K. Spärck Jones, "A statistical interpretation of term specificity and its application in retrieval"
(Journal of Documentation 1972); G. Salton, C. Buckley, "Term-weighting approaches in automatic text retrieval" (1988).

Weight (1 + ln tf) · (1 + ln((1 + n) / (1 + df))), rows of length one, compared by cosine: scikit-learn's.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from umekomi.contracts import Paper, Recipe
from umekomi.data.views import texts
from umekomi.models.lexical import TfIdfEmbedder


@dataclass(frozen=True)
class TfIdf(Recipe):
    """Words weighted by how rare they are; on small corpora often hard to beat.

    Learns from the texts given, in a comparison the corpus to search.
    """

    name: ClassVar[str] = "tfidf"
    paper: ClassVar[Paper] = Paper(
        "A statistical interpretation of term specificity and its application in retrieval",
        "Spärck Jones",
        1972,
        "Journal of Documentation 28",
    )
    columns: ClassVar[tuple[str, ...]] = ("text",)

    sublinear: bool = True
    tokenizer: str | None = None

    def fit(
        self,
        data: Any,
        *,
        start: Any = None,
        seed: int = 0,
        checkpoint: str | Path | None = None,
        progress: bool = False,
    ) -> TfIdfEmbedder:
        embedder = TfIdfEmbedder.fit(texts(data, self.name), words=self.tokenizer, sublinear=self.sublinear)
        embedder.card = {
            "recipe": self.settings(),
            "paper": self.paper.cite(),
            "tokenizer": embedder.words,
            "licence": "Apache-2.0",
        }
        return embedder
