"""Damaged and hostile indexes: ``python -m tests.fuzz.indexes --cases 2000 --seed 0``.

Every case copies a small whole index, damages it (bits, lengths, types, numbers, names, links; with the checksums made
right again or not), and does with it what one does with an index. It must end in an UmekomiError or in an answer of the
right form, within ten seconds, and nothing beside the index's folder may change. Cases run in a worker process, so that
one that hangs or dies is counted and not the end.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import multiprocessing
import os
import random
import shutil
import tempfile
import traceback
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from umekomi.contracts import Vectors
from umekomi.errors import UmekomiError
from umekomi.indexes import Index

from .processes import Hangs, answer

LIMIT = 10.0
ROWS, WIDTH = 60, 16
NAMES = (
    *(
        "..",
        ".",
        "",
        "/",
        "../..",
        "../beside",
        "../beside/file.txt",
        "segment-000001/..",
        "segment-000001/../../beside",
    ),
    *("/etc/passwd", "..\\beside", "C:\\x", "C:x", "NUL", "con.npy", "segment-000001\0", "segment-000099", "lock"),
    *("deleted-000001.npy", "codec-000001.npy", "umekomi-index.json", "payload.arrow", "x" * 300, "\ud800", "~", "-rf"),
)
VALUES = (
    *(None, True, -1, 0, 1, 2**31, 2**53, 2**63, 2**64, 10**30, 1.5, -0.0, float("nan"), float("inf"), "", "x", "1"),
    *([], {}, [[]], [1, 2], {"a": 1}, "\ud800"),
)
NUMBERS = (-1, 0, 1, ROWS - 1, ROWS, 2**31 - 1, -(2**31), 2**32 - 1, 2**40, -(2**63), 2**63 - 1)


def templates(folder: Path) -> list[Path]:
    """A whole index of every kind, with two segments and deleted rows."""
    from scipy import sparse

    generator = np.random.default_rng(0)
    dense = generator.standard_normal((ROWS, WIDTH)).astype(np.float32)
    codes = sparse.random(ROWS, 64, 0.2, format="csr", random_state=generator, dtype=np.float32)
    tokens = [generator.standard_normal((1 + i % 4, 8)).astype(np.float32) for i in range(ROWS)]
    plans: dict[str, tuple[dict[str, Any], Callable[[int, int], Any]]] = {
        "exact": ({"metric": "cosine", "kind": "exact"}, lambda a, b: dense[a:b]),
        "binary": ({"metric": "dot", "kind": "binary", "shortlist": 20}, lambda a, b: dense[a:b]),
        "funnel": ({"metric": "cosine", "kind": "funnel", "shortlist": 20, "width": 8}, lambda a, b: dense[a:b]),
        "sparse": ({"metric": "dot", "output": "sparse"}, lambda a, b: codes[a:b]),
        "late": ({"metric": "maxsim", "output": "multi"}, lambda a, b: Vectors.of(tokens[a:b])),
    }
    if find_spec("usearch"):
        plans["hnsw"] = ({"metric": "cosine", "kind": "hnsw", "connections": 4}, lambda a, b: dense[a:b])
    plans["centroids"] = (
        {"metric": "maxsim", "output": "multi", "kind": "centroids", "shortlist": 12, "centroids": 16, "probes": 4},
        lambda a, b: Vectors.of(tokens[a:b]),
    )
    if find_spec("turbovec"):
        plans["turbo"] = ({"metric": "dot", "kind": "turbo", "shortlist": 20}, lambda a, b: dense[a:b])
    for name, (settings, vectors) in plans.items():
        index = Index.create(folder / name, text="word", **settings)
        for low, high in ((0, 40), (40, ROWS)):
            index.add(
                [f"n{i}" for i in range(low, high)],
                vectors(low, high),
                {"year": list(range(low, high)), "word": [f"w{i % 5}" for i in range(low, high)]},
            )
        index.delete(["n3", "n44"])
    return [folder / name for name in plans]


def asked(index: Index) -> Any:
    """Two queries of the index's own kind and width, as far as that is sane."""
    from scipy import sparse

    width = min(max(index.about["dimension"], 1), 4096)
    dense = np.ones((2, width), np.float32)
    output = index.about["output"]
    return (
        sparse.csr_matrix(dense) if output == "sparse" else Vectors.of([dense, dense]) if output == "multi" else dense
    )


