"""Pooling layers that sentence-transformers lacks, as its modules. :data:`LAYERS` is the allow-list of
:func:`umekomi.load`: the only classes outside sentence-transformers that a folder may name.

All take ``token_embeddings`` ``[batch, tokens, dim]`` and ``attention_mask`` ``[batch, tokens]``, wherever the padding
stands, and give ``sentence_embedding`` ``[batch, dim]``, the same whatever else is in the batch.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import torch
from sentence_transformers.base.modules import Module, Transformer
from sentence_transformers.base.modules.transformer import TRANSFORMER_TASK_TO_AUTO_MODEL
from torch import Tensor, nn
from torch.nn import functional

from umekomi.errors import WrongUse
from umekomi.parts.networks import check_size, check_weights

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel


class Layer(Module):
    """A module that saves its settings, and its weights where it has any."""

    def save(self, output_path: str, *args: object, safe_serialization: bool = True, **kwargs: object) -> None:
        """Write the configuration, and the weights as safetensors."""
        self.save_config(output_path)
        if any(True for _ in self.parameters()):
            self.save_torch_weights(output_path, safe_serialization=True)

    @classmethod
    def load(cls, model_name_or_path: str, subfolder: str = "", **kwargs: Any) -> Self:
        """Read what :meth:`save` wrote."""
        hub = {name: kwargs.get(name) for name in ("token", "cache_folder", "revision")} | {
            "local_files_only": kwargs.get("local_files_only", False)
        }
        layer = cls(**cls.load_config(model_name_or_path, subfolder=subfolder, **hub))
        if any(True for _ in layer.parameters()):
            cls.load_torch_weights(model_name_or_path, subfolder=subfolder, model=layer, **hub)
        return layer


def _mask(features: dict[str, Any]) -> Tensor:
    """bool ``[batch, tokens]``: the tokens to pool."""
    if "cu_seq_lens_q" in features:
        raise WrongUse("umekomi's pooling layers take padded batches: load the model with unpad_inputs=False")
    return features["attention_mask"].bool()  # type: ignore[no-any-return]


def masked_mean(tokens: Tensor, mask: Tensor) -> Tensor:
    """Mean over the tokens of ``mask``: ``[batch, tokens, dim]`` and bool ``[batch, tokens]`` in, ``[batch, dim]`` out,
    in the tokens' own type, summed in float32 at least."""
    wide = tokens.float() if tokens.dtype in (torch.float16, torch.bfloat16) else tokens
    weights = mask.unsqueeze(-1).to(wide.dtype)
    return ((wide * weights).sum(1) / weights.sum(1).clamp(min=1)).to(tokens.dtype)


class TailMean(Layer):
    """Mean over the last ``share`` of a text's real tokens, at least one: between last-token pooling and the mean, for
    backbones whose late tokens have read the most."""

    config_keys: ClassVar[list[str]] = ["dimension", "share"]

    def __init__(self, dimension: int, share: float = 0.5) -> None:
        super().__init__()
        if not 0 < share <= 1:
            raise ValueError(f"share: expected more than 0 and at most 1, found {share}")
        self.dimension, self.share = dimension, share

    def forward(self, features: dict[str, Any], **kwargs: object) -> dict[str, Any]:
        """Pool the tail of every text."""
        mask = _mask(features)
        count = mask.sum(1, keepdim=True)
        kept = torch.clamp((count * self.share).ceil().to(torch.int64), min=1)
        features["sentence_embedding"] = masked_mean(
            features["token_embeddings"], mask & (mask.cumsum(1) > count - kept)
        )
        return features

    def get_embedding_dimension(self) -> int:
        """Width of what comes out."""
        return self.dimension


