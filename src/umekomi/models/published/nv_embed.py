"""Published folders whose own code umekomi does not run: NV-Embed's (model type ``nvembed``), read by its shapes into
the house's layers."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from umekomi.errors import WrongUse
from umekomi.files import read_json, write_json

if TYPE_CHECKING:
    from sentence_transformers.base.modules import Transformer

    from umekomi.models.text import TextEmbedder

TRUNK, HEAD = "embedding_model.", "latent_attention_model."
PARTS = {
    "latents": "dictionary",
    "cross_attend_blocks.0.fn.to_q.weight": "ask.weight",
    "cross_attend_blocks.0.fn.to_kv.weight": "answer.weight",
    "cross_attend_blocks.0.fn.to_out.weight": "join.weight",
    "cross_attend_blocks.0.norm.weight": "token_norm.weight",
    "cross_attend_blocks.0.norm.bias": "token_norm.bias",
    "cross_attend_blocks.0.norm_context.weight": "latent_norm.weight",
    "cross_attend_blocks.0.norm_context.bias": "latent_norm.bias",
    "cross_attend_blocks.1.norm.weight": "norm.weight",
    "cross_attend_blocks.1.norm.bias": "norm.bias",
    "cross_attend_blocks.1.fn.net.0.weight": "widen.weight",
    "cross_attend_blocks.1.fn.net.0.bias": "widen.bias",
    "cross_attend_blocks.1.fn.net.2.weight": "narrow.weight",
    "cross_attend_blocks.1.fn.net.2.bias": "narrow.bias",
}
"""The published head's weights and ours. The shapes are read from the published code; the names of the weights are
recalled, and one that is missing is an error that lists what is there."""
QUERY = "Instruct: Given a question, retrieve passages that answer the question\nQuery: "


def nv_embed(folder: Path, name: str) -> TextEmbedder:
    """NV-Embed-v1 or -v2 from its folder: Mistral without its causal mask, latent attention as released, mean over what
    is not instruction, length one. An end-of-text token is added to every text, behind whatever truncation leaves."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Normalize
    from transformers import AutoTokenizer

    from umekomi.models.text import TextEmbedder, device
    from umekomi.parts.networks import as_filed, with_eos
    from umekomi.parts.pooling import InstructedTransformer, LatentAttention, WithoutPrompt

    config = read_json(folder / "config.json")
    try:
        trunk, latent = dict(config["text_config"]), dict(config["latent_attention_config"])
        shape = {
            "dimension": latent["latent_dim"],
            "latents": latent["num_latents_value"],
            "heads": latent["num_cross_heads"],
        }
        shape |= {"head_width": latent["cross_dim_head"], "expansion": latent.get("mult", 4)}
    except KeyError as error:
        raise WrongUse(
            f"{folder / 'config.json'}: expected NV-Embed's text_config and latent_attention_config, found no {error}"
        ) from None
    shards = sorted(folder.glob("*.safetensors"))
    index = folder / "model.safetensors.index.json"
    wanted = set(read_json(index)["weight_map"].values()) if index.is_file() else set()
    missing = sorted(wanted - {shard.name for shard in shards})
    if missing or not shards:
        raise WrongUse(
            f"{folder}: expected weights in safetensors, {', '.join(missing) or 'model.safetensors'} is not there"
        )
    dtype = str(config.get("torch_dtype") or config.get("dtype") or "float32")
    trunk |= {
        "model_type": "mistral",
        "architectures": ["MistralModel"],
        "is_causal": False,
        "sliding_window": None,
        "dtype": dtype,
    }
    words = as_filed(AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False))
    words.padding_side = "right"
    if words.pad_token is None:
        words.pad_token = words.eos_token
    with tempfile.TemporaryDirectory() as scratch, quiet():
        # the trunk's own folder: a configuration of Mistral's, the weights by links, nothing that runs
        place = Path(scratch)
        write_json(place / "config.json", trunk)
        for file in [*shards, *folder.glob("*.safetensors.index.json")]:
            (place / file.name).symlink_to(file.resolve())
        with_eos(words).save_pretrained(place)
        network = InstructedTransformer(
            str(place),
            max_seq_length=int(trunk.get("max_position_embeddings", 4096)),
            model_kwargs={"key_mapping": {f"^{re.escape(TRUNK)}": ""}, "dtype": dtype, "use_safetensors": True},
            config_kwargs={"local_files_only": True},
        )
    _whole(network, shards, folder)
    # else transformers writes the weights back under the names they were read by
    network.auto_model._weight_conversions = []
    pooling = LatentAttention(**shape, form="released")
    pooling.load_state_dict(_head(shards, folder))
    pooling.to(getattr(torch, dtype))
    modules = [network, WithoutPrompt(), pooling, Normalize()]
    model = SentenceTransformer(modules=modules, prompts={"query": QUERY, "document": ""}, device=device())
    return TextEmbedder(model, name, {"licence": "CC-BY-NC-4.0"})


@contextmanager
def quiet() -> Iterator[None]:
    """The head's weights are no part of the trunk: transformers would list each as unexpected. What the trunk lacks is
    still an error below."""
    from transformers.utils import logging

    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)


def _whole(network: Transformer, shards: list[Path], folder: Path) -> None:
    """Every weight of the trunk is in the files."""
    from safetensors import safe_open

    there: set[str] = set()
    for shard in shards:
        with safe_open(shard, "pt") as weights:
            there |= {key.removeprefix(TRUNK) for key in weights.keys() if key.startswith(TRUNK)}  # noqa: SIM118
    lacking = [name for name in network.auto_model.state_dict() if name not in there]
    if lacking:
        raise WrongUse(
            f"{folder}: expected all of the trunk's weights under {TRUNK}, {len(lacking)} are not there, {lacking[0]} "
            "first"
        )


def _head(shards: list[Path], folder: Path) -> dict[str, Any]:
    from safetensors import safe_open

    arrays = {}
    for shard in shards:
        with safe_open(shard, "pt") as weights:
            for key in weights.keys():  # noqa: SIM118 - a safetensors file, not a mapping
                if key.startswith(HEAD):
                    arrays[key.removeprefix(HEAD)] = weights.get_tensor(key)
    missing = [name for name in PARTS if name not in arrays]
    if missing:
        raise WrongUse(
            f"{folder}: expected the weights {', '.join(missing)} under {HEAD}, found "
            f"{', '.join(sorted(arrays)) or 'none'}"
        )
    return {PARTS[name]: arrays[name] for name in PARTS}