def used(folder: Path, chance: random.Random) -> int:
    """Everything one does with an index, in some order; how many of the jobs were refused. What comes back must have
    the form that is promised."""
    refused = 0
    verify = chance.choice([None, False, True])

    def search(condition: str | None) -> None:
        index = Index(folder, verify=verify)
        k = chance.choice([1, 5, 12, 1000])
        for hits in index.search(asked(index), k, filter=condition):
            assert len(hits) <= min(k, len(index)) and all(isinstance(hit.id, str) for hit in hits)
            assert all(isinstance(hit.score, float) and isinstance(hit.payload, dict) for hit in hits)

    def check() -> None:
        assert 0 <= Index(folder, verify=verify).check() <= 1

    def delete() -> None:
        before = len(Index(folder, verify=verify))
        Index(folder, verify=verify).delete(["n5", "n50"])
        assert len(Index(folder, verify=False)) == before - 2

    def add() -> None:
        index = Index(folder, verify=verify)
        index.add(["new1", "new2"], asked(index), {"year": [1, 2]}, replace=True)

    jobs: list[Callable[[], Any]] = [
        lambda: search(None),
        lambda: search("year > 20 and word in ('w1', 'w2')"),
        check,
        delete,
        add,
        lambda: Index(folder, verify=verify).compact(),
        lambda: Index(folder, verify=verify).verify(),
        lambda: Index(folder, verify=verify).column("year", [0]).to_pylist(),
        lambda: Index(folder, verify=verify).note(job={"key": "x", "rows": 1, "finished": True}),
    ]
    chance.shuffle(jobs)
    for job in jobs:
        try:
            job()
        except UmekomiError as error:
            said = str(error)
        else:
            continue
        assert said.strip() and "\n" not in said, said
        refused += 1
    return refused


# --- damages ------------------------------------------------------------------------------------------------------------


def _body(folder: Path) -> dict[str, Any]:
    return json.loads(json.loads((folder / "umekomi-index.json").read_text())["manifest"])


def _write(folder: Path, body: Any) -> None:
    text = json.dumps(body)
    (folder / "umekomi-index.json").write_text(
        json.dumps({"crc32": zlib.crc32(text.encode()), "manifest": text}) + "\n"
    )


def _set(folder: Path, file: Path, data: bytes, *, right: bool) -> None:
    """New bytes for a file; with ``right`` the manifest is told their length and checksum."""
    file.write_bytes(data)
    body, name = _body(folder), file.name
    if not right:
        return
    lists = [body["files"], *(segment["files"] for segment in body["segments"] if segment["name"] == file.parent.name)]
    for files in lists:
        if name in files:
            files[name] = [len(data), zlib.crc32(data)]
    _write(folder, body)


