"""``umekomi serve``"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from umekomi.cli.options import Engine


def serve(
    models: Annotated[
        list[str] | None,
        typer.Argument(help="Models by name, folder or hub id; an index brings its own.", metavar="MODEL..."),
    ] = None,
    index: Annotated[
        list[str] | None,
        typer.Option("--index", help="An index to search in, a folder or an address; may be given several times."),
    ] = None,
    host: Annotated[
        str, typer.Option(help="Where to listen. Anywhere but on loopback needs an API key.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0: any that is free.")] = 8080,
    api_key_file: Annotated[
        Path | None, typer.Option(help="A file with the key that clients must send; UMEKOMI_API_KEY when left out.")
    ] = None,
    engine: Engine = "auto",
    memory_gb: Annotated[
        float, typer.Option(help="What open models may take together; half of the machine's when left out.")
    ] = 0,
    queue_tokens: Annotated[
        int, typer.Option(help="Tokens that may wait for a model; beyond it clients get 429.")
    ] = 262_144,
    latency: Annotated[float, typer.Option(help="Seconds that a batch should take at most.")] = 0.2,
    timeout: Annotated[float, typer.Option(help="Seconds that a request may take.")] = 60.0,
    body_mb: Annotated[float, typer.Option(help="Megabytes that a request may have.")] = 8,
    no_batching: Annotated[bool, typer.Option("--no-batching", help="Every request a batch of its own.")] = False,
) -> None:
    """Answer over HTTP: OpenAI's embeddings, reranking, search in an index, and a page to try them on."""
    from umekomi.server import DrainTimeout, api_key
    from umekomi.server import serve as run

    try:
        run(
            models or [],
            indexes=index or [],
            host=host,
            port=port,
            api_key=api_key(api_key_file),
            engine=engine,
            memory_gb=memory_gb,
            queue_tokens=queue_tokens,
            latency=latency,
            timeout=timeout,
            body_mb=body_mb,
            batching=not no_batching,
        )
    except DrainTimeout as error:
        # Python would wait for the batches that still run in threads
        print(f"umekomi: {error}", file=sys.stderr, flush=True)
        os._exit(error.exit_code)
