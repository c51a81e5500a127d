"""Services that order documents, against a real server on this machine that misbehaves on purpose."""

import itertools

import numpy as np
import pytest

pytest.importorskip("httpx")

from misbehaving import score_of

from umekomi.errors import DataError, UmekomiError, WrongUse
from umekomi.models import load
from umekomi.models.services.endpoints import endpoint_of
from umekomi.models.services.money import SEARCH, BudgetReached, Purse, price_of
from umekomi.models.services.scorer import ServiceScorer

QUERIES = ["which cat", "which dog"]
DOCUMENTS = [f"document number {n}" for n in range(6)]
A, B = map(list, zip(*itertools.product(QUERIES, DOCUMENTS), strict=True))


def reranker(server, more="", maker="openai", model="r"):
    return ServiceScorer.named(f"{maker}:{model}@{server.url}#delay=0.01&{more}")


def expected(a=A, b=B):
    return [score_of(query, document) for query, document in zip(a, b, strict=True)]


def test_a_query_is_one_request_and_scores_stand_in_their_places(service):
    server = service()
    scorer = reranker(server)
    found = scorer.score(A, B)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected(), atol=1e-6)
    assert server.paths == ["/v1/rerank"] * 2
    bodies = sorted(server.bodies, key=lambda body: body["query"])  # two requests fly at once
    assert bodies == [{"model": "r", "query": query, "documents": DOCUMENTS, "top_n": 6} for query in QUERIES]
    assert (
        scorer.bill.requests == 2
        and len(scorer.bill.waits) == 2
        and scorer.bill.tokens
        == sum(len(f"{query} | {document}".split()) for query, document in zip(A, B, strict=True))
    )
    reranker(server, "max_items=4").score(["another"] * 6, DOCUMENTS)
    assert sorted(len(body["documents"]) for body in server.bodies[2:]) == [2, 4]


def test_no_pair_is_paid_twice_in_another_process_order_or_company(service):
    server = service()
    first = reranker(server).score(A, B)
    again = reranker(server)
    np.testing.assert_array_equal(again.score(A[::-1], B[::-1])[::-1], first)
    assert not again.bill.requests and again.units(A, B, asked_anew=True) == (0, 0)
    assert again.units(A, B)[1] == sum(
        len(f"{query} | {document}".split()) for query, document in zip(A, B, strict=True)
    )
    again.score([QUERIES[0]] * 7, [*DOCUMENTS, "one more"])
    assert server.bodies[-1]["documents"] == ["one more"] and max(server.asked.values()) == 1 and again.kept == 13


def test_one_that_reads_documents_together_is_asked_for_them_together(service):
    server = service()
    scorer = reranker(server, model="jina-reranker-v3")
    scorer.score([QUERIES[0]] * 3, DOCUMENTS[:3])
    scorer.score([QUERIES[0]] * 3, DOCUMENTS[:3])
    scorer.score([QUERIES[0]] * 4, DOCUMENTS[:4])
    assert [len(body["documents"]) for body in server.bodies] == [3, 4]


def test_makers_say_it_their_way(service, monkeypatch):
    server = service()
    np.testing.assert_allclose(reranker(server, maker="voyage").score(A, B), expected(), atol=1e-6)
    assert "top_n" in server.bodies[0]  # Voyage's words are its own address's
    voyage = endpoint_of("voyage:rerank-2.5", reranks=True)
    assert (voyage.max_items, voyage.max_tokens, voyage.fields) == (1000, 300_000, {})
    from umekomi.models.services.wire import read_scores, rerank_request

    path, body = rerank_request(voyage, "q", ["a", "b"])
    assert path == "rerank" and body == {"model": "rerank-2.5", "query": "q", "documents": ["a", "b"], "top_k": 2}
    answer = {"data": [{"index": 1, "relevance_score": 0.5}], "usage": {"total_tokens": 9}}
    assert read_scores(voyage, answer, False) == ([(1, 0.5)], 9)
    assert endpoint_of("jina:jina-reranker-v2-base-multilingual", reranks=True).fields == {
        "": {"return_documents": False}
    }
    assert endpoint_of(f"openai:r@{server.url}/v1/rerank").url == f"{server.url}/v1"
    cohere = service(shape="cohere")
    scorer = reranker(cohere, maker="cohere")
    np.testing.assert_allclose(scorer.score(A, B), expected(), atol=1e-6)
    assert cohere.paths == ["/v2/rerank"] * 2 and "input_type" not in cohere.bodies[0]
    assert scorer.by_search and scorer.bill.tokens == 2 * SEARCH and scorer.units(A, B) == (12, 2 * SEARCH)
    with pytest.raises(WrongUse, match="expected a service that answers at /rerank, found google, which has none"):
        ServiceScorer.named("google:gemini-embedding-001")


