"""A comparison's finished rows, and what follows from them: order, paired differences, a recommendation."""

from __future__ import annotations

import dataclasses
import math
import platform
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from umekomi.comparison.candidates import DEPTH
from umekomi.comparison.costs import break_even, dollars
from umekomi.comparison.details import Duel, Group, column_of, corrected, duel, groups, undecided
from umekomi.comparison.plan import Plan
from umekomi.environment import hardware, package_versions
from umekomi.files import plain, read_json, write_json
from umekomi.statistics import Interval, interval, paired_interval
from umekomi.tasks import Score

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from umekomi.data.columns import Given

BASELINES = ("bm25", "tfidf", "random", "hashing", "lsa", "untrained", "linear")


@dataclass(frozen=True)
class Row:
    """One finished candidate."""

    candidate: str
    key: str
    metric: str
    statistic: str
    values: list[Any]
    others: dict[str, Interval]
    dimensions: int | None
    bytes_per_item: float | None
    texts_per_second: float | None
    queries_per_second: float | None
    ms_per_query: float | None
    training_seconds: float
    licence: str
    notes: tuple[str, ...] = ()
    hits: dict[str, Any] = field(default_factory=dict)
    start: str | None = None
    model: str | None = None
    makes: str = "embedder"
    items_per_second: float | None = None
    """Pairs that a scorer scores, rows that a predictor predicts; what stands for them is :attr:`unit`. An embedder
    encodes each text once, in how many pairs it may stand."""
    task_seconds: float | None = None
    """Seconds of encoding, scoring or predicting what was judged: the cost that all kinds of model share."""
    ms_p95: float | None = None
    """Of the queries whose median is ``ms_per_query``, the 95th percentile."""
    tokens: int | None = None
    """That a service counted, or is guessed to have read, for what was judged."""
    usd: float | None = None
    """Dollars of what was judged; None where a price is not known."""
    usd_per_million: float | None = None
    """Dollars of a million texts as long as the documents."""
    usd_per_thousand: float | None = None
    """Dollars of a thousand queries: what a service takes for reading them, or for ordering what they found."""
    fusion: str | None = None
    """Of a tuned fusion: what an index of it is made with, as ``umekomi index --fusion`` takes it."""

    @property
    def hosted(self) -> bool:
        """Is it a service that counts tokens?"""
        return self.tokens is not None

    @property
    def dollars_matter(self) -> bool:
        """Does it do the work that a service would be paid for: an embedder that is no baseline?"""
        return self.makes == "embedder" and not self.baseline and not self.hybrid

    @property
    def hybrid(self) -> bool:
        """Is it BM25 fused with another one?"""
        return self.candidate.startswith("bm25+") and self.bare != "bm25"

    @property
    def unit(self) -> str:
        """What ``items_per_second`` counts."""
        return {"scorer": "pairs", "reranked": "pairs", "predictor": "rows"}.get(self.makes, "texts")

    @property
    def score(self) -> Score:
        """The value of every item."""
        return Score(np.array(self.values, np.float64), self.statistic)

    @property
    def baseline(self) -> bool:
        """Whether this is something that knows nothing of language or of the task."""
        return self.bare in BASELINES

    def ending_in(self, ending: str) -> Row:
        """The row with this behind its name and behind the one that it was trained from."""
        start = self.start and f"{self.start}{ending}"
        return dataclasses.replace(self, candidate=f"{self.candidate}{ending}", start=start)

    @property
    def bare(self) -> str:
        """The candidate's name without width, stemming and size of chunks."""
        return re.sub(r"/\d+$", "", self.candidate).split("@")[0].partition("+stem")[0]


