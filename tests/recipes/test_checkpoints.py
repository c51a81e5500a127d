"""What an interrupted fit leaves is gone on from by the same fit alone: same data, settings, start and seed."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from battery import DEFINITIONS, SAMPLES, answers_of, interrupted, network
from conftest import TEXTS

from umekomi.models.entity import EntityEmbedder
from umekomi.recipes import get
from umekomi.run import Run
from umekomi.transforms import SparseCode

WORDS = sorted({word for text in TEXTS for word in text.split()})


def table(seed):
    return EntityEmbedder(WORDS, np.random.default_rng(seed).normal(size=(len(WORDS), 6)).astype(np.float32), name="t")


@pytest.mark.parametrize(("name", "data"), [("captionrep", SAMPLES["captioned images"]), ("dictrep", DEFINITIONS)])
def test_another_start_is_not_gone_on_with(name, data, tmp_path, monkeypatch, capsys):
    recipe = get(name).tiny()
    interrupted(lambda: recipe.fit(data, start=table(0), checkpoint=tmp_path), monkeypatch)
    assert list(tmp_path.rglob("epochs.npz"))
    found = recipe.fit(data, start=table(1), checkpoint=tmp_path)
    assert np.array_equal(answers_of(found), answers_of(recipe.fit(data, start=table(1))))
    assert f"{tmp_path} belongs to other data, settings or another start: {name} starts anew" in capsys.readouterr().err


def test_a_trainers_checkpoint_of_other_data_is_not_gone_on_with(tmp_path, monkeypatch):
    pytest.importorskip("sentence_transformers")
    recipe, data = get("near2").tiny(), SAMPLES["pairs"]
    other = {"anchor": data["positive"], "positive": data["anchor"]}
    interrupted(lambda: recipe.fit(data, start=network(), checkpoint=tmp_path), monkeypatch)
    assert list(tmp_path.rglob("trainer_state.json"))
    found = recipe.fit(other, start=network(), checkpoint=tmp_path)
    assert np.array_equal(answers_of(found), answers_of(recipe.fit(other, start=network())))


def test_a_graph_with_other_edges_is_not_gone_on_with(tmp_path, monkeypatch):
    from scipy.sparse import csr_array

    recipe = get("edrep").tiny()
    one, other = (csr_array((np.ones(8), (np.arange(8), (np.arange(8) + step) % 8))) for step in (1, 3))
    interrupted(lambda: recipe.fit_matrix([one], WORDS[:8], checkpoint=tmp_path), monkeypatch)
    found = recipe.fit_matrix([other], WORDS[:8], checkpoint=tmp_path)
    assert np.array_equal(found.vectors, recipe.fit_matrix([other], WORDS[:8]).vectors)


@pytest.mark.parametrize(
    ("name", "one", "other"),
    [
        ("fastsent", {"document": [["a b", "c"]] * 9}, {"document": [["a", "b c"]] * 9}),
        ("starspace", {"left": [["a", "b"], ["c"]] * 9, "right": [["x"], ["y"]] * 9},
         {"left": [["a"], ["b", "c"]] * 9, "right": [["x"], ["y"]] * 9}),
    ],
)  # fmt: skip
def test_the_same_words_cut_elsewhere_are_not_gone_on_with(name, one, other, tmp_path, monkeypatch):
    """A learner's own key says it, too, whatever the folder is called."""
    recipe = get(name).tiny()
    interrupted(lambda: recipe.learn(pa.table(one), None, Run(name, 0, tmp_path)), monkeypatch)
    assert list(tmp_path.rglob("epochs.npz"))
    found = recipe.learn(pa.table(other), None, Run(name, 0, tmp_path))
    assert np.array_equal(found.vectors, recipe.learn(pa.table(other), None, Run(name)).vectors)


def test_codes_of_other_labels_are_not_gone_on_with(tmp_path, monkeypatch):
    vectors = np.random.default_rng(0).normal(size=(64, 8)).astype(np.float32)
    one, other = np.arange(64) % 2, np.arange(64) // 32

    def fit(labels, place=None):
        return SparseCode(2, 16, epochs=3, batch_size=16, contrast=1.0).fit(vectors, labels=labels, checkpoint=place)

    interrupted(lambda: fit(one, tmp_path), monkeypatch)
    assert np.array_equal(fit(other, tmp_path).weight_, fit(other).weight_)
