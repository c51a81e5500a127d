"""What a service costs: prices with date and source, a purse that is never overdrawn, and the bill of a run."""

from __future__ import annotations

import threading
import tomllib
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any
from urllib.parse import urlsplit

from umekomi.errors import DataError, UmekomiError
from umekomi.models.services.endpoints import FILE, Endpoint, own_prices

BYTES_A_TOKEN = 3.5
"""Bytes of UTF-8 that a token is taken for where nothing has been counted yet: English has four to five, Japanese
about three."""
SEARCH = 1_000_000
"""What stands for a search among the tokens of a maker that counts searches: its price is then of one search."""
CHUNK, CHUNKS = 500, 100
"""Tokens of query and document together from which on Cohere takes a document in pieces, and pieces of one search
(https://cohere.com/pricing, as quoted by Azure's documentation of Cohere-rerank-v3.5, read 2026-11)."""
LOCAL = ("localhost", "127.0.0.1", "::1", "0.0.0.0")


@dataclass(frozen=True)
class Price:
    """Dollars for a million tokens, or for one search, as read on a date at a source."""

    usd: float
    date: str = ""
    source: str = ""

    def of(self, tokens: float) -> float:
        """What so many tokens cost, in dollars; :data:`SEARCH` of them are a search."""
        return self.usd * tokens / 1e6


def price_of(endpoint: Endpoint, by_search: bool = False) -> Price | None:
    """The price of a model: the user's, else the table's for the makers' own addresses; nothing is charged for a server
    of this machine, and None is a price that is not known."""
    own = own_prices()
    for name in (endpoint.name, endpoint.model):
        if name in own:
            return _price(own[name], f"{FILE}, prices.{name}", by_search)
    host = urlsplit(endpoint.url).hostname or ""
    if host in LOCAL:
        return Price(0.0, source="a server of this machine")
    if not endpoint.key:
        return None
    table = tomllib.loads(files("umekomi.models.services").joinpath("prices.toml").read_text(encoding="utf-8"))
    return _price(table[endpoint.model], endpoint.model, by_search) if endpoint.model in table else None


def _price(entry: Any, where: str, by_search: bool) -> Price:
    word, what = _unit(by_search)
    usd = entry.get(word) if isinstance(entry, dict) else entry
    if not isinstance(usd, (int, float)) or isinstance(usd, bool) or not 0 <= usd <= 1e6:
        found = repr(usd) if usd is not None or not isinstance(entry, dict) else ", ".join(entry) or "nothing"
        raise DataError(f"{where}, {word}: expected dollars for {what}, found {found:.40}")
    about = entry if isinstance(entry, dict) else {}
    return Price(float(usd), str(about.get("date", "")), str(about.get("source", "")))


def _unit(by_search: bool) -> tuple[str, str]:
    """(the word of a price in the file, what it is the price of)."""
    return ("usd_per_search", "one search") if by_search else ("usd", "a million tokens")


def ask_for_price(endpoint: Endpoint, by_search: bool = False) -> str:
    """What to do about a price that is not known."""
    word, what = _unit(by_search)
    return (
        f'the price of {endpoint.model} is not known: put [prices."{endpoint.model}"] with {word} = DOLLARS (for '
        f"{what}), date and source into {FILE}"
    )


class BudgetReached(UmekomiError):
    """The next request might pass the budget."""


class Purse:
    """Dollars that may be spent, by all services together. Before a request the most that it can cost is set aside, so
    that what is in flight can never pass the budget either."""

    def __init__(self, usd: float) -> None:
        self.usd, self.spent, self._aside = usd, 0.0, 0.0
        self._lock = threading.Lock()

    @property
    def left(self) -> float:
        """Neither spent nor set aside."""
        return self.usd - self.spent - self._aside

    def reserve(self, usd: float, who: str) -> None:
        """Set aside, or the error that nothing more is bought."""
        with self._lock:
            if usd > self.left:
                raise BudgetReached(
                    f"{who}: stopped before the budget of ${self.usd:g} is passed: ${self.spent:.6f} spent, the next "
                    f"request may cost ${usd:.6f}; what was bought is kept"
                )
            self._aside += usd

    def settle(self, reserved: float, paid: float) -> None:
        """What was set aside comes back, what was paid is gone."""
        with self._lock:
            self._aside -= reserved
            self.spent += paid


@dataclass
class Bill:
    """What one model was asked in this process: ``texts`` in ``seconds`` without those that one alone was timed on;
    ``counted`` says that the service named its tokens itself."""

    requests: int = 0
    attempts: int = 0
    texts: int = 0
    tokens: int = 0
    seconds: float = 0.0
    counted: bool = True
    waits: list[float] = field(default_factory=list)
    """Seconds of each answer to a single text."""
