"""Two figures that prove the plumbing: minilm's own published ones."""

from __future__ import annotations

import pytest
from conftest import needs_data

from umekomi.evaluation import evaluate


@needs_data
def test_minilm_on_sts_benchmark(minilm):
    assert evaluate(minilm, "stsb", batch_size=64).value == pytest.approx(0.8203, abs=5e-5)


@needs_data
@pytest.mark.slow
def test_minilm_on_scifact(minilm):
    assert evaluate(minilm, "scifact", batch_size=32).value == pytest.approx(0.6451, abs=5e-5)
