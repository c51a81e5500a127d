"""Text embedders that are sentence-transformers models: the folder is theirs, and ``embedder.model`` is the object that
their trainers, mteb and LangChain take."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from umekomi.errors import DataError, MissingExtra, WrongUse
from umekomi.models.base import Open
from umekomi.models.borders import border, hush
from umekomi.models.folders import LAYERS as THEIRS
from umekomi.models.folders import check_layers
from umekomi.models.tokens import NetworkEmbedder
from umekomi.parts.networks import as_filed, check_words
from umekomi.progress import Progress, say

try:
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.model import BaseModel
    from sentence_transformers.base.modules import Router, Transformer
    from sentence_transformers.sentence_transformer.modules import Pooling
    from transformers.utils import logging as transformers_logging
except ImportError as error:
    raise MissingExtra(error.name or "sentence-transformers", "neural", "a transformer text embedder") from None

from umekomi.parts.pooling import LAYERS, WholeTransformer

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from tokenizers import Tokenizer
    from torch import nn

    from umekomi.contracts import Floats

Opened = TypeVar("Opened", bound=BaseModel)

transformers_logging.disable_progress_bar()
hush()

CLASSES = {**LAYERS, **{place: WholeTransformer for place, name in THEIRS.items() if name == "Transformer"}}
"""What opens the layers that a folder names, where it is not sentence-transformers' own class of that name."""


def opened(kind: type[Opened], folder: Path) -> Opened:
    """A folder as one of sentence-transformers' models (``kind``), once all that it names has been looked at."""
    check_layers(folder, LAYERS)
    with border(str(folder), DataError):
        if (folder / "modules.json").is_file():
            model = kind._load_with_module_classes(
                str(folder), CLASSES, device=device(), trust_remote_code=False, local_files_only=True
            )
        else:
            model = kind(modules=_bare(folder, kind), device=device(), local_files_only=True)
        for module in model.modules():
            if isinstance(module, Transformer):
                if module.tokenizer is not None and module.tokenizer is module.processor:
                    module.processor = as_filed(module.tokenizer)
                check_words(module.tokenizer, module.auto_model, folder)
    return model


def _bare(folder: Path, kind: type) -> list[Any]:
    """The layers of a folder of transformers alone, as sentence-transformers makes them: a pooling by the mean, or of
    the last token for a causal language model; a scorer's network has its own head."""
    here = {"local_files_only": True, "trust_remote_code": False}
    task = "feature-extraction" if kind is SentenceTransformer else "sequence-classification"
    network = WholeTransformer(
        str(folder),
        transformer_task=task,  # type: ignore[arg-type]
        model_kwargs=dict(here),
        processor_kwargs=dict(here),
        config_kwargs=dict(here),
    )
    if kind is not SentenceTransformer:
        return [network]
    architecture = (network.config.architectures or [""])[0]
    causal = architecture.endswith("ForCausalLM") and getattr(network.config, "is_causal", True)
    return [network, Pooling(network.get_embedding_dimension(), "lasttoken" if causal else "mean")]


def _fast(model: nn.Module) -> Iterator[Tokenizer]:
    """The tokenizers of a model's networks, as the tokenizers library has them."""
    for module in model.modules():
        fast = getattr(module.tokenizer, "_tokenizer", None) if isinstance(module, Transformer) else None
        if fast is not None:
            yield fast


def _set(fast: Tokenizer, truncation: dict[str, Any] | None, padding: dict[str, Any] | None) -> None:
    fast.enable_truncation(**truncation) if truncation else fast.no_truncation()
    fast.enable_padding(**padding) if padding else fast.no_padding()


def tokenizer_states(model: nn.Module) -> list[Any]:
    """How the tokenizers of a model cut and pad."""
    return [(fast.truncation, fast.padding) for fast in _fast(model)]


@contextmanager
def restored_tokenizers(model: nn.Module, before: list[Any]) -> Iterator[None]:
    """The tokenizers as they were ``before`` anything was encoded: encoding sets their truncation and padding, which
    are saved with them, and a model would be another one, by its fingerprint, once it has encoded."""
    now = tokenizer_states(model)
    for fast, state in zip(_fast(model), before, strict=False):
        _set(fast, *state)
    try:
        yield
    finally:
        for fast, state in zip(_fast(model), now, strict=True):
            _set(fast, *state)


