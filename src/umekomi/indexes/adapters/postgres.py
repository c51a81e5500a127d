"""A table of PostgreSQL with pgvector. Vectors are a column of its type ``vector``, the payload's columns are columns
of PostgreSQL's own types, which other programs read as they are. What the index says of itself is the table's comment,
in JSON: it goes with the table through renaming and dumps, and is written in the transaction of the rows it tells of.

Every addition is one transaction: a kill, or a connection that is lost, leaves the last committed one. One writer at a
time (a lock on the table that readers do not feel)."""

from __future__ import annotations

import json
import math
import re
import struct
import uuid
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from umekomi.errors import DataError, MissingExtra, UmekomiError, WrongUse
from umekomi.indexes.adapters.base import Batch, about_of, line, present, read_about, settled
from umekomi.indexes.adapters.walking import WalkingAdapter
from umekomi.indexes.filters import POSTGRES, sql
from umekomi.indexes.index import Hit
from umekomi.indexes.kinds import Exact, Hnsw, make_kind
from umekomi.indexes.payload import as_json, row_of, type_name, value

if TYPE_CHECKING:
    from numpy.typing import NDArray

ID, VECTOR = "__id__", "__vector__"
SYSTEM = frozenset({"tableoid", "xmin", "cmin", "xmax", "cmax", "ctid"})
"""Columns that every table of PostgreSQL has."""
OPTIONS = "-c standard_conforming_strings=on -c timezone=UTC -c client_min_messages=error"
"""What a connection is asked for, behind the options of its address."""
LONGEST_NAME = 63
"""Bytes of a name; PostgreSQL cuts longer ones without an error."""
WIDEST, WIDEST_GRAPH = 16_000, 2_000
"""Dimensions that pgvector stores, and that its graph takes."""
PLAIN = 1500
"""Up to so many dimensions a vector lies in its row, where a scan reads it without a second look."""
OPERATORS = {"cosine": ("<#>", "vector_ip_ops"), "dot": ("<#>", "vector_ip_ops"), "euclidean": ("<->", "vector_l2_ops")}
"""Distances, smaller is nearer: minus the inner product (what compares by cosine is stored at length one), Euclid's."""

SPARE = 4
"""So many times the hits wanted are looked for under a filter: a walk meets those that pass less surely than it meets
the nearest of all."""
CANDIDATE = 128
"""What a candidate of a walk costs, in rows of a scan: 70 to 100 µs beside .5 (256 dimensions, an AMD EPYC)."""
MOST_SCANNED = 20_000
"""Rows that pgvector's walks meet at most, unless they are told more."""

Given = TypeVar("Given")


