"""``umekomi index``"""

from __future__ import annotations

import shlex
from typing import Annotated, Any

import typer

from umekomi.cli.options import Encoding, Engine, settings_of


def index(
    out: Annotated[
        str, typer.Option("--out", help="The index: a folder, or an address: postgresql://HOST/DATABASE/TABLE.")
    ],
    inputs: Annotated[
        list[str] | None,
        typer.Argument(
            help="A model (bm25+MODEL for both legs) and the texts to index; or vectors that encode wrote; or an "
            "index to carry over; or nothing, to look after one.",
            metavar="[MODEL] [IN]",
        ),
    ] = None,
    kind: Annotated[
        str, typer.Option(help="auto, exact, binary, turbo, funnel, hnsw, sparse, late or centroids.")
    ] = "auto",
    recall: Annotated[
        float | None, typer.Option(help="The recall at 10 that an approximate kind is tuned to (0.95).")
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="A setting of the kind: --set shortlist=500.")
    ] = None,
    column: Annotated[str, typer.Option(help="The column of texts.")] = "text",
    id_column: Annotated[str | None, typer.Option("--id", help="The column of ids.")] = None,
    number: Annotated[
        list[str] | None,
        typer.Option(
            "--number",
            help="A CSV column that is numbers whatever zeros that costs (1.50); others are where nothing is lost.",
        ),
    ] = None,
    dimensions: Annotated[int | None, typer.Option(help="Keep the first so many dimensions.")] = None,
    add: Annotated[bool, typer.Option("--add", help="Add to an index that is there.")] = False,
    replace: Annotated[
        bool, typer.Option("--replace", help="With --add: rows take the place of those with the same id.")
    ] = False,
    rerank: Annotated[
        str | None, typer.Option("--rerank", help="A model that orders a search's first hits anew, from now on.")
    ] = None,
    depth: Annotated[int, typer.Option("--depth", help="With --rerank: how many hits.")] = 50,
    fusion: Annotated[
        str | None,
        typer.Option(
            "--fusion",
            help="Of bm25+MODEL: convex:WEIGHT or reciprocal-rank:WEIGHT of bm25, as a comparison tuned it; reciprocal "
            "rank with equal weights when left out.",
        ),
    ] = None,
    delete: Annotated[list[str] | None, typer.Option("--delete", help="Delete the row with this id.")] = None,
    compact: Annotated[
        bool, typer.Option("--compact", help="Drop what was deleted, join segments, choose and tune anew.")
    ] = False,
    check: Annotated[bool, typer.Option("--check", help="Measure recall at 10 against exact search.")] = False,
    verify: Annotated[bool, typer.Option("--verify", help="Read every file against its checksum.")] = False,
    ray: Annotated[
        str | None,
        typer.Option(
            "--ray",
            help="Into a new table of a server, by the processes of a Ray cluster: its address, auto for the one that "
            "this machine belongs to, or local for a new one of this machine's cores.",
        ),
    ] = None,
    engine: Engine = "auto",
    batch_size: Annotated[int, typer.Option(help="Texts a batch.")] = 32,
    encoding: Encoding = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Make an index of texts, add to it, look after it; umekomi search then takes it in a model's place."""
    from umekomi.cli import show
    from umekomi.errors import WrongUse, without_password
    from umekomi.indexes.opening import open_index
    from umekomi.verbs.index import index as run

    words = inputs or []
    if len(words) > 2:
        raise WrongUse(f"index: expected a model and a file, found {len(words)} arguments")
    chosen = settings_of(settings)
    how: dict[str, Any] = {
        "kind": kind,
        "recall": 0.95 if recall is None else recall,
        "column": column,
        "id_column": id_column,
        "dimensions": dimensions,
        "engine": engine,
        "batch_size": batch_size,
        "encoding": encoding,
        "numbers": number or (),
        "rerank": rerank,
        "depth": depth,
        "progress": True,
    }
    opened: Any
    if ray is not None:
        if len(words) < 2 or add or replace or fusion:
            raise WrongUse("index: --ray makes a new table of a model and a file of texts: leave out other work")
        from umekomi.scale import index as over_a_cluster

        opened = over_a_cluster(words[0], words[1], out, address=ray, **how, **chosen)
    elif words:
        model, source = (words[0], words[1]) if len(words) == 2 else (None, words[0])
        opened = run(model, source, out, add=add, replace=replace, fusion=fusion, **how, **chosen)
    else:
        if not (delete or compact or check or verify):
            raise WrongUse(
                "index: expected a model and a file of texts, or one of --delete, --compact, --check, --verify"
            )
        opened = open_index(out, prepare=False)
    out = without_password(out)
    with opened:
        if delete:
            opened.delete(delete)
        if compact:
            opened.compact(kind if kind != "auto" or chosen else None, recall=recall, **chosen)
        report: dict[str, Any] = {
            "out": out,
            "rows": len(opened),
            "legs": list(opened.legs),
            "fusion": (opened.about.get("lexical") or {}).get("fusion"),
            "kind": opened.kind.name,
            "settings": opened.kind.settings(),
            "dimension": opened.about["dimension"],
            "bytes": opened.bytes_on_disk(),
        }
        if verify:
            report["verified bytes"] = opened.verify()
        if check:
            report["recall@10"] = opened.check()
        named = opened.about["model"]["name"]
    if json:
        show.as_json(report)
        return
    said = ", ".join(f"{name} {value}" for name, value in report["settings"].items() if value)
    fused = f", fused by {report['fusion']}" if report["fusion"] else ""
    size = "" if report["bytes"] is None else f", {report['bytes'] / 1e6:,.1f} MB"
    print(
        f"{out}: {report['rows']:,} rows of {report['dimension']} dimensions, "
        f"{'bm25 + ' if len(report['legs']) > 1 else ''}{report['kind']}{f' ({said})' if said else ''}{fused}" + size
    )
    if verify:
        print(f"every checksum holds ({report['verified bytes'] / 1e6:,.1f} MB read)")
    if check:
        print(f"recall@10 against exact search: {report['recall@10']:.3f} (its own rows asked, each without itself)")
    if words and named:
        print(f'next: umekomi search {shlex.quote(str(out))} "your query"')
