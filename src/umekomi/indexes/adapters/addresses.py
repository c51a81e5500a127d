"""Where an index in a database lies, as one address: ``postgresql://user@host:5432/database/TABLE``,
``qdrant://host:6333/COLLECTION`` (``qdrants://`` over TLS), ``qdrant:///folder/COLLECTION`` for a folder of the
client's local mode, ``qdrant+edge:///folder/COLLECTION`` for one of Qdrant's engine in this process,
``lance:///folder/TABLE`` or ``lance+s3://bucket/prefix/TABLE``. Names with other signs than letters are written as in
any address: ``%20`` is a space."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit, urlunsplit

from umekomi.errors import MissingExtra, WrongUse, unknown_name, without_password
from umekomi.indexes.adapters.base import Adapter, about_of, line
from umekomi.indexes.adapters.edge import EdgeClient
from umekomi.indexes.adapters.lance import LanceIndex
from umekomi.indexes.adapters.postgres import PostgresIndex
from umekomi.indexes.adapters.qdrant import QdrantIndex

SCHEMES = ("postgresql", "postgres", "qdrant", "qdrants", "qdrant+edge", "lance", "lance+s3", "lance+gs", "lance+az")


def is_database(place: object) -> bool:
    """Is this the address of an index in a database? A folder's path never looks like one.

    >>> is_database("postgresql://localhost/shop/texts"), is_database("library")
    (True, False)
    """
    return isinstance(place, str) and "://" in place


def check_kind(address: str, kind: str, settings: Mapping[str, Any]) -> None:
    """The error for a kind of index that the database at this address has not."""
    if kind in ("auto", "exact") and not settings:
        return
    if not address.startswith("postgres") or kind != "hnsw":
        kinds = "auto, exact or hnsw" if address.startswith("postgres") else "auto: the database chooses its own"
        raise WrongUse(f"index kind {kind}: {address.partition(':')[0]} takes {kinds}")


def open_database(address: str, *, embedder: Any = None) -> Adapter:
    """The index at an address; the error where there is none."""
    return _opener(address)(None, embedder)


def create_database(
    address: str,
    *,
    dimension: int,
    model: Any = None,
    metric: str = "cosine",
    source: str = "",
    text: str = "",
    notes: Mapping[str, Any] | None = None,
    about: dict[str, Any] | None = None,
) -> Adapter:
    """A new, empty index at an address; one that is there already is opened.

    Args:
        address: where it shall lie.
        dimension: of the vectors to come.
        model: the embedder whose vectors it holds: its fingerprint is kept.
        metric: how vectors compare.
        source: where to find the model again.
        text: the payload's column that was embedded.
        notes: facts of the caller's, as :meth:`Adapter.note` takes them.
        about: what it shall say of itself, in place of all these.
    """
    return _opener(address)(about or about_of(dimension, metric, text, model, source, notes), model)


def _opener(address: str) -> Callable[[dict[str, Any] | None, Any], Adapter]:
    """What opens, or with an ``about`` makes, the index at an address."""
    where = re.split("[?#]", without_password(address))[0]
    malformed = WrongUse(
        f"{where!r:.80} is no address: expected SCHEME://USER:PASSWORD@HOST:PORT/…, without line breaks, signs such as "
        "/ @ : ? # in a name or a password as %2F %40 %3A %3F %23"
    )
    try:
        parts = urlsplit(address)
        host, port = parts.hostname or "", parts.port
    except ValueError:  # whose own words may hold a password
        raise malformed from None
    if parts.scheme not in SCHEMES:
        raise unknown_name("database", parts.scheme, SCHEMES)
    if any(sign in address for sign in "\r\n\0") or (":" in parts.netloc and "@" in parts.path + parts.fragment):
        raise malformed
    before, _, last = parts.path.rpartition("/")
    name = unquote(last)
    if not name:
        raise WrongUse(f"{where}: expected the name of a table at its end, found none")
    if parts.scheme in ("postgresql", "postgres"):
        if not before.strip("/"):
            raise WrongUse(f"{where}: expected postgresql://HOST/DATABASE/TABLE, found no database")
        base = urlunsplit(parts._replace(path=before, fragment=""))
        return lambda about, model: PostgresIndex(base, name, about=about, embedder=model, where=where)
    if parts.scheme.startswith("lance"):
        _, _, over = parts.scheme.partition("+")
        uri = f"{over}://{parts.netloc}{before}" if over else unquote(parts.netloc + before)
        if not uri:
            raise WrongUse(f"{where}: expected lance:///FOLDER/TABLE, found no folder")
        return lambda about, model: LanceIndex(uri, name, about=about, embedder=model)

    def in_qdrant(about: dict[str, Any] | None, model: Any) -> Adapter:
        with ExitStack() as failing:
            client = _client(parts, host, port, unquote(before), where)
            failing.callback(client.close)
            index = QdrantIndex(client, name, about=about, embedder=model, where=where)
            failing.pop_all()
        return index

    return in_qdrant


def _client(parts: SplitResult, host: str, port: int | None, folder: str, where: str) -> Any:
    try:
        from qdrant_client import QdrantClient
    except ImportError:
        raise MissingExtra("qdrant-client", "qdrant", "a Qdrant index") from None
    if host and parts.scheme == "qdrant+edge":
        raise WrongUse(f"{where}: expected qdrant+edge:///FOLDER/COLLECTION, found a host: {host}")
    if host:
        secure = parts.scheme == "qdrants"
        address = f"{'https' if secure else 'http'}://{host}:{port or 6333}{folder}"
        return QdrantClient(
            url=address, api_key=os.environ.get("QDRANT_API_KEY"), timeout=60, check_compatibility=False
        )
    if not folder.strip("/"):
        raise WrongUse(f"{where}: expected qdrant://HOST/COLLECTION or qdrant:///FOLDER/COLLECTION, found no host")
    if parts.scheme == "qdrant+edge":
        return EdgeClient(folder)
    try:
        return QdrantClient(path=folder)
    except RuntimeError as error:  # another process has it open
        raise WrongUse(f"{where}: {line(error)}") from None
