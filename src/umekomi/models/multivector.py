"""Late interaction: one vector a token, compared by MaxSim. A sentence-transformers ``MultiVectorEncoder`` with the
house's face; its folder opens there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from umekomi.contracts import Vectors
from umekomi.errors import MissingExtra, WrongUse
from umekomi.models.base import Open, TextFace
from umekomi.models.borders import border
from umekomi.progress import Progress

try:
    from sentence_transformers import MultiVectorEncoder
except ImportError as error:
    raise MissingExtra(error.name or "sentence-transformers", "neural", "a multi-vector embedder") from None

from umekomi.models.text import TextEmbedder, opened, restored_tokenizers, tokenizer_states


class MultiVectorEmbedder(TextFace):
    """A :class:`sentence_transformers.MultiVectorEncoder`: ``encode`` gives :class:`~umekomi.contracts.Vectors`."""

    kind = "multi"
    standard = True
    outputs = frozenset({"multi"})
    metric = "maxsim"

    def __init__(self, model: MultiVectorEncoder, name: str = "multi", card: dict[str, Any] | None = None) -> None:
        super().__init__(name, card)
        self.model, self._before = model.eval(), tokenizer_states(model)
        self.dimension = int(model.get_embedding_dimension() or 0)

    @classmethod
    def of(cls, embedder: TextEmbedder) -> MultiVectorEmbedder:
        """The token vectors of a text embedder, before its pooling, as they are: no projection, nothing trained."""
        from sentence_transformers.base.modules import Normalize
        from sentence_transformers.multi_vector_encoder.modules import MultiVectorMask

        if embedder.kind != "text":
            raise WrongUse(
                f"token vectors: expected a text embedder run by torch (load it with engine='torch'), found kind "
                f"{embedder.kind}"
            )
        if type(embedder.model[0]).__name__ not in ("Transformer", "InstructedTransformer"):
            raise WrongUse(
                f"token vectors: expected a transformer, {embedder.name} begins with {type(embedder.model[0]).__name__}"
            )
        key = "token_embeddings"
        modules = [embedder.model[0], MultiVectorMask(), Normalize(module_input_name=key, module_output_name=key)]
        return cls(
            MultiVectorEncoder(modules=modules, device=str(embedder.model.device)),
            f"{embedder.name}-tokens",
            embedder.card,
        )

    def _encode(self, items: list[Any], *, output: str, role: str | None, batch_size: int, progress: bool) -> Vectors:
        encode = self.model.encode_query if role == "query" else self.model.encode_document
        parts: list[Any] = []
        step = max(32 * batch_size, 512) if progress else max(len(items), 1)
        with Progress(f"{self.name}: encoding", len(items), "texts", progress) as bar:
            for start in range(0, len(items), step):
                chunk = items[start : start + step]
                with border(self.name):
                    states = encode(chunk, batch_size=batch_size, show_progress_bar=False)
                parts += [part.cpu().numpy() for part in states]
                bar.advance(len(chunk))
        return Vectors.of(parts)

    def _write(self, folder: Path) -> dict[str, Any]:
        with restored_tokenizers(self.model, self._before):
            self.model.save(str(folder), create_model_card=False, safe_serialization=True)
        return {}

    @classmethod
    def _read(cls, folder: Path, head: dict[str, Any], open: Open) -> MultiVectorEmbedder:
        return cls(opened(MultiVectorEncoder, folder), head.get("name") or folder.name, head.get("card"))
