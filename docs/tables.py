"""The generated tables: the systems with their state and measured figures, and what was measured of search and of
deciding, into README and the site's pages, each between its marks.

``make tables`` writes them; a test holds the pages to what results/ says, so that no number is typed by hand.
"""

from __future__ import annotations

import csv
import re
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "src"))
SITE = "https://umekomi.readthedocs.io/"


def recorded(name: str, claim: str = "") -> list[dict[str, str]]:
    """The rows of results/NAME.csv, or those of one claim; none where nothing was measured."""
    file = ROOT / "results" / f"{name}.csv"
    if not file.is_file():
        return []
    with file.open(encoding="utf-8", newline="") as stream:
        return [row for row in csv.DictReader(stream) if claim in ("", row["claim"])]


def figure(recipe: str) -> str:
    """One figure of a recipe: the first settled difference, else the first difference, else the first figure; the page
    of the recipe and results/ have them all."""
    rows = recorded(recipe)
    gaps = [row for row in rows if "difference" in row["metric"]]
    settled = [row for row in gaps if float(row["low"]) > 0 or float(row["high"]) < 0]
    for row in [*settled[:1], *gaps[:1]]:
        return f"{_spanned(row, '+.3f')} {row['metric'].split(',')[0]}: {row['arm']}, {row['data']}"
    told = (f"{row['metric']} {_spanned(row, '.3f')}: {row['arm']}, {row['data']}" for row in rows)
    return next(told, "not yet measured")


def _spanned(row: dict[str, str], form: str) -> str:
    value, low, high = (format(float(row[key]), form) for key in ("value", "low", "high"))
    return f"{value} [{low}, {high}]"


def benchmarks_page() -> str:
    """Every row of results/benchmarks.csv, a table a benchmark."""
    rows = recorded("benchmarks")
    if not rows:
        return "# Speed\n\nNothing was measured yet.\n"
    parts = [
        "# Speed",
        "Beside peers in one run (`python benchmarks/run.py`): the median of three, the slowest and the fastest as "
        "bounds; qualities over seeds.",
    ]
    for claim in dict.fromkeys(row["claim"] for row in rows if row["claim"] != "recall"):
        chosen = [row for row in rows if row["claim"] == claim]
        if claim.startswith("speed-databases"):  # one that was measured again alone stands in the same table
            if claim == "speed-databases":
                parts += ["## databases", databases_table([row for row in rows if row["claim"].startswith(claim)])]
            continue
        lines = [
            f"## {claim.removeprefix('speed-')}",
            "",
            "| what | data | rows | metric | value | bounds |",
            "|---|---|---|---|---|---|",
        ]
        for row in chosen:
            value, low, high = (
                f"{float(row[key]):,.4g}" if abs(float(row[key])) < 1e4 else f"{float(row[key]):,.0f}"
                for key in ("value", "low", "high")
            )
            lines.append(
                f"| {row['arm']} | {row['data']} | {int(row['rows']):,} | {row['metric']} | {value} | {low} to {high} |"
            )
        last = chosen[0]
        parts += ["\n".join(lines), f"{last['hardware']}; {last['date']}, commit {last['commit']}."]
    return "\n\n".join(parts) + "\n"


SHARES = ("50 %", "5 %", "0.5 %", "0.01 %")


