"""What goes wrong, said in one line: what was expected, what was found, and where."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

SHOWN = 40
"""Names that an error lists at most."""


class UmekomiError(Exception):
    """The job failed for a reason the user can act on. The command line prints it and exits with 1.

    ``parameter`` names the argument that it is about, by its name in Python; the command line puts the option in its
    place. With ``advice`` it stands behind the message, in what to do about it; without, before it.

    >>> str(WrongUse("expected 1 or more, found 0", parameter="seed"))
    'seed: expected 1 or more, found 0'
    >>> WrongUse("a.csv has no column 'text'", parameter="column", advice="name one with").told("--column")
    "a.csv has no column 'text': name one with --column"
    """

    exit_code = 1

    def __init__(self, message: str = "", *, parameter: str = "", advice: str = "") -> None:
        super().__init__(message)
        self.parameter, self.advice = parameter, advice

    def told(self, name: str) -> str:
        """The whole line, its parameter called ``name``."""
        message = str(self.args[0]) if self.args else ""
        if not self.parameter:
            return message
        return f"{message}: {self.advice} {name}" if self.advice else f"{name}: {message}"

    def __str__(self) -> str:
        return self.told(self.parameter)


class DataError(UmekomiError):
    """Data that cannot be used: the message names file, line, column, what was expected and what was found."""


class WrongUse(UmekomiError):
    """A wrong argument or name. The command line exits with 2."""

    exit_code = 2


class MissingExtra(WrongUse):
    """A verb needs a package that the light install leaves out."""

    def __init__(self, package: str, extra: str, what: str) -> None:
        super().__init__(
            f"{what} needs the package {package!r}, which is not installed: pip install 'umekomi[{extra}]'"
        )


def unknown_name(what: str, name: str, known: Iterable[str]) -> WrongUse:
    """The error for a name that is not there, with the nearest ones that are.

    >>> str(unknown_name("recipe", "bm52", ["bm25", "tfidf"]))
    "no recipe named 'bm52'; the nearest: bm25"
    """
    known = sorted(known)
    nearest = get_close_matches(name, known, n=3, cutoff=0.5)
    listed = ", ".join(known[:SHOWN]) + (f" and {len(known) - SHOWN} more" if len(known) > SHOWN else "")
    hint = f"the nearest: {', '.join(nearest)}" if nearest else f"there are: {listed}"
    return WrongUse(f"no {what} named {name!r}; {hint}")


def same_type(where: str, like: object, found: object) -> None:
    """An error for a setting of another type than the value that stands there; None on either side is any type's, and a
    whole number will do for a fraction.

    >>> same_type("index kind binary, shortlist", 0, "many")
    Traceback (most recent call last):
    umekomi.errors.WrongUse: index kind binary, shortlist: expected int such as 0, found 'many'
    """
    if like is None or found is None or (isinstance(like, float) and isinstance(found, int)):
        return
    if not isinstance(found, type(like)) or isinstance(found, bool) != isinstance(like, bool):
        raise WrongUse(f"{where}: expected {type(like).__name__} such as {like!r}, found {found!r}")


def where(source: str | None, line: int | None = None, column: str | None = None) -> str:
    """``file.csv, line 3, column 'text'``: the place an error is about.

    >>> where("a.csv", 3, "text")
    "a.csv, line 3, column 'text'"
    """
    places = [source or "the data"]
    if line is not None:
        places.append(f"line {line}" if source else f"row {line}")
    if column is not None:
        places.append(f"column {column!r}")
    return ", ".join(places)
