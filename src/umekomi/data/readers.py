"""Files into Arrow tables: JSONL, CSV, TSV, Parquet (each also gzipped), text files, folders of documents and BEIR
folders. Every error names the file, the line, the column, what was expected and what was found.

TSV has no quoting (a tab ends a field, whatever surrounds it), CSV has the usual one.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from umekomi.data.bags import read_bags
from umekomi.data.columns import IDENTIFIER, LIST, NUMBER, TEXT, Retrieval, first_problem
from umekomi.errors import DataError, WrongUse, where

if TYPE_CHECKING:
    import pyarrow as pa

Row = dict[str, Any]
TABLE_SUFFIXES = (".jsonl", ".ndjson", ".csv", ".tsv", ".parquet", ".txt", ".fasttext", ".labeldoc")
DOCUMENT_SUFFIXES = (".txt", ".md", ".rst")
BATCH = 8192


def read(path: str | Path) -> pa.Table | Retrieval | dict[str, Any]:
    """Everything at ``path``: a table; a :class:`Retrieval` or its splits for a BEIR folder; the splits of a folder
    that holds train/dev/test files; or a table (id, text[, label]) for a folder of documents."""
    path = Path(path)
    if path.is_dir():
        return _folder(path)
    import pyarrow as pa

    batches = list(tables(path))
    try:
        return pa.concat_tables(batches, promote_options="default").replace_schema_metadata({"source": str(path)})
    except pa.ArrowInvalid as error:
        raise DataError(f"{path}: a column changes its type within the file: {error}") from None


def batches(source: Path, rows: int) -> Iterator[pa.Table]:
    """Tables of at most ``rows`` rows of a file, or of a folder of documents."""
    if source.is_dir():
        table: Any = read(source)
        if isinstance(table, dict):
            raise WrongUse(f"{source}: expected a file, or a folder of documents; name one of its files")
        for start in range(0, table.num_rows, rows):
            yield table.slice(start, rows)
        return
    yield from tables(source, rows)


def tables(path: str | Path, rows: int = BATCH) -> Iterator[pa.Table]:
    """Tables of at most ``rows`` rows, in order, in bounded memory."""
    path = Path(path)
    kind, packed = _kind(path)
    if not path.is_file():
        raise WrongUse(f"{path}: no such file")
    if kind == ".parquet":
        yield from _parquet(path, packed, rows)
        return
    if kind in (".fasttext", ".labeldoc"):
        whole = read_bags(path, kind[1:])
        yield from (whole.slice(start, rows) for start in range(0, whole.num_rows, rows))
        return
    parse = {".csv": _csv, ".tsv": _tsv, ".txt": _text}.get(kind, _jsonl)
    seen: set[str] | None = set()
    batch: list[tuple[int, Row]] = []
    total = 0
    columns: dict[str, Any] = {}
    for line, row in parse(path, packed):
        batch.append((line, row))
        total += 1
        if len(batch) == rows:
            yield _table(path, batch, columns, seen)
            batch = []
    if batch:
        yield _table(path, batch, columns, seen)
    if not total:
        raise DataError(f"{path}: expected at least one row, found zero rows")


def _kind(path: Path) -> tuple[str, bool]:
    packed = path.suffix == ".gz"
    kind = Path(path.stem).suffix.lower() if packed else path.suffix.lower()
    if kind not in TABLE_SUFFIXES:
        raise WrongUse(
            f"{path}: expected a file ending in {', '.join(TABLE_SUFFIXES)} (or these + .gz), found {path.name!r}"
        )
    return kind, packed


def _lines(path: Path, packed: bool) -> Iterator[tuple[int, str, bool]]:
    """(line number, line without its end, whether the end was there)."""
    opener: Any = gzip.open if packed else open
    number = 0
    try:
        with opener(path, "rb") as stream:
            for number, raw in enumerate(stream, 1):
                try:
                    line = raw.decode("utf-8-sig" if number == 1 else "utf-8")
                except UnicodeDecodeError as error:
                    raise DataError(
                        f"{where(str(path), number)}: expected UTF-8, found byte 0x{raw[error.start]:02x} at position "
                        f"{error.start + 1}"
                    ) from None
                ended = line.endswith("\n")
                yield number, line.rstrip("\r\n") if ended else line, ended
    except (EOFError, gzip.BadGzipFile) as error:
        raise DataError(
            f"{where(str(path), number + 1)}: expected a whole gzip file, found that it ends mid-line ({error})"
        ) from None


def _jsonl(path: Path, packed: bool) -> Iterator[tuple[int, Row]]:
    for number, line, ended in _lines(path, packed):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            if not ended:
                raise DataError(
                    f"{where(str(path), number)}: expected a whole JSON object, found that the file ends mid-line"
                ) from None
            raise DataError(
                f"{where(str(path), number)}: expected a JSON object, found {error.msg} at character {error.pos + 1}"
            ) from None
        if not isinstance(row, dict):
            raise DataError(f"{where(str(path), number)}: expected a JSON object, found {type(row).__name__}")
        yield number, row


def _header(path: Path, names: list[str]) -> list[str]:
    for index, name in enumerate(names):
        if not name.strip():
            raise DataError(f"{where(str(path), 1)}: expected a name for column {index + 1}, found nothing")
        if name in names[:index]:
            raise DataError(f"{where(str(path), 1)}: expected distinct column names, found {name!r} twice")
    return [name.strip() for name in names]


def _fields(path: Path, number: int, names: list[str], fields: list[str], ended: bool) -> Row:
    if len(fields) != len(names):
        cut = "" if ended else "; the file ends mid-line"
        raise DataError(
            f"{where(str(path), number)}: expected {len(names)} fields ({', '.join(names)}), found {len(fields)}{cut}"
        )
    return dict(zip(names, fields, strict=True))


def _tsv(path: Path, packed: bool) -> Iterator[tuple[int, Row]]:
    names: list[str] | None = None
    for number, line, ended in _lines(path, packed):
        if names is None:
            names = _header(path, line.split("\t"))
        elif line:
            yield number, _fields(path, number, names, line.split("\t"), ended)


def _csv(path: Path, packed: bool) -> Iterator[tuple[int, Row]]:
    ends = True

    def source() -> Iterator[str]:
        nonlocal ends
        for _, line, ends in _lines(path, packed):
            yield line + "\n" if ends else line

    reader = csv.reader(source(), strict=True)
    names: list[str] | None = None
    start = 1
    while True:
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            found = "that the file ends mid-line, inside quotes" if "unexpected end" in str(error) else str(error)
            raise DataError(f"{where(str(path), start)}: expected a CSV record, found {found}") from None
        if names is None:
            names = _header(path, fields)
        elif fields:
            yield start, _fields(path, start, names, fields, ends)
        start = reader.line_num + 1


def _text(path: Path, packed: bool) -> Iterator[tuple[int, Row]]:
    for number, line, _ in _lines(path, packed):
        if line.strip():
            yield number, {"text": line}


def _parquet(path: Path, packed: bool, rows: int) -> Iterator[pa.Table]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        source = io.BytesIO(gzip.decompress(path.read_bytes())) if packed else path
        file = pq.ParquetFile(source)
    except (pa.ArrowInvalid, EOFError, gzip.BadGzipFile) as error:
        raise DataError(f"{path}: expected a Parquet file, found: {error}") from None
    if file.metadata.num_rows == 0:
        raise DataError(f"{path}: expected at least one row, found zero rows")
    done = 0
    for batch in file.iter_batches(rows):
        table = pa.Table.from_batches([batch])
        for name in table.column_names:
            if name in TEXT | NUMBER and (problem := first_problem(name, table[name])):
                row, expected, found = problem
                raise DataError(f"{path}, row {done + row + 1}, column {name!r}: expected {expected}, found {found}")
        done += len(table)
        yield table


def _table(path: Path, batch: list[tuple[int, Row]], types: dict[str, Any], seen: set[str] | None) -> pa.Table:
    """One Arrow table of checked rows; ``types`` carries each column's type from batch to batch."""
    import pyarrow as pa

    names = list(types) + [name for name in batch[0][1] if name not in types]
    for line, row in batch:
        if row.keys() != batch[0][1].keys():
            absent = [name for name in batch[0][1] if name not in row]
            if absent and absent[0] in TEXT | NUMBER | IDENTIFIER:
                raise DataError(f"{where(str(path), line, absent[0])}: expected a value, found none")
            names += [name for name in row if name not in names]
    columns = {}
    for name in names:
        values = [row.get(name) for _, row in batch]
        if name in TEXT or name in IDENTIFIER or name in NUMBER or name == "document":
            values = [_checked(path, line, name, value) for (line, _), value in zip(batch, values, strict=True)]
        try:
            array = pa.array(values, types.get(name))
        except (pa.ArrowInvalid, pa.ArrowTypeError):
            expected = types.get(name) or pa.array(values[:1]).type
            for (line, _), value in zip(batch, values, strict=True):
                try:
                    pa.array([value], expected)
                except (pa.ArrowInvalid, pa.ArrowTypeError):
                    raise DataError(
                        f"{where(str(path), line, name)}: expected {expected} as in the rows before, found {value!r}"
                    ) from None
            raise
        if name not in types and not pa.types.is_null(array.type):
            types[name] = array.type
        columns[name] = array
    if seen is not None:
        key = next((name for name in ("_id", "id") if name in columns), None)
        if key:
            for (line, _), value in zip(batch, columns[key].to_pylist(), strict=True):
                if value in seen:
                    raise DataError(f"{where(str(path), line, key)}: expected distinct ids, found {value!r} twice")
                seen.add(value)
    return pa.table(columns)


