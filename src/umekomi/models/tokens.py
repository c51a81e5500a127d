"""What embedders with a tokenizer of their own know of a text's length: tokens, what is cut, and windows of a text that
is too long."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import numpy as np

from umekomi.errors import WrongUse
from umekomi.models.base import Encoded, TextFace
from umekomi.models.borders import border

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from tokenizers import Tokenizer

OVERLAP = 8
"""A window shares one part in so many with the window before it."""
BLOCK = 1024
SPECIAL = 4
"""Special tokens that a text may gain at most."""


RUN_TOKENS = 8
"""What running a batch costs beside its tokens, in tokens (minilm on one core: 1.7 ms, and .2 ms a token)."""


class TokenizedEmbedder(TextFace):
    """A text embedder that reads at most :meth:`reads` tokens of a text, its prompt and the special tokens among
    them."""

    costly = True

    @abstractmethod
    def reads(self, role: str | None = None) -> int | None:
        """Tokens of a text that reach the model in this role; None: all."""

    @abstractmethod
    def whole(self, role: str | None = None) -> AbstractContextManager[Tokenizer | None]:
        """This role's tokenizer without truncation or padding; None where the model has none that gives places in the
        text."""

    @abstractmethod
    def prompt(self, role: str | None) -> str | None:
        """What stands before a text in this role."""

    def lengths(self, items: Sequence[str], role: str | None = None) -> NDArray[np.int64]:
        out = np.zeros(len(items), np.int64)
        before = self.prompt(role) or ""
        with self.whole(role) as tokenizer, border(self.name):
            if tokenizer is None:
                return self._slow_lengths([before + text for text in items], role)
            for start in range(0, len(items), BLOCK):
                texts = [before + text for text in items[start : start + BLOCK]]
                out[start : start + len(texts)] = [len(encoding.ids) for encoding in tokenizer.encode_batch_fast(texts)]
        return out

    def _slow_lengths(self, texts: list[str], role: str | None) -> NDArray[np.int64]:
        raise WrongUse(f"{self.name} has no tokenizer to count with")

    def truncated(self, items: Sequence[str], role: str | None = None) -> NDArray[np.bool_]:
        out = np.zeros(len(items), bool)
        reads = self.reads(role)
        if reads is None:
            return out
        room = reads - SPECIAL - len(self.prompt(role) or "")
        # in ASCII a token is at least one character; elsewhere one character may be several tokens
        rest = [place for place, text in enumerate(items) if len(text) > room or not text.isascii()]
        out[rest] = self.lengths([items[place] for place in rest], role) > reads
        return out

    def _encode_with_counts(self, items: list[str], role: str | None, batch_size: int) -> Encoded:
        vectors = self.encode(items, output="dense", role=role, batch_size=batch_size)
        lengths = self.lengths(items, role)
        reads = self.reads(role) or np.iinfo(np.int64).max
        return Encoded(vectors, np.minimum(lengths, reads), lengths > reads)

    def windows(self, text: str, role: str | None = None) -> list[str]:
        """Pieces of a text that the model reads whole, each sharing an eighth with the one before; a word is cut only
        where it is longer than half a window. A text that fits is one piece."""
        reads = self.reads(role)
        if reads is None:
            return [text]
        with self.whole(role) as tokenizer, border(self.name):
            if tokenizer is None:
                raise WrongUse(
                    f"{self.name}: its tokenizer does not say where tokens stand in a text, so a long one cannot be "
                    "split (truncation 'chunk')"
                )
            before = self.prompt(role) or ""
            room = (
                reads - len(tokenizer.encode(before).ids) - 1
            )  # a piece's first word may come out a token longer than within the text
            if room < 8:
                raise WrongUse(
                    f"{self.name} reads {reads} tokens, of which the prompt for {role!r} leaves {room + 1}: too "
                    "few to split a text into"
                )
            encoding = tokenizer.encode(text, add_special_tokens=False)
            spans, words = encoding.offsets, encoding.word_ids
            if len(spans) <= room + 1:
                return [text]
            pieces = []
            start = 0
            while True:
                end = min(start + room, len(spans))
                if end < len(spans):
                    end = _whole_word(words, end, start + room // 2)
                pieces.append(text[spans[start][0] : spans[end - 1][1]])
                if end == len(spans):
                    return pieces
                start = max(_whole_word(words, end - room // OVERLAP, start + 1), start + 1)


class NetworkEmbedder(TokenizedEmbedder):
    """A text embedder whose network is here, in torch: it has layers to look at, and devices to run on."""

    model: Any

    @property
    def routes(self) -> frozenset[str]:
        """The tasks that it has layers of their own for."""
        return frozenset()

    @abstractmethod
    def on(self, devices: Sequence[str]) -> AbstractContextManager[NetworkEmbedder]:
        """This embedder on each of ``devices`` (``"cuda:0"``, ``"cpu"``), until the block ends."""


def _whole_word(words: Sequence[Any], place: int, least: int) -> int:
    """The nearest place at or before ``place`` where a word begins; ``place`` where there is none down to ``least``."""
    for at in range(place, least - 1, -1):
        if words[at] is None or words[at] != words[at - 1]:
            return at
    return place


def filled(widths: Any, budget: int, most: int, waste: int | None = RUN_TOKENS, step_waste: int = 0) -> Iterator[Any]:
    """Places of texts, longest first, batch by batch: each at most ``most`` texts and, padded to its longest, at most
    ``budget`` tokens (one text at least). A batch ends where one more text would leave more than ``waste`` tokens of
    padding, dearer than a batch more; None: padding costs nothing. ``step_waste`` is what a batch costs beside its
    tokens for every step it has, which one more batch has as many of as its longest text has tokens.

    >>> import numpy as np
    >>> [places.tolist() for places in filled(np.array([3, 9, 40, 4, 4]), 30, 8)]
    [[2], [1, 3], [4, 0]]
    >>> [places.tolist() for places in filled(np.array([10, 9, 2, 2]), 100, 8, waste=0, step_waste=1)]
    [[0, 1], [2, 3]]
    """
    order = np.argsort(-widths, kind="stable")
    lengths = widths[order].tolist()
    start = padding = 0
    for at, length in enumerate(lengths):
        padding += lengths[start] - length
        full = at - start >= most or (at - start + 1) * lengths[start] > budget
        if at > start and (full or (waste is not None and padding > waste + step_waste * length)):
            yield order[start:at]
            start, padding = at, 0
    if len(order):
        yield order[start:]


def packed(widths: Any, budget: int) -> Iterator[Any]:
    """The same where padding is not computed: batches of at most ``budget`` tokens (one text at least), padding left
    out, and of at most eight times as many with it.

    >>> import numpy as np
    >>> [places.tolist() for places in packed(np.array([3, 9, 40, 4, 4]), 48)]
    [[2], [1, 3, 4, 0]]
    """
    order = np.argsort(-widths, kind="stable")
    lengths = widths[order].tolist()
    start = total = 0
    for at, length in enumerate(lengths):
        if at > start and (total + length > budget or (at - start + 1) * lengths[start] > 8 * budget):
            yield order[start:at]
            start, total = at, 0
        total += length
    if len(order):
        yield order[start:]
