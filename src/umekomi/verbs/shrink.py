"""The verb ``shrink``: what an embedder keeps of its quality in fewer bytes, on one's own data; the best saved."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from umekomi.comparison.plan import Plan, plan
from umekomi.data import load
from umekomi.data.shapes import texts
from umekomi.errors import WrongUse
from umekomi.limits import checked
from umekomi.models import load_embedder
from umekomi.models.cached import CachedEmbedder
from umekomi.models.tokens import NetworkEmbedder
from umekomi.models.transformed import TransformedEmbedder
from umekomi.progress import Progress
from umekomi.statistics import Interval, paired_interval
from umekomi.tasks import Result
from umekomi.transforms import Binary, Int2, Int4, Int8, Pca, RandomProjection, SparseCode, Truncate
from umekomi.transforms.quantize import Levels

if TYPE_CHECKING:
    from umekomi.contracts import Floats, Transform
    from umekomi.data.columns import Given
    from umekomi.models.base import EmbedderBase, Named

BITS = (32, 8, 4, 2, 1)
STORED: dict[int, type[Int8 | Levels | Binary]] = {8: Int8, 4: Int4, 2: Int2, 1: Binary}
ACTIVE = (8, 16, 32, 64)
LOSS = 0.01
"""What the smallest may lose to the whole, by the lower end of the paired interval, where no budget is given."""
MOST_TEXTS = 20_000


@dataclass(frozen=True)
class ShrinkRow:
    """One way to store: the transforms' names, bytes an item, the figure with its interval, and the paired difference
    to the whole. ``best`` no other has as much in as few bytes; ``baseline`` is there to compare with, never chosen."""

    name: str
    bytes_per_item: float
    dimensions: int
    metric: str
    value: float
    low: float
    high: float
    difference: Interval
    best: bool = False
    baseline: bool = False

    @property
    def kept(self) -> float:
        """The share of the whole embedder's figure."""
        return self.value / max(self.value - self.difference.value, 1e-12)


@dataclass(frozen=True)
class Shrinking:
    """What was tried, fewest bytes first, what was chosen, and what is to be known about the figures."""

    rows: tuple[ShrinkRow, ...]
    chosen: ShrinkRow
    notes: tuple[str, ...]
    embedder: Any
    out: Path | None = None


