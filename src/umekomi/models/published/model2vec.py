"""model2vec's folders (Minish Lab, model type ``model2vec``): a static table, read without its library.

A text's vector there is the mean over its tokens, without unknown ones, of ``embeddings[mapping[token]] ·
weights[token]`` (``mapping`` and ``weights`` where a folder has them), brought to length one where ``normalize`` says
so. All three are folded into one table here, the unknown token's row is zero, and a Normalise stands behind it; texts
are not cut after 512 tokens, as there they are.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from umekomi.errors import DataError
from umekomi.models.borders import reading
from umekomi.models.folders import most_tokens, read_arrays, read_object, read_tokenizer
from umekomi.models.static import StaticEmbedder

if TYPE_CHECKING:
    from umekomi.models.base import EmbedderBase


def model2vec(folder: Path, name: str) -> EmbedderBase:
    """The static embedder of a model2vec folder."""
    import json

    from umekomi.transforms.linear import Normalise

    config = read_object(folder / "config.json")
    tokenizer = read_tokenizer(folder / "tokenizer.json")
    file = folder / "model.safetensors"
    arrays = read_arrays(file, "embeddings")
    table, count = arrays["embeddings"], most_tokens(tokenizer)
    mapping = arrays.get("mapping", np.arange(len(table)))
    weights = arrays.get("weights", np.ones(len(mapping), np.float32))
    whole = table.ndim == 2 and mapping.ndim == weights.ndim == 1 and mapping.dtype.kind in "iu"
    if not whole or min(len(mapping), len(weights)) < count or not ((mapping >= 0) & (mapping < len(table))).all():
        raise DataError(
            f"{file}: expected vectors for the {count} tokens of tokenizer.json, found embeddings of shape "
            f"{list(table.shape)}, a mapping of {list(mapping.shape)} and weights of {list(weights.shape)}"
        )
    folded = table[mapping[:count]].astype(np.float32) * weights[:count, None].astype(np.float32)
    with reading(folder / "tokenizer.json"):
        words = json.loads(tokenizer.to_str())["model"]
        unknown = words.get("unk_token")
        place = tokenizer.token_to_id(unknown) if isinstance(unknown, str) else words.get("unk_id")
    if place is not None:
        folded[place] = 0
    model = StaticEmbedder(tokenizer, folded, name)
    return model.with_transform(Normalise()) if config.get("normalize") else model
