"""``umekomi mine``"""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from umekomi.cli.options import Encoding


def mine(
    model: Annotated[str, typer.Argument(help="The embedder that finds candidates.")],
    data: Annotated[str, typer.Option("--data", help="Pairs (anchor, positive), judged pairs, or a retrieval set.")],
    out: Annotated[Path, typer.Option("--out", help="A file ending in .jsonl, .tsv, .csv or .parquet.")],
    split: Annotated[str | None, typer.Option(help="The split to mine (train).")] = None,
    negatives: Annotated[int, typer.Option(help="Negatives a pair.")] = 3,
    relative_margin: Annotated[
        float, typer.Option(help="Keep a candidate only below (1 - this) of the positive's score.")
    ] = 0.05,
    margin: Annotated[
        float | None, typer.Option(help="Keep a candidate only this far below the positive's score.")
    ] = None,
    duplicate: Annotated[float, typer.Option(help="Take out a candidate this similar to the positive itself.")] = 0.97,
    depth: Annotated[int, typer.Option(help="Candidates looked at for each anchor.")] = 50,
    skip: Annotated[int, typer.Option(help="Pass over the first so many.")] = 0,
    rater: Annotated[
        list[str] | None,
        typer.Option(help="A model, or bm25, tfidf or lsa, that ranks the candidates left; several are fused."),
    ] = None,
    lowest: Annotated[
        bool, typer.Option("--lowest", help="Take the raters' lowest-ranked candidates (Gemini Embedding).")
    ] = False,
    batch_size: Annotated[int, typer.Option(help="Texts a batch.")] = 64,
    encoding: Encoding = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Find hard negatives for your own pairs, as a data set that recipes take."""
    from umekomi.cli import show
    from umekomi.verbs.mine import mine as run

    mined = run(
        model,
        data,
        out,
        split=split,
        negatives=negatives,
        relative_margin=relative_margin,
        margin=margin,
        duplicate=duplicate,
        depth=depth,
        skip=skip,
        raters=rater or (),
        lowest=lowest,
        batch_size=batch_size,
        encoding=encoding,
        progress=True,
    )
    if json:
        show.as_json(
            {
                "out": str(out),
                "rows": mined.table.num_rows,
                "pairs": mined.pairs,
                "short": mined.short,
                "counts": mined.counts,
            }
        )
        return
    print(f"{mined.summary()} -> {out}")
    print(f"next: umekomi train near2 --data {shlex.quote(str(out))} --out my-model --small")