def databases_table(rows: list[dict[str, str]]) -> str:
    """Every kind of index and every database, a line each, a table a size."""
    value = {(row["rows"], row["arm"], row["metric"].removeprefix("ms/query, ")): float(row["value"]) for row in rows}
    parts = [
        f"{rows[0]['data']}; queries are not in the index. Milliseconds are one query's, of queries asked one after "
        "another, and of all asked at once; in brackets what was found of exact search's first ten. Under a filter so "
        "many of the rows pass. Memory is what a process of its own holds in anonymous pages after fifty queries, of "
        "PostgreSQL its server's processes' with the shared buffers.",
    ]
    for count in dict.fromkeys(row["rows"] for row in rows):
        arms = [row["arm"] for row in rows if row["rows"] == count and row["metric"] == "recall@10"]
        arms = [arm for arm in dict.fromkeys(arms) if ": " not in arm and not arm.endswith(", a tenth deleted")]

        def cell(arm: str, metric: str, form: str = ",.3g", count: str = count) -> str:
            found = value.get((count, arm, metric))
            return "" if found is None else format(found, form)

        def asked(arm: str) -> str:
            found = cell(arm, "recall@10", ".3f")
            return found and f"{cell(arm, 'one by one')} ({found})"

        lines = [
            f"| {int(count):,} rows | built, rows/s | bytes a row | MB anonymous | one, ms | at once, ms | "
            + " | ".join(f"{share} pass" for share in SHARES)
            + " | a tenth deleted |",
            "|---|" + "---|" * (6 + len(SHARES)),
        ]
        for arm in arms:
            together = next(
                (metric for rows, name, metric in value if (rows, name) == (count, arm) and "at once" in metric), ""
            )
            cells = [
                cell(f"{arm}, built", "rows/s", ",.0f"),
                cell(f"{arm}, on disk", "bytes/row", ",.0f"),
                cell(f"{arm}, a process of its own", "MB anonymous", ",.0f")
                or cell(f"{arm}, the server's processes", "MB anonymous and of shared buffers", ",.0f"),
                asked(arm),
                cell(arm, together),
                *(asked(f"{arm}: {share} pass") for share in SHARES),
                asked(f"{arm}, a tenth deleted"),
            ]
            lines.append(f"| {arm} | " + " | ".join(cells) + " |")
        parts.append("\n".join(lines))
    parts.append(f"{rows[0]['hardware']}; {rows[0]['date']}, commit {rows[0]['commit']}.")
    return "\n\n".join(parts)


