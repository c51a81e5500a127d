"""Damaged model folders: each opens and gives right vectors, or is refused in one line; nothing crashes, hangs, or
writes outside its folder.

    python -m tests.fuzz.folders --cases 2000 --seed 0

A small model of every kind is saved once. A case copies one, damages it (a file is cut, flipped, emptied, swapped, or
becomes a pipe, a link or a folder; a value in its JSON changes type or names a path; an array changes shape, type or
name) and opens it in a worker process, which has ten seconds of the processor and may wait for ten. Half of the cases
have no checksums, as folders of others.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import shutil
import sys
import tempfile
from pathlib import Path

from .processes import Hangs, answer

TEXTS = ["the red apple", "how to open the cat", "a dog is fast on the tree", "", "sky"]
LIGHT = ("hashing", "random", "entity", "bags", "static", "bm25", "tfidf", "transformed", "model2vec")
HEAVY = ("text", "theirs", "router", "bare", "multi", "cross-encoder", "backbone", "onnx", "elmo-onnx")
LIMIT = 10.0
MEMORY = 6 << 30
"""Bytes that a worker may ask for: what a damaged folder makes large is an error here, not the end of the machine."""
NAME = "bert-2x32"
"""What the networks call themselves, when it is the encoding that fails."""
CANARY = "nobody writes here"


# --- what is damaged ------------------------------------------------------------------------------------------------


def words_tokenizer():
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = ["[UNK]", *sorted({word for text in TEXTS for word in text.split()})]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return tokenizer, words


def save_light(root: Path) -> None:
    """One saved model of each kind that needs no torch."""
    import numpy as np
    from safetensors.numpy import save_file

    from umekomi.models.bags import BagEmbedder
    from umekomi.models.entity import EntityEmbedder
    from umekomi.models.lexical import Bm25Embedder, TfIdfEmbedder
    from umekomi.models.static import StaticEmbedder
    from umekomi.models.untrained import HashingEmbedder, RandomEmbedder
    from umekomi.transforms import Pca, Truncate

    rng = np.random.default_rng(0)
    tokenizer, words = words_tokenizer()
    table = rng.normal(size=(len(words), 8)).astype(np.float32)
    HashingEmbedder(64).save(root / "hashing")
    RandomEmbedder(16).save(root / "random")
    EntityEmbedder(TEXTS, table[: len(TEXTS)], metric="euclidean").save(root / "entity")
    BagEmbedder(words, table, right=table[::-1].copy(), labels=words[:2]).save(root / "bags")
    static = StaticEmbedder(tokenizer, table)
    static.save(root / "static")
    Bm25Embedder.fit(TEXTS).save(root / "bm25")
    TfIdfEmbedder.fit(TEXTS).save(root / "tfidf")
    vectors = rng.normal(size=(50, 8)).astype(np.float32)
    static.with_transform(Pca(6).fit(vectors), Truncate(4)).save(root / "transformed")
    (root / "model2vec").mkdir()
    tokenizer.save(str(root / "model2vec" / "tokenizer.json"))
    save_file({"embeddings": table}, root / "model2vec" / "model.safetensors")
    config = {"model_type": "model2vec", "normalize": True, "hidden_dim": 8}
    (root / "model2vec" / "config.json").write_text(json.dumps(config))


def save_heavy(root: Path) -> None:
    """One saved model of each kind that is made with torch."""
    import torch
    from sentence_transformers import CrossEncoder, MultiVectorEncoder, SentenceTransformer
    from sentence_transformers.base.modules import Dense, Normalize, Router, Transformer
    from sentence_transformers.sentence_transformer.modules import Pooling

    from umekomi.models import load
    from umekomi.models.engines.onnx import export
    from umekomi.models.multivector import MultiVectorEmbedder
    from umekomi.models.scorers import CrossEncoderScorer
    from umekomi.models.scratch import untrained_transformer

    torch.manual_seed(0)
    made = untrained_transformer("bert", TEXTS, layers=2, width=32, heads=2, vocabulary=300, max_length=64)
    made.save(root / "backbone")
    embedder = made.embedder()
    embedder.save(root / "text")
    embedder.model.save(str(root / "theirs"), create_model_card=False)
    made.model.base_model.save_pretrained(root / "bare")
    made.tokenizer.save_pretrained(root / "bare")

    def tower(*more):
        return [Transformer(str(root / "bare")), Pooling(32), *more]

    router = Router.for_query_document(tower(), tower(Dense(32, 32)))
    SentenceTransformer(modules=[router, Normalize()]).save(str(root / "router"), create_model_card=False)
    MultiVectorEmbedder(MultiVectorEncoder(str(root / "bare"), device="cpu")).save(root / "multi")
    CrossEncoderScorer(CrossEncoder(str(root / "bare"), num_labels=1, device="cpu")).save(root / "cross-encoder")
    export(load(root / "text")).save(root / "onnx")
    shutil.copytree(Path(__file__).parents[1] / "fixtures" / "elmo-onnx", root / "elmo-onnx")


# --- damage ---------------------------------------------------------------------------------------------------------

ODD = (
    *(None, True, False, 0, -1, 1, 2, 7, 1.5, -0.0, 10**6, 10**12, 10**30, 1e308, float("nan"), float("inf")),
    *(
        "",
        "x",
        "torch.load",
        "pickle.load",
        "os.system",
        "../canary",
        "/etc/passwd",
        "C:\\x",
        "..\\x",
        "a\0b",
        "\ud800",
    ),
    *([], {}, [1], ["a"], {"a": 1}, [[]], "9" * 400),
)


def nodes(value, path=()):
    yield path
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in list(pairs)[:200]:
        yield from nodes(inner, (*path, key))


def changed_json(value, rng: random.Random):
    """One node of a JSON value replaced, left out, doubled or renamed."""
    path = rng.choice(list(nodes(value)))
    if not path:
        return rng.choice(ODD)
    holder = value
    for key in path[:-1]:
        holder = holder[key]
    how, key = rng.choice(("odd", "odd", "odd", "drop", "rename", "near")), path[-1]
    if how == "drop":
        del holder[key]
    elif how == "rename" and isinstance(holder, dict):
        holder[f"{key}x"] = holder.pop(key)
    elif how == "near" and isinstance(holder[key], (int, float)) and not isinstance(holder[key], bool):
        holder[key] = rng.choice((holder[key] * 10, holder[key] + 1, holder[key] - 1, -holder[key], str(holder[key])))
    else:
        holder[key] = rng.choice(ODD)
    return value


def change_json(path: Path, rng: random.Random) -> None:
    value = json.loads(path.read_text(encoding="utf-8"))
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        if isinstance(value, (dict, list)) and value:
            value = changed_json(value, rng)
    path.write_text(json.dumps(value), encoding="utf-8")


def change_arrays(path: Path, rng: random.Random) -> None:
    import numpy as np
    from safetensors.numpy import load_file, save_file

    arrays = load_file(path)
    name = rng.choice(sorted(arrays))
    array = arrays[name]
    how = rng.choice(("nan", "inf", "cut", "wide", "type", "flat", "rename", "drop", "zero", "extra", "huge"))
    if how in ("nan", "inf", "huge") and array.size and array.dtype.kind == "f":
        array = array.copy()
        array.reshape(-1)[rng.randrange(array.size)] = {"nan": np.nan, "inf": np.inf, "huge": 3e38}[how]
    elif how == "cut":
        array = array[: rng.randrange(len(array))] if array.ndim and len(array) else array
    elif how == "wide":
        array = np.concatenate([array, array], -1) if array.ndim else array
    elif how == "type":
        array = array.astype(rng.choice((np.float16, np.float64, np.int64, np.uint8, np.bool_)))
    elif how == "flat":
        array = array.reshape(-1)
    elif how == "zero":
        array = np.zeros((0, *array.shape[1:]), array.dtype)
    if how == "drop":
        del arrays[name]
    elif how == "rename":
        arrays[rng.choice(("transform", "__class__", "x", "mean_"))] = arrays.pop(name)
    else:
        arrays["extra_" if how == "extra" else name] = array
    save_file({key: np.ascontiguousarray(each) for key, each in arrays.items()}, path, metadata={"format": "pt"})


def change_bytes(path: Path, rng: random.Random) -> None:
    data = bytearray(path.read_bytes())
    how = rng.choice(("cut", "empty", "flip", "flip", "head", "noise", "append", "double", "deep", "latin"))
    if how == "cut" and data:
        del data[rng.randrange(len(data)) :]
    elif how == "empty":
        data.clear()
    elif how in ("flip", "head") and data:
        for _ in range(rng.choice((1, 1, 4, 32))):
            data[rng.randrange(min(len(data), 600 if how == "head" else len(data)))] ^= 1 << rng.randrange(8)
    elif how == "noise" and data:
        start = rng.randrange(len(data))
        data[start : start + 64] = rng.randbytes(64)
    elif how == "append":
        data += rng.randbytes(rng.choice((1, 8, 1000)))
    elif how == "double":
        data += bytes(data)
    elif how == "deep":
        data = bytearray(b"[" * 200_000)
    elif how == "latin":
        data = bytearray('{"é": 1}'.encode("latin-1"))
    path.write_bytes(bytes(data))


def change_entry(path: Path, rng: random.Random, box: Path) -> None:
    how = rng.choice(("gone", "gone", "pipe", "link", "loop", "out", "folder", "null", "swap", "tree"))
    if how == "swap":
        other = rng.choice([each for each in path.parent.iterdir() if each.is_file()])
        data = other.read_bytes()
        other.write_bytes(path.read_bytes())
        path.write_bytes(data)
        return
    if how == "tree" and path.parent.parent != box:  # the file's whole folder
        path = path.parent
        shutil.rmtree(path)
        if rng.random() < 0.5:
            path.symlink_to(box / "canary.d", target_is_directory=True)
        return
    path.unlink()
    if how == "pipe":
        os.mkfifo(path)
    elif how in ("link", "loop", "out", "null"):
        path.symlink_to({"link": "nowhere", "loop": path.name, "out": box / "canary", "null": "/dev/zero"}[how])
    elif how == "folder":
        path.mkdir()


def damage(folder: Path, rng: random.Random, box: Path) -> str:
    """What was done to a copy of a model, in words."""
    done = []
    if rng.random() < 0.5:
        for sums in folder.rglob("SHA256SUMS"):
            sums.unlink()
        done.append("no sums")
    for _ in range(rng.choice((1, 1, 1, 1, 2, 3))):
        files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != "README.md")
        if not files:
            break
        path = rng.choice(files)
        change = rng.choice(("kind", "kind", "kind", "bytes", "entry"))
        if change == "kind":
            change = {".json": "json", ".safetensors": "arrays"}.get(path.suffix, "bytes")
        try:
            {
                "json": lambda path: change_json(path, rng),
                "arrays": lambda path: change_arrays(path, rng),
                "bytes": lambda path: change_bytes(path, rng),
                "entry": lambda path: change_entry(path, rng, box),
            }[change](path)
        except Exception:  # damaged already in a way that this damage cannot read
            change = "bytes"
            if path.is_file():
                change_bytes(path, rng)
        done.append(f"{change} {path.relative_to(folder)}")
    return ", ".join(done)


# --- one case -------------------------------------------------------------------------------------------------------


def answers(model) -> list:
    """The arrays that a model gives for :data:`TEXTS`."""
    import numpy as np

    if hasattr(model, "score"):
        return [model.score(TEXTS, TEXTS[::-1])]
    if model.kind == "backbone":
        model = model.embedder()
    out = []
    for vectors in (model.encode_query(TEXTS), model.encode_document(TEXTS)):
        if hasattr(vectors, "offsets"):
            out += [np.asarray(vectors.flat), np.asarray(vectors.offsets)]
        else:
            out.append(vectors.toarray() if hasattr(vectors, "toarray") else np.asarray(vectors))
    return out


def outside(box: Path, folder: Path) -> dict[str, str]:
    """Every file of the sandbox but the model's own, with its content."""
    found = {}
    for place, folders, files in os.walk(box):
        if Path(place) == folder:
            folders.clear()
            continue
        for name in (*folders, *files):
            path = Path(place, name)
            if path != folder:
                plain = path.is_file() and not path.is_symlink()
                found[str(path)] = path.read_text(errors="replace") if plain else "-"
    return found


