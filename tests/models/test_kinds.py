"""A kind of model is one registration; embedders of pictures, sounds and rows, a scorer under a condition and a
predictor are models like any other."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from umekomi.errors import UmekomiError, WrongUse
from umekomi.models import load, opening
from umekomi.models.base import Backbone, EmbedderBase, Predictor, Scorer, TextFace, modalities_of
from umekomi.models.cached import CachedEmbedder
from umekomi.models.entity import EntityEmbedder
from umekomi.models.truncation import encode_truncated
from umekomi.models.untrained import HashingEmbedder
from umekomi.parts.similarity import normalise
from umekomi.transforms import Truncate

RNG = np.random.default_rng(0)


class Toy(EmbedderBase):
    """Its vectors are a matrix times a few figures of each item."""

    metric = "dot"

    def __init__(self, matrix, name="toy"):
        super().__init__(name)
        self.matrix = np.asarray(matrix, np.float32)
        self.dimension = self.matrix.shape[1]

    def _encode(self, items, *, output, role, batch_size, progress):
        return np.array([self.figures(item) for item in items], np.float32).reshape(len(items), -1) @ self.matrix

    def _write(self, folder):
        save_file({"matrix": self.matrix}, folder / "matrix.safetensors")
        return {}

    @classmethod
    def _read(cls, folder, head, open):
        return cls(load_file(folder / "matrix.safetensors")["matrix"])


class Pictures(Toy):
    """The mean of each of three colours."""

    kind = "toy-pictures"
    modalities = frozenset({"image"})

    @staticmethod
    def figures(item):
        if isinstance(item, Path):
            return [item.stat().st_size, 0, 0]
        return np.asarray(item, np.float32).reshape(-1, 3).mean(0)


class Sounds(Toy):
    """Loudness, and how often the sign changes."""

    kind = "toy-sounds"
    modalities = frozenset({"audio"})

    @staticmethod
    def figures(item):
        wave = np.asarray(item["array"] if isinstance(item, dict) else item, np.float32)
        return [np.sqrt((wave**2).mean()), (np.diff(np.sign(wave)) != 0).mean(), 1]


class Rows(Toy):
    """Two columns of numbers and one of names."""

    kind = "toy-rows"
    modalities = frozenset({"row"})

    @staticmethod
    def figures(item):
        return [item["age"], item["height"], len(item["name"])]


TOYS = {
    Pictures: [RNG.uniform(size=(4, 5, 3)), RNG.uniform(size=(2, 2, 3))],
    Sounds: [RNG.normal(size=400), {"array": RNG.normal(size=50), "sampling_rate": 16000}],
    Rows: [{"age": 3, "height": 1.5, "name": "a"}, {"age": 8, "height": 0.5, "name": "bcd"}],
}


@pytest.mark.parametrize("kind", TOYS, ids=lambda kind: kind.kind)
def test_any_modality_encodes_shrinks_saves_and_opens(kind, tmp_path, monkeypatch):
    items = TOYS[kind]
    model = kind(RNG.normal(size=(3, 4)))
    assert not isinstance(model, TextFace)
    vectors = model.encode(items)
    assert vectors.shape == (2, 4)
    assert (model.encode(items, modality=next(iter(kind.modalities))) == vectors).all()
    assert (encode_truncated(model, items).vectors == vectors).all()
    assert (CachedEmbedder(model).encode(items) == vectors).all()
    monkeypatch.setitem(opening.KINDS, kind.kind, f"{__name__}:{kind.__name__}")
    model.with_transform(Truncate(2)).save(tmp_path / "m")
    back = load(tmp_path / "m")
    assert (back.base.encode(items) == vectors).all()
    assert back.encode(items) == pytest.approx(normalise(vectors[:, :2]))
    assert back.modalities == kind.modalities
    assert back.fingerprint() == model.with_transform(Truncate(2)).fingerprint()
    for strange, what in (
        ("a text", "entity or text .str"),
        (None, "none of these .NoneType"),
        (b"x", "none of these .bytes"),
    ):
        with pytest.raises(WrongUse, match=f"toy embeds {next(iter(kind.modalities))}: item 2 is {what}"):
            model.encode([items[0], strange])
    for other in set(TOYS) - {kind}:
        with pytest.raises(WrongUse, match=f"toy embeds {next(iter(kind.modalities))}: item 1 is"):
            model.encode(TOYS[other][:1])


def test_what_an_item_may_be(tmp_path):
    pil = pytest.importorskip("PIL.Image").new("RGB", (2, 2))
    assert modalities_of(pil) == modalities_of(Path("a.PNG")) == modalities_of(np.zeros((2, 2, 3))) == {"image"}
    assert modalities_of(Path("a.flac")) == modalities_of(np.zeros(9)) == {"audio"}
    assert modalities_of("a") == {"text", "entity"} and modalities_of(3) == modalities_of(["a", "b"]) == {"entity"}
    assert modalities_of(Path("a.exe")) == modalities_of(None) == modalities_of(object()) == frozenset()
    assert Pictures(np.eye(3)).encode(pil).shape == (1, 3)


def test_embedders_of_texts_and_of_names_refuse_what_they_cannot_read():
    with pytest.raises(WrongUse, match="hashing embeds text: item 2 is image .ndarray"):
        HashingEmbedder(8).encode(["a", np.zeros((2, 2))])
    with pytest.raises(WrongUse, match="hashing embeds text: item 1 is entity or row .dict"):
        HashingEmbedder(8).encode([{"a": 1}])
    table = EntityEmbedder(["a", "b"], np.eye(2, dtype=np.float32))
    assert not isinstance(table, TextFace)
    with pytest.raises(WrongUse, match="entities embeds entity: item 1 is none of these"):
        table.encode([None])
    with pytest.raises(WrongUse, match="entities: expected names, item 2 is list"):
        table.encode(["a", ["a", "b"]])
    with pytest.raises(WrongUse, match="no entity of mixed named '3'; the nearest: 3.5"):
        EntityEmbedder(["a", 3.5], np.eye(2, dtype=np.float32), name="mixed").encode([3])
    assert encode_truncated(table, ["a", "b"], truncation="error").truncated.tolist() == [False, False]
    assert isinstance(CachedEmbedder(table), EmbedderBase)


class Overlap(Scorer):
    """Words that both texts share, times the weight that the condition has."""

    kind = "toy-scorer"
    conditions = True

    def __init__(self, weights, name="overlap"):
        super().__init__(name)
        self.weights = dict(weights)

    def _score(self, a, b, condition):
        shared = [len(set(x.split()) & set(y.split())) for x, y in zip(a, b, strict=True)]
        return np.array(shared) * [self.weights[each] for each in condition or ["plain"] * len(a)]

    def _write(self, folder):
        return {"weights": self.weights}

    @classmethod
    def _read(cls, folder, head, open):
        return cls(**head["settings"])


def test_a_scorer_scores_under_a_condition_and_saves(tmp_path, monkeypatch):
    model = Overlap({"plain": 1.0, "loud": 10.0, "broken": float("nan")})
    a, b = ["the cat", "a dog", ""], ["the cat", "the dog", "x"]
    assert model.score(a, b).tolist() == [2, 1, 0] and model.score(a, b).dtype == np.float32
    assert model.score(a, b, condition=["plain", "loud", "loud"]).tolist() == [2, 10, 0]
    assert model.score([], []).shape == (0,)
    with pytest.raises(WrongUse, match="expected pairs, found 3 and 2"):
        model.score(a, b[:2])
    with pytest.raises(UmekomiError, match="finite scores, found NaN or infinity for pair 1, 'the cat'"):
        model.score(a, b, condition=["broken"] * 3)
    del model.weights["broken"]
    monkeypatch.setitem(opening.KINDS, Overlap.kind, f"{__name__}:Overlap")
    model.save(tmp_path / "m")
    assert isinstance(load(tmp_path / "m"), Scorer) and load(tmp_path / "m").fingerprint() == model.fingerprint()
    with pytest.raises(WrongUse, match="overlap is a toy-scorer; expected an embedder"):
        opening.load_embedder(tmp_path / "m")


class Clicks(Predictor):
    """A line through two columns; with classes, the same twice."""

    kind = "toy-clicks"

    def __init__(self, weights, classes=(), name="clicks"):
        super().__init__(name)
        self.weights, self.classes = dict(weights), tuple(classes)

    def _predict(self, rows):
        one = np.array([sum(self.weights[column] * row[column] for column in self.weights) for row in rows])
        return np.stack([one] * len(self.classes), 1) if self.classes else one

    def _write(self, folder):
        return {"weights": self.weights, "classes": list(self.classes)}

    @classmethod
    def _read(cls, folder, head, open):
        return cls(**head["settings"])


@pytest.mark.parametrize("classes", [(), ("no", "yes")])
def test_a_predictor_predicts_rows_and_saves(classes, tmp_path, monkeypatch):
    model = Clicks({"age": 2.0, "height": 1.0}, classes)
    rows = [{"age": 1, "height": 3}, {"age": 0, "height": 1}]
    found = model.predict(rows)
    assert found.shape == (2, *((2,) if classes else ())) and found.reshape(2, -1)[:, 0].tolist() == [5, 1]
    assert model.predict([]).shape == (0, *((2,) if classes else ()))
    assert model.predict(rows[0]).shape[0] == 1
    with pytest.raises(WrongUse, match="clicks: expected rows, item 2 is str"):
        model.predict([rows[0], "a"])
    with pytest.raises(UmekomiError, match="clicks: expected finite predictions, found NaN or infinity for row 2"):
        model.predict([rows[0], {"age": float("nan"), "height": 1}])
    monkeypatch.setitem(opening.KINDS, Clicks.kind, f"{__name__}:Clicks")
    model.save(tmp_path / "m")
    assert (load(tmp_path / "m").predict(rows) == found).all()
    assert json.loads((tmp_path / "m" / "umekomi.json").read_text())["kind"] == "toy-clicks"


def test_every_registered_kind_is_the_class_it_names():
    neural = {"text", "multi", "backbone", "cross-encoder"}
    if pytest.importorskip("sentence_transformers"):
        neural = set()
    for kind in set(opening.KINDS) - neural:
        found = opening.class_of_kind(kind)
        assert found.kind == kind
        assert issubclass(found, (EmbedderBase, Scorer, Backbone))


def test_a_name_is_resolved_in_one_place(tmp_path):
    assert opening.resolve("hashing") == opening.Source("hashing", "hashing")
    assert opening.resolve("gemini-embedding-001").kind == "gemini"
    entry = opening.resolve("ruri-v3-30m")
    assert entry.kind == "text" and entry.entry is not None and entry.folder is None
    assert opening.resolve("someone/something").hub == "someone/something"
    HashingEmbedder(8).save(tmp_path / "m")
    found = opening.resolve(tmp_path / "m")
    assert (found.kind, found.folder, found.head["settings"]["dimension"]) == ("hashing", tmp_path / "m", 8)
    for name, match in (
        ("hashin", "no model, recipe or folder named 'hashin'; the nearest: hashing"),
        ("./none", "./none: no such folder"),
        ("a/b/c", "a/b/c: no such folder"),
        (str(tmp_path), "expected a saved model .umekomi.json or modules.json., found neither"),
    ):
        with pytest.raises(WrongUse, match=match):
            opening.resolve(name)
        assert opening.is_model_name(name) == (name == str(tmp_path))
    for place, kind in (("config.json", "text"), ("modules.json", "static")):
        (tmp_path / place).write_text(
            "{}" if kind == "text" else json.dumps([{"type": "x.StaticEmbedding", "path": ""}])
        )
    assert opening.resolve(tmp_path).kind == "static"
