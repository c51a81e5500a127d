"""Where libraries are called: whatever they raise, a panic of a Rust library among it, becomes one line that says
where; and what they print about cases that are handled here is not printed."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from umekomi.errors import DataError, MissingExtra, UmekomiError, WrongUse

LOUD = ("transformers", "sentence_transformers")
"""Libraries that speak of missing weights, lengths, versions and prompts, all of which umekomi answers for itself."""


def in_one_line(error: BaseException, most: int = 200) -> str:
    """``KeyError: 'embeddings'``: what an error is and says, in at most so many characters."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:most].rstrip(": ")


def is_of_a_library(error: BaseException) -> bool:
    """Is it an error, and neither ours nor the user's wish to stop? A panic of a Rust library is no ``Exception``."""
    if isinstance(error, UmekomiError):
        return False
    return isinstance(error, Exception) or type(error).__module__ == "pyo3_runtime"


@contextmanager
def border(where: str, kind: type[UmekomiError] = UmekomiError) -> Iterator[None]:
    """What a library raises within is an error of ``kind``: ``where``, then what it says. An error of ours that does
    not name the place gets ``where`` before it."""
    try:
        yield
    except MissingExtra:
        raise
    except UmekomiError as error:
        if where in str(error):
            raise
        raise type(error)(f"{where}: {error}") from error
    except BaseException as error:
        if not is_of_a_library(error):
            raise
        raise kind(f"{where}: {in_one_line(error)}") from error


@contextmanager
def reading(path: object) -> Iterator[None]:
    """:func:`border` of a file that is read: what cannot be read is no good data."""
    try:
        with border(str(path), DataError):
            yield
    except DataError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            raise WrongUse(f"{path}: the saved model is not whole: no such file") from error.__cause__
        raise


@contextmanager
def without_noise() -> Iterator[None]:
    """What compiled libraries write to standard error within is not shown: no logger of Python sees it."""
    try:
        kept = os.dup(2)
    except OSError:  # there is no standard error
        yield
        return
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def hush() -> None:
    """What :data:`LOUD` libraries warn of is answered here, and no longer reaches the terminal; who wants to read it
    sets the level of the library's logger afterwards, or ``TRANSFORMERS_VERBOSITY`` to more than errors before."""
    wanted = os.environ.get("TRANSFORMERS_VERBOSITY") or "error"
    for name in LOUD:
        logger = logging.getLogger(name)
        if wanted in ("error", "critical") and logger.level in (logging.NOTSET, logging.WARNING):
            logger.setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=rf"({'|'.join(LOUD)})\b")