def _files(folder: Path, suffix: str = "") -> list[Path]:
    return sorted(
        path
        for path in folder.rglob("*")
        if path.is_file() and path.name not in ("lock", "umekomi-index.json") and path.name.endswith(suffix)
    )


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every (container, key) within a JSON value."""
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
        yield value, key
        if isinstance(inner, (dict, list)):
            yield from _places(inner)


def flip(folder: Path, chance: random.Random) -> None:
    file = chance.choice(_files(folder))
    data = bytearray(file.read_bytes())
    for _ in range(chance.choice([1, 1, 3, 20])):
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    _set(folder, file, bytes(data), right=chance.random() < 0.8)


def cut(folder: Path, chance: random.Random) -> None:
    file = chance.choice(_files(folder))
    data = file.read_bytes()
    at = chance.randrange(len(data))
    _set(folder, file, chance.choice([data[:at], data + data[:at], data[at:], b""]), right=chance.random() < 0.8)


def overwrite(folder: Path, chance: random.Random) -> None:
    """Whole numbers that cannot be, four or eight bytes at a time, in an array."""
    file = chance.choice([file for file in _files(folder, ".npy") if file.stat().st_size > 136])
    data = bytearray(file.read_bytes())
    for _ in range(chance.choice([1, 2, 10])):
        size = chance.choice([2, 4, 8])
        number = (chance.choice(NUMBERS) % (1 << 8 * size)).to_bytes(size, "little")
        at = chance.randrange(128, len(data) - size + 1)
        data[at : at + size] = number
    _set(folder, file, bytes(data), right=True)


def retype(folder: Path, chance: random.Random) -> None:
    """An array of another type, shape, order or value."""
    file = chance.choice(_files(folder, ".npy"))
    array = np.load(file)
    kind = chance.choice(
        [*("<f4", "<f8", "<i4", "<i8", "<u8", "|i1", "|u1", "<f2", ">f4", "<c8", "|S4", "<M8[s]", "same")]
    )
    with np.errstate(all="ignore"):
        array = array if kind == "same" else np.frombuffer(array.tobytes()[: array.nbytes // 8 * 8], kind)
    array = chance.choice(
        [
            lambda: array,
            lambda: array[: len(array) // 2],
            lambda: array[None],
            lambda: array.reshape(-1),
            lambda: np.concatenate([array, array]),
            lambda: np.asfortranarray(array),
            lambda: array[::-1],
            lambda: np.zeros_like(array),
            lambda: array[:0],
        ]
    )()
    stream = io.BytesIO()
    np.save(stream, array)
    _set(folder, file, stream.getvalue(), right=True)


def payload(folder: Path, chance: random.Random) -> None:
    """Another table: other columns, types and lengths, ids that are missing or no text."""
    import pyarrow as pa

    file = chance.choice(_files(folder, ".arrow"))
    with pa.ipc.open_file(file.read_bytes()) as reader:
        table = reader.read_all()
    rows = table.num_rows
    table = chance.choice(
        [
            lambda: table.slice(1),
            lambda: table.drop_columns(["__id__"]),
            lambda: table.set_column(0, "__id__", pa.array([None] * rows, pa.string())),
            lambda: table.set_column(0, "__id__", pa.array(range(rows))),
            lambda: table.set_column(1, "year", pa.array([b"\xff"] * rows)),
            lambda: table.set_column(1, "year", pa.array([{"a": [1]}] * rows)),
            lambda: table.append_column("year", pa.array(range(rows))),
            lambda: table.append_column("__row__", pa.array(range(rows))),
            lambda: table.append_column("when", pa.array([2**62] * rows, pa.timestamp("s"))),
            lambda: table.set_column(2, "word", table["word"].dictionary_encode()),
            lambda: table.select(["year", "word", "__id__"]),
            lambda: table.slice(0, 0),
        ]
    )()
    stream = io.BytesIO()
    with pa.ipc.new_file(stream, table.schema) as writer:
        writer.write_table(table)
    _set(folder, file, stream.getvalue(), right=True)


def rename(folder: Path, chance: random.Random) -> None:
    """A name of the manifest that leads elsewhere, and now and then what it would lead to."""
    body, name = _body(folder), chance.choice(NAMES)
    segment = chance.choice(body["segments"])
    where = chance.choice(["segment", "deleted", "file", "files", "codec", "model", "text", "job"])
    if where == "segment":
        if chance.random() < 0.5 and name.startswith(".."):
            for file in segment["files"]:
                shutil.copy(folder / segment["name"] / file, folder.parent / f"copy-{file}")
        segment["name"] = name
    elif where == "deleted":
        segment["deleted"], segment["dead"] = name, 1
        if chance.random() < 0.5:
            body["files"][name] = [136, 0]
    elif where == "file":
        old = chance.choice(list(segment["files"]))
        segment["files"][name] = segment["files"].pop(old)
    elif where == "files":
        body["files"][name] = [4, 0]
    elif where == "codec":
        body["about"]["kind"].setdefault("codec", {})["mean"] = name
    elif where == "model":
        body["about"]["model"]["name"] = chance.choice([name, f"./{name}"])
    else:
        body["about"][where] = name
    _write(folder, body)


def value(folder: Path, chance: random.Random) -> None:
    """Values of the manifest that are of another type, or gone."""
    body = _body(folder)
    for _ in range(chance.choice([1, 1, 2])):
        container, key = chance.choice(list(_places(body)))
        try:
            if chance.random() < 0.2:
                del container[key]
            else:
                container[key] = chance.choice(VALUES)
        except (KeyError, IndexError):
            pass
    _write(folder, body)


def manifest(folder: Path, chance: random.Random) -> None:
    path = folder / "umekomi-index.json"
    data = bytearray(path.read_bytes())
    at = chance.randrange(len(data))
    data[at] ^= 1 << chance.randrange(8)
    deep = b'{"crc32": 1, "manifest": ' + b"[" * 100_000
    path.write_bytes(
        chance.choice([bytes(data), bytes(data[:at]), b"", b"[]", b"null", b"\xff", deep, b'{"crc32": 0}'])
    )


def link(folder: Path, chance: random.Random) -> None:
    """A link, FIFO or folder where a file was, or a link where a segment was."""
    beside = folder.parent / "beside"
    if chance.random() < 0.3:
        segment = chance.choice([path for path in folder.iterdir() if path.is_dir()])
        if chance.random() < 0.5:
            shutil.copytree(segment, beside / "segment")
            shutil.rmtree(segment)
            segment.symlink_to(beside / "segment")
        else:
            shutil.rmtree(segment)
            segment.symlink_to(beside)
        return
    file = chance.choice([*_files(folder), folder / "lock", folder / "umekomi-index.json"])
    size = file.stat().st_size
    file.unlink()
    how = chance.choice(["link", "gone", "fifo", "zero", "folder", "own"])
    if how == "link":
        file.symlink_to(beside / "file.txt")
    elif how == "gone":
        file.symlink_to(beside / "nothing")
    elif how == "fifo":
        os.mkfifo(file)
    elif how == "zero":
        file.symlink_to("/dev/zero")
    elif how == "own":
        (beside / "own").write_bytes(b"\0" * size)
        file.symlink_to(beside / "own")
    else:
        file.mkdir()


DAMAGES = (flip, cut, overwrite, overwrite, retype, payload, rename, rename, value, value, manifest, link)


# --- running ------------------------------------------------------------------------------------------------------------


def state(folder: Path) -> str:
    """What lies in a folder, as one word."""
    found = [
        (str(path.relative_to(folder)), path.is_symlink(), path.read_bytes() if path.is_file() else b"")
        for path in sorted(folder.rglob("*"))
        if path.relative_to(folder).parts[0] != "index"
    ]
    return hashlib.sha256(repr(found).encode()).hexdigest()


def case(number: int, seed: int, whole: list[Path], scratch: Path) -> tuple[str, int]:
    """One damaged index, used; the damage's name and how many jobs were refused."""
    chance = random.Random(f"{seed}/{number}")
    room = scratch / "room"
    shutil.rmtree(room, ignore_errors=True)
    (room / "beside").mkdir(parents=True)
    (room / "beside" / "file.txt").write_text("mine")
    (room / "payload.arrow").write_text("mine too")
    shutil.copytree(chance.choice(whole), room / "index")
    damage = chance.choice(DAMAGES)
    damage(room / "index", chance)
    before = state(room)
    refused = used(room / "index", chance)
    if state(room) != before:
        raise AssertionError(f"{damage.__name__}: something beside the index was written or deleted")
    return damage.__name__, refused


