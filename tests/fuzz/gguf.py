"""GGUF files whose headers are damaged: each opens and gives finite vectors, or is refused in one line; nothing crashes
or hangs, and no more memory is taken than the file's size and a bound.

    python -m tests.fuzz.gguf --cases 10000 --seed 0

A small file of a network with several types of tensors and a vocabulary of each sort is written once, without torch. A
case changes bits, numbers, lengths, counts, types, offsets and names in the header, cuts the file or doubles a piece of
it, then opens it as ``umekomi.load`` does and encodes two texts.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import signal
import struct
import sys
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np

from umekomi.errors import UmekomiError

TEXTS = ["a b c", "h e"]
LIMIT = 20
"""Seconds that a case may take."""
BOUND = 768 << 20
"""Bytes of address space that all cases together may add: arenas, sessions and what a header asks for."""
ODD = (0, 1, 2, 3, 7, 8, 31, 32, 33, 255, 256, 65535, 65536, (1 << 31) - 1, 1 << 31, (1 << 32) - 1, 1 << 32)
ODD += ((1 << 62) + 1, (1 << 63) - 1, 1 << 63, (1 << 64) - 1)
KEYS = (
    b"token_embd.weight",
    b"blk.0.attn_q.weight",
    b"general.architecture",
    b"bert.block_count",
    b"output_norm.weight",
)
MODELS = ("bert", "t5", "llama", "gpt2")


def write(path: Path, model: str) -> Path:
    """A BERT of one layer, its vocabulary of this sort."""
    import gguf
    from gguf import GGUFWriter

    from umekomi.models.engines.gguf.writing import quantized

    draw = np.random.default_rng(0)
    writer = GGUFWriter(str(path), "bert")
    for key, value in {"block_count": 1, "embedding_length": 32, "feed_forward_length": 64, "context_length": 16,
                       "attention.head_count": 2, "pooling_type": 1}.items():  # fmt: skip
        writer.add_uint32(f"bert.{key}", value)
    writer.add_float32("bert.attention.layer_norm_epsilon", 1e-12)
    writer.add_name("small")
    letters = [f"▁{letter}" for letter in "abcdefgh"]
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *(letters if model != "gpt2" else "abcdefgĠh")]
    writer.add_tokenizer_model(model)
    writer.add_token_list(tokens)
    writer.add_token_types([3, 2, 3, 3, *[1] * (len(tokens) - 4)])
    writer.add_token_scores([0.0] * 4 + [-float(place) for place in range(len(tokens) - 4)])
    if model == "gpt2":
        writer.add_tokenizer_pre("gpt-2")
        writer.add_token_merges(["a b", "Ġ c"])
    for key, value in (("bos", 2), ("eos", 3), ("unknown", 1), ("cls", 2), ("seperator", 3)):
        writer.add_uint32(f"tokenizer.ggml.{key}_token_id", value)
    types = {"attn_q": "Q8_0", "attn_k": "Q8_0", "attn_v": "Q4_0", "attn_output": "Q4_1", "ffn_up": "F16"}
    for name, (rows, width) in {"attn_q": (32, 32), "attn_k": (32, 32), "attn_v": (32, 32), "attn_output": (32, 32),
                                "ffn_up": (64, 32), "ffn_down": (32, 64)}.items():  # fmt: skip
        values = draw.normal(size=(rows, width)).astype(np.float32)
        kind = types.get(name, "F32")
        if kind.startswith("Q"):
            kinds = gguf.GGMLQuantizationType[kind]
            writer.add_tensor(f"blk.0.{name}.weight", quantized(values, kind), raw_dtype=kinds)
        else:
            writer.add_tensor(f"blk.0.{name}.weight", values.astype(np.float16 if kind == "F16" else np.float32))
    for name in ("token_embd_norm", "blk.0.attn_output_norm", "blk.0.layer_output_norm"):
        writer.add_tensor(f"{name}.weight", np.ones(32, np.float32))
        writer.add_tensor(f"{name}.bias", np.zeros(32, np.float32))
    for name, rows in (("token_embd", len(tokens)), ("position_embd", 16)):
        writer.add_tensor(f"{name}.weight", draw.normal(size=(rows, 32)).astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def header_of(data: bytes) -> int:
    """Where the header of a file that :func:`write` wrote ends, to within its padding."""
    return data.index(b"token_embd.weight") + 200


def damage(data: bytearray, rng: random.Random) -> str:
    """Change a file's header; what was done, in words."""
    end, done = min(header_of(data), len(data)), []
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        how = rng.choice(
            ("bit", "bit", "byte", "quad", "quad", "long", "long", "cut", "double", "drop", "name", "swap")
        )
        at = rng.randrange(min(end, len(data) - 8) or 1)
        if how == "bit":
            data[at] ^= 1 << rng.randrange(8)
        elif how == "byte":
            data[at] = rng.randrange(256)
        elif how == "quad":
            struct.pack_into("<I", data, at, rng.choice(ODD) & 0xFFFFFFFF)
        elif how == "long":
            struct.pack_into("<Q", data, at, rng.choice(ODD))
        elif how == "cut":
            del data[rng.randrange(len(data)) :]
        elif how == "double":
            data[at:at] = data[at : at + rng.choice((1, 8, 24, 64))]
        elif how == "drop":
            del data[at : at + rng.choice((1, 4, 8, 24))]
        elif how == "swap":
            other = rng.randrange(min(end, len(data) - 8) or 1)
            data[at : at + 8], data[other : other + 8] = data[other : other + 8], data[at : at + 8]
        else:
            name = rng.choice(KEYS)
            data[at : at + len(name)] = name
        done.append(f"{how} at {at}")
        if len(data) < 32:
            break
    return ", ".join(done)


