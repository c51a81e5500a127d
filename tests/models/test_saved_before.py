"""Folders and figures written by an earlier version (commit ab2c856, before checksums): each opens, is the same model by
its fingerprint, and gives the same vectors."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from fuzz.folders import answers

from umekomi.models import load

SAVED = Path(__file__).parent / "saved"
KNOWN = json.loads((SAVED / "known.json").read_text())
LIGHT = ("bags", "bm25", "entity", "hashing", "random", "static", "tfidf", "transformed")


@pytest.mark.parametrize("kind", [kind for kind in KNOWN if kind != "versions"])
def test_a_folder_of_an_earlier_version_is_the_same_model(kind, tmp_path):
    if kind not in LIGHT:
        pytest.importorskip("sentence_transformers")
    folder = shutil.copytree(SAVED / kind, tmp_path / kind)
    model, known = load(folder), KNOWN[kind]
    assert (model.kind, model.name, model.card) == (known["kind"], known["name"], known["card"])
    with np.load(SAVED / f"{kind}.npz") as want:
        found = answers(model)
        assert len(found) == len(want.files)
        for place, values in enumerate(found):
            assert values == pytest.approx(want[str(place)], abs=1e-5)
    if kind not in LIGHT:
        import sentence_transformers
        import transformers

        if [transformers.__version__, sentence_transformers.__version__] != KNOWN["versions"]:
            pytest.skip("transformers writes its version into the folder, and so into the fingerprint")
    if known["fingerprint"]:
        assert model.fingerprint() == known["fingerprint"]
    model.save(folder)  # in its place, now with checksums
    again = load(folder)
    assert all((a == b).all() for a, b in zip(answers(again), found, strict=True))
    if known["fingerprint"]:
        assert again.fingerprint() == known["fingerprint"]
