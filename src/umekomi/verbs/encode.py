"""The verb ``encode``: a file of texts into vectors, streamed, in shards that are kept as they finish."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from umekomi.caching import VectorCache
from umekomi.data.lines import check_path
from umekomi.data.readers import Source, document_texts
from umekomi.data.readers.parquet import faults
from umekomi.errors import DataError, WrongUse
from umekomi.files import source_hash, whole_file, write_json
from umekomi.limits import check, checked
from umekomi.models.engines.choice import open_for_encoding
from umekomi.models.tokens import NetworkEmbedder
from umekomi.models.truncation import check_truncation, encode_truncated, is_truncated
from umekomi.progress import Progress, say

if TYPE_CHECKING:
    import pyarrow as pa

    from umekomi.contracts import Floats
    from umekomi.models.base import EmbedderBase, Named

SHARD = 8192
WRITTEN = ("vector", "truncated")
"""The columns that a Parquet file of ``encode`` has beside the input's."""
ABOUT = ("model", "fingerprint", "metric", "column")
"""What it says of itself."""


@dataclass(frozen=True)
class EncodedFile:
    """What a run did: ``rows`` in all, of which ``kept`` lay finished from an earlier run of the same job, and
    ``reused`` were texts that had a vector already, in this file or in the cache; ``truncated`` texts were cut."""

    out: Path
    rows: int
    kept: int
    truncated: int
    dimension: int
    reused: int = 0

    def summary(self) -> str:
        """One line."""
        cut = f"; {self.truncated:,} were longer than the model reads and were cut" if self.truncated else ""
        kept = f", {self.kept:,} of them by an earlier run" if self.kept else ""
        reused = f", {self.reused:,} of them encoded before" if self.reused else ""
        return f"{self.rows:,} texts in {self.dimension} dimensions{kept}{reused} -> {self.out}{cut}"


@checked
def encode(
    model: Named,
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
    engine: str = "auto",
    cache: bool | str | Path = True,
    devices: Sequence[str] | None = None,
    encoding: str | None = None,
    progress: bool = False,
) -> EncodedFile:
    """Vectors of every text in a file, in bounded memory.

    An input with columns named ``vector`` and ``truncated`` of its own is refused for Parquet, unless ``encode`` wrote
    them: then the new ones take their place. A row without ``text`` is encoded by its ``title``. Shards are committed
    as they finish in ``OUT.shards`` and joined at the end. A text that has been encoded before, in this file or by an
    earlier run with the same model, role and truncation, is not encoded again where that costs (transformers,
    services).

    Args:
        model: a name, a folder, or an embedder.
        source: the file of texts.
        out: ends in ``.parquet`` (the input's columns, ``vector``, ``truncated``) or ``.npy`` (float32 ``[n, d]`` in
            the input's order).
        column: holds the texts.
        role: whose prompt is put before them.
        dimensions: keeps the first so many.
        truncation: ``"warn"`` counts texts that were cut, ``"error"`` stops at the first, ``"silent"`` does not look,
            ``"chunk"`` reads a long text in windows and takes their mean
            (:func:`umekomi.models.truncation.encode_truncated`).
        resume: goes on behind the last finished shard of an interrupted run, if model, input and settings are the same.
        shard_rows: texts of a shard.
        batch_size: items that are encoded at once.
        engine: what runs a transformer (:func:`umekomi.models.engines.choice.open_for_encoding`).
        cache: where vectors of earlier runs are (a folder; ``True``: ``vectors`` in the cache folder; ``False``: none).
        devices: shares the texts out among processes, by torch (``["cuda:0", "cuda:1"]``, ``["all"]`` for every GPU).
        encoding: of a file that is not UTF-8.
        progress: shows a bar.
    """
    out, source = Path(out), Path(source)
    read = check_job(source, out, column, truncation, shard_rows, batch_size, encoding)
    name = str(model) if isinstance(model, (str, Path)) else model.name
    embedder = open_for_encoding(model, "torch" if devices else engine)
    named = parse_devices(embedder, devices)
    shards, done, width, about = begin(
        embedder, name, source, out, column, role, dimensions, truncation, shard_rows, resume, encoding
    )
    finished = {entry["shard"]: entry["rows"] for entry in done}
    kept = sum(finished.values())
    work = Work(embedder, column, role, dimensions, truncation, batch_size, out.suffix, None)
    if embedder.costly and cache is not False:
        work.cache = VectorCache(
            about["fingerprint"],
            embedder.dimension,
            "\n".join([str(role), str(truncation == "chunk"), *approximations(embedder)]),
            None if cache is True else cache,
        )
    with (
        cast("NetworkEmbedder", embedder).on(named) if named else nullcontext(),
        Progress("encoding", read.rows, "texts", progress, done=kept) as bar,
    ):
        for number, table in enumerate(read.tables(shard_rows)):
            if number in finished:
                if table.num_rows != finished[number]:
                    raise DataError(
                        f"{shards}: shard {number} holds {finished[number]} rows, the input {table.num_rows}",
                        parameter="resume",
                        advice="start anew without",
                    )
                continue
            entry = work.shard(table, source, shards, number, number * shard_rows)
            commit(shards, entry)
            done.append(entry)
            bar.advance(entry["rows"])
    if work.cache is not None:
        work.cache.close()
    return finish(shards, done, out, width, kept, about)


