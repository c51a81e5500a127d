"""The verb ``index``: a file of texts, or vectors that ``encode`` saved, into an index that is searched in place."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from umekomi.data.readers import Source, identifiers
from umekomi.errors import DataError, WrongUse, without_password
from umekomi.files import content_hash, source_hash
from umekomi.indexes import Index, lexical
from umekomi.indexes.adapters import Adapter, NoSuchIndex, check_kind, create_database, is_database
from umekomi.indexes.adapters.base import about_of
from umekomi.indexes.index import check_asked
from umekomi.indexes.opening import AnyIndex, batches_of, is_index, open_index
from umekomi.indexes.payload import as_table
from umekomi.indexes.store import Store
from umekomi.limits import checked
from umekomi.models.engines.choice import open_for_encoding
from umekomi.models.opening import file_of, folder_of
from umekomi.parts import similarity as similarities
from umekomi.parts.ranking import Fusion
from umekomi.parts.words import choose
from umekomi.progress import Progress, say
from umekomi.recipes import get, names, quick_model
from umekomi.verbs.encode import WRITTEN, read_vectors, vectors_of
from umekomi.verbs.search import DEPTH, open_reranker

if TYPE_CHECKING:
    import pyarrow as pa

    from umekomi.models.base import EmbedderBase, Named

ROWS = 4096
MOST_DEPTH = 1000
TAKEN = ("__id__", "__row__")
"""Columns of the payload that are the index's own."""


