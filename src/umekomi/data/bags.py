"""StarSpace's two file formats as tables of ``left`` (features) and ``right`` (bags of features).

fastText's: words and labels on one line, a label begins with ``__label__``. labelDoc: bags separated by tabs, the first
is the left one. In both a feature may carry a weight, ``word:0.3``: a file all of whose features do is read with
weights.
"""

from __future__ import annotations

import re
from pathlib import Path

import pyarrow as pa

from umekomi.data.lines import check_encoding, read_lines
from umekomi.errors import DataError, WrongUse

FORMATS = ("fasttext", "labeldoc")
_WEIGHTED = re.compile(r"^(.+):([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)$")


def read_bags(
    path: str | Path,
    form: str,
    *,
    weights: bool | None = None,
    label: str = "__label__",
    encoding: str | None = None,
) -> pa.Table:
    """The table (left list<string>, right list<list<string>>[, left_weights, right_weights]) of a file. ``weights``
    None looks at the features: weights are read where every one of them has one. ``encoding``: of a file that is not
    UTF-8."""
    path = Path(path)
    if form not in FORMATS:
        raise WrongUse(f"format of {path}: expected one of {', '.join(FORMATS)}, found {form!r}")
    if not path.is_file():
        raise WrongUse(f"{path}: no such file")
    rows: list[tuple[int, list[list[str]]]] = []
    for number, line in read_lines(path, path.suffix.lower() == ".gz", check_encoding(encoding)):
        if not line.strip():
            continue
        if form == "fasttext":
            words = line.split()
            bags = [
                [word for word in words if not word.startswith(label)],
                *([word] for word in words if word.startswith(label)),
            ]
            if len(bags) == 1:
                raise DataError(f"{path}, line {number}: expected a label that begins with {label!r}, found none")
        else:
            bags = [part.split() for part in line.split("\t")]
            if not all(bags):
                raise DataError(f"{path}, line {number}: expected features between the tabs, found an empty bag")
        rows.append((number, bags))
    if not rows:
        raise DataError(f"{path}: expected at least one row, found zero rows")
    features = [word for _, bags in rows for bag in bags for word in bag if not word.startswith(label)]
    if weights is None:
        weights = bool(features) and all(_WEIGHTED.match(word) for word in features)
    if not weights:
        plain = [bags for _, bags in rows]
        return pa.table(
            {"left": [bags[0] for bags in plain], "right": [bags[1:] for bags in plain]}
        ).replace_schema_metadata({"source": str(path)})
    names: list[list[list[str]]] = []
    values: list[list[list[float]]] = []
    for number, bags in rows:
        pairs = [[_weighted(path, number, word, label) for word in bag] for bag in bags]
        names.append([[name for name, _ in bag] for bag in pairs])
        values.append([[value for _, value in bag] for bag in pairs])
    table = {
        "left": [bags[0] for bags in names],
        "right": [bags[1:] for bags in names],
        "left_weights": [bags[0] for bags in values],
        "right_weights": [bags[1:] for bags in values],
    }
    return pa.table(table).replace_schema_metadata({"source": str(path)})


def _weighted(path: Path, number: int, word: str, label: str) -> tuple[str, float]:
    found = _WEIGHTED.match(word)
    if found is None:
        if word.startswith(label):
            return word, 1.0
        raise DataError(f"{path}, line {number}: expected a feature with a weight such as word:0.3, found {word!r}")
    return found.group(1), float(found.group(2))