def approximations(embedder: EmbedderBase) -> list[str]:
    """What sets vectors of this embedder apart from its exact ones."""
    return [embedder.rounding] if embedder.rounding else []


def check_job(
    source: Path,
    out: Path,
    column: str,
    truncation: str,
    shard_rows: int,
    batch_size: int,
    encoding: str | None = None,
) -> Source:
    """The input, all of it read once; the error for a job that cannot be, before a model is opened.

    Args:
        source: the file of texts.
        out: the file to write.
        column: holds the texts.
        truncation: what becomes of long texts.
        shard_rows: texts of a shard.
        batch_size: items that are encoded at once.
        encoding: of a file that is not UTF-8.
    """
    if out.suffix not in (".parquet", ".npy"):
        raise WrongUse(f"{out}: expected a file ending in .parquet or .npy")
    if out.is_dir():
        raise WrongUse(f"{out}: expected a file to write to, found a folder")
    check_truncation(truncation)
    check("shard_rows", shard_rows)
    check("batch_size", batch_size)
    read = Source(source, encoding=encoding, column=column, titles=True)
    own = [name for name in WRITTEN if name in read.names]
    if own and out.suffix == ".parquet":
        about = read_vectors(source)
        if about is None or column in own:
            raise WrongUse(
                f"{source}: the column {own[0]!r} has a name that encode writes itself: rename it, or write to .npy"
            )
        say(f"note: {out} will have the new vectors in place of those that {about['model']} gave {source}")
    return read


def width_of(embedder: EmbedderBase, dimensions: int | None) -> int:
    """How wide vectors are of which the first ``dimensions`` are kept; the error for more than there are."""
    width = dimensions or embedder.dimension
    if not 1 <= width <= embedder.dimension:
        raise WrongUse(
            f"{embedder.name} has {embedder.dimension} dimensions: expected 1 to {embedder.dimension}, found "
            f"{dimensions}"
        )
    return width


def begin(
    embedder: EmbedderBase,
    name: str,
    source: Path,
    out: Path,
    column: str,
    role: str | None,
    dimensions: int | None,
    truncation: str,
    shard_rows: int,
    resume: bool,
    encoding: str | None = None,
) -> tuple[Path, list[dict[str, Any]], int, dict[str, str]]:
    """(the folder of shards, those that an earlier run of the same job finished, the vectors' width, what the output
    says of itself).

    Args:
        embedder: what encodes.
        name: what the user called it.
        source: the file of texts.
        out: the file to write.
        column: holds the texts.
        role: whose prompt is put before them.
        dimensions: keeps the first so many.
        truncation: what becomes of long texts.
        shard_rows: texts of a shard.
        resume: goes on behind the last finished shard.
        encoding: of a file that is not UTF-8.
    """
    if "dense" not in embedder.outputs:
        raise WrongUse(f"encode writes dense vectors; {embedder.name} gives {' and '.join(sorted(embedder.outputs))}")
    width = width_of(embedder, dimensions)
    shards, fingerprint = out.with_name(out.name + ".shards"), embedder.fingerprint()
    settings = [column, role, dimensions, truncation, shard_rows, out.suffix, *approximations(embedder)]
    settings += [encoding] if encoding else []
    done = open_shards(shards, {"model": fingerprint, "source": source_hash(source), "settings": settings}, resume)
    if done:
        say(f"going on behind {sum(entry['rows'] for entry in done):,} finished texts in {shards}")
    return shards, done, width, {"model": name, "fingerprint": fingerprint, "metric": embedder.metric, "column": column}


def finish(
    shards: Path, done: list[dict[str, Any]], out: Path, width: int, kept: int, about: dict[str, str]
) -> EncodedFile:
    """Join the shards, all of them done, and tell what was."""
    rows = sum(entry["rows"] for entry in done)
    joined = shards / f"joined{out.suffix}"
    _join(shards, joined, rows, width, len(done), about)
    joined.replace(out)
    _remove(shards, shards.with_name(f".{shards.name}.old"))
    return EncodedFile(
        out, rows, kept, sum(entry["truncated"] for entry in done), width, sum(entry.get("reused", 0) for entry in done)
    )


