"""TF-IDF: K. Spärck Jones, "A statistical interpretation of term specificity and its application in retrieval"
(Journal of Documentation 1972); G. Salton, C. Buckley, "Term-weighting approaches in automatic text retrieval" (1988).

Weight (1 + ln tf) · (1 + ln((1 + n) / (1 + df))), rows of length one, compared by cosine: scikit-learn's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from umekomi.models.lexical import TfIdfEmbedder
from umekomi.recipes import Paper, Recipe, Start
from umekomi.run import Run

if TYPE_CHECKING:
    import pyarrow as pa


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
    learns: ClassVar[tuple[str, ...]] = ("texts",)
    quick: ClassVar[bool] = True

    sublinear: bool = True
    tokenizer: str | None = None

    def learn(self, data: pa.Table, start: Start, run: Run) -> TfIdfEmbedder:
        embedder = TfIdfEmbedder.fit(data["text"].to_pylist(), words=self.tokenizer, sublinear=self.sublinear)
        embedder.card = {"tokenizer": embedder.words}
        return embedder
