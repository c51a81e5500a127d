"""Small files of every format, damaged at random: what comes of reading one is a table that can be written again, or an
UmekomiError of one line; nothing else, and never a hang.

    python -m tests.fuzz.files --cases 20000 --seed 1
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import io
import json
import random
import shutil
import signal
import sys
import tempfile
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from umekomi.data.columns import RetrievalData
from umekomi.data.readers import read, tables
from umekomi.errors import UmekomiError

ROWS = [
    {"id": f"n{i}", "text": text, "year": 1990 + i, "price": i + 0.5, "tags": ["a", "b"], "meta": {"k": i, "deep": {}}}
    for i, text in enumerate(["red apples", "埋め込み", 'a "quoted" text', "one, two; three", "last\tone"])
]
PIECES = [
    b'"',
    b"'",
    b",",
    b";",
    b"\t",
    b"\n",
    b"\r\n",
    b"\r",
    b"\0",
    b"\xef\xbb\xbf",
    b"\xff\xfe",
    b"\xff",
    b"\x82\xa0",
    b"{",
    b"}",
    b"[",
    b"]",
    b"null",
    b"NaN",
    b"1e400",
    b"-Infinity",
    b"12345678901234567890123",
    b"9007199254740993",
    b"0.5",
    b"true",
    b'"\\ud800"',
    b'"\\u0000"',
    b"{}",
    b"[" * 1500,
    b'{"a":' * 40 + b"1" + b"}" * 40,
    b"1" * 5000,
    b'"x":"y",',
    b" ",
    b"\xe2\x80\xa8",
    b"__label__a",
    b"PAR1",
    b"\x1f\x8b",
]


def _csv(sign: str) -> bytes:
    fields = [["id", "text", "year", "price"]]
    fields += [[row["id"], row["text"].replace("\t", " "), str(row["year"]), str(row["price"])] for row in ROWS]
    if sign == "\t":
        return "".join("\t".join(line) + "\n" for line in fields).encode()
    quoted = [['"' + field.replace('"', '""') + '"' for field in line] for line in fields]
    return "".join(sign.join(line) + "\r\n" for line in quoted).encode()


def _parquet(**options: object) -> bytes:
    sink = io.BytesIO()
    table = pa.table(
        {
            "id": [row["id"] for row in ROWS],
            "text": pa.array([row["text"] for row in ROWS]).dictionary_encode(),
            "year": [row["year"] for row in ROWS],
            "tags": [row["tags"] for row in ROWS],
            "meta": [{"k": row["meta"]["k"]} for row in ROWS],
            "bytes": [b"\xff\x00"] * len(ROWS),
            "view": pa.array([row["text"] for row in ROWS], pa.string_view()),
        }
    )
    pq.write_table(table, sink, **options)
    return sink.getvalue()


def originals() -> dict[str, bytes]:
    """A whole file of every format, by its name."""
    jsonl = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS).encode()
    corpus = "".join(json.dumps({"_id": r["id"], "title": "t", "text": r["text"], "metadata": {}}) + "\n" for r in ROWS)
    queries = "".join(json.dumps({"_id": f"q{i}", "text": "apples?"}) + "\n" for i in range(2))
    return {
        "a.jsonl": jsonl,
        "a.csv": _csv(","),
        "b.csv": _csv(";"),
        "a.tsv": _csv("\t"),
        "a.txt": "one\ntwo\r\n三\n".encode(),
        "a.fasttext": b"red apples __label__a\ngreen pears:0.5 __label__b __label__a\n",
        "a.labeldoc": b"a b\tc d\ne:1 f:2\tg:3\n",
        "a.parquet": _parquet(),
        "b.parquet": _parquet(compression="none", use_dictionary=False, write_page_checksum=True),
        "beir/corpus.jsonl": corpus.encode(),
        "beir/queries.jsonl": queries.encode(),
        "beir/qrels/test.tsv": b"query-id\tcorpus-id\tscore\nq0\tn0\t1\nq1\tn1\t2\n",
        "trec/corpus.jsonl": corpus.encode(),
        "trec/queries.jsonl": queries.encode(),
        "trec/qrels/test.tsv": b"q0 0 n0 1\nq1 0 n1 2\n",
    }


def damaged(data: bytes, draw: random.Random) -> bytes:
    """The bytes with one to four wounds."""
    out = bytearray(data)
    for _ in range(draw.randint(1, 4)):
        at = draw.randint(0, len(out))
        end = min(len(out), at + draw.choice([1, 1, 2, 8, 40]))
        wound = draw.randrange(8)
        if wound == 0 and at < len(out):
            out[at] = draw.randrange(256)
        elif wound == 1 and at < len(out):
            out[at] ^= 1 << draw.randrange(8)
        elif wound == 2:
            del out[at:end]
        elif wound == 3:
            out[at:at] = out[at:end] * draw.randint(1, 3)
        elif wound == 4:
            del out[at:]
        elif wound == 5:
            out[at:end] = draw.choice(PIECES)
        else:
            out[at:at] = draw.choice(PIECES)
    return bytes(out)


def check(path: Path, encoding: str | None = None) -> str:
    """Read what lies here: "table" or "error"; an AssertionError or anything else is a fault of the readers."""
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            found = read(path, encoding=encoding)
    except UmekomiError as error:
        said = str(error)
        assert said.strip(), "an error that says nothing"
        assert "\n" not in said, f"an error of several lines: {said!r}"
        assert len(said) < 2000, f"an error of {len(said)} characters"
        said.encode("utf-8")
        return "error"
    for table in found.values() if isinstance(found, dict) else [found]:
        for each in table if isinstance(table, RetrievalData) else [table]:
            assert isinstance(each, pa.Table)
            each.validate(full=True)
            each.to_pylist()
            sink = io.BytesIO()
            pq.write_table(each, sink)
            with pa.ipc.new_file(io.BytesIO(), each.schema) as writer:
                writer.write_table(each)
            assert pq.read_table(sink).num_rows == each.num_rows
    if path.is_file():
        with contextlib.redirect_stderr(io.StringIO()):
            parts = list(tables(path, 2, encoding=encoding))
        assert all(len(part) == 2 for part in parts[:-1])
        joined = pa.concat_tables(parts)
        assert joined.schema.equals(found.schema), "a part has other types than the whole"
        assert str(joined.to_pylist()) == str(found.to_pylist()), "the parts are not the whole"
    return "table"


def _late(number: int, frame: object) -> None:
    raise AssertionError("reading took more than ten seconds")


def run(cases: int, seed: int, say: bool = False, most: int = 10) -> tuple[Counter, list[str]]:
    """Read so many damaged files: how many of each format came to a table and to an error, and the first ``most`` that
    came to anything else."""
    whole = originals()
    counts: Counter = Counter()
    failed: list[str] = []
    before = signal.signal(signal.SIGALRM, _late)
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        for name, data in whole.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_bytes(data)
        for name in whole:
            assert check(root / name.split("/")[0]) == "table", f"{name}: the whole file is refused"
        for case in range(cases):
            draw = random.Random(f"{seed} {case}")
            name = draw.choice(list(whole))
            data = damaged(whole[name], draw)
            folder = root / name.split("/")[0] if "/" in name else None
            packed = draw.random() < 0.15 and folder is None
            path = root / (name + ".gz" if packed else name)
            if packed:
                data = gzip.compress(data, 1) if draw.random() < 0.5 else damaged(gzip.compress(whole[name], 1), draw)
            encoding = draw.choice(["utf-16", "cp932", "latin-1", "utf-16-le", "iso2022_jp", "utf-7", "gb18030"])
            if draw.random() < 0.85 or ".parquet" in name:
                encoding = None
            path.write_bytes(data)
            signal.alarm(10)
            try:
                counts[name, check(folder or path, encoding)] += 1
            except Exception as error:
                counts[name, "fault"] += 1
                if len(failed) < most:
                    kept = Path(tempfile.mkdtemp(prefix="umekomi-fuzz-"))
                    shutil.copytree(folder, kept / folder.name) if folder else shutil.copy(path, kept)
                    failed.append(
                        f"case {case} of seed {seed} ({name}, encoding {encoding}), kept in {kept}: "
                        f"{type(error).__name__}: {str(error)[:300]}"
                    )
            finally:
                signal.alarm(0)
            path.write_bytes(whole[name])
            if packed:
                path.unlink()
            if say and case % 1000 == 999:
                print(f"{case + 1:,} of {cases:,}", file=sys.stderr, flush=True)
    signal.signal(signal.SIGALRM, before)
    return counts, failed


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    counts, failed = run(chosen.cases, chosen.seed, say=True)
    for name in originals():
        print(f"{name:22} {counts[name, 'table']:6,} tables {counts[name, 'error']:6,} errors")
    for line in failed:
        print(line.encode("utf-8", "backslashreplace").decode())
    faults = sum(count for (_, what), count in counts.items() if what == "fault")
    print(f"{sum(counts.values()):,} cases (seed {chosen.seed}), {faults:,} faults")
    sys.exit(int(bool(faults)))
