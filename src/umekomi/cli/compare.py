"""``umekomi compare``"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from umekomi.cli.options import Encoding

if TYPE_CHECKING:
    from umekomi.comparison.leaderboard import Comparison
    from umekomi.statistics import Interval

DECIDING = ("ms/query", "bytes/item", "$/M texts", "$/k queries", "licence", "texts/s", "task s", "training s")
"""Costs that stand beside the quality in a terminal with no room for all columns, the most important first."""


def compare(
    candidates: Annotated[
        list[str], typer.Argument(help="Models and recipes; NAME@64 cuts to 64 dimensions.", metavar="MODEL|RECIPE")
    ],
    data: Annotated[str, typer.Option("--data", help="A named dataset, file or folder.")],
    task: Annotated[str | None, typer.Option("--task", help="A kind of task, when the data fit several.")] = None,
    split: Annotated[str | None, typer.Option(help="The split to judge on (test; carved where there is none).")] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Where results and report go.")] = None,
    start: Annotated[str, typer.Option(help="The model that training recipes go on from.")] = "minilm",
    budget_bytes: Annotated[float | None, typer.Option(help="At most so many bytes an item.")] = None,
    budget_ms: Annotated[float | None, typer.Option(help="At most so many milliseconds a query.")] = None,
    budget_usd: Annotated[float | None, typer.Option(help="At most so many dollars for services in this run.")] = None,
    usd_per_hour: Annotated[float | None, typer.Option(help="What an hour of this machine costs.")] = None,
    hybrid: Annotated[
        bool, typer.Option("--hybrid", help="Add BM25 fused with each dense candidate, untuned and tuned.")
    ] = False,
    by: Annotated[str | None, typer.Option(help="Show groups by this column, or by 'length'.")] = None,
    paper_settings: Annotated[
        bool, typer.Option("--paper-settings", help="Recipes at their papers' sizes, not for two cores.")
    ] = False,
    max_queries: Annotated[int | None, typer.Option(help="Judge on at most so many queries.")] = None,
    questions: Annotated[
        str | None,
        typer.Option(
            help="No labels: make questions from the documents, by all, title, heading, paraphrase, phrases, "
            "chat:MODEL@URL or local:MODEL (a folder or a GGUF file)."
        ),
    ] = None,
    chunks: Annotated[
        str | None,
        typer.Option("--chunks", help="Cut documents into chunks of so many tokens, each a row: 128,256,512."),
    ] = None,
    chunk_by: Annotated[str, typer.Option(help="Chunks end with sentences, or begin anew at headings.")] = "sentences",
    overlap: Annotated[float, typer.Option(help="The share of a chunk that the next one repeats.")] = 0.0,
    seed: Annotated[int, typer.Option(help="Seed of all random draws.")] = 0,
    batch_size: Annotated[int, typer.Option(help="Texts a batch.")] = 64,
    encoding: Encoding = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Compare models and recipes on your own data, and say which to use.

    Finished candidates are kept: after Ctrl-C or a kill the same command goes on where it stopped.
    """
    from umekomi.cli import show
    from umekomi.verbs.compare import compare as run

    comparison = run(
        candidates,
        data,
        task=task,
        split=split,
        out=out,
        start=start,
        budget_bytes=budget_bytes,
        budget_ms=budget_ms,
        budget_usd=budget_usd,
        usd_per_hour=usd_per_hour,
        hybrid=hybrid,
        by=by,
        paper_settings=paper_settings,
        max_queries=max_queries,
        questions=questions,
        chunks=_sizes(chunks),
        chunk_by=chunk_by,
        overlap=overlap,
        seed=seed,
        batch_size=batch_size,
        encoding=encoding,
        progress=True,
    )
    if json:
        show.as_json(comparison.to_json())
        return
    print_leaderboard(comparison)


def _sizes(text: str | None) -> tuple[int, ...]:
    """Whole numbers by commas."""
    from umekomi.errors import WrongUse

    parts = [part.strip() for part in (text or "").split(",") if part.strip()]
    if text is not None and (not parts or not all(part.isdigit() for part in parts)):
        raise WrongUse(f"expected sizes in tokens such as 128,256,512, found {text!r}", parameter="chunks")
    return tuple(int(part) for part in parts)


def _against(difference: Interval | None, corrected: float | None) -> str:
    """A paired difference; a star where it is settled after correction."""
    if difference is None:
        return "—"
    star = "*" if corrected is not None and corrected < 0.05 else ""
    return f"{difference.value:+.3f} [{difference.low:+.3f}, {difference.high:+.3f}]{star}"


