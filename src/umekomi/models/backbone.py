"""Backbones: pre-trained transformers that are not yet embedders. Pre-training recipes make them, other recipes take them
as ``start=``; :meth:`TransformerBackbone.embedder` puts a pooling on top."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from umekomi.errors import MissingExtra, WrongUse
from umekomi.files import MODEL_FILE, whole_folder, write_json

POOLINGS = ("mean", "cls", "max", "lasttoken", "weightedmean", "mean_sqrt_len_tokens")


class TransformerBackbone:
    """A transformers model with its tokenizer. The folder is transformers' own (safetensors and JSON), with
    ``umekomi.json`` beside it."""

    kind = "backbone"

    def __init__(self, model: Any, tokenizer: Any, name: str = "backbone", card: dict[str, Any] | None = None) -> None:
        self.model, self.tokenizer, self.name, self.card = model.eval(), tokenizer, name, dict(card or {})

    @property
    def config(self) -> dict[str, Any]:
        """The network's shape, as transformers writes it."""
        return dict(self.model.config.to_dict())

    def embedder(self, pooling: str = "mean", max_length: int | None = None) -> Any:
        """A text embedder: this network, a pooling of its last layer, vectors of length one. The weights are copied, so
        that training the embedder leaves the backbone as it is."""
        import tempfile

        from sentence_transformers import SentenceTransformer
        from sentence_transformers.base.modules import Normalize, Transformer
        from sentence_transformers.sentence_transformer.modules import Pooling

        from umekomi.models.text import TextEmbedder, device

        if pooling not in POOLINGS:
            raise WrongUse(f"pooling: expected one of {', '.join(POOLINGS)}, found {pooling!r}")
        with tempfile.TemporaryDirectory() as scratch:
            base = getattr(self.model, "base_model", self.model)
            base.save_pretrained(scratch)
            self.tokenizer.save_pretrained(scratch)
            network = Transformer(scratch, max_seq_length=max_length)
        model = SentenceTransformer(modules=[network, Pooling(network.get_embedding_dimension(), pooling_mode=pooling), Normalize()], device=device())
        return TextEmbedder(model, self.name, {**self.card, "start": self.name})

    def save(self, folder: str | Path) -> None:
        """Write the folder, whole or not at all."""
        with whole_folder(folder) as place:
            self.model.save_pretrained(place)
            self.tokenizer.save_pretrained(place)
            head = {"format": 1, "kind": self.kind, "name": self.name, "card": self.card}
            write_json(place / MODEL_FILE, head | {"settings": {"architecture": type(self.model).__name__}})

    @classmethod
    def _read(cls, folder: Path, head: dict[str, Any]) -> TransformerBackbone:
        try:
            import transformers
        except ImportError as error:
            raise MissingExtra(error.name or "transformers", "neural", "a backbone") from None
        architecture: Any = getattr(transformers, str(head["settings"]["architecture"]), None)
        if not (isinstance(architecture, type) and issubclass(architecture, transformers.PreTrainedModel)):
            raise WrongUse(f"{folder}: expected an architecture of transformers, found {head['settings']['architecture']!r}")
        model = architecture.from_pretrained(folder, local_files_only=True, trust_remote_code=False)  # type: ignore[attr-defined]
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        return cls(model, tokenizer, head.get("name") or folder.name, head.get("card"))


MODELS = {"backbone": TransformerBackbone}
