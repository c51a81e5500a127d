"""SIGKILL at any moment of whatever writes: ``python -m tests.fuzz.kills --rounds 40 --seed 0 [--writer NAME ...]``.

Each round copies a start, runs a writer in a fresh process, kills it at a moment drawn from the time that the whole job
takes, and looks at what stands: whole, as before or as after, never between. Then the same job runs again, and must end
where an uninterrupted one does, with nothing hidden left beside it.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tests import zygote
from umekomi.files import content_hash, folder_hash
from umekomi.indexes import Index
from umekomi.models import load

ROWS = 3000


@dataclass(frozen=True)
class Writer:
    """``begin`` fills a folder, ``job`` is Python that works in it (the working directory), ``look`` raises where what
    stands is not whole and gives what an uninterrupted run ends with (None: not there yet)."""

    name: str
    begin: Callable[[Path], None]
    job: str
    look: Callable[[Path], str | None]


def texts(folder: Path) -> None:
    lines = (
        json.dumps({"id": f"r{i}", "text": f"text {i % 700} about {i * 7919 % 1000}", "n": i}) for i in range(ROWS)
    )
    (folder / "texts.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


# --- an index made of a file ------------------------------------------------------------------------------------------

INDEX = """
from umekomi.errors import WrongUse
from umekomi.verbs.index import index
try:
    index("hashing", "texts.jsonl", "library", batch_size=64)
except WrongUse as error:
    if "holds an index already" not in str(error):
        raise
"""


def index_made(folder: Path) -> str | None:
    if not (folder / "library" / "umekomi-index.json").exists():
        return None
    index = Index(folder / "library", verify=True)
    assert len(index) <= ROWS
    if not index.about["job"]["finished"]:
        return None
    assert len(index) == ROWS
    return _answers(index)


def _answers(index: Index) -> str:
    """What a whole index answers, as a hash."""
    queries = np.random.default_rng(0).standard_normal((20, index.about["dimension"])).astype(np.float32)
    hits = [[(hit.id, round(hit.score, 5)) for hit in each] for each in index.search(queries, 10)]
    return content_hash(json.dumps(hits), len(index))


# --- an index of words and vectors -------------------------------------------------------------------------------------

HYBRID = """
from umekomi.errors import WrongUse
from umekomi.verbs import index as module
module.ROWS = 500
def job(source, **more):
    try:
        module.index("bm25+hashing", source, "library", batch_size=64, **more)
    except WrongUse as error:
        if "holds an index already" not in str(error):
            raise
job("texts.jsonl")
job("more.jsonl", add=True, replace=True)
"""


def both_texts(folder: Path) -> None:
    texts(folder)
    lines = (json.dumps({"id": f"r{i}", "text": f"another text {i % 70}", "n": -i}) for i in range(0, ROWS, 3))
    (folder / "more.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


def legs_stand(folder: Path) -> str | None:
    """Words and vectors are of the same rows, whatever was committed: BM25 is that of the texts that are there."""
    from umekomi.models.lexical import Bm25Embedder

    if not (folder / "library" / "umekomi-index.json").exists():
        return None
    index = Index(folder / "library", verify=True)
    if not len(index):
        return None
    rows = index.rows(index.living())
    model = Bm25Embedder.fit([row["text"] for row in rows], words="words")
    scores = (
        model.encode_query(["another text 17"]) @ model.encode_document([row["text"] for row in rows]).T
    ).toarray()
    hits = index.search("another text 17", 10, leg="bm25")[0]
    np.testing.assert_allclose([hit.score for hit in hits], -np.sort(-scores[0])[: len(hits)], rtol=1e-4)
    done = index.about["job"]["finished"] and sum(row["n"] < 0 for row in rows) == len(range(3, ROWS, 3))
    return _answers(index) if done else None


# --- an index that is written to --------------------------------------------------------------------------------------

UPKEEP = """
import numpy as np
from umekomi.indexes import Index
index = Index("library")
for step in range(6):
    generator = np.random.default_rng(step)
    ids = [f"r{i}" for i in range(step * 200, step * 200 + 300)]
    index.add(ids, generator.standard_normal((300, 32)).astype(np.float32), {"step": [step] * 300}, replace=True)
    gone = [f"old{i}" for i in range(step * 50, step * 50 + 50)]
    there = {row["__id__"] for row in index.rows(index.living())}
    left = [each for each in gone if each in there]
    if left:
        index.delete(left)
    if step % 3 == 2:
        index.compact()