def _work(pipe: Any, seed: int, whole: list[Path], scratch: Path) -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    for template in whole:  # libraries are loaded and loops compiled before any case is timed
        shutil.rmtree(scratch, ignore_errors=True)
        shutil.copytree(template, scratch / "index")
        used(scratch / "index", random.Random(0))
    pipe.send("ready")
    while (number := pipe.recv()) is not None:
        try:
            pipe.send(("done", *case(number, seed, whole, scratch)))
        except BaseException as error:
            pipe.send(("fault", "".join(traceback.format_exception(error)[-3:]), 0))


class Worker:
    """A process that runs cases, started anew where one hung or ended it."""

    def __init__(self, seed: int, whole: list[Path], scratch: Path) -> None:
        self.arguments = seed, whole, scratch
        self.process: Any = None
        self.pipe: Any = None

    def run(self, number: int) -> tuple[str, str, int]:
        """How a case ended: done, fault, hang or crash; what that was; how many jobs were refused."""
        if self.process is None:
            context = multiprocessing.get_context("spawn")
            self.pipe, theirs = context.Pipe()
            self.process = context.Process(target=_work, args=(theirs, *self.arguments))
            self.process.start()
            theirs.close()
            if self.pipe.recv() != "ready":
                raise RuntimeError("whole indexes are at fault")
        self.pipe.send(number)
        try:
            return answer(self.pipe, self.process.pid, LIMIT)  # type: ignore[no-any-return]
        except Hangs as error:
            ended = "hang", str(error), 0
        except EOFError:
            self.process.join()
            ended = "crash", f"the process ended with {self.process.exitcode}", 0
        self.end()
        return ended

    def end(self) -> None:
        """Kill the process."""
        if self.process is not None:
            self.process.kill()
            self.process.join()
            self.process = None


def main() -> int:
    """Run the cases; 1 where one was at fault."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="the number of the first case")
    options = parser.parse_args()
    counts: Counter[str] = Counter()
    faults = []
    with tempfile.TemporaryDirectory() as place:
        (Path(place) / "whole").mkdir()
        worker = Worker(options.seed, templates(Path(place) / "whole"), Path(place) / "scratch")
        for number in range(options.first, options.first + options.cases):
            how, what, refused = worker.run(number)
            if how == "hang":  # a busy machine is no hang: that hangs again
                how, what, refused = worker.run(number)
            if how == "done":
                counts[f"{what}: {'refused' if refused else 'right'}"] += 1
                continue
            counts[how] += 1
            faults.append(number)
            print(f"case {number}: {how}: {what}", flush=True)
        worker.end()
    for name, count in sorted(counts.items()):
        print(f"{count:6d}  {name}")
    print(f"{options.cases} cases of seed {options.seed}, {len(faults)} at fault: {faults[:20]}")
    return int(bool(faults))


if __name__ == "__main__":
    raise SystemExit(main())