@checked
def index(
    model: Named | None,
    source: str | Path,
    out: str | Path,
    *,
    kind: str = "auto",
    recall: float = 0.95,
    column: str = "text",
    id_column: str | None = None,
    dimensions: int | None = None,
    add: bool = False,
    replace: bool = False,
    engine: str = "auto",
    batch_size: int = 32,
    encoding: str | None = None,
    numbers: Sequence[str] = (),
    rerank: str | None = None,
    depth: int = DEPTH,
    fusion: str | None = None,
    progress: bool = False,
    **settings: Any,
) -> AnyIndex:
    """An index of every text in a file, its other columns as payload. ``bm25+MODEL`` makes a hybrid one: every row's
    words beside its vector, and texts are answered by both (:mod:`umekomi.indexes.lexical`).

    A row without ``text`` is embedded by its ``title``. A column of a CSV or TSV file is numbers in the payload, which
    a filter can compare, where every field comes back from them as it stands. Rows are committed as they are embedded;
    the same call on an unfinished index goes on behind the last of them.

    An address such as ``postgresql://host/database/TABLE`` takes the place of a folder
    (:mod:`umekomi.indexes.adapters.addresses`), and an index, in a folder or a database, that of the texts: then its
    rows are carried over as they are.

    Args:
        model: a name, a folder, or an embedder, ``bm25+`` before it for a hybrid index; None: the one that encoded
            ``source``.
        source: a file or folder of texts, or a Parquet file that ``encode`` wrote, whose vectors are taken; or an
            index.
        out: the index's folder, or an address.
        kind: as of :meth:`Index.create`; in PostgreSQL exact or hnsw.
        recall: as of :meth:`Index.create`.
        column: holds the texts.
        id_column: holds ids, text or whole numbers; None: ``id`` or ``_id`` where there is one, else row numbers from
            1.
        dimensions: keeps the first so many.
        add: puts the rows into an index that is there already.
        replace: lets them take the place of rows with the same id.
        engine: what runs a transformer (:func:`umekomi.models.engines.choice.open_for_encoding`).
        batch_size: items that are encoded at once.
        encoding: of a file that is not UTF-8.
        numbers: columns that are numbers though a field would not come back from one as it stands (``1.50``).
        rerank: a model's name or folder, written down with the index: a search orders its first hits by it.
        depth: as many hits are ordered so.
        fusion: how the legs of a new hybrid index are fused: ``convex:WEIGHT`` or ``reciprocal-rank:WEIGHT`` of bm25,
            as a comparison tuned it (:class:`umekomi.parts.ranking.Fusion`); None: by reciprocal rank with equal
            weights.
        progress: shows a bar.
        **settings: of the kind, as of :meth:`Index.create`.
    """
    model, hybrid = legs_of(model)
    stage = last_stage(rerank, depth)
    if fusion is not None:
        try:
            fusion = str(Fusion.read(fusion))
        except ValueError as error:
            raise WrongUse(f"index: {error}") from None
        if not hybrid or add:
            raise WrongUse(f"index: fusion is of a new index of both legs: expected {lexical.NAME}+MODEL, without add")
    if not is_database(out):
        out = Path(out)
        check_asked(kind, recall, settings)
    else:
        check_kind(str(out), kind, settings)
        if hybrid:
            raise WrongUse(f"index: a database holds vectors alone: leave out {lexical.NAME}+, or choose a folder")
    if is_index(source):
        if model is not None:
            raise WrongUse(
                f"index: the rows of {without_password(str(source))} are taken as they are: leave out the model"
            )
        return carry(source, out, kind=kind, recall=recall, add=add, stage=stage, progress=progress, **settings)
    source = Path(source)
    known = read_vectors(source)
    if model is None and known is None:
        raise WrongUse(f"{source} was not written by encode: name the model to embed it with")
    if known is not None:
        column = known["column"]
    read = Source(
        source, encoding=encoding, column=column, id_column=id_column, typed=True, numbers=numbers, titles=True
    )
    own_id = id_column_of(read, id_column)
    inside = Path(out) / "model"

    def searched() -> list[str]:
        return [text for table in read.tables(ROWS) for text in read.texts(table)]

    learns = known is None and isinstance(model, str) and model in names() and get(model).quick
    if learns and is_database(out):
        raise WrongUse(
            f"index: a database keeps no model: train {model} first, and name the folder that it was saved to"
        )
    embedder = None if inside.is_dir() and learns else quick_model(model, searched)
    if embedder is None:
        named = model if model is not None else (known or {})["model"]
        embedder = open_for_encoding(inside if learns else named, engine)
    if known is not None and embedder.fingerprint() != known["fingerprint"]:
        raise WrongUse(
            f"{source} was encoded by another model ({known['model']}) than {embedder.name}: their vectors do not "
            "compare"
        )
    name = "./model" if learns else _where(model if model is not None else (known or {})["model"])
    how = [[encoding, *numbers]] if encoding or numbers else []
    how += [["bm25"]] if hybrid else []
    how += [["fusion", fusion]] if fusion else []
    job = content_hash(embedder.fingerprint(), source_hash(source), column, id_column, dimensions, ROWS, *how)
    if is_database(out):
        check_dense(embedder)
    with ExitStack() as failing:  # closes what a job that fails had opened
        opened = _open(out, embedder, job, add, failing)
        if opened is not None and hybrid and len(opened.legs) == 1:
            raise WrongUse(f"{opened.where} has no lexical leg: leave out bm25+, or make a new index with it")
        begun = job_of(opened)
        done = begun["rows"] if begun["key"] == job and not begun["finished"] else 0
        if done and opened is not None:
            say(f"going on behind {done:,} finished rows in {opened.where}")
        row, skipped = 0, done
        with Progress("indexing", read.rows, "rows", progress, done=done) as bar:
            for table in read.tables(ROWS):
                if row + table.num_rows <= skipped:
                    row += table.num_rows
                    continue
                ids, texts, payload = rows_of(read, table, row, column, own_id, WRITTEN if known is not None else ())
                vectors = (
                    vectors_of(table, source)
                    if known is not None
                    else embedder.encode_document(texts, dimensions=dimensions, batch_size=batch_size)
                )
                row += table.num_rows
                if opened is None and is_database(out):
                    opened = failing.enter_context(
                        create_database(
                            str(out),
                            dimension=similarities.width(vectors),
                            model=embedder,
                            metric=embedder.metric,
                            source=name,
                            text=column,
                            notes={"job": {"key": job, "rows": 0, "finished": False}},
                        )
                    )
                if opened is None:
                    width = similarities.width(vectors)
                    opened = Index.create(
                        out,
                        model=embedder,
                        kind=kind,
                        recall=recall,
                        source=name,
                        text=column,
                        dimension=width,
                        # a run that is killed before its first rows are there goes on too
                        notes={"job": {"key": job, "rows": 0, "finished": False}},
                        words=lexical.settings(choose(searched()), fusion=fusion) if hybrid else None,
                        **settings,
                    )
                if learns and not inside.is_dir():
                    embedder.save(inside)
                # where rows and what is said of them are two writes, a kill may have come between
                again, done = replace or (bool(done) and isinstance(opened, Adapter)), 0
                opened.add(ids, vectors, payload, replace=again, job={"key": job, "rows": row, "finished": False})
                bar.advance(table.num_rows)
        if opened is None or not row:
            raise DataError(f"{source}: expected at least one text, found none")
        if isinstance(opened, Adapter):
            opened.compact(None if kind == "auto" else kind, recall=recall, **settings)
        elif not add:
            opened.compact()
        opened.note(job={"key": job, "rows": row, "finished": True}, **({"rerank": stage} if stage else {}))
        failing.pop_all()
    return opened


