"""What a GGUF file's metadata say of its network, as one record: sizes, norms, attention, rotation, pooling."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from umekomi.errors import DataError, WrongUse
from umekomi.models.engines.gguf.header import NEEDED, Gguf
from umekomi.models.published.catalogue import CATALOGUE, Entry

POOLINGS = {0: "", 1: "mean", 2: "cls", 3: "last", 4: "rank"}
"""``pooling_type`` by number, as llama.cpp has it; 0 is none."""
NAMED = {"mean": "mean", "cls": "cls", "last": "last", "last token": "last"}
"""How the catalogue and users name them."""
ENCODERS = ("bert", "nomic-bert", "modern-bert", "gemma-embedding")
DECODERS = ("llama", "qwen2", "qwen3", "gemma3")
ARCHITECTURES = (*ENCODERS, *DECODERS)
"""What is run. XLM-RoBERTa's networks are written as ``bert``, with a vocabulary of unigrams."""
WINDOWED = ("modern-bert", "gemma-embedding", "gemma3")
"""Those with layers that see a window only: the others' files may name one, which llama.cpp does not read, either."""
CONTEXT = 32768
"""The most tokens of a text that are read, whatever the file says."""
OTHERS = {
    "clip": "the picture tower of a chat model that sees, which embeds no texts",
    **dict.fromkeys(("qwen2vl", "qwen3vl"), "a chat model that sees, which umekomi does not run"),
    "whisper": "a model that writes down speech",
    "t5": "an encoder and a decoder of T5, which umekomi does not run",
    "t5encoder": "an encoder of T5, which umekomi does not run",
    "nomic-bert-moe": "a network of experts, which umekomi does not run",
    "wavtokenizer-dec": "a voice, which embeds nothing",
}


@dataclass(frozen=True)
class Shape:
    """A network.

    Args:
        architecture: one of :data:`ARCHITECTURES`.
        layers: of it.
        width: of its vectors.
        heads: of its queries.
        kv_heads: of its keys and values.
        head_width: of each.
        inner: the width within its MLPs.
        vocabulary: rows of its table of tokens.
        context: tokens of a text that it reads.
        eps: of its norms.
        rotary: numbers of a head that are rotated; 0: positions are learned.
        base: of the rotation.
        local_base: of the rotation in layers that see a window only.
        stretch: what positions are divided by.
        window: tokens that those layers see; 0: all.
        local: for every layer, whether it sees a window only.
        pooling: ``"mean"``, ``"cls"`` or ``"last"``.
        activation: of gated MLPs that may have several: ``"gelu"`` or ``"silu"``.
        causal: does a token see only what stands before it?
    """

    architecture: str
    layers: int
    width: int
    heads: int
    kv_heads: int
    head_width: int
    inner: int
    vocabulary: int
    context: int
    eps: float
    rotary: int
    base: float
    local_base: float
    stretch: float
    window: int
    local: tuple[bool, ...]
    pooling: str
    activation: str
    causal: bool

    @property
    def gemma(self) -> bool:
        """Is it one of Gemma's?"""
        return self.architecture in ("gemma3", "gemma-embedding")


def check_sort(file: Gguf) -> None:
    """The error for a file that holds no network which embeds: what it is, in one line."""
    kind = str(file.get("general.type", str, "model"))
    architecture = file.architecture
    told = f"{file.path}: expected a model that embeds texts"
    if architecture in OTHERS:
        raise WrongUse(f"{told}, found {architecture}: {OTHERS[architecture]}")
    if kind == "adapter":
        raise WrongUse(f"{told}, found an adapter (LoRA) for one: merge it into its model first")
    if kind == "mmproj":
        raise WrongUse(f"{told}, found {OTHERS['clip']}")
    if architecture not in ARCHITECTURES:
        raise WrongUse(
            f"{told}, found the architecture {architecture!r:.60}; umekomi runs {', '.join(ARCHITECTURES)} "
            "(XLM-RoBERTa as bert)"
        )
    if not file.tensors:
        raise WrongUse(f"{told}, found a vocabulary without any weights")