@dataclass(frozen=True)
class Comparison:
    """All finished candidates, best first, what was skipped and why, and what to do now."""

    data: str
    task: str
    metric: str
    size: dict[str, int]
    rows: list[Row]
    intervals: dict[str, Interval]
    differences: dict[str, Interval]
    baseline: str | None
    gains: dict[str, tuple[str, Interval]]
    """For a candidate that was trained from another one listed here: which, and the paired difference to it."""
    skipped: dict[str, str]
    notes: tuple[str, ...]
    winner: str
    recommendation: str
    next_command: str
    out: Path
    about: dict[str, Any]
    corrected: dict[str, float] = field(default_factory=dict)
    """The p of each difference to the best baseline, corrected by Holm for their number."""
    undecided: tuple[str, ...] = ()
    """What cannot be told from the best, and how many more items would settle it."""
    duel: Duel | None = None
    by: str | None = None
    groups: tuple[Group, ...] = ()
    money: tuple[str, ...] = ()
    """Where a service and this machine cost the same, and what was spent."""

    def to_json(self) -> dict[str, Any]:
        """What ``--json`` prints: everything but the value of every item."""
        rows = [
            {key: value for key, value in dataclasses.asdict(row).items() if key not in ("values", "hits")}
            | {
                "value": self.intervals[row.candidate],
                "difference": self.differences.get(row.candidate),
                "gain": self.gains.get(row.candidate),
                "p_corrected": self.corrected.get(row.candidate),
            }
            for row in self.rows
        ]
        own = {
            name: getattr(self, name)
            for name in (
                "data",
                "task",
                "metric",
                "size",
                "baseline",
                "skipped",
                "notes",
                "winner",
                "recommendation",
                "about",
                "undecided",
                "by",
                "money",
            )
        } | {
            "duel": None if self.duel is None else dataclasses.asdict(self.duel),
            "groups": [dataclasses.asdict(group) for group in self.groups],
        }
        return own | {"rows": rows, "next_command": self.next_command, "out": str(self.out)}


def write_row(file: Path, row: Row) -> None:
    """Keep a finished row."""
    write_json(file, plain(dataclasses.asdict(row)))


def read_row(file: Path) -> Row:
    """A finished row, as it was kept."""
    fields = read_json(file)
    others = fields["others"].items()  # null: a figure that is no number
    fields["others"] = {
        metric: Interval(*(math.nan if value is None else value for value in values)) for metric, values in others
    }
    fields["notes"] = tuple(fields["notes"])
    return Row(**fields)


def conclude(
    planned: Plan,
    rows: list[Row],
    skipped: dict[str, str],
    folder: Path,
    budget_bytes: float | None,
    budget_ms: float | None,
    specs: list[str],
    data: Given,
    by: str | None = None,
    usd_per_hour: float | None = None,
    spent: float | None = None,
) -> Comparison:
    """Order the rows, compare each with the best baseline and with what it was trained from, and say which to use.

    Args:
        planned: what was judged on.
        rows: of all candidates that were judged.
        skipped: candidates that were not, and why.
        folder: where the comparison is kept.
        budget_bytes: the most an item may take for a candidate to be recommended.
        budget_ms: the most milliseconds a query may take.
        specs: the candidates as they were named, for the command that is written down.
        data: as they were named, for the same.
        by: the column whose values make groups.
        usd_per_hour: what an hour of this machine costs.
        spent: on services in this run, where there was a budget.
    """
    intervals = {row.candidate: interval(row.score.values, row.statistic) for row in rows}
    rows = sorted(rows, key=lambda row: -intervals[row.candidate].value)
    by_name = {row.candidate: row for row in rows}
    baseline = next((row for row in rows if row.baseline), None)

    def against(row: Row, other: Row) -> Interval:
        return paired_interval(row.score.values, other.score.values, row.statistic)

    differences = {
        row.candidate: against(row, baseline) for row in rows if baseline is not None and row is not baseline
    }
    gains = {row.candidate: (row.start, against(row, by_name[row.start])) for row in rows if row.start in by_name}
    winner, recommendation = _recommend(rows, intervals, differences, baseline, budget_bytes, budget_ms, against)
    for name, (start, gain) in gains.items():
        if gain.includes_zero and "@" not in name:
            what = "Ordering anew" if by_name[name].makes == "reranked" else "Training"
            recommendation += f" {what} {name} from {start} shows no settled gain here ({_signed(gain)} includes zero)."
    source = data if isinstance(data, str) else "FILE"
    command = next_command(by_name[winner], planned.task.kind, folder)
    about = {
        "command": f"umekomi compare {' '.join(_quoted(spec) for spec in specs)} --data {source}",
        "python": platform.python_version(),
        "machine": hardware(),
        "versions": package_versions(),
        "data": planned.dataset.fingerprint(),
        "licence of the data": planned.dataset.licence,
    }
    return Comparison(
        planned.dataset.name,
        planned.task.kind,
        rows[0].metric,
        dict(planned.task.size()),
        rows,
        intervals,
        differences,
        baseline.candidate if baseline else None,
        gains,
        skipped,
        planned.notes,
        winner,
        recommendation,
        command,
        folder,
        about,
        corrected=corrected(rows, baseline),
        undecided=tuple(undecided(rows)),
        duel=duel(planned.task, rows, lambda row: by_item(row.score.values, row.statistic)),
        by=by,
        groups=() if by is None else tuple(groups(rows, column_of(planned.task, by, len(rows[0].values)), baseline)),
        money=_money(rows, {name: figure.value for name, figure in intervals.items()}, usd_per_hour, spent),
    )


