"""What a comparison decides by beside quality: money, prompts, rerankers, groups, power; and fusion that is tuned
without looking at what it is judged on."""

import dataclasses
import json

import numpy as np
import pytest

pytest.importorskip("httpx")

from misbehaving import Misbehaving

from umekomi.comparison.candidates import Candidate
from umekomi.comparison.costs import break_even, dollars
from umekomi.comparison.details import column_of, undecided
from umekomi.comparison.fusion import FOLDS, choose, folds, tried
from umekomi.comparison.leaderboard import Row, next_command
from umekomi.data.views import as_retrieval
from umekomi.errors import UmekomiError, WrongUse
from umekomi.models import load
from umekomi.models.prompts import prompts_of, remove_prompts
from umekomi.parts.ranking import Fusion, fuse
from umekomi.statistics import holm, items_needed, paired_error
from umekomi.tasks.retrieval import RetrievalTask
from umekomi.verbs.compare import compare

THINGS = ["cat", "dog", "bond", "stock", "river", "poem", "engine", "recipe", "planet", "letter"]
PAIRS = [
    {
        "anchor": f"which {THINGS[i % 10]} has mark {i}",
        "positive": f"The {THINGS[i % 10]} that bears mark {i} is told of here. It has {i * 3} parts.",
        "line": "alone" if i == 9 else "beasts" if i % 10 < 2 else "money" if i % 10 < 4 else "rest",
    }
    for i in range(80)
]


