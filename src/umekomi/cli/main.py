"""The application, and how it ends: 0 done, 1 the job failed, 2 wrong use; an error is one line on standard error."""

from __future__ import annotations

import io
import logging
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
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
from umekomi.errors import without_passwords
from umekomi.limits import range_of

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


def flag(command: Any, verb: str | None, parameter: str) -> str:
    """What a parameter of a verb's function is called on the command line.

    >>> flag(typer.main.get_command(app), "search", "source"), flag(typer.main.get_command(app), "search", "k")
    ('--in', '-k')
    """
    for option in getattr(command.commands.get(verb), "params", ()):
        if option.name in (parameter, parameter.rstrip("s")):
            name = max(option.opts, key=len)
            return str(name if name.startswith("-") else option.metavar or name)
    return parameter


_SAME = "; what was finished is kept, and the same command goes on from there"
GOES_ON = {
    "encode": f"{_SAME} with --resume",
    **dict.fromkeys(("compare", "index", "reproduce", "train"), _SAME),
}
"""What an interrupted verb leaves, said behind Ctrl-C; the others leave nothing."""


def _described(command: Any) -> Any:
    """``command``, the legal range behind the help of every number."""
    for verb in command.commands.values():
        for option in verb.params:
            said = range_of(option.name)
            if said is not None and getattr(option, "help", None):
                option.help = f"{option.help} [{said}]"
    return command


@contextmanager
def _calm(debug: bool) -> Iterator[None]:
    """Standard output that loses no character, and none of the warnings by which libraries speak to their developers;
    ``--debug`` shows them."""
    reconfigure = getattr(sys.stdout, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="backslashreplace")
    if debug or sys.warnoptions:
        yield
        return
    unset = [name for name in ("TRANSFORMERS_VERBOSITY", "HF_HUB_VERBOSITY") if name not in os.environ]
    os.environ.update(dict.fromkeys(unset, "error"))
    last = logging.lastResort
    logging.lastResort = logging.StreamHandler(io.StringIO())
    try:
        with warnings.catch_warnings():
            warnings.showwarning = lambda *_, **__: None  # a filter would give way to those that libraries set
            yield
    finally:
        logging.lastResort = last
        for name in unset:  # who calls main() of Python finds the environment as it was
            os.environ.pop(name, None)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line; the exit status."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in words
    if debug:
        words = ["--debug", *[word for word in words if word != "--debug"]]
    command: Any = _described(typer.main.get_command(app))
    verb = next((word for word in words if not word.startswith("-")), None)
    try:
        # not command(...): that turns Ctrl-C into an exit of its own before it can be answered here
        with _calm(debug), command.make_context("umekomi", words) as context:
            command.invoke(context)
            sys.stdout.flush()
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
        return _failed(f"interrupted{GOES_ON.get(verb or '', '')}", 1)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if debug:
            raise
        from umekomi.errors import UmekomiError

        if isinstance(error, UmekomiError):
            return _failed(error.told(flag(command, verb, error.parameter)), error.exit_code)
        if isinstance(error, (OSError, MemoryError)):
            return _failed(str(error) or type(error).__name__, 1)
        return _failed(f"{type(error).__name__}: {error} (a fault of umekomi's: --debug shows where)", 1)


def _failed(message: str, status: int) -> int:
    print(f"umekomi: {' '.join(without_passwords(message).split())}", file=sys.stderr)
    return status