def run_case(seed: str, kinds: tuple[str, ...], saved: Path, scratch: Path) -> tuple[str, str]:
    """(``"right"``, ``"other"`` for finite vectors of a model whose settings or unsummed files were changed,
    ``"refused"`` or ``"wrong"``; what was done and what came of it)."""
    import numpy as np

    from umekomi.errors import UmekomiError
    from umekomi.models import load

    rng = random.Random(seed)
    kind = rng.choice(kinds)
    box = Path(tempfile.mkdtemp(dir=scratch))
    try:
        (box / "canary").write_text(CANARY)
        (box / "canary.d").mkdir()
        (box / "canary.d" / "canary").write_text(CANARY)
        folder = box / kind
        shutil.copytree(saved / kind, folder)
        done = f"{kind}: {damage(folder, rng, box)}"
        before = outside(box, folder)
        try:
            found = answers(load(folder))
        except UmekomiError as error:
            line = str(error)
            if "\n" in line or len(line) > 1000:
                return "wrong", f"{done} -> an error of many lines or {len(line)} characters: {line[:300]!r}"
            if str(folder) not in line and not any(name in line for name in (kind, NAME, "static")):
                return "unnamed", f"{done} -> {line}"
            verdict = "refused", f"{done} -> {line}"
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            return "wrong", f"{done} -> {type(error).__name__}: {str(error)[:300]}"
        else:
            want = np.load(saved / f"{kind}.npz")
            same = len(found) == len(want.files) and all(
                each.shape == want[str(i)].shape and np.allclose(each, want[str(i)], atol=1e-5)
                for i, each in enumerate(found)
            )
            if not all(np.isfinite(each).all() for each in found):
                return "wrong", f"{done} -> vectors that are not finite"
            summed = (folder / "SHA256SUMS").is_file()
            if not same and summed and only_data(done):
                return "wrong", f"{done} -> other vectors without a word"
            verdict = ("right" if same else "other"), done
        if outside(box, folder) != before:
            return "wrong", f"{done} -> something was written outside the folder"
        return verdict
    finally:
        shutil.rmtree(box, ignore_errors=True)


