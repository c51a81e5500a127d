"""What the values of a column of JSON are, learned from all rows before any of them becomes Arrow: no later row loses
or changes a value because of what earlier ones were."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain
from types import NoneType
from typing import Any

import pyarrow as pa

from umekomi.data.lines import shorten

DEEPEST = 32
"""How deep lists and objects may lie in each other: Arrow's own files hold no more than 64, of which it takes some."""
MOST_KEYS = 2000
"""How many different keys the objects of one column may have: each is a column of its own in Arrow."""
EXACT = 1 << 53
"""Up to here every whole number is a float64, too."""
_NAMES: dict[type, str] = {
    bool: "bool",
    int: "int64",
    float: "double",
    str: "string",
    list: "a list",
    dict: "an object",
}


class TypeConflict(ValueError):
    """A value that its column cannot hold beside the others: the message says what was expected and found."""


@dataclass
class Kind:
    """What a column's values have been so far: ``name`` is "null" until there is one."""

    name: str = "null"
    wide: int | None = None
    """A whole number that would be rounded beside fractions."""
    item: Kind | None = None
    keys: dict[str, Kind] = field(default_factory=dict)

    def learn(self, values: Sequence[Any], deep: int = 0) -> None:
        """Take in more values (None is any kind's), or say which does not fit."""
        kinds = set(map(type, values)) - {NoneType}
        if not kinds:
            return
        if deep > DEEPEST:
            raise TypeConflict(f"expected values nested at most {DEEPEST} deep, found deeper ones")
        if kinds <= {int, float}:
            self._learn_numbers(values, kinds)
            return
        name = _NAMES[next(iter(kinds))]
        if len(kinds) > 1 or self.name not in ("null", name):
            there = [value for value in values if value is not None]
            expected = self.name if self.name != "null" else _NAMES[type(there[0])]
            alike = ("int64", "double") if expected in ("int64", "double") else (expected,)
            odd = next(value for value in there if _NAMES[type(value)] not in alike)
            raise TypeConflict(f"expected {expected} as in the rows before, found {shorten(odd)}")
        self.name = name
        if name == "a list":
            self.item = self.item or Kind()
            self.item.learn(list(chain.from_iterable(value for value in values if value)), deep + 1)
        elif name == "an object":
            columns: dict[str, list[Any]] = {}
            for value in values:
                for key, part in (value or {}).items():
                    columns.setdefault(key, []).append(part)
            for key, parts in columns.items():
                self.keys.setdefault(key, Kind()).learn(parts, deep + 1)
            if self.size() > MOST_KEYS:
                raise TypeConflict(f"expected objects of at most {MOST_KEYS:,} different keys in a column, found more")

    def _learn_numbers(self, values: Sequence[Any], kinds: set[type]) -> None:
        if self.name not in ("null", "int64", "double"):
            odd = next(value for value in values if value is not None)
            raise TypeConflict(f"expected {self.name} as in the rows before, found {shorten(odd)}")
        if int in kinds:
            whole = [value for value in values if type(value) is int]
            for number in (min(whole), max(whole)):
                if not -(1 << 63) <= number < 1 << 63:
                    raise TypeConflict(
                        f"expected a whole number of at most 64 bits, found {shorten(number)}: quote it as text"
                    )
                if abs(number) > EXACT:
                    self.wide = number
        if float in kinds or self.name == "double":
            if self.wide is not None:
                raise TypeConflict(
                    f"expected numbers that one column holds unchanged, found {self.wide} beside fractions: quote them "
                    "as text"
                )
            self.name = "double"
        else:
            self.name = "int64"

    def size(self) -> int:
        """How many keys its objects have, those within them included."""
        parts = [*self.keys.values(), *([self.item] if self.item else [])]
        return len(self.keys) + sum(part.size() for part in parts)

    def arrow(self) -> pa.DataType:
        """The type that holds every value learned; objects that never had a key hold nothing."""
        if self.name == "a list":
            return pa.list_(self.item.arrow() if self.item else pa.null())
        if self.name == "an object":
            return pa.struct([(key, kind.arrow()) for key, kind in self.keys.items()]) if self.keys else pa.null()
        return {
            "null": pa.null(),
            "bool": pa.bool_(),
            "int64": pa.int64(),
            "double": pa.float64(),
            "string": pa.string(),
        }[self.name]

    def fractions(self) -> bool:
        """Whether fractions are among the values or within them."""
        if self.name == "double":
            return True
        return any(kind.fractions() for kind in [*self.keys.values(), *([self.item] if self.item else [])])

    def hollow(self) -> bool:
        """Whether objects without any key are among the values."""
        if self.name == "an object" and not self.keys:
            return True
        return any(kind.hollow() for kind in [*self.keys.values(), *([self.item] if self.item else [])])

    def emptied(self, value: Any) -> Any:
        """A value as :meth:`arrow`'s type takes it."""
        if value is None or (self.name == "an object" and not self.keys):
            return None
        if self.name == "a list":
            return [self.item.emptied(part) for part in value] if self.item else value
        return {key: self.keys[key].emptied(part) for key, part in value.items()} if self.keys else value


def endless(values: Sequence[Any]) -> bool:
    """Whether an infinite number is among the values or within them."""
    if math.inf in values or -math.inf in values:
        return True
    parts = (list(value.values()) if isinstance(value, dict) else value for value in values)
    return any(endless(part) for part in parts if isinstance(part, list))
