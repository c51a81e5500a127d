"""How candidates are learned, judged and kept.

Candidates run one by one; whatever is finished is kept under a hash of data, candidate, settings and version, so that
an interrupted comparison goes on where it stopped and a repeated one does nothing again.
"""

from __future__ import annotations

import dataclasses
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from umekomi.comparison.candidates import Candidate
from umekomi.comparison.costs import asked_for, money_of
from umekomi.comparison.leaderboard import Row, read_row, write_row
from umekomi.comparison.meter import Journal, Meter, PredictionMeter, ScoreMeter
from umekomi.comparison.plan import Plan
from umekomi.data.sets import overlap
from umekomi.data.shapes import shape_name, shape_of, texts, view_name
from umekomi.data.views import as_retrieval
from umekomi.errors import DataError, UmekomiError, WrongUse
from umekomi.files import content_hash, file_hash, folder_hash, read_json, write_json
from umekomi.models.base import EmbedderBase, Scorer, Sort, describe, sort_of
from umekomi.models.engines.choice import as_reranker, open_to_judge
from umekomi.models.opening import folder_of, resolve
from umekomi.models.prompts import prompts_of, remove_prompts
from umekomi.models.services.embedder import ServiceEmbedder
from umekomi.models.services.endpoints import endpoint_of, is_service
from umekomi.models.services.money import BudgetReached, Purse
from umekomi.models.services.scorer import ServiceScorer
from umekomi.models.services.service import Service
from umekomi.models.truncation import is_truncated
from umekomi.parts import similarity as similarities
from umekomi.parts.ranking import exact_search
from umekomi.progress import say
from umekomi.recipes import OPTIONAL, WORD_VECTORS, Recipe
from umekomi.tasks import Result, Task
from umekomi.tasks.retrieval import RetrievalTask, SearchTask, Shortlist

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from umekomi.contracts import Output
    from umekomi.data.columns import Split
    from umekomi.models.base import Saved

FORMAT = 4
"""Changes when a kept result of an older version may no longer be used: 4 since words fold widths (NFKC) and grades
keep their fractions."""
Ranking: TypeAlias = "tuple[NDArray[np.int64], NDArray[np.floating]]"
LATENCY_QUERIES = 20
LATENCY_SHORTLISTS = 5


def check_folder(folder: Path) -> None:
    """A comparison's own folder, a new one or an empty one; the error for everything else."""
    if folder.is_file():
        raise WrongUse(f"{folder} is a file: expected a folder for the results")
    if (
        folder.is_dir()
        and any(folder.iterdir())
        and not any(
            (folder / name).exists() for name in ("journal.jsonl", "models", "results", "report.html", "questions")
        )
    ):
        raise WrongUse(f"{folder} holds files of something else", parameter="out", advice="choose another folder with")


def a(noun: str) -> str:
    """The noun with its article."""
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def reason_of(error: Exception) -> str:
    """Why a candidate is left out, in one line."""
    text = " ".join(str(error).split())
    return text if isinstance(error, UmekomiError) else f"{type(error).__name__}: {text[:300]}"


