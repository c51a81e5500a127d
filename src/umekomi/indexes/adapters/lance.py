"""A table of LanceDB."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from umekomi.errors import DataError, MissingExtra, WrongUse, without_password
from umekomi.indexes.adapters.base import Adapter, Batch, about_of, line, present, settled
from umekomi.indexes.filters import quoted, sql
from umekomi.indexes.index import Hit
from umekomi.indexes.payload import row_of

ABOUT = "__umekomi__"
"""The table in which a database of LanceDB keeps what its other tables say of themselves."""


class LanceIndex(Adapter):
    """A LanceDB table at ``uri``. LanceDB never compacts by itself: here every ``compact_every`` writes do.

    Args:
        uri: a folder, or S3.
        name: the table's.
        dimension: the vectors' width; None: as the table says.
        metric: how they compare: ``"cosine"``, ``"dot"`` or ``"euclidean"``.
        embedder: embeds texts that are added or asked for; None: the model that the table names, if it does.
        text: the column of the payload that was embedded.
        compact_every: after so many writes.
        about: of a new table, in place of the four before.
    """

    taken = frozenset({"__id__", "vector", "_distance", "_rowid", "_score", "_relevance_score"})

    def __init__(
        self,
        uri: str | Path,
        name: str = "umekomi",
        *,
        dimension: int | None = None,
        metric: str = "cosine",
        embedder: Any = None,
        text: str = "",
        compact_every: int = 20,
        about: dict[str, Any] | None = None,
    ) -> None:
        try:
            import lancedb
        except ImportError:
            raise MissingExtra("lancedb", "lance", "a LanceDB index") from None
        self.name, self.compact_every, self._writes = name, compact_every, 0
        place = without_password(str(uri))
        where = f"{place}, table {name!r}"
        if about is None and dimension is not None:
            about = about_of(dimension, metric, text, embedder)
        if name == ABOUT:
            raise WrongUse(f"{place}: the table {ABOUT} is where others say what they are: choose another name")
        try:
            self._database = lancedb.connect(str(uri))
            names = self._names()
            self._table: Any = self._database.open_table(name) if name in names else None
        except (OSError, RuntimeError, ValueError) as error:
            raise DataError(f"{place}: LanceDB does not open it: {line(error)}") from None
        about = settled(where, "table", self._table is not None, self._said(names), about)
        super().__init__(where, about, embedder)

    def _names(self) -> list[str]:
        return list(self._database.list_tables().tables)

    def _said(self, names: list[str]) -> str | None:
        if ABOUT not in names or self._table is None:
            return None
        table = self._database.open_table(ABOUT).search().where(f"name = {quoted(self.name)}").limit(1).to_arrow()
        return table["about"][0].as_py() if table.num_rows else None

    def _note(self, notes: Mapping[str, Any]) -> None:
        self._write_about(self.about | dict(notes))

    def _write_about(self, about: dict[str, Any]) -> None:
        row = pa.table({"name": [self.name], "about": [json.dumps(about, ensure_ascii=False)]})
        if ABOUT not in self._names():
            self._database.create_table(ABOUT, row)
        else:
            table = self._database.open_table(ABOUT)
            table.merge_insert("name").when_matched_update_all().when_not_matched_insert_all().execute(row)
            from datetime import timedelta

            table.optimize(cleanup_older_than=timedelta(0))
        self.about = about

    def __len__(self) -> int:
        return int(self._table.count_rows()) if self._table is not None else 0

    def _fields(self) -> list[str]:
        return [] if self._table is None else [name for name in self._table.schema.names if name not in self.taken]

    def _there(self, names: list[str]) -> list[str]:
        if self._table is None or not names:
            return []
        found: list[str] = []
        for start in range(0, len(names), 1000):
            chosen = ", ".join(quoted(name) for name in names[start : start + 1000])
            found += (
                self._table.search()
                .where(f"__id__ IN ({chosen})")
                .select(["__id__"])
                .limit(1000)
                .to_arrow()["__id__"]
                .to_pylist()
            )
        return found

    def _add(self, names: list[str], vectors: Any, payload: pa.Table, replace: bool, notes: Mapping[str, Any]) -> None:
        vector = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), self.dimension)
        table = pa.table(
            {"__id__": pa.array(names), "vector": vector}
            | {name: present(payload[name]) for name in payload.column_names}
        )
        try:
            if self._table is None:
                self._write_about(self.about)  # first: a table that says nothing would be another's
                self._table = self._database.create_table(self.name, table)
            else:
                self._widen(table)
                rows = self._table.merge_insert("__id__").when_matched_update_all().when_not_matched_insert_all()
                rows.execute(self._filled(table))
        except (ValueError, RuntimeError, NotImplementedError) as error:
            raise DataError(f"add: LanceDB does not take it: {line(error)}") from None
        if notes:
            self._note(notes)
        self._written()

    def _widen(self, table: pa.Table) -> None:
        """Columns that the table does not have yet: null in the rows that are there."""
        new = [field for field in table.schema if field.name not in self._table.schema.names]
        if new:
            self._table.add_columns([pa.field(field.name, field.type) for field in new])

    def _filled(self, table: pa.Table) -> pa.Table:
        """What is added, with null in the columns that it lacks."""
        for field in self._table.schema:
            if field.name not in table.column_names:
                table = table.append_column(field.name, pa.nulls(table.num_rows, field.type))
        return table.select(self._table.schema.names)

    def _delete(self, names: list[str]) -> None:
        for start in range(0, len(names), 1000):
            self._table.delete(f"__id__ IN ({', '.join(quoted(name) for name in names[start : start + 1000])})")
        self._written()

    def _written(self) -> None:
        self._writes += 1
        if self._writes >= self.compact_every:
            self.compact()

    def compact(self, kind: str | None = None, *, recall: float | None = None, **settings: Any) -> None:
        """LanceDB's files joined, and those of earlier versions gone."""
        from datetime import timedelta

        super().compact(kind, recall=recall, **settings)
        if self._table is not None:
            self._table.optimize(cleanup_older_than=timedelta(0))
        self._writes = 0

    def batches(self, after: Any = None, rows: int = 1024) -> Iterator[Batch]:
        """All rows in the order in which LanceDB keeps them."""
        if self._table is None:
            return
        start = int(after or 0)
        while True:
            found = self._table.search().limit(rows).offset(start).to_arrow()
            if not found.num_rows:
                return
            start += found.num_rows
            vectors = found["vector"].combine_chunks()
            flat = np.asarray(vectors.flatten(), np.float32).reshape(found.num_rows, self.dimension)
            rest = found.select([name for name in found.column_names if name not in self.taken])
            yield Batch(found["__id__"].to_pylist(), flat, rest, start)

    def _search(self, query: Any, k: int, condition: Any) -> list[Hit]:
        if self._table is None:
            return []
        asked = self._table.search(query).distance_type({"euclidean": "l2"}.get(self.metric, self.metric)).limit(k)
        if condition is not None:
            asked = asked.where(sql(condition, self._table.schema), prefilter=True)
        try:
            table = asked.to_arrow()
        except (ValueError, RuntimeError) as error:
            # what LanceDB's planner does not take; without a condition nothing of the user's reaches it
            if condition is None:
                raise
            raise WrongUse(f"filter: LanceDB does not take it: {line(error)}") from None
        hits = []
        for number in range(table.num_rows):
            found = row_of(table.drop_columns(["vector"]), number)
            distance = found.pop("_distance")
            # LanceDB's distances: 1 - cosine, 1 - inner product, the square of Euclid's
            score = -(distance**0.5) if self.metric == "euclidean" else 1 - distance
            hits.append(self._hit(found.pop("__id__"), float(score), found))
        return hits