class PostgresIndex(WalkingAdapter):
    """A table of a PostgreSQL database.

    Args:
        address: how libpq connects: ``postgresql://user@host:5432/database``; a password may come from PGPASSWORD or
            the user's password file.
        name: the table's, in the first schema of the search path; any name: it is quoted.
        dimension: the vectors' width; None: as the table says.
        metric: how they compare: ``"cosine"``, ``"dot"`` or ``"euclidean"``.
        embedder: embeds texts that are added or asked for; None: the model that the table names, if it does.
        text: the column of the payload that was embedded.
        about: of a new table, in place of the four before.
        where: how errors name it.
    """

    taken = frozenset({ID, VECTOR}) | SYSTEM

    def __init__(
        self,
        address: str,
        name: str = "umekomi",
        *,
        dimension: int | None = None,
        metric: str = "cosine",
        embedder: Any = None,
        text: str = "",
        about: dict[str, Any] | None = None,
        where: str = "",
    ) -> None:
        try:
            import psycopg
        except ImportError:
            raise MissingExtra("psycopg", "postgres", "a PostgreSQL index") from None
        self._psycopg = psycopg
        self.name, self._address = name, address
        self._connection: Any = None
        self._making = about is not None or dimension is not None
        self.where = where or f"PostgreSQL, table {name!r}"
        _check_name(name, "the table's name")
        if about is None and dimension is not None:
            about = about_of(dimension, metric, text, embedder)
        with ExitStack() as failing:
            failing.callback(self.close)
            there, said = self._run(self._look)
            about = settled(self.where, "table", there, said, about)
            super().__init__(self.where, about, embedder)
            self._schema = _schema(about, self.where)
            if not there:
                if self.dimension > WIDEST:
                    raise WrongUse(
                        f"{self.where}: pgvector stores up to {WIDEST:,} dimensions, found {self.dimension:,}"
                    )
                self._run(self._create)
            failing.pop_all()

    # --- the connection -------------------------------------------------------------------------------------------

    def _connect(self) -> Any:
        psycopg = self._psycopg
        try:  # here, for its own words about what it cannot read may hold a password
            parts = psycopg.conninfo.conninfo_to_dict(self._address)
            port = parts.get("port", "")
        except psycopg.ProgrammingError:
            parts, port = {}, None
        if port is None or not re.fullmatch(r"[0-9,]*", str(port)):
            raise WrongUse(
                f"{self.where}: libpq does not read the address: expected postgresql://USER:PASSWORD@HOST:PORT/DATABASE"
                ", signs such as % / @ : in a name or a password as %25 %2F %40 %3A, or KEY='VALUE' pairs"
            )
        try:
            connection = psycopg.connect(
                self._address,
                autocommit=True,
                application_name="umekomi",
                connect_timeout=10,
                options=f"{parts.get('options') or ''} {OPTIONS}".strip(),
            )
        except psycopg.Error as error:
            raise UmekomiError(f"{self.where} cannot be reached: {line(error)}") from None
        try:
            if self._making and psycopg.types.TypeInfo.fetch(connection, "vector") is None:
                connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
            info = psycopg.types.TypeInfo.fetch(connection, "vector")
            why = ""
        except psycopg.Error as error:
            info, why = None, f" ({line(error)})"
        if info is None and not self._making:
            return connection  # without the extension there is no table of ours to be found
        if info is None:
            connection.close()
            raise WrongUse(
                f"{self.where}: the database lacks the extension vector (pgvector): its administrator makes it with "
                f"CREATE EXTENSION vector{why}"
            )
        _register(connection, info)
        return connection

    def _run(self, work: Callable[[Any], Given]) -> Given:
        """``work(connection)`` in one transaction. A connection that is lost is made anew once, and the work done again
        from its beginning; then it is one line. What PostgreSQL refuses is one line."""
        psycopg = self._psycopg
        for attempt in (0, 1):
            if self._connection is None or self._connection.closed:
                self._connection = self._connect()
            connection = self._connection
            try:
                with connection.transaction():
                    return work(connection)
            except psycopg.Error as error:
                lost = connection.closed or connection.broken
                if not lost:
                    raise DataError(f"{self.where}: PostgreSQL does not take it: {line(error)}") from None
                self._connection = None
                if attempt:
                    raise UmekomiError(
                        f"{self.where}: the connection was lost: {line(error)}; what was committed is there, and the "
                        "same command goes on behind it"
                    ) from None
        raise AssertionError("the last attempt returns or raises")

    def _read(self, statement: Any, given: Any = (), *, settings: Mapping[str, str] | None = None) -> list[Any]:
        def work(connection: Any) -> list[Any]:
            for name, setting in (settings or {}).items():
                connection.execute("SELECT set_config(%s, %s, true)", (name, setting))
            with connection.cursor(binary=True) as cursor:
                return list(cursor.execute(statement, given, prepare=False).fetchall())

        return self._run(work)

    def close(self) -> None:
        """Done with the connection."""
        if self._connection is not None:
            self._connection.close()

    # --- the table --------------------------------------------------------------------------------------------------

    def _named(self, *names: str) -> Any:
        from psycopg import sql as parts

        return parts.SQL(", ").join(parts.Identifier(name) for name in names)

    def _sql(self, text: str, **more: Any) -> Any:
        from psycopg import sql as parts

        known = {"table": self._named(self.name), "id": self._named(ID), "vector": self._named(VECTOR)}
        return parts.SQL(text).format(**known, **more)  # type: ignore[arg-type]

    @property
    def _quoted(self) -> str:
        """The table's name, as PostgreSQL reads one in a text."""
        return '"' + self.name.replace('"', '""') + '"'

    def _look(self, connection: Any) -> tuple[bool, str | None]:
        """(is there a table of this name, what its comment says of an index)."""
        found = connection.execute(
            "SELECT obj_description(oid, 'pg_class') FROM pg_class WHERE oid = to_regclass(%s)", (self._quoted,)
        ).fetchone()
        if found is None:
            return False, None
        said = found[0]
        return True, said[len(MARK) :] if isinstance(said, str) and said.startswith(MARK) else None

    def _create(self, connection: Any) -> None:
        connection.execute(
            self._sql(
                'CREATE TABLE {table} ({id} text COLLATE "C" PRIMARY KEY, {vector} vector({width}) NOT NULL)',
                width=self._literal(self.dimension),
            )
        )
        if self.dimension <= PLAIN:
            connection.execute(self._sql("ALTER TABLE {table} ALTER COLUMN {vector} SET STORAGE PLAIN"))
        self._comment(connection, self.about)

    def _literal(self, found: Any) -> Any:
        from psycopg import sql as parts

        return parts.Literal(found)

    def _comment(self, connection: Any, about: dict[str, Any]) -> None:
        said = MARK + json.dumps(about, ensure_ascii=True)
        connection.execute(self._sql("COMMENT ON TABLE {table} IS {said}", said=self._literal(said)))

    def _locked(self, connection: Any) -> dict[str, Any]:
        """Lock the table against other writers; what it says of itself now, which one of them may have changed."""
        connection.execute(self._sql("LOCK TABLE {table} IN SHARE ROW EXCLUSIVE MODE"))
        _, said = self._look(connection)
        return read_about(said or "", self.where)

    def _note(self, notes: Mapping[str, Any]) -> None:
        def work(connection: Any) -> dict[str, Any]:
            about = self._locked(connection) | dict(notes)
            self._comment(connection, about)
            return about

        self._took(self._run(work))

    def _took(self, about: dict[str, Any]) -> None:
        self.about, self._schema = about, _schema(about, self.where)

    def __len__(self) -> int:
        return int(self._read(self._sql("SELECT count(*) FROM {table}"))[0][0])

    def bytes_on_disk(self) -> int | None:
        """The table with its indexes, as PostgreSQL counts them."""
        return int(self._read("SELECT pg_total_relation_size(to_regclass(%s))", (self._quoted,))[0][0])

    def _fields(self) -> list[str]:
        return list(self._schema.names)

    def _there(self, names: list[str]) -> list[str]:
        _no_nul(pa.chunked_array([pa.array(names, pa.string())]), "ids")
        found: list[str] = []
        for start in range(0, len(names), 10_000):
            some = names[start : start + 10_000]
            found += [row[0] for row in self._read(self._sql("SELECT {id} FROM {table} WHERE {id} = ANY(%s)"), (some,))]
        return found

    def _add(self, names: list[str], vectors: Any, payload: pa.Table, replace: bool, notes: Mapping[str, Any]) -> None:
        token = uuid.uuid4().hex
        _no_nul(pa.chunked_array([pa.array(names)]), "ids")
        table, schema = self._fitted(payload)
        columns = list(table.column_names)
        types = [TYPES[_family(table[name].type)] for name in columns]
        rows = list(zip(names, map(_Vector, np.ascontiguousarray(vectors, ">f4")), *_values(table), strict=True))
        every = self._named(ID, VECTOR, *columns)

        def work(connection: Any) -> tuple[dict[str, Any], pa.Schema]:
            stored = self._locked(connection)
            known = _schema(stored, self.where)
            if stored.get("commit") == token:
                return stored, known  # the connection was lost behind the commit
            whole = _joined(known, schema, self.where)
            for field in list(whole)[len(known) :]:
                column = {"name": self._named(field.name), "kind": self._kind_of(field.type)}
                connection.execute(self._sql("ALTER TABLE {table} ADD COLUMN {name} {kind}", **column))
            target = self._named("__umekomi_new__" if replace else self.name)
            if replace:
                connection.execute(
                    self._sql(
                        "CREATE TEMPORARY TABLE {new} ON COMMIT DROP AS SELECT {all} FROM {table} WITH NO DATA",
                        new=target,
                        all=every,
                    )
                )
            into = self._sql("COPY {target} ({all}) FROM STDIN (FORMAT BINARY)", target=target, all=every)
            with connection.cursor() as cursor, cursor.copy(into) as copy:
                copy.set_types(["text", "vector", *types])
                for row in rows:
                    copy.write_row(row)
            if replace:  # a row takes the whole place of another: columns that it lacks become null
                for statement in (
                    "DELETE FROM {table} WHERE {id} IN (SELECT {id} FROM {new})",
                    "INSERT INTO {table} ({all}) SELECT {all} FROM {new}",
                ):
                    connection.execute(self._sql(statement, new=target, all=every))
            about = stored | dict(notes) | {"schema": _written(whole), "commit": token}
            self._comment(connection, about)
            return about, whole

        self.about, self._schema = self._run(work)

    def _kind_of(self, kind: pa.DataType) -> Any:
        from psycopg import sql as parts

        family = _family(kind)
        if family == "decimal":
            return parts.SQL("numeric({}, {})").format(kind.precision, kind.scale)
        return parts.SQL({"float8": "double precision", "float4": "real"}.get(TYPES[family], TYPES[family]))

    def _fitted(self, payload: pa.Table) -> tuple[pa.Table, pa.Schema]:
        """(what is added, in types that the table's columns have; the schema behind it). Columns in which nothing
        stands are left out: they get a type with their first value."""
        columns: dict[str, Any] = {}
        known = {field.name: field.type for field in self._schema}
        for name in payload.column_names:
            _check_name(name, "a payload column's name")
            column = present(payload[name])
            if pa.types.is_null(column.type):
                continue
            columns[name] = _castable(column, known.get(name) or _stored(column.type, name), name)
        fields = [
            *self._schema,
            *(pa.field(name, column.type) for name, column in columns.items() if name not in known),
        ]
        return pa.table(columns), pa.schema(fields)

    def _delete(self, names: list[str]) -> None:
        def work(connection: Any) -> None:
            for start in range(0, len(names), 10_000):
                some = names[start : start + 10_000]
                connection.execute(self._sql("DELETE FROM {table} WHERE {id} = ANY(%s)"), (some,))

        self._run(work)

    # --- searching ------------------------------------------------------------------------------------------------

    def compact(self, kind: str | None = None, *, recall: float | None = None, **settings: Any) -> None:
        """Statistics for the planner; with ``kind`` ``hnsw`` pgvector's graph (``connections``, ``build_effort``), with
        ``exact`` none. A graph's ``effort`` is the least that reaches ``recall`` (.95) on rows of the table, where it
        was not given."""
        if kind not in (None, "auto", "exact", "hnsw"):
            raise WrongUse(f"{self.where}: expected index kind exact or hnsw, found {kind}")
        if settings and kind != "hnsw":
            raise WrongUse(f"{self.where}: settings ({', '.join(settings)}) are of the kind hnsw")
        graph = make_kind("hnsw", settings) if kind == "hnsw" else None
        if graph is not None and self.dimension > WIDEST_GRAPH:
            raise WrongUse(
                f"{self.where}: pgvector's graph takes up to {WIDEST_GRAPH:,} dimensions, found {self.dimension:,}"
            )

        def work(connection: Any) -> dict[str, Any]:
            about = self._locked(connection)
            if kind in ("exact", "hnsw"):
                connection.execute(self._sql("DROP INDEX IF EXISTS {graph}", graph=self._named(self._graph)))
                about.pop("kind", None)
            if graph is not None:
                assert isinstance(graph, Hnsw)
                connection.execute(
                    self._sql(
                        "CREATE INDEX {graph} ON {table} USING hnsw ({vector} {how}) "
                        "WITH (m = {m}, ef_construction = {ef})",
                        graph=self._named(self._graph),
                        how=self._named(OPERATORS[self.metric][1]),
                        m=self._literal(graph.connections),
                        ef=self._literal(max(graph.build_effort, 2 * graph.connections)),
                    )
                )
                about["kind"] = {
                    "name": "hnsw",
                    "settings": graph.settings() | {"effort": graph.effort or self.efforts[0]},
                }
            self._comment(connection, about)
            return about

        self._took(self._run(work))
        self._run(lambda connection: connection.execute(self._sql("ANALYZE {table}")))
        if graph is not None and not settings.get("effort"):
            self._tune(0.95 if recall is None else recall, graph.settings())

    @property
    def _graph(self) -> str:
        import hashlib

        return f"umekomi_{hashlib.blake2b(self.name.encode(), digest_size=8).hexdigest()}"

    def _some(self, sample: int, seed: int) -> Any:
        rows = self._read(
            self._sql("SELECT {vector} FROM {table} ORDER BY md5({id} || %s) LIMIT %s"), (str(seed), sample)
        )
        return np.array([row[0] for row in rows], np.float32)

    def _scored(self, vector: Any, k: int, *, exact: bool) -> list[tuple[str, float]]:
        return [(name, score) for name, score, _ in self._nearest(vector, k, None, exact=exact)]

    def _search(self, query: Any, k: int, condition: Any) -> list[Hit]:
        candidates = None if isinstance(self.kind, Exact) else self._candidates(k, condition)
        found = self._nearest(query, k, condition, candidates or 0, exact=candidates is None)
        if candidates is not None and len(found) < k:
            # a graph may end before it met as many rows as pass
            found = self._nearest(query, k, condition, exact=True)
        return [self._hit(name, score, payload) for name, score, payload in found]

    def _candidates(self, k: int, condition: Any) -> int | None:
        """The candidates that a walk for ``k`` hits is thought to meet, by how many rows the planner takes to pass;
        None where a look at every row costs no more."""
        if condition is None:
            return self._effort(k)
        explained = self._sql("EXPLAIN (FORMAT JSON) SELECT FROM {table} {where}", where=self._where(condition))
        passing = max(float(self._read(explained)[0][0][0]["Plan"]["Plan Rows"]), 1.0)
        rows = float(self._read("SELECT reltuples FROM pg_class WHERE oid = to_regclass(%s)", (self._quoted,))[0][0])
        candidates = max(self._effort(k), math.ceil(SPARE * k * rows / passing))
        return None if candidates * CANDIDATE >= rows else candidates

    def _where(self, condition: Any) -> Any:
        from psycopg import sql as parts

        if condition is None:
            return parts.SQL("")
        said = sql(condition, self._schema, POSTGRES).replace("%", "%%").replace("{", "{{").replace("}", "}}")
        return parts.SQL(f"WHERE {said}").format()  # type: ignore[arg-type]

    def _nearest(
        self, query: Any, k: int, condition: Any, candidates: int = 0, *, exact: bool
    ) -> list[tuple[str, float, dict[str, Any]]]:
        """(id, score, payload) of the ``k`` nearest, best first, by a look at every row, or by a walk that is thought
        to meet so many ``candidates``."""
        from psycopg import sql as parts

        wanted, settings = k, {"enable_indexscan": "off"}
        if not exact:
            wanted = k if condition is None else SPARE * k
            settings = {
                "enable_seqscan": "off",
                "hnsw.ef_search": str(self._effort(k)),
                "hnsw.iterative_scan": "relaxed_order",
                "hnsw.max_scan_tuples": str(max(MOST_SCANNED, 2 * candidates)),
            }
        names = self._schema.names
        statement = self._sql(
            "SELECT {id}, {vector} {sign} %b {rest} FROM {table} {where} ORDER BY {vector} {sign} %b {last} LIMIT %s",
            sign=parts.SQL(OPERATORS[self.metric][0]),  # type: ignore[arg-type]
            rest=parts.SQL(", ") + self._named(*names) if names else parts.SQL(""),
            where=self._where(condition),
            last=parts.SQL(", ") + self._named(ID) if exact else parts.SQL(""),
        )
        asked = _Vector(np.ascontiguousarray(query, ">f4"))
        rows = self._read(statement, (asked, asked, wanted), settings=settings)
        if not exact:  # a walk that goes on may meet nearer rows late
            rows = sorted(rows, key=lambda row: float(row[1]))[:k]
        payload = self._table([row[2:] for row in rows])
        return [(row[0], -float(row[1]), row_of(payload, number)) for number, row in enumerate(rows)]

    def _table(self, rows: list[Any]) -> pa.Table:
        """Rows of the payload as they were before PostgreSQL held them."""
        return pa.table(
            [
                pa.array([_back(row[place], field.type) for row in rows], field.type)
                for place, field in enumerate(self._schema)
            ],
            schema=self._schema,
        )

    def batches(self, after: Any = None, rows: int = 1024) -> Iterator[Batch]:
        """All rows in the order of their ids, byte by byte."""
        while True:
            found = self._read(
                self._sql(
                    "SELECT {all} FROM {table} WHERE {id} > %s ORDER BY {id} LIMIT %s",
                    all=self._named(ID, VECTOR, *self._schema.names),
                ),
                (after or "", rows),
            )
            if not found:
                return
            after = found[-1][0]
            vectors = np.array([row[1] for row in found], np.float32)
            yield Batch([row[0] for row in found], vectors, self._table([row[2:] for row in found]), after)