class Judging:
    """One comparison's folder and the models open in it.

    Args:
        folder: where all of it is kept.
        base: names the data and the settings: keys of finished work begin with it.
        planned: the task, and what candidates learn from.
        start: the model that recipes go on from.
        seed: of what is learned.
        batch_size: items that are encoded at once.
        progress: shows a bar.
    """

    def __init__(
        self, folder: Path, base: str, planned: Plan, start: str, seed: int, batch_size: int, progress: bool
    ) -> None:
        self.folder, self.base, self.plan, self.start = folder, base, planned, start
        self.seed, self.batch_size, self.progress = seed, batch_size, progress
        self.journal = Journal(folder / "journal.jsonl")
        self.purse: Purse | None = None
        self.usd_per_hour: float | None = None
        self.open: dict[str, tuple[Any, str, float, str | None]] = {}
        self.parsed: dict[str, Candidate] = {}
        self._contents: dict[tuple[str, bool], str] = {}

    def candidate(self, candidate: Candidate) -> tuple[Row, bool]:
        """The finished row, and whether it was finished before."""
        self.parsed[candidate.spec] = candidate
        key = self.row_key(candidate)
        file = self.row_file(key)
        if file.is_file():
            return dataclasses.replace(read_row(file), candidate=candidate.spec), True
        if candidate.first is not None:
            from umekomi.comparison.reranking import reranked

            row = reranked(self, candidate, key)
            write_row(file, row)
            self.journal.note("judged", candidate.spec, key)
            return row, False
        if candidate.recipe is not None:  # said before it is trained
            self._check_sort(candidate.recipe.makes, f"{candidate.name} makes {a(candidate.recipe.makes)}")
        model, model_key, seconds, start = self.model(candidate)
        self._check_sort(sort_of(model), describe(model))
        meter = self._metered(model, model_key, candidate)
        result = self.plan.task.evaluate(meter, batch_size=self.batch_size, progress=self.progress)
        row = self._row(candidate, key, result, meter, seconds, start)
        write_row(file, row)
        self.journal.note("judged", candidate.spec, key)
        return row, False

    def row_key(self, candidate: Candidate) -> str:
        """What a candidate's row is kept under: what it is, and the price of its work, which stands in the row."""
        orders = candidate.first is not None
        parts = [self._identity(candidate, orders), candidate.dimensions, self._price(candidate, orders)]
        if candidate.first is not None:
            parts += [self.row_key(candidate.first), candidate.depth]
        return content_hash(self.base, *parts)

    def model_key(self, candidate: Candidate, orders: bool = False) -> str:
        """What a candidate's model is kept under, whatever it is called."""
        return content_hash(self.base, self._identity(candidate, orders))

    def _price(self, candidate: Candidate, orders: bool) -> Any:
        """Dollars of an hour of this machine, or a service's price."""
        if candidate.recipe is not None or not is_service(candidate.name):
            return self.usd_per_hour
        price = (ServiceScorer if orders else ServiceEmbedder).named(candidate.name).price
        return None if price is None else dataclasses.astuple(price)

    def row_file(self, key: str) -> Path:
        """Where a row is kept."""
        return self.folder / "results" / f"{key}.json"

    def _check_sort(self, sort: Sort | None, found: str) -> None:
        refused = self.plan.task.refuses(sort)
        if refused:
            raise WrongUse(f"{refused}; {found}")

    def _metered(self, model: Any, key: str, candidate: Candidate) -> Meter | ScoreMeter | PredictionMeter:
        """The model with its cost counted, and what it gives kept."""
        width = candidate.dimensions
        if isinstance(model, EmbedderBase):
            if width is not None and ("sparse" in model.outputs or width > model.dimension):
                raise WrongUse(
                    f"cannot be cut to {width} dimensions: {model.name} has "
                    f"{model.dimension}{' sparse ones' if 'sparse' in model.outputs else ''}"
                )
            return Meter(model, self.folder / "vectors" / key, self.journal, candidate.name, width)
        if width is not None:
            raise WrongUse(f"cannot be cut to {width} dimensions: {describe(model)}, and has none")
        if isinstance(model, Scorer):
            return ScoreMeter(model, self.folder / "scores" / key, self.journal, candidate.name)
        return PredictionMeter(model)

    def _identity(self, candidate: Candidate, orders: bool = False) -> str | list[Any]:
        if candidate.recipe is not None:
            start = self._content(self.start) if self._begins(candidate.recipe) else None
            return [candidate.recipe.settings(), start]
        content = self._content(candidate.name, orders)
        return [content, "without prompts"] if candidate.prompts is False else content

    def _begins(self, recipe: Recipe) -> bool:
        """Does it go on from the model that the comparison names?"""
        if recipe.begins == WORD_VECTORS:
            return resolve(self.start).kind == "entity"
        return recipe.begins not in (None, OPTIONAL)

    def _content(self, name: str, orders: bool = False) -> str:
        """:func:`_content_of`, read once in a comparison."""
        if (name, orders) not in self._contents:
            self._contents[name, orders] = _content_of(name, orders)
        return self._contents[name, orders]

    def model(self, candidate: Candidate, orders: bool = False) -> tuple[Any, str, float, str | None]:
        """(model, its key, seconds of training, what it was trained from); learned once, kept in
        ``models/``."""
        key = self.model_key(candidate, orders)
        if key in self.open:
            return self.open[key]
        if candidate.recipe is None:
            model = open_to_judge(as_reranker(candidate.name) if orders else candidate.name)
            if candidate.prompts is False:
                remove_prompts(model, candidate.name)
            elif candidate.prompts and not prompts_of(model):
                raise WrongUse(f"{candidate.name} has no prompts: with and without them it is the same model")
            if isinstance(model, Service):
                model.purse = self.purse
            _warn_overlap(model, self.plan.dataset.name)
            self.open[key] = (model, key, 0.0, None)
            return self.open[key]
        recipe = candidate.recipe
        start = self.start if self._begins(recipe) else None
        folder = self._model_folder(recipe, key)
        seconds_file = folder.with_suffix(".json")
        if not seconds_file.is_file() or not folder.is_dir():
            model, seconds = self._learn(recipe, start, folder)
            model.save(folder)
            write_json(seconds_file, {"seconds": seconds})
            self.journal.note("trained", recipe.name, key)
        self.open[key] = (
            open_to_judge(folder),
            key,
            read_json(seconds_file)["seconds"],
            start if recipe.learns else None,
        )
        return self.open[key]

    def scorer(self, candidate: Candidate) -> tuple[Any, str, float, str | None]:
        """:meth:`model` of what stands behind the >; a service is asked to order texts there, not to encode them."""
        return self.model(dataclasses.replace(candidate, first=None, spec=candidate.name), orders=True)

    def _model_folder(self, recipe: Recipe, key: str) -> Path:
        return self.folder / "models" / f"{recipe.name}-{key[:8]}"

    def _learn(self, recipe: Recipe, start: str | None, folder: Path) -> tuple[Any, float]:
        rows = self._rows(recipe)
        checkpoint = folder.with_name(f".{folder.name}.checkpoints")
        begun = time.perf_counter()
        if not recipe.quick and self.progress:
            settings = ", ".join(f"{name}={value}" for name, value in recipe.settings().items() if name != "recipe")
            say(f"{recipe.name}: training{f' from {start}' if start else ''} ({settings})")
        model = recipe.fit(rows, start=start, seed=self.seed, checkpoint=checkpoint, progress=self.progress)
        seconds = time.perf_counter() - begun
        model.card["trained_on"] = self.plan.dataset.name
        shutil.rmtree(checkpoint, ignore_errors=True)
        return model, seconds

    def _rows(self, recipe: Recipe) -> Split:
        """What the recipe learns from: the training split where it needs one, or likes it better than bare texts; else
        the texts to be searched."""
        if not recipe.learns:
            return None
        if self.plan.train is not None and (recipe.supervised or self._learns_more(recipe)):
            rows = self.plan.train
        elif recipe.supervised:
            raise DataError(f"{recipe.name} learns from {' or '.join(recipe.learns)}, and there is no training split")
        else:
            rows = self.plan.own_texts
        if (
            view_name(shape_of(rows), recipe.learns) is None
            and "pairs" in recipe.learns
            and shape_name(rows) == "texts"
        ):
            rows = as_retrieval(rows)
        return rows

    def _learns_more(self, recipe: Recipe) -> bool:
        """Does the training split hold more for this recipe than texts?"""
        return view_name(shape_of(self.plan.train), recipe.learns) not in (None, "texts")

    def _row(
        self,
        candidate: Candidate,
        key: str,
        result: Result,
        meter: Meter | ScoreMeter | PredictionMeter,
        seconds: float,
        start: str | None,
    ) -> Row:
        notes = list(result.notes)
        if candidate.recipe is not None and candidate.recipe.learns and not candidate.recipe.supervised:
            searched = isinstance(self.plan.task, SearchTask)
            if self.plan.train is not None and self._learns_more(candidate.recipe):
                notes.append("learned from the training split")
            else:
                notes.append(f"learned from the {'texts searched' if searched else 'training texts'}")
        model = self._model_folder(candidate.recipe, self.model_key(candidate)) if candidate.recipe else None
        costs = self._costs(candidate, meter, notes) if isinstance(meter, Meter) else self._costs_of_pairs(meter)
        return Row(
            candidate=candidate.spec,
            key=key,
            metric=result.metric,
            statistic=result.main.statistic,
            values=result.main.values.tolist(),
            others={metric: score.interval() for metric, score in list(result.scores.items())[1:]},
            training_seconds=seconds,
            licence=str(meter.card.get("licence") or "unknown"),
            notes=tuple(notes),
            hits={query: list(found) for query, found in result.hits.items()},
            start=start,
            model=str(model) if model else candidate.name,
            task_seconds=meter.seconds,
            **costs,
        )

    def _costs(self, candidate: Candidate, meter: Meter, notes: list[str]) -> dict[str, Any]:
        """What an embedder costs; what is to be said of its texts goes to ``notes``."""
        embedder = meter.embedder
        if not meter.seen:
            meter.encode(embedder.names[:10_000], batch_size=self.batch_size)
        latency = slow = None
        if isinstance(self.plan.task, SearchTask):
            latency, slow = _latency(embedder, self.plan.task, meter.documents, candidate.dimensions)
        if embedder.card.get("tokenizer"):
            notes.append(f"tokenizer: {embedder.card['tokenizer']}")
        cut = int(is_truncated(embedder, _judged_texts(self.plan.task)).sum())
        if cut:
            notes.append(f"{cut} texts are longer than the model reads and were cut")
        return {
            "dimensions": int(similarities.width(meter.documents)),
            "bytes_per_item": getattr(embedder, "item_bytes", None) or similarities.item_bytes(meter.documents),
            **self._rates(meter),
            "ms_per_query": latency,
            "ms_p95": slow,
            **money_of(embedder, asked_for(self.plan.task), meter, self.usd_per_hour, notes),
        }

    def _rates(self, meter: Meter) -> dict[str, float | None]:
        """Texts and queries a second. A service's are those that were asked for now: what is kept takes no time."""
        embedder = meter.embedder
        if isinstance(embedder, ServiceEmbedder):
            many = embedder.bill.texts or None
            return {
                "texts_per_second": many and many / max(embedder.bill.seconds, 1e-9),
                "queries_per_second": None,
            }
        return {
            "texts_per_second": meter.rate("document")
            or meter.rate("text")
            or next(count / max(took, 1e-9) for count, took in meter.seen.values()),
            "queries_per_second": meter.rate("query"),
        }

    def _costs_of_pairs(self, meter: ScoreMeter | PredictionMeter) -> dict[str, Any]:
        """What a scorer or predictor costs: it stores nothing, and reads all anew."""
        latency = None
        if isinstance(meter, ScoreMeter) and isinstance(self.plan.task, RetrievalTask):
            latency = _latency_of_pairs(meter.scorer, self.plan.task)
        return {
            "dimensions": None,
            "bytes_per_item": None,
            "texts_per_second": None,
            "queries_per_second": None,
            "ms_per_query": latency,
            "items_per_second": meter.count / max(meter.seconds, 1e-9),
            "makes": "scorer" if isinstance(meter, ScoreMeter) else "predictor",
        }

    def ranking(self, candidate: Candidate, queries: Sequence[str], documents: Sequence[str], depth: int) -> Ranking:
        """(document numbers, scores) of an embedder's search, best first, its vectors kept."""
        embedder, key, _, _ = self.model(candidate)
        if not isinstance(embedder, EmbedderBase):
            raise WrongUse(f"expected an embedder to search with; {describe(embedder)}")
        meter = Meter(embedder, self.folder / "vectors" / key, self.journal, candidate.name, candidate.dimensions)
        vectors = meter.encode(list(documents), role="document", batch_size=self.batch_size, progress=self.progress)
        asked = meter.encode(list(queries), role="query", batch_size=self.batch_size, progress=self.progress)
        return exact_search(embedder, asked, vectors, depth)


