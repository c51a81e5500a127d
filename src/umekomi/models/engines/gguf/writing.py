"""GGUF files from text embedders, in the layout that llama.cpp reads: networks of BERT's, nomic's and ModernBERT's
kind, Llama, Qwen2, Qwen3 and Gemma 3, in float32, float16 or blocks.

What is written is read back: the tokenizer that the file's vocabulary makes must give the model's own tokens, or
nothing is written.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from umekomi.errors import WrongUse
from umekomi.files import whole_file
from umekomi.models.engines.gguf.blocks import FLOATS
from umekomi.models.engines.gguf.header import Gguf, needs_package
from umekomi.models.engines.gguf.names import pairs, to_gguf
from umekomi.models.engines.gguf.shape import NAMED, Shape
from umekomi.models.engines.gguf.words import CUTS, SPACE, Sort, tokenizer

if TYPE_CHECKING:
    from gguf import GGUFWriter
    from numpy.typing import NDArray
    from tokenizers import Tokenizer

    from umekomi.models.base import Saved
    from umekomi.models.text import TextEmbedder

TYPES = ("F32", "F16", "Q8_0", "Q4_0", "Q4_1", "Q4_K")
"""What a file may be written in."""
MODEL_TYPES = {
    "bert": "bert",
    "xlm-roberta": "bert",
    "nomic_bert": "nomic-bert",
    "modernbert": "modern-bert",
    "llama": "llama",
    "qwen2": "qwen2",
    "qwen3": "qwen3",
    "gemma3_text": "gemma3",
}
"""transformers' model types, and the architectures that they are written as."""
POOLING = {"mean": 1, "cls": 2, "lasttoken": 3, "last": 3}
SMALL = 32
PROBES = (
    "",
    "The cat sat on the mat, didn't it?",
    "埋め込みは文を数のならびにする。Ünïcödé 1,234.5 🙂",
    "  def encode(items,\n\n  *, role=None):\treturn 2 ** 32  ",
)
"""Texts whose tokens must be the model's own."""

