"""What each layer of a transformer text embedder holds: its vectors for any text, and the numbers of the paper "Layer
by Layer" (Skean et al., ICML 2025, arXiv 2502.02013), which are said to tell a good layer without labels."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from umekomi.data.augment import damaged
from umekomi.errors import WrongUse
from umekomi.models.cached import EmbedderProxy, refuse_options
from umekomi.parts import geometry
from umekomi.progress import Progress

if TYPE_CHECKING:
    from umekomi.contracts import Floats
    from umekomi.models.base import EmbedderBase
    from umekomi.models.text import TextEmbedder

METRICS = (
    "prompt entropy",
    "dataset entropy",
    "curvature",
    "effective rank",
    "InfoNCE",
    "LiDAR",
    "DiME",
    "alignment",
    "uniformity",
    "anisotropy",
)
"""What is measured at each layer. Lower is said to be better of InfoNCE, DiME and the entropies in the paper; which
sign holds is for the user's own data to say."""


class AllLayers:
    """A text embedder seen layer by layer: the network once, its pooling behind every hidden state (0: the
    embeddings)."""

    def __init__(self, embedder: EmbedderBase) -> None:
        if embedder.kind != "text":
            raise WrongUse(f"layers: expected a transformer text embedder, {embedder.name} is of kind {embedder.kind}")
        self.embedder = cast("TextEmbedder", embedder)
        self.model = self.embedder.model
        self.count = int(self.model.transformers_model.config.num_hidden_layers) + 1
        self.kept: dict[str, Any] = {}

    def batches(
        self, texts: Sequence[str], role: str | None, batch_size: int
    ) -> Iterator[tuple[list[int], dict[str, Any], Any]]:
        """(which texts, their features, hidden states of all layers), longest texts first."""
        import torch

        prompt = self.embedder.prompt(role) or ""
        order = sorted(range(len(texts)), key=lambda i: -len(texts[i]))
        network = self.model.transformers_model
        for start in range(0, len(order), batch_size):
            chosen = order[start : start + batch_size]
            features = self.model.preprocess([texts[i] for i in chosen], prompt=prompt)
            features = {
                name: value.to(self.model.device) if hasattr(value, "to") else value for name, value in features.items()
            }
            was = network.config.output_hidden_states
            network.config.output_hidden_states = True
            try:
                with torch.no_grad():
                    out = self.model[0](dict(features))
            finally:
                network.config.output_hidden_states = was
            yield (
                chosen,
                {**features, **{name: value for name, value in out.items() if name != "all_layer_embeddings"}},
                out["all_layer_embeddings"],
            )

    def encode(
        self, texts: Sequence[str], role: str | None = None, batch_size: int = 32, progress: bool = False
    ) -> Floats:
        """The finished vectors at every layer, float32 ``[layers, n, d]``; kept in memory for the next that asks."""
        import torch

        from umekomi.files import content_hash

        key = content_hash(role, list(texts))
        if key not in self.kept:
            out: Any = None
            with Progress(f"{self.embedder.name}: all layers", len(texts), "texts", progress) as bar:
                for chosen, features, states in self.batches(texts, role, batch_size):
                    for layer, state in enumerate(states):
                        layered = dict(features) | {"token_embeddings": state}
                        with torch.no_grad():
                            for module in list(self.model)[1:]:
                                layered = module(layered)
                        vectors = layered["sentence_embedding"].float().cpu().numpy()
                        if out is None:
                            out = np.zeros((self.count, len(texts), vectors.shape[1]), np.float32)
                        out[layer, chosen] = vectors
                    bar.advance(len(chosen))
            self.kept[key] = out if out is not None else np.zeros((self.count, 0, self.embedder.dimension), np.float32)
        return self.kept[key]

    def layer(self, number: int) -> OneLayer:
        """One layer as an embedder."""
        return OneLayer(self, number)


class OneLayer(EmbedderProxy):
    """One layer's vectors with the face of an embedder: what tasks judge."""

    def __init__(self, layers: AllLayers, number: int) -> None:
        self.layers, self.number, self.embedder = layers, number, layers.embedder
        self.name = f"{layers.embedder.name}, layer {number}"

    def encode(
        self,
        items: Sequence[str],
        *,
        role: str | None = None,
        batch_size: int = 32,
        progress: bool = False,
        **options: Any,
    ) -> Floats:
        """The layer's vectors, float32 ``[n, d]``."""
        refuse_options(options, self.name)
        return self.layers.encode(list(items), role, batch_size, progress)[self.number]


