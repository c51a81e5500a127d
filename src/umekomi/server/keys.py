"""The key that clients must send, and how the server ends: what its parts and the command line share."""

from __future__ import annotations

import os
from pathlib import Path

from umekomi.errors import UmekomiError, WrongUse

SHORTEST_KEY = 8
"""Characters of an API key: a shorter one is guessed."""


class DrainTimeout(UmekomiError):
    """The server ended without waiting for what was being answered; threads of it may still run."""


def api_key(file: str | Path | None) -> str:
    """The key that clients must send: the first line of ``file``, else ``UMEKOMI_API_KEY``; empty where there is
    none."""
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
