"""Epochs of a compiled learner: progress, checkpoints, and a look at the numbers after each."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from umekomi.errors import UmekomiError
from umekomi.files import content_hash, whole_file
from umekomi.parts.kernels.threads import cores, run_all, shards
from umekomi.progress import say
from umekomi.run import Run

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Arrays = Mapping[str, NDArray[Any]]

PIECE = 200_000
"""Items between two looks at the clock and the keyboard."""
SAVE_SECONDS = 20.0


def learn(
    arrays: Arrays,
    epochs: int,
    size: int,
    work: Callable[[int, int, int, int], float],
    *,
    run: Run,
    unit: str,
    threads: int = 0,
    begin: Callable[[int], None] = lambda epoch: None,
    after: Callable[[int], bool] = lambda epoch: False,
    rows: Mapping[str, Sequence[str]] | None = None,
    hint: str = "a smaller rate usually mends this",
    key: str = "",
    piece: int = PIECE,
    keep_end: bool = False,
) -> list[float]:
    """Change ``arrays`` in place, ``epochs`` times over ``size`` items; returns the mean loss of each epoch.

    Numbers that are not finite end the job with the epoch, the row and ``hint``. Where the run has a checkpoint folder,
    the arrays are kept there every 20 seconds, and an interrupted job goes on behind the last whole epoch.

    Args:
        arrays: all that learning changes, by name.
        epochs: how often all items are gone over.
        size: how many items there are.
        work: ``work(epoch, low, high, thread)`` runs items ``low`` to ``high`` of an epoch and returns their summed
            loss; it must release the GIL, and is called by all threads at once on ranges of their own.
        run: who, seed, checkpoint, progress.
        unit: what the items are, for the bar.
        threads: 0: one a core.
        begin: ``begin(epoch)`` prepares one.
        after: ``after(epoch)`` says whether it was the last; what it remembers is among ``arrays``.
        rows: the name of each row of an array, for errors.
        hint: what mends numbers that are not finite.
        key: names the data and the settings; a checkpoint of another, or of other ``arrays`` at first, is left out.
        piece: items that a thread takes at once.
        keep_end: keeps the arrays behind the last epoch too, whenever that is: other stages follow, and a cut in one of
            them does not run this one again.
    """
    file = run.checkpoint / "epochs.npz" if run.checkpoint else None
    if file is not None:
        key = content_hash(key, *[[name, content_hash(array.tobytes())] for name, array in sorted(arrays.items())])
    done, losses = _resume(arrays, file, key, run.who)
    saved = time.monotonic()
    count = cores(threads)
    with run.bar(epochs * size, unit, done=done * size) as bar:
        for epoch in range(done, epochs):
            begin(epoch)
            total = 0.0
            for start, stop in shards(size, -(-size // (piece * count)) or 1):
                calls = [
                    (epoch, start + low, start + high, thread)
                    for thread, (low, high) in enumerate(shards(stop - start, count))
                ]
                total += sum(run_all(work, calls))
                bar.advance(stop - start)
            losses.append(total / max(size, 1))
            _finite(arrays, losses[-1], epoch, run.who, rows or {}, hint)
            if after(epoch):
                break
            due = time.monotonic() - saved > SAVE_SECONDS or (keep_end and epoch + 1 == epochs)
            if file is not None and due:
                with whole_file(file) as temporary, temporary.open("wb") as stream:
                    np.savez(stream, **{**arrays, "epochs_done": epoch + 1, "losses": losses, "key": key})  # type: ignore[arg-type]
                saved = time.monotonic()
    return losses


def _resume(arrays: Arrays, file: Path | None, key: str, who: str) -> tuple[int, list[float]]:
    if file is None or not file.is_file():
        return 0, []
    with np.load(file, allow_pickle=False) as kept:
        if str(kept["key"]) != key or any(kept[name].shape != array.shape for name, array in arrays.items()):
            say(f"note: {file} belongs to other data or settings: {who} starts anew")
            return 0, []
        for name, array in arrays.items():
            array[...] = kept[name]
        return int(kept["epochs_done"]), [float(loss) for loss in kept["losses"]]


def _finite(arrays: Arrays, loss: float, epoch: int, who: str, rows: Mapping[str, Sequence[str]], hint: str) -> None:
    for name, array in arrays.items():
        if not np.isfinite(array.sum()):
            bad = ~np.isfinite(array.reshape(len(array), -1)).all(1)
            if bad.any():
                row = int(np.flatnonzero(bad)[0])
                called = f" ({rows[name][row]!r})" if name in rows and row < len(rows[name]) else ""
                raise UmekomiError(
                    f"{who}: epoch {epoch + 1}, {name} row {row + 1}{called}: expected finite numbers, found NaN or "
                    f"infinity; {hint}"
                )
    if not np.isfinite(loss):
        raise UmekomiError(f"{who}: epoch {epoch + 1}: expected a finite loss, found {loss}; {hint}")


def order(size: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """The items of an epoch, shuffled: int64 ``[size]``."""
    return np.random.default_rng([seed & 0xFFFFFFFF, epoch]).permutation(size)


def curve(losses: Sequence[float], most: int | None = None) -> list[float]:
    """Losses as a model's card keeps them: four digits, at most about so many of them.

    >>> curve([1.23456, 1.1, 1.0], most=2)
    [1.235, 1.1, 1.0]
    """
    return [float(f"{loss:.4g}") for loss in losses[:: max(1, len(losses) // most) if most else 1]]