def _checked(path: Path, line: int, name: str, value: Any) -> Any:
    """A value of a standard column in its standard type, or the error."""
    if name in IDENTIFIER:
        if isinstance(value, bool) or not isinstance(value, (str, int)) or value == "":
            raise DataError(f"{where(str(path), line, name)}: expected an id, found {value!r}")
        return str(value)
    if name in NUMBER:
        try:
            number = float(value)
        except (TypeError, ValueError):
            raise DataError(f"{where(str(path), line, name)}: expected a number, found {value!r}") from None
        if not math.isfinite(number):
            raise DataError(f"{where(str(path), line, name)}: expected a finite number, found {value!r}")
        return number
    if name in LIST and isinstance(value, list):
        if not value or not all(isinstance(part, str) for part in value):
            raise DataError(f"{where(str(path), line, name)}: expected a list of texts, found {value!r}")
        return value
    if not isinstance(value, str):
        raise DataError(f"{where(str(path), line, name)}: expected text, found {type(value).__name__} {value!r}")
    if not value.strip():
        raise DataError(f"{where(str(path), line, name)}: expected text, found empty text")
    return value


def _folder(path: Path) -> Any:
    corpus = _first(path, "corpus")
    if corpus:
        return beir(path)
    files = [file for file in sorted(path.iterdir()) if file.is_file() and _is_table(file)]
    by_split = {_split_name(file): file for file in files}
    if "train" in by_split or "test" in by_split:
        return {split: read(file) for split, file in by_split.items()}
    documents = sorted(file for file in path.rglob("*") if file.suffix.lower() in DOCUMENT_SUFFIXES and file.is_file())
    if documents:
        return _documents(path, documents)
    if len(files) == 1:
        return read(files[0])
    raise WrongUse(
        f"{path}: expected a BEIR folder (corpus.jsonl, queries.jsonl, qrels/), files named train/dev/test, "
        f"or documents ({', '.join(DOCUMENT_SUFFIXES)}); found {len(list(path.iterdir()))} entries of other kinds"
    )


