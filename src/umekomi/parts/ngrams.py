"""Word n-grams as features, hashed into buckets (Weinberger et al. 2009; Joulin et al. 2016)."""

from __future__ import annotations

from collections.abc import Sequence
from zlib import crc32

_MULTIPLIER, _MASK = 116049371, (1 << 64) - 1


def with_ngrams(words: Sequence[str], longest: int, buckets: int) -> list[str]:
    """The words, and a feature for every run of 2 to ``longest`` of them: its bucket's name.

    >>> with_ngrams(["new", "york"], 1, 10)
    ['new', 'york']
    >>> [feature.split("__")[1] for feature in with_ngrams(["new", "york", "city"], 3, 10)[3:]]
    ['ngram', 'ngram', 'ngram']
    """
    if longest < 2:
        return list(words)
    hashes = [crc32(word.encode()) for word in words]
    out = list(words)
    for i in range(len(words)):
        key = hashes[i]
        for j in range(i + 1, min(len(words), i + longest)):
            key = (key * _MULTIPLIER + hashes[j]) & _MASK
            out.append(f"__ngram__{key % buckets}")
    return out
