"""Two figures that prove the plumbing: minilm's own published ones."""

from __future__ import annotations

import pytest
from conftest import needs_data

from umekomi.evaluation import evaluate
from umekomi.models.engine import open_for_encoding


@needs_data
def test_minilm_on_sts_benchmark(minilm):
    assert evaluate(minilm, "stsb", batch_size=64).value == pytest.approx(0.8203, abs=5e-5)


@needs_data
@pytest.mark.slow
def test_minilm_on_scifact():
    """By the engine that encodes where ONNX Runtime is installed: the published figure holds to four decimals."""
    pytest.importorskip("sentence_transformers")
    assert evaluate(open_for_encoding("minilm"), "scifact", batch_size=32).value == pytest.approx(0.6451, abs=5e-5)
