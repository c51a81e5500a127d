"""Backbones: pre-trained transformers that are not yet embedders. Pre-training recipes make them, other recipes take
them as ``start=``; :meth:`TransformerBackbone.embedder` puts a pooling on top."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from umekomi.errors import DataError, MissingExtra, WrongUse
from umekomi.models.base import Backbone, Open
from umekomi.models.borders import border, hush
from umekomi.models.folders import check_layers, settings
from umekomi.parts import networks

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from umekomi.models.text import TextEmbedder

POOLINGS = (
    "mean",
    "cls",
    "max",
    "lasttoken",
    "weightedmean",
    "mean_sqrt_len_tokens",
    "tailmean",
    "latent",
    "latent-paper",
    "latent-control",
    "layermix",
)
"""sentence-transformers' poolings, and ours: the mean of a text's tail; NV-Embed's latent attention as released, as
printed, and the MLP of as many parameters; the mean of a learned mixture of all layers."""


class TransformerBackbone(Backbone):
    """A transformers model with its tokenizer. The folder is transformers' own (safetensors and JSON), with
    ``umekomi.json`` beside it."""

    kind = "backbone"

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        name: str = "backbone",
        card: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(name, card)
        self.model, self.tokenizer = model.eval(), tokenizer

    @property
    def config(self) -> dict[str, Any]:
        """The network's shape, as transformers writes it."""
        return dict(self.model.config.to_dict())

    def embedder(
        self,
        pooling: str = "mean",
        max_length: int | None = None,
        *,
        bidirectional: bool | None = None,
        without_prompt: bool = False,
        prompts: Mapping[str, str] | None = None,
        latents: int = 64,
        heads: int = 8,
    ) -> TextEmbedder:
        """A text embedder: this network, a pooling of its last layer, vectors of length one. The weights are copied, so
        that training the embedder leaves the backbone as it is.

        Args:
            pooling: how token vectors become one (:data:`umekomi.contracts.Pooling`); last-token pooling adds the
                end-of-text token where the tokenizer does not.
            max_length: tokens of a text that are read; None: as many as the network takes.
            bidirectional: which way a decoder looks; None: as it is.
            without_prompt: leaves instructions out of the pooling.
            prompts: what is put before a text, by role.
            latents: rows of latent attention's dictionary.
            heads: of latent attention.
        """
        from tempfile import TemporaryDirectory

        from sentence_transformers import SentenceTransformer
        from sentence_transformers.base.modules import Normalize, Transformer
        from sentence_transformers.sentence_transformer.modules import Pooling

        from umekomi.models.text import TextEmbedder, device
        from umekomi.parts.pooling import InstructedTransformer, LatentAttention, LayerMix, TailMean, WithoutPrompt

        if pooling not in POOLINGS:
            raise WrongUse(f"pooling: expected one of {', '.join(POOLINGS)}, found {pooling!r}")
        with border(f"{self.name}, as an embedder", DataError), TemporaryDirectory() as scratch:
            getattr(self.model, "base_model", self.model).save_pretrained(scratch)
            self.tokenizer.save_pretrained(scratch)
            unused = (
                {"add_pooling_layer": False} if self.model.config.model_type == "bert" else {}
            )  # BERT's pooler, which nothing here reads
            network = (InstructedTransformer if without_prompt else Transformer)(
                scratch, max_seq_length=max_length, model_kwargs=unused
            )
        if bidirectional is not None:
            networks.bidirectional(network.auto_model, bidirectional)
        if pooling == "lasttoken":
            networks.with_eos(network.tokenizer)
        width = network.get_embedding_dimension()
        forms = {"latent": "released", "latent-paper": "paper", "latent-control": "mlp"}
        layers: list[Any] = [WithoutPrompt()] if without_prompt else []
        if pooling in forms:
            layers.append(LatentAttention(width, latents, heads, form=forms[pooling]))
        elif pooling == "tailmean":
            layers.append(TailMean(width))
        elif pooling == "layermix":
            layers += [
                LayerMix(width, network.auto_model.config.num_hidden_layers + 1),
                Pooling(width, pooling_mode="mean"),
            ]
        else:
            layers.append(Pooling(width, pooling_mode=pooling))
        model = SentenceTransformer(
            modules=[network, *layers, Normalize()], prompts=dict(prompts or {}), device=device()
        )
        if pooling == "layermix":
            networks.with_all_layers(model)
        return TextEmbedder(model, self.name, {**self.card, "start": self.name})

    def _write(self, folder: Path) -> dict[str, Any]:
        from transformers.utils import logging

        logging.disable_progress_bar()
        self.model.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)
        return {"architecture": type(self.model).__name__}

    @classmethod
    def _read(cls, folder: Path, head: dict[str, Any], open: Open) -> TransformerBackbone:
        try:
            import transformers
        except ImportError as error:
            raise MissingExtra(error.name or "transformers", "neural", "a backbone") from None
        transformers.utils.logging.disable_progress_bar()
        hush()
        named = settings(folder, head, architecture=str)["architecture"]
        architecture: Any = getattr(transformers, named, None)
        if not (isinstance(architecture, type) and issubclass(architecture, transformers.PreTrainedModel)):
            raise WrongUse(f"{folder}: expected an architecture of transformers, found {named!r}")
        check_layers(folder, {})
        with border(str(folder), DataError):
            networks.check_size(
                lambda: architecture(transformers.AutoConfig.from_pretrained(folder, local_files_only=True)), folder
            )
            model, report = architecture.from_pretrained(  # type: ignore[attr-defined]
                folder, local_files_only=True, trust_remote_code=False, output_loading_info=True
            )
            networks.check_weights(model, report, folder)
            tokenizer = networks.as_filed(
                transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
            )
            networks.check_words(tokenizer, model, folder)
        return cls(model, tokenizer, head.get("name") or folder.name, head.get("card"))
