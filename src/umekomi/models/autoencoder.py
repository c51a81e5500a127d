"""A document autoencoder as a model: its vectors, and the documents that it writes again from them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from umekomi.errors import DataError, WrongUse
from umekomi.models.base import as_items
from umekomi.models.borders import border
from umekomi.models.sequence import PLACES, SequenceEmbedder, check_settings
from umekomi.models.tokens import filled
from umekomi.models.words import WordReader
from umekomi.parts.layers.documents import SENTENCE_END, DocumentAutoencoder
from umekomi.parts.words import split_sentences
from umekomi.progress import Progress

if TYPE_CHECKING:
    from numpy.typing import NDArray


def document_network(by: str, *, rows: int, inputs: int, settings: dict[str, Any]) -> DocumentAutoencoder:
    """A network of the settings that :meth:`DocumentAutoencoder.settings` gave; one error for those of none."""
    check_settings(by, DocumentAutoencoder, settings)
    if min(rows, inputs) < 1 or rows < 3:
        raise DataError(f"{by}: expected three words or more of some numbers, found {rows} of {inputs}")
    try:
        return DocumentAutoencoder(rows, inputs, **settings)
    except (WrongUse, RuntimeError, TypeError) as error:
        raise DataError(f"{by}: {error}") from None


class DocumentReader(WordReader):
    """A text as the words of its sentences, each with a mark behind it; a sentence without a word is none."""

    def read(self, texts: Sequence[str]) -> list[NDArray[np.int64]]:
        """int64 ``[words]`` of each text."""
        return self.read_documents([split_sentences(text) for text in texts])

    def read_documents(self, documents: Sequence[Sequence[str]]) -> list[NDArray[np.int64]]:
        """The same of sentences that are known."""
        rows = iter(super().read([sentence for document in documents for sentence in document]))
        out = []
        for document in documents:
            own = [row for row in (next(rows) for _ in document) if len(row) > 1]
            out.append(np.concatenate(own) if own else np.zeros(0, np.int64))
        return out


class AutoencoderEmbedder(SequenceEmbedder):
    """Vectors of whole documents, and :meth:`reconstruct`."""

    kind = "autoencoder"

    def reconstruct(
        self,
        texts: Any,
        *,
        beam: int = 1,
        longest: float = 1.5,
        normalise: float = 1.0,
        progress: bool = False,
    ) -> list[str]:
        """The texts as they are written again from their vectors, a sentence a line, words and marks between spaces;
        empty of an empty one.

        ``beam`` texts are kept while it writes (1: the best next word each time), compared by the sum of the logarithms
        of their words' chances over their length to the power ``normalise``; ``longest`` times as many words as were
        read are written at most (1.5: the released programs').
        """
        if beam < 1:
            raise WrongUse(f"{self.name}, beam: expected 1 or more, found {beam}")
        if not longest > 0:
            raise WrongUse(f"{self.name}, longest: expected a number above zero, found {longest}")
        items = as_items(texts)
        self._check_items(items, "text")
        rows = self.reader.read(items)
        lengths = np.array([len(row) for row in rows], np.int64)
        out = [""] * len(items)
        with Progress(f"{self.name}: writing", len(items), "texts", progress) as bar:
            for places in filled(lengths, max(PLACES // beam, 1), len(items), waste=None):
                some = places[lengths[places] > 0]
                if len(some):
                    limits = np.maximum(np.ceil(lengths[some] * longest), 1).astype(np.int64)
                    with border(self.name):
                        written = self.network.write(
                            *self._padded([rows[place] for place in some]),
                            beam=beam,
                            longest=limits,
                            normalise=normalise,
                        )
                    for place, row in zip(some.tolist(), written, strict=True):
                        out[place] = self._text(row)
                bar.advance(len(places))
        return out

    def _text(self, row: NDArray[np.int64]) -> str:
        ends = np.flatnonzero(row == SENTENCE_END)
        parts = np.split(row, ends + 1)
        lines = [" ".join(self.reader.names(part[part != SENTENCE_END])) for part in parts]
        return "\n".join(line for line in lines if line)