MARK = "umekomi index: "
"""How the comment of a table begins that an index is in."""
TYPES = {
    "bool": "bool",
    "int16": "int2",
    "int32": "int4",
    "int64": "int8",
    "uint64": "numeric",
    "float32": "float4",
    "float64": "float8",
    "decimal": "numeric",
    "text": "text",
    "bytes": "bytea",
    "date": "date",
    "time": "time",
    "timestamp": "timestamp",
    "timestamptz": "timestamptz",
    "duration": "interval",
    "json": "jsonb",
}
"""PostgreSQL's types of the payload's columns."""


def _family(kind: pa.DataType) -> str:
    """Which of :data:`TYPES` a column of a type that is stored has."""
    is_ = pa.types
    for test, family in (
        (is_.is_boolean, "bool"),
        (is_.is_float32, "float32"),
        (is_.is_float64, "float64"),
        (is_.is_decimal, "decimal"),
        (is_.is_date, "date"),
        (is_.is_time, "time"),
        (is_.is_duration, "duration"),
        (is_.is_nested, "json"),
        (is_.is_uint64, "uint64"),
    ):
        if test(kind):
            return family
    if is_.is_string(kind) or is_.is_large_string(kind):
        return "text"
    if is_.is_binary(kind) or is_.is_large_binary(kind) or is_.is_fixed_size_binary(kind):
        return "bytes"
    if is_.is_timestamp(kind):
        return "timestamp" if kind.tz is None else "timestamptz"
    if is_.is_integer(kind):
        bits = kind.bit_width + (1 if is_.is_unsigned_integer(kind) else 0)
        return "int16" if bits <= 16 else "int32" if bits <= 32 else "int64"
    raise KeyError(str(kind))