def _money(
    rows: list[Row], values: dict[str, float], usd_per_hour: float | None, spent: float | None
) -> tuple[str, ...]:
    said = break_even(rows, values, usd_per_hour)
    return (*said, f"spent on services in this run: {dollars(spent)}") if spent is not None else tuple(said)


def next_command(row: Row, task: str, folder: Path = Path()) -> str:
    """What to type next, as it fits the kind of winner: a hybrid is indexed, a table of triples asked for relations, a
    classifier's texts encoded, a table of names searched, a scorer served."""
    model = _quoted(row.model or row.candidate)
    texts = "YOUR_TEXTS.jsonl"
    if task == "chunks":
        name, _, size = row.candidate.rpartition("/")
        row, texts = dataclasses.replace(row, candidate=name), _quoted(f"{folder}/chunks-{size}.jsonl")
    cut = re.search(r"@\d+(:tuned)?$", row.candidate.split(">")[0].strip())
    width = f" --dimensions {row.dimensions}" if cut and row.dimensions else ""
    if row.makes == "predictor":
        return f"umekomi serve {model}"
    if row.makes == "scorer":
        # what was judged is BM25's first hits in the scorer's order
        index = f"umekomi index bm25 {texts} --out library --rerank {model} --depth 100"
        return index if task == "retrieval" else f"umekomi serve {model}"
    if row.makes == "reranked":
        _, *depth, reranker = row.candidate.split(">")
        how = f"--rerank {_quoted(reranker.strip())} --depth {depth[0].strip() if depth else DEPTH}"
        return f"umekomi index {model} {texts} --out library{width} {how}"
    if task == "triple-ranking":
        return f'umekomi search {model} "HEAD RELATION"'
    if task in ("reconstruction", "link-prediction", "hypernymy-ranking"):
        return f'umekomi search {model} "A NAME"'
    if row.hybrid:
        fusion = f" --fusion {row.fusion}" if row.fusion else ""
        both = _quoted(f"bm25+{row.model or row.candidate}")
        return f"umekomi index {both} {texts} --out library{width}{fusion}"
    if task == "chunks":
        return f"umekomi index {model} {texts} --out library{width}"
    if not _dense(row):
        return f'umekomi search {model} --in {texts} "your query"'
    return f"umekomi encode {model} {texts} --out vectors.parquet{width}"


def _quoted(name: str) -> str:
    """As the shell takes it."""
    import shlex

    return shlex.quote(name)