SPACES = {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "}
"""The step with which tokenizers of SentencePiece make one space of several."""


def write(model: Saved, path: str | Path, type: str = "", pooling: str = "") -> None:
    """Write ``model`` as a GGUF file: a text embedder of sentence-transformers, or one of kind ``gguf``, whose file is
    copied, its ``pooling`` said in it, or with a ``type`` written anew from its expanded weights.

    Matrices get the ``type``, one of :data:`TYPES` (empty: F16); what has one axis, tables of positions and sorts, and
    rows that the type's blocks do not divide stay in float32 (Q8_0 where it divides rows that Q4_K does not), as
    llama.cpp's own converter keeps them.

    Raises:
        WrongUse: for a model that is none of these, or whose layers or tokenizer the format cannot say.
    """
    needs_package("writing GGUF")
    path = Path(path)
    if path.suffix.lower() != ".gguf":
        raise WrongUse(f"{path}: expected a file ending in .gguf")
    if pooling and pooling not in NAMED:
        raise WrongUse(f"pooling: expected mean, cls or last, found {pooling!r}")
    type = type.upper()
    if type and type not in TYPES:
        raise WrongUse(f"type: expected one of {', '.join(TYPES)}, found {type!r}")
    if model.kind == "gguf" and not type:
        return _copied(model, path, pooling)
    if model.kind == "gguf":
        from umekomi.models.engines.gguf.expanded import read_expanded

        model = read_expanded(model.path, pooling or model.pooling)  # type: ignore[attr-defined]
    if model.kind != "text":
        raise WrongUse(f"gguf: expected a transformer text embedder, found kind {model.kind}")
    _written(model, path, type or "F16", pooling)  # type: ignore[arg-type]


# --- a model of sentence-transformers ---------------------------------------------------------------------------------


def _written(model: TextEmbedder, path: Path, type: str, pooling: str) -> None:
    from gguf import GGUFWriter

    network, how = _layers(model)
    config, words = network.config, getattr(model.model.tokenizer, "_tokenizer", None)
    if words is None:
        raise WrongUse(f"gguf: {model.name} has a tokenizer of Python, which the format cannot say")
    shape = _shape(model, config, int(model.model.max_seq_length or config.max_position_embeddings))
    how = NAMED[pooling] if pooling else how
    with whole_file(path) as temporary:
        writer = GGUFWriter(str(temporary), shape.architecture)
        _describe(writer, model, shape, how, getattr(config, "type_vocab_size", 0))
        _vocabulary(writer, words, shape.vocabulary, model.name)
        for name, array in _tensors(network.state_dict(), shape, _offset(config), model.name):
            _add(writer, name, array, type)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        again = tokenizer(Gguf(temporary))
        for probe in PROBES:
            mine, theirs = again.encode(probe).ids, _plain(words).encode(probe).ids
            if mine != theirs:
                raise WrongUse(
                    f"gguf: {model.name}'s tokenizer is none that the format can say: for {probe[:24]!r} it gives "
                    f"{theirs[:6]}, the file {mine[:6]}"
                )


def _plain(words: Tokenizer) -> Tokenizer:
    """The tokenizer, neither cutting nor padding."""
    bare = type(words).from_str(words.to_str())
    bare.no_truncation()
    bare.no_padding()
    return bare


def _layers(model: TextEmbedder) -> tuple[Any, str]:
    """(the network, how it pools): what else stands behind it must be normalisation, which readers of GGUF do."""
    from sentence_transformers.base.modules import Normalize, Transformer
    from sentence_transformers.sentence_transformer.modules import Pooling

    first, *rest = list(model.model)
    pooled = [layer for layer in rest if isinstance(layer, Pooling)]
    others = [type(layer).__name__ for layer in rest if not isinstance(layer, (Pooling, Normalize))]
    if not isinstance(first, Transformer) or len(pooled) != 1 or others:
        names = ", ".join(type(layer).__name__ for layer in model.model)
        raise WrongUse(f"gguf: expected a transformer, a pooling and a normalisation, found {names}")
    mode = pooled[0].pooling_mode
    if not isinstance(mode, str) or mode not in POOLING or not pooled[0].include_prompt:
        raise WrongUse(f"gguf: expected pooling by mean, cls or lasttoken, found {mode}")
    if model.model.truncate_dim:
        raise WrongUse(
            f"gguf: {model.name} cuts its vectors to {model.model.truncate_dim}, which the format cannot say"
        )
    return first.auto_model, mode


def _shape(model: TextEmbedder, config: Any, reads: int) -> Shape:
    kind = config.model_type
    if kind not in MODEL_TYPES:
        raise WrongUse(f"gguf: expected a network of type {', '.join(MODEL_TYPES)}, found {kind}")
    architecture = MODEL_TYPES[kind]
    if architecture == "gemma3" and getattr(config, "use_bidirectional_attention", False):
        architecture = "gemma-embedding"
    act = getattr(config, "hidden_act", None) or getattr(config, "hidden_activation", None)
    expected = {"bert": ("gelu",), "modern-bert": ("gelu", "silu"), "gemma3": ("gelu_pytorch_tanh",)}
    expected["gemma-embedding"] = expected["gemma3"]
    if act not in expected.get(architecture, ("silu",)):
        raise WrongUse(f"gguf: {architecture} is written with {expected.get(architecture, ('silu',))[0]}, found {act}")
    heads = config.num_attention_heads
    width = config.hidden_size
    head_width = getattr(config, "head_dim", None) or width // heads
    turns = getattr(config, "rope_parameters", None) or {}
    whole, part = turns.get("full_attention", turns), turns.get("sliding_attention", turns)
    if any(each.get("rope_type", "default") != "default" for each in (whole, part)):
        raise WrongUse(f"gguf: expected positions as they are, found them scaled ({whole.get('rope_type')})")
    types = getattr(config, "layer_types", None) or ["full_attention"] * config.num_hidden_layers
    local = tuple(each != "full_attention" for each in types)
    window = 0
    if any(local):
        window = int(config.local_attention if architecture == "modern-bert" else config.sliding_window)
        window = 2 * (window - 1) if architecture == "gemma-embedding" else window
    causal = architecture in ("llama", "qwen2", "qwen3", "gemma3") and getattr(config, "is_causal", True) is not False
    return Shape(
        architecture=architecture,
        layers=config.num_hidden_layers,
        width=width,
        heads=heads,
        kv_heads=getattr(config, "num_key_value_heads", None) or heads,
        head_width=head_width,
        inner=config.intermediate_size,
        vocabulary=config.vocab_size,
        context=min(reads, config.max_position_embeddings - _offset(config)),
        eps=getattr(config, "layer_norm_eps", None) or getattr(config, "norm_eps", None) or config.rms_norm_eps,
        rotary=0 if architecture == "bert" else head_width,
        base=float(whole.get("rope_theta", 10000.0)),
        local_base=float(part.get("rope_theta", 10000.0)),
        stretch=1.0,
        window=window,
        local=local,
        pooling="",
        activation=str(act),
        causal=causal,
    )


def _offset(config: Any) -> int:
    """The row of the table of positions that a text's first token takes: RoBERTa's stands behind the padding's."""
    return int(config.pad_token_id) + 1 if config.model_type == "xlm-roberta" else 0


def _describe(writer: GGUFWriter, model: TextEmbedder, shape: Shape, pooling: str, kinds: int) -> None:
    """The metadata; ``kinds``: sorts of text that a BERT knows."""
    architecture = shape.architecture
    writer.add_type("model")
    writer.add_name(model.name)
    if model.card.get("licence"):
        writer.add_license(str(model.card["licence"]))
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.width)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.inner)
    writer.add_head_count(shape.heads)
    writer.add_uint32(f"{architecture}.pooling_type", POOLING[pooling])
    if architecture in ("bert", "nomic-bert"):
        writer.add_token_type_count(kinds)
    if architecture in ("bert", "nomic-bert", "modern-bert"):
        writer.add_layer_norm_eps(shape.eps)
        writer.add_causal_attention(False)
    else:
        writer.add_layer_norm_rms_eps(shape.eps)
        writer.add_head_count_kv(shape.kv_heads)
        writer.add_key_length(shape.head_width)
        writer.add_value_length(shape.head_width)
        if not shape.causal:
            writer.add_causal_attention(False)
    if shape.rotary:
        writer.add_rope_freq_base(shape.base)
        writer.add_rope_dimension_count(shape.rotary)
    if shape.window:
        writer.add_sliding_window(shape.window)
        writer.add_rope_freq_base_swa(shape.local_base)
        writer.add_sliding_window_pattern(list(shape.local))
    if architecture == "modern-bert":
        writer.add_string(f"{architecture}.hidden_activation", shape.activation)


