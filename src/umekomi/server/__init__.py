"""The HTTP server: OpenAI's embeddings, reranking, search in an index, and a page. Needs the extra ``serve``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from umekomi.errors import MissingExtra
from umekomi.limits import checked
from umekomi.server.keys import DrainTimeout as DrainTimeout
from umekomi.server.keys import api_key as api_key


@checked  # before the extra is asked for
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
