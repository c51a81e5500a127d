"""BM25: S. Robertson, S. Walker, S. Jones, M. Hancock-Beaulieu, M. Gatford, "Okapi at TREC-3" (TREC 1995).

A document's weight for a term: idf(t) · tf / (tf + k1 · (1 - b + b · |d| / mean |d|)); a query scores the sum over its
terms. The variants differ in idf and in a constant (Kamphuis et al., ECIR 2020); ``lucene`` is the default, as in
bm25s.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from umekomi.fields import AtLeast, Within
from umekomi.models.lexical import Bm25Embedder
from umekomi.recipes import Paper, Recipe, Start
from umekomi.run import Run

if TYPE_CHECKING:
    import pyarrow as pa


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
    learns: ClassVar[tuple[str, ...]] = ("texts",)
    quick: ClassVar[bool] = True

    k1: Annotated[float, AtLeast(0)] = 1.5
    b: Annotated[float, Within(0, 1, "[]")] = 0.75
    variant: Literal["lucene", "robertson", "atire"] = "lucene"
    tokenizer: str | None = None

    def learn(self, data: pa.Table, start: Start, run: Run) -> Bm25Embedder:
        texts = data["text"].to_pylist()
        embedder = Bm25Embedder.fit(texts, words=self.tokenizer, k1=self.k1, b=self.b, variant=self.variant)
        embedder.card = {"tokenizer": embedder.words}
        return embedder
