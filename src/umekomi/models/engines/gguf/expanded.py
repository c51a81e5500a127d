"""A GGUF file as a text embedder in torch, its weights expanded to float32: the reference that the engine is held
against, what ``--engine torch`` runs, and the way from GGUF to a folder that trains."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from umekomi.errors import DataError, MissingExtra, WrongUse
from umekomi.files import write_json
from umekomi.models.engines.gguf.blocks import expand
from umekomi.models.engines.gguf.graph import IGNORED, SLOWED, SPEEDS, divisors
from umekomi.models.engines.gguf.model import Opened
from umekomi.models.engines.gguf.names import pairs, to_theirs

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from umekomi.models.text import TextEmbedder

POOLING = {"mean": "mean", "cls": "cls", "last": "lasttoken"}
NETWORKS = {
    "bert": ("bert", "BertModel"),
    "nomic-bert": ("nomic_bert", "NomicBertModel"),
    "modern-bert": ("modernbert", "ModernBertModel"),
    "gemma-embedding": ("gemma3_text", "Gemma3TextModel"),
    "gemma3": ("gemma3_text", "Gemma3TextModel"),
    "llama": ("llama", "LlamaModel"),
    "qwen2": ("qwen2", "Qwen2Model"),
    "qwen3": ("qwen3", "Qwen3Model"),
}
"""Architectures, and transformers' model type and class."""


def read_expanded(path: str | Path, pooling: str = "") -> TextEmbedder:
    """The file's network in torch, in float32, with pooling and normalisation behind it. Needs the neural extra."""
    try:
        import torch
        from safetensors.numpy import save_file
        from sentence_transformers import SentenceTransformer
        from sentence_transformers.base.modules import Dense, Normalize
        from sentence_transformers.sentence_transformer.modules import Pooling
        from transformers import PreTrainedTokenizerFast
    except ImportError as error:
        raise MissingExtra(error.name or "sentence-transformers", "neural", f"expanding {path}") from None
    from umekomi.models.borders import border
    from umekomi.models.text import TextEmbedder, device
    from umekomi.parts.pooling import WholeTransformer

    opened = Opened(path, pooling)
    shape, file = opened.shape, opened.file
    words = opened.tokenizer()
    pad = file.metadata.get("tokenizer.ggml.padding_token_id", file.metadata.get("tokenizer.ggml.eos_token_id", 0))
    named = words.id_to_token(int(pad)) or words.id_to_token(0)
    fast = PreTrainedTokenizerFast(tokenizer_object=words, pad_token=named, model_max_length=shape.context)
    with tempfile.TemporaryDirectory() as scratch, border(str(path), DataError):
        place = Path(scratch)
        config = configuration(opened)
        if shape.architecture in ("llama", "qwen3"):
            config |= {"attention_bias": _biases(opened, ".attn_"), "mlp_bias": _biases(opened, ".ffn_")}
        write_json(place / "config.json", config)
        save_file(_weights(opened), place / "model.safetensors", metadata={"format": "pt"})
        fast.save_pretrained(place)
        network = WholeTransformer(
            str(place),
            max_seq_length=shape.context,
            model_kwargs={"dtype": "float32", "use_safetensors": True, "local_files_only": True},
            config_kwargs={"local_files_only": True},
        )
    network.tokenizer.padding_side = "right"
    modules: list[Any] = [network, Pooling(shape.width, POOLING[shape.pooling])]
    for name in ("dense_2.weight", "dense_3.weight"):
        if name in file.tensors:
            matrix = torch.from_numpy(expand(file.tensor(name)))
            dense = Dense(matrix.shape[1], matrix.shape[0], bias=False, activation_function=torch.nn.Identity())
            dense.linear.weight.data.copy_(matrix)
            modules.append(dense)
    prompts = opened.prompts or None
    model = SentenceTransformer(modules=[*modules, Normalize()], prompts=prompts, device=device())
    return TextEmbedder(model, opened.name, opened.card)


def _kinds(opened: Opened) -> int:
    """How many sorts of text a BERT knows."""
    if "token_types.weight" not in opened.file.tensors:
        return 1
    tensor = opened.file.tensor("token_types.weight")
    return int(np.prod(tensor.shape)) // opened.shape.width