def read_shape(file: Gguf, pooling: str = "") -> Shape:
    """The network of a file.

    Raises:
        WrongUse: for a file that embeds no texts, or a way of pooling that is not known.
        DataError: for metadata that are missing or no network's.
    """
    check_sort(file)
    architecture = file.architecture
    causal = _causal(file)

    def number(key: str, default: Any = NEEDED, **bounds: int) -> Any:
        return file.number(f"{architecture}.{key}", default, **bounds)

    def real(key: str, default: Any = NEEDED) -> float:
        value = float(file.get(f"{architecture}.{key}", float, default))
        if not math.isfinite(value) or value <= 0:
            raise DataError(f"{file.path}, {architecture}.{key}: expected a number above zero, found {value}")
        return value

    layers, width = number("block_count", most=1024), number("embedding_length", most=1 << 17)
    heads = number("attention.head_count", most=1 << 12)
    kv_heads = number("attention.head_count_kv", heads, most=heads)
    if heads % kv_heads:
        raise DataError(f"{file.path}: expected heads in groups of one size, found {heads} and {kv_heads}")
    head_width = number("attention.key_length", width // heads, most=1 << 13)
    if number("attention.value_length", head_width) != head_width:
        raise DataError(f"{file.path}: expected keys and values of one width, found {head_width} and another")
    norm = "attention.layer_norm_epsilon" if architecture in ENCODERS[:3] else "attention.layer_norm_rms_epsilon"
    table = file.tensor("token_embd.weight")
    if len(table.shape) != 2 or table.shape[1] != width:
        raise DataError(
            f"{file.path}, token_embd.weight: expected [tokens, {width}], as embedding_length says, found "
            f"{list(table.shape)}"
        )
    window = number("attention.sliding_window", 0, least=0) if architecture in WINDOWED else 0
    if architecture == "gemma-embedding" and not window:
        raise DataError(f"{file.path}: expected {architecture}.attention.sliding_window, found none")
    base = 0.0 if architecture == "bert" else real("rope.freq_base", 10000.0)
    rotary = 0 if architecture == "bert" else number("rope.dimension_count", head_width, most=head_width)
    if rotary % 2:
        raise DataError(f"{file.path}, {architecture}.rope.dimension_count: expected an even number, found {rotary}")
    activation = str(file.get(f"{architecture}.hidden_activation", str, "gelu"))
    return Shape(
        architecture=architecture,
        layers=layers,
        width=width,
        heads=heads,
        kv_heads=kv_heads,
        head_width=head_width,
        inner=number("feed_forward_length"),
        vocabulary=table.shape[0],
        context=min(number("context_length"), CONTEXT),
        eps=real(norm),
        rotary=rotary,
        base=base,
        local_base=real("rope.freq_base_swa", 10000.0) if window else base,
        stretch=_stretch(file, architecture),
        window=window,
        local=_local(file, architecture, layers) if window else (False,) * layers,
        pooling=pooling or ("last" if causal else "mean"),
        activation="silu" if activation in ("silu", "swiglu") else "gelu",
        causal=causal,
    )


def _causal(file: Gguf) -> bool:
    """Does a token see only what stands before it? The architecture says so, or the file does."""
    decoder = file.architecture in DECODERS
    return decoder and bool(file.get(f"{file.architecture}.attention.causal", bool, True))


def _stretch(file: Gguf, architecture: str) -> float:
    """What positions are divided by. Other ways to reach further (YaRN) change what short texts give, too, and are
    refused rather than left out."""
    kind = str(file.get(f"{architecture}.rope.scaling.type", str, "none"))
    factor = float(file.get(f"{architecture}.rope.scaling.factor", float, 1.0))
    if kind in ("none", "") or factor in (0.0, 1.0):
        return 1.0
    if kind != "linear" or not math.isfinite(factor) or factor < 0:
        raise WrongUse(
            f"{file.path}: expected positions as they are or divided (linear), found {kind!r:.40} by {factor}"
        )
    return factor


def _local(file: Gguf, architecture: str, layers: int) -> tuple[bool, ...]:
    """For every layer, whether it sees a window only: as the file lists it, or one layer in so many sees all: the
    last of each such group, and in ModernBERT the first."""
    key = f"{architecture}.attention.sliding_window_pattern"
    listed = file.metadata.get(key)
    if isinstance(listed, np.ndarray):
        if len(listed) < layers:
            raise DataError(f"{file.path}, {key}: expected {layers} values, one a layer, found {len(listed)}")
        return tuple(bool(each) for each in listed[:layers])
    first = architecture == "modern-bert"
    every = file.number(key, 3 if first else 6)
    return tuple(layer % every != (0 if first else every - 1) for layer in range(layers))


# --- the catalogue ----------------------------------------------------------------------------------------------------


def _letters(text: object) -> str:
    return "".join(character for character in str(text).lower() if character.isalnum())


def entry_of(file: Gguf) -> Entry | None:
    """The published model that a file is of: its name, its source's address or its own name say the model's, and its
    vectors are as wide."""
    keys = ("general.name", "general.source.url", "general.repo_url", "general.base_model.0.repo_url")
    names = [file.path.stem, file.path.parent.name, *(file.metadata.get(key, "") for key in keys)]
    width = file.metadata.get(f"{file.architecture}.embedding_length")
    told = [_letters(name) for name in names]
    entries = [
        entry
        for entry in CATALOGUE.values()
        if entry.hub and entry.dimensions == width and any(_letters(entry.hub.split("/")[-1]) in name for name in told)
    ]
    return max(entries, key=lambda entry: len(entry.hub), default=None)


@dataclass(frozen=True)
class Ways:
    """How a file's vectors are made: the pooling, the token that every text must end in beside what the file says
    (none: empty), and one line about what was mended or chosen (none: empty)."""

    pooling: str
    ends_in: str = ""
    said: str = ""


def ways(file: Gguf, named: str = "", entry: Entry | None = None) -> Ways:
    """The file's own pooling; where it names none, the catalogue's, else the mean for networks that see all of a text,
    and the last token for those that see what stands before. ``named``: the user's choice.

    Files of Qwen3-Embedding that were converted before August 2025 say neither their pooling nor that each text ends in
    the end-of-text token, and give wrong vectors elsewhere (llama.cpp, issues 14234 and 14252).
    """
    check_sort(file)
    key = f"{file.architecture}.pooling_type"
    number = file.number(key, 0, least=0, most=1 << 20)
    if number not in POOLINGS:
        raise DataError(f"{file.path}, {key}: expected 0 to 4, found {number}")
    own = POOLINGS[number]
    if named and named not in NAMED:
        raise WrongUse(f"pooling: expected mean, cls or last, found {named!r}")
    if own == "rank" and not named:
        raise WrongUse(f"{file.path}: expected a model that embeds texts, found a reranker (pooling_type 4)")
    told = NAMED.get(entry.pooling, "") if entry is not None else ""
    causal = _causal(file)
    pooling = NAMED.get(named, "") or own or told or ("last" if causal else "mean")
    shown = {"mean": "the mean over tokens", "cls": "the first token", "last": "the last token"}[pooling]
    if entry is not None and entry.ends_in and pooling == "last" and not _ends(file, entry.ends_in):
        if own or named:
            lacking, mended = "not", f"{entry.ends_in} is added"
        else:
            lacking, mended = "neither its pooling nor", f"{shown} is taken, and {entry.ends_in} added"
        said = f"says {lacking} that texts end in {entry.ends_in}, as {entry.name} needs: {mended}"
        return Ways(pooling, entry.ends_in, f"note: {file.path.name} {said}")
    if own or named:
        return Ways(pooling)
    if entry is not None and told:
        return Ways(
            pooling, "", f"note: {file.path.name} does not say its pooling: {shown} is taken, as {entry.name} has it"
        )
    chat = causal and "tokenizer.chat_template" in file.metadata
    said = f"{'is a chat model, and ' if chat else ''}does not say how its vectors are pooled: {shown} is taken"
    return Ways(pooling, "", f"note: {file.path.name} {said}; convert to gguf with a pooling named mends it")


def _ends(file: Gguf, token: str) -> bool:
    """Does the file say that every text ends in this token?"""
    number, tokens = file.metadata.get("tokenizer.ggml.eos_token_id"), file.metadata.get("tokenizer.ggml.tokens")
    says = file.metadata.get("tokenizer.ggml.add_eos_token") is True
    return says and isinstance(number, int) and isinstance(tokens, list) and tokens[number : number + 1] == [token]
