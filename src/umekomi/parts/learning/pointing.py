"""Texts that learn to point at given vectors (Hill+ 2016, TACL; 2016, NAACL): a text's vector must be nearer in cosine
to its own target than to another one's, by a margin. For bags of words, all of which is linear, in NumPy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from umekomi.parts.learning.arrays import learn, order
from umekomi.run import Run

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]


def learn_bags(
    bags: Any,
    words: Floats,
    target: Floats,
    *,
    run: Run,
    key: str,
    names: Sequence[str],
    generator: np.random.Generator,
    given: bool,
    margin: float,
    epochs: int,
    learning_rate: float,
    batch_size: int,
    unit: str,
) -> tuple[Floats, list[float]]:
    """(a vector of each word in the targets' space: its row of ``words``, which are learned, sent through a map that is
    learned too; the loss of each epoch).

    Args:
        bags: how often each word is in each text, sparse ``[texts, words]``.
        words: float32 ``[words, dim]``, changed in place.
        target: each text's, of length one, ``[texts, out]``.
        run: who, seed, checkpoint, progress.
        key: names data and settings.
        names: of the words.
        generator: draws the map.
        given: whether the words stay as they are.
        margin: between the cosines.
        epochs: times through the texts.
        learning_rate: Adagrad's.
        batch_size: texts a step.
        unit: what the texts are, for the bar.
    """
    count, width = len(target), words.shape[1]
    step = np.eye(width, target.shape[1], dtype=np.float32) + generator.normal(
        0, 0.01, (width, target.shape[1])
    ).astype(np.float32)
    past_words, past_step = np.zeros(len(words), np.float32), np.zeros_like(step)
    shuffled = np.zeros(0, np.int64)

    def begin(epoch: int) -> None:
        nonlocal shuffled
        shuffled = order(count, run.seed, epoch)

    def work(epoch: int, low: int, high: int, thread: int) -> float:
        total = 0.0
        others = np.random.default_rng([run.seed & 0xFFFFFFFF, epoch, low])
        for begun in range(low, high, batch_size):
            rows = shuffled[begun : min(begun + batch_size, high)]
            part = bags[rows]
            summed = part @ words
            out = summed @ step
            length = np.maximum(np.linalg.norm(out, axis=1, keepdims=True), 1e-6)
            unit = out / length
            right, wrong = target[rows], target[others.integers(0, count, len(rows))]
            missed = margin - np.einsum("nd,nd->n", unit, right - wrong)
            total += float(np.maximum(missed, 0).sum())
            pull = np.where(missed[:, None] > 0, wrong - right, np.float32(0)) / np.float32(len(rows))
            pull = (pull - np.einsum("nd,nd->n", pull, unit)[:, None] * unit) / length
            by_step = summed.T @ pull
            if not given:
                by_words = (part.T @ (pull @ step.T)).astype(np.float32)
                touched = np.unique(part.indices)
                past_words[touched] += (by_words[touched] ** 2).mean(1)
                words[touched] -= learning_rate * by_words[touched] / np.sqrt(past_words[touched] + 1e-8)[:, None]
            np.add(past_step, by_step**2, out=past_step)
            np.subtract(step, learning_rate * by_step / np.sqrt(past_step + 1e-8), out=step)
        return total

    losses = learn(
        {"words": words, "map": step, "past_words": past_words, "past_map": past_step},
        epochs,
        count,
        work,
        run=run,
        unit=unit,
        threads=1,
        begin=begin,
        rows={"words": list(names)},
        key=key,
        piece=10_000,
    )
    return words @ step, losses
