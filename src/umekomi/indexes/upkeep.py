"""What writes to an index: rows added, deleted and joined into fewer segments, the kind chosen, taught and tuned. Each
function takes a :class:`~umekomi.indexes.reading.Snapshot`, writes new files, and gives the manifest that would make
them the state of the index; who called it commits. All of it under the store's lock."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from umekomi.errors import DataError
from umekomi.indexes import joining, kinds, lexical
from umekomi.indexes.kinds import Kind
from umekomi.indexes.manifest import Manifest, Segment
from umekomi.indexes.packing import ARRAYS, concatenate, pack, to_plain, unpack
from umekomi.indexes.reading import Snapshot
from umekomi.indexes.scans import Part
from umekomi.indexes.store import Store, damaged, write_array
from umekomi.parts import similarity as similarities

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from umekomi.contracts import Output

AUTO_ROWS = 50_000
"""Below this many rows the automatic kind looks at every vector."""
AUTO_DOCUMENTS = 5_000
"""The same for rows of token vectors."""
SEGMENTS = 16
SAMPLE = 50_000


def copied(now: Snapshot) -> Manifest:
    """A manifest to change, of what the snapshot's says."""
    return deepcopy(now.manifest)


def hash_ids(ids: Sequence[str]) -> NDArray[np.uint64]:
    """A number for every id, by which it is found; uint64 ``[n]``."""
    return np.array([_hash(name) for name in ids], np.uint64)


def _hash(name: str) -> int:
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "little")


def add_rows(
    store: Store,
    now: Snapshot,
    ids: list[str],
    vectors: Output,
    table: pa.Table,
    *,
    replace: bool,
    words: Mapping[str, Any] | None = None,
) -> Manifest:
    """A further segment.

    Args:
        store: where it is written.
        now: the state that it is added to.
        ids: of the rows.
        vectors: theirs, fit for the index.
        table: their payload.
        replace: a row of an id that is there goes; else such an id is an error.
        words: the lexical leg's arrays, where the index has one.
    """
    manifest = copied(now)
    hashes = hash_ids(ids)
    table = pa.table({joining.ID: pa.array(ids, pa.string())} | {name: table[name] for name in table.column_names})
    columns = [(each.payload.schema, each.column) for each in now.segments]
    joining.common_schema(
        [*columns, (table.schema, table.column)], f"add: the payload does not fit that of {store.folder}"
    )
    there = [each.find(ids, hashes) for each in now.segments]
    doubles = [(number, int(i)) for number, rows in enumerate(there) for i in np.flatnonzero(rows >= 0)]
    if doubles and not replace:
        names = [ids[i] for _, i in doubles]
        raise DataError(
            f"add: {len(names):,} ids are in {store.folder} already "
            f"({', '.join(names[:5])}{', …' if len(names) > 5 else ''}): say replace to replace them"
        )
    for number in sorted({number for number, _ in doubles}):
        _bury(store, now, manifest, number, there[number][there[number] >= 0])
    manifest.about["dimension"] = manifest.about["dimension"] or similarities.width(vectors)
    kind = now.kind if manifest.about["kind"] else _begin(store, manifest, vectors)
    order = np.argsort(hashes, kind="stable")
    arrays = pack(vectors) | {"ids": hashes[order], "places": order.astype(np.uint32)} | dict(words or {})
    manifest.serial += 1
    segment = store.segment(f"segment-{manifest.serial:06d}", arrays, table)
    store.add_files(segment, kind.derive(vectors), manifest.serial)
    manifest.segments.append(segment)
    return manifest


def delete_rows(store: Store, now: Snapshot, ids: list[str]) -> Manifest:
    """The rows of these ids marked; an id that is not there is an error."""
    manifest = copied(now)
    hashes = hash_ids(ids)
    there = [each.find(ids, hashes) for each in now.segments]
    known = np.any([rows >= 0 for rows in there], axis=0) if there else np.zeros(len(ids), bool)
    if not known.all():
        missing = [ids[i] for i in np.flatnonzero(~known)]
        raise DataError(
            f"delete: {len(missing):,} of {len(ids):,} ids are not in {store.folder} "
            f"({', '.join(missing[:5])}{', …' if len(missing) > 5 else ''}); nothing was deleted"
        )
    for number, rows in enumerate(there):
        if (rows >= 0).any():
            _bury(store, now, manifest, number, rows[rows >= 0])
    return manifest


