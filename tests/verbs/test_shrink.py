"""The verb shrink: what fits, what is chosen, what is saved; its command line, and that of index and search."""

from __future__ import annotations

import json
from importlib.util import find_spec

import numpy as np
import pytest

from umekomi import load, shrink
from umekomi.errors import WrongUse
from umekomi.models.untrained import HashingEmbedder


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Pairs whose anchor and positive share words: hashing finds them, and fewer dimensions find fewer."""
    generator = np.random.default_rng(0)
    words = [f"w{i}" for i in range(400)]
    path = tmp_path_factory.mktemp("data") / "pairs.csv"
    lines = []
    for i in range(300):
        topic = generator.choice(words, 12, replace=False)
        lines.append(f"{' '.join(topic[:7])} q{i % 5},{' '.join(topic[3:])} d{i % 7}\n")
    path.write_text("anchor,positive\n" + "".join(lines))
    return str(path)


def test_what_is_tried_is_ordered_and_the_best_is_saved(data, tmp_path):
    plot = tmp_path / "p.png" if find_spec("matplotlib") else None
    done = shrink(HashingEmbedder(256), data, tmp_path / "m", dims=[256, 64, 16], sparse=[8], plot=plot, seed=3)
    rows = done.rows
    assert [row.bytes_per_item for row in rows] == sorted(row.bytes_per_item for row in rows)
    names = {row.name: row for row in rows}
    assert {
        "whole",
        "int8",
        "int4",
        "int2",
        "binary",
        "truncate 64",
        "pca 16 → int8",
        "truncate 16 → binary",
        "random-projection 64",
        "sparse-code 8 of 1024",
    } <= set(names)
    assert (names["whole"].bytes_per_item, names["int8"].bytes_per_item, names["binary"].bytes_per_item) == (
        1024,
        256,
        32,
    )
    assert (
        names["pca 16 → int8"].bytes_per_item,
        names["truncate 16 → binary"].bytes_per_item,
        names["sparse-code 8 of 1024"].bytes_per_item,
    ) == (16, 2, 64)
    assert (names["int4"].bytes_per_item, names["int2"].bytes_per_item) == (128, 64)
    assert names["whole"].difference == (0, 0, 0)
    assert names["whole"].kept == 1
    assert names["truncate 16"].value < names["truncate 64"].value < names["whole"].value
    front = [row for row in rows if row.best]
    assert [row.value for row in front] == sorted(row.value for row in front)
    assert not any(row.best for row in rows if row.baseline)
    assert done.chosen.difference.low > -0.01
    again = load(tmp_path / "m")
    assert (
        again.name.endswith("+".join(part.split(" ")[0] for part in done.chosen.name.split(" → ")))
        or done.chosen.name == "whole"
    )
    assert plot is None or plot.stat().st_size > 10_000


def test_a_budget_is_kept(data):
    done = shrink(HashingEmbedder(256), data, dims=[256, 64, 16], sparse=[], target_bytes=64)
    assert done.chosen.bytes_per_item <= 64
    assert all(row.bytes_per_item <= 64 or row.name == "whole" for row in done.rows)
    assert done.chosen.value == max(row.value for row in done.rows if row.bytes_per_item <= 64 and not row.baseline)


def test_bad_input_of_shrink(data, tmp_path):
    model = HashingEmbedder(64)
    for options, said in (
        ({"dims": [65]}, "dims: expected 1 to 64, found 65"),
        ({"bits": [3]}, "bits: expected 32, 8, 4, 2 or 1, found 3"),
        ({"sparse": [0]}, "sparse: expected 1 to 256, found 0"),
        ({"target_bytes": 0}, "target_bytes: expected a number above zero, found 0"),
        ({"target_bytes": 0.5, "sparse": []}, "no way tried takes 0.5 bytes or fewer"),
        ({"dims": [64], "bits": [8], "sparse": [], "plot": tmp_path / "p.gif"}, "ending in .png"),
    ):
        with pytest.raises(WrongUse, match=said):
            shrink(model, data, **options)
    assert not list(tmp_path.iterdir())


def test_the_recipe_csr_learns_from_texts_pairs_and_labels(data, tmp_path):
    from umekomi.recipes import get

    texts = {"text": [f"word{i % 13} and word{i % 7} of {i % 3}" for i in range(120)]}
    recipe = get("csr")(k=4, epochs=3, batch_size=32, learning_rate=1e-3, auxiliary_k=16)
    base = HashingEmbedder(64)
    for rows, how in (
        (texts, "each text with itself"),
        (texts | {"label": [i % 3 for i in range(120)]}, "labels"),
        ({"anchor": texts["text"], "positive": texts["text"][::-1]}, "pairs"),
    ):
        model = recipe.fit(rows, start=base)
        assert model.card["training"]["contrast"] == how
        codes = model.encode(texts["text"])
        assert codes.shape == (120, 256)
        assert np.diff(codes.indptr).max() <= 4
    model.save(tmp_path / "m")
    assert (load(tmp_path / "m").encode(texts["text"]) != model.encode(texts["text"])).nnz == 0
    with pytest.raises(WrongUse, match="codes dense vectors"):
        recipe.fit(texts, start=get("tfidf")().fit(texts["text"]))


def test_shrink_index_and_search_by_command(command, data, tmp_path):
    status, out, error = command(
        "shrink",
        "hashing",
        "--data",
        data,
        "--dims",
        "128",
        "--bits",
        "8,1",
        "--sparse",
        "0",
        "--out",
        str(tmp_path / "m"),
        cwd=tmp_path,
    )
    assert status == 0, error
    for word in ("bytes", "against the whole", "chosen", "whole", "note: judged on"):
        assert word in out
    (tmp_path / "t.csv").write_text(
        "id,text,year\n" + "".join(f"i{i},a text about thing{i},{2000 + i % 20}\n" for i in range(200))
    )
    status, out, error = command("index", str(tmp_path / "m"), "t.csv", "--out", "ix", "--check", cwd=tmp_path)
    assert status == 0, error
    assert "200 rows" in out
    assert "recall@10 against exact search: 1.000" in out
    status, out, error = command("search", "ix", "thing7", "-k", "3", "--filter", "year > 2004", "--json", cwd=tmp_path)
    assert status == 0, error
    hits = json.loads(out)
    assert hits[0]["id"] == "i7"
    assert hits[0]["payload"]["year"] == 2007
    for words, status, message in (
        (["index", str(tmp_path / "m"), "t.csv", "--out", "ix"], 2, "holds an index already"),
        (["index", str(tmp_path / "m"), "t.csv", "--out", "ix", "--add"], 1, "200 ids are in ix already"),
        (["index", "--out", "ix"], 2, "one of --delete, --compact, --check, --verify"),
        (["index", "--out", "ix", "--delete", "i500"], 1, "1 of 1 ids are not in ix"),
        (["index", "--out", "none", "--check"], 2, "holds no index"),
        (
            ["index", "random", "t.csv", "--out", "new", "--kind", "binary", "--set", "query_bits=12"],
            2,
            "expected 1 to 8",
        ),
        (
            ["index", "random", "t.csv", "--out", "new", "--kind", "funnel", "--set", "width=9999"],
            2,
            "rising prefixes below",
        ),
        (["search", "ix", "thing7", "--filter", "yaer > 1"], 2, "no field 'yaer'; there are: text, year"),
        (["search", "ix", "thing7", "--in", "t.csv"], 2, "is an index"),
        (["search", "hashing", "thing7", "--in", "t.csv", "--filter", "year > 1"], 2, "a filter needs an index"),
        (["shrink", "hashing", "--data", data, "--dims", "a"], 2, "--dims: expected whole numbers"),
    ):
        found, out, error = command(*words, cwd=tmp_path)
        assert found == status, (words, error)
        assert message in error
        assert error.count("\n") == 1, error
    assert not (tmp_path / "new").exists()
    status, out, error = command(
        "index", "--out", "ix", "--delete", "i7", "--delete", "i8", "--compact", "--verify", cwd=tmp_path
    )
    assert status == 0, error
    assert "198 rows" in out
    status, out, error = command("index", "tfidf", "t.csv", "--out", "lexical", cwd=tmp_path)
    assert status == 0, error
    status, out, error = command("search", "lexical", "thing9", cwd=tmp_path)
    assert "i9" in out.splitlines()[0]


def test_an_interrupted_index_goes_on(tmp_path, monkeypatch):
    from umekomi import index
    from umekomi.indexes import Index
    from umekomi.verbs import index as indexing

    monkeypatch.setattr(indexing, "ROWS", 64)
    (tmp_path / "t.jsonl").write_text(
        "".join(json.dumps({"text": f"text number {i}", "n": i}) + "\n" for i in range(300))
    )
    add, calls = Index.add, [0]

    def interrupted(self, *arguments, **options):
        calls[0] += 1
        if calls[0] == 4:
            raise KeyboardInterrupt
        return add(self, *arguments, **options)

    monkeypatch.setattr(Index, "add", interrupted)
    with pytest.raises(KeyboardInterrupt):
        index("hashing", tmp_path / "t.jsonl", tmp_path / "ix")
    assert len(Index(tmp_path / "ix")) == 192
    done = index("hashing", tmp_path / "t.jsonl", tmp_path / "ix")
    assert calls[0] == 4 + 2
    assert len(done) == 300
    assert done.search("text number 299", 1)[0][0].payload == {"n": 299}
    with pytest.raises(WrongUse, match="holds an index already"):
        index("hashing", tmp_path / "t.jsonl", tmp_path / "ix")


def test_what_is_chosen_is_exported_in_standard_layers(tmp_path):
    pytest.importorskip("sentence_transformers")
    from sentence_transformers import SentenceTransformer

    import umekomi
    from umekomi.models.scratch import untrained_transformer

    texts = [
        f"the {a} number {i} lives by {b}" for i in range(6) for a in ("cat", "dog", "owl") for b in ("water", "trees")
    ]
    pairs = {"anchor": [f"where does {text}?" for text in texts], "positive": texts}
    model = untrained_transformer("bert", texts, layers=1, width=32, heads=4, vocabulary=300).embedder("mean")
    done = umekomi.shrink(
        model, pairs, tmp_path / "mine", export=tmp_path / "theirs", dims=[16], bits=[8], sparse=[], target_bytes=16
    )
    assert "int8" in done.chosen.name and any("without int8" in note for note in done.notes)
    whole = umekomi.load(tmp_path / "mine")
    found = SentenceTransformer(str(tmp_path / "theirs"), device="cpu").encode(texts[:5])
    assert found.shape == (5, 16) and not (tmp_path / "theirs" / "umekomi.json").exists()
    import numpy as np

    np.testing.assert_allclose(
        found, whole.encode(texts[:5], role="query"), atol=1e-5
    )  # a query is not stored, so not rounded
    with pytest.raises(umekomi.UmekomiError, match="kind hashing"):
        umekomi.shrink("hashing", pairs, export=tmp_path / "hashing", dims=[16], bits=[32], sparse=[])