def cut_layers(embedder: TextEmbedder, layers: int) -> TextEmbedder:
    """A copy with the first ``layers`` transformer layers alone, its pooling (and, where the network has one, its last
    norm) behind them: an embedder as any other. A pooling that mixes all layers cannot be cut."""
    from umekomi.models.text import TextEmbedder

    most = AllLayers(embedder).count - 1
    if not 1 <= layers <= most:
        raise WrongUse(f"{embedder.name} has {most} layers: expected 1 to {most}, found {layers}")
    if any(type(module).__name__ == "LayerMix" for module in embedder.model):
        raise WrongUse(f"{embedder.name} mixes all of its layers: none can be left out")
    model = copy.deepcopy(embedder.model)
    network = model.transformers_model
    holder = next(
        (
            part
            for part in (network, *network.children())
            if type(getattr(part, "layer", getattr(part, "layers", None))).__name__ == "ModuleList"
        ),
        None,
    )
    if holder is None:
        raise WrongUse(
            f"{embedder.name}: {type(network).__name__} keeps its layers where none were expected (layer or layers)"
        )
    name = "layer" if hasattr(holder, "layer") else "layers"
    setattr(holder, name, getattr(holder, name)[:layers])
    network.config.num_hidden_layers = layers
    if getattr(network.config, "layer_types", None):
        network.config.layer_types = list(network.config.layer_types)[:layers]
    return TextEmbedder(
        model, f"{embedder.name}-{layers}-layers", embedder.card | {"start": embedder.name, "layers": layers}
    )


def measure(
    layers: AllLayers,
    texts: Sequence[str],
    *,
    role: str | None = None,
    repository: bool = False,
    views: int = 4,
    seed: int = 0,
    batch_size: int = 32,
    progress: bool = False,
) -> list[dict[str, float]]:
    """The :data:`METRICS` of each layer on ``texts``, by name. Token-wise numbers leave padding out, and special tokens
    in, as the paper does.

    Args:
        layers: the embedder, layer by layer.
        texts: measured on.
        role: whose prompt is put before them.
        repository: takes the released code's definitions where they differ from the paper's.
        views: augmentations of each text: two of them for InfoNCE, DiME and alignment, all for LiDAR; the paper takes
            16.
        seed: of the augmentations.
        batch_size: items that are encoded at once.
        progress: shows a bar.
    """
    if len(texts) < 3:
        raise WrongUse(f"layers: expected three texts or more, found {len(texts)}")
    if views < 2:
        raise WrongUse(f"layers: expected two views of each text or more, found {views}")
    entropies, curves, means = ([[] for _ in range(layers.count)] for _ in range(3))  # type: ignore[var-annotated]
    seen: list[list[Any]] = [[] for _ in range(layers.count)]
    damage = [[damaged(text, seed * views + view) for text in texts] for view in range(views)]
    with Progress("layers: token by token", len(texts) * (views + 1), "texts", progress) as bar:
        for view, some in enumerate([list(texts), *damage]):
            held: list[Any] = [None] * layers.count
            for chosen, features, states in layers.batches(some, role, batch_size):
                mask = features["attention_mask"].bool().cpu().numpy()
                for number, state in enumerate(states):
                    block = state.float().cpu().numpy()
                    if held[number] is None:
                        held[number] = np.zeros((len(some), block.shape[2]))
                    for place, kept, tokens in zip(chosen, mask, block, strict=True):
                        rows = tokens[kept]
                        held[number][place] = geometry.residual(rows).mean(0) if repository else rows.mean(0)
                        if view == 0:
                            entropies[number].append(geometry.prompt_entropy(rows, repository=repository))
                            curves[number].append(geometry.curvature(rows, repository=repository))
                bar.advance(len(chosen))
            for number in range(layers.count):
                (means if view == 0 else seen)[number].append(held[number])
    out = []
    with Progress("layers: text by text", layers.count, "layers", progress) as bar:
        for number in range(layers.count):
            whole, twice = means[number][0], seen[number]
            out.append(
                {
                    "prompt entropy": float(np.mean(entropies[number])),
                    "dataset entropy": geometry.matrix_entropy(whole),
                    "curvature": float(np.nanmean(curves[number]))
                    if np.isfinite(curves[number]).any()
                    else float("nan"),
                    "effective rank": geometry.effective_rank(whole),
                    "InfoNCE": geometry.info_nce_of(twice[0], twice[1], repository=repository),
                    "LiDAR": geometry.lidar(np.stack(twice, 1)),
                    "DiME": geometry.dime(twice[0], twice[1], seed=seed, repository=repository),
                    "alignment": geometry.alignment(twice[0], twice[1]),
                    "uniformity": geometry.uniformity(whole),
                    "anisotropy": geometry.anisotropy(whole),
                }
            )
            bar.advance(1)
    return out
