"""Folders: splits by file name, documents, and BEIR's."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from umekomi.data.lines import check_encoding, read_text
from umekomi.data.readers.beir import beir, first_file, split_name
from umekomi.data.readers.documents import RICH, read_document
from umekomi.data.readers.file import FileSource, kind_of
from umekomi.data.readers.parallel import parallel_folder
from umekomi.errors import DataError, WrongUse
from umekomi.progress import Progress, say

if TYPE_CHECKING:
    from umekomi.data.columns import Split

PLAIN_SUFFIXES = (".txt", ".md", ".rst")
DOCUMENT_SUFFIXES = (*PLAIN_SUFFIXES, *RICH)
_ABOUT = ("readme", "license", "licence", "changelog", "citation")
"""Names of files that tell of a folder of tables, and are no documents of it."""


def folder(path: Path, encoding: str | None = None) -> Split | dict[str, Split]:
    """What a folder holds: BEIR's tables, parallel texts, splits by name, or documents."""
    if first_file(path, "corpus"):
        return beir(path, encoding=encoding)
    if (parallel := parallel_folder(path, encoding)) is not None:
        return dict(parallel)
    files = [file for file in sorted(path.iterdir()) if file.is_file() and _is_table(file)]
    by_split: dict[str, Path] = {}
    for file in files:
        split = split_name(file)
        if split in by_split and split in ("train", "dev", "test"):
            raise WrongUse(f"{path}: expected one file of the split {split}, found {by_split[split].name}, {file.name}")
        by_split[split] = file
    if "train" in by_split or "test" in by_split:
        return {split: _read(file, encoding) for split, file in by_split.items()}
    documents = _documents(path)
    if files:  # beside tables a page or a paper is about them
        documents = [
            file
            for file in documents
            if not file.stem.lower().startswith(_ABOUT) and file.suffix.lower() in PLAIN_SUFFIXES
        ]
    if documents and files:
        raise WrongUse(
            f"{path}: expected tables or documents, found both ({files[0].name} and {documents[0].name}): name one of "
            "its files"
        )
    if documents:
        return documents_of(path, encoding)
    if len(files) == 1:
        return _read(files[0], encoding)
    raise WrongUse(
        f"{path}: expected a BEIR folder (corpus.jsonl, queries.jsonl, qrels/), files named train/dev/test, "
        f"or documents ({', '.join(DOCUMENT_SUFFIXES)}); found {len(list(path.iterdir()))} entries of other kinds"
    )


def _read(file: Path, encoding: str | None) -> Split:
    return FileSource(file, encoding=None if kind_of(file)[0] == ".parquet" else encoding).read()


def _is_table(file: Path) -> bool:
    try:
        return kind_of(file)[0] != ".txt"
    except WrongUse:
        return False


def _documents(path: Path) -> list[Path]:
    return sorted(file for file in path.rglob("*") if file.suffix.lower() in DOCUMENT_SUFFIXES and file.is_file())


def documents_of(path: Path, encoding: str | None = None) -> pa.Table:
    """A folder of documents: id = relative path; label = the first folder, when every document lies in one. Where
    there are others than plain texts, a row is a page, a slide or a section, with the columns ``file``, ``page`` (0:
    none) and ``heading``."""
    encoding = check_encoding(encoding)
    files = _documents(path)
    if any(file.suffix.lower() in RICH for file in files):
        return parts_of(files, path, encoding)
    rows = []
    for file in files:
        text = read_text(file, encoding)
        if not text.strip():
            raise DataError(f"{file}: expected text, found an empty file")
        rows.append({"id": file.relative_to(path).as_posix(), "text": text})
    labels = [row["id"].split("/")[0] if "/" in row["id"] else None for row in rows]
    if None not in labels and len(set(labels)) > 1:
        rows = [{**row, "label": str(label)} for row, label in zip(rows, labels, strict=True)]
    return pa.Table.from_pylist(rows).replace_schema_metadata({"source": str(path)})


def parts_of(files: list[Path], root: Path, encoding: str | None = None) -> pa.Table:
    """Pages, slides and sections of documents, a row each: id, file, page, heading, text. Those without text are
    counted."""
    rows: list[dict[str, Any]] = []
    empty = 0
    with Progress("reading documents", len(files), "documents", len(files) > 20) as bar:
        for file in files:
            name = file.relative_to(root).as_posix() if file != root else file.name
            if file.suffix.lower() in RICH:
                parts, without = read_document(file)
                empty += without
                rows += [
                    {
                        "id": f"{name}#{number}",
                        "file": name,
                        "page": part.page,
                        "heading": part.heading,
                        "text": part.text,
                    }
                    for number, part in enumerate(parts, 1)
                ]
            else:
                text = read_text(file, encoding)
                if not text.strip():
                    raise DataError(f"{file}: expected text, found an empty file")
                rows.append({"id": f"{name}#1", "file": name, "page": 0, "heading": "", "text": text})
            bar.advance()
    if empty:
        say(f"note: {empty:,} pages or sections hold no text and are left out")
    return pa.Table.from_pylist(rows).replace_schema_metadata({"source": str(root)})
