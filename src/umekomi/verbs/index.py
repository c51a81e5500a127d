"""The verb ``index``: a file of texts, or vectors that ``encode`` saved, into an index that is searched in place."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from umekomi.data.readers import Source, identifiers
from umekomi.errors import DataError, WrongUse
from umekomi.files import content_hash, source_hash
from umekomi.indexes import Index
from umekomi.indexes.index import check_asked
from umekomi.indexes.payload import as_table
from umekomi.indexes.store import Store
from umekomi.limits import checked
from umekomi.models.engines.choice import open_for_encoding
from umekomi.models.opening import file_of, folder_of
from umekomi.parts import similarity as similarities
from umekomi.progress import Progress, say
from umekomi.recipes import get, names, quick_model
from umekomi.verbs.encode import WRITTEN, read_vectors, vectors_of

if TYPE_CHECKING:
    from umekomi.models.base import EmbedderBase, Named

ROWS = 4096
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
    progress: bool = False,
    **settings: Any,
) -> Index:
    """An index of every text in a file, its other columns as payload.

    A row without ``text`` is embedded by its ``title``. A column of a CSV or TSV file is numbers in the payload, which
    a filter can compare, where every field comes back from them as it stands. Rows are committed as they are embedded;
    the same call on an unfinished index goes on behind the last of them.

    Args:
        model: a name, a folder, or an embedder; None: the one that encoded ``source``.
        source: a file or folder of texts, or a Parquet file that ``encode`` wrote, whose vectors are taken.
        out: the index's folder.
        kind: as of :meth:`Index.create`.
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
        progress: shows a bar.
        **settings: of the kind, as of :meth:`Index.create`.
    """
    import pyarrow as pa

    source, out = Path(source), Path(out)
    check_asked(kind, recall, settings)
    known = read_vectors(source)
    if model is None and known is None:
        raise WrongUse(f"{source} was not written by encode: name the model to embed it with")
    if known is not None:
        column = known["column"]
    read = Source(
        source, encoding=encoding, column=column, id_column=id_column, typed=True, numbers=numbers, titles=True
    )
    own_id = id_column or next((name for name in ("id", "_id") if name in read.names), None)
    taken = next((name for name in TAKEN if name in read.names), None)
    if taken is not None:
        raise WrongUse(f"{source}: the column {taken!r} has a name that an index uses itself: rename it")
    inside = out / "model"

    def searched() -> list[str]:
        return [text for table in read.tables(ROWS) for text in read.texts(table)]

    learns = known is None and isinstance(model, str) and model in names() and get(model).quick
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
    job = content_hash(embedder.fingerprint(), source_hash(source), column, id_column, dimensions, ROWS, *how)
    opened = _open(out, embedder, job, add)
    begun = _job(opened)
    done = begun["rows"] if begun["key"] == job and not begun["finished"] else 0
    if done:
        say(f"going on behind {done:,} finished rows in {out}")
    row = 0
    with Progress("indexing", read.rows, "rows", progress, done=done) as bar:
        for table in read.tables(ROWS):
            if row + table.num_rows <= done:
                row += table.num_rows
                continue
            texts = read.texts(table, row)
            ids = (
                identifiers(table[own_id], str(source), own_id, row)
                if own_id
                else [str(number) for number in range(row + 1, row + 1 + table.num_rows)]
            )
            left_out = {own_id, *(WRITTEN if known is not None else ())} - {column}
            # a hit shows what was embedded, be it a title
            table = table.set_column(table.column_names.index(column), column, pa.array(texts, pa.string()))
            rest = table.select([name for name in table.column_names if name not in left_out])
            payload = as_table(rest, str(source))
            vectors = (
                vectors_of(table, source)
                if known is not None
                else embedder.encode_document(texts, dimensions=dimensions, batch_size=batch_size)
            )
            row += table.num_rows
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
                    **settings,
                )
            if learns and not inside.is_dir():
                embedder.save(inside)
            opened.add(ids, vectors, payload, replace=replace, job={"key": job, "rows": row, "finished": False})
            bar.advance(table.num_rows)
    if opened is None or not row:
        raise DataError(f"{source}: expected at least one text, found none")
    if not add:
        opened.compact()
    opened.note(job={"key": job, "rows": row, "finished": True})
    return opened


def _where(model: Named) -> str:
    """What the index writes down to find its model again: a name, or a folder's whole path; nothing for an object in
    memory."""
    if not isinstance(model, (str, Path)):
        return ""
    place = folder_of(model) or file_of(model)
    return str(model) if place is None else str(place.resolve())


def _job(opened: Index | None) -> dict[str, Any]:
    """The run that filled an index: its key, how many rows it had finished, whether that was all."""
    about = opened.about.get("job") if opened is not None else None
    if about is None:
        return {"key": "", "rows": 0, "finished": True}
    types = {"key": str, "rows": int, "finished": bool}
    if not isinstance(about, dict) or not all(type(about.get(name)) is kind for name, kind in types.items()):
        where = "" if opened is None else opened.store.manifest
        raise DataError(f"{where}: job: expected the key, rows and end of a run of umekomi index, found {about!r}")
    return about


def _open(out: Path, embedder: EmbedderBase, job: str, add: bool) -> Index | None:
    """The index to add to, or to go on with; None where there is none yet."""
    if not Store(out).exists():
        if add:
            raise WrongUse(f"{out} holds no index to add to: leave out add to make one")
        return None
    opened = Index(out)
    opened.use(embedder)
    begun = _job(opened)
    if not add and (begun["finished"] or begun["key"] != job):
        raise WrongUse(
            f"{out} holds an index already", parameter="add", advice="choose a new folder, or add to it with"
        )
    return opened