def recall_table() -> str:
    """What every index kind gives of what exact search finds, from results/benchmarks.csv."""
    rows = recorded("benchmarks", "recall")
    if not rows:
        return "Nothing was measured yet."
    hits = list(dict.fromkeys(row["metric"] for row in rows))
    value = {(row["data"], row["arm"], row["metric"]): row for row in rows}
    lines = ["| kind | rows | " + " | ".join(hits) + " |", "|---|---|" + "---|" * len(hits)]
    for data, arm in dict.fromkeys((row["data"], row["arm"]) for row in rows):
        cells = [f"{float(value[data, arm, hit]['value']):.3f}" for hit in hits]
        kind, passing = arm.rsplit(": ", 1)
        count = int(value[data, arm, hits[0]]["rows"])
        lines.append(f"| {kind} | {data}, {count:,}: {passing} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + f"\n\n{rows[0]['hardware']}; {rows[0]['date']}, commit {rows[0]['commit']}."


def fusion_table() -> str:
    """What tuning a fusion is worth, set by set."""
    rows = recorded("fusion")
    arms = ("bm25", "minilm", "reciprocal rank, k = 60", "tuned on other queries")
    gap = f"tuned − {arms[2]}"
    value = {(row["data"], row["arm"]): row for row in rows}
    lines = [f"| | {' | '.join(arms)} | {gap} |", "|---|" + "---|" * (len(arms) + 1)]
    for data in dict.fromkeys(row["data"] for row in rows):
        cells = [f"{float(value[data, arm]['value']):.3f}" for arm in arms]
        lines.append(f"| {data} | {' | '.join(cells)} | {_spanned(value[data, gap], '+.3f')} |")
    return "\n".join(lines)


def agreement_table() -> str:
    """How far rankings by made questions agreed with those by real ones, way by way."""
    rows = recorded("questions", "questions-agree")
    value = {(row["arm"], row["data"]): row for row in rows}
    sets, ways = (list(dict.fromkeys(row[key] for row in rows)) for key in ("data", "arm"))
    lines = [f"| | {' | '.join(sets)} |", "|---|" + "---|" * len(sets)]
    for way in ways:
        cells = [_spanned(value[way, data], ".2f") if (way, data) in value else "none made" for data in sets]
        lines.append(f"| {way} | {' | '.join(cells)} |")
    return "\n".join(lines)


def chunks_table() -> str:
    """The share of the evidence that was read, by the size of chunks."""
    rows = recorded("chunks", "chunk-sizes")
    value = {(row["data"], row["arm"]): row for row in rows}
    plain = [row["arm"].split(", ") for row in rows if "−" not in row["arm"]]
    models, sizes = (list(dict.fromkeys(arm[place] for arm in plain)) for place in (0, 1))
    lines = ["| | | " + " | ".join(sizes) + " | best size − whole |", "|---|---|" + "---|" * (len(sizes) + 1)]
    for data in dict.fromkeys(row["data"] for row in rows):
        for model in models:
            found = {size: float(value[data, f"{model}, {size}"]["value"]) for size in sizes}
            best = max((size for size in sizes if size != "whole"), key=found.__getitem__)
            gap = f"{best}: {_spanned(value[data, f'{model}, {best} − whole'], '+.3f')}"
            lines.append(f"| {data} | {model} | {' | '.join(f'{found[size]:.3f}' for size in sizes)} | {gap} |")
    return "\n".join(lines)


def bytes_page() -> str:
    """Retrieval by bytes an item: a chart and a table from results/bytes.csv."""
    rows = recorded("bytes", "quality-by-bytes")
    if not rows:
        return "# What bytes cost\n\nNothing was measured yet.\n"
    sets = [name for name in dict.fromkeys(row["data"] for row in rows) if name != "mean of the four"]
    value = {(row["arm"], row["data"]): float(row["value"]) for row in rows if row["metric"] == "ndcg@10"}
    gap = {
        (row["arm"].removesuffix(" − whole"), row["data"]): row
        for row in rows
        if row["metric"] == "ndcg@10, difference"
    }
    share = {row["arm"]: row for row in rows if row["data"] == "mean of the four"}
    size = {arm: float(arm.rsplit(", ", 1)[1].removesuffix(" bytes")) for arm in share}
    lines = ["| way to store | bytes | " + " | ".join(sets) + " | kept, mean |", "|---|---|" + "---|" * (len(sets) + 1)]
    for arm in sorted(share, key=lambda arm: (-size[arm], -float(share[arm]["value"]))):
        cells = []
        for name in sets:
            found = gap.get((arm, name))
            settled = found is not None and (float(found["low"]) > 0 or float(found["high"]) < 0)
            cells.append(
                f"{value[arm, name]:.3f}"
                + (f" ({float(found['value']):+.3f}{'' if settled else ', not settled'})" if found else "")
            )
        lines.append(
            f"| {arm.rsplit(', ', 1)[0]} | {size[arm]:g} | "
            + " | ".join(cells)
            + f" | {float(share[arm]['value']):.3f} |"
        )
    parts = [
        "# What bytes cost",
        "minilm's vectors of four collections, nDCG@10 by bytes an item (`umekomi reproduce quality-by-bytes`): mean "
        "over seeds where something is learned, and the "
        "paired difference to the whole. Everything that learns, learns from the documents; the tuned model from "
        "pydocs' pairs, three seeds. All read 128 tokens of a "
        "text; collections of more than 6,000 documents are cut to the judged ones and others.",
        bytes_chart(share, size),
        "\n".join(lines),
        f"{rows[0]['hardware']}; {rows[0]['date']}, commit {rows[0]['commit']}.",
    ]
    return "\n\n".join(parts) + "\n"


def bytes_chart(share: dict[str, dict[str, str]], size: dict[str, float]) -> str:
    """Share of the whole's figure against bytes, a line a family, as SVG in the page."""
    families: dict[str, list[tuple[float, float]]] = {}
    for arm, row in share.items():
        family = re.sub(r" \d+(?=$|, )", "", arm.rsplit(", ", 1)[0])
        family = re.sub(r"^int[24](?=$|, )", "int4, int2", family)
        families.setdefault(family, []).append((size[arm], float(row["value"])))
    figure, axes = chart((9, 6), "bytes an item", "share of the whole's nDCG@10, mean of four collections")
    for number, (family, points) in enumerate(families.items()):
        points.sort()
        axes.plot(
            *zip(*points, strict=True),
            marker="osD^vP*X<>hd"[number % 12],
            color=f"C{number % 10}",
            linewidth=1,
            markersize=5,
            label=family,
        )
    figure.legend(fontsize=8, ncols=4, loc="outside lower center")
    return svg(figure)


def chart(size: tuple[float, float], across: str, up: str) -> tuple[Any, Any]:
    """A figure and its axes, doubling from left to right."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    mpl.rcParams["svg.hashsalt"] = "umekomi"
    figure, axes = pyplot.subplots(figsize=size, layout="constrained")
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.set_xlabel(across)
    axes.set_ylabel(up)
    axes.grid(alpha=0.3)
    return figure, axes


def svg(figure: Any) -> str:
    """A figure in the page, on white; the same figure is the same text."""
    import io

    from matplotlib import pyplot

    stream = io.StringIO()
    figure.savefig(stream, format="svg", metadata={"Date": None})
    pyplot.close(figure)
    drawn = stream.getvalue()
    return '<div style="background:#fff">' + re.sub(r"\n\s*\n", "\n", drawn[drawn.index("<svg") :]) + "</div>"


def bits_page() -> str:
    """What fewer bits a weight cost: a chart and a table from results/gguf.csv."""
    rows = recorded("gguf", "quality-by-bits")
    if not rows:
        return "# What bits cost\n\nNothing was measured yet.\n"
    value = {(row["arm"], row["data"], row["metric"]): row for row in rows}
    sets = [(row["data"], row["metric"]) for row in rows if row["arm"] == rows[0]["arm"]][:3]
    lines = [
        "| weights | megabytes | texts/s of one core | "
        + " | ".join(f"{name}, {metric}" for name, metric in sets)
        + " |",
        "|---|---|---|" + "---|" * len(sets),
    ]
    points: dict[str, dict[str, tuple[float, list[float]]]] = {}
    for arm in dict.fromkeys(row["arm"] for row in rows if " − " not in row["arm"]):
        size, rate = value.get((arm, "the file", "megabytes")), value.get((arm, "stsb", "texts/s of one core"))
        cells = []
        for name, metric in sets:
            gap = value.get((f"{arm} − F32", name, f"{metric}, difference"))
            cells.append(_spanned(value[arm, name, metric], ".4f") + (f" ({_spanned(gap, '+.4f')})" if gap else ""))
        told = [f"{float(row['value']):,.1f}" if row else "" for row in (size, rate)]
        lines.append(f"| {arm} | " + " | ".join([*told, *cells]) + " |")
        if size:
            figures = [float(value[arm, name, metric]["value"]) for name, metric in sets]
            model, type = arm.rsplit(", ", 1)
            points.setdefault(model, {})[type] = (float(size["value"]), figures)
    parts = [
        "# What bits cost",
        "Models as GGUF files in the types that `umekomi convert --to gguf` writes (`umekomi reproduce "
        "quality-by-bits`): in brackets the paired difference to float32, with its interval over items. Of "
        "multilingual-e5-small weights of four bits alone are at hand; its F32 are these, expanded.",
        bits_chart(points, [name for name, _ in sets]),
        "\n".join(lines),
        f"{rows[0]['hardware']}; {rows[0]['date']}, commit {rows[0]['commit']}.",
    ]
    return "\n\n".join(parts) + "\n"


def bits_chart(points: dict[str, dict[str, tuple[float, list[float]]]], sets: list[str]) -> str:
    """Of each model's types of weights, what is kept of its float32's figures against the file's size."""
    figure, axes = chart((8, 4.5), "megabytes of the file", "share of float32's figure")
    for line, (model, types) in enumerate(points.items()):
        _, whole = types["F32"]
        for number, name in enumerate(sets):
            kept = sorted((size, figures[number] / whole[number]) for size, figures in types.values())
            style = {"marker": "osD"[number], "linestyle": ("-", "--", ":")[line], "color": f"C{number}"}
            axes.plot(*zip(*kept, strict=True), linewidth=1, markersize=5, label=f"{model}, {name}", **style)
        for type, (size, figures) in types.items():
            least = min(own / best for own, best in zip(figures, whole, strict=True))
            axes.annotate(type, (size, least), xytext=(0, -12), textcoords="offset points", ha="center", fontsize=8)
    axes.margins(y=0.15)
    axes.legend(fontsize=8)
    return svg(figure)


def _yes_or_figure(asked: bool, value: float) -> str:
    """Yes or no where that is asked, else three digits, and whole thousands."""
    if asked:
        return "yes" if value else "no"
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def ranks_page() -> str:
    """Which way to learn sentence vectors is for which use: two columns of ranks joined by lines, a picture a corpus,
    and what each takes, from results/hill.csv."""
    title = "# Which for classifying, which for search\n\n"
    rows = recorded("hill")
    ranked = [row for row in rows if row["claim"] == "hill-ranks"]
    if not ranked:
        return title + "Nothing was measured yet: `umekomi reproduce hill`.\n"
    parts = [
        f"{title}Hill, Cho & Korhonen (2016) ask which of the ways to learn sentence vectors is best, and find two "
        "answers: one for what a classifier is put on, one for what is compared by cosine. This is the same question, "
        "measured here at one width and about a minute of one core for each (`umekomi reproduce hill`); on the left "
        "means of accuracies on MR, CR, SUBJ, MPQA, TREC and MRPC, on the right means of Spearman correlations on "
        "STS14 and SICK."
    ]
    for corpus in dict.fromkeys(row["data"] for row in ranked):
        own = [row for row in ranked if row["data"] == corpus]
        sides = [
            {row["arm"]: row for row in own if row["metric"].startswith(f"{use}, mean of")}
            for use in ("supervised", "unsupervised")
        ]
        tau = next(row for row in own if row["metric"] == "kendall's tau")
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
            cells = [_yes_or_figure(metric.startswith("needs"), value[arm, metric]) for metric in metrics]
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

    step, top, width, inner = 22, 46, 860, (300, 560)
    order = [best_first(side) for side in (left, right)]
    place = [{arm: top + step * number for number, arm in enumerate(side)} for side in order]
    height = top + step * len(order[0]) + 4
    lines = [
        f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="ranks of {len(left)} methods in two uses" '
        'style="width:100%;max-width:860px;font:13px sans-serif" fill="currentColor" stroke="none">',
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


def systems_table(site: bool = False) -> str:
    """One row a system: its state is whether its recipe is there, or the verb or published model that it is; one figure
    of each, and its page, in README by the address of the ``site``."""
    import umekomi
    from umekomi.models.published.catalogue import CATALOGUE
    from umekomi.recipes import names

    there = {*names(), *umekomi.__all__, *(name for name, entry in CATALOGUE.items() if entry.loads != "code")}
    lines = ["| | system | becomes | state | measured |", "|---|---|---|---|---|"]
    place = "" if site else SITE
    for row in csv.DictReader((ROOT / "docs" / "systems.csv").open(encoding="utf-8", newline="")):
        recipe = row["recipes"]
        works = recipe in there
        state = f"in part (waiting: {row['waiting']})" if works and row["waiting"] else "works" if works else "to come"
        page = f"recipes/{recipe}{'.md' if site else '/'}" if recipe in names() else ""
        name = f"[{row['system']}]({place}{page})" if page else row["system"]
        told = figure(recipe) if works else ""
        lines.append(f"| {row['id']} | {name} | {row['becomes']} | {state} | {told} |")
    return "\n".join(lines)


def readme_table() -> str:
    """The systems that work, and how many are to come."""
    lines = systems_table().split("\n")
    kept = [line for line in lines[2:] if "| to come |" not in line]
    waiting = len(lines) - 2 - len(kept)
    return (
        "\n".join([*lines[:2], *kept]) + f"\n\n{waiting} of the 31 systems are to come; "
        "baselines that work: BM25, TF-IDF, LSA, random, hashing, untrained."
    )


def write_agreement() -> None:
    """How far made questions agreed with real ones, into the package: what a comparison without labels says of it."""
    rows = recorded("questions", "questions-agree")
    if not rows:
        return
    lines = [f"{row['arm']},{row['data']},{row['value']},{row['low']},{row['high']}" for row in rows]
    path = ROOT / "src" / "umekomi" / "tasks" / "questions" / "agreement.csv"
    path.write_text("\n".join(["way,data,tau,low,high", *lines]) + "\n", encoding="utf-8")


BLOCKS = {
    "systems": ("README.md", readme_table),
    "recall": ("docs/search.md", recall_table),
    "fusion": ("docs/decide.md", fusion_table),
    "agreement": ("docs/decide.md", agreement_table),
    "chunks": ("docs/decide.md", chunks_table),
}
"""Which table stands between the marks of a name, on which page."""


def block(name: str) -> str:
    """A table between its marks."""
    return f"<!-- {name}: made by make tables -->\n{BLOCKS[name][1]()}\n<!-- /{name} -->"


def main() -> None:
    """Write the tables into their pages, and what was measured of made questions into the package."""
    write_agreement()
    for name, (file, _) in BLOCKS.items():
        path, whole = ROOT / file, block(name)
        begin, end = (re.escape(whole.splitlines()[place]) for place in (0, -1))
        text = path.read_text(encoding="utf-8")
        path.write_text(re.sub(f"{begin}.*?{end}", lambda _, new=whole: new, text, flags=re.DOTALL), encoding="utf-8")


if __name__ == "__main__":
    main()