def _stored(kind: pa.DataType, name: str) -> pa.DataType:
    """The type in which a column comes back from PostgreSQL, which keeps microseconds; the error for one that it cannot
    keep."""
    is_ = pa.types
    if is_.is_timestamp(kind):
        return pa.timestamp("us", kind.tz)
    if is_.is_time(kind):
        return pa.time64("us")
    if is_.is_duration(kind):
        return pa.duration("us")
    if is_.is_date(kind):
        return pa.date32()
    if is_.is_nested(kind):
        _plain(kind, name)
        return kind
    try:
        _family(kind)
    except KeyError:
        raise DataError(f"add: payload column {name!r}: PostgreSQL has no type for {type_name(kind)}") from None
    return kind


def _plain(kind: pa.DataType, name: str) -> None:
    """DataError unless a nested type is JSON's: lists and structs of numbers, truth values and texts."""
    is_ = pa.types
    if is_.is_nested(kind) and not is_.is_map(kind):
        for place in range(kind.num_fields):
            _plain(kind.field(place).type, name)
    elif not (is_.is_null(kind) or is_.is_boolean(kind) or is_.is_integer(kind) or is_.is_floating(kind)) and not (
        is_.is_string(kind) or is_.is_large_string(kind)
    ):
        raise DataError(
            f"add: payload column {name!r}: PostgreSQL keeps lists and structs of numbers, truth values and texts, "
            f"found {type_name(kind)} within"
        )