class WithoutPrompt(Layer):
    """Leaves instruction tokens out of whatever pools behind it: they are read by the network, not averaged (NV-Embed,
    section 4).

    ``prompt_length`` (an int, or ``[batch]`` where every text has its own instruction) counts tokens from the first
    real one. ``offset`` is added to it. NV-Embed's released code counts the instruction without its first special
    token, and its template ends in a space, which joins the text's first word: the two cancel, and what it leaves out
    is what is left out here. A text of nothing but its instruction is pooled whole.
    """

    config_keys: ClassVar[list[str]] = ["offset"]

    def __init__(self, offset: int = 0) -> None:
        super().__init__()
        self.offset = offset

    def forward(self, features: dict[str, Any], **kwargs: object) -> dict[str, Any]:
        """Take the instruction's tokens out of the mask, in a copy."""
        length = features.get("prompt_length")
        if length is None:
            return features
        mask = _mask(features)
        wanted = torch.as_tensor(length, device=mask.device).reshape(-1, 1) + self.offset
        rest = mask & (mask.cumsum(1) > wanted.clamp(min=0))
        rest = torch.where(rest.any(1, keepdim=True), rest, mask)
        features["attention_mask"] = rest.to(features["attention_mask"].dtype)
        return features


class WholeTransformer(Transformer):
    """sentence-transformers' network, refused where its folder lacks weights that it needs or holds layers that its
    configuration leaves out: transformers would draw the first at random and drop the second. Once it is read it is a
    plain ``Transformer``."""

    def _load_model(
        self, model_name_or_path: str, transformer_task: str, config: PretrainedConfig, *args: object, **kwargs: Any
    ) -> PreTrainedModel:
        folder = Path(model_name_or_path, kwargs.get("subfolder") or "")
        known = TRANSFORMER_TASK_TO_AUTO_MODEL.get(transformer_task)
        if known is not None:
            check_size(lambda: known.from_config(config), folder)
        load = super()._load_model
        model, report = load(model_name_or_path, transformer_task, config, *args, output_loading_info=True, **kwargs)
        check_weights(model, report, folder)
        if type(self) is WholeTransformer:
            self.__class__ = Transformer
        return model


class InstructedTransformer(WholeTransformer):
    """sentence-transformers' network, counting an instruction's tokens as they stand before a text. Theirs counts the
    instruction alone: a space at its end is a token then, which in front of a word becomes part of it, so that the
    text's first word would be left out."""

    def _get_prompt_length(self, prompt: str, **kwargs: object) -> int | None:
        return super()._get_prompt_length(prompt.rstrip(), **kwargs)  # type: ignore[no-any-return]