@pytest.fixture
def service(tmp_path, monkeypatch):
    monkeypatch.setenv("UMEKOMI_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    server = Misbehaving()
    yield server
    server.close()


def spec(server, more=""):
    return f"openai:m@{server.url}#delay=0.01&{more}"


def test_a_service_is_a_candidate_with_money_and_milliseconds(service, tmp_path, capsys):
    (tmp_path / "umekomi-endpoints.toml").write_text(
        '[prices.m]\nusd = 2\ndate = "2026-11-01"\nsource = "the invoice"\n'
    )
    name = spec(service)
    found = compare(["bm25", "hashing", name, f"{name}@4"], PAIRS, out="c", usd_per_hour=0.5)
    said = capsys.readouterr().err
    assert f"  {name}: 160 texts, about" in said and "tokens, $0.00" in said
    row = next(row for row in found.rows if row.candidate == name)
    texts = [pair[side] for side in ("anchor", "positive") for pair in PAIRS]
    assert row.tokens == pytest.approx(sum(len(text.split()) for text in texts), abs=2)
    assert row.usd == pytest.approx(2 * row.tokens / 1e6) and row.usd_per_million == pytest.approx(
        2 * np.mean([len(pair["positive"].split()) for pair in PAIRS]), rel=0.02
    )
    assert row.ms_p95 >= row.ms_per_query > 0 and "2026-11-01 the invoice" in " ".join(row.notes)
    cut = next(row for row in found.rows if row.candidate == f"{name}@4")
    assert cut.dimensions == 4
    # only the queries on which a query was timed were asked again
    again = sum(count - 1 for count in service.asked.values())
    assert again <= 42
    asked = sum(service.asked.values())
    compare(["bm25", name], PAIRS, out="c")
    compare(["bm25", name], PAIRS[:60], out="other")
    assert sum(service.asked.values()) - asked <= 21  # what was paid is not paid again, in another comparison either
    data = found.to_json()
    json.dumps(data, default=str)
    assert data["rows"][0]["p_corrected"] is None or 0 <= data["rows"][0]["p_corrected"] <= 1


def test_a_budget_stops_before_anything_is_spent(service, tmp_path):
    (tmp_path / "umekomi-endpoints.toml").write_text("[prices.m]\nusd = 1000\n")
    with pytest.raises(UmekomiError, match="stopped before anything is spent: it would take about"):
        compare([spec(service)], PAIRS, out="c", budget_usd=0.01)
    assert not service.bodies
    found = compare(["bm25", spec(service)], PAIRS, out="c", budget_usd=0.01)
    assert [row.candidate for row in found.rows] == ["bm25"] and spec(service) in found.skipped and not service.bodies
    (tmp_path / "umekomi-endpoints.toml").unlink()
    elsewhere = "openai:m@https://nowhere.invalid"
    found = compare(["bm25", elsewhere], PAIRS, out="c", budget_usd=1)
    assert "a budget needs its price" in found.skipped[elsewhere]


def test_a_budget_is_of_services_alone_and_refuses_a_model_whatever_it_is_called(service, tmp_path, monkeypatch):
    from umekomi.comparison import foreseeing
    from umekomi.models.untrained import HashingEmbedder

    (tmp_path / "umekomi-endpoints.toml").write_text("[prices.m]\nusd = 1\n")
    monkeypatch.setattr(foreseeing, "MANY", 0)
    monkeypatch.setattr(HashingEmbedder, "costly", True)  # its 160 texts at a million dollars an hour: more than $.01
    found = compare(["hashing", spec(service)], PAIRS, out="c", budget_usd=0.01, usd_per_hour=1e6)
    assert {row.candidate for row in found.rows} == {"hashing", spec(service)}, found.skipped
    (tmp_path / "umekomi-endpoints.toml").write_text("[prices.m]\nusd = 1000\n")
    monkeypatch.setenv("UMEKOMI_CACHE", str(tmp_path / "another"))
    names = [spec(service), spec(service).replace("0.01", "0.02"), f"{spec(service)}@4", f"{spec(service)}>20>bm25"]
    asked = len(service.bodies)
    found = compare(["bm25", *names], PAIRS, out="d", budget_usd=0.01)
    assert set(found.skipped) == set(names) and len(service.bodies) == asked
    assert all("stopped before anything is spent" in reason for reason in found.skipped.values())


def test_what_was_spent_before_is_not_promised_again():
    from umekomi.comparison.costs import Foreseen, unpayable
    from umekomi.models.services.money import Purse

    purse = Purse(5)
    purse.settle(0, 4)
    assert unpayable(purse, None, Foreseen(1, 1, 1.0, None), 0.0) == ""
    reason = unpayable(purse, None, Foreseen(1, 1, 1.0, None), 0.5)
    assert "it would take about $1.00, and the budget of $5.00 has $0.50 left" in reason


def test_a_price_that_is_said_later_is_in_the_rows(service, tmp_path):
    first = spec(service)

    def rows(**more):
        return {row.candidate: row for row in compare(["hashing", first], PAIRS, out="c", **more).rows}

    found = rows()
    assert found["hashing"].usd is None and found[first].usd == 0
    (tmp_path / "umekomi-endpoints.toml").write_text("[prices.m]\nusd = 2\n")
    asked = sum(service.asked.values())
    found = rows(usd_per_hour=7.0)
    assert found["hashing"].usd == pytest.approx(found["hashing"].task_seconds / 3600 * 7)
    assert found[first].usd == pytest.approx(2 * found[first].tokens / 1e6)
    assert sum(service.asked.values()) - asked <= 21  # the queries that are timed


def test_a_budget_that_runs_out_on_the_way_keeps_what_was_bought(service, tmp_path):
    (tmp_path / "umekomi-endpoints.toml").write_text("[prices.m]\nusd = 1000\n")
    service.counts = False  # every request is then charged for as many tokens as it has bytes
    name = spec(service, "max_items=4&parallel=2")
    found = compare(["bm25", name], PAIRS, out="c", budget_usd=5)
    assert "stopped before the budget of $5 is passed" in found.skipped[name]
    bought = sum(service.asked.values())
    assert 0 < bought < 160
    assert any("spent on services" in line for line in found.money)
    compare(["bm25", name], PAIRS, out="c")
    assert max(count for text, count in service.asked.items() if "told of here" in text) == 1


def test_break_even_is_the_price_of_an_hour():
    def row(name, rate, **more):
        return Row(name, name, "m", "mean", [0.5, 0.6], {}, 8, 32.0, rate, None, 1.0, 0.0, "x", **more)

    rows = [row("mine", 100.0), row("theirs", None, tokens=5, usd_per_million=2.0), row("bm25", 1e6)]
    (line,) = break_even(rows, dict.fromkeys(("mine", "theirs", "bm25"), 0.5), None)
    hours = 1e6 / 100 / 3600
    assert f"{hours:,.2f} hours" in line and dollars(2 / hours) in line
    (line,) = break_even(rows, dict.fromkeys(("mine", "theirs", "bm25"), 0.5), 10.0)
    assert "theirs is cheaper, 13.9 times" in line


# --- candidates ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "said"), [
    ("bm25>", "expected FIRST>SCORER"), ("bm25>0>minilm", "DEPTH 2 or more"), ("bm25>a>minilm", "FIRST>DEPTH>SCORER"),
    ("near2+prompt", "near2 is a recipe"), ("near2+stem", "expected bm25 or tfidf"), ("near2@x", "found 'x' after the @"),
    ("bm26>minilm", "nearest: bm25"), ("bm25>minilm@3", "a scorer has no dimensions"),
])  # fmt: skip
def test_candidates_that_are_none(name, said):
    with pytest.raises(WrongUse, match=said):
        Candidate.parse(name, False)


