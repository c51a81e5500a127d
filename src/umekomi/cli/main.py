"""The application, and how it ends: 0 done, 1 the job failed, 2 wrong use; an error is one line on standard error."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from umekomi.cli import (
    compare,
    convert,
    encode,
    evaluate,
    index,
    info,
    inspect,
    mine,
    recipes,
    reproduce,
    search,
    serve,
    shrink,
    train,
)

app = typer.Typer(
    name="umekomi",
    help="The workbench for embeddings: learn, compare, inspect, shrink, search and serve embeddings of your own data.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


USAGE_ERROR: Any = typer.BadParameter.__mro__[1]
"""Click's UsageError, wherever this typer keeps it (newer ones carry a click of their own)."""


@app.callback(invoke_without_command=True)
def options(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show where an error comes from.")] = False,
) -> None:
    """The workbench for embeddings."""
    if version:
        from umekomi import __version__

        typer.echo(f"umekomi {__version__}")
        raise typer.Exit


for verb in (
    compare.compare,
    train.train,
    encode.encode,
    evaluate.evaluate,
    inspect.inspect,
    shrink.shrink,
    index.index,
    search.search,
    serve.serve,
    mine.mine,
    convert.convert,
    recipes.recipes,
    info.info,
    reproduce.reproduce,
):
    app.command()(verb)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line; the exit status."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in words
    if debug:
        words = ["--debug", *[word for word in words if word != "--debug"]]
    try:
        command = typer.main.get_command(app)
        # not command(...): that turns Ctrl-C into an exit of its own before it can be answered here
        with command.make_context("umekomi", words) as context:
            command.invoke(context)
        return 0
    except typer.Exit as done:
        return int(done.exit_code)
    except USAGE_ERROR as error:
        if not words:
            typer.echo(error.format_message())
            return 0
        return _failed(
            f"{error.format_message().rstrip('.')}; see umekomi "
            f"{error.ctx.info_name + ' ' if error.ctx and error.ctx.parent else ''}--help",
            2,
        )
    except (KeyboardInterrupt, typer.Abort):
        if debug:
            raise
        return _failed(
            "interrupted; what was finished is kept, and the same command goes on from there (encode: with --resume)", 1
        )
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if debug:
            raise
        from umekomi.errors import UmekomiError

        if isinstance(error, UmekomiError):
            return _failed(str(error), error.exit_code)
        if isinstance(error, (OSError, MemoryError)):
            return _failed(str(error) or type(error).__name__, 1)
        return _failed(f"{type(error).__name__}: {error} (a fault of umekomi's: --debug shows where)", 1)


def _failed(message: str, status: int) -> int:
    print(f"umekomi: {' '.join(message.split())}", file=sys.stderr)
    return status
