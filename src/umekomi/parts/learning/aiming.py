"""A network that reads texts and learns to point at given vectors: :mod:`.pointing`'s loss, in torch."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from umekomi.errors import DataError
from umekomi.files import content_hash
from umekomi.parts.learning.checkpoint import move_tree
from umekomi.parts.learning.generating import Ragged
from umekomi.parts.learning.modules import History, learn
from umekomi.parts.learning.samplers import Buckets, hold_out
from umekomi.run import Run


class Aimed(NamedTuple):
    """Texts (ids ``[texts, time]``, lengths), the vectors they should point at and those they should not, of length
    one, ``[texts, dim]``."""

    texts: tuple[Tensor, Tensor]
    right: Tensor
    wrong: Tensor


def pointing_loss(vectors: Tensor, right: Tensor, wrong: Tensor, margin: float) -> Tensor:
    """Mean of max(0, margin − cos(v, right) + cos(v, wrong)); ``right`` and ``wrong`` have length one."""
    unit = nn.functional.normalize(vectors)
    return torch.relu(margin - (unit * (right - wrong)).sum(1)).mean()


def learn_to_point(
    network: nn.Module,
    texts: Ragged,
    target: NDArray[np.float32],
    *,
    run: Run,
    key: str,
    margin: float,
    held_out: float,
    batch_size: int,
    epochs: int,
    unit: str,
    **how: Any,
) -> tuple[History, dict[str, Any]]:
    """Train ``network(ids, lengths).vectors`` to point at ``target``; the loss of the texts held out chooses
    the epoch. Gives the history, and what a card says of it.

    Args:
        network: what reads.
        texts: what is read.
        target: float32 ``[texts, dim]`` of length one.
        run: who, seed, checkpoint, progress.
        key: names the settings; the data's content is added.
        margin: between the cosines.
        held_out: share of the texts that is held out.
        batch_size: texts a batch.
        epochs: times through the texts.
        unit: what the texts are, for the bar.
        how: for ``learn``: optimiser, clip, patience ...
    """
    if len(texts) < 2:
        raise DataError(f"{run.who}: expected two texts or more to learn from, found {len(texts)}")
    train, held = hold_out(len(texts), held_out, run.generator(1 << 20))
    targets = torch.from_numpy(target)

    def aimed(rows: NDArray[np.int64], generator: np.random.Generator) -> Aimed:
        others = generator.integers(0, len(targets), len(rows))
        return Aimed(texts.take(rows).padded(), targets[rows], targets[others])

    def loss(module: nn.Module, batch: Aimed) -> Tensor:
        return pointing_loss(module(*batch.texts).vectors, batch.right, batch.wrong, margin)

    order = held[np.argsort(texts.lengths[held], kind="stable")]

    def missed(judged: nn.Module) -> float:
        generator, where, total = run.generator(1 << 22), next(judged.parameters()).device, 0.0
        for at in range(0, len(order), batch_size):
            batch = move_tree(aimed(order[at : at + batch_size], generator), where)
            total += float(loss(judged, batch)) * len(batch.right)
        return total / len(order)

    history = learn(
        network,
        Buckets(texts.lengths[train], lambda rows, generator: aimed(train[rows], generator), batch_size),
        loss,
        run=run,
        key=content_hash(key, texts.content(), target.tobytes(), train.tobytes()),
        epochs=epochs,
        validate=missed,
        better="lower",
        size=lambda batch: len(batch.right),
        unit=unit,
        **how,
    )
    return history, {"rows": len(train), "held out": len(held), **history.described("loss held out")}
