"""The verb ``encode``: a file of texts into vectors, streamed, in shards that are kept as they finish."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from umekomi.data.columns import first_problem
from umekomi.data.readers import batches
from umekomi.errors import DataError, WrongUse
from umekomi.files import source_hash, whole_file, write_json
from umekomi.models import load_embedder
from umekomi.progress import Progress, say

if TYPE_CHECKING:
    import pyarrow as pa

SHARD = 8192


@dataclass(frozen=True)
class Encoded:
    """What a run did: ``rows`` in all, of which ``kept`` lay finished from an earlier run; ``truncated`` texts were cut."""

    out: Path
    rows: int
    kept: int
    truncated: int
    dimension: int

    def summary(self) -> str:
        """One line."""
        cut = f"; {self.truncated:,} were longer than the model reads and were cut" if self.truncated else ""
        kept = f", {self.kept:,} of them by an earlier run" if self.kept else ""
        return f"{self.rows:,} texts in {self.dimension} dimensions{kept} -> {self.out}{cut}"


def encode(
    model: Any,
    source: str | Path,
    out: str | Path,
    *,
    column: str = "text",
    role: str | None = "document",
    dimensions: int | None = None,
    truncation: str = "warn",
    resume: bool = False,
    shard_rows: int = SHARD,
    batch_size: int = 32,
    progress: bool = False,
) -> Encoded:
    """Vectors of every text in a file, in bounded memory.

    ``out`` ends in ``.parquet`` (the input's columns, ``vector``, ``truncated``) or ``.npy`` (float32 ``[n, d]`` in the input's
    order). Shards of ``shard_rows`` texts are committed as they finish in ``OUT.shards`` and joined at the end; with
    ``resume`` an interrupted run goes on behind the last of them, if model, input and settings are the same.
    ``truncation``: ``"warn"`` counts texts that were cut, ``"error"`` stops at the first, ``"silent"`` does not look.
    """
    out = Path(out)
    if out.suffix not in (".parquet", ".npy"):
        raise WrongUse(f"{out}: expected a file ending in .parquet or .npy")
    if truncation not in ("warn", "error", "silent"):
        raise WrongUse(f"truncation: expected warn, error or silent, found {truncation!r}")
    if shard_rows < 1 or batch_size < 1:
        raise WrongUse(f"expected at least one row a shard and one text a batch, found {shard_rows} and {batch_size}")
    source = Path(source)
    if not source.exists():
        raise WrongUse(f"{source}: no such file or folder")
    name = str(model) if isinstance(model, (str, Path)) else model.name
    embedder = load_embedder(model)
    if "dense" not in embedder.outputs:
        raise WrongUse(f"encode writes dense vectors; {embedder.name} gives {' and '.join(sorted(embedder.outputs))}")
    width = dimensions or embedder.dimension
    shards = out.with_name(out.name + ".shards")
    job = {
        "model": embedder.fingerprint(),
        "source": source_hash(source),
        "settings": [column, role, dimensions, truncation, shard_rows, out.suffix],
    }
    done = _open_shards(shards, job, resume)
    kept = sum(entry["rows"] for entry in done)
    if done:
        say(f"going on behind {kept:,} finished texts in {shards}")
    with Progress("encoding", lines(source) if progress else None, "texts", progress, done=kept) as bar:
        for number, table in enumerate(batches(source, shard_rows)):
            if number < len(done):
                if table.num_rows != done[number]["rows"]:
                    raise DataError(f"{shards}: shard {number} holds {done[number]['rows']} rows, the input {table.num_rows}: start anew without --resume")
                continue
            if column not in table.column_names:
                raise DataError(f"{source}: expected the column {column!r}, found {', '.join(table.column_names)}: name one with --column")
            problem = first_problem("text", table[column])
            if problem:
                raise DataError(f"{source}, row {number * shard_rows + problem[0] + 1}, column {column!r}: expected {problem[1]}, found {problem[2]}")
            entry = _shard(embedder, table, shards, number, column, role, dimensions, truncation, batch_size, out.suffix)
            done.append(entry)
            bar.advance(entry["rows"])
    rows = sum(entry["rows"] for entry in done)
    _join(shards, out, rows, width, len(done), {"model": name, "fingerprint": job["model"], "metric": embedder.metric, "column": column})
    shutil.rmtree(shards)
    return Encoded(out, rows, kept, sum(entry["truncated"] for entry in done), width)


def encoded(source: Path) -> dict[str, str] | None:
    """What ``encode`` wrote of itself into this Parquet file (model, fingerprint, metric, column); None for any other file."""
    import pyarrow.parquet as pq

    if source.suffix != ".parquet":
        return None
    about = pq.read_schema(source)
    if "vector" not in about.names or not about.metadata or b"fingerprint" not in about.metadata:
        return None
    return {key.decode(): value.decode() for key, value in about.metadata.items()}


def vectors_of(table: pa.Table) -> Any:
    """The column ``vector`` of what ``encode`` wrote, float32 ``[n, d]``."""
    import pyarrow as pa

    flat = table["vector"].combine_chunks()
    return (flat.chunk(0) if isinstance(flat, pa.ChunkedArray) else flat).flatten().to_numpy(zero_copy_only=False).reshape(len(table), -1)


def lines(source: Path) -> int | None:
    """About how many texts there are, for the time left: rows of Parquet, line ends otherwise."""
    if source.is_dir():
        return None
    if source.suffix == ".parquet":
        import pyarrow.parquet as pq

        return int(pq.ParquetFile(source).metadata.num_rows)
    import gzip
    from typing import cast

    with cast(Any, gzip.open if source.suffix == ".gz" else open)(source, "rb") as stream:
        return sum(block.count(b"\n") for block in iter(lambda: stream.read(1 << 20), b""))


def _open_shards(shards: Path, job: dict[str, Any], resume: bool) -> list[dict[str, Any]]:
    """The finished shards of the same job; another job's are an error when going on was asked for."""
    state = shards / "job.json"
    if resume and state.is_file():
        found = json.loads(state.read_text())
        different = [key for key in job if found.get(key) != job[key]]
        if different:
            raise WrongUse(f"{shards} was begun with another {' and '.join(different)}: finish it as it was begun, or leave out --resume to start anew")
        log = shards / "done.jsonl"
        lines = log.read_bytes().split(b"\n")[:-1] if log.is_file() else []
        if log.is_file():
            os.truncate(log, sum(len(line) + 1 for line in lines))  # a line that a kill cut short was never committed
        return [json.loads(line) for line in lines]
    if state.is_file() or not shards.exists():
        shutil.rmtree(shards, ignore_errors=True)
    elif any(shards.iterdir()):
        raise WrongUse(f"{shards} holds files of something else: expected a folder of shards")
    shards.mkdir(parents=True, exist_ok=True)
    write_json(state, job)
    return []