@checked
def shrink(
    model: Named,
    data: Given,
    out: str | Path | None = None,
    *,
    export: str | Path | None = None,
    dims: Sequence[int] | None = None,
    bits: Sequence[int] | None = None,
    sparse: Sequence[int] | None = None,
    layers: Sequence[int] | None = None,
    target_bytes: float | None = None,
    task: str | None = None,
    split: str | None = None,
    plot: str | Path | None = None,
    seed: int = 0,
    batch_size: int = 32,
    encoding: str | None = None,
    progress: bool = False,
) -> Shrinking:
    """Try what stores fewer bytes, on the task that ``data`` makes: prefixes and main directions, fewer bits, sparse
    codes; random projections beside them.

    The best within ``target_bytes`` is saved: the highest figure, of equal ones the fewest bytes. Without a budget it
    is the one of fewest bytes whose paired difference to the whole lies above minus one point with its lower end. What
    the transforms learn, they learn from the training split's texts, or from the documents searched; never from the
    queries. The choice is made on the rows it is judged by: with few of them, expect a little less elsewhere.

    Args:
        model: a name, a folder, or an embedder of dense vectors.
        data: what is judged on.
        out: the folder to save the one chosen to.
        export: writes it as a folder of sentence-transformers' own layers as well, where its transforms are linear;
            what stores fewer bits is left to whoever stores (its quantisation takes over), and a note says so.
        dims: widths; None: halvings from the whole to 16.
        bits: a dimension, of 32, 8, 4, 2 and 1; None: all five.
        sparse: active latents of sparse codes; None: 8 to 64.
        layers: of a transformer, tries the first so many layers as well; the fewest whose paired difference to the
            whole lies above minus one point with its lower end are kept, and everything else is tried behind them.
            Where none does, all layers stay.
        target_bytes: the most an item may take.
        task: the kind of task; None: the one that the columns make.
        split: the split judged on.
        plot: a picture of figures against bytes, PNG, SVG or PDF.
        seed: of what is learned and carved.
        batch_size: items that are encoded at once.
        encoding: of a file that is not UTF-8.
        progress: shows a bar.
    """
    embedder = load_embedder(model)
    if "dense" not in embedder.outputs:
        raise WrongUse(
            f"shrink: expected an embedder of dense vectors, {embedder.name} gives "
            f"{' and '.join(sorted(embedder.outputs))}"
        )
    whole = embedder.dimension
    widths = sorted(
        {int(width) for width in (dims or [whole >> i for i in range(16) if whole >> i >= 16] or [whole])}, reverse=True
    )
    levels, active = tuple(bits or BITS), tuple(ACTIVE if sparse is None else sparse)
    for what, asked, most in (("dims", widths, whole), ("sparse", active, 4 * whole)):
        if any(not 1 <= value <= most for value in asked):
            raise WrongUse(f"shrink, {what}: expected 1 to {most}, found {', '.join(map(str, asked))}")
    if not set(levels) <= set(BITS):
        raise WrongUse(f"shrink, bits: expected 32, 8, 4, 2 or 1, found {', '.join(map(str, levels))}")
    if plot is not None:
        _drawable(Path(plot))
    if out is not None and Path(out).is_file():
        raise WrongUse(f"{out} is a file: expected a folder to save to")
    planned = plan(
        load(data, encoding=encoding) if encoding else data, task, split, learns=True, seed=seed, max_queries=None
    )
    once = CachedEmbedder(embedder)
    full = planned.task.evaluate(once, batch_size=batch_size, progress=progress)
    values, statistic = full.main.values, full.main.statistic
    rows: list[ShrinkRow] = []
    notes = list(planned.notes)
    prefix = ""
    if layers:
        embedder, once, kept_layers, tried = _fewer_layers(embedder, once, planned, full, layers, batch_size, progress)
        rows += tried
        prefix = f"{kept_layers} → " if kept_layers else ""
        notes.append(
            f"{kept_layers} kept"
            if kept_layers
            else f"all layers stay: none of {', '.join(row.name for row in tried)} keeps the quality"
        )
        if kept_layers:
            full = planned.task.evaluate(once, batch_size=batch_size)
    learning = _learning(once, planned, seed, batch_size, progress)
    chain_of: dict[str, list[Any]] = {}
    chains = _chains(once, widths, levels, active, len(learning), seed, target_bytes)
    with Progress("shrink", len(chains), "ways", progress) as bar:
        for chain, baseline in chains:
            vectors: Any = learning
            for transform in chain:
                transform.fit(vectors)
                vectors = transform.transform(vectors)
            shrunk = once.with_transform(*chain) if chain else once
            result = full if not chain else planned.task.evaluate(shrunk, batch_size=batch_size)
            name = " → ".join(_called(transform) for transform in chain)
            name = prefix + name if name else prefix.removesuffix(" → ") or "whole"
            size = float(getattr(shrunk, "item_bytes", None) or 4 * whole)
            difference = paired_interval(result.main.values, values, statistic)
            rows = [row for row in rows if row.name != name]
            rows.append(
                ShrinkRow(
                    name, size, shrunk.dimension, result.metric, *result.main.interval(), difference, baseline=baseline
                )
            )
            chain_of[name] = chain
            bar.advance(1)
    rows = _front(rows)
    chosen = _choose(rows, target_bytes)
    final = embedder.with_transform(*chain_of[chosen.name]) if chain_of[chosen.name] else embedder
    notes += [
        f"judged on {', '.join(f'{count:,} {what}' for what, count in planned.task.size().items())} of "
        f"{planned.task.name}"
    ]
    notes.append(f"the transforms learned from {len(learning):,} vectors")
    if out is not None:
        final.save(out)
    if export is not None:
        notes.append(_exported(final, Path(export)))
    if plot is not None:
        draw(rows, chosen, plot)
    return Shrinking(tuple(rows), chosen, tuple(notes), final, None if out is None else Path(out))