def test_what_candidates_are():
    assert Candidate.parse("openai:m@http://localhost:8000/v1@64", False).dimensions == 64
    assert Candidate.parse("openai:m@http://localhost:8000/v1", False).dimensions is None
    both = Candidate.parse("minilm@64>20>random", False)
    assert (both.first.name, both.first.dimensions, both.depth, both.name) == ("minilm", 64, 20, "random")
    assert Candidate.parse("bm25+stem=german", False).recipe.tokenizer == "stem:german"
    assert Candidate.parse("minilm-prompt", False).prompts is False


def test_stemming_finds_what_is_bent_otherwise(tmp_path):
    pytest.importorskip("Stemmer")
    pairs = [{"anchor": f"running {thing}s", "positive": f"A {thing} that runs."} for thing in THINGS]
    found = compare(["bm25", "bm25+stem", "bm25+stem=german", "bm25+stem=klingon"], pairs, out=tmp_path / "c")
    values = {row.candidate: row.score.value for row in found.rows}
    assert (
        values["bm25+stem"] > values["bm25"] + 0.5 and "no stemmer for 'klingon'" in found.skipped["bm25+stem=klingon"]
    )
    assert all(row.baseline for row in found.rows)


def test_prompts_on_trial(service, tmp_path):
    name = spec(service, "query=please find: ").replace(" ", "%20")
    found = compare([f"{name}+prompt", f"{name}-prompt", "hashing-prompt"], PAIRS, out="c")
    by_name = {row.candidate: row for row in found.rows}
    assert (
        set(by_name) == {f"{name}+prompt", f"{name}-prompt"}
        and "hashing has no prompts" in found.skipped["hashing-prompt"]
    )
    asked = [text for body in service.bodies for text in body["input"]]
    assert any(text.startswith("please find: which") for text in asked) and any(
        text.startswith("which") for text in asked
    )
    assert by_name[f"{name}+prompt"].values != by_name[f"{name}-prompt"].values


def test_prompts_are_taken_from_networks(minilm):
    from umekomi.models.engines.choice import open_for_encoding

    pytest.importorskip("onnx")
    for model in (load("minilm"), open_for_encoding("minilm")):
        holder = getattr(model, "model", None) if hasattr(getattr(model, "model", None), "prompts") else model
        holder.prompts = {"query": "find this please: "}
        with_them = model.encode(["a cat"], role="query")
        assert prompts_of(model) == {"query": "find this please: "}
        remove_prompts(model, "minilm")
        np.testing.assert_allclose(model.encode(["a cat"], role="query"), minilm.encode(["a cat"]), atol=1e-4)
        assert np.abs(with_them - minilm.encode(["a cat"])).max() > 1e-3
        with pytest.raises(WrongUse, match="minilm has no prompts"):
            remove_prompts(model, "minilm")