def _shard(
    embedder: Any,
    table: pa.Table,
    shards: Path,
    number: int,
    column: str,
    role: str | None,
    dimensions: int | None,
    truncation: str,
    batch_size: int,
    suffix: str,
) -> dict[str, Any]:
    """Encode and commit one shard: the file first, then the line that says it is there."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    texts = table[column].to_pylist()
    cut = np.zeros(len(texts), bool) if truncation == "silent" else embedder.truncated(texts)
    if truncation == "error" and cut.any():
        row = int(np.flatnonzero(cut)[0])
        raise DataError(f"text {number * len(texts) + row + 1} is longer than {embedder.name} reads: {texts[row][:60]!r}…")
    vectors = embedder.encode(texts, role=role, dimensions=dimensions, batch_size=batch_size)
    with whole_file(shards / f"{number:06d}{suffix}") as temporary:
        if suffix == ".npy":
            with temporary.open("wb") as stream:
                np.save(stream, vectors)
        else:
            vector = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), vectors.shape[1])
            table = table.append_column("vector", vector).append_column("truncated", pa.array(cut))
            pq.write_table(table, temporary)
    entry = {"shard": number, "rows": len(texts), "truncated": int(cut.sum())}
    with (shards / "done.jsonl").open("a") as stream:
        stream.write(json.dumps(entry) + "\n")
        stream.flush()
        os.fsync(stream.fileno())
    return entry


def _join(shards: Path, out: Path, rows: int, width: int, count: int, about: dict[str, str]) -> None:
    """One file of all shards, shard by shard."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    files = [shards / f"{number:06d}{out.suffix}" for number in range(count)]
    with whole_file(out) as temporary:
        if out.suffix == ".npy":
            with temporary.open("wb") as stream:
                np.lib.format.write_array_header_1_0(stream, {"descr": "<f4", "fortran_order": False, "shape": (rows, width)})
                for file in files:
                    stream.write(np.load(file).tobytes())
            return
        schema = pq.read_schema(files[0])
        for file in files[1:]:
            schema = pa.unify_schemas([schema, pq.read_schema(file)], promote_options="permissive")
        schema = schema.with_metadata(about)
        with pq.ParquetWriter(temporary, schema) as writer:
            for file in files:
                table = pq.read_table(file)
                for field in schema:
                    if field.name not in table.column_names:
                        table = table.append_column(field.name, pa.nulls(len(table), field.type))
                writer.write_table(table.select(schema.names).cast(schema))