def check_dense(embedder: EmbedderBase) -> None:
    """The error for a model whose vectors no database holds."""
    if embedder.default_output != "dense":
        raise WrongUse(f"index: a database holds dense vectors, {embedder.name} gives {embedder.default_output} ones")


def id_column_of(read: Source, id_column: str | None) -> str | None:
    """The column that holds ids; the error for a source with a column whose name an index uses itself."""
    taken = next((name for name in TAKEN if name in read.names), None)
    if taken is not None:
        raise WrongUse(f"{read.path}: the column {taken!r} has a name that an index uses itself: rename it")
    return id_column or next((name for name in ("id", "_id") if name in read.names), None)


def rows_of(
    read: Source, table: pa.Table, first: int, column: str, own_id: str | None, written: Sequence[str] = ()
) -> tuple[list[str], list[str], pa.Table]:
    """(ids, texts, payload) of one of a source's tables, whose rows begin at ``first``.

    Args:
        read: the source.
        table: one of its tables.
        first: where its rows begin, from 0.
        column: holds the texts.
        own_id: holds the ids; None: they are the row numbers, from 1.
        written: columns that are no payload.
    """
    import pyarrow as pa

    texts = read.texts(table, first)
    ids = (
        identifiers(table[own_id], str(read.path), own_id, first)
        if own_id
        else [str(number) for number in range(first + 1, first + 1 + table.num_rows)]
    )
    left_out = {own_id, *written} - {column}
    # a hit shows what was embedded, be it a title
    table = table.set_column(table.column_names.index(column), column, pa.array(texts, pa.string()))
    rest = table.select([name for name in table.column_names if name not in left_out])
    return ids, texts, as_table(rest, str(read.path))


def legs_of(model: Named | None) -> tuple[Named | None, bool]:
    """(the model of the vectors, whether a lexical leg stands beside it), of ``bm25+MODEL`` or ``MODEL``.

    >>> legs_of("bm25+minilm"), legs_of("minilm")
    (('minilm', True), ('minilm', False))
    """
    if not isinstance(model, str) or "+" not in model or Path(model).expanduser().exists():
        return model, False
    first, _, rest = model.partition("+")
    if first != lexical.NAME or not rest or rest == lexical.NAME:
        raise WrongUse(f"index: expected a model, or {lexical.NAME}+MODEL for both, found {model!r}")
    return rest, True


def last_stage(rerank: str | None, depth: int) -> dict[str, Any] | None:
    """What is written down of the reranker: its model and how many hits it orders. It is opened once: a name that is
    none, or a model that orders nothing, is an error now."""
    if isinstance(depth, bool) or not isinstance(depth, int) or not 1 <= depth <= MOST_DEPTH:
        raise WrongUse(f"rerank, depth: expected 1 to {MOST_DEPTH:,}, found {depth!r}")
    if rerank is None:
        return None
    open_reranker(rerank)
    return {"model": _where(rerank), "depth": depth}


def _where(model: Named) -> str:
    """What the index writes down to find its model again: a name, or a folder's whole path; nothing for an object in
    memory."""
    if not isinstance(model, (str, Path)):
        return ""
    place = folder_of(model) or file_of(model)
    return str(model) if place is None else str(place.resolve())


def job_of(opened: AnyIndex | None) -> dict[str, Any]:
    """The run that filled an index: its key, how many rows it had finished, whether that was all."""
    about = opened.about.get("job") if opened is not None else None
    if about is None:
        return {"key": "", "rows": 0, "finished": True}
    types = {"key": str, "rows": int, "finished": bool}
    if not isinstance(about, dict) or not all(type(about.get(name)) is kind for name, kind in types.items()):
        where = "" if opened is None else opened.store.manifest if isinstance(opened, Index) else opened.where
        raise DataError(f"{where}: job: expected the key, rows and end of a run of umekomi index, found {about!r}")
    return about


def _there(out: str | Path, add: bool, failing: ExitStack) -> AnyIndex | None:
    """The index at this place, which ``failing`` closes; None where there is none yet, which is an error where rows are
    to be added to it."""
    try:
        if is_database(out) or Store(out).exists():
            opened = open_index(out, prepare=False)
            failing.callback(opened.close)
            return opened
    except NoSuchIndex:
        pass
    if add:
        raise WrongUse(f"{without_password(str(out))} holds no index to add to: leave out add to make one")
    return None


