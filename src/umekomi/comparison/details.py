"""Behind one figure a candidate: groups of items, the items that one of two candidates won, and how many more it would
take to tell two of them apart."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from umekomi.data import RetrievalData
from umekomi.errors import DataError, WrongUse
from umekomi.statistics import Interval, holm, interval, items_needed, p_value, paired_error, paired_interval

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from umekomi.comparison.leaderboard import Row
    from umekomi.tasks import Task

MOST_GROUPS = 30
LENGTH = "length"
"""The column that need not be there: how many words an item has, in thirds."""
SHOWN = 20
"""Items that each side of a duel lists."""
HANDFUL = 5
"""Differences above which a correction for their number is shown."""


@dataclass(frozen=True)
class Group:
    """Items that share a value of a column: every candidate's figure on them, and its paired difference to the best
    baseline's."""

    name: str
    items: int
    intervals: Mapping[str, Interval]
    differences: Mapping[str, Interval]
    note: str = ""


@dataclass(frozen=True)
class Duel:
    """The best two candidates item by item: how often each is ahead, and where by most."""

    first: str
    second: str
    won: int
    lost: int
    even: int
    most_won: Sequence[Mapping[str, Any]]
    most_lost: Sequence[Mapping[str, Any]]


def item_texts(task: Task, count: int) -> list[str] | None:
    """What each judged item says, in the order of the values; None where a task's values are no items of its data."""
    data = getattr(task, "data", None)
    if isinstance(data, RetrievalData):
        texts = dict(zip(data.queries["id"].to_pylist(), data.queries["text"].to_pylist(), strict=True))
        order = list(data.judgements())
        return [texts[query] for query in order] if len(order) == count else None
    if data is None or data.num_rows != count:
        return None
    names = [name for name in ("text", "sentence1", "sentence2") if name in data.column_names]
    names = names or [name for name in data.column_names if name != "target"]
    return [" / ".join(str(row[name]) for name in names) for row in data.select(names).to_pylist()]


def column_of(task: Task, column: str, count: int) -> list[str]:
    """The group of every judged item: of a retrieval set the column of its queries, else of each query's best
    document; of other data the row's own."""
    data = getattr(task, "data", None)
    values: list[Any] | None = None
    known: list[str] = []
    if isinstance(data, RetrievalData):
        order, judged = list(data.judgements()), data.judgements()
        known = [
            name for table in (data.queries, data.corpus) for name in table.column_names if name not in ("id", "text")
        ]
        if len(order) == count and column in data.queries.column_names:
            own = dict(zip(data.queries["id"].to_pylist(), data.queries[column].to_pylist(), strict=True))
            values = [own[query] for query in order]
        elif len(order) == count and column in data.corpus.column_names:
            own = dict(zip(data.corpus["id"].to_pylist(), data.corpus[column].to_pylist(), strict=True))
            values = [own[max(judged[query], key=lambda d, q=query: judged[q][d])] for query in order]  # type: ignore[misc]
    elif data is not None:
        known = list(data.column_names)
        if data.num_rows == count and column in data.column_names:
            values = data[column].to_pylist()
    if values is None and column == LENGTH:
        texts = item_texts(task, count)
        if texts is not None:
            values = [_length(text) for text in texts]
    if values is None:
        listed = ", ".join(dict.fromkeys([*known, LENGTH]))
        raise WrongUse(f"no column {column!r} beside what is judged on; there are: {listed}", parameter="by")
    return _named(values, column)


def _length(text: str) -> int:
    """Words, or characters of a text without spaces."""
    return len(text.split()) if text.count(" ") * 20 > len(text) or len(text) < 20 else len(text)


def _named(values: Sequence[Any], column: str) -> list[str]:
    """A group's name for every item: the value itself, or of many numbers the third that it is in."""
    distinct = {value for value in values if value is not None}
    numbers = all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in distinct)
    if numbers and len(distinct) > 8:
        array = np.array([np.nan if value is None else value for value in values], np.float64)
        low, high = np.nanquantile(array, [1 / 3, 2 / 3])
        return [
            "nothing"
            if np.isnan(v)
            else f"up to {low:g}"
            if v <= low
            else f"up to {high:g}"
            if v <= high
            else f"above {high:g}"
            for v in array
        ]
    if len(distinct) > MOST_GROUPS:
        raise DataError(
            f"column {column!r}: expected at most {MOST_GROUPS} groups, found {len(distinct):,} different values"
        )
    return ["nothing" if value is None else str(value) for value in values]