def _castable(column: pa.ChunkedArray, kind: pa.DataType, name: str) -> pa.ChunkedArray:
    """A column in the type that the table's has, or the error that says which value it cannot hold."""
    if column.type != kind:
        same = _family(_stored(column.type, name)) == _family(kind)
        numbers = pa.types.is_integer(column.type) and (pa.types.is_integer(kind) or pa.types.is_floating(kind))
        try:
            if not (same or numbers):
                raise pa.ArrowInvalid(f"the table's column is {type_name(kind)}, this one {type_name(column.type)}")
            column = column.cast(kind)
        except pa.ArrowException as error:
            raise DataError(
                f"add: payload column {name!r}: PostgreSQL does not hold it as {type_name(kind)}: {line(error)}"
            ) from None
    family = _family(kind)
    if family == "text":
        _no_nul(column, f"payload column {name!r}")
    if family in ("date", "timestamp", "timestamptz") and len(column) and column.null_count < len(column):
        bounds = pc.min_max(column.cast(pa.timestamp("s")) if family == "date" else column).as_py
        try:
            bounds()
        except (ValueError, OverflowError):
            raise DataError(
                f"add: payload column {name!r}: expected dates from the year 1 to 9999, as PostgreSQL's client holds "
                "them"
            ) from None
    return column


