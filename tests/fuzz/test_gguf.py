"""A small run of each kind of damage; ``python -m tests.fuzz.gguf`` makes the large ones."""

import pytest

pytest.importorskip("gguf")
pytest.importorskip("onnxruntime")
pytest.importorskip("onnx")

from .gguf import MODELS, case, run, write


def test_no_damaged_header_is_more_than_a_line(capsys):
    counts, wrong = run(150, 1)
    assert wrong == [] and counts["refused"] > 100


def test_the_whole_file_is_right(tmp_path):
    for model in MODELS:
        whole = {model: write(tmp_path / f"{model}.gguf", model).read_bytes()}
        verdicts = {case(f"{seed}", whole, tmp_path / "case.gguf")[0] for seed in range(12)}
        assert "wrong" not in verdicts