def by_item(values: NDArray[np.float64], statistic: str) -> NDArray[np.float64]:
    """How well each item was done, 0 to 1: its own value, or how near its predicted rank is to its gold rank."""
    from scipy.stats import rankdata

    if values.ndim == 1:
        return values
    if statistic in ("v_measure", "macro_f1"):
        return (values[:, 0] == values[:, 1]).astype(float)
    ranks = rankdata(values, axis=0) / len(values)
    return np.asarray(1 - np.abs(ranks[:, 0] - ranks[:, 1]))


def _dense(row: Row) -> bool:
    return row.bare not in ("bm25", "tfidf")


def _signed(value: Interval) -> str:
    return f"{value.value:+.3f} [{value.low:+.3f}, {value.high:+.3f}]"


def _saved(row: Row, chosen: Row, top: Row) -> str:
    """What ``row`` saves beside the one chosen so far, in words on ``top``; empty where that is too little."""
    if chosen.makes == "scorer" and row.makes == "embedder":
        return ", and reads each text once, not every pair,"
    if row.bytes_per_item is None or chosen.bytes_per_item is None or row.bytes_per_item > chosen.bytes_per_item / 2:
        return ""
    if top.bytes_per_item is None:
        return ", and reads each text once, not every pair,"
    return f" in {row.bytes_per_item / top.bytes_per_item:.0%} of its bytes"


def _recommend(
    rows: list[Row],
    intervals: dict[str, Interval],
    differences: dict[str, Interval],
    baseline: Row | None,
    budget_bytes: float | None,
    budget_ms: float | None,
    against: Callable[[Row, Row], Interval],
) -> tuple[str, str]:
    """The candidate to use and one sentence why: the best within the budgets, or one that cannot be told from it and
    takes at most half the bytes. Of a scorer, which reads every pair anew, an embedder that cannot be told from it
    takes the place: it reads each text once."""
    limits = []
    if budget_bytes is not None:
        limits.append(f"{budget_bytes:,.0f} bytes an item")
    if budget_ms is not None:
        limits.append(f"{budget_ms:g} ms a query")
    fitting = [
        row
        for row in rows
        if (budget_bytes is None or row.bytes_per_item is None or row.bytes_per_item <= budget_bytes)
        and (budget_ms is None or row.ms_per_query is None or row.ms_per_query <= budget_ms)
    ]
    within = f" within {' and '.join(limits)}" if limits else ""
    if not fitting:
        nearest = min(
            rows,
            key=lambda row: (
                ((row.bytes_per_item or 0) / budget_bytes if budget_bytes else 0)
                + ((row.ms_per_query or 0) / budget_ms if budget_ms else 0)
            ),
        )
        text = (
            f"Nothing fits{within}: {nearest.candidate} comes nearest "
            f"({nearest.bytes_per_item or 0:,.0f} bytes, {nearest.ms_per_query or 0:.1f} ms)."
        )
        return nearest.candidate, text
    top = fitting[0]
    chosen, why = top, "the best"
    for row in fitting[1:]:
        saved = _saved(row, chosen, top)
        if saved and against(top, row).low <= 0:
            told = f"on these {len(row.values):,} items not to be told from {top.candidate}"
            chosen, why = row, f"{told} ({_signed(against(top, row))}){saved}"
    figure = intervals[chosen.candidate]
    text = (
        f"Use {chosen.candidate}: {why}{within} "
        f"at {chosen.metric} {figure.value:.3f} [{figure.low:.3f}, {figure.high:.3f}]"
    )
    if baseline is not None and chosen is not baseline:
        difference = differences[chosen.candidate]
        settled = "" if not difference.includes_zero else ", which is not settled"
        text += f", {_signed(difference)} against the best baseline {baseline.candidate}{settled}"
    elif baseline is not None and len(rows) > 1:
        better = any(not row.baseline and intervals[row.candidate].value > figure.value for row in rows)
        text += f"; no learned candidate {'is settled to be' if better else 'does'} better here"
    return chosen.candidate, text + "."
