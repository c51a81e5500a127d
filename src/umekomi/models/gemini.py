"""gemini-embedding-001, Google's service, through Google's own client (google-genai): roles, widths, batches, retries
with back-off. Nothing of it is stored but which model and width; the key stays in the environment."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from umekomi.errors import MissingExtra, UmekomiError, WrongUse
from umekomi.models.base import Open, TextFace
from umekomi.models.folders import settings
from umekomi.parts.similarity import normalise
from umekomi.progress import Progress

if TYPE_CHECKING:
    from google import genai
    from google.genai import types
    from numpy.typing import NDArray

    from umekomi.contracts import Floats

MODEL = "gemini-embedding-001"
TASKS = {
    "query": "RETRIEVAL_QUERY",
    "document": "RETRIEVAL_DOCUMENT",
    "similarity": "SEMANTIC_SIMILARITY",
    "classification": "CLASSIFICATION",
    "clustering": "CLUSTERING",
    "question": "QUESTION_ANSWERING",
    "fact": "FACT_VERIFICATION",
    "code": "CODE_RETRIEVAL_QUERY",
}
"""The service's task type for each role; without a role the service is told none."""
WIDTHS = (768, 1536, 3072)
"""The widths its makers recommend; 3,072 is what comes when nothing is asked, and the only one that comes with length
one."""
BATCH = 100
"""The most texts the service takes in one request."""
CONTEXT = 2048
KEYS = ("GEMINI_API_KEY", "GOOGLE_API_KEY")


class GeminiEmbedder(TextFace):
    """The service as an embedder. ``attempts`` and ``delay`` (seconds before the second, doubled each time) say how it
    is tried again when it is busy (429) or fails (5xx); ``url`` is where it answers, Google's own address where
    empty."""

    kind = "gemini"
    costly = True

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
        super().__init__(
            name or model, {"licence": "service", "service": "https://ai.google.dev/gemini-api/docs/embeddings"}
        )
        if model != MODEL:
            raise WrongUse(
                f"{model}: expected {MODEL}; other models of the service take no task types, which are what a role is "
                "to this one"
            )
        if not 1 <= dimension <= 3072:
            raise WrongUse(
                f"{model}: expected 1 to 3072 dimensions (its makers recommend {', '.join(map(str, WIDTHS))}), found "
                f"{dimension}"
            )
        if attempts < 1 or delay <= 0:
            raise WrongUse(
                f"{model}: expected one attempt or more and a delay above zero, found {attempts} and {delay}"
            )
        self.model, self.dimension, self.url, self.attempts, self.delay = model, dimension, url, attempts, delay
        self._client: Any = None

    @property
    def roles(self) -> frozenset[str]:
        return frozenset(TASKS)

    def client(self) -> genai.Client:
        """Google's client, made when first needed."""
        if self._client is None:
            key = next((os.environ[name] for name in KEYS if os.environ.get(name)), None)
            if key is None:
                raise WrongUse(f"{self.name} is a paid service: set {' or '.join(KEYS)} to its key")
            try:
                from google import genai
                from google.genai import types
            except ImportError as error:
                raise MissingExtra(error.name or "google-genai", "gemini", f"the service {self.model}") from None
            retries = types.HttpRetryOptions(
                attempts=self.attempts,
                initial_delay=self.delay,
                max_delay=60.0,
                exp_base=2.0,
                jitter=self.delay / 2,
                http_status_codes=[408, 429, 500, 502, 503, 504],
            )
            options = types.HttpOptions(
                retry_options=retries, timeout=60_000, **({"base_url": self.url} if self.url else {})
            )
            self._client = genai.Client(api_key=key, http_options=options, vertexai=False)
        return self._client

    def _encode(self, items: list[Any], *, output: str, role: str | None, batch_size: int, progress: bool) -> Floats:
        if role is not None and role not in TASKS:
            raise WrongUse(f"{self.name} knows no role {role!r}; there are: {', '.join(sorted(TASKS))}")
        empty = next((place for place, text in enumerate(items) if not str(text).strip()), None)
        if empty is not None:
            raise WrongUse(f"{self.name}: expected texts, found an empty one in place {empty}")
        if not items:
            return np.zeros((0, self.dimension), np.float32)
        config: dict[str, Any] = {"output_dimensionality": self.dimension} | (
            {"task_type": TASKS[role]} if role else {}
        )
        parts: list[Any] = []
        with Progress(f"{self.name}: encoding", len(items), "texts", progress) as bar:
            for start in range(0, len(items), BATCH):
                chunk = items[start : start + BATCH]
                found = self._asked(chunk, config)
                if found.shape != (len(chunk), self.dimension) or not np.isfinite(found).all():
                    raise UmekomiError(
                        f"{self.name}: expected {len(chunk)} vectors of {self.dimension} numbers, the service gave "
                        f"{found.shape}"
                    )
                parts.append(found)
                bar.advance(len(chunk))
        vectors = np.concatenate(parts)
        return normalise(vectors)  # type: ignore[no-any-return]  # only 3,072 dimensions come with length one

    def _asked(self, chunk: Sequence[str], config: dict[str, Any]) -> types.EmbedContentResponse:
        client = self.client()
        from google.genai import errors

        try:
            answer = client.models.embed_content(model=self.model, contents=list(chunk), config=config)
        except errors.APIError as error:
            tried = f" after {self.attempts} attempts" if error.code in (408, 429) or (error.code or 0) >= 500 else ""
            raise UmekomiError(
                f"{self.name}: the service answers {error.code} {error.status or ''}{tried}: {error.message}".strip()
            ) from None
        # whichever HTTP library this release of the client stands on: its errors have no base of their own here
        except Exception as error:
            if not isinstance(error, OSError) and type(error).__module__.partition(".")[0] not in (
                "httpx",
                "httpx2",
                "requests",
                "tenacity",
            ):
                raise
            raise UmekomiError(f"{self.name}: the service cannot be reached: {error}") from None
        values = [each.values for each in answer.embeddings or []]
        if len({len(each) for each in values}) != 1:
            return np.zeros((len(values), 0), np.float32)
        return np.array(values, np.float32)

    def truncated(self, items: Sequence[str], role: str | None = None) -> NDArray[np.bool_]:
        """Which texts are longer than the 2,048 tokens it reads; the service counts those of more than so many bytes, a
        request each."""
        out = np.zeros(len(items), bool)
        for place, text in enumerate(items):
            if len(text.encode()) > CONTEXT:
                out[place] = self.client().models.count_tokens(model=self.model, contents=text).total_tokens > CONTEXT
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
