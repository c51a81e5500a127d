"""Parallel texts: two files of lines, line n of one the translation of line n of the other."""

from __future__ import annotations

import re
from itertools import zip_longest
from pathlib import Path

import pyarrow as pa

from umekomi.data.lines import check_encoding, read_lines
from umekomi.data.readers.beir import split_name
from umekomi.errors import DataError, WrongUse, where

_LANGUAGES = re.compile(r"(?:^|[^A-Za-z])([a-z]{2,3})-([a-z]{2,3})$")


def parallel_folder(path: Path, encoding: str | None = None) -> dict[str, pa.Table] | None:
    """The splits of a folder whose name ends in two languages (``en-de``) and that has a file of each (``train.en``,
    ``train.de``, packed or not): ``anchor`` of the first, ``positive`` of the second. None where it is no such
    folder."""
    named = _LANGUAGES.search(path.resolve().name)
    if named is None:
        return None
    sides = [_files(path, language) for language in named.groups()]
    if not any(sides):
        return None
    for (language, files), others in zip(zip(named.groups(), sides, strict=True), reversed(sides), strict=True):
        for split in others:
            if split not in files:
                raise WrongUse(f"{path}: expected a file {split}.{language} beside {others[split].name}, found none")
    return {split: parallel_texts(sides[0][split], sides[1][split], encoding) for split in sides[0]}


def _files(path: Path, language: str) -> dict[str, Path]:
    files: dict[str, Path] = {}
    for file in sorted(path.iterdir()):
        if file.is_file() and file.name.removesuffix(".gz").endswith(f".{language}"):
            files[split_name(file)] = file
    return files


def parallel_texts(first: Path, second: Path, encoding: str | None = None) -> pa.Table:
    """``anchor, positive`` of two files with as many lines; the error names the line where one ends before the other,
    or is empty."""
    encoding = check_encoding(encoding)
    files = [Path(first), Path(second)]
    columns: list[list[str]] = [[], []]
    rows = zip_longest(*(read_lines(file, file.suffix == ".gz", encoding) for file in files))
    for number, lines in enumerate(rows, 1):
        for file, other, line, column in zip(files, reversed(files), lines, columns, strict=True):
            if line is None:
                raise DataError(
                    f"{where(str(file), number)}: expected a line beside line {number} of {other.name}, found the end "
                    "of the file"
                )
            text = line[1].strip()
            if not text:
                raise DataError(
                    f"{where(str(file), number)}: expected text beside line {number} of {other.name}, found none"
                )
            column.append(text)
    if not columns[0]:
        raise DataError(f"{files[0]}: expected lines, found an empty file")
    return pa.table({"anchor": columns[0], "positive": columns[1]}).replace_schema_metadata({"source": str(files[0])})