def _no_nul(column: pa.ChunkedArray, what: str) -> None:
    found = pc.fill_null(pc.match_substring(column, "\0"), False)
    if pc.any(found).as_py():
        row = found.to_pylist().index(True) + 1
        raise DataError(f"add: {what}: PostgreSQL holds no text with the character NUL, found one in row {row}")


def _values(table: pa.Table) -> list[list[Any]]:
    """The columns' values as psycopg takes them."""
    out = []
    for name in table.column_names:
        column, family = table[name], _family(table[name].type)
        if family == "json":
            from psycopg.types.json import Jsonb

            found: list[Any] = [None if (one := as_json(value(each))) is None else Jsonb(one) for each in column]
            for row, each in enumerate(found, 1):
                if each is not None and "\\u0000" in json.dumps(each.obj):
                    raise DataError(
                        f"add: payload column {name!r}: PostgreSQL holds no text with the character NUL, found one in "
                        f"row {row}"
                    )
        else:
            found = column.to_pylist()
        out.append(found)
    return out


def _back(found: Any, kind: pa.DataType) -> Any:
    """A value of PostgreSQL's as Arrow takes it for this type."""
    return int(found) if found is not None and pa.types.is_uint64(kind) else found


def _joined(known: pa.Schema, added: pa.Schema, where: str) -> pa.Schema:
    """The columns of a table and those of what is added, of which another writer may have made some meanwhile."""
    for field in added:
        if field.name in known.names and known.field(field.name).type != field.type:
            raise DataError(
                f"add: payload column {field.name!r}: {where} holds it as {type_name(known.field(field.name).type)}, "
                f"found {type_name(field.type)}"
            )
    return pa.schema([*known, *(field for field in added if field.name not in known.names)])