def test_a_reranker_orders_what_the_first_found(tmp_path):
    from umekomi.models.scorers import PairHeadScorer
    from umekomi.models.untrained import HashingEmbedder

    hashing = HashingEmbedder.default()
    PairHeadScorer(hashing, np.concatenate([np.zeros(hashing.dimension), np.ones(hashing.dimension)])).save(
        tmp_path / "scorer"
    )
    name, deep = f"random>{tmp_path / 'scorer'}", f"random>80>{tmp_path / 'scorer'}"
    found = compare(["random", "hashing", name, deep, "random>hashing"], PAIRS, out=tmp_path / "c")
    by_name = {row.candidate: row for row in found.rows}
    assert "expected a scorer behind >" in found.skipped["random>hashing"]
    # a dot product of hashed words orders all eighty as hashing itself does; of fifty random ones it can find no others
    assert by_name[deep].score.value == pytest.approx(by_name["hashing"].score.value, abs=0.02)
    assert by_name["random"].score.value < by_name[name].score.value < by_name[deep].score.value
    recall = {row: by_name[row].others["recall@100"].value for row in ("random", name)}
    assert recall["random"] == recall[name], "what stands behind the first fifty stays in"
    assert by_name[name].ms_per_query > by_name["random"].ms_per_query


def test_a_hosted_reranker_is_a_candidate_with_money_and_nothing_is_paid_twice(service, tmp_path, capsys):
    (tmp_path / "umekomi-endpoints.toml").write_text(
        '[prices.r]\nusd = 2\ndate = "2026-11-01"\nsource = "the invoice"\n'
    )
    name = f"random>20>openai:r@{service.url}#delay=0.01"
    found = compare(["bm25", "random", name], PAIRS, out="c")
    said = capsys.readouterr().err
    assert (
        f"  {name}: at most 1,600 pairs, about " in said
        and f"  {name}: 1,600 pairs, about " in said
        and ", $0.1" in said
    )
    row = next(row for row in found.rows if row.candidate == name)
    assert len(service.bodies) == 80 == len({body["query"] for body in service.bodies})
    assert all(len(body["documents"]) == 20 for body in service.bodies)
    assert row.tokens == sum(len(text.split()) * count for text, count in service.asked.items())
    assert row.usd == pytest.approx(2 * row.tokens / 1e6) and row.usd_per_thousand == pytest.approx(row.usd / 80 * 1000)
    assert row.ms_per_query > 0 and "$2 for a million tokens, 2026-11-01 the invoice" in row.notes
    compare(["bm25", "random", name], PAIRS, out="c")
    other = compare(["random", name, name.replace(">20>", ">10>")], PAIRS, out="other", budget_usd=0)
    assert len(service.bodies) == 80 and max(service.asked.values()) == 1
    again = next(each for each in other.rows if each.candidate == name)
    assert again.values == row.values and again.usd == row.usd and again.ms_per_query is None
    assert "every pair was answered before: no request was timed" in again.notes
    shallow = next(each for each in other.rows if ">10>" in each.candidate)
    assert shallow.usd < row.usd and other.next_command.startswith("umekomi index random YOUR_TEXTS.jsonl")


