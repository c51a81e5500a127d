"""``umekomi compare``"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from umekomi.cli.options import Encoding

if TYPE_CHECKING:
    from umekomi.comparison.leaderboard import Comparison


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
    hybrid: Annotated[bool, typer.Option("--hybrid", help="Add BM25 fused with each dense candidate.")] = False,
    paper_settings: Annotated[
        bool, typer.Option("--paper-settings", help="Recipes at their papers' sizes, not for two cores.")
    ] = False,
    max_queries: Annotated[int | None, typer.Option(help="Judge on at most so many queries.")] = None,
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

    found = run(
        candidates,
        data,
        task=task,
        split=split,
        out=out,
        start=start,
        budget_bytes=budget_bytes,
        budget_ms=budget_ms,
        hybrid=hybrid,
        paper_settings=paper_settings,
        max_queries=max_queries,
        seed=seed,
        batch_size=batch_size,
        encoding=encoding,
        progress=True,
    )
    if json:
        show.as_json(found.to_json())
        return
    print_leaderboard(found)


def print_leaderboard(comparison: Comparison) -> None:
    """The table, the recommendation, where the report is, and what to type next."""
    from umekomi.cli import show
    from umekomi.cli.show import short

    rows = []
    for row in comparison.rows:
        figure, difference = comparison.intervals[row.candidate], comparison.differences.get(row.candidate)
        rows.append(
            (
                row.candidate,
                f"{figure.value:.3f} [{figure.low:.3f}, {figure.high:.3f}]",
                f"{difference.value:+.3f} [{difference.low:+.3f}, {difference.high:+.3f}]" if difference else "—",
                short(row.texts_per_second),
                short(row.queries_per_second),
                short(row.ms_per_query),
                short(row.bytes_per_item),
                f"{row.dimensions:,}",
                short(row.training_seconds) if row.training_seconds else "—",
                row.licence,
            )
        )
    against = f"against {comparison.baseline}" if comparison.baseline else "against —"
    size = ", ".join(f"{count:,} {what}" for what, count in comparison.size.items())
    show.table(
        [
            "candidate",
            f"{comparison.metric} [95 %]",
            against,
            "texts/s",
            "queries/s",
            "ms/query",
            "bytes/item",
            "dim",
            "training s",
            "licence",
        ],
        rows,
        title=f"{comparison.data}: {comparison.task} ({size})",
        wrap=(9,),
    )
    for name, (start, gain) in comparison.gains.items():
        print(
            f"{name} against {start}: {gain.value:+.3f} [{gain.low:+.3f}, "
            f"{gain.high:+.3f}]{' (includes zero: no settled gain)' if gain.includes_zero else ''}"
        )
    for name, why in comparison.skipped.items():
        print(f"skipped {name}: {why}")
    print(f"\n{comparison.recommendation}\nreport: {comparison.out / 'report.html'}\nnext:   {comparison.next_command}")
