import pyarrow.compute as pc
import pytest
from conftest import needs_data

from umekomi.data import load, shape_name
from umekomi.data import sets as named
from umekomi.data.graphs import closure
from umekomi.data.pydocs import first_sentence, remove_sentence
from umekomi.data.wordnet import folder
from umekomi.errors import WrongUse


def test_pydocs_is_as_designed(pydocs):
    """About 3,000 pairs; split by module; no document contains its query; nothing twice."""
    count = sum(split.num_rows for split in pydocs.values())
    assert 2000 < count < 5000
    assert "duplicate" in pydocs.notes[0]
    modules, queries = {}, []
    for name, split in pydocs.items():
        texts = dict(zip(split.corpus["id"].to_pylist(), split.corpus["text"].to_pylist(), strict=True))
        for key, query in zip(split.queries["id"].to_pylist(), split.queries["text"].to_pylist(), strict=True):
            plain = " ".join(texts[key].split()).lower()
            assert query.lower() not in plain, key
            assert len(texts[key].split("\n", 1)[1].split()) >= 8
            queries.append(query.lower())
            modules.setdefault(key.split(":")[1].split(".")[0], set()).add(name)
    assert len(set(queries)) == len(queries)
    assert all(len(splits) == 1 for splits in modules.values()), "no module on two sides"


def test_bm25_does_not_solve_pydocs(pydocs):
    from umekomi.recipes import get
    from umekomi.tasks.retrieval import RetrievalTask

    task = RetrievalTask(pydocs["test"])
    value = task.evaluate(get("bm25")().fit(pydocs["test"])).value
    assert 0.3 < value < 0.7


def test_sentences_and_removal():
    assert first_sentence("Return x\nand y. More.") == "Return x\nand y."
    assert remove_sentence("Do it. Now do   it. Then.", "do it.") == "NowThen."


def test_the_closure_of_a_diamond_and_of_a_cycle():
    assert sorted(closure([(1, 2), (1, 3), (2, 4), (3, 4)])) == [(1, 2), (1, 3), (1, 4), (2, 4), (3, 4)]
    from umekomi.errors import DataError

    with pytest.raises(DataError, match="no cycle, found 2 → 3 → 2|no cycle, found 3 → 2 → 3"):
        closure([(1, 2), (2, 3), (3, 2)])


def test_wordnet_nouns_are_those_of_the_paper():
    try:
        folder()
    except WrongUse as error:
        pytest.skip(str(error)[:80])
    table = load("wordnet-nouns", "train")
    assert table.num_rows == 743_241
    names = set(table["child"].unique().to_pylist()) | set(table["parent"].unique().to_pylist())
    assert len(names) == 82_115
    ancestors = table.filter(pc.equal(table["child"], "dog.n.01"))["parent"].to_pylist()
    assert {"canine.n.02", "mammal.n.01", "entity.n.01"} <= set(ancestors)


EXPECTED = {
    "stsb": {"train": 5749, "dev": 1500, "test": 1379},
    "sick-r": {"train": 4500, "dev": 500, "test": 4927},
    "scifact": {"train": 809, "test": 300},
    "cranfield": {"test": 225},
    "trec": {"train": 5452, "test": 500},
    "agnews": {"train": 8842, "test": 7600},
    "sst2": {"train": 6920, "dev": 872, "test": 1821},
    "jsts": {"train": 12451, "dev": 1457, "test": 1589},
    "jsquad": {"dev": 4442, "test": 4420},
    "jnli": {"dev": 2434, "test": 2508},
    "jcommonsenseqa": {"train": 8939, "dev": 1119, "test": 1118},
    "jaquad": {"train": 31748, "test": 3939},
    "jaquad-articles": {"train": 31748, "test": 3939},
    "mr": {"all": 10662},
    "sts12": {"train": 2234, "test": 3108},
    "sts13": {"test": 1500},
    "sst5": {"train": 8544, "dev": 1101, "test": 2210},
    "sst-trees": {"train": 8544, "dev": 1101, "test": 2210},
    "sick-e": {"train": 4500, "dev": 500, "test": 4927},
    "mrpc": {"train": 3668, "dev": 408},
    "imdb": {"train": 10000, "test": 5000},
    "brown": {"train": 450, "test": 50},
}


@needs_data
@pytest.mark.parametrize("name", sorted({*named.catalogue()} - {"wordnet-nouns", "english-novels"}))
def test_every_named_set_loads_and_has_its_shape_and_rows(name):
    entry, data = named.catalogue()[name], load(name)
    for split in data.values():
        assert shape_name(split) == entry.shape
    if name in EXPECTED:
        assert {split: table.num_rows for split, table in data.items()} == EXPECTED[name]
    assert entry.licence
    assert entry.citation
    assert entry.home.startswith("https://")