def groups(rows: Sequence[Row], names: Sequence[str], baseline: Row | None) -> list[Group]:
    """Every candidate within each group."""
    place: dict[str, list[int]] = {}
    for number, name in enumerate(names):
        place.setdefault(name, []).append(number)
    out = []
    thirds = re.compile(r"(up to|above) (\S+)")
    numeric = all(thirds.fullmatch(name) or name == "nothing" for name in place)

    def rank(each: tuple[str, list[int]]) -> tuple[float, float]:
        """Thirds from the lowest to the highest, other groups from the largest to the smallest."""
        found = thirds.fullmatch(each[0]) if numeric else None
        return (float(found[2]), found[1] == "above") if found else (-len(each[1]), 0)

    for name, numbers in sorted(place.items(), key=rank):
        picked = np.array(numbers)

        def of(row: Row, picked: NDArray[np.int64] = picked) -> Any:
            return row.score.values[picked]

        intervals, differences = {}, {}
        for row in rows:
            intervals[row.candidate] = interval(of(row), row.statistic)
            if baseline is not None and row is not baseline and len(numbers) > 1:
                differences[row.candidate] = paired_interval(of(row), of(baseline), row.statistic)
        note = "one item: a figure, no interval" if len(numbers) == 1 else ""
        out.append(Group(name, len(numbers), intervals, differences, note))
    return out


def duel(task: Task, rows: Sequence[Row], by_item: Callable[[Row], NDArray[np.float64]]) -> Duel | None:
    """The first two rows, which are the best, item by item."""
    if len(rows) < 2:
        return None
    first, second = by_item(rows[0]), by_item(rows[1])
    texts = item_texts(task, len(first))
    gap = first - second
    order = np.argsort(-gap, kind="stable")

    def listed(places: Sequence[int]) -> list[dict[str, Any]]:
        return [] if texts is None else [
            {"item": texts[n], "first": float(first[n]), "second": float(second[n])} for n in places
        ]  # fmt: skip

    return Duel(
        rows[0].candidate,
        rows[1].candidate,
        int((gap > 0).sum()),
        int((gap < 0).sum()),
        int((gap == 0).sum()),
        listed([int(n) for n in order[:SHOWN] if gap[n] > 0]),
        listed([int(n) for n in order[::-1][:SHOWN] if gap[n] < 0]),
    )


def corrected(rows: Sequence[Row], baseline: Row | None) -> dict[str, float]:
    """The p of each candidate's difference to the best baseline, corrected for their number by Holm."""
    others = [row for row in rows if baseline is not None and row is not baseline]
    if baseline is None or not others:
        return {}
    found = []
    for row in others:
        a, b = row.score.values, baseline.score.values
        error = paired_error(a, b, row.statistic)
        found.append(p_value(row.score.value - baseline.score.value, error, len(a)))
    return {row.candidate: p for row, p in zip(others, holm(found), strict=True)}


def undecided(rows: Sequence[Row], most: int = 3) -> list[str]:
    """Of the best candidate and those that cannot be told from it: how many more items would settle the difference."""
    out = []
    for row in rows[1:]:
        top = rows[0]
        gap = paired_interval(top.score.values, row.score.values, row.statistic)
        if not gap.includes_zero:
            continue
        items = len(row.values)
        needed = items_needed(gap.value, paired_error(top.score.values, row.score.values, row.statistic), items)
        if needed is None or needed > 1_000_000:
            more = "no number of items that one could judge would settle it"
        else:
            more = f"about {max(1, needed - items):,} more items like these would settle a difference of this size"
        out.append(
            f"{top.candidate} and {row.candidate} cannot be told apart on {items:,} items "
            f"({gap.value:+.3f} [{gap.low:+.3f}, {gap.high:+.3f}]): {more}"
        )
        if len(out) == most:
            break
    return out