def _tensors(state: dict[str, Any], shape: Shape, offset: int, name: str) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """Every weight under its name in GGUF, places of texts from ``offset`` on; one that has no name is an error."""
    left = {key: value for key, value in state.items() if not key.startswith("pooler.") and "rotary_emb" not in key}
    left.pop("embeddings.position_ids", None)
    for pair in pairs(shape):
        if pair.theirs in left:
            array = left.pop(pair.theirs).detach().cpu().float().numpy()
            if pair.gguf == "position_embd.weight":
                array = array[offset : offset + shape.context]
            if pair.gguf == "token_types.weight":
                array = array.reshape(-1, shape.width)
            yield pair.gguf, np.ascontiguousarray(to_gguf(pair.gguf, array, shape))
    if left:
        raise WrongUse(
            f"gguf: {name} has weights that {shape.architecture} has no name for: {', '.join(list(left)[:3])}"
        )


def _add(writer: GGUFWriter, name: str, array: NDArray[np.float32], type: str) -> None:
    """One tensor in its type."""
    from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

    if array.ndim != 2 or name in ("position_embd.weight", "token_types.weight") or type == "F32":
        writer.add_tensor(name, array.astype(np.float32))
        return
    for kind in (type, *(("Q8_0",) if type == "Q4_K" else ())):
        if array.shape[1] % GGML_QUANT_SIZES[GGMLQuantizationType[kind]][0] == 0:
            break
    else:
        kind = "F32"
    if kind in FLOATS:
        writer.add_tensor(name, array.astype(np.float16 if kind == "F16" else np.float32))
        return
    writer.add_tensor(name, quantized(array, kind), raw_dtype=GGMLQuantizationType[kind])