@needs_data
def test_sts_has_the_subsets_that_senteval_judges_on():
    sizes = {year: load(f"sts{year}")["test"]["subset"].value_counts() for year in (12, 13, 14, 15, 16)}
    found = {year: {row["values"]: row["counts"] for row in counts.to_pylist()} for year, counts in sizes.items()}
    assert found[12] == {"MSRpar": 750, "MSRvid": 750, "SMTeuroparl": 459, "OnWN": 750, "SMTnews": 399}
    assert found[13] == {"FNWN": 189, "OnWN": 561, "headlines": 750}
    assert sum(found[14].values()) == 3750 and len(found[14]) == 6
    assert found[16]["plagiarism"] == 230


@needs_data
def test_articles_hold_the_sentences_that_answer():
    from umekomi.tasks.chunks import evidence_of, tokens_of

    data = load("jaquad-articles")["test"]
    evidence, lost = evidence_of(data)
    assert (len(evidence), lost, data.corpus.num_rows) == (3939, 0, 101)
    texts = data.corpus["text"].to_pylist()
    first = evidence["de-000-00-001"][0]
    told = texts[first.document][first.start : first.end]
    assert "約15メートル" in told and told.endswith("。") and "。" not in told[:-1]
    sentences = sorted(map(tokens_of, data.queries["evidence"].to_pylist()))
    assert sentences[len(sentences) // 2] < 100 and sorted(map(tokens_of, texts))[50] > 2000


@needs_data
def test_crowdflower_shares_no_query_between_splits():
    data = load("crowdflower-search")
    train, test = (set(data[split].queries["text"].to_pylist()) for split in ("train", "test"))
    assert not train & test
    assert set(data["test"].qrels["score"].to_pylist()) == {0.0, 1.0, 2.0, 3.0}


def test_without_data_and_network_the_error_says_where_from(monkeypatch):
    monkeypatch.delenv("UMEKOMI_DATA", raising=False)
    with pytest.raises(WrongUse, match="kaggle"):
        load("crowdflower-search")
    monkeypatch.setenv("UMEKOMI_DATA", "/nowhere/at/all")
    with pytest.raises(WrongUse, match="expected a folder, found none there"):
        load("stsb")


def test_overlaps_are_declared():
    assert named.overlap("stsb", "sts14") == named.overlap("sts14", "stsb")
    assert named.overlap("stsb", "scifact") is None


def test_a_changed_file_is_noticed(tmp_path, monkeypatch, capsys):
    (tmp_path / "trec").mkdir()
    (tmp_path / "senteval-cls").mkdir()
    import gzip

    for split in ("train", "test"):
        (tmp_path / "senteval-cls" / f"trec_{split}.tsv.gz").write_bytes(
            gzip.compress(b"coarse\tfine\ttext\nA\tB\twhat is it\n")
        )
    monkeypatch.setenv("UMEKOMI_DATA", str(tmp_path))
    assert load("trec", "test").num_rows == 1
    assert "differs from the copy" in capsys.readouterr().err


@needs_data
def test_the_hubs_layout_becomes_the_same_splits(monkeypatch):
    """The hub is out of reach of the tests: tables laid out as mteb's datasets on it are given instead, and must come
    to the splits that the offline folder gives."""
    import pyarrow as pa

    here = load("scifact", "test")
    laid = {
        "queries": pa.table({"_id": here.queries["id"], "text": here.queries["text"]}),
        "corpus": pa.table(
            {"_id": here.corpus["id"], "title": pa.array([""] * len(here.corpus)), "text": here.corpus["text"]}
        ),
        "test": pa.table(
            {"query-id": here.qrels["query_id"], "corpus-id": here.qrels["corpus_id"], "score": here.qrels["score"]}
        ),
    }
    monkeypatch.setattr(
        named, "_hub_table", lambda hub, split, config=None: laid["test" if split == "train" else split]
    )
    entry = named.catalogue()["scifact"]
    assert entry.hub == "mteb/scifact"
    assert entry.fetch(entry.hub)["test"].judgements() == here.judgements()
    scored = load("stsb", "dev")
    monkeypatch.setattr(named, "_hub_table", lambda hub, split, config=None: scored)
    assert named.catalogue()["stsb"].fetch("x")["dev"].equals(scored)


def test_wordnets_topics():
    try:
        folder()
    except WrongUse as error:
        pytest.skip(str(error))
    data = load("wordnet-topics")
    train, test = data["train"], data["test"]
    assert (train.num_rows, test.num_rows) == (76_085, 18_974)
    assert not set(train["text"].to_pylist()) & set(test["text"].to_pylist())
    assert len(set(train["label"].to_pylist())) == 41
    assert {"noun.animal", "verb.motion"} <= set(test["label"].to_pylist())