def _weights(opened: Opened) -> dict[str, NDArray[np.float32]]:
    """Every weight of the network under transformers' names, in their shapes."""
    file, shape = opened.file, opened.shape
    weights: dict[str, NDArray[np.float32]] = {}
    used = {"dense_2.weight", "dense_3.weight", *IGNORED, *([SPEEDS] if shape.architecture in SLOWED else [])}
    for name, theirs in pairs(shape):
        if name in file.tensors:
            used.add(name)
            array = expand(file.tensor(name))
            weights[theirs] = to_theirs(
                name, array.reshape(-1, shape.width) if name == "token_types.weight" else array, shape
            )
    if shape.architecture in ("bert", "nomic-bert"):
        if "token_types.weight" not in file.tensors:
            weights["embeddings.token_type_embeddings.weight"] = np.zeros((1, shape.width), np.float32)
        for layer in range(shape.layers):  # some files hold queries, keys and values as one
            joined = f"blk.{layer}.attn_qkv"
            target = {"bert": "encoder.layer.{}.attention.self.{}", "nomic-bert": "layers.{}.self_attn.{}_proj"}
            names = ("query", "key", "value") if shape.architecture == "bert" else "qkv"
            for end in ("weight", "bias"):
                if f"{joined}.{end}" in file.tensors:
                    used.add(f"{joined}.{end}")
                    thirds = np.split(expand(file.tensor(f"{joined}.{end}")), 3)
                    for name, third in zip(names, thirds, strict=True):
                        key = f"{target[shape.architecture].format(layer, name)}.{end}"
                        weights[key] = np.ascontiguousarray(third)
    for name, theirs in pairs(shape):  # what the file leaves out is nothing, where the network has a place for it
        if name.endswith(".bias") and name not in file.tensors and theirs not in weights and _has_place(name, opened):
            weights[theirs] = np.zeros(len(weights[theirs.removesuffix("bias") + "weight"]), np.float32)
    strange = [name for name in file.tensors if name not in used]
    if strange:
        raise WrongUse(f"{file.path}: expected the tensors of {shape.architecture}, found {strange[0]}")
    return weights


def _biases(opened: Opened, *parts: str) -> bool:
    """Has the file a bias in any of these parts of a layer?"""
    return any(name.endswith(".bias") and any(part in name for part in parts) for name in opened.file.tensors)


def _has_place(name: str, opened: Opened) -> bool:
    """Has transformers' network this bias, whether or not the file has it?"""
    architecture = opened.shape.architecture
    if architecture in ("bert", "nomic-bert"):
        return True
    if architecture == "qwen2":
        return any(part in name for part in ("attn_q.", "attn_k.", "attn_v."))
    part = ".attn_" if ".attn_" in name else ".ffn_"
    return "norm" not in name and _biases(opened, part)


def configuration(opened: Opened) -> dict[str, Any]:
    """``config.json`` of transformers for a file's network.

    Raises:
        WrongUse: where a head's numbers are rotated in part, which transformers' networks of these kinds do not do.
    """
    shape = opened.shape
    kind, name = NETWORKS[shape.architecture]
    if shape.rotary not in (0, shape.head_width):
        raise WrongUse(
            f"{opened.file.path}: expected all {shape.head_width} numbers of a head to be rotated, as torch's network "
            f"does it, found {shape.architecture}.rope.dimension_count {shape.rotary}: open it by another engine"
        )
    config: dict[str, Any] = {
        "model_type": kind,
        "architectures": [name],
        "vocab_size": shape.vocabulary,
        "hidden_size": shape.width,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "intermediate_size": shape.inner,
        "max_position_embeddings": shape.context,
        "pad_token_id": 0,
        "bos_token_id": None,
        "eos_token_id": None,
        "dtype": "float32",
    }
    turn: dict[str, Any] = {"rope_type": "default", "rope_theta": shape.base}
    divided = divisors(opened.file, shape).tolist()
    if len(set(divided)) > 1:
        turn |= {"rope_type": "longrope", "short_factor": divided, "long_factor": divided}
        turn |= {"factor": 1.0, "attention_factor": 1.0, "original_max_position_embeddings": shape.context}
    elif divided and divided[0] != 1:
        turn |= {"rope_type": "linear", "factor": divided[0]}
    both = {"full_attention": turn, "sliding_attention": {"rope_type": "default", "rope_theta": shape.local_base}}
    sees = [("full_attention", "sliding_attention")[local] for local in shape.local]
    if shape.architecture in ("bert", "nomic-bert"):
        config |= {"type_vocab_size": _kinds(opened), "layer_norm_eps": shape.eps}
        config |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
        if shape.rotary:
            config |= {"rope_parameters": turn, "head_dim": shape.head_width}
        return config
    if shape.architecture == "modern-bert":
        return config | {
            "norm_eps": shape.eps,
            "rope_parameters": both,
            "layer_types": sees,
            "local_attention": shape.window or shape.context,
            "hidden_activation": shape.activation,
        }
    config |= {
        "num_key_value_heads": shape.kv_heads,
        "head_dim": shape.head_width,
        "rms_norm_eps": shape.eps,
        "rope_parameters": both if shape.gemma else turn,
        "tie_word_embeddings": True,
    }
    if shape.gemma:
        config |= {"sliding_window": shape.window or shape.context, "layer_types": sees}
        config |= {"query_pre_attn_scalar": shape.head_width, "use_bidirectional_attention": not shape.causal}
    elif not shape.causal:
        config |= {"is_causal": False}
    return config
