"""How results are printed: a table for people, JSON for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from umekomi.cli.widths import EDGES, GAP, HEAD, WRAPPED, fit, shortened, terminal_width


def as_json(value: object) -> None:
    """One JSON document on standard output, strict: NaN is null. Where the output is not UTF-8, everything beyond ASCII
    is escaped: it is the same document in any encoding."""
    from umekomi.files import plain

    strict = plain(value)
    text = json.dumps(strict, ensure_ascii=False, indent=2, allow_nan=False)
    if (getattr(sys.stdout, "encoding", None) or "").lower().replace("_", "-") not in ("utf-8", "utf8", "utf-8-sig"):
        text = json.dumps(strict, indent=2, allow_nan=False)
    try:
        text.encode()
    except UnicodeEncodeError:  # half a surrogate pair, in a file's name
        text = json.dumps(strict, indent=2, allow_nan=False)
    print(text)


class Shown(NamedTuple):
    """What a table came to: how wide the rows' names may be, and the columns that had no room."""

    names: int
    left_out: list[str]


def table(
    columns: Sequence[str],
    rows: Iterable[Sequence[Any]],
    *,
    left: Sequence[int] = (0,),
    title: str | None = None,
    wrap: Sequence[int] = (),
    first: Sequence[int] = (),
    names: int | None = None,
    most: int | None = None,
) -> Shown:
    """A table on standard output, as wide as the terminal at most, of which no cell is cut off: columns that have no
    room stand in further tables of the same rows, and names of rows that are too long are shortened, with a legend
    below.

    Args:
        columns: their heads; the first column names the rows.
        rows: a cell a column.
        left: columns that begin at the left.
        title: stands above.
        wrap: columns that give way first, their cells on several lines.
        first: columns that the first table has where there are several, the most important one first.
        names: how wide the rows' names may be, from a table of the same rows above, which has their legend.
        most: how many tables there may be; the caller says where columns are that have no room in them.
    """
    from rich import box
    from rich.cells import cell_len
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    dots, nothing = _writable("…", "..."), _writable("—", "-")
    cells = [[nothing if cell == "—" else str(cell) for cell in row] for row in rows]
    body = [max((cell_len(row[number]) for row in cells), default=0) for number in range(len(columns))]
    order = [*first, *(number for number in range(1, len(columns)) if number not in first)]
    wide = terminal_width()
    heads, widths = list(columns), _widths(columns, body, wrap)
    if EDGES + sum(widths) + GAP * len(order) > wide:
        heads = shortened(columns, [max(HEAD, width) for width in body], dots)
        widths = _widths(heads, body, wrap)
    limit, tables = fit(widths, order, wide, names, most)
    whole = [row[0] for row in cells]
    short = shortened(whole, [limit] * len(whole), dots)
    for place, own in enumerate(tables):
        above = "more columns of the same rows" if place else title
        made = Table(title=above, box=box.SIMPLE_HEAD, title_justify="left", padding=(0, GAP - 1, 0, 0), pad_edge=False)
        for number in (0, *own):
            made.add_column(
                Text(heads[number]),
                justify="left" if number in left or number in wrap else "right",
                no_wrap=number not in wrap,
                overflow="fold",
            )
        for name, row in zip(short, cells, strict=True):
            made.add_row(Text(name), *[Text(row[number]) for number in own])
        need = EDGES + min(widths[0], limit) + sum(GAP + widths[number] for number in own)
        Console(width=max(wide, need)).print(made)
    _legend([*zip(columns, heads, strict=True), *(zip(whole, short, strict=True) if names is None else ())], wide)
    shown = {0, *(number for own in tables for number in own)}
    return Shown(limit, [name for number, name in enumerate(columns) if number not in shown])


def _widths(heads: Sequence[str], body: Sequence[int], wrap: Sequence[int]) -> list[int]:
    """What each column takes; of one whose cells may stand on several lines, the least."""
    from rich.cells import cell_len

    whole = [max(cell_len(head), width) for head, width in zip(heads, body, strict=True)]
    return [min(width, WRAPPED) if number in wrap else width for number, width in enumerate(whole)]


def _writable(text: str, plain: str) -> str:
    """A text, or another where the output's encoding has none of its characters."""
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        return plain
    return text


def _legend(pairs: Iterable[tuple[str, str]], wide: int) -> None:
    """What was shortened, whole."""
    from rich.cells import cell_len

    known = {short: text for text, short in pairs if text != short}
    if not known:
        return
    room = max(map(cell_len, known))
    print("in full:")
    for short, text in known.items():
        line = f"  {short}{' ' * (room - cell_len(short))}  {text}"
        print(line if cell_len(line) <= wide else f"  {short}\n      {text}")


def facts(found: dict[str, Any]) -> None:
    """One fact a line; a dictionary's entries are indented below its name."""
    for key, value in found.items():
        if isinstance(value, dict):
            print(f"{key}:")
            for name, inner in value.items():
                print(f"  {name}: {_line(inner)}")
        elif value not in (None, "", [], ()):
            print(f"{key}: {value}")


def _line(value: object) -> str:
    """A value on one line: a text that breaks lines or ends in a space is shown as it is written in code."""
    return repr(value) if isinstance(value, str) and ("\n" in value or value != value.strip()) else str(value)


def short(number: float | None) -> str:
    """A count or rate in few digits.

    >>> short(12345), short(0.5), short(None)
    ('12,345', '0.50', '—')
    """
    if number is None:
        return "—"
    return f"{number:,.0f}" if number >= 100 else f"{number:.1f}" if number >= 10 else f"{number:.2f}"