def only_data(done: str) -> bool:
    """Was nothing changed but what no hand writes? Settings may be changed to other settings that are right."""
    names = [part.rsplit(" ", 1)[1].rsplit("/", 1)[-1] for part in done.split(": ", 1)[1].split(", ") if " " in part]
    return not any(
        name == "SHA256SUMS" or name in ("umekomi.json", "modules.json") or "config" in name for name in names
    )


def prepare(saved: Path, kinds: tuple[str, ...]) -> None:
    """Save the models, and what each gives."""
    import numpy as np

    from umekomi.models import load

    save_light(saved)
    if set(kinds) & set(HEAVY):
        save_heavy(saved)
    for kind in kinds:
        np.savez(saved / f"{kind}.npz", **{str(i): each for i, each in enumerate(answers(load(saved / kind)))})


# --- many cases, in processes that may die --------------------------------------------------------------------------


def work(pipe, kinds, saved, scratch) -> None:
    """A worker: seeds in, verdicts out."""
    import resource

    os.environ["HOME"] = str(scratch)
    os.chdir(scratch)
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())
    import torch

    import umekomi.models.multivector
    import umekomi.models.text  # noqa: F401 - loaded outside the clock

    torch.set_num_threads(1)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    pipe.send(None)
    while (seed := pipe.recv()) is not None:
        pipe.send(run_case(seed, kinds, saved, scratch))


