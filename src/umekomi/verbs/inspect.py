"""The verb ``inspect``: what a model's space looks like, layer by layer where it has layers, beside how well each layer
does on one's own data."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np

from umekomi.comparison.plan import Plan, plan
from umekomi.data import load, shape_name
from umekomi.data.shapes import texts
from umekomi.errors import WrongUse
from umekomi.files import plain, whole_file
from umekomi.inspection.attention import Attends, HeatMap, heat_maps, overlap
from umekomi.limits import checked
from umekomi.models import load_embedder
from umekomi.models.tokens import NetworkEmbedder
from umekomi.progress import say
from umekomi.statistics import Interval, paired_interval
from umekomi.tasks import held_out

if TYPE_CHECKING:
    from umekomi.data.columns import Given
    from umekomi.models.base import Named

MAPS = 12
"""Texts whose attention is drawn."""
DEPTH = 2 / 3
"""The fixed rule that every metric must beat: this share of the layers."""


@dataclass(frozen=True)
class LayerRow:
    """One layer: its figure on the task, the paired difference to the last layer, and its metrics."""

    layer: int
    value: float
    low: float
    high: float
    difference: Interval
    metrics: dict[str, float]


@dataclass(frozen=True)
class Choice:
    """A way to choose a layer without looking at the task (or, the oracle, with), the layer and its figure."""

    rule: str
    layer: int | None
    value: float


@dataclass(frozen=True)
class Correlation:
    """Spearman's correlation of a metric with the figure over layers, its sign kept, and the share of permutations as
    far from zero."""

    metric: str
    value: float
    p: float


@dataclass(frozen=True)
class Inspection:
    """What was found: numbers of the finished vectors, rows by layer, what rules would choose, how metrics go with
    quality."""

    model: str
    data: str
    metric: str
    space: dict[str, float]
    layers: tuple[LayerRow, ...] = ()
    choices: tuple[Choice, ...] = ()
    correlations: tuple[Correlation, ...] = ()
    notes: tuple[str, ...] = field(default=())
    attention: tuple[HeatMap, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


@checked
def inspect(
    model: Named,
    data: Given = "pydocs",
    *,
    out: str | Path | None = None,
    task: str | None = None,
    split: str | None = None,
    layers: bool | None = None,
    repository: bool = False,
    views: int = 4,
    most: int = 500,
    seed: int = 0,
    batch_size: int = 32,
    encoding: str | None = None,
    progress: bool = False,
) -> Inspection:
    """Measure the space of a model on texts: uniformity, anisotropy, effective rank, matrix entropy, and alignment
    where the data has pairs. Of a transformer text embedder also every layer
    (:func:`umekomi.inspection.layers.measure`), with the task that ``data`` makes judged at each.

    Args:
        model: a name, a folder, or an embedder.
        data: whose texts.
        out: writes one page, self-contained; of a network with attention over words it has heat maps of some texts.
        task: the kind of task; None: the one that the columns make.
        split: the split looked at.
        layers: whether each is measured; None: where the model has them.
        repository: takes the released code's definitions where they differ from the paper's.
        views: augmentations of each text, for measures that compare them.
        most: texts at most, drawn with the seed.
        seed: of what is drawn.
        batch_size: items that are encoded at once.
        encoding: of a file that is not UTF-8.
        progress: shows a bar.
    """
    from umekomi.parts import geometry

    embedder = load_embedder(model)
    if "dense" not in embedder.outputs:
        raise WrongUse(
            f"inspect: expected an embedder of dense vectors, {embedder.name} gives "
            f"{' and '.join(sorted(embedder.outputs))}"
        )
    if out is not None and Path(out).suffix != ".html":
        raise WrongUse(f"{out}: expected a file ending in .html")
    by_layer = isinstance(embedder, NetworkEmbedder) if layers is None else layers
    planned, name, own, notes = _planned(load(data, encoding=encoding) if encoding else data, task, split, seed, most)
    all_texts = texts(own, "inspect")
    sample = _drawn([text for text in all_texts if text.strip()], most, seed)
    notes.append(f"metrics on {len(sample):,} of {len(all_texts):,} texts")
    role = "document" if planned is not None and planned.task.kind in ("retrieval", "reranking") else None
    vectors = embedder.encode(sample, output="dense", role=role, batch_size=batch_size, progress=progress)
    space = {
        "dimensions": float(embedder.dimension),
        "uniformity": geometry.uniformity(vectors),
        "anisotropy": geometry.anisotropy(vectors),
        "effective rank": geometry.effective_rank(vectors),
        "matrix entropy": geometry.matrix_entropy(vectors),
    }
    both = _pairs(planned, most, seed) if planned is not None else None
    if both:
        sides = [
            embedder.encode(side, output="dense", role=side_role, batch_size=batch_size)
            for side, side_role in zip(both, ("query", "document") if role else (None, None), strict=True)
        ]
        space["alignment"] = geometry.alignment(*sides)
    rows: list[LayerRow] = []
    metric = ""
    if by_layer:
        from umekomi.inspection.layers import AllLayers, measure

        every = AllLayers(embedder)
        measured = measure(
            every,
            sample,
            role=role,
            repository=repository,
            views=views,
            seed=seed,
            batch_size=batch_size,
            progress=progress,
        )
        if planned is None:
            gone = float("nan")
            rows = [
                LayerRow(number, gone, gone, gone, Interval(gone, gone, gone), numbers)
                for number, numbers in enumerate(measured)
            ]
        else:
            results = [
                planned.task.evaluate(every.layer(number), batch_size=batch_size, progress=progress and number == 0)
                for number in range(every.count)
            ]
            metric, last = results[-1].metric, results[-1].main
            for number, (result, numbers) in enumerate(zip(results, measured, strict=True)):
                difference = paired_interval(result.main.values, last.values, last.statistic)
                rows.append(LayerRow(number, *result.main.interval(), difference, numbers))
            size = ", ".join(f"{count:,} {what}" for what, count in planned.task.size().items())
            notes.append(f"judged on {size} of {planned.task.name}; layer 0 is the embeddings")
        if repository:
            notes.append("metrics as the paper's released code computes them, where it departs from the paper")
    elif layers is None:
        notes.append(f"{embedder.name} is of kind {embedder.kind}: it has no layers to look at")
    maps: tuple[HeatMap, ...] = ()
    if isinstance(embedder, Attends) and embedder.hops:
        space |= overlap(embedder, sample)
        maps = heat_maps(embedder, sample[:: max(1, len(sample) // MAPS)][:MAPS])
        notes.append(f"heat maps of {len(maps)} texts{'' if out else ', drawn where a page is written'}")
    judged = rows if planned is not None else []
    done = Inspection(
        embedder.name,
        name,
        metric,
        space,
        tuple(rows),
        tuple(_choices(judged)),
        tuple(_correlations(judged, seed)),
        tuple(notes),
        maps,
    )
    if out is not None:
        write_page(done, out)
    return done


@dataclass(frozen=True)
class Rewritten:
    """A text, and what a model writes from its vector: a sentence a line, empty where it knows no word of the text."""

    text: str
    written: str


@runtime_checkable
class Writes(Protocol):
    """An embedder that writes a text again from its vector."""

    def reconstruct(self, texts: Any, *, beam: int, progress: bool) -> list[str]:
        """What it writes of each text, of ``beam`` beginnings the likeliest."""


@checked
def reconstruct(
    model: Named,
    data: Given,
    *,
    split: str | None = None,
    beam: int = 1,
    most: int = 500,
    seed: int = 0,
    encoding: str | None = None,
    progress: bool = False,
) -> tuple[Rewritten, ...]:
    """What a model writes back from the vectors of texts: what a vector holds, in words. Of the recipes that learn by
    writing, ``hierarchical-autoencoder`` alone keeps what writes.

    Args:
        model: a name, a folder, or an embedder.
        data: whose texts, each once.
        split: the split looked at; None: the held-out one.
        beam: beginnings that are kept while it writes; 1: the best next word each time.
        most: texts at most, drawn with the seed.
        seed: of what is drawn.
        encoding: of a file that is not UTF-8.
        progress: shows a bar.
    """
    embedder = load_embedder(model)
    if not isinstance(embedder, Writes):
        raise WrongUse(
            f"{embedder.name} cannot write: expected a model of hierarchical-autoencoder, found one of kind "
            f"{embedder.kind} (sdae, skip-thought and nmt keep only what reads)"
        )
    dataset = load(data, encoding=encoding)
    own = texts(dataset[split or held_out(dataset)], "inspect")
    sample = _drawn(own, most, seed)
    if len(sample) < len(own):
        say(f"{len(sample):,} of {len(own):,} texts")
    written = embedder.reconstruct(sample, beam=beam, progress=progress)
    return tuple(Rewritten(text, again) for text, again in zip(sample, written, strict=True))


def _planned(
    data: Given, task: str | None, split: str | None, seed: int, most: int
) -> tuple[Plan | None, str, Any, list[str]]:
    """(the task, or None where bare texts make none; the data's name; whose texts; notes)."""
    dataset = load(data)
    own = dataset[split] if split else dataset[next(iter(dataset))]
    if task is None and shape_name(own) in ("texts", "documents"):
        return (
            None,
            dataset.name,
            own,
            [*dataset.notes, "bare texts: nothing to judge the layers on (pairs, labels or scores would do)"],
        )
    planned = plan(data, task, split, learns=False, seed=seed, max_queries=most)
    return planned, planned.dataset.name, planned.own_texts, list(planned.notes)


def _drawn(items: Sequence[str], most: int, seed: int) -> list[str]:
    if len(items) <= most:
        return list(items)
    return [items[i] for i in np.sort(np.random.default_rng(seed).choice(len(items), most, replace=False))]


def _pairs(planned: Plan, most: int, seed: int) -> tuple[list[str], list[str]] | None:
    """The two sides of positive pairs, where the judged data has them: retrieval's relevant documents, pairs scored in
    the top fifth."""
    data = getattr(planned.task, "data", None)
    if planned.task.kind == "retrieval":
        table = data.pairs()  # type: ignore[union-attr]
        sides = table["anchor"].to_pylist(), table["positive"].to_pylist()
    elif planned.task.kind == "similarity" and data is not None:
        scores = np.array(data["score"].to_pylist(), float)
        good = np.flatnonzero(scores >= 0.8 * scores.max())
        sides = tuple([data[name].to_pylist()[i] for i in good] for name in ("sentence1", "sentence2"))  # type: ignore[assignment]
    else:
        return None
    if len(sides[0]) > most:
        drawn = np.sort(np.random.default_rng(seed).choice(len(sides[0]), most, replace=False))
        sides = [sides[0][i] for i in drawn], [sides[1][i] for i in drawn]
    return (list(sides[0]), list(sides[1])) if len(sides[0]) else None


def _choices(rows: Sequence[LayerRow]) -> list[Choice]:
    """Last, a layer at random, a fixed depth and the oracle; then the lowest and the highest of every metric."""
    if not rows:
        return []
    values = np.array([row.value for row in rows])
    fixed = round(DEPTH * (len(rows) - 1))
    out = [
        Choice("last layer", len(rows) - 1, float(values[-1])),
        Choice("a layer at random (mean)", None, float(values.mean())),
        Choice("two thirds of the depth", fixed, float(values[fixed])),
        Choice("oracle (the best on this data)", int(values.argmax()), float(values.max())),
    ]
    for name in rows[0].metrics:
        numbers = np.array([row.metrics[name] for row in rows])
        if np.isfinite(numbers).all():
            for how, place in (("lowest", int(numbers.argmin())), ("highest", int(numbers.argmax()))):
                out.append(Choice(f"{how} {name}", place, float(values[place])))
    return out


def _correlations(rows: Sequence[LayerRow], seed: int) -> list[Correlation]:
    from scipy.stats import permutation_test, spearmanr

    out: list[Correlation] = []
    if len(rows) < 4:
        return out
    values = np.array([row.value for row in rows])
    for name in rows[0].metrics:
        numbers = np.array([row.metrics[name] for row in rows])
        if not np.isfinite(numbers).all() or np.ptp(numbers) == 0 or np.ptp(values) == 0:
            continue
        test = permutation_test(
            (numbers,),
            lambda x: spearmanr(x, values).statistic,
            permutation_type="pairings",
            n_resamples=5000,
            rng=np.random.default_rng(seed),
        )
        out.append(Correlation(name, float(test.statistic), float(test.pvalue)))
    return out


def write_page(done: Inspection, path: str | Path) -> Path:
    """One self-contained page: the table, curves by depth, choices and correlations; light and dark, without
    network."""
    text = json.dumps(plain(done.to_json()), ensure_ascii=False, allow_nan=False).replace("</", "<\\/")
    template = (Path(__file__).parent / "inspect.html").read_text(encoding="utf-8")
    with whole_file(Path(path)) as temporary:
        temporary.write_text(template.replace('"UMEKOMI_DATA"', text, 1), encoding="utf-8")
    say(f"page: {path}")
    return Path(path)
