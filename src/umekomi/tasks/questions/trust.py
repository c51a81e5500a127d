"""How far rankings by made questions agreed with rankings by real ones where both could be had."""

from __future__ import annotations

import csv
from importlib.resources import files


def how_far(ways: str) -> str:
    """What ``umekomi reproduce questions`` measured for these ways, in one line; where it measured nothing, so."""
    table = files("umekomi.tasks.questions").joinpath("agreement.csv")
    rows = list(csv.DictReader(table.read_text(encoding="utf-8").splitlines())) if table.is_file() else []
    way = ways if ways in {row["way"] for row in rows} else "all"
    own = [row for row in rows if row["way"] == way]
    if not own:
        return (
            "how far a ranking by made questions agrees with one by real questions was not measured for this way: "
            "umekomi reproduce questions"
        )
    told = ", ".join(
        f"{row['data']} {float(row['tau']):.2f} [{float(row['low']):.2f}, {float(row['high']):.2f}]" for row in own
    )
    return f"rankings by {way} questions agreed with those by real ones at Kendall's tau {told}"