class Worker:
    """A process that runs one case after the other, replaced when it dies or hangs."""

    def __init__(self, *arguments) -> None:
        self.arguments, self.process = arguments, None

    def start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, other = context.Pipe()
        self.process = context.Process(target=work, args=(other, *self.arguments), daemon=True)
        self.process.start()
        other.close()
        self.pipe.recv()

    def run(self, seed: str) -> tuple[str, str]:
        if self.process is None:
            self.start()
        self.pipe.send(seed)
        try:
            return answer(self.pipe, self.process.pid, LIMIT)
        except Hangs as error:
            verdict = "hang", f"seed {seed} {error}"
        except (EOFError, ConnectionError):
            self.process.join(5)
            verdict = "crash", f"seed {seed}, exit code {self.process.exitcode}"
        self.process.kill()
        self.process.join()
        self.process = None
        return verdict


def main() -> int:
    parser = argparse.ArgumentParser(description="Open damaged model folders.")
    parser.add_argument("--cases", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kinds", default=",".join((*LIGHT, *HEAVY)))
    parser.add_argument("--only", help="one case's seed, such as 0-17, here and with all it says")
    options = parser.parse_args()
    kinds = tuple(options.kinds.split(","))
    counts: dict[str, int] = {}
    with tempfile.TemporaryDirectory() as place:
        saved, scratch = Path(place) / "saved", Path(place) / "scratch"
        saved.mkdir()
        scratch.mkdir()
        prepare(saved, kinds)
        if options.only:
            print(*run_case(options.only, kinds, saved, scratch), sep="\n")
            return 0
        worker = Worker(kinds, saved, scratch)
        for number in range(options.cases):
            verdict, said = worker.run(f"{options.seed}-{number}")
            counts[verdict] = counts.get(verdict, 0) + 1
            if verdict in ("wrong", "hang", "crash", "unnamed"):
                print(f"{verdict} {options.seed}-{number} {said}", flush=True)
        if worker.process is not None:
            worker.pipe.send(None)
    print(json.dumps({"cases": options.cases, "seed": options.seed, **counts}))
    return 1 if set(counts) & {"wrong", "hang", "crash", "unnamed"} else 0


if __name__ == "__main__":
    raise SystemExit(main())