def changed(change):
    return lambda answer: answer | {"results": change(answer["results"])}


def with_score(value):
    """Document number 2 gets another score."""
    return changed(lambda rows: [row | ({"relevance_score": value} if row["index"] == 2 else {}) for row in rows])


def with_index(value):
    return changed(lambda rows: [row | ({"index": value} if row["index"] == 2 else {}) for row in rows])


@pytest.mark.parametrize(("step", "said", "kept"), [
    (with_score(None), "a finite score, found null", 5), (with_score(float("nan")), "found nan", 5),
    (with_score(float("inf")), "found inf", 5), (with_score("much"), "found 'much'", 5), (with_score(True), "found True", 5),
    (with_score(1e300), r"found 1e\+300", 5),
    (changed(lambda rows: [row for row in rows if row["index"] != 2]), "expected 6 scores, found 5: none", 5),
    (with_index(6), "an index of 0 to 5, found 6", 0), (with_index(-1), "found -1", 0), (with_index("2"), "found '2'", 0),
    (with_index(None), "found None", 0), (with_index(2.0), r"found 2\.0", 0),
])  # fmt: skip
def test_a_bad_score_names_its_document_and_the_good_ones_are_kept(service, step, said, kept):
    server = service()
    server.plan.append(step)
    scorer = reranker(server)
    with pytest.raises(UmekomiError, match=said) as error:
        scorer.score(A[:6], B[:6])
    assert "'document number 2' of the query 'which cat'" in str(error.value) and "\n" not in str(error.value)
    assert scorer.kept == kept
    np.testing.assert_allclose(scorer.score(A[:6], B[:6]), expected()[:6], atol=1e-6)
    assert server.bodies[-1]["documents"] == (["document number 2"] if kept else DOCUMENTS)


def test_one_too_many_and_another_shape(service):
    server = service()
    server.plan.append(changed(lambda rows: [*rows, {"index": 3, "relevance_score": 1.0}]))
    with pytest.raises(UmekomiError, match="one score a document, found several for the document 'document number 3'"):
        reranker(server).score(A[:6], B[:6])
    for answer in ({"hello": 1}, {"results": [{"index": 0}]}, {"results": None}):
        server.plan.append(lambda _, answer=answer: answer)
        with pytest.raises(UmekomiError, match="expected an answer in results with index and relevance_score, found"):
            reranker(server).score(A[:6], B[:6])


def test_busy_servers_lost_keys_and_failures(service, monkeypatch):
    server = service()
    server.plan += [429, 503]
    np.testing.assert_allclose(reranker(server).score(A, B), expected(), atol=1e-6)
    server.plan += [404]
    with pytest.raises(WrongUse, match=r"expected the model r at .*/v1/rerank, the service answers 404"):
        reranker(server).score(["new"], ["text"])
    server.plan += [None, 400]
    with pytest.raises(UmekomiError, match="answers 400 for the document 'x' of the query 'second'"):
        reranker(server, "parallel=1").score(["first", "second"], ["x", "x"])
    assert server.asked["first | x"] == 1
    reranker(server).score(["first", "second"], ["x", "x"])
    assert server.asked["first | x"] == 1
    monkeypatch.delenv("CO_API_KEY", raising=False)
    monkeypatch.delenv("COHERE_API_KEY", raising=False)
    with pytest.raises(WrongUse, match="wants a key: set CO_API_KEY or COHERE_API_KEY"):
        ServiceScorer.named("cohere:rerank-v3.5").score(["a"], ["b"])


