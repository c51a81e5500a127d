"""The generated tables: the systems with their state and measured figures, into README (between its marks) and the
site.

``make tables`` writes them; a test holds README to what results/ says, so that no number is typed by hand.
"""

from __future__ import annotations

import csv
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "src"))
BEGIN, END = "<!-- systems: made by make tables -->", "<!-- /systems -->"
RECALL_BEGIN, RECALL_END = "<!-- recall: made by make tables -->", "<!-- /recall -->"


SHOWN = 3
"""Differences that README shows of one recipe; the site and results/ have them all."""


def measured(recipe: str, most: int | None = None) -> str:
    """What this recipe's claims came to: figures on the data that the paper gives one for, and every difference."""
    file = ROOT / "results" / f"{recipe}.csv"
    if not file.is_file():
        return ""
    rows = list(csv.DictReader(file.open(encoding="utf-8", newline="")))
    beside = [
        row for row in rows if row["paper_data"] and row["data"].startswith(row["paper_data"].lower().replace(" ", "-"))
    ]
    figures = [
        f"{row['arm']}, {row['data']}: {row['metric']} {_spanned(row, '.3f')}, the paper {row['paper']}"
        for row in beside
    ]
    parts = []
    for row in rows:
        if "difference" in row["metric"]:
            sign = "settled" if float(row["low"]) > 0 or float(row["high"]) < 0 else "not settled"
            parts.append(f"{row['arm']}, {row['data']}: {_spanned(row, '+.3f')} {row['metric'].split(',')[0]} ({sign})")
    if most is not None and len(parts) > most:
        zero = float(tau["low"]) <= 0 <= float(tau["high"])
        best = [", ".join(best_first(side)[:3]) for side in sides]
        parts += [
            f"## After {corpus}",
            f"Best under a classifier: {best[0]}. Best by cosine: {best[1]}. Of {tau['rows']} methods of the paper, "
            f"Kendall's tau between the two rankings is {_spanned(tau, '+.2f')} (1: the same, 0: unrelated, -1: turned "
            f"round){': that they agree at all is not settled' if zero else ''}.",
            ranks_picture(*sides),
        ]
    seconds = [row for row in rows if row["claim"] == "hill-resources"]
    if seconds:
        metrics = list(dict.fromkeys(row["metric"] for row in seconds))
        value = {(row["arm"], row["metric"]): float(row["value"]) for row in seconds}
        lines = ["| method | " + " | ".join(metrics) + " |", "|---" * (len(metrics) + 1) + "|"]
        for arm in dict.fromkeys(row["arm"] for row in seconds):
            cells = [
                ("yes" if value[arm, metric] else "no") if metric.startswith("needs") else f"{value[arm, metric]:,.3g}"
                for metric in metrics
            ]
            lines.append(f"| {arm} | " + " | ".join(cells) + " |")
        parts += ["## What each takes", "\n".join(lines)]
    last = ranked[0]
    parts.append(f"{last['hardware']}; {last['date']}, commit {last['commit']}.")
    return "\n\n".join(parts) + "\n"


def best_first(side: dict[str, dict[str, str]]) -> list[str]:
    """The arms of these rows, by their value."""
    return sorted(side, key=lambda arm: -float(side[arm]["value"]))


def ranks_picture(left: dict[str, dict[str, str]], right: dict[str, dict[str, str]]) -> str:
    """Two columns of names, best first, each joined to itself by a line: SVG in the page's own colours."""
    from html import escape

    step, top, width, inner = 22, 46, 760, (250, 510)
    order = [best_first(side) for side in (left, right)]
    place = [{arm: top + step * number for number, arm in enumerate(side)} for side in order]
    height = top + step * len(order[0]) + 4
    lines = [
        f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="ranks of {len(left)} methods in two uses" '
        'style="width:100%;max-width:760px;font:13px sans-serif" fill="currentColor" stroke="none">',
        f'<text x="{inner[0] - 10}" y="20" text-anchor="end" font-weight="bold">under a classifier</text>',
        f'<text x="{inner[1] + 10}" y="20" font-weight="bold">by cosine</text>',
    ]
    for arm in order[0]:
        if arm not in place[1]:
            continue
        a, b = place[0][arm] - 4, place[1][arm] - 4
        hue = round(360 * order[0].index(arm) / len(order[0]))
        lines.append(
            f'<path d="M{inner[0]} {a}C{inner[0] + 110} {a} {inner[1] - 110} {b} {inner[1]} {b}" fill="none" '
            f'stroke="hsl({hue} 60% 50%)" stroke-width="2"/>'
        )
    for side, x, anchor in ((0, inner[0] - 10, "end"), (1, inner[1] + 10, "start")):
        values = (left, right)[side]
        for arm in order[side]:
            told = f"{escape(arm)} {float(values[arm]['value']):.3f}"
            lines.append(f'<text x="{x}" y="{place[side][arm]}" text-anchor="{anchor}">{told}</text>')
    return "".join([*lines, "</svg>"])


def systems_table(links: bool = False, most: int | None = None) -> str:
    """One row a system: its state is whether its recipe is there, or the verb or published model that it is."""
    import umekomi
    from umekomi.models.published.catalogue import CATALOGUE
    from umekomi.recipes import names

    there = {*names(), *umekomi.__all__, *(name for name, entry in CATALOGUE.items() if entry.loads != "code")}
    lines = ["| | system | becomes | state | measured |", "|---|---|---|---|---|"]
    for row in csv.DictReader((ROOT / "docs" / "systems.csv").open(encoding="utf-8", newline="")):
        recipe = row["recipes"]
        works = recipe in there
        state = f"in part (waiting: {row['waiting']})" if works and row["waiting"] else "works" if works else "to come"
        name = f"[{row['system']}](recipes/{recipe}.md)" if links and recipe in names() else row["system"]
        lines.append(
            f"| {row['id']} | {name} | {row['becomes']} | {state} | {measured(recipe, most) if works else ''} |"
        )
    return "\n".join(lines)


def readme_table() -> str:
    """The systems that work, and how many are to come."""
    lines = systems_table(most=SHOWN).split("\n")
    kept = [line for line in lines[2:] if "| to come |" not in line]
    waiting = len(lines) - 2 - len(kept)
    return (
        "\n".join([*lines[:2], *kept]) + f"\n\n{waiting} of the 31 systems are to come; "
        "baselines that work: BM25, TF-IDF, LSA, random, hashing, untrained."
    )


def main() -> None:
    """Write the tables into README and the page of search."""
    for name, begin, end, table in (
        ("README.md", BEGIN, END, readme_table()),
        ("docs/search.md", RECALL_BEGIN, RECALL_END, recall_table()),
    ):
        path = ROOT / name
        text = path.read_text(encoding="utf-8")
        whole = f"{begin}\n{table}\n{end}"
        path.write_text(
            re.sub(re.escape(begin) + ".*?" + re.escape(end), lambda _, new=whole: new, text, flags=re.DOTALL),
            encoding="utf-8",
        )


if __name__ == "__main__":
    main()