def _exported(final: EmbedderBase, folder: Path) -> str:
    from umekomi.models.folding import fold, without_storage

    bare, left = without_storage(final)
    embedder = fold(bare) if isinstance(bare, TransformedEmbedder) else bare
    if not isinstance(embedder, NetworkEmbedder):
        raise WrongUse(
            f"shrink, export: sentence-transformers' layers hold transformers, {embedder.name} is of kind "
            f"{embedder.kind}"
        )
    embedder.save(folder)
    (folder / "umekomi.json").unlink()
    return f"exported to {folder}" + (
        f" without {' and '.join(left)}: quantise where the vectors are stored" if left else ""
    )


def _fewer_layers(
    embedder: EmbedderBase,
    once: CachedEmbedder,
    planned: Plan,
    full: Result,
    layers: Sequence[int],
    batch_size: int,
    progress: bool,
) -> tuple[EmbedderBase, CachedEmbedder, str, list[ShrinkRow]]:
    """(the embedder with the fewest layers that keep the quality, the same with memory, what it is called or "", a row
    for each that was tried)."""
    from umekomi.inspection.layers import AllLayers, cut_layers

    every = AllLayers(embedder)
    most = every.count - 1
    rows, kept_name = [], ""
    best: tuple[EmbedderBase, CachedEmbedder] = embedder, once
    for count in sorted(set(layers), reverse=True):
        shorter = CachedEmbedder(cut_layers(every.embedder, count))
        result = planned.task.evaluate(shorter, batch_size=batch_size, progress=progress)
        difference = paired_interval(result.main.values, full.main.values, full.main.statistic)
        name = f"first {count} of {most} layers"
        if difference.low > -LOSS:
            best, kept_name = (shorter.embedder, shorter), name
        rows.append(
            ShrinkRow(
                name,
                4.0 * shorter.dimension,
                shorter.dimension,
                result.metric,
                *result.main.interval(),
                difference,
                baseline=True,
            )
        )
    if kept_name:
        rows.insert(
            0,
            ShrinkRow(
                "whole",
                4.0 * once.dimension,
                once.dimension,
                full.metric,
                *full.main.interval(),
                Interval(0.0, 0.0, 0.0),
                baseline=True,
            ),
        )
    return *best, kept_name, rows


def _learning(once: CachedEmbedder, planned: Plan, seed: int, batch_size: int, progress: bool) -> Floats:
    """The vectors that transforms learn from: at most :data:`MOST_TEXTS`."""
    if planned.own_texts is None:
        raise WrongUse(f"shrink: {planned.task.name} has no texts to learn from")
    role = "document" if planned.task.kind in ("retrieval", "reranking") else None
    own_texts = texts(planned.own_texts, "shrink")
    vectors = cast(
        "Floats", once.encode(own_texts, output="dense", role=role, batch_size=batch_size, progress=progress)
    )
    if len(own_texts) > MOST_TEXTS:
        vectors = vectors[np.sort(np.random.default_rng(seed).choice(len(own_texts), MOST_TEXTS, replace=False))]
    return vectors


