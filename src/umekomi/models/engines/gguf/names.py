"""How GGUF and transformers name the weights of one network, for each architecture; what differs beside the names."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from umekomi.models.engines.gguf.shape import Shape

_BERT = {
    "token_embd.weight": "embeddings.word_embeddings.weight",
    "position_embd.weight": "embeddings.position_embeddings.weight",
    "token_types.weight": "embeddings.token_type_embeddings.weight",
    "token_embd_norm": "embeddings.LayerNorm",
    "blk.#.attn_q": "encoder.layer.#.attention.self.query",
    "blk.#.attn_k": "encoder.layer.#.attention.self.key",
    "blk.#.attn_v": "encoder.layer.#.attention.self.value",
    "blk.#.attn_output": "encoder.layer.#.attention.output.dense",
    "blk.#.attn_output_norm": "encoder.layer.#.attention.output.LayerNorm",
    "blk.#.ffn_up": "encoder.layer.#.intermediate.dense",
    "blk.#.ffn_down": "encoder.layer.#.output.dense",
    "blk.#.layer_output_norm": "encoder.layer.#.output.LayerNorm",
}
_NOMIC = {
    "token_embd.weight": "embeddings.word_embeddings.weight",
    "token_types.weight": "embeddings.token_type_embeddings.weight",
    "token_embd_norm": "embeddings.LayerNorm",
    "blk.#.attn_q.weight": "layers.#.self_attn.q_proj.weight",
    "blk.#.attn_k.weight": "layers.#.self_attn.k_proj.weight",
    "blk.#.attn_v.weight": "layers.#.self_attn.v_proj.weight",
    "blk.#.attn_output.weight": "layers.#.self_attn.o_proj.weight",
    "blk.#.attn_output_norm": "layers.#.post_attention_layernorm",
    "blk.#.ffn_up.weight": "layers.#.mlp.up_proj.weight",
    "blk.#.ffn_gate.weight": "layers.#.mlp.gate_proj.weight",
    "blk.#.ffn_down.weight": "layers.#.mlp.down_proj.weight",
    "blk.#.layer_output_norm": "layers.#.post_mlp_layernorm",
}
_MODERN = {
    "token_embd.weight": "embeddings.tok_embeddings.weight",
    "token_embd_norm.weight": "embeddings.norm.weight",
    "output_norm.weight": "final_norm.weight",
    "blk.#.attn_norm.weight": "layers.#.attn_norm.weight",
    "blk.#.attn_qkv.weight": "layers.#.attn.Wqkv.weight",
    "blk.#.attn_output.weight": "layers.#.attn.Wo.weight",
    "blk.#.ffn_norm.weight": "layers.#.mlp_norm.weight",
    "blk.#.ffn_up.weight": "layers.#.mlp.Wi.weight",
    "blk.#.ffn_down.weight": "layers.#.mlp.Wo.weight",
}
_DECODER = {
    "token_embd.weight": "embed_tokens.weight",
    "output_norm.weight": "norm.weight",
    "blk.#.attn_norm.weight": "layers.#.input_layernorm.weight",
    "blk.#.attn_q": "layers.#.self_attn.q_proj",
    "blk.#.attn_k": "layers.#.self_attn.k_proj",
    "blk.#.attn_v": "layers.#.self_attn.v_proj",
    "blk.#.attn_output": "layers.#.self_attn.o_proj",
    "blk.#.attn_q_norm.weight": "layers.#.self_attn.q_norm.weight",
    "blk.#.attn_k_norm.weight": "layers.#.self_attn.k_norm.weight",
    "blk.#.ffn_norm.weight": "layers.#.post_attention_layernorm.weight",
    "blk.#.ffn_up": "layers.#.mlp.up_proj",
    "blk.#.ffn_gate": "layers.#.mlp.gate_proj",
    "blk.#.ffn_down": "layers.#.mlp.down_proj",
}
_GEMMA = _DECODER | {
    "blk.#.post_attention_norm.weight": "layers.#.post_attention_layernorm.weight",
    "blk.#.ffn_norm.weight": "layers.#.pre_feedforward_layernorm.weight",
    "blk.#.post_ffw_norm.weight": "layers.#.post_feedforward_layernorm.weight",
}
_ALL = {
    "bert": _BERT,
    "nomic-bert": _NOMIC,
    "modern-bert": _MODERN,
    "gemma3": _GEMMA,
    "gemma-embedding": _GEMMA,
    **dict.fromkeys(("llama", "qwen2", "qwen3"), _DECODER),
}


class Pair(NamedTuple):
    """One weight's two names."""

    gguf: str
    theirs: str


def pairs(shape: Shape) -> Iterator[Pair]:
    """Every weight that a network of this shape may have. Where a file names no ``.weight`` or ``.bias``, both are
    given."""
    for ours, theirs in _ALL[shape.architecture].items():
        for layer in range(shape.layers) if "#" in ours else (0,):
            names = ours.replace("#", str(layer)), theirs.replace("#", str(layer))
            if ours.endswith(".weight"):
                yield Pair(*names)
            else:
                yield from (Pair(f"{names[0]}.{end}", f"{names[1]}.{end}") for end in ("weight", "bias"))


def to_theirs(name: str, array: NDArray[np.float32], shape: Shape) -> NDArray[np.float32]:
    """A weight as transformers has it. Gemma's norms multiply by 1 + w there; Llama's queries and keys rotate halves,
    which stand side by side in GGUF."""
    if shape.gemma and name.endswith("norm.weight"):
        return array - 1
    heads = _rotated(name, shape)
    return array if not heads else _swapped(array, heads, 2, shape)


def to_gguf(name: str, array: NDArray[np.float32], shape: Shape) -> NDArray[np.float32]:
    """The other way."""
    if shape.gemma and name.endswith("norm.weight"):
        return array + 1
    heads = _rotated(name, shape)
    return array if not heads else _swapped(array, heads, shape.head_width // 2, shape)


def _rotated(name: str, shape: Shape) -> int:
    """The heads of a weight whose rows stand in another order; else none."""
    if shape.architecture != "llama":
        return 0
    part = name.split(".")[2] if name.startswith("blk.") else ""
    return {"attn_q": shape.heads, "attn_k": shape.kv_heads}.get(part, 0)


def _swapped(array: NDArray[np.float32], heads: int, inner: int, shape: Shape) -> NDArray[np.float32]:
    split = array.reshape(heads, shape.head_width // inner, inner, -1)
    return np.ascontiguousarray(split.swapaxes(1, 2).reshape(array.shape))