def _remove(shards: Path, retired: Path) -> None:
    """Take a folder away at once, whenever a kill comes; what an earlier kill left of such goes too."""
    shutil.rmtree(retired, ignore_errors=True)
    if shards.exists():
        shards.rename(retired)
        shutil.rmtree(retired)


def parse_devices(embedder: EmbedderBase, devices: Sequence[str] | None) -> list[str]:
    """The devices asked for, every one of which is there; the error for any other."""
    if not devices:
        return []
    if not isinstance(embedder, NetworkEmbedder):
        raise WrongUse(f"devices: expected a transformer text embedder, {embedder.name} is of kind {embedder.kind}")
    import torch

    count = torch.cuda.device_count()
    if list(devices) == ["all"]:
        if not count:
            raise WrongUse("devices: expected a GPU, found none; name them (cpu,cpu) or leave devices out")
        return [f"cuda:{number}" for number in range(count)]
    for device in devices:
        try:
            place = torch.device(device)
        except RuntimeError:
            raise WrongUse(
                f"devices: expected all, or names such as cuda:0,cuda:1 or cpu,cpu, found {device!r}"
            ) from None
        if place.type == "cuda" and (place.index or 0) >= count:
            raise WrongUse(f"devices: found {count} GPU{'s' if count != 1 else ''}, none is {device!r}")
    return list(devices)


def read_vectors(source: Path) -> dict[str, str] | None:
    """What ``encode`` wrote of itself into this Parquet file (model, fingerprint, metric, column); None for any other
    file."""
    import pyarrow.parquet as pq

    check_path(source)
    if source.suffix != ".parquet" or source.is_dir():
        return None
    with faults(source):
        schema = pq.read_schema(source)
        about = {name: (schema.metadata or {}).get(name.encode(), b"").decode() for name in ABOUT}
        whole = all(about[name] for name in ("model", "fingerprint", "column"))
        return about if WRITTEN[0] in schema.names and whole else None


def vectors_of(table: pa.Table, source: str | Path = "the data") -> Floats:
    """The column ``vector`` of what ``encode`` wrote, float32 ``[n, d]``."""
    import pyarrow as pa

    flat = table["vector"].combine_chunks()
    array = pa.concat_arrays(flat.chunks) if isinstance(flat, pa.ChunkedArray) else flat
    kind = array.type
    if not pa.types.is_fixed_size_list(kind) or not pa.types.is_floating(kind.value_type) or array.null_count:
        raise DataError(
            f"{source}, column 'vector': expected what encode wrote, found {kind} with {array.null_count} missing"
        )
    return array.flatten().to_numpy(zero_copy_only=False).astype(np.float32, copy=False).reshape(len(array), -1)


def open_shards(shards: Path, job: dict[str, Any], resume: bool) -> list[dict[str, Any]]:
    """The finished shards of the same job; another job's are an error when going on was asked for."""
    state = shards / "job.json"
    if resume and state.is_file():
        entries = json.loads(state.read_text())
        different = [key for key in job if entries.get(key) != job[key]]
        if different:
            raise WrongUse(
                f"{shards} was begun with another {' and '.join(different)}",
                parameter="resume",
                advice="finish it as it was begun, or start anew without",
            )
        log = shards / "done.jsonl"
        lines = log.read_bytes().split(b"\n")[:-1] if log.is_file() else []
        if log.is_file():
            os.truncate(log, sum(len(line) + 1 for line in lines))  # a line that a kill cut short was never committed
        entries = {entry["shard"]: entry for entry in map(json.loads, lines)}
        return [entries[number] for number in sorted(entries)]
    fresh, old = (shards.with_name(f".{shards.name}.{word}") for word in ("new", "old"))
    if shards.exists() and not state.is_file() and any(shards.iterdir()):
        raise WrongUse(f"{shards} holds files of something else: expected a folder of shards")
    _remove(shards, old)
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    write_json(fresh / "job.json", job)
    fresh.rename(shards)  # whole or not there: a kill leaves no folder that the next run does not know
    return []