def quantized(array: NDArray[np.float32], kind: str) -> NDArray[np.uint8]:
    """A matrix in blocks: by the package gguf, and Q4_K, which it only reads, by :func:`q4_k`."""
    from gguf import GGMLQuantizationType
    from gguf.quants import quantize

    if kind == "Q4_K":
        return q4_k(array)
    return np.ascontiguousarray(quantize(array, GGMLQuantizationType[kind]))


def q4_k(array: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Q4_K's blocks, uint8 ``[rows, in / 256 · 144]``: each 32 numbers x ≈ s · q − m with q of four bits, s and m of
    six bits times the block's own.

    s and m are first the range's, then, three times in turn, q is rounded to them and they are the least squares for q
    (m not below zero); what is best of these is kept.
    """
    x = array.reshape(-1, 8, 32).astype(np.float32)
    low = np.minimum(x.min(-1), 0)
    scale, least = (x.max(-1) - low) / 15, -low
    best, best_scale, best_least = np.full(scale.shape, np.inf, np.float32), scale, least
    for _ in range(4):
        codes = np.clip(np.rint((x + least[..., None]) / np.where(scale, scale, 1)[..., None]), 0, 15)
        error = ((codes * scale[..., None] - least[..., None] - x) ** 2).sum(-1)
        better = error < best
        best, best_scale, best_least = (
            np.where(better, new, old) for new, old in ((error, best), (scale, best_scale), (least, best_least))
        )
        mean, around = x.mean(-1), codes.mean(-1)
        spread = ((codes - around[..., None]) ** 2).sum(-1)
        slope = ((codes - around[..., None]) * (x - mean[..., None])).sum(-1) / np.where(spread, spread, 1)
        free = around * slope - mean
        alone = (codes * x).sum(-1) / np.maximum((codes**2).sum(-1), 1)
        scale = np.maximum(np.where(free >= 0, slope, alone), 0).astype(np.float32)
        least = np.maximum(free, 0).astype(np.float32)
    blocks = np.empty((len(x), 144), np.uint8)
    whole = np.stack([best_scale.max(-1), best_least.max(-1)], -1) / 63
    halves = whole.astype("<f2")
    blocks[:, :4] = halves.view(np.uint8)
    real = halves.astype(np.float32)
    six = [
        np.clip(np.rint(part / np.where(real[:, at], real[:, at], 1)[:, None]), 0, 63).astype(np.uint8)
        for at, part in enumerate((best_scale, best_least))
    ]
    scales, minima = six
    blocks[:, 4:8] = scales[:, :4] | scales[:, 4:] >> 4 << 6
    blocks[:, 8:12] = minima[:, :4] | minima[:, 4:] >> 4 << 6
    blocks[:, 12:16] = scales[:, 4:] & 15 | (minima[:, 4:] & 15) << 4
    scale = (real[:, :1] * scales)[..., None]
    codes = np.rint((x + (real[:, 1:] * minima)[..., None]) / np.where(scale, scale, 1))
    packed = np.clip(codes, 0, 15).astype(np.uint8).reshape(-1, 4, 2, 32)
    blocks[:, 16:] = (packed[:, :, 0] | packed[:, :, 1] << 4).reshape(-1, 128)
    return blocks.reshape(len(array), -1)


# --- the tokenizer ----------------------------------------------------------------------------------------------------


def _vocabulary(writer: GGUFWriter, words: Tokenizer, size: int, name: str) -> None:
    """The tokenizer as metadata: as many tokens as the table has rows."""
    told = json.loads(words.to_str())
    model = told["model"]
    tokens = [words.id_to_token(number) or f"[PAD{number}]" for number in range(size)]
    special = {each["id"]: each["special"] for each in told["added_tokens"]}
    sorts = [
        (Sort.CONTROL if special[number] else Sort.USER_DEFINED) if number in special else Sort.NORMAL
        for number in range(size)
    ]
    writers = {"WordPiece": _say_wordpiece, "BPE": _say_pairs, "Unigram": _say_unigram}
    if model["type"] not in writers:
        raise WrongUse(f"gguf: expected a tokenizer of WordPiece, pairs or unigrams, found {model['type']} in {name}")
    written = writers[model["type"]](writer, told, tokens, sorts, name)
    writer.add_token_list(written)
    writer.add_token_types([int(sort) for sort in sorts])
    ids = words.encode("a").ids
    bare = words.encode("a", add_special_tokens=False).ids
    at = ids.index(bare[0]) if bare and bare[0] in ids else 0
    before, behind = ids[:at], ids[at + len(bare) :]
    if len(before) > 1 or len(behind) > 1:
        raise WrongUse(f"gguf: expected at most one token before and one behind a text, found {before} and {behind}")
    wordpiece = model["type"] == "WordPiece"
    if before:
        writer.add_bos_token_id(before[0])
    if behind:
        writer.add_eos_token_id(behind[0])
        if wordpiece:
            writer.add_sep_token_id(behind[0])
    if wordpiece and before:
        writer.add_uint32("tokenizer.ggml.cls_token_id", before[0])
    writer.add_add_bos_token(bool(before))
    writer.add_add_eos_token(bool(behind))
    padding = (told.get("padding") or {}).get("pad_id")
    if padding is not None:
        writer.add_pad_token_id(int(padding))


def _say_wordpiece(
    writer: GGUFWriter, told: dict[str, Any], tokens: list[str], sorts: list[Any], name: str
) -> list[str]:
    normalizer = told.get("normalizer") or {}
    if normalizer.get("type") != "BertNormalizer" or told["model"]["continuing_subword_prefix"] != "##":
        raise WrongUse(f"gguf: expected {name}'s WordPiece with BERT's normaliser, found {normalizer.get('type')}")
    lower = bool(normalizer["lowercase"])
    accents = normalizer.get("strip_accents")
    writer.add_tokenizer_model("bert")
    writer.add_tokenizer_pre("default")
    writer.add_bool("tokenizer.ggml.normalizer.lowercase", lower)
    writer.add_bool("tokenizer.ggml.normalizer.strip_accents", lower if accents is None else bool(accents))
    writer.add_unk_token_id(tokens.index(told["model"]["unk_token"]))
    return [
        token
        if sort == Sort.CONTROL or (token.startswith("[") and token.endswith("]") and len(token) > 2)
        else token[2:]
        if token.startswith("##")
        else SPACE + token
        for token, sort in zip(tokens, sorts, strict=True)
    ]


def _say_pairs(writer: GGUFWriter, told: dict[str, Any], tokens: list[str], sorts: list[Any], name: str) -> list[str]:
    steps = told.get("pre_tokenizer") or {}
    steps = steps.get("pretokenizers", [steps])
    patterns = tuple(step["pattern"].get("Regex", "") for step in steps if step.get("type") == "Split")
    levels = [step for step in steps if step.get("type") == "ByteLevel"]
    if not levels:
        raise WrongUse(f"gguf: expected {name}'s pairs to be of bytes, found others")
    joins = [
        cut
        for cut, known in CUTS.items()
        if cut and (known.patterns == patterns or (not patterns and levels[0]["use_regex"] and cut == "gpt-2"))
    ]
    if not joins:
        raise WrongUse(f"gguf: expected {name} to cut texts in a way that the format has a name for, found {patterns}")
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(joins[0])
    merges = told["model"]["merges"]
    writer.add_token_merges([merge if isinstance(merge, str) else " ".join(merge) for merge in merges])
    return tokens


def _say_unigram(writer: GGUFWriter, told: dict[str, Any], tokens: list[str], sorts: list[Any], name: str) -> list[str]:
    import base64

    scores = dict(told["model"]["vocab"])
    normalizer = told.get("normalizer") or {}
    steps = normalizer.get("normalizers", [normalizer])
    charsmap = next((step["precompiled_charsmap"] for step in steps if step.get("type") == "Precompiled"), None)
    # the format's readers drop spaces around a text and all but one of a run
    unsaid = [
        step["type"] for step in steps if step.get("type") not in (None, "Precompiled", "Strip") and step != SPACES
    ]
    if unsaid:
        raise WrongUse(f"gguf: {name}'s tokenizer normalises by {', '.join(unsaid)}; the format says only a charsmap")
    writer.add_tokenizer_model("t5")
    writer.add_tokenizer_pre("default")
    writer.add_token_scores([float(scores.get(token, 0.0)) for token in tokens])
    writer.add_bool("tokenizer.ggml.remove_extra_whitespaces", True)
    writer.add_add_space_prefix(True)
    if charsmap:
        writer.add_precompiled_charsmap(base64.b64decode(charsmap))
    unknown = told["model"]["unk_id"]
    sorts[unknown] = Sort.UNKNOWN
    writer.add_unk_token_id(unknown)
    return tokens


# --- a copy with another pooling --------------------------------------------------------------------------------------


def _copied(model: Any, path: Path, pooling: str) -> None:
    """The file of a GGUF embedder again, its pooling said and its end-of-text token, where that was mended."""
    from gguf import GGMLQuantizationType, GGUFValueType, GGUFWriter

    from umekomi.models.engines.gguf.model import Opened

    opened = Opened(model.path, pooling or model.pooling, quiet=True)
    file, how = opened.file, opened.ways
    with whole_file(path) as temporary:
        writer = GGUFWriter(str(temporary), file.architecture)
        kinds = {
            bool: GGUFValueType.BOOL,
            int: GGUFValueType.INT64,
            float: GGUFValueType.FLOAT32,
            str: GGUFValueType.STRING,
        }
        own = {
            f"{file.architecture}.pooling_type": POOLING[how.pooling],
            **({"tokenizer.ggml.add_eos_token": True} if how.ends_in else {}),
        }
        if how.ends_in:
            own["tokenizer.ggml.eos_token_id"] = file.metadata["tokenizer.ggml.tokens"].index(how.ends_in)
        for key, value in (file.metadata | own).items():
            if key in ("general.architecture",) or key.startswith("split."):
                continue
            if isinstance(value, np.ndarray):
                writer.add_array(key, value.tobytes() if value.dtype.itemsize == 1 else value.tolist())
            elif isinstance(value, list):
                writer.add_array(key, value)
            elif type(value) is int and 0 <= value < 1 << 32:
                writer.add_uint32(key, value)
            else:
                writer.add_key_value(key, value, kinds[type(value)])
        for tensor in file.tensors.values():
            if tensor.type in ("F32", "F16"):
                values = tensor.data.view("<f4" if tensor.type == "F32" else "<f2").reshape(tensor.shape)
                writer.add_tensor(tensor.name, values)
            else:
                data = tensor.data.reshape(*tensor.shape[:-1], -1)
                writer.add_tensor(tensor.name, data, raw_dtype=GGMLQuantizationType[tensor.type])
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