def print_groups(comparison: Comparison, names: int | None = None) -> None:
    """The same figures within each group; ``names``: how wide the candidates' are in the table above."""
    from umekomi.cli import show

    rows = []
    for row in comparison.rows:
        figures = [(group.items, group.intervals[row.candidate]) for group in comparison.groups]
        cells = [
            f"{f.value:.3f} [{f.low:.3f}, {f.high:.3f}]" if items > 1 else f"{f.value:.3f}" for items, f in figures
        ]
        rows.append((row.candidate, *cells))
    heads = [f"{group.name} ({group.items:,})" for group in comparison.groups]
    show.table(["candidate", *heads], rows, title=f"{comparison.metric} by {comparison.by}", names=names)
    for group in comparison.groups:
        if group.note:
            print(f"{group.name}: {group.note}")


def print_leaderboard(comparison: Comparison) -> None:
    """The table, the recommendation, where the report is, and what to type next."""
    from umekomi.cli import show
    from umekomi.cli.show import short
    from umekomi.comparison.costs import dollars
    from umekomi.comparison.details import HANDFUL

    # pairs or rows a second, and the cost that all kinds share, where there is more than embedders
    units = [unit for unit in ("pairs", "rows") if any(row.unit == unit for row in comparison.rows)]
    embeds = any(row.makes in ("embedder", "reranked") for row in comparison.rows)
    paid = any(row.usd_per_million is not None or row.hosted for row in comparison.rows)
    asked = any(row.usd_per_thousand is not None for row in comparison.rows)
    many = len(comparison.corrected) > HANDFUL
    rows: list[dict[str, str]] = []
    for row in comparison.rows:
        figure, difference = comparison.intervals[row.candidate], comparison.differences.get(row.candidate)
        speed = {"texts/s": short(row.texts_per_second), "queries/s": short(row.queries_per_second)}
        size = {
            "ms/query": short(row.ms_per_query),
            "p95": short(row.ms_p95),
            "bytes/item": short(row.bytes_per_item),
            "dim": "—" if row.dimensions is None else f"{row.dimensions:,}",
        }
        rows.append(
            {
                "candidate": row.candidate,
                f"{comparison.metric} [95 %]": f"{figure.value:.3f} [{figure.low:.3f}, {figure.high:.3f}]",
                f"against {comparison.baseline or '—'}": _against(
                    difference, comparison.corrected.get(row.candidate) if many else None
                ),
                **(speed if embeds else {}),
                **{f"{unit}/s": short(row.items_per_second if row.unit == unit else None) for unit in units},
                **({"task s": short(row.task_seconds)} if units else {}),
                **(size if embeds else {}),
                "training s": short(row.training_seconds) if row.training_seconds else "—",
                **({"$/M texts": dollars(row.usd_per_million)} if paid else {}),
                **({"$/k queries": dollars(row.usd_per_thousand)} if asked else {}),
                **({"$ here": dollars(row.usd)} if paid else {}),
                "licence": row.licence,
            }
        )
    columns = list(rows[0])
    size_of_task = ", ".join(f"{count:,} {what}" for what, count in comparison.size.items())
    shown = show.table(
        columns,
        [list(row.values()) for row in rows],
        title=f"{comparison.data}: {comparison.task} ({size_of_task})",
        wrap=(len(columns) - 1,),
        first=[1, 2, *(columns.index(name) for name in DECIDING if name in columns)],
        most=2,
    )
    if shown.left_out:
        print(f"no room here for {', '.join(shown.left_out)}: the report and --json have them")
    for name, (start, gain) in comparison.gains.items():
        print(
            f"{name} against {start}: {gain.value:+.3f} [{gain.low:+.3f}, "
            f"{gain.high:+.3f}]{' (includes zero: no settled gain)' if gain.includes_zero else ''}"
        )
    if many:
        print(f"*: settled after Holm's correction for {len(comparison.corrected)} differences (p below .05)")
    for name, why in comparison.skipped.items():
        print(f"skipped {name}: {why}")
    if comparison.groups:
        print_groups(comparison, shown.names)
    fight = comparison.duel
    if fight is not None and fight.won + fight.lost:
        print(
            f"{fight.first} is ahead on {fight.won:,} items, {fight.second} on {fight.lost:,}, even on "
            f"{fight.even:,} (the report lists them)"
        )
    for line in (*comparison.undecided, *comparison.money):
        print(line)
    print(f"\n{comparison.recommendation}\nreport: {comparison.out / 'report.html'}\nnext:   {comparison.next_command}")
