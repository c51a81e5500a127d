"""The verb ``index``: a file of texts, or vectors that ``encode`` saved, into an index that is searched in place."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from umekomi.data.columns import first_problem
from umekomi.data.readers import batches
from umekomi.errors import DataError, WrongUse
from umekomi.files import content_hash, source_hash
from umekomi.indexes import Index
from umekomi.indexes.store import Store
from umekomi.limits import checked
from umekomi.models.engines.choice import open_for_encoding
from umekomi.parts import similarity as similarities
from umekomi.progress import Progress, say
from umekomi.recipes import get, names
from umekomi.verbs.encode import encoded, lines, vectors_of

if TYPE_CHECKING:
    import pyarrow as pa

ROWS = 4096


@checked
def index(
    model: Any,
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
    progress: bool = False,
    **settings: Any,
) -> Index:
    """An index of every text in ``source`` at ``out``, its other columns as payload.

    ``source`` is a file or folder of texts, or a Parquet file that ``encode`` wrote (its vectors are taken, and
    ``model`` may be None). Ids come from ``id_column`` (by default ``id`` or ``_id`` where there is one, else row
    numbers from 1). ``kind``, ``recall`` and ``settings`` are :meth:`Index.create`'s, ``engine``
    :func:`umekomi.models.engines.choice.open_for_encoding`'s. Rows are committed as they are embedded; the same call on
    an unfinished index goes on behind the last of them. ``add`` puts the rows into an index that is there already,
    where ``replace`` lets them take the place of rows with the same id.
    """
    source, out = Path(source), Path(out)
    if not source.exists():
        raise WrongUse(f"{source}: no such file or folder")
    known = encoded(source)
    if model is None and known is None:
        raise WrongUse(f"{source} was not written by encode: name the model to embed it with")
    inside = out / "model"
    learns = (
        isinstance(model, str)
        and known is None
        and model in names()
        and not get(model).labelled
        and bool(get(model).columns)
    )
    if learns and not inside.is_dir():
        embedder = get(model)().fit(
            [text for table in batches(source, ROWS) for text in _columns(table, source, column, id_column, 0, {})[0]]
        )
    else:
        embedder = open_for_encoding(
            inside if learns else model if model is not None else (known or {})["model"], engine
        )
    if known is not None:
        column = known["column"]
        if embedder.fingerprint() != known["fingerprint"]:
            raise WrongUse(
                f"{source} was encoded by another model ({known['model']}) than {embedder.name}: their vectors do not "
                "compare"
            )
    name = "./model" if learns else _where(model if model is not None else (known or {})["model"])
    job = content_hash(embedder.fingerprint(), source_hash(source), column, id_column, dimensions, ROWS)
    opened = _open(out, embedder, job, add)
    types = _types(source, {column, id_column, "id", "_id", "vector"})
    begun = opened.about.get("job", {}) if opened is not None else {}
    done = begun["rows"] if begun.get("key") == job and not begun["finished"] else 0
    if done:
        say(f"going on behind {done:,} finished rows in {out}")
    row = 0
    with Progress("indexing", lines(source) if progress else None, "rows", progress, done=done) as bar:
        for table in batches(source, ROWS):
            if row + table.num_rows <= done:
                row += table.num_rows
                continue
            texts, ids, payload = _columns(table, source, column, id_column, row, types)
            vectors = (
                vectors_of(table)
                if known is not None
                else embedder.encode_document(texts, dimensions=dimensions, batch_size=batch_size)
            )
            row += table.num_rows
            if opened is None:
                width = similarities.width(vectors)
                opened = Index.create(
                    out, model=embedder, kind=kind, recall=recall, source=name, text=column, dimension=width, **settings
                )
                if learns:
                    embedder.save(inside)
            opened.add(ids, vectors, payload, replace=replace, job={"key": job, "rows": row, "finished": False})
            bar.advance(table.num_rows)
    if opened is None or not row:
        raise DataError(f"{source}: expected at least one text, found none")
    if not add:
        opened.compact()
    opened.note(job={"key": job, "rows": row, "finished": True})
    return opened


def _where(model: Any) -> str:
    """What the index writes down to find its model again: a name, or a folder's whole path; nothing for an object in
    memory."""
    if not isinstance(model, (str, Path)):
        return ""
    return str(Path(model).resolve()) if Path(model).is_dir() else str(model)


def _open(out: Path, embedder: Any, job: str, add: bool) -> Index | None:
    """The index to add to, or to go on with; None where there is none yet."""
    if not Store(out).exists():
        if add:
            raise WrongUse(f"{out} holds no index to add to: leave out add to make one")
        return None
    opened = Index(out)
    opened.use(embedder)
    begun = opened.about.get("job", {})
    if not add and (begun.get("finished", True) or begun["key"] != job):
        raise WrongUse(
            f"{out} holds an index already", parameter="add", advice="choose a new folder, or add to it with"
        )
    return opened


def _types(source: Path, not_these: set[str | None]) -> dict[str, Any]:
    """Columns of a file whose values are all text that reads as whole numbers, or as numbers: a CSV file's numbers, so
    that a filter can compare them. Read once before anything is embedded."""
    import pyarrow as pa

    if source.is_dir() or not {".csv", ".tsv"} & set(source.suffixes):
        return {}
    types: dict[str, Any] = {}
    for table in batches(source, ROWS):
        for name in table.column_names:
            if name in not_these or not pa.types.is_string(table.schema.field(name).type):
                continue
            order = [pa.int64(), pa.float64(), pa.string()]
            for kind in order[order.index(types.get(name, pa.int64())) :]:
                try:
                    _cast(table[name], kind)
                except pa.ArrowInvalid:
                    continue
                types[name] = kind
                break
    return {name: kind for name, kind in types.items() if kind != pa.string()}


def _cast(column: Any, kind: Any) -> Any:
    """A text column as another type; an empty field is no value."""
    import pyarrow as pa
    import pyarrow.compute as pc

    return pc.if_else(pc.equal(column, ""), pa.scalar(None, pa.string()), column).cast(kind)


def _columns(
    table: pa.Table, source: Path, column: str, id_column: str | None, row: int, types: dict[str, Any]
) -> tuple[list[str], list[str], pa.Table]:
    """Texts, ids, and the payload: the text and every other column."""
    if column not in table.column_names:
        raise DataError(
            f"{source}: expected the column {column!r}, found {', '.join(table.column_names)}",
            parameter="column",
            advice="name one with",
        )
    problem = first_problem("text", table[column])
    if problem:
        raise DataError(
            f"{source}, row {row + problem[0] + 1}, column {column!r}: expected {problem[1]}, found {problem[2]}"
        )
    if id_column is not None and id_column not in table.column_names:
        raise DataError(f"{source}: expected the column {id_column!r} of ids, found {', '.join(table.column_names)}")
    own = id_column or next((name for name in ("id", "_id") if name in table.column_names), None)
    ids = [str(value) for value in table[own].to_pylist()] if own else [str(row + i + 1) for i in range(table.num_rows)]
    left_out = {"vector", "truncated", own}
    for name, kind in types.items():
        table = table.set_column(table.column_names.index(name), name, _cast(table[name], kind))
    return table[column].to_pylist(), ids, table.select([name for name in table.column_names if name not in left_out])
