"""Networks learned from labelled texts or pairs of texts, each a row of word numbers: batches, a part held out for the
learning-rate rule and the best epoch, accuracy on it."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from umekomi.errors import DataError
from umekomi.files import content_hash
from umekomi.parts.layers.sentence import padded
from umekomi.parts.learning.modules import History, learn
from umekomi.parts.learning.samplers import Buckets, Epoch, shuffled
from umekomi.run import Run

Ids = NDArray[np.int64]
Loss = Callable[[nn.Module, Any], Tensor]


class LabelledBatch(NamedTuple):
    """``classes`` int64 ``[batch]``; of each side ids int64 ``[batch, time]``, zero behind an end, and lengths."""

    classes: Tensor
    sides: tuple[tuple[Tensor, Tensor], ...]


@dataclass(frozen=True)
class LabelledRows:
    """Rows of word numbers by side (one, or two of pairs), each with a class."""

    sides: tuple[Sequence[Ids], ...]
    classes: Ids
    names: tuple[str, ...]
    """The classes' names."""

    @staticmethod
    def of(sides: Sequence[Sequence[Ids]], labels: Sequence[Any], who: str) -> LabelledRows:
        """With the classes that the labels name, in order; the error for fewer than two."""
        names, classes = np.unique(np.array([str(label) for label in labels]), return_inverse=True)
        if len(names) < 2:
            raise DataError(f"{who}: column 'label': expected two labels or more, found only {str(names[0])!r}")
        return LabelledRows(tuple(sides), classes.astype(np.int64), tuple(names.tolist()))

    @property
    def lengths(self) -> Ids:
        """Of the longer side."""
        return np.array([max(map(len, texts)) for texts in zip(*self.sides, strict=True)], np.int64)

    def batch(self, rows: Ids, generator: Any = None) -> LabelledBatch:
        """These rows."""
        sides = tuple(padded([side[row] for row in rows]) for side in self.sides)
        return LabelledBatch(torch.from_numpy(self.classes[rows]), sides)

    def content(self) -> str:
        """Names all of it."""
        whole = [np.concatenate([*side, np.array([len(row) for row in side])]).tobytes() for side in self.sides]
        return content_hash(self.classes.tobytes(), self.names, *whole)


def held_out(groups: Sequence[Hashable], share: float, generator: np.random.Generator) -> tuple[Ids, Ids]:
    """(rows to learn from, rows held out): whole groups, until about ``share`` of the rows are held out, one group of
    each at least."""
    owners: dict[Hashable, list[int]] = {}
    for row, group in enumerate(groups):
        owners.setdefault(group, []).append(row)
    if len(owners) < 2:
        raise DataError(f"expected two different texts or more, found {len(owners)}")
    order = list(owners.values())
    chosen: list[int] = []
    for place in generator.permutation(len(order))[:-1]:
        if chosen and len(chosen) >= share * len(groups):
            break
        chosen += order[place]
    held = np.sort(np.array(chosen, np.int64))
    return np.setdiff1d(np.arange(len(groups)), held), held


def learn_labelled(
    module: nn.Module,
    data: LabelledRows,
    groups: Sequence[Hashable],
    loss: Loss,
    *,
    run: Run,
    key: str,
    share: float,
    batch_size: int,
    epochs: int,
    by_length: bool = True,
    **how: Any,
) -> tuple[History, dict[str, Any]]:
    """Train ``module`` by :func:`~umekomi.parts.learning.modules.learn`: ``module(*sides)`` gives logits first, and
    ``loss(module, batch)`` is what falls. The accuracy on the rows held out says what the rule and the best epoch need.
    Gives the history, and what a card says of it.

    Args:
        module: the network and its head.
        data: the rows.
        groups: rows that share one stay together where some are held out.
        loss: a scalar of the module and a :class:`LabelledBatch`.
        run: who, seed, checkpoint, progress.
        key: names the settings; the data's content is added.
        share: of the rows that is held out.
        batch_size: rows a batch.
        epochs: how often all rows are read at most; 0: the module stays as it is.
        by_length: whether rows of like length make a batch.
        how: for ``learn``: optimiser, schedule, clip, patience ...
    """
    try:
        train, held = held_out(groups, share, run.generator(1 << 20))
    except DataError as error:
        raise DataError(f"{run.who}: {error}") from None
    if not epochs:
        module.eval()
        return History(ended="epochs"), {"rows": 0, "labels": list(data.names), "epochs": 0}
    lengths = data.lengths

    def make(rows: Ids, generator: np.random.Generator) -> LabelledBatch:
        return data.batch(train[rows])

    def batches(epoch: int, generator: np.random.Generator) -> Epoch[LabelledBatch]:
        plan = Buckets(lengths[train], make, batch_size) if by_length else shuffled(len(train), make, batch_size)
        return plan(epoch, generator)

    order = held[np.argsort(lengths[held], kind="stable")]

    def accuracy(judged: nn.Module) -> float:
        where = next(judged.parameters()).device
        right = 0
        for at in range(0, len(order), batch_size):
            batch = data.batch(order[at : at + batch_size])
            logits = judged(*[(ids.to(where), counts) for ids, counts in batch.sides])[0]
            right += int((logits.argmax(1).cpu() == batch.classes).sum())
        return right / len(order)

    history = learn(
        module,
        batches,
        loss,
        run=run,
        key=content_hash(key, data.content(), train.tobytes()),
        epochs=epochs,
        validate=accuracy,
        size=lambda batch: len(batch.classes),
        unit="rows",
        **how,
    )
    about = {
        "rows": len(train),
        "held out": len(held),
        "labels": list(data.names),
        **history.described("accuracy"),
    }
    return history, about


def cross_entropy(module: nn.Module, batch: LabelledBatch) -> Tensor:
    """Of the logits, and what else the module wants to be small beside it."""
    logits, penalty = module(*batch.sides)
    loss = functional.cross_entropy(logits, batch.classes)
    return loss if penalty is None else loss + penalty
