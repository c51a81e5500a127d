"""Words as rows of their bytes, as ELMo reads them (Peters+ 2018). Light."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

BEGIN, END, BEGIN_WORD, END_WORD, PADDING = 256, 257, 258, 259, 260
"""Beside the 256 bytes; as read they are one higher, since 0 is no character."""
CHARACTERS = 262
"""Rows of a table for all of them and 0."""


def word_characters(word: str, longest: int) -> NDArray[np.int64]:
    """int64 ``[longest]``: the begin of a word, its UTF-8 bytes, as many as have place, its end, padding.

    >>> word_characters("né", 7).tolist()
    [259, 111, 196, 170, 260, 261, 261]
    """
    return _around(list(word.encode("utf-8", "replace")[: longest - 2]), longest)


def marker_characters(marker: int, longest: int) -> NDArray[np.int64]:
    """The same of what stands before (:data:`BEGIN`) and behind (:data:`END`) a sentence."""
    return _around([marker], longest)


def _around(inner: list[int], longest: int) -> NDArray[np.int64]:
    row = np.full(longest, PADDING, np.int64)
    row[: len(inner) + 2] = [BEGIN_WORD, *inner, END_WORD]
    return row + 1
