"""Retrieval sets as BEIR keeps them: a corpus, queries, and judgements, the last also in TREC's four columns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa

from umekomi.data.columns import RetrievalData, first_problem
from umekomi.data.lines import check_encoding, list_names, read_lines, shorten
from umekomi.data.plain import plain_type
from umekomi.data.readers.file import TITLE, FileSource, identifiers, kind_of, value_problem
from umekomi.data.readers.parquet import textual
from umekomi.data.readers.parsing import strip_line_end
from umekomi.errors import DataError, WrongUse, where
from umekomi.progress import say

_SPELLINGS = {"_id": "id", "query-id": "query_id", "corpus-id": "corpus_id", "relevance": "score"}
_TABLES = (".jsonl", ".ndjson", ".tsv", ".csv", ".parquet")
_JUDGED = (*_TABLES, ".txt", ".qrels", ".qrel", ".trec")
_JUDGEMENT = {3: (0, 1, 2), 4: (0, 2, 3)}
"""Where query, document and grade stand, by how many fields a line without header has: BEIR's three, TREC's four."""


def split_name(file: Path) -> str:
    """The split that a file's name says."""
    stem = file.name.split(".")[0]
    return {"validation": "dev", "valid": "dev", "val": "dev"}.get(stem, stem)


def _endings(kinds: Sequence[str]) -> list[str]:
    return [kind + packed for kind in kinds for packed in ("", ".gz")]


def first_file(folder: Path, stem: str) -> Path | None:
    """The table of this name in a folder, in whatever format."""
    return next((folder / (stem + end) for end in _endings(_TABLES) if (folder / (stem + end)).is_file()), None)


def beir(path: str | Path, *, encoding: str | None = None) -> dict[str, RetrievalData]:
    """A BEIR folder: corpus (``_id, title, text``), queries (``_id, text``), ``qrels/SPLIT.tsv`` (``query-id,
    corpus-id, score``, or TREC's four columns without header). Judgements that point nowhere are errors. A document's
    text may be its title; one that has neither cannot be found and is left out with its judgements, which is said."""
    path = Path(path)
    corpus_file, queries_file = first_file(path, "corpus"), first_file(path, "queries")
    if corpus_file is None or queries_file is None:
        raise WrongUse(
            f"{path}: expected corpus.jsonl and queries.jsonl (or .gz), found "
            f"{'no queries' if corpus_file else 'no corpus'}"
        )
    judged = _judged(path)
    if not judged:
        raise WrongUse(f"{path}: expected judgements in qrels/*.tsv, found none")
    corpus = _source(corpus_file, encoding, blank=True).read()
    queries = _source(queries_file, encoding).read()
    corpus, empty = _without_empty(corpus, corpus_file)
    splits: dict[str, RetrievalData] = {}
    for split, file in judged.items():
        table, places = judgements(file, encoding)
        if empty:
            kept = [row for row, name in enumerate(table["corpus_id"].to_pylist()) if name not in empty]
            if len(kept) < len(table):
                say(f"note: {file}: {len(table) - len(kept):,} judgements of such documents are left out")
                table, places = table.take(kept), [places[row] for row in kept]
        splits[split] = retrieval(queries, corpus, table, source=str(file), lines=places)
    return splits


def _judged(path: Path) -> dict[str, Path]:
    """Files of judgements by split."""
    endings = tuple(_endings(_JUDGED))
    inside = path / "qrels"
    files = [file for file in (inside.iterdir() if inside.is_dir() else path.glob("qrels.*")) if file.is_file()]
    by_split: dict[str, Path] = {}
    for file in sorted(file for file in files if file.name.lower().endswith(endings)):
        split = split_name(file) if inside.is_dir() else "test"
        if split in by_split:
            raise WrongUse(
                f"{path}: expected one file of judgements of {split}, found {by_split[split].name}, {file.name}"
            )
        by_split[split] = file
    return by_split


def _source(file: Path, encoding: str | None, blank: bool = False) -> FileSource:
    return FileSource(file, encoding=None if kind_of(file)[0] == ".parquet" else encoding, blank=blank)


def _without_empty(corpus: pa.Table, file: Path) -> tuple[pa.Table, set[str]]:
    """The documents that have a text or a title, and the ids of the others."""
    key = next((name for name in ("_id", "id") if name in corpus.column_names), None)
    if key is None or "text" not in corpus.column_names:
        return corpus, set()
    texts = _contents(corpus)
    kept = [row for row, text in enumerate(texts) if text]
    if len(kept) == len(texts):
        return corpus, set()
    ids = identifiers(corpus[key], str(file), key)
    whole = set(kept)
    empty = {name for row, name in enumerate(ids) if row not in whole}
    say(f"note: {file}: {len(empty):,} documents have neither title nor text and are left out")
    return corpus.take(kept), empty


def _contents(corpus: pa.Table) -> list[str]:
    """What a document says: its title before its text, as BEIR and mteb do."""
    for name in {"text", TITLE} & set(corpus.column_names):
        if not textual(plain_type(corpus[name].type)) and corpus[name].null_count < len(corpus):
            raise DataError(f"corpus, column {name!r}: expected text, found {corpus[name].type}")
    texts = [text or "" for text in corpus["text"].to_pylist()]
    if TITLE not in corpus.column_names:
        return [text if text.strip() else "" for text in texts]
    return [f"{title or ''} {text}".strip() for title, text in zip(corpus[TITLE].to_pylist(), texts, strict=True)]


