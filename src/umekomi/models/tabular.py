"""Predictors of table rows: how rows become numbers, and linear models of them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from decimal import Decimal
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any

from umekomi.data.rows import features_of, is_number
from umekomi.errors import DataError, WrongUse
from umekomi.files import MODEL_FILE, write_json
from umekomi.models.base import Open, Predictor
from umekomi.models.folders import fields, read_floats, settings
from umekomi.progress import say

if TYPE_CHECKING:
    import pyarrow as pa
    from scipy.sparse import csr_array

COLUMNS_FILE = "columns.json"
FARTHEST = 1e12
"""Spreads from the mean beyond which a number is a mistake: its prediction would be no number in float32."""


@dataclass(frozen=True)
class Column:
    """One column of a table. With ``levels`` (texts) it is one feature a level; else one feature, the number less
    ``mean`` over ``scale``, and where ``gaps``, one more that says the number is missing."""

    name: str
    levels: tuple[str, ...] | None = None
    mean: float = 0.0
    scale: float = 1.0
    gaps: bool = False

    @property
    def width(self) -> int:
        """How many features it gives."""
        return 1 + self.gaps if self.levels is None else len(self.levels)


class RowEncoder:
    """Rows as a sparse matrix: numbers standardised, the missing at the mean and told apart; texts as their levels, one
    never seen (or missing) as none of them."""

    def __init__(self, columns: Sequence[Column]) -> None:
        self.columns = tuple(columns)
        self.width = sum(column.width for column in self.columns)

    @classmethod
    def fit(cls, table: pa.Table, who: str, min_count: int = 1) -> RowEncoder:
        """Learn each column but ``target``; a level is one that at least ``min_count`` rows have."""
        return cls([_column(name, table[name], who, min_count) for name in features_of(table, who)])

    def encode(self, rows: Sequence[Mapping[str, Any]], who: str) -> csr_array:
        """float64 CSR ``[rows, features]``."""
        import numpy as np
        from scipy.sparse import csr_array

        at, cells, values, first = [], [], [], 0
        for column in self.columns:
            given = [_given(row, column.name, place, who) for place, row in enumerate(rows)]
            cells_of_column = _levels(column, given, who) if column.levels is not None else _numbers(column, given, who)
            for place, feature, value in cells_of_column:
                at.append(place)
                cells.append(first + feature)
                values.append(value)
            first += column.width
        return csr_array((np.array(values, float), (at, cells)), shape=(len(rows), self.width))


def _column(name: str, values: Any, who: str, min_count: int) -> Column:
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = values.type
    if is_number(kind) or pa.types.is_boolean(kind):
        numbers = pc.cast(values.cast(pa.int8()) if pa.types.is_boolean(kind) else values, pa.float64(), safe=False)
        known = numbers.filter(pc.is_finite(numbers))
        mean, spread = pc.mean(known).as_py() or 0.0, pc.stddev(known).as_py() or 0.0
        return Column(name, None, float(mean), float(spread) or 1.0, len(known) < len(numbers))
    if pa.types.is_dictionary(kind):
        values = values.cast(kind.value_type)
    if not (pa.types.is_string(values.type) or pa.types.is_large_string(values.type)):
        raise DataError(f"{who}: column {name!r}: expected numbers, texts or truth values, found {kind}")
    counts = {each["values"]: each["counts"] for each in pc.value_counts(values).to_pylist()}
    levels = sorted(level for level, count in counts.items() if level is not None and count >= min_count)
    if not levels:
        say(f"note: {who}: column {name!r}: no text stands in {min_count} rows: it says nothing here")
    return Column(name, tuple(levels))


def _given(row: Mapping[str, Any], name: str, place: int, who: str) -> Any:
    if name not in row:
        found = ", ".join(map(str, row)) or "none"
        raise WrongUse(f"{who}, row {place + 1}: expected the column {name!r}, found {found[:200]}")
    return row[name]


def _levels(column: Column, given: list[Any], who: str) -> list[tuple[int, int, float]]:
    assert column.levels is not None
    feature_of = {level: feature for feature, level in enumerate(column.levels)}
    wrong = next((place for place, value in enumerate(given) if not isinstance(value, (str, type(None)))), None)
    if wrong is not None:
        raise WrongUse(f"{who}, row {wrong + 1}, column {column.name!r}: expected a text, found {given[wrong]!r:.60}")
    return [(place, feature_of[value], 1.0) for place, value in enumerate(given) if value in feature_of]


def _numbers(column: Column, given: list[Any], who: str) -> list[tuple[int, int, float]]:
    out = []
    for place, value in enumerate(given):
        if value is None or (isinstance(value, float) and math.isnan(value)):
            if column.gaps:
                out.append((place, 1, 1.0))
            continue
        number = _finite(value)
        if number is None or abs(number - column.mean) > FARTHEST * column.scale:
            wanted = (
                "a number" if number is None else f"one like those learned from ({column.mean:g} ± {column.scale:g})"
            )
            raise WrongUse(f"{who}, row {place + 1}, column {column.name!r}: expected {wanted}, found {value!r:.60}")
        out.append((place, 0, (number - column.mean) / column.scale))
    return out


def _finite(value: Any) -> float | None:
    """A number as a double; None for what is none, or too large for one."""
    try:
        number = float(value) if isinstance(value, (Real, Decimal)) else math.inf
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


class LinearPredictor(Predictor):
    """x W + b of encoded rows: a number; of two classes the logistic function of it is the second's probability; of
    more, its softmax. ``weights`` are float32 ``[features, 1 or classes]``, ``bias`` float32 ``[1 or classes]``."""

    kind = "linear-predictor"

    def __init__(
        self,
        encoder: RowEncoder,
        weights: Any,
        bias: Any,
        classes: Sequence[str] = (),
        name: str = "linear",
        card: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(name, card)
        self.encoder, self.weights, self.bias, self.classes = encoder, weights, bias, tuple(classes)
        outputs = len(self.classes) if len(self.classes) > 2 else 1
        if weights.shape != (encoder.width, outputs) or bias.shape != (outputs,):
            raise WrongUse(
                f"{name}: expected weights of shape {[encoder.width, outputs]}, found {list(weights.shape)} and "
                f"{list(bias.shape)}"
            )

    @property
    def columns(self) -> list[str]:
        """What a row must have."""
        return [column.name for column in self.encoder.columns]

    def _predict(self, rows: list[Any]) -> Any:
        import numpy as np
        from scipy.special import expit, softmax

        scores = self.encoder.encode(rows, self.name) @ self.weights.astype(np.float64) + self.bias
        if not self.classes:
            return scores[:, 0]
        return (
            softmax(scores, 1)
            if len(self.classes) > 2
            else np.column_stack([expit(-scores[:, 0]), expit(scores[:, 0])])
        )

    def _write(self, folder: Path) -> dict[str, Any]:
        from safetensors.numpy import save_file

        save_file({"weights": self.weights, "bias": self.bias}, folder / "model.safetensors")
        write_json(folder / COLUMNS_FILE, [asdict(column) for column in self.encoder.columns])
        return {"classes": list(self.classes)}

    @classmethod
    def _read(cls, folder: Path, head: dict[str, Any], open: Open) -> LinearPredictor:
        classes = settings(folder, head, classes=list)["classes"]
        path = folder / "model.safetensors"
        for name in classes:
            if not isinstance(name, str):
                raise DataError(f"{folder / MODEL_FILE}, classes: expected texts, found {name!r:.60}")
        encoder = RowEncoder(read_columns(folder / COLUMNS_FILE))
        return cls(encoder, read_floats(path, "weights", 2), read_floats(path, "bias", 1), classes)


def read_columns(path: Path) -> list[Column]:
    """The columns that were saved, each checked."""
    from umekomi.files import read_json

    if not path.is_file():
        raise WrongUse(f"{path}: the saved model is not whole: no such file")
    columns = read_json(path)
    if not isinstance(columns, list) or not all(isinstance(each, dict) for each in columns):
        raise DataError(f"{path}: expected a list of columns, found {columns!r:.60}")
    out = []
    for each in columns:
        kept = fields(each, path, name=str, levels=(list, type(None)), mean=float, scale=float, gaps=bool)
        levels = kept["levels"]
        if levels is not None and not all(isinstance(level, str) for level in levels):
            raise DataError(f"{path}, levels of {kept['name']!r}: expected texts, found {levels!r:.60}")
        out.append(Column(**kept | {"levels": None if levels is None else tuple(levels)}))
    return out
