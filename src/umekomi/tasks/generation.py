"""Texts that a model writes beside those that it should have written: BLEU (by sacrebleu), ROUGE (by rouge-score), and
how well the order of sentences is kept."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from umekomi.errors import DataError, MissingExtra
from umekomi.parts.words import tokenizer
from umekomi.tasks.base import Score


def written_scores(wanted: Sequence[str], written: Sequence[str]) -> dict[str, Score]:
    """``bleu`` and ``rouge-1``, ``rouge-2`` (F-measures), 0 to 1, of texts with a sentence a line; ``order gap`` of
    those that have one (:func:`order_gap`). BLEU is of lower-cased words and marks as the Penn Treebank cuts them."""
    if len(wanted) != len(written) or not wanted:
        raise DataError(f"generation: expected as many texts as are wanted ({len(wanted)}), found {len(written)}")
    scores = {"bleu": Score(bleu_counts(wanted, written), "bleu")}
    try:
        from rouge_score.rouge_scorer import RougeScorer
    except ImportError:
        raise MissingExtra("rouge-score", "generation", "ROUGE") from None
    scorer = RougeScorer(["rouge1", "rouge2"])
    rouge = [scorer.score(a, b) for a, b in zip(wanted, written, strict=True)]
    for name in ("rouge1", "rouge2"):
        scores[f"rouge-{name[-1]}"] = Score(np.array([each[name].fmeasure for each in rouge], np.float64))
    gaps = [order_gap(a.splitlines(), b.splitlines()) for a, b in zip(wanted, written, strict=True)]
    known = np.array([gap for gap in gaps if gap is not None], np.float64)
    if len(known):
        scores["order gap"] = Score(known)
    return scores


def bleu_counts(wanted: Sequence[str], written: Sequence[str]) -> np.ndarray:
    """float64 ``[texts, 10]``: of one to four words in a row how many of a text are right, then how many there are,
    then its length and that of the wanted one: what the statistic ``bleu`` makes one figure of."""
    try:
        from sacrebleu.metrics import BLEU
    except ImportError:
        raise MissingExtra("sacrebleu", "generation", "BLEU") from None
    cut, metric = tokenizer("treebank"), BLEU(tokenize="none", effective_order=True)
    rows = []
    for a, b in zip(wanted, written, strict=True):
        score = metric.sentence_score(" ".join(cut(b.lower())), [" ".join(cut(a.lower()))])
        rows.append([*score.counts, *score.totals, score.sys_len, score.ref_len])
    return np.array(rows, np.float64)


def order_gap(wanted: Sequence[str], written: Sequence[str]) -> float | None:
    """How far the order of sentences is lost, 0 where it is kept: each sentence that was written stands for the wanted
    one that it shares most with (F-measure of words, the earlier of equals), and for each two that follow each other
    |p' − p − 1| is taken of these places, on average (after Li, Luong & Jurafsky 2015, whose coherence measure it
    names). None where fewer than two sentences were written, or wanted.

    >>> order_gap(["a b", "c d", "e f"], ["a b", "c d", "e f"]), order_gap(["a b", "c d", "e f"], ["e f", "a b"])
    (0.0, 3.0)
    """
    cut = tokenizer("treebank")
    goal, made = ([Counter(cut(sentence.lower())) for sentence in side] for side in (wanted, written))
    if min(len(goal), len(made)) < 2:
        return None
    places = []
    for sentence in made:
        shared = [2 * (sentence & other).total() / max(sentence.total() + other.total(), 1) for other in goal]
        places.append(int(np.argmax(shared)))
    return float(np.mean([abs(after - before - 1) for before, after in pairwise(places)]))
