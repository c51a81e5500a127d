"""How results are printed: a table for people, JSON for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from typing import Any


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


def table(
    columns: Sequence[str],
    rows: Iterable[Sequence[Any]],
    *,
    left: Sequence[int] = (0,),
    title: str | None = None,
    wrap: Sequence[int] = (),
) -> None:
    """A table on standard output, as wide as the terminal, or as it needs in a pipe. ``wrap`` columns give way
    first."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(width=None if sys.stdout.isatty() else 200)
    made = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left", pad_edge=False)
    for number, name in enumerate(columns):
        made.add_column(
            Text(name),
            justify="left" if number in left or number in wrap else "right",
            no_wrap=number not in wrap,
            overflow="fold",
        )
    for row in rows:
        made.add_row(*[Text(str(cell)) for cell in row])
    console.print(made)


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
