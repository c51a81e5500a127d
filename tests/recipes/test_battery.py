from __future__ import annotations

import json

import numpy as np
import pytest
from battery import answers_of, check_data_of, check_fields_of, check_recipe, check_shape, sample, start

from umekomi.recipes import get, names

SAVED = {}


@pytest.mark.parametrize("name", names())
def test_what_every_recipe_promises(name, tmp_path, monkeypatch):
    model = check_recipe(name, tmp_path, monkeypatch)
    SAVED[name] = (tmp_path / "model", answers_of(model))


@pytest.mark.parametrize(("name", "shape"), [(name, shape) for name in names() for shape in get(name).learns[1:]])
def test_every_shape_that_a_recipe_names(name, shape):
    check_shape(name, shape)


def test_every_saved_model_is_the_same_in_a_fresh_process(fresh):
    """One process for all: it opens each folder that the tests above left and prints a hash of its vectors."""
    if not SAVED:
        pytest.skip("the recipes were tested elsewhere")
    told = fresh(
        f"""
import hashlib, json, sys
sys.path.insert(0, {str(__file__.rpartition("/")[0])!r})
from battery import answers_of
from umekomi.models import load
folders = { ({name: str(place) for name, (place, _) in SAVED.items()})!r}
print(json.dumps({{name: hashlib.sha256(answers_of(load(place)).tobytes()).hexdigest() for name, place in folders.items()}}))
"""
    )
    import hashlib

    want = {name: hashlib.sha256(vectors.tobytes()).hexdigest() for name, (_, vectors) in SAVED.items()}
    assert json.loads(told.splitlines()[-1]) == want


@pytest.mark.parametrize("name", names())
def test_bad_fields_are_refused_where_a_recipe_is_made(name):
    assert check_fields_of(name) >= min(1, len(get(name).fields()))


@pytest.mark.parametrize("name", names())
def test_bad_data_is_one_line(name):
    check_data_of(name)


def test_a_shape_not_used_before_is_seen_as_one_that_is():
    judged = sample("near2", "judged pairs")
    model = get("csr").tiny().fit(judged, start=start("csr"))
    assert model.card["training"]["contrast"] == "pairs"
    assert np.isfinite(answers_of(model)).all()
