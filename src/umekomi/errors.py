"""What goes wrong, said in one line: what was expected, what was found, and where."""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import get_close_matches
from urllib.parse import unquote

SHOWN = 40
"""Names that an error lists at most."""
_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]+:/{1,2}(?=.)", re.IGNORECASE)
_SECRET = re.compile(r"pass(?!file)|pwd|secret|token|credential|api.?key", re.IGNORECASE)
"""What parameters of an address are called that only its user knows."""
_ESCAPED = {code: repr(chr(code))[1:-1] for code in (*range(32), *range(127, 160), 0x2028, 0x2029)}
"""What would break a line or steer a terminal, by how it is shown: a message quotes names as they were found."""
_PORT = re.compile(r"\d{0,5}(?:[/.,:;)'\"]|$)")
_WEB_PORT = re.compile(rf"{_PORT.pattern}|\d{{1,5}}[?#]")
_WIDTH = re.compile(r"(?:@\d+)?(?::tuned|[+-]prompt)?(?:/\d+)?[^\w@]*$")
"""What stands behind a service's address in a candidate's name."""


def without_password(place: str) -> str:
    """A place as it may be shown and typed again: an address without what only its user knows, whatever signs a
    password holds as they are; anything else as it is.

    >>> without_password("postgresql://me:secret@db:5432/shop/texts?sslmode=require&password=secret")
    'postgresql://me@db:5432/shop/texts?sslmode=require'
    >>> without_password("postgresql://me:se/cr?et@db/shop/texts"), without_password("lance:///a:b/c@d")
    ('postgresql://me@db/shop/texts', 'lance:///a:b/c@d')
    >>> without_password("http://localhost:8000/v1#delay=1&@64"), without_password("http://me:secret@there:80@64")
    ('http://localhost:8000/v1#delay=1&@64', 'http://me@there:80@64')
    """
    scheme = _ADDRESS.match(place)
    if scheme is None:
        return place
    rest, ending, port = place[scheme.end() :], "", _PORT
    if scheme[0].lower() in ("http://", "https://"):
        place = _WIDTH.sub("", rest)
        rest, ending, port = place, rest[len(place) :], _WEB_PORT
    user, colon, behind = rest.partition(":")
    before = re.split("[?#]", rest)[0]
    if colon and not re.search(r"[/@?#\[]", user):
        if "@" in before:
            rest = f"{user}@{rest[before.rindex('@') + 1 :]}"
        elif not port.match(behind):  # a password with signs that stand for others here, or one that was cut off
            rest = f"{user}@{rest.rpartition('@')[2]}" if "@" in rest else f"{user}:…"
    rest, mark, query = rest.partition("?")
    kept = [each for each in query.split("&") if not _SECRET.search(unquote(each.partition("=")[0]))]
    return scheme[0] + rest + (mark + "&".join(kept) if kept else "") + ending


def without_passwords(text: str) -> str:
    """A text, every address in it as :func:`without_password` shows it.

    >>> without_passwords("'postgresql://me:secret@db/shop/texts': there is no such table")
    "'postgresql://me@db/shop/texts': there is no such table"
    """
    return re.sub(rf"{_ADDRESS.pattern}\S+", lambda found: without_password(found[0]), text, flags=re.IGNORECASE)


class UmekomiError(Exception):
    """The job failed for a reason the user can act on. The command line prints it and exits with 1.

    ``parameter`` names the argument that it is about, by its name in Python; the command line puts the option in its
    place. With ``advice`` it stands behind the message, in what to do about it; without, before it. A message is one
    line, whatever it quotes, and shows no password of an address.

    >>> str(WrongUse("expected 1 or more, found 0", parameter="seed"))
    'seed: expected 1 or more, found 0'
    >>> print(DataError("a.csv has no column 'text', found a\\nb"))
    a.csv has no column 'text', found a\\nb
    >>> WrongUse("a.csv has no column 'text'", parameter="column", advice="name one with").told("--column")
    "a.csv has no column 'text': name one with --column"
    """

    exit_code = 1

    def __init__(self, message: str = "", *, parameter: str = "", advice: str = "") -> None:
        super().__init__(without_passwords(message).translate(_ESCAPED))
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