def test_a_hosted_reranker_keeps_to_the_budget_and_names_what_is_bad(service, tmp_path):
    (tmp_path / "umekomi-endpoints.toml").write_text("[prices.r]\nusd = 1000\n")
    name = f"random>20>openai:r@{service.url}#delay=0.01"
    found = compare(["bm25", name], PAIRS, out="c", budget_usd=0.5)
    assert "stopped before anything is spent: it would take about $" in found.skipped[name] and not service.bodies
    service.plan.append(lambda answer: answer | {"results": answer["results"][1:]})
    found = compare(["bm25", name], PAIRS, out="c")
    assert "expected 20 scores, found 19: none for the document 'The" in found.skipped[name]
    assert [row.candidate for row in found.rows] == ["bm25"]
    found = compare(["bm25", name], PAIRS, out="c")
    assert max(service.asked.values()) <= 2 and name in [row.candidate for row in found.rows]
    unknown = "random>cohere:rerank-v9"
    found = compare(["bm25", unknown], PAIRS, out="c", budget_usd=1)
    assert "a budget needs its price" in found.skipped[unknown] and "usd_per_search" in found.skipped[unknown]
    nobody = "random>google:gemini-embedding-001"
    assert "which has none" in compare(["bm25", nobody], PAIRS, out="c").skipped[nobody]


# --- fusion ----------------------------------------------------------------------------------------------------------


def test_fusion_against_a_slow_loop():
    draw = np.random.default_rng(3)
    for method in ("convex", "reciprocal rank"):
        pair = [(draw.permutation(30)[:10], np.sort(draw.normal(size=10))[::-1]) for _ in range(2)]
        pair[1][1][8:] = -np.inf
        found, scores = fuse(pair, Fusion(method, 0.3))
        want = {}
        for share, (numbers, values) in zip((0.3, 0.7), pair, strict=True):
            finite = [value for value in values if np.isfinite(value)]
            for rank, (number, value) in enumerate(zip(numbers, values, strict=True), 1):
                if not np.isfinite(value):
                    continue
                own = (value - min(finite)) / (max(finite) - min(finite)) if method == "convex" else 1 / (60 + rank)
                want[number] = want.get(number, 0) + share * own
        assert dict(zip(found.tolist(), scores, strict=True)) == pytest.approx(want)
        assert list(scores) == sorted(scores, reverse=True)


def test_a_weight_is_chosen_for_what_it_finds_and_never_on_what_it_judges():
    data = as_retrieval(PAIRS)
    count = data.queries.num_rows
    right = np.array([[n, *[m for m in range(count) if m != n]] for n in range(count)])
    scores = np.tile(np.linspace(1, 0, count), (count, 1))
    wrong = right[:, ::-1]
    task = RetrievalTask(data)
    assert choose(tried([(right, scores), (wrong, scores)], task))[1] > 0.5
    assert choose(tried([(wrong, scores), (right, scores)], task))[1] < 0.5
    assert choose(tried([(right, scores), (right, scores)], task)[:, :0]) == Fusion("convex", 0.5)
    fold = folds([f"a query {n}" for n in range(1000)])
    assert set(fold.tolist()) == set(range(FOLDS)) and min(np.bincount(fold)) > 150
    assert folds(["x", "y", "x"])[0] == folds(["x"])[0]


def test_each_candidate_is_ranked_and_each_folder_read_once(tmp_path, monkeypatch):
    from umekomi.comparison import judging

    ranked, read = [], []
    ranking, whole = judging.Judging.ranking, judging.folder_hash
    monkeypatch.setattr(
        judging.Judging, "ranking", lambda run, who, *given: ranked.append(who.spec) or ranking(run, who, *given)
    )
    monkeypatch.setattr(judging, "folder_hash", lambda folder: read.append(folder) or whole(folder))
    load("hashing").save(tmp_path / "mine")
    mine = str(tmp_path / "mine")
    found = compare(["bm25", "lsa", "lsa@16", mine, f"{mine}@32"], PAIRS, out=tmp_path / "c", hybrid=True)
    fused = [row.candidate for row in found.rows if row.candidate.startswith("bm25+")]
    assert sorted(ranked) == sorted({"bm25", *(name[5:].removesuffix(":tuned") for name in fused)}) and len(fused) >= 4
    assert len(read) == 1


