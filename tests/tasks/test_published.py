"""A published figure of minilm's proves the plumbing. The long one, SciFact's, is a claim: ``umekomi reproduce
published-minilm``."""

from __future__ import annotations

import pytest
from conftest import needs_data

from umekomi.verbs.evaluate import evaluate


@pytest.mark.rare
@needs_data
def test_minilm_on_sts_benchmark(minilm):
    assert evaluate(minilm, "stsb", batch_size=64).value == pytest.approx(0.8203, abs=5e-5)