class TextEmbedder(NetworkEmbedder):
    """A :class:`sentence_transformers.SentenceTransformer` with the house's face."""

    kind = "text"
    standard = True

    def __init__(self, model: SentenceTransformer, name: str = "text", card: dict[str, Any] | None = None) -> None:
        super().__init__(name, card)
        self.model, self._before = model.eval(), tokenizer_states(model)
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
    def routes(self) -> frozenset[str]:
        """The tasks that the model has layers of their own for (sentence-transformers' ``Router``)."""
        router = self.model[0]
        if not isinstance(router, Router):
            return frozenset()
        mapped = {task for task, _ in router.route_mappings if task}
        return frozenset(mapped | (set(router.sub_modules) - {"text", "image", "audio", "video", "message"}))

    @property
    def roles(self) -> frozenset[str]:
        return frozenset(self.model.prompts or {}) | self.routes

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
        if role not in ("query", "document") and role not in self.roles:
            known = ", ".join(sorted({"query", "document", *prompts, *self.routes}))
            raise WrongUse(f"{self.name} knows no role {role!r}; there are: {known}")
        return prompts.get(role)

    def _task(self, role: str | None) -> dict[str, str]:
        """What sentence-transformers is told of a role, as its ``encode_query`` and ``encode_document`` do: it chooses
        the route, and lengths where these differ."""
        return {"task": role} if role in ("query", "document") or role in self.routes else {}  # type: ignore[dict-item]

    def _encode(self, items: list[Any], *, output: str, role: str | None, batch_size: int, progress: bool) -> Floats:
        prompt = self.prompt(role)
        if not items:
            return np.zeros((0, self.dimension), np.float32)
        step = max(64 * batch_size, 1024) if progress else len(items)
        parts = []
        with Progress(f"{self.name}: encoding", len(items), "texts", progress) as bar:
            for start in range(0, len(items), step):
                chunk = items[start : start + step]
                with border(self.name):
                    parts.append(
                        self.model.encode(
                            chunk,
                            prompt=prompt or "",
                            batch_size=batch_size,
                            show_progress_bar=False,
                            convert_to_numpy=True,
                            pool=self._pool,
                            **self._task(role),
                        )
                    )
                bar.advance(len(chunk))
        return np.concatenate(parts).astype(np.float32, copy=False)

    def _first(self, role: str | None) -> Transformer:
        """The layer that reads the texts of this role."""
        first = self.model[0]
        if isinstance(first, Router):
            with border(self.name):
                route = first._resolve_route(modality="text", **self._task(role))
            return first.sub_modules[route][0]
        return first

    def reads(self, role: str | None = None) -> int | None:
        first = self._first(role)
        limit = getattr(first, "max_seq_length", None)
        return None if limit is None or limit == float("inf") or first.tokenizer is None else int(limit)

    @contextmanager
    def whole(self, role: str | None = None) -> Iterator[Tokenizer | None]:
        from tokenizers import Tokenizer

        words = getattr(self._first(role), "tokenizer", None)
        fast = words if isinstance(words, Tokenizer) else getattr(words, "_tokenizer", None)
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

    def _slow_lengths(self, texts: list[str], role: str | None) -> NDArray[np.int64]:
        words = self._first(role).tokenizer
        if not callable(words):  # sentence-transformers' own word tokenizers
            return np.array([len(words.tokenize(text)) for text in texts], np.int64)
        return np.array([len(words(text, truncation=False)["input_ids"]) for text in texts], np.int64)

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
        with restored_tokenizers(self.model, self._before):
            self.model.save(str(folder), create_model_card=False, safe_serialization=True)
        return {}

    @classmethod
    def _read(cls, folder: Path, head: dict[str, Any], open: Open) -> TextEmbedder:
        return cls(opened(SentenceTransformer, folder), head.get("name") or folder.name, head.get("card"))


def device() -> str:
    """``cuda`` where there is one, else ``cpu``."""
    return "cuda" if torch.cuda.is_available() else "cpu"