def _latency_of_pairs(scorer: Scorer, task: RetrievalTask) -> float:
    """Milliseconds from a query's text to its ten best by a scorer, the shortlist's own search with it: the median."""
    import statistics

    shortlist = Shortlist(task.data, task.depth)
    took = []
    for question in task.questions[:LATENCY_SHORTLISTS]:
        begun = time.perf_counter()
        shortlist.scored(scorer, [question])
        took.append(time.perf_counter() - begun)
    return 1000 * statistics.median(took)


def _judged_texts(task: Task) -> list[str]:
    if isinstance(task, SearchTask):
        return [*task.texts(), *task.questions]
    rows = getattr(task, "data", None)
    return texts(rows) if rows is not None and shape_of(rows).texts else []


def _content_of(name: str, orders: bool = False) -> str:
    """Names what a model's name leads to: the content of a folder or a file, or the name; of a service what it is asked
    for, vectors or (``orders``) an order."""
    folder = folder_of(name)
    if folder is not None:
        return folder_hash(folder)
    if is_service(name):
        return content_hash("reranker", endpoint_of(name, True).identity()) if orders else endpoint_of(name).identity()
    return file_hash(name) if Path(name).is_file() else name


def _warn_overlap(model: Saved, name: str) -> None:
    trained = model.card.get("trained_on")
    shared = overlap(trained, name) if trained else None
    if trained == name:
        say(f"note: {model.name} was trained on {trained} (its training split)")
    elif shared:
        say(f"warning: {model.name} was trained on {trained}: {shared}")


def _latency(
    embedder: EmbedderBase, task: SearchTask, documents: Output, dimensions: int | None
) -> tuple[float | None, float | None]:
    """Milliseconds from a query's text to its ten best, one query at a time: (median, 95th percentile) of twenty. A
    service is asked anew for each, whatever is kept; where its budget is gone, there are none."""
    questions = task.questions[:LATENCY_QUERIES]
    took = []
    for question in [questions[0], *questions]:
        more = 0.0
        if isinstance(embedder, ServiceEmbedder):
            try:
                more = embedder.seconds_of(question, "query")
            except BudgetReached:
                return None, None
        begun = time.perf_counter()
        exact_search(embedder, embedder.encode([question], role="query", dimensions=dimensions), documents, 10)
        took.append(time.perf_counter() - begun + more)
    return 1000 * float(np.median(took[1:])), 1000 * float(np.quantile(took[1:], 0.95))
