"""Texts as numbers: every word of every text in one array. What learned tables train on and encode by."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from umekomi.errors import DataError
from umekomi.parts.words import choose, tokenizer

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Tokens(NamedTuple):
    """``ids`` int32: word numbers of all texts in a row; text i owns ``ids[offsets[i]:offsets[i + 1]]``; ``names[id]``
    occurs ``counts[id]`` times. Frequent words come first."""

    ids: NDArray[np.int32]
    offsets: NDArray[np.int64]
    names: list[str]
    counts: NDArray[np.int64]

    def text(self, index: int) -> list[str]:
        """The words of one text."""
        return [self.names[i] for i in self.ids[self.offsets[index] : self.offsets[index + 1]]]


def split_words(texts: Sequence[str], how: str) -> pa.ChunkedArray:
    """A pyarrow list array: the words of each text. ``plain``: lower-cased runs of letters and digits; ``spaces``: what
    stands between spaces, as it is; ``auto``: plain, or fugashi's surfaces (else bigrams) for Japanese; or a
    tokenizer's name."""
    how = resolve_tokenizer(texts, how)
    array = texts if isinstance(texts, (pa.Array, pa.ChunkedArray)) else pa.array(list(texts), pa.large_string())
    if how == "plain":
        array = pc.replace_substring_regex(pc.utf8_lower(array), r"[^\pL\pN\pM]+", " ")
    elif how != "spaces":
        cut = tokenizer(how)
        return pa.array([cut(text) for text in array.to_pylist()], pa.large_list(pa.large_string()))
    return pc.split_pattern(pc.utf8_trim_whitespace(pc.replace_substring_regex(array, r"\s+", " ")), " ")


def resolve_tokenizer(texts: Sequence[str], how: str) -> str:
    """The tokenizer that ``auto`` means for these texts, by name, so that a saved model splits as it did while
    learning."""
    return {"words": "plain", "fugashi": "surfaces"}.get(choose(texts), "bigrams") if how == "auto" else how


def count_tokens(
    words: pa.Array | pa.ChunkedArray,
    min_count: int = 1,
    who: str = "this",
    names: Sequence[str] | None = None,
    keep: str = "",
) -> Tokens:
    """Numbers for a list array of words (:func:`split_words`, or a user's own lists). Words rarer than ``min_count``
    are left out, but for those that begin with ``keep``; with ``names`` given, words that are not among them."""
    if isinstance(words, pa.ChunkedArray):
        words = words.combine_chunks()
    flat = words.flatten()
    flat = flat.combine_chunks() if isinstance(flat, pa.ChunkedArray) else flat
    lengths = np.asarray(pc.fill_null(pc.list_value_length(words), 0), np.int64)
    empty = pc.equal(flat, "")
    coded = pc.dictionary_encode(pc.if_else(empty, pa.scalar(None, flat.type), flat))
    coded = coded.combine_chunks() if isinstance(coded, pa.ChunkedArray) else coded
    spellings = coded.dictionary.to_pylist()
    raw = np.asarray(pc.fill_null(coded.indices, -1), np.int64)
    counts = np.bincount(raw[raw >= 0], minlength=len(spellings))
    if names is None:
        kept = np.argsort(-counts, kind="stable")
        kept = kept[
            (counts[kept] >= min_count) | (np.array([bool(keep) and spellings[i].startswith(keep) for i in kept], bool))
        ]
        chosen = [spellings[i] for i in kept]
        numbers = np.full(len(spellings) + 1, -1, np.int32)
        numbers[kept] = np.arange(len(kept), dtype=np.int32)
    else:
        chosen = list(names)
        rows = {name: row for row, name in enumerate(chosen)}
        numbers = np.array([*(rows.get(name, -1) for name in spellings), -1], np.int32)
    if not chosen:
        raise DataError(f"{who}: expected words that occur {min_count} times or more, found none among {len(flat):,}")
    ids = numbers[raw]
    texts_of = np.repeat(np.arange(len(lengths)), lengths)
    inside = ids >= 0
    offsets = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(np.bincount(texts_of[inside], minlength=len(lengths)), out=offsets[1:])
    ids = ids[inside]
    return Tokens(ids, offsets, chosen, np.bincount(ids, minlength=len(chosen)))