class LatentAttention(Layer):
    """Latent attention pooling (NV-Embed, Lee et al. 2405.17428, section 3.2): every token asks a trainable dictionary
    of ``latents`` vectors; the answers go through an MLP and are averaged.

    ``form="paper"``: O = softmax(Q Kᵀ) V with K = V the dictionary, by ``heads``, then Linear - GELU - Linear.
    ``form="released"``, as in the published weights: layer norms before, projections to ``heads`` of ``head_width`` (K
    and V are different ones), 1/√head_width, a residual, and a gated MLP with a residual. ``form="mlp"`` is the
    control: no dictionary, the released form's gated MLP of as many parameters as the released form has in all
    (``latents``, ``heads`` and ``head_width`` say how many). ``head_width`` 0 is ``dimension / heads``; the published
    model has 4,096 for each of 8 heads, a tenth of all its parameters.
    """

    config_keys: ClassVar[list[str]] = ["dimension", "latents", "heads", "head_width", "form", "expansion"]

    def __init__(
        self,
        dimension: int,
        latents: int = 512,
        heads: int = 8,
        head_width: int = 0,
        form: str = "released",
        expansion: int = 4,
    ) -> None:
        super().__init__()
        if form not in ("paper", "released", "mlp"):
            raise ValueError(f"form: expected paper, released or mlp, found {form!r}")
        if form == "paper" and dimension % heads:
            raise ValueError(f"heads: expected a divisor of {dimension}, found {heads}")
        self.dimension, self.heads, self.form, self.expansion = dimension, heads, form, expansion
        self.head_width, self.latents = head_width or max(dimension // heads, 1), latents
        hidden, inner = expansion * dimension, heads * self.head_width
        if form == "mlp":
            spent = latents * dimension + 4 * inner * dimension + 2 * dimension
            hidden += round(spent / (3 * dimension + 2))
        else:
            self.dictionary = nn.Parameter(torch.randn(latents, dimension))
        if form == "released":
            self.ask, self.answer = nn.Linear(dimension, inner, bias=False), nn.Linear(dimension, 2 * inner, bias=False)
            self.join = nn.Linear(inner, dimension, bias=False)
            self.token_norm, self.latent_norm = nn.LayerNorm(dimension), nn.LayerNorm(dimension)
        if form == "paper":
            self.widen, self.narrow = nn.Linear(dimension, hidden), nn.Linear(hidden, dimension)
        else:
            self.norm = nn.LayerNorm(dimension)
            self.widen, self.narrow = nn.Linear(dimension, 2 * hidden), nn.Linear(hidden, dimension)

    def tokens(self, x: Tensor) -> Tensor:
        """Every token behind the dictionary and the MLP: ``[batch, tokens, dim]`` in and out."""
        if self.form == "paper":
            split = self.dictionary.view(self.latents, self.heads, -1).transpose(0, 1).unsqueeze(0)
            asked = x.view(*x.shape[:2], self.heads, -1).transpose(1, 2)
            attended = functional.scaled_dot_product_attention(asked, split, split, scale=1.0)
            return self.narrow(functional.gelu(self.widen(attended.transpose(1, 2).flatten(2))))  # type: ignore[no-any-return]
        if self.form == "released":
            keys, values = self.answer(self.latent_norm(self.dictionary)).chunk(2, -1)
            keys, values = (
                part.view(self.latents, self.heads, -1).transpose(0, 1).unsqueeze(0) for part in (keys, values)
            )
            asked = self.ask(self.token_norm(x)).view(*x.shape[:2], self.heads, -1).transpose(1, 2)
            x = x + self.join(functional.scaled_dot_product_attention(asked, keys, values).transpose(1, 2).flatten(2))
        straight, gate = self.widen(self.norm(x)).chunk(2, -1)
        return x + self.narrow(straight * functional.gelu(gate))  # type: ignore[no-any-return]

    def forward(self, features: dict[str, Any], **kwargs: object) -> dict[str, Any]:
        """Pool every text."""
        features["sentence_embedding"] = masked_mean(self.tokens(features["token_embeddings"]), _mask(features))
        return features

    def get_embedding_dimension(self) -> int:
        """Width of what comes out."""
        return self.dimension


class LayerMix(Layer):
    """Each token's vector is Σ_l softmax(w)_l h_l over the layers from ``first`` (0: the embeddings) to the last; a
    pooling stands behind it. With ``layers`` hidden states counted with the embeddings; it begins as their plain mean.
    The network before it must give its hidden states (:func:`umekomi.parts.networks.with_all_layers`)."""

    config_keys: ClassVar[list[str]] = ["dimension", "layers", "first"]

    def __init__(self, dimension: int, layers: int, first: int = 0) -> None:
        super().__init__()
        if not 0 <= first < layers:
            raise ValueError(f"first: expected 0 to {layers - 1}, found {first}")
        self.dimension, self.layers, self.first = dimension, layers, first
        self.weights = nn.Parameter(torch.zeros(layers - first))

    def forward(self, features: dict[str, Any], **kwargs: object) -> dict[str, Any]:
        """Mix the layers of every token."""
        states = features.get("all_layer_embeddings")
        if states is None or len(states) != self.layers:
            found = "none" if states is None else str(len(states))
            raise WrongUse(
                f"LayerMix: expected {self.layers} hidden states from the network (its config's "
                f"output_hidden_states), found {found}"
            )
        share = torch.softmax(self.weights, 0)
        features["token_embeddings"] = sum(
            weight * state for weight, state in zip(share, states[self.first :], strict=True)
        )
        return features

    def get_embedding_dimension(self) -> int:
        """Width of what comes out."""
        return self.dimension


LAYERS: dict[str, type[Module]] = {
    f"{layer.__module__}.{layer.__qualname__}": layer
    for layer in (TailMean, WithoutPrompt, InstructedTransformer, LatentAttention, LayerMix)
}
"""Our layers, under the names that a folder gives them."""