def test_tuned_fusion_says_what_it_was_tuned_on_and_untuned_stays(tmp_path):
    found = compare(["bm25", "random", "lsa"], PAIRS, out=tmp_path / "c", hybrid=True)
    rows = {row.candidate: row for row in found.rows}
    said, fusion = " ".join(rows["bm25+lsa:tuned"].notes), rows["bm25+lsa:tuned"].fusion
    assert "the other 4 fifths of the queries" in said and f"on all of them {fusion}" in said
    assert str(Fusion.read(fusion)) == fusion and rows["bm25+lsa"].fusion is rows["lsa"].fusion is None
    assert "k = 60" in " ".join(rows["bm25+lsa"].notes)
    corpus = [{"_id": f"d{n}", "text": pair["positive"]} for n, pair in enumerate(PAIRS)]
    folder = tmp_path / "beir"
    (folder / "qrels").mkdir(parents=True)
    (folder / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in corpus))
    (folder / "queries.jsonl").write_text(
        "".join(
            json.dumps({"_id": f"q{n}", "text": pair["anchor"], "lang": n % 2}) + "\n" for n, pair in enumerate(PAIRS)
        )
    )
    for name, part in (("train", range(40)), ("test", range(40, 80))):
        lines = "".join(f"q{n}\td{n}\t1\n" for n in part)
        (folder / "qrels" / f"{name}.tsv").write_text("query-id\tcorpus-id\tscore\n" + lines)
    found = compare(["bm25", "hashing@64", "lsa"], str(folder), out=tmp_path / "b", hybrid=True, by="lang")
    rows = {row.candidate: row for row in found.rows}
    assert "chosen on 40 training queries" in " ".join(rows["bm25+lsa:tuned"].notes + rows["bm25+lsa"].notes) or (
        rows["lsa"].training_seconds and "fifths" in " ".join(rows["bm25+lsa:tuned"].notes)
    )
    assert {group.name: group.items for group in found.groups} == {"0": 20, "1": 20}


# --- groups, duels, power ---------------------------------------------------------------------------------------------


def test_groups_of_a_column(tmp_path):
    found = compare(["bm25", "random"], PAIRS, out=tmp_path / "c", by="line")
    sizes = {group.name: group.items for group in found.groups}
    assert sizes == {"rest": 47, "beasts": 16, "money": 16, "alone": 1}
    alone = next(group for group in found.groups if group.name == "alone")
    assert (
        alone.note == "one item: a figure, no interval" and alone.intervals["bm25"].low == alone.intervals["bm25"].high
    )
    whole = sum(group.items * group.intervals["random"].value for group in found.groups) / 80
    assert whole == pytest.approx(found.intervals["random"].value)
    lengths = compare(["bm25", "random"], PAIRS, out=tmp_path / "c", by="length").groups
    assert sum(group.items for group in lengths) == 80
    with pytest.raises(WrongUse, match="no column 'langauge' beside what is judged on; there are: line, length"):
        compare(["bm25"], PAIRS, out=tmp_path / "c", by="langauge")
    many = [pair | {"line": f"line {n}"} for n, pair in enumerate(PAIRS)]
    with pytest.raises(UmekomiError, match="at most 30 groups, found 80"):
        compare(["bm25"], many, out=tmp_path / "c", by="line")


def test_groups_by_what_the_best_document_says():
    data = as_retrieval(PAIRS)
    corpus = data.corpus.append_column("kind", [[str(n % 3) for n in range(data.corpus.num_rows)]])
    names = column_of(RetrievalTask(data._replace(corpus=corpus)), "kind", data.num_rows)
    assert names == [str(n % 3) for n in range(80)]


