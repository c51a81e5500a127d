"""The HTTP server: OpenAI's embeddings, reranking, search in an index, and a page. Needs the extra ``serve``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from umekomi.errors import MissingExtra, UmekomiError
from umekomi.limits import checked

SHORTEST_KEY = 8
"""Characters of an API key: a shorter one is guessed."""


class DrainTimeout(UmekomiError):
    """The server ended without waiting for what was being answered; threads of it may still run."""


@checked
def serve(models: Sequence[Any], **options: Any) -> None:
    """Answer requests until interrupted; the options are :class:`umekomi.server.running.Settings`'s and
    :func:`umekomi.server.running.run`'s."""
    try:
        import fastapi  # noqa: F401
        import httptools  # noqa: F401
        import orjson  # noqa: F401
        import prometheus_client  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise MissingExtra(error.name or "fastapi", "serve", "the server") from None
    from umekomi.server.running import run

    run(models, **options)


def api_key(file: str | Path | None) -> str:
    """The key that clients must send: the first line of ``file``, else ``UMEKOMI_API_KEY``; empty where there is
    none."""
    import os

    from umekomi.errors import WrongUse

    if file is None:
        key = os.environ.get("UMEKOMI_API_KEY", "").strip()
        if 0 < len(key) < SHORTEST_KEY:
            raise WrongUse(f"UMEKOMI_API_KEY: expected a key of {SHORTEST_KEY} characters or more, found {len(key)}")
        return key
    try:
        lines = Path(file).read_text(encoding="utf-8").split()
    except (OSError, UnicodeDecodeError) as error:
        raise WrongUse(f"{file}: expected a file with an API key in it ({error})") from None
    if not lines or len(lines[0]) < SHORTEST_KEY:
        raise WrongUse(
            f"{file}: expected an API key of {SHORTEST_KEY} characters or more, found {len(lines[0]) if lines else 0}"
        )
    return lines[0]
