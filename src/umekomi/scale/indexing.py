"""``index`` over a Ray cluster, straight into a database: Ray Data hands shards to workers that hold the model, and
each writes its rows there itself.

A shard is one write of rows by their ids, in place of any that lie there (in PostgreSQL one transaction), and is then
written down in the database by who hands them out. A worker that is killed leaves a whole shard or none of it; one
whose shard was not written down yet writes the same rows again."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

from umekomi.data.readers import Source
from umekomi.errors import DataError, WrongUse, without_password
from umekomi.files import content_hash, source_hash
from umekomi.indexes.adapters import Adapter, NoSuchIndex, check_kind, create_database, is_database, open_database
from umekomi.indexes.opening import is_index
from umekomi.limits import checked
from umekomi.models.engines.choice import open_for_encoding
from umekomi.progress import Progress, say
from umekomi.scale.cluster import ShardWorker, connected, entries, name_of, need_ray, plan
from umekomi.verbs.encode import read_vectors, width_of
from umekomi.verbs.index import ROWS, check_dense, id_column_of, job_of, last_stage, may_go_on, rows_of
from umekomi.verbs.search import DEPTH


class Worker(ShardWorker):
    """Encodes shards and writes them into the database."""

    def __init__(self, model: str, job: dict[str, Any]) -> None:
        self.column, self.own_id = job["column"], job["id_column"]
        self.how = {"dimensions": job["dimensions"], "batch_size": job["batch_size"]}
        super().__init__(model, _source(job), job)
        self.opened = open_database(job["out"], embedder=self.embedder)

    def shard(self, number: int) -> dict[str, int]:
        table, first = self.shards.table(number), number * self.shards.rows
        ids, texts, payload = rows_of(self.shards.read, table, first, self.column, self.own_id)
        self.opened.add(ids, self.embedder.encode_document(texts, **self.how), payload, replace=True)
        return {"shard": number, "rows": len(ids)}


def _source(job: dict[str, Any]) -> Source:
    return Source(
        job["source"],
        encoding=job["encoding"],
        column=job["column"],
        id_column=job["id_column"],
        typed=True,
        numbers=job["numbers"],
        titles=True,
    )


@checked
def index(
    model: str | Path,
    source: str | Path,
    out: str,
    *,
    workers: int | None = None,
    cpus: float = 1,
    gpus: float = 0,
    address: str | None = None,
    kind: str = "auto",
    recall: float = 0.95,
    column: str = "text",
    id_column: str | None = None,
    dimensions: int | None = None,
    shard_rows: int = ROWS,
    batch_size: int = 32,
    engine: str = "auto",
    encoding: str | None = None,
    numbers: tuple[str, ...] | list[str] = (),
    rerank: str | None = None,
    depth: int = DEPTH,
    progress: bool = False,
    **settings: Any,
) -> Adapter:
    """:func:`umekomi.index` of a file of texts into a new table or collection of a server, by the processes of a Ray
    cluster.

    The model and the input must lie where every machine sees them under one path, and every machine must reach the
    database. A worker that dies is started again and its shards are written anew, in place of what it wrote. The same
    call on an unfinished table goes on with the shards that are missing; at the end the rows are counted against the
    input.

    Args:
        model: a name or a folder.
        source: the file of texts.
        out: the address, of PostgreSQL or of a Qdrant server or cluster.
        workers: processes; None: as many as fit with one core left over.
        cpus: cores of each.
        gpus: GPUs of each.
        address: the Ray cluster's (``"auto"``: the one this machine belongs to; None: the one that is connected, or a
            new one on this machine).
        kind: in PostgreSQL exact or hnsw, made when all rows are there.
        recall: what an approximate kind is tuned to.
        column: holds the texts.
        id_column: holds ids; None: ``id`` or ``_id`` where there is one, else row numbers from 1.
        dimensions: keeps the first so many.
        shard_rows: texts of a shard.
        batch_size: items that are encoded at once.
        engine: what runs a transformer (:func:`umekomi.models.engines.choice.open_for_encoding`).
        encoding: of a file that is not UTF-8.
        numbers: columns that are numbers though a field would not come back from one as it stands.
        rerank: a model's name or folder, as of :func:`umekomi.index`.
        depth: as many hits are ordered by it.
        progress: shows a bar.
        **settings: of the kind.
    """
    if not _is_server(out):
        raise WrongUse(
            f"{without_password(str(out))}: expected the address of a server that several processes write to, "
            "postgresql://HOST/DATABASE/TABLE or qdrant://HOST/COLLECTION: an index in a folder has one writer"
        )
    check_kind(out, kind, settings)
    need_ray()
    stage, name = last_stage(rerank, depth), name_of(model)
    source = Path(source).absolute()
    if is_index(source) or read_vectors(source) is not None:
        raise WrongUse(f"{source} holds vectors already: index it without a cluster, which has nothing to encode")
    job: dict[str, Any] = {
        "source": str(source),
        "out": out,
        "rows": shard_rows,
        "engine": engine,
        "encoding": encoding,
        "numbers": list(numbers),
        "column": column,
        "id_column": id_column,
        "dimensions": dimensions,
        "batch_size": batch_size,
    }
    read = _source(job)
    job["id_column"] = id_column_of(read, id_column)
    if read.kind == ".parquet" and job["id_column"] != id_column:
        read = _source(job)  # of a column that was not named, ids are not looked through for doubles
    total, shards = read.rows, -(-read.rows // shard_rows)
    embedder = open_for_encoding(name, engine)
    check_dense(embedder)
    width = width_of(embedder, dimensions)
    job["fingerprint"] = embedder.fingerprint()
    how = [column, id_column, dimensions, shard_rows, encoding, *numbers]
    key = content_hash("cluster", job["fingerprint"], source_hash(source), *how)
    with ExitStack() as failing, connected(address) as resources:
        workers = plan(resources, workers, cpus, gpus)
        try:
            opened = open_database(out, embedder=embedder)
        except NoSuchIndex:
            notes = {"job": {"key": key, "rows": 0, "finished": False, "shards": []}}
            opened = create_database(
                out, dimension=width, model=embedder, metric=embedder.metric, source=name, text=column, notes=notes
            )
        failing.callback(opened.close)
        may_go_on(opened, key, False)
        done = _done(opened, shards)
        kept = sum(min(shard_rows, total - number * shard_rows) for number in done)
        if kept:
            say(f"going on behind {kept:,} finished rows in {opened.where}")
        missing = [number for number in range(shards) if number not in done]
        with Progress("indexing", total, "rows", progress, done=kept) as bar:
            for entry in entries(Worker, (name, job), missing, workers, cpus, gpus):
                done.add(entry["shard"])
                kept += entry["rows"]
                opened.note(job={"key": key, "rows": kept, "finished": False, "shards": _spans(done)})
                bar.advance(entry["rows"])
        there = len(opened)
        if there != total:
            raise DataError(
                f"{opened.where}: expected the input's {total:,} rows, found {there:,}: something else wrote there"
            )
        opened.compact(None if kind == "auto" else kind, recall=recall, **settings)
        opened.note(job={"key": key, "rows": total, "finished": True}, **({"rerank": stage} if stage else {}))
        failing.pop_all()
    return opened


def _is_server(out: object) -> bool:
    """Is this the address of a database that several processes write to at a time?"""
    if not isinstance(out, str) or not is_database(out):
        return False
    scheme, _, rest = out.partition("://")
    return scheme in ("postgresql", "postgres") or (scheme in ("qdrant", "qdrants") and not rest.startswith("/"))


def _done(opened: Adapter, shards: int) -> set[int]:
    """The shards that an earlier run finished."""
    spans = job_of(opened).get("shards")
    if not isinstance(spans, list) or not all(_is_span(span, shards) for span in spans):
        raise DataError(f"{opened.where}: job: expected the finished shards, below {shards:,}, found {spans!r:.80}")
    return {number for first, last in spans for number in range(first, last + 1)}


def _is_span(span: Any, shards: int) -> bool:
    whole = isinstance(span, list) and len(span) == 2 and all(type(number) is int for number in span)
    return whole and 0 <= span[0] <= span[1] < shards


def _spans(numbers: set[int]) -> list[list[int]]:
    """Numbers as (first, last) of each run of them.

    >>> _spans({5, 0, 1, 2, 6, 9})
    [[0, 2], [5, 6], [9, 9]]
    """
    spans: list[list[int]] = []
    for number in sorted(numbers):
        if spans and spans[-1][1] == number - 1:
            spans[-1][1] = number
        else:
            spans.append([number, number])
    return spans