def _bury(store: Store, now: Snapshot, manifest: Manifest, number: int, rows: NDArray[np.integer]) -> None:
    """Mark rows of a segment as deleted, in a file of its own."""
    dead = np.union1d(np.flatnonzero(now.segments[number].living == 0), rows).astype(np.int64)
    manifest.serial += 1
    name = f"deleted-{manifest.serial:06d}.npy"
    segment = manifest.segments[number]
    manifest.files = {file: sums for file, sums in manifest.files.items() if file != segment.deleted}
    manifest.files[name] = write_array(store.folder / name, dead)
    segment.deleted, segment.dead = name, len(dead)


def named(manifest: Manifest) -> Kind | None:
    """The kind asked for by name, fit for these vectors; None for the automatic one."""
    about = manifest.about
    if about["asked"]["kind"] == "auto":
        return None
    kind = kinds.make_kind(about["asked"]["kind"], about["asked"]["settings"])
    kind.check(about["output"], about["metric"], about["dimension"] or 1 << 20)
    return kind


def choice(manifest: Manifest) -> Kind:
    """The kind by name, or by size: every vector up to :data:`AUTO_ROWS` rows, then bits with a second look."""
    about = manifest.about
    kind = named(manifest)
    if kind is not None:
        return kind
    if about["output"] == "multi" and manifest.rows >= AUTO_DOCUMENTS:
        return kinds.Centroids()
    coarse = about["output"] == "dense" and about["metric"] in ("cosine", "dot") and manifest.rows >= AUTO_ROWS
    return kinds.Binary() if coarse else kinds.plain(about["output"])


def _begin(store: Store, manifest: Manifest, vectors: Any) -> Kind:
    """The first rows: a kind by name learns its codec from them."""
    kind = named(manifest) or kinds.plain(manifest.about["output"])
    kind.check(manifest.about["output"], manifest.about["metric"], manifest.about["dimension"])
    if manifest.about["output"] != "sparse":
        kind.learn(_drawn(vectors))
    _keep(store, manifest, kind, min(similarities.size(vectors), SAMPLE))
    return kind


def _keep(store: Store, manifest: Manifest, kind: Kind, rows: int) -> None:
    """Write a kind's codec and settings into the manifest; ``rows`` is how many it learned from."""
    old = set(manifest.about["kind"].get("codec", {}).values())
    manifest.files = {name: sums for name, sums in manifest.files.items() if name not in old}
    codec = {}
    for key, array in kind.codec.items():
        manifest.serial += 1
        codec[key] = f"codec-{manifest.serial:06d}.npy"
        manifest.files[codec[key]] = write_array(store.folder / codec[key], array)
    manifest.about["kind"] = {
        "name": kind.name,
        "settings": kind.settings(),
        "codec": codec,
        "learned from": rows,
        "tuned at": 0,
    }


