"""Numbers in files that know only text (CSV, TSV): a column becomes numbers where every field comes back from them as
it stands, or where the user says so."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from umekomi.data.lines import shorten
from umekomi.data.readers.kinds import EXACT, TypeConflict

_WHOLE = re.compile(r"-?[1-9][0-9]*|0")
_NUMBER = re.compile(r"-?[0-9]+(?:\.[0-9]+)?(?:e[+-][0-9]+)?")
_TAKEN = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_TAKEN_WHOLE = re.compile(r"[+-]?[0-9]+")


@dataclass
class Numbers:
    """A column's numbers so far: ``name`` is "int64", "double", or "string" once a field is no number.

    A field is one where the number is written as it stands: not ``007``, ``+1``, ``0x1F``, ``1.50`` or ``nan``. An
    empty field is no value. ``wanted``: the user says that these are numbers; zeros that a number does not keep may go.
    """

    wanted: bool = False
    name: str = "null"
    whole: bool = False
    wide: bool = False
    point_zero: bool = False
    why: tuple[int, str] | None = None
    """(line, field) that a number would not give back, where it is what kept the column text."""

    def learn(self, values: Sequence[str], lines: Sequence[int]) -> None:
        """Take in more fields."""
        if self.name == "string":
            return
        for value, line in zip(values, lines, strict=True):
            if value and not (self._taken(value) if self.wanted else self._same(value)):
                if self.wanted:
                    raise TypeConflict(f"expected a number, found {shorten(value)}")
                self.name = "string"
                if _TAKEN.fullmatch(value):
                    self.why = line, value
                return

    def _same(self, value: str) -> bool:
        if _WHOLE.fullmatch(value):
            number = int(value) if len(value) < 21 else EXACT**2
            if not -(1 << 63) <= number < 1 << 63:
                return False
            self.whole, self.wide = True, self.wide or abs(number) > EXACT
            self.name = "int64" if self.name == "null" else self.name
        elif _NUMBER.fullmatch(value) and value != "-0.0" and repr(float(value)) == value:
            self.point_zero = self.point_zero or value.endswith(".0")
            self.name = "double"
        else:
            return False
        # beside fractions 5 is 5.0: then 5.0 must not be there as well, nor a whole number that would be rounded
        return self.name == "int64" or (not self.wide and not (self.whole and self.point_zero))

    def _taken(self, value: str) -> bool:
        if not _TAKEN.fullmatch(value) or not math.isfinite(float(value)):
            return False
        whole = _TAKEN_WHOLE.fullmatch(value) is not None and len(value) < 20 and -(1 << 63) <= int(value) < 1 << 63
        self.name = "int64" if whole and self.name in ("null", "int64") else "double"
        return True

    def arrow(self) -> pa.DataType:
        """The column's type; where no field has a value it stays text, unless numbers are wanted."""
        if self.name == "null":
            return pa.float64() if self.wanted else pa.string()
        return {"int64": pa.int64(), "double": pa.float64(), "string": pa.string()}[self.name]

    def values(self, fields: Sequence[str]) -> Sequence[str] | list[float | None]:
        """The fields as numbers, where they are."""
        if self.name == "string" or (self.name == "null" and not self.wanted):
            return fields
        number = int if self.name == "int64" else float
        return [number(field) if field else None for field in fields]
