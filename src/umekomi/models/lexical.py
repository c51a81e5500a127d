"""BM25 and TF-IDF as sparse embedders: a text is a row of term weights, a match is their inner product."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from umekomi.errors import DataError, WrongUse
from umekomi.files import write_json
from umekomi.models.base import Open, TextFace
from umekomi.models.folders import read_floats, read_list, settings
from umekomi.parts.words import choose, tokenizer

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from scipy.sparse import csr_array


NORMALISATION = "NFKC"
"""What models learned now bring texts to; one learned before it has no such setting, and neither its vocabulary nor its
queries are changed."""
VARIANTS = ("lucene", "robertson", "atire")


class LexicalEmbedder(TextFace):
    """Term weights over a vocabulary learned from texts; words outside it count for nothing. ``normalisation``: what
    every text is brought to before it is split, while learning and after."""

    outputs = frozenset({"sparse"})

    def __init__(
        self,
        name: str,
        terms: Sequence[str],
        idf: NDArray[np.float32],
        words: str,
        card: dict[str, Any] | None = None,
        normalisation: str = "",
    ) -> None:
        from sklearn.feature_extraction.text import CountVectorizer

        super().__init__(name, card)
        self.terms, self.idf, self.words, self.normalisation = list(terms), idf, words, normalisation
        self.dimension = len(self.terms)
        if not np.isfinite(idf).all():
            raise DataError(f"{name}: expected finite weights of its terms, found NaN or infinity")
        if len(idf) != len(self.terms) or len(set(self.terms)) < len(self.terms) or not self.terms:
            raise DataError(
                f"{name}: expected distinct terms and a weight for each, found {len(self.terms)} terms, "
                f"{len(set(self.terms))} distinct, and {len(idf)} weights"
            )
        self._split = tokenizer(words, normalisation)
        self._counter = CountVectorizer(analyzer=self._split, vocabulary={term: i for i, term in enumerate(self.terms)})

    @staticmethod
    def learn(texts: Sequence[str], words: str | None) -> tuple[str, list[str], csr_array]:
        """(tokenizer's name, vocabulary, term counts of the texts in their normal form ``[n, terms]``)."""
        from sklearn.feature_extraction.text import CountVectorizer

        if not len(texts):
            raise DataError("learning a vocabulary needs at least one text; found zero rows")
        words = words or choose(texts)
        counter = CountVectorizer(analyzer=tokenizer(words, NORMALISATION))
        try:
            counts = counter.fit_transform(texts)
        except ValueError:
            raise DataError(f"the texts hold no word that the tokenizer {words!r} keeps") from None
        return words, counter.get_feature_names_out().tolist(), counts

    def counts(self, texts: Sequence[str]) -> csr_array:
        """How often each term occurs, CSR ``[n, terms]``."""
        from scipy.sparse import csr_array

        return csr_array(self._counter.transform(texts))

    def _write(self, folder: Path) -> dict[str, Any]:
        from safetensors.numpy import save_file

        save_file({"idf": self.idf}, folder / "terms.safetensors")
        write_json(folder / "terms.json", self.terms)
        return {"words": self.words} | ({"normalisation": self.normalisation} if self.normalisation else {})

    @staticmethod
    def _read_terms(folder: Path) -> tuple[list[str], Any]:
        return read_list(folder / "terms.json"), read_floats(folder / "terms.safetensors", "idf", 1)


class Bm25Embedder(LexicalEmbedder):
    """BM25 (Robertson et al. 1995) in any of bm25s's variants: documents carry the weights, queries the counts, so that
    their inner product is the score. bm25s's own formulas are used, and a test holds the two equal.

    Args:
        terms: the vocabulary.
        idf: float32 ``[terms]``.
        words: how texts are cut into words (:mod:`umekomi.parts.words`).
        average_length: words a document, of the documents learned from.
        k1: how soon more of a term says little more.
        b: how much a document's length counts, 0 to 1.
        variant: bm25s's name of the formula.
        name: of the model.
        card: what is known about it.
        normalisation: how texts were brought to one form before they were cut; empty: as models of earlier versions
            did.
    """

    kind = "bm25"
    metric = "dot"

    def __init__(
        self,
        terms: Sequence[str],
        idf: NDArray[np.float32],
        words: str,
        *,
        average_length: float,
        k1: float = 1.5,
        b: float = 0.75,
        variant: str = "lucene",
        name: str = "bm25",
        card: dict[str, Any] | None = None,
        normalisation: str = "",
    ) -> None:
        super().__init__(name, terms, idf, words, card, normalisation)
        if variant not in VARIANTS:
            raise WrongUse(
                f"bm25 variant: expected lucene, robertson or atire, found {variant!r} (bm25l and bm25+ score absent "
                "terms, which no sparse row can)"
            )
        if not (average_length > 0 and k1 >= 0 and 0 <= b <= 1):
            raise WrongUse(
                f"bm25: expected an average length above 0, k1 of 0 or more and b of 0 to 1, found {average_length}, "
                f"{k1} and {b}"
            )
        self.average_length, self.k1, self.b, self.variant = average_length, k1, b, variant

    @classmethod
    def fit(
        cls,
        texts: Sequence[str],
        *,
        words: str | None = None,
        k1: float = 1.5,
        b: float = 0.75,
        variant: str = "lucene",
    ) -> Bm25Embedder:
        """Learn document frequencies and the mean length from texts."""
        from bm25s.scoring import _select_idf_scorer

        if variant not in VARIANTS:
            raise WrongUse(
                f"bm25 variant: expected lucene, robertson or atire, found {variant!r} (bm25l and bm25+ score absent "
                "terms, which no sparse row can)"
            )
        words, terms, counts = cls.learn(texts, words)
        idf_of = _select_idf_scorer(variant)
        frequencies = np.bincount(counts.indices, minlength=len(terms))
        by_frequency = {frequency: idf_of(int(frequency), N=len(texts)) for frequency in np.unique(frequencies)}
        idf = np.array([by_frequency[frequency] for frequency in frequencies], np.float32)
        length = float(counts.sum() / len(texts))
        return cls(terms, idf, words, average_length=length, k1=k1, b=b, variant=variant, normalisation=NORMALISATION)

    def _encode(self, items: list[Any], *, output: str, role: str | None, batch_size: int, progress: bool) -> csr_array:
        from bm25s.scoring import _select_tfc_scorer
        from scipy.sparse import csr_array

        counts = self.counts(items)
        if role == "query":
            return counts.astype(np.float32)
        lengths = np.array([len(self._split(item)) for item in items], np.float64)
        row_lengths = np.repeat(lengths, np.diff(counts.indptr))
        tf = counts.data.astype(np.float64)
        weights = _select_tfc_scorer(self.variant)(tf, row_lengths, self.average_length, self.k1, self.b, None)
        data = (weights * self.idf[counts.indices]).astype(np.float32)
        return csr_array((data, counts.indices, counts.indptr), shape=counts.shape)

    def _write(self, folder: Path) -> dict[str, Any]:
        own = {"average_length": self.average_length, "k1": self.k1, "b": self.b, "variant": self.variant}
        return super()._write(folder) | own

    @classmethod
    def _read(cls, folder: Path, head: dict[str, Any], open: Open) -> Bm25Embedder:
        own = settings(
            folder, head, words=str, average_length=float, k1=float, b=float, variant=str, normalisation_=str
        )
        return cls(*cls._read_terms(folder), **own)


class TfIdfEmbedder(LexicalEmbedder):
    """scikit-learn's TF-IDF (smooth idf, rows of length one), compared by cosine.

    Args:
        terms: the vocabulary.
        idf: float32 ``[terms]``.
        words: how texts are cut into words (:mod:`umekomi.parts.words`).
        sublinear: takes 1 + log of a count for it.
        name: of the model.
        card: what is known about it.
        normalisation: how texts were brought to one form before they were cut; empty: as models of earlier versions
            did.
    """

    kind = "tfidf"

    def __init__(
        self,
        terms: Sequence[str],
        idf: NDArray[np.float32],
        words: str,
        *,
        sublinear: bool = True,
        name: str = "tfidf",
        card: dict[str, Any] | None = None,
        normalisation: str = "",
    ) -> None:
        from sklearn.feature_extraction.text import TfidfTransformer

        super().__init__(name, terms, idf, words, card, normalisation)
        self.sublinear = sublinear
        self._weigh = TfidfTransformer(sublinear_tf=sublinear)
        self._weigh.idf_ = idf

    @classmethod
    def fit(cls, texts: Sequence[str], *, words: str | None = None, sublinear: bool = True) -> TfIdfEmbedder:
        """Learn the vocabulary and inverse document frequencies from texts."""
        from sklearn.feature_extraction.text import TfidfTransformer

        words, terms, counts = cls.learn(texts, words)
        idf = TfidfTransformer().fit(counts).idf_.astype(np.float32)
        return cls(terms, idf, words, sublinear=sublinear, normalisation=NORMALISATION)

    def _encode(self, items: list[Any], *, output: str, role: str | None, batch_size: int, progress: bool) -> csr_array:
        from scipy.sparse import csr_array

        counts = self.counts(items)  # scikit-learn weighs no rows by an error
        return csr_array(self._weigh.transform(counts) if items else counts).astype(np.float32)

    def _write(self, folder: Path) -> dict[str, Any]:
        return super()._write(folder) | {"sublinear": self.sublinear}

    @classmethod
    def _read(cls, folder: Path, head: dict[str, Any], open: Open) -> TfIdfEmbedder:
        return cls(*cls._read_terms(folder), **settings(folder, head, words=str, sublinear=bool, normalisation_=str))
