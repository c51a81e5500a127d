"""Gemini's embedding models, Google's service: gemini-embedding-001 with its task types, gemini-embedding-2 with its
prefixes and one request for every text. Nothing of it is stored but which model and width; the key stays in the
environment."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from umekomi.errors import UmekomiError, WrongUse
from umekomi.models.base import Open
from umekomi.models.folders import settings
from umekomi.models.services.embedder import ServiceEmbedder
from umekomi.models.services.endpoints import GOOGLE_PROMPTS, GOOGLE_TASKS, MAKERS, Endpoint
from umekomi.parts.similarity import normalise

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from umekomi.contracts import Floats

MODEL = "gemini-embedding-001"
CONTEXTS = {MODEL: 2048, "gemini-embedding-2": 8192}
"""Tokens that each reads."""
WIDTHS = (768, 1536, 3072)
"""The widths its makers recommend; 3,072 is what comes when nothing is asked, and the only one of
gemini-embedding-001's that comes with length one."""
CONTEXT = CONTEXTS[MODEL]


class GeminiEmbedder(ServiceEmbedder):
    """The service as an embedder. ``attempts`` and ``delay`` (seconds before the second, doubled each time) say how it
    is tried again when it is busy (429) or fails (5xx); ``url`` is where it answers, Google's own address where
    empty."""

    kind = "gemini"

    def __init__(
        self,
        model: str = MODEL,
        dimension: int = 3072,
        *,
        url: str = "",
        attempts: int = 5,
        delay: float = 1.0,
        name: str = "",
    ) -> None:
        if model not in CONTEXTS:
            raise WrongUse(f"{model}: expected {' or '.join(CONTEXTS)}; how others are told a role is not known here")
        if not 1 <= dimension <= 3072:
            raise WrongUse(
                f"{model}: expected 1 to 3072 dimensions (its makers recommend {', '.join(map(str, WIDTHS))}), found "
                f"{dimension}"
            )
        if attempts < 1 or delay <= 0:
            raise WrongUse(
                f"{model}: expected one attempt or more and a delay above zero, found {attempts} and {delay}"
            )
        known = MAKERS["google"]
        says: dict[str, Any] = (
            {"fields": {role: {"taskType": task} for role, task in GOOGLE_TASKS.items()}}
            if model == MODEL
            else {"prompts": GOOGLE_PROMPTS}
        )
        endpoint = Endpoint(
            name or model,
            "google",
            model,
            url.rstrip("/") or known["url"],
            known["key"],
            max_items=known["max_items"],
            attempts=attempts,
            delay=delay,
            dimensions=dimension,
            **says,
        )
        card = {"licence": "service", "service": "https://ai.google.dev/gemini-api/docs/embeddings"}
        super().__init__(endpoint, name or model, card)
        self.model, self.url, self.attempts, self.delay = model, url, attempts, delay

    def _encode(self, items: list[Any], *, output: str, role: str | None, batch_size: int, progress: bool) -> Floats:
        vectors = super()._encode(items, output=output, role=role, batch_size=batch_size, progress=progress)
        return normalise(vectors)  # type: ignore[no-any-return]  # 001's: only 3,072 dimensions come with length one

    def truncated(self, items: Sequence[str], role: str | None = None) -> NDArray[np.bool_]:
        """Which texts are longer than it reads; the service counts the tokens of those of more than so many bytes, a
        request each."""
        out = np.zeros(len(items), bool)
        most = CONTEXTS[self.model]
        for place, text in enumerate(items):
            if len(text.encode()) > most:
                body = {"contents": [{"parts": [{"text": text}]}]}
                answer = self.wire.post(f"v1beta/models/{self.model}:countTokens", body, repr(text[:60]))
                if not isinstance(answer.get("totalTokens"), int):
                    raise UmekomiError(f"{self.name}: expected a count of tokens, found {str(answer)[:100]}")
                out[place] = answer["totalTokens"] > most
        return out

    def _write(self, folder: Path) -> dict[str, Any]:
        return {
            "model": self.model,
            "dimension": self.dimension,
            "url": self.url,
            "attempts": self.attempts,
            "delay": self.delay,
        }

    @classmethod
    def _read(cls, folder: Path, head: dict[str, Any], open: Open) -> GeminiEmbedder:
        own = settings(folder, head, model=str, dimension=int, url=str, attempts=int, delay=float)
        return cls(**own, name=head.get("name", ""))