"""


def upkeep_begins(folder: Path) -> None:
    index = Index.create(folder / "library", metric="cosine", kind="exact")
    vectors = np.random.default_rng(99).standard_normal((300, 32)).astype(np.float32)
    index.add([f"old{i}" for i in range(300)], vectors, {"step": [-1] * 300})


def upkeep_stands(folder: Path) -> str | None:
    index = Index(folder / "library", verify=True)
    steps = {row["__id__"]: row["step"] for row in index.rows(index.living())}
    assert len(steps) == len(index)
    for step in range(6):  # a step's rows are there all together, or none of those that no other step has
        own = [steps.get(f"r{i}") for i in range(step * 200 + 100, step * 200 + 200)]
        assert len({each is None for each in own}) == 1, f"step {step}: some rows of one addition"
        old = {f"old{i}" in steps for i in range(step * 50, step * 50 + 50)}
        assert len(old) == 1, f"step {step}: some rows of one deletion"
    return _answers(index)


# --- a model in another's place ---------------------------------------------------------------------------------------

TRAIN = """
import umekomi
umekomi.train("lsa", {"text": [f"text {i % 70} about {i * 7919 % 100} of many" for i in range(600)]}, "model", seed=1)
"""


def model_begins(folder: Path) -> None:
    from umekomi.verbs.train import train

    train("bm25", {"text": ["one text", "another text", "a third"]}, folder / "model")


def model_stands(folder: Path) -> str | None:
    model = load(folder / "model")
    return folder_hash(folder / "model") if model.kind != "bm25" else None


# --- files of vectors and of words ------------------------------------------------------------------------------------

ENCODE = """
from umekomi.verbs.encode import encode
encode("hashing", "texts.jsonl", "vectors.parquet", shard_rows=500, resume=True)
"""


def vectors_stand(folder: Path) -> str | None:
    import pyarrow.parquet as pq

    if not (folder / "vectors.parquet").exists():
        return None
    table = pq.read_table(folder / "vectors.parquet")
    assert table.num_rows == ROWS
    return content_hash(*(str(column) for column in table.column_names), table["vector"].combine_chunks().to_pylist())


CONVERT = """
from umekomi.verbs.convert import convert
convert("table", "words.txt")
"""


def table_begins(folder: Path) -> None:
    from umekomi.models.entity import EntityEmbedder

    vectors = np.random.default_rng(0).standard_normal((4000, 64)).astype(np.float32)
    EntityEmbedder([f"word{i}" for i in range(4000)], vectors, name="table").save(folder / "table")
    (folder / "words.txt").write_text("1 2\nold 1 2\n")


def words_stand(folder: Path) -> str | None:
    model = load(folder / "words.txt")
    if model.names == ["old"]:
        return None
    assert len(model.names) == 4000
    return content_hash(model.vectors.tobytes())


# --- a comparison -----------------------------------------------------------------------------------------------------

COMPARE = """
import json
from umekomi.verbs.compare import compare
pairs = [{"anchor": f"what is {i} of {i % 9}", "positive": f"it is {i}, said {i % 7}"} for i in range(120)]
found = compare(["bm25", "tfidf", "hashing", "lsa", "random"], pairs, out="comparison", hybrid=True)
json.dump({row.candidate: row.score.value for row in found.rows}, open("rows.json", "w"))
"""


def comparison_stands(folder: Path) -> str | None:
    for file in (folder / "comparison").rglob("*.json"):
        json.loads(file.read_text(encoding="utf-8"))
    if not (folder / "rows.json").exists() or not (folder / "rows.json").read_text():
        return None
    return content_hash((folder / "rows.json").read_text())


def nothing(folder: Path) -> None:
    """The job begins in an empty folder."""


WRITERS = (
    Writer("index", texts, INDEX, index_made),
    Writer("hybrid", both_texts, HYBRID, legs_stand),
    Writer("upkeep", upkeep_begins, UPKEEP, upkeep_stands),
    Writer("model", model_begins, TRAIN, model_stands),
    Writer("encode", texts, ENCODE, vectors_stand),
    Writer("convert", table_begins, CONVERT, words_stand),
    Writer("compare", nothing, COMPARE, comparison_stands),
)


def run(writer: Writer, folder: Path, kill_at: float | None = None) -> tuple[float, bool]:
    """(seconds, whether it was killed); an error where it ended by itself and not well."""
    source = f"import os; os.chdir({str(folder)!r}); os.environ['UMEKOMI_CACHE'] = {str(folder / 'cache')!r}\n"
    begun = time.monotonic()
    process = zygote.Process(source=source + writer.job)
    if kill_at is not None:
        time.sleep(kill_at)
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
    _, error = process.communicate()
    killed = process.returncode == -signal.SIGKILL
    assert killed or process.returncode == 0, error[-2000:]
    return time.monotonic() - begun, killed


def left_over(folder: Path) -> list[str]:
    """Hidden names that no job has left on purpose."""
    return sorted(path.name for path in folder.iterdir() if path.name.startswith("."))


def rounds(writer: Writer, count: int, chance: random.Random) -> tuple[int, list[str]]:
    """(how many were killed in the act, what was wrong)."""
    wrong, killed = [], 0
    with tempfile.TemporaryDirectory() as place:
        start = Path(place) / "start"
        start.mkdir()
        writer.begin(start)
        shutil.copytree(start, Path(place) / "whole")
        run(writer, Path(place) / "whole")
        shutil.rmtree(Path(place) / "whole")
        shutil.copytree(start, Path(place) / "whole")
        seconds, _ = run(writer, Path(place) / "whole")  # the first compiled its loops
        want = writer.look(Path(place) / "whole")
        assert want is not None, writer.name
        for number in range(count):
            work = Path(place) / f"round{number}"
            shutil.copytree(start, work)
            moment = chance.uniform(0.1, 1.0) * seconds
            try:
                _, hit = run(writer, work, moment)
                killed += hit
                writer.look(work)
                run(writer, work)
                found = writer.look(work)
                if found != want:
                    wrong.append(f"round {number}, {moment:.2f} s of {seconds:.2f}: another end than a whole run's")
                if left_over(work):
                    wrong.append(f"round {number}, {moment:.2f} s: left {left_over(work)}")
            except Exception as error:
                wrong.append(f"round {number}, {moment:.2f} s: {type(error).__name__}: {error}")
            shutil.rmtree(work)
    return killed, wrong


def main(arguments: list[str]) -> int:
    """The exit status: 1 where something was wrong."""
    names = [writer.name for writer in WRITERS]
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--writer", nargs="*", choices=names, default=names)
    given = parser.parse_args(arguments)
    bad: list[Any] = []
    for writer in WRITERS:
        if writer.name in given.writer:
            killed, wrong = rounds(writer, given.rounds, random.Random(given.seed))
            print(f"{writer.name}: {given.rounds} rounds, {killed} killed in the act, {len(wrong)} wrong", flush=True)
            for line in wrong:
                print(f"  {line}", flush=True)
            bad += wrong
    return bool(bad)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