def test_the_duel_counts_every_item(tmp_path):
    found = compare(["bm25", "random"], PAIRS, out=tmp_path / "c")
    duel = found.duel
    assert (duel.first, duel.second) == ("bm25", "random") and duel.won + duel.lost + duel.even == 80
    a, b = (np.array(row.values) for row in found.rows)
    assert duel.won == int((a > b).sum()) and duel.most_won[0]["first"] - duel.most_won[0]["second"] == max(a - b)
    assert json.loads(json.dumps(found.to_json(), default=str))["duel"]["most_won"]


def test_power_says_how_many_more_would_settle_it():
    draw = np.random.default_rng(0)
    needed = items_needed(0.1, 1 / np.sqrt(100), 100)
    settled = 0
    for _ in range(300):
        sample = draw.normal(0.1, 1, needed)
        settled += sample.mean() / (sample.std(ddof=1) / np.sqrt(needed)) > 1.96
    assert 0.74 < settled / 300 < 0.86  # power .8 means this

    def row(name, values):
        return Row(name, name, "ndcg@10", "mean", list(values), {}, 8, 32.0, 1.0, None, 1.0, 0.0, "x")

    a = draw.random(50)
    rows = [row("one", a), row("two", a + draw.normal(-0.01, 0.3, 50)), row("three", a - 0.5)]
    (line,) = undecided(rows)
    assert (
        line.startswith("one and two cannot be told apart on 50 items") and "more items like these would settle" in line
    )
    same = undecided([row("one", a), row("two", a.copy())])
    assert "no number of items" in same[0]


def test_holm_and_errors_against_plain_loops():
    p = np.random.default_rng(1).random(7).tolist()
    order = sorted(range(7), key=lambda n: p[n])
    want, largest = [0.0] * 7, 0.0
    for rank, place in enumerate(order):
        largest = max(largest, min(1.0, p[place] * (7 - rank)))
        want[place] = largest
    assert holm(p) == pytest.approx(want)
    assert holm([0.01, float("nan"), 0.02])[0] == 0.02 and np.isnan(holm([0.01, float("nan"), 0.02])[1])
    a, b = np.random.default_rng(2).random((2, 60))
    assert paired_error(a, b) == pytest.approx(np.sqrt(sum((d - (a - b).mean()) ** 2 for d in a - b) / 59 / 60))


def test_the_next_command_fits_the_winner():
    def row(name, makes="embedder", model=""):
        model = model or name
        return Row(name, name, "m", "mean", [0.5], {}, 8, 32.0, 1.0, None, 1.0, 0.0, "x", model=model, makes=makes)

    assert next_command(row("minilm"), "retrieval").startswith("umekomi encode minilm")
    assert next_command(row("minilm@64"), "retrieval").endswith("--dimensions 8")
    hybrid = next_command(row("bm25+minilm:tuned", model="minilm"), "retrieval")
    assert hybrid == "umekomi index bm25+minilm YOUR_TEXTS.jsonl --out library"
    tuned = dataclasses.replace(row("bm25+minilm:tuned", model="minilm"), fusion="convex:0.3")
    assert next_command(tuned, "retrieval") == f"{hybrid} --fusion convex:0.3"
    assert next_command(row("bm25+stem"), "retrieval").startswith("umekomi search bm25+stem --in")
    assert next_command(row("edrep"), "triple-ranking") == 'umekomi search edrep "HEAD RELATION"'
    assert next_command(row("poincare"), "reconstruction") == 'umekomi search poincare "A NAME"'
    found = next_command(row("minilm>20>ce", "reranked", "minilm"), "retrieval")
    assert found == "umekomi index minilm YOUR_TEXTS.jsonl --out library --rerank ce --depth 20"
    assert next_command(row("minilm>ce", "reranked", "minilm"), "retrieval").endswith(" --rerank ce --depth 50")
    assert next_command(row("ce", "scorer"), "retrieval").startswith("umekomi index bm25 YOUR_TEXTS.jsonl")
    assert next_command(row("ce", "scorer"), "similarity") == "umekomi serve ce"
    assert next_command(row("linear", "predictor"), "prediction") == "umekomi serve linear"
