"""What was written beside what was wanted."""

from __future__ import annotations

import random

import numpy as np
import pytest

sacrebleu = pytest.importorskip("sacrebleu")
pytest.importorskip("rouge_score")

from umekomi.errors import DataError
from umekomi.statistics import STATISTICS
from umekomi.tasks.generation import bleu_counts, order_gap, written_scores

WORDS = ["the", "cat", "dog", "sat", "ran", "on", "mat", "under", "tree", "and", "then"]


def texts(seed, count=20):
    generator = random.Random(seed)
    return [" ".join(generator.choices(WORDS, k=generator.randint(1, 14))) for _ in range(count)]


@pytest.mark.parametrize("seed", range(6))
def test_bleu_is_sacrebleus_of_the_whole(seed):
    generator = random.Random(seed)
    wanted = texts(seed)
    written = [" ".join(word for word in text.split() if generator.random() < 0.7) + " and" for text in wanted]
    if seed == 5:  # nothing of three words in a row is right
        wanted, written = ["the cat sat on the mat under"], ["the cat ran on the dog tree"]
    found = STATISTICS["bleu"](bleu_counts(wanted, written))
    assert found == pytest.approx(sacrebleu.corpus_bleu(written, [wanted], tokenize="none").score / 100, abs=1e-9)
    rows = np.array([0, 3, 3, 7]) % len(wanted)
    again = STATISTICS["bleu"](bleu_counts(wanted, written)[rows])
    whole = sacrebleu.corpus_bleu([written[i] for i in rows], [[wanted[i] for i in rows]], tokenize="none")
    assert again == pytest.approx(whole.score / 100, abs=1e-9)


def test_the_same_text_is_one_and_another_is_nothing():
    wanted = ["the cat sat on the mat .\na dog ran under a tree .", "then it sat .\nand ran on ."]
    scores = written_scores(wanted, wanted)
    assert {name: score.value for name, score in scores.items()} == pytest.approx(
        {"bleu": 1, "rouge-1": 1, "rouge-2": 1, "order gap": 0}
    )
    none = written_scores(wanted, ["", "zzz"])
    assert none["bleu"].value == none["rouge-1"].value == 0 and "order gap" not in none
    assert scores["bleu"].interval().low <= 1
    with pytest.raises(DataError, match="expected as many texts as are wanted \\(2\\), found 1"):
        written_scores(wanted, ["x"])


def test_order_gap_against_its_definition():
    wanted = [f"sentence {name} of them" for name in ("one", "two", "three", "four")]
    turned = wanted[::-1]
    assert order_gap(wanted, wanted) == 0
    assert order_gap(wanted, turned) == 2  # each step is −1, one less than it should be by two
    assert order_gap(wanted, [wanted[0], wanted[0], wanted[3]]) == pytest.approx((1 + 2) / 2)
    assert order_gap(wanted, wanted[:1]) is None and order_gap(wanted[:1], wanted) is None
