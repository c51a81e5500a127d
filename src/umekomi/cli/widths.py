"""How a table comes into a terminal's width with nothing cut off: which columns stand together, and how long names are
shortened."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence

EDGES, GAP = 2, 2
"""Columns around a table, and between two of its columns."""
NAME, LEAST, HEAD, WRAPPED = 28, 8, 24, 20
"""A row's name keeps so many columns, or in a terminal too narrow for it at least the second; a head the third, and
cells on several lines the fourth."""
ADDRESS = re.compile(r"@https?://.*?(?=(?:[+-]prompt)?(?:@\d+)?(?::tuned)?(?:/\d+)?$)")
"""Where a service stands, in one part of a candidate's name."""
FOLDERS = re.compile(r"(?:[^>+/]*/)+(?=[^/>+]*[^\d/>+])")
"""All of a path but its end, which is no chunk's size."""


def terminal_width() -> int:
    """Columns of the terminal, or what ``COLUMNS`` says; 100 where there is none."""
    return shutil.get_terminal_size((100, 24)).columns


def fit(
    widths: Sequence[int], order: Sequence[int], wide: int, names: int | None = None, most: int | None = None
) -> tuple[int, list[list[int]]]:
    """(how wide the rows' names may be, the columns of each table from left to right): one table where all columns fit
    beside whole names, else as many as it takes or may be, and names as wide as that leaves room for.

    Args:
        widths: what each column takes; the first one names the rows and stands in every table.
        order: the others, the most important first.
        wide: what there is.
        names: how wide the rows' names may be, where that is settled.
        most: how many tables there may be; the least important columns are in none then.
    """

    def split(limit: int) -> list[list[int]]:
        whole = wide - EDGES - min(widths[0], limit)
        tables: list[list[int]] = [[]]
        room = whole
        for column in order:
            if tables[-1] and GAP + widths[column] > room:
                tables.append([])
                room = whole
            tables[-1].append(column)
            room -= GAP + widths[column]
        return [sorted(each) for each in tables[:most]]

    if names is not None:
        return min(names, widths[0]), split(names)
    if EDGES + widths[0] + sum(GAP + widths[column] for column in order) <= wide:
        return widths[0], split(widths[0])
    widest = max((widths[column] for column in order), default=-GAP)
    least = min(widths[0], max(LEAST, min(NAME, wide - EDGES - GAP - widest)))
    tables = split(least)
    room = min(wide - EDGES - sum(GAP + widths[column] for column in each) for each in tables)
    return min(widths[0], max(least, room)), tables


def shortened(texts: Sequence[str], limits: Sequence[int], dots: str = "…") -> list[str]:
    """The texts, those that are wider than their limit shortened to it: services' addresses and folders go first, then
    the middle. Two that differ stay different.

    >>> shortened(["minilm", "openai:bge-m3@http://localhost:11434/v1@64", "a-name-that-has-no-end"], [18] * 3)
    ['minilm', 'openai:bge-m3@…@64', 'a-name-th…s-no-end']
    """
    from rich.cells import cell_len

    kept = {text for text, limit in zip(texts, limits, strict=True) if cell_len(text) <= limit}
    short = {text: text for text in kept}
    taken = set(kept)
    for text, limit in zip(texts, limits, strict=True):
        if text in short:
            continue
        bare = ">".join(ADDRESS.sub(f"@{dots}", part) for part in text.split(">"))
        if cell_len(bare) > limit:
            bare = FOLDERS.sub(f"{dots}/", bare)
        tried, number = bare if cell_len(bare) <= limit else _without_middle(bare, limit, dots), 1
        while tried in taken:
            number += 1
            mark = f"{dots}{number}"
            tried = bare.replace(dots, mark, 1) if dots in bare else text
            tried = tried if cell_len(tried) <= limit else _without_middle(bare, limit, mark)
        short[text] = tried
        taken.add(tried)
    return [short[text] for text in texts]


def _without_middle(text: str, limit: int, mark: str) -> str:
    """Both ends of a text, ``limit`` columns with the mark between them."""
    from rich.cells import cell_len, set_cell_size

    left = max(0, limit - cell_len(mark))
    head, tail = set_cell_size(text, (left + 1) // 2), set_cell_size(text[::-1], left // 2)[::-1]
    return f"{head.rstrip()}{mark}{tail.lstrip()}"