def case(seed: str, whole: dict[str, bytes], path: Path) -> tuple[str, str]:
    """(``"right"``, ``"other"``, ``"refused"`` or ``"wrong"``; what was done and what came of it)."""
    from umekomi.models import load

    rng = random.Random(seed)
    model = rng.choice(sorted(whole))
    data = bytearray(whole[model])
    try:
        done = f"{model}: {damage(data, rng)}"
    except ValueError:  # nothing is left of the header
        done = f"{model}: cut"
    path.write_bytes(data)
    try:
        vectors = load(path).encode(TEXTS)
    except UmekomiError as error:
        line = str(error)
        if "\n" in line or len(line) > 2000:
            return "wrong", f"{done} -> an error of many lines or {len(line)} characters: {line[:300]!r}"
        return "refused", f"{done} -> {line}"
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        return "wrong", f"{done} -> {type(error).__name__}: {str(error)[:300]}"
    if not np.isfinite(vectors).all() or len(vectors) != len(TEXTS):
        return "wrong", f"{done} -> vectors that are not finite"
    return ("right" if bytes(data) == whole[model] else "other"), done


def _late(*_: object) -> None:
    raise TimeoutError(f"more than {LIMIT} seconds")


def run(cases: int, seed: int) -> tuple[Counter, list[str]]:
    """How many of each verdict, and what went wrong."""
    counts: Counter = Counter()
    wrong: list[str] = []
    signal.signal(signal.SIGALRM, _late)
    with tempfile.TemporaryDirectory() as place:
        whole = {model: write(Path(place) / f"{model}.gguf", model).read_bytes() for model in MODELS}
        for number in range(cases):
            signal.alarm(LIMIT)
            verdict, said = case(f"{seed}-{number}", whole, Path(place) / "case.gguf")
            signal.alarm(0)
            counts[verdict] += 1
            if verdict == "wrong":
                wrong.append(f"{seed}-{number} {said}")
                print("wrong", wrong[-1], flush=True)
    return counts, wrong


def size() -> int:
    """Bytes of this process's address space."""
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def main() -> int:
    parser = argparse.ArgumentParser(description="Open GGUF files with damaged headers.")
    parser.add_argument("--cases", type=int, default=10000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    run(20, -1)  # libraries, pools and sessions are there before memory is counted
    resource.setrlimit(resource.RLIMIT_AS, (size() + BOUND, size() + BOUND))
    with open("/dev/null", "w") as nowhere:
        kept, sys.stderr = sys.stderr, nowhere
        counts, wrong = run(options.cases, options.seed)
        sys.stderr = kept
    print(json.dumps({"cases": options.cases, "seed": options.seed, **counts}))
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