@dataclass
class Work:
    """How every shard of a job is encoded."""

    embedder: Any
    column: str
    role: str | None
    dimensions: int | None
    truncation: str
    batch_size: int
    suffix: str
    cache: VectorCache | None

    def shard(self, table: pa.Table, source: Path, shards: Path, number: int, first: int) -> dict[str, Any]:
        """Encode the texts of one shard, rows from ``first`` on, and write its file; what :func:`commit` then writes
        down."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        texts = document_texts(table, self.column, str(source), first)
        vectors, cut, reused = self.encoded(texts, first)
        with whole_file(shards / f"{number:06d}{self.suffix}") as temporary:
            if self.suffix == ".npy":
                with temporary.open("wb") as stream:
                    np.save(stream, vectors)
            else:
                vector = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), vectors.shape[1])
                kept = table.select([name for name in table.column_names if name not in WRITTEN])
                written = dict(zip(WRITTEN, (vector, pa.array(cut)), strict=True))
                for name, values in written.items():
                    kept = kept.append_column(name, values)
                pq.write_table(kept, temporary)
        return {"shard": number, "rows": len(texts), "truncated": int(cut.sum()), "reused": reused}

    def encoded(self, texts: list[str], first: int) -> tuple[Any, Any, int]:
        """(vectors ``[n, d]``, which texts were cut, how many had a vector already)."""
        if self.cache is None:
            found = encode_truncated(
                self.embedder,
                texts,
                truncation=self.truncation,
                role=self.role,
                dimensions=self.dimensions,
                batch_size=self.batch_size,
                first=first,
            )
            return found.vectors, found.truncated, 0
        keys = [self.cache.key(text) for text in texts]
        known = self.cache.get(list(dict.fromkeys(keys)))
        missing = {key: place for place, key in reversed(list(enumerate(keys))) if key not in known}
        places = sorted(missing.values())
        if self.truncation == "error":
            long = {place for place, key in enumerate(keys) if key in known and known[key][2]}
            long |= {
                place
                for place, cut in zip(
                    places, is_truncated(self.embedder, [texts[place] for place in places], self.role), strict=True
                )
                if cut
            }
            if long:
                raise DataError(
                    f"text {first + min(long) + 1} is longer than {self.embedder.name} reads: "
                    f"{texts[min(long)][:60]!r}…"
                )
        if places:
            # looked at even where truncation is silent: the vector may serve a run that asks
            how = "chunk" if self.truncation == "chunk" else "warn"
            found = encode_truncated(
                self.embedder,
                [texts[place] for place in places],
                truncation=how,
                role=self.role,
                batch_size=self.batch_size,
            )
            self.cache.put([keys[place] for place in places], found.vectors, found.tokens, found.truncated)
            known |= {
                keys[place]: (found.vectors[row], 0, bool(found.truncated[row])) for row, place in enumerate(places)
            }
        vectors = (
            np.stack([known[key][0] for key in keys]) if keys else np.zeros((0, self.embedder.dimension), np.float32)
        )
        cut = (
            np.array([known[key][2] for key in keys], bool)
            if self.truncation != "silent"
            else np.zeros(len(keys), bool)
        )
        if self.dimensions not in (None, self.embedder.dimension):
            vectors = self.embedder.cut(vectors, self.dimensions)
        return vectors, cut, len(texts) - len(places)


def commit(shards: Path, entry: dict[str, Any]) -> None:
    """The line that says a shard's file is there and whole."""
    with (shards / "done.jsonl").open("a") as stream:
        stream.write(json.dumps(entry) + "\n")
        stream.flush()
        os.fsync(stream.fileno())


def _join(shards: Path, out: Path, rows: int, width: int, count: int, about: dict[str, str]) -> None:
    """One file of all shards, shard by shard."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    files = [shards / f"{number:06d}{out.suffix}" for number in range(count)]
    with whole_file(out) as temporary:
        if out.suffix == ".npy":
            with temporary.open("wb") as stream:
                np.lib.format.write_array_header_1_0(
                    stream, {"descr": "<f4", "fortran_order": False, "shape": (rows, width)}
                )
                for file in files:
                    stream.write(np.load(file).tobytes())
            return
        schema = pq.read_schema(files[0])
        try:  # shards of an older version may differ, each having its types from its own rows
            for file in files[1:]:
                schema = pa.unify_schemas([schema, pq.read_schema(file)], promote_options="permissive")
        except pa.ArrowException as error:
            raise DataError(
                f"{shards}: an older version's shards do not join ({' '.join(str(error).split())})",
                parameter="resume",
                advice="start anew without",
            ) from None
        schema = schema.with_metadata(about)
        with pq.ParquetWriter(temporary, schema) as writer:
            for file in files:
                table = pq.read_table(file)
                for field in schema:
                    if field.name not in table.column_names:
                        table = table.append_column(field.name, pa.nulls(len(table), field.type))
                writer.write_table(table.select(schema.names).cast(schema))
