"""What a commit says: the manifest, read with suspicion. An index comes from anywhere, and its manifest names files and
folders that are read, written and deleted: every name must have the shape that :class:`~umekomi.indexes.store.Store`
writes, and every number the range that it can have."""

from __future__ import annotations

import json
import math
import re
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from umekomi.errors import DataError, WrongUse
from umekomi.files import regular_file
from umekomi.indexes import lexical
from umekomi.parts.similarity import SIMILARITIES

MANIFEST = "umekomi-index.json"
FORMAT, HYBRID_FORMAT = 1, 2
"""What is written; an index with a lexical leg is of another format, so that a version that knows none does not write
to it."""
MODEL = "./model"
"""A model that lies in the index itself."""
PAYLOAD = "payload.arrow"

ABOUT = frozenset({"model", "metric", "output", "dimension", "text", "asked", "kind", "lexical"})
"""What an index says of itself; all else in ``about`` are facts of the caller's."""

SEGMENT_NAME = re.compile(r"segment-[0-9]{6,15}")
ARRAY_NAME = re.compile(r"[a-z]+(-[0-9]{1,15})?\.npy")
DELETED_NAME = re.compile(r"deleted-[0-9]{6,15}\.npy")
CODEC_NAME = re.compile(r"codec-[0-9]{6,15}\.npy")
MOST_ROWS = 1 << 32
"""Rows of one segment are numbered in 32 bits."""
MOST = 1 << 53


@dataclass
class Segment:
    """Rows that were written together: their folder, how many, every file's (bytes, CRC-32), and the file of deleted
    rows."""

    name: str
    rows: int
    files: dict[str, tuple[int, int]]
    deleted: str | None = None
    dead: int = 0


@dataclass
class Manifest:
    """What a commit says: ``about`` (model, metric, kind and its settings), the segments, files of the whole index."""

    about: dict[str, Any]
    segments: list[Segment] = field(default_factory=list)
    files: dict[str, tuple[int, int]] = field(default_factory=dict)
    generation: int = 0
    serial: int = 0

    @property
    def rows(self) -> int:
        """Rows that live."""
        return sum(segment.rows - segment.dead for segment in self.segments)

    def text(self) -> str:
        """The file's content: the body and its checksum."""
        written = HYBRID_FORMAT if self.about.get("lexical") else FORMAT
        body = json.dumps(asdict(self) | {"format": written}, ensure_ascii=False)
        return json.dumps({"crc32": zlib.crc32(body.encode()), "manifest": body}, ensure_ascii=False) + "\n"

    @classmethod
    def read(cls, path: Path) -> Manifest:
        """The manifest, or the error that says what is wrong with it."""
        try:
            regular_file(path)
            outer = json.loads(path.read_text(encoding="utf-8"))
            body = outer["manifest"]
            if zlib.crc32(body.encode()) != outer["crc32"]:
                raise ValueError("its checksum does not match")
            entries = json.loads(body)
            json.dumps(entries, ensure_ascii=False).encode()  # half a surrogate pair could not be written again
            written = entries.pop("format")
        except FileNotFoundError:
            raise WrongUse(f"{path.parent} holds no index (no {MANIFEST}): make one with umekomi index") from None
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise _damaged(path, error) from None
        if written not in (FORMAT, HYBRID_FORMAT):
            raise WrongUse(f"{path} was written in another format than this version's ({FORMAT}): build the index anew")
        try:
            return _manifest(entries)
        except ValueError as error:
            raise _damaged(path, error) from None


def _damaged(path: Path, error: Exception) -> DataError:
    said = str(error) or type(error).__name__
    return DataError(f"{path} is damaged ({said}): restore it from a copy, or build the index anew")


def _manifest(found: Mapping[str, Any]) -> Manifest:
    fields = _fields(found, "the manifest", {"about": dict, "segments": list, "files": dict})
    segments = [_segment(each, f"segment {number}") for number, each in enumerate(fields["segments"], 1)]
    files = _files(fields["files"], "files", DELETED_NAME, CODEC_NAME)
    about = check_about(fields["about"], files, filled=bool(segments))
    names = [segment.name for segment in segments] + [segment.deleted for segment in segments if segment.deleted]
    if len(set(names)) < len(names):
        raise ValueError("two segments share a name")
    for segment in segments:
        if segment.deleted and segment.deleted not in files:
            raise ValueError(f"{segment.deleted} is not among its files")
    serial = _whole(found.get("serial"), "serial")
    numbered = [*names, *files, *(name for segment in segments for name in segment.files)]
    if any(int(number) > serial for name in numbered for number in re.findall(r"-([0-9]+)", name)):
        raise ValueError(f"serial: {serial} is below the number of a file, so that the next would take its name")
    return Manifest(about, segments, files, _whole(found.get("generation"), "generation"), serial)