def _is_table(file: Path) -> bool:
    try:
        return _kind(file)[0] != ".txt"
    except WrongUse:
        return False


def _split_name(file: Path) -> str:
    stem = file.name.split(".")[0]
    return {"validation": "dev", "valid": "dev", "val": "dev"}.get(stem, stem)


def _documents(path: Path, files: list[Path]) -> pa.Table:
    """A folder of documents: id = relative path; label = the first folder, when every document lies in one."""
    import pyarrow as pa

    rows = []
    for file in files:
        try:
            text = file.read_text(encoding="utf-8-sig")
        except UnicodeDecodeError as error:
            line = file.read_bytes()[: error.start].count(b"\n") + 1
            raise DataError(
                f"{where(str(file), line)}: expected UTF-8, found byte 0x{error.object[error.start]:02x}"
            ) from None
        if not text.strip():
            raise DataError(f"{file}: expected text, found an empty file")
        rows.append({"id": file.relative_to(path).as_posix(), "text": text})
    labels = [row["id"].split("/")[0] if "/" in row["id"] else None for row in rows]
    if None not in labels and len(set(labels)) > 1:
        rows = [{**row, "label": str(label)} for row, label in zip(rows, labels, strict=True)]
    return pa.Table.from_pylist(rows).replace_schema_metadata({"source": str(path)})