def _chains(
    once: CachedEmbedder,
    widths: Sequence[int],
    levels: Sequence[int],
    active: Sequence[int],
    rows: int,
    seed: int,
    budget: float | None,
) -> list[Any]:
    """(transforms, is it a baseline) for every way to store that fits the budget; the whole first."""
    whole = once.dimension
    chains: list[tuple[list[Any], bool]] = [([], False)]

    def stored(level: int) -> list[Any]:
        return [made()] if (made := STORED.get(level)) else []

    for width in widths:
        for level in levels:
            if width == whole:
                chains += [(stored(level), False)] if level != 32 else []
                continue
            chains.append(([Truncate(width), *stored(level)], False))
            if rows > width:
                chains.append(([Pca(width), *stored(level)], False))
        if width < whole and 32 in levels:
            chains.append(([RandomProjection(width, seed)], True))
    epochs = min(60, max(5, 400_000 // max(rows, 1)))
    code: dict[str, Any] = {
        "epochs": epochs,
        "batch_size": min(512, max(rows // 4, 2)),
        "learning_rate": 1e-3,
        "weight_decay": 0.0,
        "contrast": 0.0,
        "auxiliary_k": 256,
    }
    chains += [([SparseCode(k, 4 * whole, seed=seed, **code)], False) for k in active]
    return [
        chain
        for chain in chains
        if budget is None or not chain[0] or once.with_transform(*chain[0]).item_bytes <= budget
    ]


def _called(transform: Transform) -> str:
    width = getattr(transform, "width", 0)
    return (
        f"{transform.name} {transform.k} of {width}"
        if isinstance(transform, SparseCode)
        else f"{transform.name} {width}"
        if width
        else transform.name
    )


def _front(rows: list[ShrinkRow]) -> list[ShrinkRow]:
    """By bytes, each marked that no other beats with as few."""
    from dataclasses import replace

    rows = sorted(rows, key=lambda row: (row.bytes_per_item, -row.value))
    highest, out = float("-inf"), []
    for row in rows:
        best = row.value > highest and not row.baseline
        highest = max(highest, row.value) if not row.baseline else highest
        out.append(replace(row, best=best))
    return out


def _choose(rows: list[ShrinkRow], budget: float | None) -> ShrinkRow:
    usable = [row for row in rows if not row.baseline]
    if budget is not None:
        fitting = [row for row in usable if row.bytes_per_item <= budget]
        if not fitting:
            raise WrongUse(
                f"shrink: no way tried takes {budget:g} bytes or fewer; the smallest takes "
                f"{min(row.bytes_per_item for row in usable):g}"
            )
        return max(fitting, key=lambda row: (row.value, -row.bytes_per_item))
    return next(row for row in usable if row.difference.low > -LOSS or row.name == "whole")


def _drawable(path: Path) -> None:
    """What is wrong with drawing to this file: said before the work, not behind it."""
    from umekomi.errors import MissingExtra

    if path.suffix not in (".png", ".svg", ".pdf"):
        raise WrongUse(f"{path}: expected a file ending in .png, .svg or .pdf")
    if not find_spec("matplotlib"):
        raise MissingExtra("matplotlib", "plots", "a plot")


def draw(rows: Sequence[ShrinkRow], chosen: ShrinkRow, path: str | Path) -> None:
    """Quality against bytes, the front as a line, intervals as bars: PNG, SVG or PDF by the file's ending."""
    path = Path(path)
    _drawable(path)
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    from umekomi.files import whole_file

    figure, axes = pyplot.subplots(figsize=(9, 5.5), layout="constrained")
    families: dict[str, list[ShrinkRow]] = {}
    for row in rows:
        first, _, last = row.name.partition(" → ")
        stored = row.name in {each.name for each in STORED.values()}
        kind = f"whole → {row.name}" if stored else first.split(" ")[0] + (f" → {last}" if last else "")
        families.setdefault(kind, []).append(row)
    for number, (kind, members) in enumerate(families.items()):
        x, y = [row.bytes_per_item for row in members], [row.value for row in members]
        low, high = [max(row.value - row.low, 0) for row in members], [max(row.high - row.value, 0) for row in members]
        axes.errorbar(
            x,
            y,
            yerr=[low, high],
            fmt="osD^vP*X<>"[number % 10],
            color=f"C{number % 10}",
            capsize=2,
            elinewidth=0.7,
            markersize=5,
            label=kind,
            alpha=0.85,
        )
    front = [row for row in rows if row.best]
    axes.plot(
        [row.bytes_per_item for row in front],
        [row.value for row in front],
        color="0.4",
        linewidth=1,
        zorder=0,
        label="best in as few bytes",
    )
    axes.plot(
        [chosen.bytes_per_item], [chosen.value], "o", markersize=14, markerfacecolor="none", color="0.2", zorder=5
    )
    axes.annotate(
        f"chosen: {chosen.name}",
        (chosen.bytes_per_item, chosen.value),
        xytext=(8, -14),
        textcoords="offset points",
        fontsize=9,
    )
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.set_xlabel("bytes an item")
    axes.set_ylabel(chosen.metric)
    axes.grid(alpha=0.25)
    axes.legend(fontsize=8, ncols=2)
    with whole_file(path) as temporary:
        figure.savefig(temporary, dpi=150, format=path.suffix[1:])
    pyplot.close(figure)
