"""StarSpace: L. Wu, A. Fisch, S. Chopra, K. Adams, A. Bordes, J. Weston, "StarSpace: embed all the things!" (AAAI 2018,
arXiv 1709.03856).

Everything is a bag of features, and everything is learned alike: a left bag's vector must be nearer to its right bag's
than to those of negatives, by a margin or by a softmax.

Where paper and released code differ, the default is the code's, whose settings the published examples use, and a field
has the other: Adagrad keeps one number a row (``adagrad="row"``; ``"coordinate"`` is the textbook's, ``"off"`` plain
SGD); the gradient is not sent through the normalisation (``jacobian=True`` sends it); in ``mode`` 5 the window reaches
one word less to the right than to the left (``short_window=False`` for both alike); rows are kept at length one or less
(``norm_limit``). The released program stops after ``validationPatience`` epochs without a better validation error and
keeps the last table; here the validation examples are a share of the data (``validation``), and the table of the best
epoch is kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, NamedTuple, TypeAlias

import numpy as np

from umekomi.data.graphs import REVERSED
from umekomi.data.shapes import SHAPES, shape_name
from umekomi.data.vocabulary import count_tokens, resolve_tokenizer, split_words
from umekomi.errors import DataError
from umekomi.fields import Above, AtLeast, Within
from umekomi.files import content_hash
from umekomi.models.bags import BagEmbedder
from umekomi.models.entity import begin_with
from umekomi.parts.kernels.threads import cores
from umekomi.parts.learning.arrays import curve, learn, order
from umekomi.parts.ngrams import with_ngrams
from umekomi.recipes import OPTIONAL, Paper, Recipe, Start
from umekomi.run import Run

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

    from umekomi.contracts import Floats

LABEL = "__label__"
LOSSES = ("hinge", "softmax")
ADAGRAD = ("off", "row", "coordinate")
MODE_OF = {
    "labelled texts": 0,
    "bags": 0,
    "triples": 0,
    "graph": 0,
    "hierarchy": 0,
    "pairs": 4,
    "documents": 3,
    "texts": 5,
}


class Examples(NamedTuple):
    """Left bags (one an example, maybe empty) and right bags (``example_offsets`` says whose), as feature numbers."""

    names: list[str]
    labels: list[str]
    left_offsets: NDArray[np.int64]
    left_ids: NDArray[np.int32]
    left_weights: NDArray[np.float32]
    example_offsets: NDArray[np.int64]
    bag_offsets: NDArray[np.int64]
    bag_ids: NDArray[np.int32]
    bag_weights: NDArray[np.float32]


@dataclass(frozen=True)
class StarSpace(Recipe):
    """One objective embeds words, texts, labels, users and graphs: whatever occurs together comes to lie together.

    ``mode`` (None: by the data's shape): 0 left bag → one of its right bags (labels, links) · 1 of a collection, one
    item from the others (recommendation) · 2 the others from one · 3 two of a collection (sentences of a document) · 4
    the first → the second (pairs) · 5 a word from its window. ``word_weight`` adds mode 5 on the left texts beside
    modes 0 to 4.

    With ``validation`` above zero that share of the examples is held out, and the epochs end when the loss on them has
    not come below its best for ``patience`` of them.

    ``threads`` 0 takes every core (Hogwild: not the same bits twice); 1 is reproducible.
    """

    name: ClassVar[str] = "starspace"
    paper: ClassVar[Paper] = Paper(
        "StarSpace: embed all the things!", "Wu, Fisch, Chopra, Adams, Bordes & Weston", 2018, "AAAI", "1709.03856"
    )
    learns: ClassVar[tuple[str, ...]] = tuple(MODE_OF)
    repeats: ClassVar[bool] = True
    begins: ClassVar[str | None] = OPTIONAL
    supervised: ClassVar[bool] = True

    mode: Annotated[int | None, Within(0, 5, "[]")] = None
    dimensions: Annotated[int, AtLeast(1)] = 100
    learning_rate: Annotated[float, Above(0)] = 0.01
    epochs: Annotated[int, AtLeast(1)] = 5
    similarity: Literal["cosine", "dot"] = "cosine"
    loss: Literal["hinge", "softmax"] = "hinge"
    margin: float = 0.05
    negatives: Annotated[int, AtLeast(1)] = 10
    """The hinge keeps at most so many that violate the margin,"""
    search: Annotated[int, AtLeast(1)] = 50
    """of so many drawn (the softmax uses all)."""
    batch_size: Annotated[int, AtLeast(1)] = 5
    adagrad: Literal["off", "row", "coordinate"] = "row"
    power: float = 0.5
    jacobian: bool = False
    norm_limit: Annotated[float, AtLeast(0)] = 1.0
    share: bool = True
    ngrams: Annotated[int, AtLeast(1)] = 1
    buckets: Annotated[int, AtLeast(1)] = 2_000_000
    min_count: Annotated[int, AtLeast(1)] = 1
    drop_left: Annotated[float, Within(0, 1)] = 0.0
    drop_right: Annotated[float, Within(0, 1)] = 0.0
    window: Annotated[int, AtLeast(1)] = 5
    short_window: bool = True
    word_weight: Annotated[float, AtLeast(0)] = 0.0
    tokenizer: str = "auto"
    scale: Annotated[float, Above(0)] = 0.001
    validation: Annotated[float, Within(0, 1)] = 0.0
    patience: Annotated[int, AtLeast(1)] = 10
    threads: Annotated[int, AtLeast(0)] = 0

    @classmethod
    def small(cls) -> StarSpace:
        return cls(epochs=10, learning_rate=0.05)

    @classmethod
    def tiny(cls) -> StarSpace:
        return cls(dimensions=8, epochs=2, search=5, negatives=2, threads=1)

    def learn(self, data: pa.Table, start: Start, run: Run) -> BagEmbedder:
        from umekomi.parts.kernels.bags import starspace
        from umekomi.parts.kernels.draw import mix

        mode, tokenizer, examples = self._examples(data)
        generator = np.random.default_rng(run.seed & 0xFFFFFFFF)
        shape_of = (len(examples.names), self.dimensions)
        left = generator.normal(0, self.scale, shape_of).astype(np.float32)
        right = left if self.share else generator.normal(0, self.scale, shape_of).astype(np.float32)
        begin_with(left, examples.names, start, self.name)
        adagrad = ADAGRAD.index(self.adagrad)
        width = (0, 1, self.dimensions)[adagrad]
        left_squares = np.zeros((len(examples.names) if width else 1, max(width, 1)), np.float32)
        right_squares = left_squares if self.share else left_squares.copy()
        arrays: dict[str, Any] = {"left": left, "left_squares": left_squares} | (
            {} if self.share else {"right": right, "right_squares": right_squares}
        )
        sentence = np.repeat(np.arange(len(examples.left_offsets) - 1), np.diff(examples.left_offsets))
        passes = [(mode, 1.0)] + ([(5, self.word_weight)] if self.word_weight and mode != 5 else [])
        usable, positions = self._usable(mode, examples), np.arange(len(examples.left_ids))
        held_out = self._held(positions if mode == 5 else usable, run.seed)
        if len(held_out) and mode == 5:
            positions = np.setdiff1d(positions, held_out)
        elif len(held_out):
            usable = np.setdiff1d(usable, held_out)
            positions = positions[~np.isin(sentence, held_out)]
        longest = {kind: self._longest(kind, examples) for kind, _ in passes}
        shuffled: dict[int, Any] = {}

        def begin(epoch: int) -> None:
            for number, (kind, _) in enumerate(passes):
                part = positions if kind == 5 else usable
                shuffled[kind] = part[order(len(part), run.seed + number, epoch)]

        def loss_of(
            kind: int, part: NDArray[np.int64], rate: float, squares: tuple[Floats, Floats], state: Any
        ) -> float:
            return starspace(  # type: ignore[no-any-return]
                left,
                right,
                *squares,
                part,
                examples.left_offsets,
                examples.left_ids,
                examples.left_weights,
                examples.example_offsets,
                examples.bag_offsets,
                examples.bag_ids,
                examples.bag_weights,
                sentence,
                longest[kind],
                kind,
                LOSSES.index(self.loss),
                self.similarity == "cosine",
                np.float32(self.power),
                np.float32(self.margin),
                self.search,
                min(self.negatives, self.search),
                np.float32(rate),
                adagrad,
                self.jacobian,
                np.float32(self.norm_limit),
                self.batch_size,
                self.window,
                self.short_window,
                self.drop_left if rate else 0.0,
                self.drop_right if rate else 0.0,
                state,
            )

        def work(epoch: int, low: int, high: int, thread: int) -> float:
            total = 0.0
            for kind, weight in passes:
                part = shuffled[kind]
                first, last = low * len(part) // count, high * len(part) // count
                rate = max(self.learning_rate * (1 - (epoch + low / count) / self.epochs), 1e-9) * weight
                total += weight * loss_of(
                    kind, part[first:last], rate, (left_squares, right_squares), mix(run.seed, epoch, low, thread, kind)
                )
            return total

        def after(epoch: int) -> bool:
            """The held-out examples' loss (a step of rate zero changes nothing but the squares, which are a copy's),
            and whether it is time to stop."""
            if not len(held_out):
                return False
            seen = arrays["validation"]
            seen[epoch] = loss_of(
                mode, held_out, 0.0, (left_squares.copy(), right_squares.copy()), mix(run.seed, mode)
            ) / len(held_out)
            best = int(np.argmin(seen[: epoch + 1]))
            if best == epoch:
                for name, table in tables.items():
                    arrays[f"best {name}"][...] = table
            return epoch - best >= self.patience

        tables = {"left": left} | ({} if self.share else {"right": right})
        if len(held_out):
            arrays |= {f"best {name}": table.copy() for name, table in tables.items()} | {
                "validation": np.zeros(self.epochs)
            }
        count = len(positions if mode == 5 else usable)
        losses = learn(
            arrays,
            self.epochs,
            count,
            work,
            run=run,
            unit="examples",
            threads=self.threads,
            begin=begin,
            after=after,
            rows={"left": examples.names, "right": examples.names},
            hint=f"a smaller learning_rate (now {self.learning_rate}) usually mends this",
            key=content_hash(
                self.settings(),
                run.seed,
                *(part.tobytes() if isinstance(part, np.ndarray) else part for part in examples),
            ),
            piece=20_000,
        )
        about = {
            "mode": mode,
            "features": len(examples.names),
            "examples": count,
            "loss": curve(losses),
        }
        if len(held_out):
            left, right = arrays["best left"], arrays.get("best right", right)
            about["validation loss"] = curve(arrays["validation"][: len(losses)])
        card = {"training": about, "threads": cores(self.threads)}
        return BagEmbedder(
            examples.names,
            left,
            metric=self.similarity,
            power=self.power,
            tokenizer=tokenizer,
            ngrams=self.ngrams,
            buckets=self.buckets,
            labels=examples.labels,
            right=None if self.share else right,
            name=self.name,
            card=card,
        )

    def _held(self, examples: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
        """The examples that are held out for validation, in order."""
        if not self.validation:
            return examples[:0]
        size = max(round(len(examples) * self.validation), 1)
        if size >= len(examples):
            raise DataError(f"{self.name}, validation: expected two examples or more, found {len(examples)}")
        return np.sort(np.random.default_rng([seed & 0xFFFFFFFF, 1]).choice(examples, size, replace=False))

    def _examples(self, data: pa.Table) -> tuple[int, str, Examples]:
        """(mode, tokenizer, examples) of data of any shape that fits."""
        kind = shape_name(data)
        left, right, tokenizer, weights = _sides(data, kind, self.tokenizer)
        if self.ngrams > 1:
            left = [with_ngrams(bag, self.ngrams, self.buckets) for bag in left]
        if kind == "bags" and self.mode in (1, 2, 3, 4) and any(left):
            # in these modes every bag of a line is alike: the left one is the first
            right = [[first, *bags] if first else bags for first, bags in zip(left, right, strict=True)]
            if weights is not None:
                weights = [[] for _ in right], [[a, *b] if a else b for a, b in zip(*weights, strict=True)]
            left = [[] for _ in right]
        mode = self.mode if self.mode is not None else (1 if kind == "bags" and not any(left) else MODE_OF[kind])
        return mode, tokenizer, _numbered(left, right, weights, self.min_count, self.name)

    def _usable(self, mode: int, examples: Examples) -> NDArray[np.int64]:
        """The examples that have what the mode needs."""
        bags = np.diff(examples.example_offsets)
        needed = (1, 2, 2, 2, 2, 0)[mode]
        fits = bags >= needed
        if mode == 0:
            fits &= np.diff(examples.left_offsets) > 0
        if mode == 5 and len(examples.left_ids) < 2:
            raise DataError("starspace, mode 5: expected texts of two words or more, found none")
        if mode != 5 and not fits.any():
            what = "a left bag and a right one" if mode == 0 else f"{needed} right bags or more"
            raise DataError(f"starspace, mode {mode}: expected examples with {what}, found none among {len(bags)}")
        return np.flatnonzero(fits)

    def _longest(self, mode: int, examples: Examples) -> int:
        if mode == 5:
            return 2 * self.window + 1
        bags = np.diff(examples.bag_offsets)
        sums = np.add.reduceat(np.append(bags, 0), examples.example_offsets[:-1]) if len(bags) else np.zeros(1)
        sums[np.diff(examples.example_offsets) == 0] = 0
        return int(max(np.diff(examples.left_offsets).max(initial=1), sums.max(initial=1), 1))


BagWeights: TypeAlias = "tuple[list[list[float]], list[list[Any]]]"
"""Weights of the features of every left bag, and of every right one."""


def _sides(
    data: pa.Table, kind: str, tokenizer: str
) -> tuple[list[list[str]], list[list[list[str]]], str, BagWeights | None]:
    """(left features, right bags of features, the tokenizer, weights or None) of every example."""
    columns = [data[column].to_pylist() for column in SHAPES[kind].columns]
    weights = None
    if kind in ("labelled texts", "texts"):
        tokenizer = resolve_tokenizer(columns[0], tokenizer)
        left = split_words(columns[0], tokenizer).to_pylist()
        right = [[[f"{LABEL}{label}"]] for label in columns[1]] if kind == "labelled texts" else [[] for _ in left]
    elif kind == "pairs":
        tokenizer = resolve_tokenizer(columns[0] + columns[1], tokenizer)
        a, b = (split_words(column, tokenizer).to_pylist() for column in columns)
        left, right = [[] for _ in a], [[x, y] for x, y in zip(a, b, strict=True)]
    elif kind == "documents":
        documents = [row if isinstance(row, list) else [row] for row in columns[0]]
        flat = [sentence for document in documents for sentence in document]
        tokenizer = resolve_tokenizer(flat, tokenizer)
        words = iter(split_words(flat, tokenizer).to_pylist())
        left, right = [[] for _ in documents], [[next(words) for _ in document] for document in documents]
    elif kind == "triples":
        tokenizer = "spaces"
        left = [
            bag
            for head, relation, tail in zip(*columns, strict=True)
            for bag in ([head, relation], [tail, relation + REVERSED])
        ]
        right = [bag for head, _, tail in zip(*columns, strict=True) for bag in ([[tail]], [[head]])]
    elif kind in ("graph", "hierarchy"):
        tokenizer = "spaces"
        left, right = [[str(a)] for a in columns[0]], [[[str(b)]] for b in columns[1]]
    else:
        tokenizer = "spaces" if tokenizer == "auto" else tokenizer
        left = [[str(feature) for feature in bag or []] for bag in columns[0]]
        right = [
            [[str(f) for f in bag] if isinstance(bag, list) else [str(bag)] for bag in bags or []]
            for bags in columns[1]
        ]
        if "left_weights" in data.column_names:
            weights = data["left_weights"].to_pylist(), data["right_weights"].to_pylist()
    return left, right, tokenizer, weights


def _numbered(
    left: list[list[str]], right: list[list[list[str]]], weights: BagWeights | None, min_count: int, who: str
) -> Examples:
    import pyarrow as pa

    bags = [bag for example in right for bag in example]
    kind = pa.large_list(pa.large_string())
    coded = count_tokens(
        pa.chunked_array([pa.array(left, kind), pa.array(bags, kind)]),
        min_count if weights is None else 1,
        who,
        keep=LABEL,
    )
    cut = coded.offsets[len(left)]
    example_offsets = np.zeros(len(right) + 1, np.int64)
    np.cumsum([len(example) for example in right], out=example_offsets[1:])
    given = np.ones(len(coded.ids), np.float32)
    if weights is not None:
        flat = [weight for row in weights[0] for weight in row or []]
        flat += [
            weight for rows in weights[1] for row in rows or [] for weight in (row if isinstance(row, list) else [row])
        ]
        if len(flat) != len(given):
            raise DataError(f"{who}: expected a weight for each of {len(given)} features, found {len(flat)}")
        given = np.array(flat, np.float32)
        if not np.isfinite(given).all():
            raise DataError(
                f"{who}: feature {int(np.flatnonzero(~np.isfinite(given))[0]) + 1}: expected a finite weight"
            )
    labels = [name for name in coded.names if name.startswith(LABEL)]
    return Examples(
        coded.names,
        labels,
        coded.offsets[: len(left) + 1],
        coded.ids[:cut],
        given[:cut],
        example_offsets,
        coded.offsets[len(left) :] - cut,
        coded.ids[cut:],
        given[cut:],
    )
