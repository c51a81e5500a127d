"""What a candidate costs, before it is judged and after: tokens, dollars, seconds; and where the money of a service
and that of one's own machine come to the same."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from umekomi.models.base import EmbedderBase
from umekomi.models.services.embedder import ServiceEmbedder
from umekomi.models.services.money import SEARCH, Purse
from umekomi.models.services.scorer import ServiceScorer
from umekomi.models.services.service import Service
from umekomi.tasks.retrieval import SearchTask

if TYPE_CHECKING:
    from umekomi.comparison.leaderboard import Row
    from umekomi.comparison.meter import Meter
    from umekomi.models.services.money import Price
    from umekomi.tasks import Task

PROBES = 8
"""Texts that a local model is timed on before it starts."""
LONG = 600.0
"""Seconds from which on a plan is a warning."""

Asked = Sequence[tuple[str | None, Sequence[str]]]
"""(role, texts) of all that a task has encoded."""


def asked_for(task: Task) -> Asked:
    """What a task has encoded, by role."""
    from umekomi.data import RetrievalData
    from umekomi.data.shapes import shape_of, texts

    if isinstance(task, SearchTask):
        return [("document", task.texts()), ("query", task.questions)]
    data = getattr(task, "data", None)
    if isinstance(data, RetrievalData):
        return [("document", data.corpus["text"].to_pylist()), ("query", data.queries["text"].to_pylist())]
    return [(None, texts(data))] if data is not None and shape_of(data).texts else []


class Foreseen(NamedTuple):
    """What is still to be encoded will take: dollars are None where a price is not known, seconds where nothing could
    be timed."""

    texts: int
    tokens: int
    usd: float | None
    seconds: float | None
    what: str = "texts"
    by_search: bool = False

    def __str__(self) -> str:
        parts = [f"{self.texts:,} {self.what}", amount(self.tokens, self.by_search)]
        if self.usd is not None:
            parts.append(dollars(self.usd))
        if self.seconds is not None:
            parts.append(duration(self.seconds))
        return ", ".join(parts)


def foresee(model: EmbedderBase, asked: Asked, usd_per_hour: float | None) -> Foreseen:
    """What encoding will take, nothing of it done yet: a local model is timed on a few of the texts, a service's tokens
    are guessed from bytes (its seconds show as it answers)."""
    if isinstance(model, ServiceEmbedder):
        parts = [(role, model.to_ask(texts, role)) for role, texts in asked]
        count = sum(len(texts) for _, texts in parts)
        tokens = sum(int(model.lengths(texts, role).sum()) for role, texts in parts)
        return Foreseen(count, tokens, None if model.price is None else model.price.of(tokens), None)
    everything = [text for _, texts in asked for text in texts]
    if not everything:
        return Foreseen(0, 0, None, None)
    sample = everything[:: max(1, len(everything) // PROBES)][:PROBES]
    share = sum(len(text.encode()) for text in everything) / max(1, sum(len(text.encode()) for text in sample))
    lengths = getattr(model, "lengths", None)
    tokens = int(lengths(sample).sum() * share) if lengths is not None else 0
    model.encode(sample[:1])
    begun = time.perf_counter()
    model.encode(sample, batch_size=PROBES)
    seconds = (time.perf_counter() - begun) * share
    usd = None if usd_per_hour is None else seconds / 3600 * usd_per_hour
    return Foreseen(len(everything), tokens, usd, seconds)


def foresee_order(
    scorer: ServiceScorer, queries: Sequence[str], documents: Sequence[str], anew: bool = True
) -> Foreseen:
    """What ordering ``documents[i]`` by ``queries[i]`` will cost, or (not ``anew``) would have cost without what is
    kept."""
    count, tokens = scorer.units(queries, documents, anew)
    price = scorer.price
    return Foreseen(count, tokens, None if price is None else price.of(tokens), None, "pairs", scorer.by_search)


def unpayable(purse: Purse | None, model: Service, about: Foreseen, promised: float) -> str:
    """Why it cannot be paid of what is left of the budget behind what was ``promised`` to services before it; empty
    where it can, or where there is no budget."""
    if purse is None:
        return ""
    if about.usd is None:
        return f"a budget needs its price; {model.ask_for_price}"
    left = max(0.0, purse.left - promised)
    if about.usd > left:
        return (
            f"stopped before anything is spent: it would take about {dollars(about.usd)}, and the budget of "
            f"{dollars(purse.usd)} has {dollars(left)} left"
        )
    return ""


def money_of(
    embedder: EmbedderBase, asked: Asked, meter: Meter, usd_per_hour: float | None, notes: list[str]
) -> dict[str, float | None]:
    """Dollars of what was judged on and of a million texts as long as the documents in it; None where a price is not
    known, which goes to ``notes``."""
    if isinstance(embedder, ServiceEmbedder):
        price = embedder.price
        counts = [(embedder.lengths(texts, role), len(texts)) for role, texts in asked]
        tokens = sum(int(numbers.sum()) for numbers, _ in counts)
        mean = float(counts[0][0].mean()) if counts and counts[0][1] else 0.0
        if not embedder.bill.counted:
            notes.append("the service counts no tokens: they are guessed from bytes")
        if price is None:
            notes.append(embedder.ask_for_price)
            return {"tokens": tokens, "usd": None, "usd_per_million": None}
        _cite(price, "a million tokens", notes)
        asked_of = {role: numbers for (role, _), (numbers, count) in zip(asked, counts, strict=True) if count}
        return {
            "tokens": tokens,
            "usd": price.of(tokens),
            "usd_per_million": price.of(mean * 1e6),
            "usd_per_thousand": price.of(1e3 * asked_of["query"].mean()) if "query" in asked_of else None,
        }
    rate = meter.rate("document") or meter.rate("text")
    if usd_per_hour is None or not rate:
        return {"tokens": None, "usd": None, "usd_per_million": None}
    return {
        "tokens": None,
        "usd": meter.seconds / 3600 * usd_per_hour,
        "usd_per_million": 1e6 / rate / 3600 * usd_per_hour,
    }


def money_of_order(
    scorer: ServiceScorer, queries: Sequence[str], documents: Sequence[str], before: Row, notes: list[str]
) -> dict[str, float | None]:
    """Dollars of a first stage and of the service that orders what it found; None where a price is not known, which
    goes to ``notes``."""
    _, tokens = scorer.units(queries, documents)
    if not scorer.bill.counted:
        notes.append("the service does not say what it counts: it is guessed from bytes")
    counted = (before.tokens or 0) + (0 if scorer.by_search else tokens)
    price = scorer.price
    if price is None:
        notes.append(scorer.ask_for_price)
        return {"tokens": counted, "usd": None, "usd_per_million": before.usd_per_million}
    _cite(price, "a search" if scorer.by_search else "a million tokens", notes)
    here = price.of(tokens)
    return {
        "tokens": counted,
        "usd": here + (before.usd or 0.0),
        "usd_per_million": before.usd_per_million,
        "usd_per_thousand": 1e3 * here / max(1, len(set(queries))) + (before.usd_per_thousand or 0.0),
    }


def _cite(price: Price, what: str, notes: list[str]) -> None:
    """Where a price stood, to ``notes``."""
    if price.date or price.source:
        notes.append(f"${price.usd:g} for {what}, {' '.join(filter(None, (price.date, price.source)))}")


def break_even(rows: Sequence[Row], values: dict[str, float], usd_per_hour: float | None) -> list[str]:
    """For every service with a price beside the best local model: what an hour of this machine may cost before the
    service is the cheaper one."""
    local = [row for row in rows if not row.hosted and row.texts_per_second and row.dollars_matter]
    if not local:
        return []
    best = max(local, key=lambda row: values[row.candidate])
    hours = 1e6 / (best.texts_per_second or 1) / 3600
    out = []
    for row in rows:
        if not row.hosted or not row.dollars_matter or not row.usd_per_million:
            continue
        line = (
            f"a million texts cost {dollars(row.usd_per_million)} at {row.candidate} and {hours:,.2f} hours of this "
            f"machine with {best.candidate}: the same where an hour costs {dollars(row.usd_per_million / hours)}"
        )
        if usd_per_hour is not None:
            own = hours * usd_per_hour
            cheaper, by = (
                (best, row.usd_per_million / own) if own < row.usd_per_million else (row, own / row.usd_per_million)
            )
            line += f"; at {dollars(usd_per_hour)} {cheaper.candidate} is cheaper, {by:,.1f} times"
        out.append(line)
    return out


def amount(tokens: int, by_search: bool) -> str:
    """What a service counts, in words.

    >>> amount(1200, False), amount(3_000_000, True)
    ('about 1,200 tokens', 'about 3 searches')
    """
    return f"about {round(tokens / SEARCH):,} searches" if by_search else f"about {tokens:,} tokens"


def dollars(amount: float | None) -> str:
    """An amount in as many digits as it needs.

    >>> dollars(0.000123), dollars(12.5), dollars(0), dollars(None)
    ('$0.00012', '$12.50', '$0', '—')
    """
    if amount is None:
        return "—"
    if not amount:
        return "$0"
    if abs(amount) >= 0.995:
        return f"${amount:,.2f}"
    return f"${amount:.{1 - math.floor(math.log10(abs(amount)))}f}"


def duration(seconds: float) -> str:
    """Seconds, minutes or hours.

    >>> duration(7), duration(400), duration(30_000)
    ('7 seconds', '7 minutes', '8.3 hours')
    """
    if seconds < 100:
        return f"{seconds:.0f} seconds"
    return f"{seconds / 60:.0f} minutes" if seconds < 6000 else f"{seconds / 3600:.1f} hours"