def _open(out: str | Path, embedder: EmbedderBase, job: str, add: bool, failing: ExitStack) -> AnyIndex | None:
    """The index to add to, or to go on with, which ``failing`` closes; None where there is none yet."""
    opened = _there(out, add, failing)
    if opened is None:
        return None
    opened.use(embedder)
    may_go_on(opened, job, add)
    return opened


def may_go_on(opened: AnyIndex, job: str, add: bool) -> None:
    """The error for an index that is neither to be added to nor this job's own, begun and not finished."""
    begun = job_of(opened)
    if not add and (begun["finished"] or begun["key"] != job):
        raise WrongUse(
            f"{opened.where} holds an index already", parameter="add", advice="choose another place, or add to it with"
        )


def carry(
    source: str | Path | AnyIndex,
    out: str | Path,
    *,
    kind: str = "auto",
    recall: float = 0.95,
    add: bool = False,
    stage: dict[str, Any] | None = None,
    progress: bool = False,
    **settings: Any,
) -> AnyIndex:
    """All rows of an index, in a folder or a database, into another: ids, vectors, payload, the model that they are of.
    Read and written some at a time; the same call on an unfinished one goes on behind the last of them.

    Args:
        source: the index, its folder or its address.
        out: where it goes.
        kind: of the new one.
        recall: as of :meth:`Index.create`.
        add: to an index that is there already, of the same model; rows take the place of those with the same id.
        stage: what :func:`last_stage` gives.
        progress: shows a bar.
        **settings: of the kind.
    """
    with ExitStack() as reading, ExitStack() as failing:
        given = source if isinstance(source, (Index, Adapter)) else open_index(source, prepare=False)
        if given is not source:
            reading.callback(given.close)
        about = given.about
        if about["output"] != "dense":
            raise WrongUse(f"{given.where} holds {about['output']} vectors: only dense ones go from index to index")
        model = dict(about["model"])
        if model["name"].startswith("./") and isinstance(given, Index):
            model["name"] = str(given.store.path(model["name"][2:]).resolve())
        total = len(given)
        if not total:
            raise DataError(f"{given.where}: expected at least one row, found none")
        job = content_hash("carry", given.where, model["fingerprint"], about["metric"], about["dimension"])
        target = _there(out, add, failing)
        if target is not None:
            found = target.about
            for what, one, other in (
                ("model", model["fingerprint"], found["model"]["fingerprint"]),
                ("measure", about["metric"], found["metric"]),
                ("width", about["dimension"], found["dimension"]),
            ):
                if one != other:
                    raise WrongUse(
                        f"{target.where} holds vectors of another {what} ({other}) than {given.where} ({one}): they do "
                        "not compare"
                    )
            may_go_on(target, job, add)
        elif is_database(out):
            begun = about_of(about["dimension"], about["metric"], about["text"]) | {"model": model}
            target = failing.enter_context(create_database(str(out), dimension=about["dimension"], about=begun))
        else:
            target = Index.create(
                out,
                metric=about["metric"],
                kind=kind,
                recall=recall,
                text=about["text"],
                dimension=about["dimension"],
                words=about.get("lexical"),
                of=model,
                **settings,
            )
        begun = job_of(target)
        going_on = begun["key"] == job and not begun["finished"]
        rows, after = (begun["rows"], begun.get("last")) if going_on else (0, None)
        if rows:
            say(f"going on behind {rows:,} finished rows in {target.where}")
        with Progress("carrying", total, "rows", progress, done=rows) as bar:
            for batch in batches_of(given, after):
                rows += len(batch.ids)
                note = {"key": job, "rows": rows, "finished": False, "last": batch.last}
                target.add(batch.ids, batch.vectors, batch.payload, replace=add or going_on, job=note)
                bar.advance(len(batch.ids))
        if isinstance(target, Adapter):
            target.compact(None if kind == "auto" else kind, recall=recall, **settings)
        elif not add:
            target.compact()
        if not add and len(target) != len(given):
            raise DataError(
                f"{target.where} holds {len(target):,} rows, {given.where} {len(given):,}: it changed meanwhile"
            )
        target.note(job={"key": job, "rows": rows, "finished": True}, **({"rerank": stage} if stage else {}))
        say(f"{rows:,} rows of {given.where} are in {target.where}")
        failing.pop_all()
    return target
