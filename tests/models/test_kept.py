from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.sparse import csr_array

from umekomi.comparison.meter import Journal, Meter
from umekomi.contracts import Vectors
from umekomi.errors import WrongUse
from umekomi.files import content_hash
from umekomi.models.cached import CachedEmbedder, InMemory, OnDisk, refuse_options
from umekomi.models.untrained import HashingEmbedder


class Minding:
    """An embedder that minds every option, and says what it was asked."""

    name, kind, dimension, outputs, metric = "minding", "given", 4, frozenset({"dense"}), "cosine"

    def __init__(self):
        self.asked = []

    def encode(self, items, *, role=None, batch_size=32, progress=False, **options):
        self.asked.append((len(items), role, options))
        rng = np.random.default_rng(abs(hash((role, repr(options)))) % 2**32)
        return rng.normal(size=(len(items), options.get("dimensions", 4))).astype(np.float32)

    def cut(self, vectors, dimensions):
        return vectors[:, :dimensions]


OPTIONS = [
    {},
    {"role": "query"},
    {"condition": ["colour", "size"]},
    {"condition": ["size", "colour"]},
    {"modality": "image"},
    {"output": "sparse"},
    {"dimensions": 2},
]


def embedders(tmp_path):
    meter = Meter(Minding(), tmp_path / "v", Journal(tmp_path / "j" / "journal.jsonl"), "who")
    return [CachedEmbedder(Minding()), CachedEmbedder(Minding(), OnDisk(tmp_path / "d")), meter]


@pytest.mark.parametrize("which", [0, 1, 2])
def test_every_option_is_passed_on_and_makes_another_key(tmp_path, which):
    """A condition that a cache swallows would have conditional similarity judged without its conditions."""
    kept = embedders(tmp_path)[which]
    first = [kept.encode(["a", "b"], **options) for options in OPTIONS]
    asked = [call for call in kept.embedder.asked if call[0] == 2]
    for options in OPTIONS:
        own = {name: value for name, value in options.items() if name != "role"}
        assert (2, options.get("role"), own) in asked
    count = len(kept.embedder.asked)
    for options, vectors in zip(OPTIONS, first, strict=True):
        assert np.array_equal(kept.encode(["a", "b"], **{"modality": None, **options}), vectors)
    assert len(kept.embedder.asked) == count, "nothing was encoded again, and None is no option"
    assert len({array.tobytes() for array in first}) == len(OPTIONS)


def test_the_key_without_options_is_the_one_of_earlier_versions(tmp_path):
    """Comparison folders that they wrote give their vectors still."""
    texts = ["a", "埋め込み"]
    assert CachedEmbedder(Minding()).key(texts, "query", {}) == content_hash("query", texts)
    assert CachedEmbedder(Minding()).key([["a", "b"], ["c"]], None, {}) == content_hash(None, [["a", "b"], ["c"]])


def test_items_that_differ_never_share_a_key():
    kept = CachedEmbedder(Minding())
    long = np.zeros(5000)
    other = long.copy()
    other[2500] = 1
    items = [
        ["a"], ["a", "b"], [["a"]], [{"text": "a"}], [Path("a")], [long], [other], [long.astype(np.float32)],
        [long.reshape(50, 100)], [1], ["1"], [1.5], [None], [True],
    ]  # fmt: skip
    assert len({kept.key(each, None, {}) for each in items}) == len(items)
    with pytest.raises(WrongUse, match="expected items of text, numbers, arrays or paths, found object"):
        kept.encode([object()])


@pytest.mark.parametrize(
    "vectors",
    [
        np.ones((2, 3), np.float32),
        csr_array(np.eye(2, 5, dtype=np.float32)),
        Vectors.of([np.ones((2, 3)), np.zeros((1, 3))]),
    ],
    ids=["dense", "sparse", "multi"],
)
def test_every_kind_of_vector_comes_back_from_disk(tmp_path, vectors):
    store = OnDisk(tmp_path)
    assert store.get("k") is None
    store.put("k", vectors, 1.5)
    found, seconds = store.get("k")
    assert seconds == 1.5
    assert type(found) is type(vectors)
    for a, b in zip(
        *((v if isinstance(v, Vectors) else (getattr(v, "toarray", lambda v=v: v)(),)) for v in (found, vectors)),
        strict=True,
    ):
        assert np.array_equal(a, b)


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 cut", b"\x93NUMPY"])
def test_a_damaged_file_is_said_and_made_again(tmp_path, damage, capsys):
    kept = CachedEmbedder(HashingEmbedder(8), OnDisk(tmp_path))
    want = kept.encode(["a text"])
    next(tmp_path.glob("*.npz")).write_bytes(damage)
    assert np.array_equal(kept.encode(["a text"]), want)
    assert "its vectors are made again" in capsys.readouterr().err


def test_transforms_behind_what_is_kept_encode_nothing_again():
    from umekomi.transforms import Truncate

    kept = CachedEmbedder(HashingEmbedder(8), InMemory())
    whole = kept.encode(["some words here"], role="document")
    short = kept.with_transform(Truncate(4)).encode_document(["some words here"])
    assert short.shape == (1, 4)
    assert len(kept.store.kept) == 1
    assert whole.shape == (1, 8)


def test_a_stand_in_that_cannot_follow_an_option_says_so():
    refuse_options({"output": "dense", "condition": None}, "who")
    with pytest.raises(WrongUse, match="who takes no condition, found"):
        refuse_options({"condition": ["colour"]}, "who")