def judgements(file: Path, encoding: str | None = None) -> tuple[pa.Table, list[int]]:
    """(query_id, corpus_id, score) of a file of judgements, and the line of each: a table of any kind with BEIR's
    names; or lines without header, BEIR's three columns or TREC's four (query, iteration, document, grade)."""
    packed = file.suffix.lower() == ".gz"
    kind = (Path(file.stem) if packed else file).suffix.lower()
    if kind in (".tsv", ".txt", ".qrels", ".qrel", ".trec"):
        rows = _lines_of(file, packed, encoding)
        first = next(rows, None)
        if first is None:
            raise DataError(f"{file}: expected at least one row, found zero rows")
        if (len(first[1]) in _JUDGEMENT and _grade(first[1][-1]) is not None) or kind != ".tsv":
            places: list[int] = []
            records: list[list[str]] = []
            count = len(first[1])
            for number, fields in (first, *rows):
                if count not in _JUDGEMENT or len(fields) != count or _grade(fields[-1]) is None:
                    raise DataError(
                        f"{where(str(file), number)}: expected query, document and grade, or TREC's query, iteration, "
                        f"document and grade, found {list_names(fields)}"
                    )
                places.append(number)
                records.append([fields[place] for place in _JUDGEMENT[count]])
            return (
                pa.table(
                    {
                        "query_id": [row[0] for row in records],
                        "corpus_id": [row[1] for row in records],
                        "score": [float(row[2]) for row in records],
                    }
                ),
                places,
            )
    table = _source(file, encoding).read()
    table = _renamed(table)
    for column in ("query_id", "corpus_id", "score"):
        _there(table, column, str(file))
    ids = {name: pa.array(identifiers(table[name], str(file), name)) for name in ("query_id", "corpus_id")}
    first_row = 2 if kind in (".tsv", ".csv") else 1
    return pa.table({**ids, "score": table["score"]}), list(range(first_row, first_row + len(table)))


def _lines_of(file: Path, packed: bool, encoding: str | None) -> Iterator[tuple[int, list[str]]]:
    for number, line in read_lines(file, packed, check_encoding(encoding)):
        if line.strip():
            yield number, strip_line_end(line).split("\t") if line.count("\t") in (2, 3) else line.split()


def _grade(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if abs(value) < float("inf") and "_" not in text else None


def _renamed(table: pa.Table) -> pa.Table:
    names = [_SPELLINGS.get(name, name) for name in table.column_names]
    return table.rename_columns(names)


def _there(table: pa.Table, column: str, what: str) -> None:
    if column not in table.column_names:
        raise DataError(f"{what}: expected the column {column!r}, found {list_names(table.column_names)}")
    if table.column_names.count(column) > 1:
        raise DataError(f"{what}: expected one column {column!r}, found it under two spellings")


def retrieval(
    queries: pa.Table,
    corpus: pa.Table,
    qrels: pa.Table,
    *,
    source: str = "the judgements",
    lines: Sequence[int] | None = None,
) -> RetrievalData:
    """Three tables in any of BEIR's spellings, checked against each other. Queries without a judgement are left out
    of the split; ``title`` is put before ``text`` as BEIR and mteb do. ``lines``: where in ``source`` each judgement
    stands."""
    queries, corpus, qrels = _renamed(queries), _renamed(corpus), _renamed(qrels)
    for table, columns, what in (
        (queries, ("id", "text"), "queries"),
        (corpus, ("id", "text"), "corpus"),
        (qrels, ("query_id", "corpus_id", "score"), source),
    ):
        for column in columns:
            _there(table, column, what)
    texts = _contents(corpus)
    corpus_ids = identifiers(corpus["id"], "corpus", "id")
    query_ids = identifiers(queries["id"], "queries", "id")
    known = {"query_id": set(query_ids), "corpus_id": set(corpus_ids)}
    for name, ids in (("queries", query_ids), ("corpus", corpus_ids)):
        seen: set[str] = set()
        for value in ids:
            if value in seen:
                raise DataError(f"{name}, column 'id': expected distinct ids, found {shorten(value)} twice")
            seen.add(value)
    judged = []
    for column in ("query_id", "corpus_id"):
        values = identifiers(qrels[column], source, column)
        for row, value in enumerate(values):
            if value not in known[column]:
                kind = "queries" if column == "query_id" else "the corpus"
                line = lines[row] if lines is not None else row + 2
                raise DataError(f"{where(source, line, column)}: expected an id of {kind}, found {shorten(value)}")
        judged.append(values)
    if problem := first_problem("text", queries["text"]):
        row, expected, found = problem
        raise DataError(f"queries, row {row + 1}, column 'text': expected {expected}, found {found}")
    scores = []
    for row, value in enumerate(qrels["score"].to_pylist()):
        if (wrong := value_problem("number", value)) is not None:
            raise DataError(f"{where(source, lines[row] if lines is not None else row + 2, 'score')}: {wrong}")
        scores.append(float(value))
    if not scores:
        raise DataError(f"{source}: expected at least one judgement, found none")
    wanted = set(judged[0])
    kept = [index for index, value in enumerate(query_ids) if value in wanted]
    query_texts = queries["text"].to_pylist()
    return RetrievalData(
        pa.table({"id": [query_ids[i] for i in kept], "text": [query_texts[i] for i in kept], **_more(queries, kept)}),
        pa.table({"id": corpus_ids, "text": texts, **_more(corpus, range(len(texts)))}),
        pa.table({"query_id": judged[0], "corpus_id": judged[1], "score": scores}),
    )


def _more(table: pa.Table, rows: Sequence[int]) -> dict[str, pa.ChunkedArray]:
    """What else stands beside a query or a document and holds one plain value a row: a title, a language, a product
    line, the evidence; what comparisons are grouped by and chunks are judged with."""
    out = {}
    for name in table.column_names:
        kind = plain_type(table[name].type)
        scalar = textual(kind) or pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)
        if name not in ("id", "text") and scalar and table.column_names.count(name) == 1:
            out[name] = table[name].take(pa.array(list(rows), pa.int64()))
    return out