def _first(folder: Path, stem: str) -> Path | None:
    for suffix in (".jsonl", ".jsonl.gz", ".tsv", ".tsv.gz", ".parquet"):
        if (folder / (stem + suffix)).is_file():
            return folder / (stem + suffix)
    return None


def beir(path: str | Path) -> dict[str, Retrieval]:
    """A BEIR folder: corpus (``_id, title, text``), queries (``_id, text``), ``qrels/SPLIT.tsv``
    (``query-id, corpus-id, score``). Judgements that point nowhere are errors."""
    path = Path(path)
    corpus_file, queries_file = _first(path, "corpus"), _first(path, "queries")
    if corpus_file is None or queries_file is None:
        raise WrongUse(
            f"{path}: expected corpus.jsonl and queries.jsonl (or .gz), found "
            f"{'no queries' if corpus_file else 'no corpus'}"
        )
    judged = sorted((path / "qrels").glob("*.tsv*")) or sorted(path.glob("qrels.tsv*"))
    if not judged:
        raise WrongUse(f"{path}: expected judgements in qrels/*.tsv, found none")
    corpus, queries = read(corpus_file), read(queries_file)
    splits = {}
    for file in judged:
        name = file.name.split(".")[0]
        splits["test" if name == "qrels" else _split_name(file)] = retrieval(
            queries, corpus, read(file), source=str(file)
        )
    return splits


def retrieval(queries: Any, corpus: Any, qrels: Any, *, source: str = "the judgements") -> Retrieval:
    """Three tables in any of BEIR's spellings, checked against each other. Queries without a judgement are left out
    of the split; ``title`` is put before ``text`` as BEIR and mteb do."""
    import pyarrow as pa

    def renamed(table: pa.Table) -> pa.Table:
        names = {"_id": "id", "query-id": "query_id", "corpus-id": "corpus_id", "relevance": "score"}
        return table.rename_columns([names.get(name, name) for name in table.column_names])

    queries, corpus, qrels = renamed(queries), renamed(corpus), renamed(qrels)
    for table, columns, what in (
        (queries, ("id", "text"), "queries"),
        (corpus, ("id", "text"), "corpus"),
        (qrels, ("query_id", "corpus_id", "score"), source),
    ):
        for column in columns:
            if column not in table.column_names:
                raise DataError(f"{what}: expected the column {column!r}, found {', '.join(table.column_names)}")
    texts = corpus["text"].to_pylist()
    if "title" in corpus.column_names:
        texts = [
            f"{title or ''} {text}".strip() for title, text in zip(corpus["title"].to_pylist(), texts, strict=True)
        ]
    corpus_ids = [str(value) for value in corpus["id"].to_pylist()]
    query_ids = [str(value) for value in queries["id"].to_pylist()]
    known = {"query_id": set(query_ids), "corpus_id": set(corpus_ids)}
    for name, ids in (("queries", query_ids), ("corpus", corpus_ids)):
        if len(set(ids)) < len(ids):
            twice = next(value for index, value in enumerate(ids) if value in set(ids[:index]))
            raise DataError(f"{name}, column 'id': expected distinct ids, found {twice!r} twice")
    judged = []
    for column in ("query_id", "corpus_id"):
        values = [str(value) for value in qrels[column].to_pylist()]
        for row, value in enumerate(values):
            if value not in known[column]:
                kind = "queries" if column == "query_id" else "the corpus"
                raise DataError(f"{where(source, row + 2, column)}: expected an id of {kind}, found {value!r}")
        judged.append(values)
    wanted = set(judged[0])
    kept = [index for index, value in enumerate(query_ids) if value in wanted]
    scores = [float(value) for value in qrels["score"].to_pylist()]
    query_texts = queries["text"].to_pylist()
    return Retrieval(
        pa.table({"id": [query_ids[i] for i in kept], "text": [query_texts[i] for i in kept]}),
        pa.table({"id": corpus_ids, "text": texts}),
        pa.table({"query_id": judged[0], "corpus_id": judged[1], "score": scores}),
    )
