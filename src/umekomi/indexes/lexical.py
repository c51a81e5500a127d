"""The lexical leg of a hybrid index: every row's words beside its vector, scored by BM25 (Robertson et al. 1995).

A segment keeps how often each word stands in each row, and how long the rows are: no weights. What BM25 needs to know
of the whole index, its rows, their mean length and how many of them hold a word of the query, is counted among the rows
that live when a query is asked. So its scores are always those of the rows that are there: added ones and deleted ones
count from their commit on, nothing drifts, and nothing has to be recomputed at ``compact``.

Words are known by a hash of 64 bits: no vocabulary is learned, and a word that a later row brings is found as any
other. Two of a million words share a hash with a chance of one in forty million.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from umekomi.errors import WrongUse
from umekomi.indexes.packing import Shape, check_offsets
from umekomi.indexes.scans import ask_all, empty_hits, merge_hits
from umekomi.models.lexical import NORMALISATION, VARIANTS
from umekomi.parts.kernels.threads import run_all, shards
from umekomi.parts.ranking import Fusion
from umekomi.parts.words import NORMALISATIONS, TOKENIZERS, tokenizer

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from umekomi.indexes.reading import OpenSegment
    from umekomi.indexes.scans import Ranking

NAME = "bm25"
"""What the leg is called."""
FIELDS: dict[str, type] = {"words": str, "normalisation": str, "k1": float, "b": float, "variant": str}
ARRAYS = ("words", "postings", "holders", "counts", "lengths")


def settings(
    words: str, *, k1: float = 1.5, b: float = 0.75, variant: str = "lucene", fusion: str | None = None
) -> dict[str, Any]:
    """What an index says of its lexical leg: how texts are cut into ``words``, BM25's own settings, and how its ranking
    and that of the vectors become one, as :class:`~umekomi.parts.ranking.Fusion` reads it; None: by reciprocal rank, as
    it is published."""
    said = {"words": words, "normalisation": NORMALISATION, "k1": float(k1), "b": float(b), "variant": variant}
    return check(said | ({"fusion": fusion} if fusion is not None else {}))


def check(found: Any) -> dict[str, Any]:
    """The settings of a lexical leg, or ValueError for what cannot be."""
    if not isinstance(found, dict) or set(found) - {"fusion"} != set(FIELDS):
        raise ValueError(f"lexical: expected {', '.join(FIELDS)}, found {found!r:.80}")
    for name, kind in FIELDS.items() | {("fusion", str)}:
        if name in found and type(found[name]) is not kind:
            raise ValueError(f"lexical: {name}: expected {kind.__name__}, found {found[name]!r:.80}")
    if found["words"] not in TOKENIZERS or found["normalisation"] not in NORMALISATIONS:
        raise ValueError(f"lexical: no tokenizer {found['words']!r:.80} after {found['normalisation']!r:.80}")
    if found["variant"] not in VARIANTS:
        raise ValueError(f"lexical: variant: expected {', '.join(VARIANTS)}, found {found['variant']!r:.80}")
    if not (0 <= found["k1"] < 1e6 and 0 <= found["b"] <= 1):
        raise ValueError(f"lexical: expected k1 of 0 or more and b of 0 to 1, found {found['k1']} and {found['b']}")
    if "fusion" in found:
        Fusion.read(found["fusion"])
    return found


def shapes(rows: int) -> dict[str, Shape]:
    """The shapes of a segment's arrays: the words' hashes in rising order, where each one's list of rows begins, the
    rows and how often each holds the word; and every row's length in words."""
    return {
        "words": ("<u8", (None,)),
        "postings": ("<i8", (None,)),
        "holders": ("<i4", (None,)),
        "counts": ("<i4", (None,)),
        "lengths": ("<i4", (rows,)),
    }