def _schema(about: Mapping[str, Any], where: str) -> pa.Schema:
    """The payload's columns, from what the table says of itself."""
    said = about.get("schema")
    if said is None:
        return pa.schema([])
    try:
        return pa.ipc.read_schema(pa.py_buffer(b64decode(said, validate=True)))
    except Exception as error:  # Arrow has a kind of error for each sort of damage
        raise DataError(f"{where}: what it says of its columns cannot be read: {line(error)}") from None


def _written(schema: pa.Schema) -> str:
    return b64encode(schema.serialize().to_pybytes()).decode()


def _check_name(name: str, what: str) -> None:
    if not name or "\0" in name or len(name.encode("utf-8", "replace")) > LONGEST_NAME:
        raise WrongUse(
            f"{what}: PostgreSQL takes 1 to {LONGEST_NAME} bytes without the character NUL, found {name[:80]!r}"
        )


class _Vector:
    """A row of numbers, big-endian float32, on its way to pgvector's binary format."""

    def __init__(self, numbers: NDArray[Any]) -> None:
        self.numbers = numbers


def _register(connection: Any, info: Any) -> None:
    """psycopg learns pgvector's type: two 16-bit numbers, the width and a zero, then float32, all big-endian."""
    from psycopg.adapt import Dumper, Loader
    from psycopg.pq import Format

    class VectorDumper(Dumper):
        format = Format.BINARY
        oid = info.oid

        def dump(self, obj: _Vector) -> bytes:
            return struct.pack(">HH", len(obj.numbers), 0) + obj.numbers.tobytes()

    class VectorLoader(Loader):
        format = Format.BINARY

        def load(self, data: Any) -> NDArray[np.float32]:
            return np.frombuffer(bytes(data), ">f4", offset=4).astype(np.float32)

    info.register(connection)
    connection.adapters.register_dumper(_Vector, VectorDumper)
    connection.adapters.register_loader(info.oid, VectorLoader)