def _segment(found: object, where: str) -> Segment:
    fields = _fields(found, where, {"name": str, "files": dict})
    rows = _whole(fields.get("rows"), f"{where}: rows", 1, MOST_ROWS)
    dead = _whole(fields.get("dead", 0), f"{where}: dead", 0, rows)
    deleted = fields.get("deleted")
    if (deleted is None) != (dead == 0):
        raise ValueError(f"{where}: {dead} deleted rows, and their file is {deleted!r}")
    files = _files(fields["files"], f"{where}: files", ARRAY_NAME, re.compile(re.escape(PAYLOAD)))
    keys = [array_key(name) for name in files]
    if PAYLOAD not in files or len(set(keys)) < len(keys):
        raise ValueError(f"{where}: expected {PAYLOAD} and every array once, found {', '.join(files) or 'no file'}")
    return Segment(
        _name(fields["name"], f"{where}: its name", SEGMENT_NAME),
        rows,
        files,
        None if deleted is None else _name(deleted, f"{where}: deleted", DELETED_NAME),
        dead,
    )


def array_key(name: str) -> str:
    """``codes`` of the file ``codes-12.npy``."""
    return name.split(".")[0].split("-")[0]


def check_about(
    found: dict[str, Any], files: Mapping[str, Any] | None = None, *, filled: bool = False
) -> dict[str, Any]:
    """What an index says of itself, or ValueError for what cannot be: with the ``files`` it may name, and whether it
    has rows."""
    _fields(found, "about", {"model": dict, "asked": dict, "kind": dict, "text": str, "metric": str, "output": str})
    _fields(found["model"], "model", {"name": str, "fingerprint": str})
    name = found["model"]["name"]
    if name.startswith("./") and name != MODEL:
        raise ValueError(f"model: expected {MODEL}, a name or a folder's whole path, found {name!r}")
    if found["metric"] not in SIMILARITIES:
        raise ValueError(f"metric: expected one of {', '.join(SIMILARITIES)}, found {found['metric']!r}")
    if found["output"] not in ("dense", "sparse", "multi"):
        raise ValueError(f"output: expected dense, sparse or multi, found {found['output']!r}")
    _whole(found.get("dimension"), "dimension", int(filled), 1 << 31)
    _fields(found["asked"], "asked", {"kind": str, "settings": dict})
    recall = found["asked"].get("recall")
    if isinstance(recall, bool) or not isinstance(recall, (int, float)) or not 0 < recall <= 1:
        raise ValueError(f"asked: recall: expected a share above 0 and at most 1, found {recall!r}")
    if found.get("lexical") is not None:
        lexical.check(found["lexical"])
    if found["kind"]:
        _kind(found["kind"], files or {})
    elif filled:
        raise ValueError("kind: expected one, found none")
    return found


def _kind(kind: dict[str, Any], files: Mapping[str, Any]) -> None:
    _fields(kind, "kind", {"name": str, "settings": dict, "codec": dict})
    for key, name in kind["codec"].items():
        if _name(name, f"codec: {key}", CODEC_NAME) not in files:
            raise ValueError(f"{name} is not among its files")
    for key in ("learned from", "tuned at"):
        _whole(kind.get(key), key)
    reach = kind.get("reach", [])
    if not isinstance(reach, list) or not all(
        isinstance(pair, list)
        and len(pair) == 2
        and all(isinstance(n, (int, float)) and not isinstance(n, bool) and math.isfinite(n) for n in pair)
        for pair in reach
    ):
        raise ValueError("reach: expected pairs of numbers")


def _fields(found: object, where: str, types: Mapping[str, type]) -> dict[str, Any]:
    if not isinstance(found, dict):
        raise ValueError(f"{where}: expected fields, found {_shown(found)}")
    for name, kind in types.items():
        if not isinstance(found.get(name), kind):
            raise ValueError(f"{where}: {name}: expected {kind.__name__}, found {_shown(found.get(name))}")
    return found


def _files(found: dict[str, Any], where: str, *shapes: re.Pattern[str]) -> dict[str, tuple[int, int]]:
    files = {}
    for name, about in found.items():
        _name(name, where, *shapes)
        if not isinstance(about, list) or len(about) != 2:
            raise ValueError(f"{where}: {name}: expected its bytes and checksum, found {_shown(about)}")
        files[name] = (_whole(about[0], f"{where}: {name}"), _whole(about[1], f"{where}: {name}", 0, (1 << 32) - 1))
    return files


def _name(found: object, where: str, *shapes: re.Pattern[str]) -> str:
    if not isinstance(found, str) or not any(shape.fullmatch(found) for shape in shapes):
        raise ValueError(f"{where}: expected a name that an index gives its files, found {_shown(found)}")
    return found


def _whole(found: object, where: str, least: int = 0, most: int = MOST) -> int:
    if isinstance(found, bool) or not isinstance(found, int) or not least <= found <= most:
        raise ValueError(f"{where}: expected a whole number from {least} to {most}, found {_shown(found)}")
    return found


def _shown(found: object) -> str:
    try:
        shown = repr(found)
    except ValueError:  # a whole number of more digits than Python prints
        shown = "a number of too many digits"
    return shown if len(shown) <= 80 else shown[:79] + "…"