def test_blank_texts(service):
    server = service()
    scorer = reranker(server)
    found = scorer.score(["q", "q", "q"], ["a", "  ", "b"])
    assert server.bodies[0]["documents"] == ["a", "b"] and found[1] == pytest.approx(min(found[0], found[2]) - 1)
    assert scorer.score(["only"], [""])[0] == 0 and len(server.bodies) == 1
    with pytest.raises(WrongUse, match="expected queries and documents, found an empty query in pair 2"):
        scorer.score(["q", ""], ["a", "b"])
    assert scorer.score([], []).shape == (0,)


def test_prompts_fields_and_the_folder(service, tmp_path):
    server = service()
    (tmp_path / "umekomi-endpoints.toml").write_text(
        f'[mine]\nshape = "openai"\nmodel = "r"\nurl = "{server.url}/v1"\nprompts = {{ query = "q: ", document = "d: " }}\n'
        'fields.rerank = { truncation = true }\nfields.query = { input_type = "q" }\n'
    )
    scorer = ServiceScorer.named("mine")
    found = scorer.score(["x"], ["y"])
    assert server.bodies[0] == {"model": "r", "query": "q: x", "documents": ["d: y"], "top_n": 1, "truncation": True}
    scorer.save(tmp_path / "saved")
    again = load(tmp_path / "saved")
    assert isinstance(again, ServiceScorer) and again.score(["x"], ["y"])[0] == found[0] and len(server.bodies) == 1
    load("mine").encode(["x"], role="query")
    assert "truncation" not in server.bodies[-1] and server.bodies[-1]["input_type"] == "q"


def test_prices_of_searches_and_tokens(service, tmp_path):
    assert price_of(endpoint_of("cohere:rerank-v3.5", True), True).of(1000 * SEARCH) == pytest.approx(2.0)
    assert price_of(endpoint_of("voyage:rerank-2.5", True)).usd == 0.05
    assert ServiceScorer.named("cohere:rerank-v9").price is None
    assert "with usd_per_search = DOLLARS (for one search)" in ServiceScorer.named("cohere:rerank-v9").ask_for_price
    (tmp_path / "umekomi-endpoints.toml").write_text('[prices."rerank-v9"]\nusd = 2\n')
    with pytest.raises(DataError, match="usd_per_search: expected dollars for one search, found usd"):
        assert ServiceScorer.named("cohere:rerank-v9").price
    (tmp_path / "umekomi-endpoints.toml").write_text('[prices."rerank-v9"]\nusd_per_search = 2\n')
    scorer = ServiceScorer.named("cohere:rerank-v9")
    # Cohere takes a document of more than 500 tokens, the query's among them, in pieces
    assert scorer.units(["q"], ["word " * 1500]) == (1, SEARCH)
    assert scorer.units(["q"] * 60, [f"{n} " + "word " * 700 for n in range(60)]) == (60, 2 * SEARCH)


def test_the_budget_is_never_passed(service, tmp_path):
    (tmp_path / "umekomi-endpoints.toml").write_text("[prices.r]\nusd_per_search = 1\n")
    server = service(shape="cohere")
    scorer = reranker(server, "parallel=2", maker="cohere")
    scorer.purse = Purse(5.0)
    queries = [f"query {n}" for n in range(8)]
    with pytest.raises(BudgetReached, match=r"before the budget of \$5 is passed: .*kept"):
        scorer.score(queries, ["text"] * 8)
    assert scorer.purse.spent == sum(server.asked.values()) == 5
    scorer.purse = None
    scorer.score(queries, ["text"] * 8)
    assert max(server.asked.values()) == 1
    scorer.purse = Purse(1.0)
    (tmp_path / "umekomi-endpoints.toml").unlink()
    far = ServiceScorer.named("cohere:r@https://nowhere.invalid")
    far.purse = Purse(1.0)
    with pytest.raises(WrongUse, match=r"a budget needs its price; .*usd_per_search"):
        far.score(["q"], ["d"])
