"""Which items make a batch: by length (little padding), or as parallel streams of running text. Each epoch is a
sequence, so a run that goes on within an epoch makes none of the batches behind it again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Generic, TypeVar, overload

import numpy as np
from numpy.typing import NDArray

from umekomi.errors import DataError, WrongUse

Batch = TypeVar("Batch")
Ints = NDArray[np.int64]


class Epoch(Sequence[Batch]):
    """The batches of an epoch, each made when it is asked for, the same whenever that is: ``make(rows, generator)``
    with a generator of the batch's own."""

    def __init__(
        self, plan: Sequence[Ints], make: Callable[[Ints, np.random.Generator], Batch], generator: np.random.Generator
    ) -> None:
        self.plan, self._make = plan, make
        self._seed = int(generator.integers(2**63))

    def __len__(self) -> int:
        return len(self.plan)

    @overload
    def __getitem__(self, index: int) -> Batch: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Batch]: ...
    def __getitem__(self, index: int | slice) -> Batch | Sequence[Batch]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        rows = self.plan[index]
        return self._make(rows, np.random.default_rng([self._seed, range(len(self))[index]]))


@dataclass(frozen=True, eq=False)
class Buckets(Generic[Batch]):
    """Every item once an epoch, in batches of items of like length.

    ``lengths`` int ``[items]``; ``make(rows, generator)`` gives the batch of those rows. A batch has at most
    ``batch_size`` items and at most ``tokens`` places, padding counted (its items times its longest); an item longer
    than that stands alone. Items are sorted by their length times a random factor of 1 to 1 + ``slack``, cut into
    batches, and the batches shuffled: an epoch's places are at most (1 + ``slack``) · (its tokens + the most items of
    a batch · the longest item), so its share of padding is about ``slack`` / 2 where there are many items. Same
    generator, same epoch.
    """

    lengths: Ints
    make: Callable[[Ints, np.random.Generator], Batch] = field(repr=False)
    batch_size: int | None = None
    tokens: int | None = None
    slack: float = 0.1

    def __post_init__(self) -> None:
        object.__setattr__(self, "lengths", np.asarray(self.lengths, np.int64))
        if self.lengths.ndim != 1 or not len(self.lengths):
            raise DataError(f"batches: expected the lengths of one item or more, found shape {self.lengths.shape}")
        if self.lengths.min() < 0:
            raise DataError(f"batches: expected lengths of 0 or more, found {self.lengths.min()}")
        if self.batch_size is None and self.tokens is None:
            raise WrongUse("batches: expected batch_size, tokens or both, found neither")
        for name, value in (("batch_size", self.batch_size), ("tokens", self.tokens)):
            if value is not None and value < 1:
                raise WrongUse(f"batches, {name}: expected 1 or more, found {value}")
        if self.slack < 0:
            raise WrongUse(f"batches, slack: expected 0 or more, found {self.slack}")

    @property
    def items(self) -> int:
        """Items an epoch."""
        return len(self.lengths)

    def plan(self, generator: np.random.Generator) -> list[Ints]:
        """The rows of each batch of an epoch."""
        order = generator.permutation(self.items)
        key = np.maximum(self.lengths[order], 1) * generator.uniform(1.0, 1.0 + self.slack, self.items)
        order = order[np.argsort(key, kind="stable")]
        sizes = self.lengths[order].tolist()
        most = self.batch_size or self.items
        cuts, begin, longest = [0], 0, 0
        for at, size in enumerate(sizes):
            longest = max(longest, size)
            count = at - begin + 1
            if count > 1 and (count > most or (self.tokens is not None and count * longest > self.tokens)):
                cuts.append(at)
                begin, longest = at, size
        batches = [order[low:high] for low, high in zip(cuts, [*cuts[1:], self.items], strict=True)]
        return [batches[i] for i in generator.permutation(len(batches))]

    def __call__(self, epoch: int, generator: np.random.Generator) -> Epoch[Batch]:
        return Epoch(self.plan(generator), self.make, generator)


def hold_out(items: int, share: float, generator: np.random.Generator) -> tuple[Ints, Ints]:
    """(what to learn from, what is held out) of two items or more, in order: about ``share`` of them, one of each at
    least."""
    order = generator.permutation(items)
    count = min(max(1, round(share * items)), items - 1)
    return np.sort(order[count:]), np.sort(order[:count])


def shuffled(items: int, make: Callable[[Ints, np.random.Generator], Batch], batch_size: int) -> Buckets[Batch]:
    """Every item once an epoch, in random order, whatever its length: ``make(rows, generator)`` gives the batch."""
    return Buckets(np.ones(items, np.int64), make, batch_size)


@dataclass(frozen=True, eq=False)
class Streams(Generic[Batch]):
    """Running text for truncated back-propagation: the documents in random order, one behind the other, cut into
    ``batch_size`` streams that go on from batch to batch.

    ``offsets`` int ``[documents + 1]`` are where the documents begin in one long array of tokens;
    ``make(positions, generator)`` gets int64 ``[batch_size, length + 1]`` places in it, so that ``[:, :-1]`` are read
    and ``[:, 1:]`` foretold; consecutive batches share that one place. The last batch may be shorter; the fewer than
    ``batch_size`` · ``lanes`` tokens that fill no row are left out, others each epoch. ``lanes`` sets of streams take
    turns batch by batch, one for each process.
    """

    offsets: Ints
    make: Callable[[Ints, np.random.Generator], Batch] = field(repr=False)
    batch_size: int = 32
    length: int = 20
    lanes: int = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "offsets", np.asarray(self.offsets, np.int64))
        if min(self.batch_size, self.length, self.lanes) < 1:
            raise WrongUse(
                "streams: expected batch_size, length and lanes of 1 or more, found "
                f"{self.batch_size}, {self.length}, {self.lanes}"
            )
        if self._columns < 2:
            raise DataError(
                f"streams: expected {2 * self.batch_size * self.lanes} tokens or more for {self.lanes} × "
                f"{self.batch_size} streams, found {self._tokens}"
            )

    @cached_property
    def _tokens(self) -> int:
        return int(self.offsets[-1] - self.offsets[0])

    @cached_property
    def _columns(self) -> int:
        return self._tokens // (self.batch_size * self.lanes)

    @property
    def items(self) -> int:
        """Tokens foretold an epoch."""
        return (self._columns - 1) * self.batch_size * self.lanes

    def plan(self, generator: np.random.Generator) -> list[Ints]:
        """The places of each batch of an epoch."""
        order = generator.permutation(len(self.offsets) - 1)
        lengths = np.diff(self.offsets)[order]
        ends = np.cumsum(lengths)
        flat = np.repeat(self.offsets[:-1][order] - (ends - lengths), lengths) + np.arange(self._tokens)
        rows = flat[: self._columns * self.batch_size * self.lanes].reshape(self.lanes, self.batch_size, self._columns)
        return [
            rows[lane, :, start : start + self.length + 1]
            for start in range(0, self._columns - 1, self.length)
            for lane in range(self.lanes)
        ]

    def __call__(self, epoch: int, generator: np.random.Generator) -> Epoch[Batch]:
        return Epoch(self.plan(generator), self.make, generator)
