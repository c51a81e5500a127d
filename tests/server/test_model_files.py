"""A model that is a file, served."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("gguf")
pytest.importorskip("onnx")
pytest.importorskip("fastapi")
httpx = pytest.importorskip("httpx")

from fuzz.gguf import TEXTS, write
from served import Server

from umekomi.models import load


def test_a_gguf_file_is_served_under_its_name(tmp_path):
    path = write(tmp_path / "small.gguf", "bert")
    with Server(path) as running:
        answer = httpx.post(f"{running.url}/v1/embeddings", json={"model": "small", "input": TEXTS}, timeout=60)
    found = np.array([row["embedding"] for row in answer.json()["data"]], np.float32)
    assert (found * load(path).encode(TEXTS)).sum(1).min() > 0.9999