def check_arrays(arrays: Mapping[str, Any]) -> None:
    """ValueError where a number in a segment's arrays would lead out of another."""
    if len(arrays["postings"]) != len(arrays["words"]) + 1:
        raise ValueError("postings: expected one more than words")
    check_offsets("postings", arrays["postings"], len(arrays["holders"]))
    if len(arrays["counts"]) != len(arrays["holders"]):
        raise ValueError("counts: expected as many as holders")


def arrays_of(texts: Sequence[str], about: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
    """A segment's arrays, of its rows' texts."""
    from sklearn.feature_extraction.text import CountVectorizer

    counter = CountVectorizer(analyzer=tokenizer(about["words"], about["normalisation"]))
    try:
        counts = counter.fit_transform(texts).tocoo()
        hashes = np.array([hash_of(word) for word in counter.get_feature_names_out()], np.uint64)
    except ValueError:  # no text holds a word
        none = np.zeros(0, np.int32)
        return _lists(none.astype(np.uint64), none, none, len(texts))
    return _lists(hashes[counts.col], counts.row.astype(np.int32), counts.data.astype(np.int32), len(texts))


def _lists(
    hashes: NDArray[np.uint64], holders: NDArray[np.int32], counts: NDArray[np.int32], rows: int
) -> dict[str, NDArray[Any]]:
    """Inverted lists of (word, row, how often) in any order."""
    order = np.lexsort((holders, hashes))
    hashes, holders, counts = hashes[order], holders[order], counts[order]
    words, starts = np.unique(hashes, return_index=True)
    lengths = np.bincount(holders, counts, rows).astype(np.int32)
    postings = np.append(starts, len(hashes)).astype(np.int64)
    return {"words": words, "postings": postings, "holders": holders, "counts": counts, "lengths": lengths}


def joined(segments: Sequence[OpenSegment], kept: Sequence[NDArray[np.int64]]) -> dict[str, NDArray[Any]]:
    """The arrays of one segment with the ``kept`` rows of several, in their order."""
    parts: list[tuple[Any, Any, Any]] = []
    first = 0
    for each, rows in zip(segments, kept, strict=True):
        sound(each)
        arrays = each.arrays
        place = np.full(each.segment.rows, -1, np.int32)
        place[rows] = np.arange(first, first + len(rows), dtype=np.int32)
        holders = place[arrays["holders"]]
        alive = holders >= 0
        hashes = np.repeat(arrays["words"], np.diff(arrays["postings"]))
        parts.append((hashes[alive], holders[alive], arrays["counts"][alive]))
        first += len(rows)
    hashes, holders, counts = (np.concatenate(column) for column in zip(*parts, strict=True))
    return _lists(hashes, holders, counts, first)


def sound(segment: OpenSegment) -> None:
    """DataError unless the lists' rows are the segment's: looked through before compiled code follows them."""

    def test(holders: Any) -> None:
        from umekomi.parts.kernels.graphs import lists_fault

        fault = lists_fault(segment.arrays["postings"], holders, segment.segment.rows)
        if fault >= 0:
            raise ValueError(f"list {fault:,} has rows that do not rise below {segment.segment.rows:,}")
        if len(segment.arrays["counts"]) and segment.arrays["counts"].min() < 1:
            raise ValueError("counts: expected whole numbers from 1 up")

    segment.prove("holders", test, False)


@lru_cache(maxsize=1 << 16)
def hash_of(word: str) -> int:
    """The number by which a word is known."""
    return int.from_bytes(hashlib.blake2b(word.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


class Leg:
    """The lexical leg of one commit."""

    def __init__(self, segments: Sequence[OpenSegment], firsts: Sequence[int], about: Mapping[str, Any]) -> None:
        self.segments, self.firsts, self.about = segments, firsts, about
        self._split = tokenizer(about["words"], about["normalisation"])
        self._known: tuple[int, float] | None = None

    def statistics(self) -> tuple[int, float]:
        """(rows that live, their mean length in words)."""
        if self._known is None:
            rows = sum(each.segment.rows - each.segment.dead for each in self.segments)
            total = sum(
                int(
                    each.arrays["lengths"][each.living == 1].sum()
                    if each.segment.dead
                    else each.arrays["lengths"].sum()
                )
                for each in self.segments
            )
            self._known = rows, total / max(rows, 1)
        return self._known

    def nearest(self, texts: Sequence[str], k: int, chosen: Sequence[Any] | None = None) -> Ranking:
        """(row numbers, BM25's scores), both ``[texts, k]``, best first; -1 and minus infinity where fewer rows share a
        word with a text, or are ``chosen``."""
        for each in self.segments:
            sound(each)
        parts = [each.part(None if chosen is None else chosen[place]) for place, each in enumerate(self.segments)]

        def ask(one: list[Any], among: int) -> Ranking:
            hits = [empty_hits(1, k)[::-1]]
            for segment, part, first, terms in zip(self.segments, parts, self.firsts, one, strict=True):
                if part.living and len(terms[0]):
                    rows, scores = self._searched(segment, part, terms, k, among)
                    hits.append((np.where(rows >= 0, rows + first, -1), scores))
            return merge_hits(hits, k)

        return ask_all(ask, [self._asked(text) for text in texts], k)

    def _asked(self, text: str) -> list[tuple[Any, Any, Any, Any]]:
        """For every segment the query's words that it has: (where their lists start, stop, their idf, how often the
        query has them)."""
        from bm25s.scoring import _select_idf_scorer

        counts = Counter(self._split(text))
        hashes = np.array([hash_of(word) for word in counts], np.uint64)
        amounts = np.array(list(counts.values()), np.float32)
        rows, _ = self.statistics()
        holding, places = np.zeros(len(hashes), np.int64), []
        for each in self.segments:
            words, postings = each.arrays["words"], each.arrays["postings"]
            at = np.searchsorted(words, hashes)
            there = at < len(words)
            there[there] = words[at[there]] == hashes[there]
            starts, stops = np.zeros(len(hashes), np.int64), np.zeros(len(hashes), np.int64)
            starts[there], stops[there] = postings[at[there]], postings[at[there] + 1]
            places.append((starts, stops))
            if each.segment.dead:
                holders = each.arrays["holders"]
                holding += [
                    int(each.living[holders[start:stop]].sum()) for start, stop in zip(starts, stops, strict=True)
                ]
            else:
                holding += stops - starts
        idf_of = _select_idf_scorer(self.about["variant"])
        idf = np.array([idf_of(int(count), N=rows) if count else 0 for count in holding], np.float32)
        return [
            (starts[use], stops[use], idf[use], amounts[use])
            for starts, stops in places
            for use in [(stops > starts) & (holding > 0)]
        ]

    def _searched(self, segment: OpenSegment, part: Any, terms: Any, k: int, threads: int) -> Ranking:
        from umekomi.parts.kernels.scan import lexical_search

        _, average = self.statistics()
        arrays, about = segment.arrays, self.about
        numbers = about["k1"], about["b"], average, about["k1"] + 1 if about["variant"] == "atire" else 1.0

        def some(low: int, high: int) -> Ranking:
            scores, rows = empty_hits(1, k)
            lexical_search(
                *terms,
                arrays["holders"],
                arrays["counts"],
                arrays["lengths"],
                *numbers,
                part.allowed,
                low,
                high,
                scores[0],
                rows[0],
            )
            return rows, scores

        return merge_hits(run_all(some, shards(segment.segment.rows, threads)), k)


def texts_of(items: Any, table: Any, text: str, folder: Any) -> list[str]:
    """What rows to be added say, for the lexical leg: the texts themselves, or the payload's column of texts."""
    if isinstance(items, (list, tuple)) and all(isinstance(item, str) for item in items):
        return list(items)
    if text and text in table.column_names:
        texts = table[text].to_pylist()
        if all(isinstance(each, str) or each is None for each in texts):
            return [each or "" for each in texts]
    raise WrongUse(
        f"add: {folder} has a lexical leg: expected texts, or vectors with their texts in the payload's "
        f"{f'column {text!r}' if text else 'column of texts, which the index does not name'}"
    )