def tend(store: Store, now: Snapshot) -> Manifest | None:
    """After an addition, one thing to do: learn anew what was learned from few rows, choose the kind anew when rows
    have doubled, tune it when they have, keep the number of segments down. None where there is nothing."""
    about, rows, total = now.about["kind"], len(now), len(now.segments)
    chosen = choice(now.manifest)
    # an automatic kind that found bits wanting is not tried again before the rows have doubled
    fewest = AUTO_DOCUMENTS if now.about["output"] == "multi" else AUTO_ROWS
    changed = chosen.name != about["name"] and (about["tuned at"] < fewest or rows >= 2 * about["tuned at"])
    if changed or (about["codec"] and rows >= 4 * about["learned from"] and about["learned from"] < SAMPLE):
        return rebuild(store, now, copied(now), list(range(total)), chosen)
    if rows >= max(2 * about["tuned at"], 1000):
        manifest = copied(now)
        _tune(manifest, now.kind, [each.part() for each in now.segments])
        return manifest
    if total > SEGMENTS:
        smallest = sorted(range(total), key=lambda i: now.segments[i].segment.rows)[: SEGMENTS // 2]
        return rebuild(store, now, copied(now), sorted(smallest), None)
    return None


def _tune(manifest: Manifest, kind: Kind, parts: list[Part]) -> None:
    """Set the kind's shortlist or effort to the recall asked for, where it was left to the index, and measure what it
    takes for more hits. ``kind`` is in use: another of its sort is tuned."""
    asked = manifest.about["asked"]
    tuned = kinds.make_kind(kind.name, kind.settings())
    tuned.codec = kind.codec
    own = {name for name, value in asked["settings"].items() if name in kinds.TUNED and value}
    settings = kind.settings() | {
        name: value for name, value in tuned.tuned(parts, asked["recall"]).items() if name not in own
    }
    manifest.about["kind"] |= {
        "settings": settings,
        "reach": [list(pair) for pair in tuned.reach],
        "tuned at": manifest.rows,
    }


def rebuild(store: Store, now: Snapshot, manifest: Manifest, numbers: list[int], kind: Kind | None) -> Manifest:
    """Segments ``numbers`` into one, deleted rows left out. With ``kind`` they must be all segments: it learns from
    them, and is tuned."""
    about, output = manifest.about, manifest.about["output"]
    parts = [now.segments[number] for number in numbers]
    gone = {each.segment.deleted for each in parts}
    manifest.files = {name: sums for name, sums in manifest.files.items() if name not in gone}
    manifest.segments = [segment for number, segment in enumerate(manifest.segments) if number not in set(numbers)]
    kept = [(each, np.flatnonzero(each.living)) for each in parts if each.segment.dead < each.segment.rows]
    if not kept:
        if kind is not None:
            codec = set(about["kind"].get("codec", {}).values())
            manifest.files = {name: sums for name, sums in manifest.files.items() if name not in codec}
            about["kind"] = {}
        return manifest
    where = f"{store.folder}: its payload does not fit together"
    # rows are left out chunk by chunk: taken by number, a column of text could not grow above 2 GB
    table = joining.concatenate_tables(
        [each.whole_payload().filter(pa.array(each.living == 1)) for each, _ in kept], where
    )
    hashes = np.concatenate([each.hashes()[rows] for each, rows in kept])
    order = np.argsort(hashes, kind="stable")
    manifest.serial += 1
    try:
        # arrays may be made as they are written
        arrays = concatenate([each.vectors for each, _ in kept], [rows for _, rows in kept], output)
        arrays |= {"ids": hashes[order], "places": order.astype(np.uint32)}
        if about.get("lexical"):
            arrays |= lexical.joined([each for each, _ in kept], [rows for _, rows in kept])
        segment = store.segment(f"segment-{manifest.serial:06d}", arrays, table)
    except ValueError as error:
        raise damaged(store.folder, error) from None
    vectors = unpack(
        {name: store.array(f"{segment.name}/{name}.npy", segment.files[f"{name}.npy"][0]) for name in ARRAYS[output]},
        output,
    )
    manifest.segments.insert(0, segment)
    if kind is None:
        store.add_files(segment, now.kind.derive(vectors), manifest.serial)
    else:
        _teach(store, manifest, segment, vectors, kind)
    return manifest


def _teach(store: Store, manifest: Manifest, segment: Segment, vectors: Output, kind: Kind) -> None:
    """A kind learns from the one segment there is, derives its arrays, and is tuned."""
    about = manifest.about
    kind.check(about["output"], about["metric"], about["dimension"])
    if about["output"] != "sparse":
        kind.learn(_drawn(vectors))
    derived = kind.derive(vectors)
    _keep(store, manifest, kind, min(segment.rows, SAMPLE))
    _tune(manifest, kind, [Part.fresh(vectors, {name: to_plain(array) for name, array in derived.items()})])
    if about["asked"]["kind"] == "auto" and about["kind"]["settings"].get("shortlist", 0) > segment.rows // 20:
        # bits say too little about these vectors: looking at each costs no more
        _keep(store, manifest, kinds.plain(about["output"]), segment.rows)
        about["kind"]["tuned at"] = manifest.rows
    else:
        store.add_files(segment, derived, manifest.serial)


def _drawn(vectors: Any) -> Any:
    """Rows to learn from: all, or :data:`SAMPLE` drawn, of token vectors a tenth of that."""
    total, most = similarities.size(vectors), SAMPLE if isinstance(vectors, np.ndarray) else SAMPLE // 10
    if total <= most:
        return vectors
    return similarities.take(vectors, np.sort(np.random.default_rng(0).choice(total, most, replace=False)))
