"""BM25: S. Robertson, S. Walker, S. Jones, M. Hancock-Beaulieu, M. Gatford, "Okapi at TREC-3" (TREC 1995).

A document's weight for a term: idf(t) · tf / (tf + k1 · (1 - b + b · |d| / mean |d|)); a query scores the sum over its
terms. The variants differ in idf and in a constant (Kamphuis et al., ECIR 2020); ``lucene`` is the default, as in
bm25s.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from umekomi.contracts import Paper, Recipe
from umekomi.data.views import texts
from umekomi.models.lexical import Bm25Embedder


@dataclass(frozen=True)
class Bm25(Recipe):
    """Term weights that saturate with frequency and fade with length: the baseline that dense retrieval must beat.

    Learns document frequencies from the texts given, in a comparison the corpus to search. ``tokenizer`` None works out
    whether the texts are Japanese (fugashi with unidic-lite, or character bigrams where it is not installed).
    """

    name: ClassVar[str] = "bm25"
    paper: ClassVar[Paper] = Paper(
        "Okapi at TREC-3", "Robertson, Walker, Jones, Hancock-Beaulieu & Gatford", 1995, "TREC-3"
    )
    columns: ClassVar[tuple[str, ...]] = ("text",)

    k1: float = 1.5
    b: float = 0.75
    variant: str = "lucene"
    tokenizer: str | None = None

    def fit(
        self,
        data: Any,
        *,
        start: Any = None,
        seed: int = 0,
        checkpoint: str | Path | None = None,
        progress: bool = False,
    ) -> Bm25Embedder:
        found = texts(data, self.name)
        embedder = Bm25Embedder.fit(found, words=self.tokenizer, k1=self.k1, b=self.b, variant=self.variant)
        embedder.card = {
            "recipe": self.settings(),
            "paper": self.paper.cite(),
            "tokenizer": embedder.words,
            "licence": "Apache-2.0",
        }
        return embedder
