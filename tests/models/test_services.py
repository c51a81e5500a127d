"""Services against a real server on this machine that misbehaves on purpose: one line each, nothing lost, nothing asked
twice. The shapes are those of :mod:`umekomi.models.services.wire`."""

import email.utils
import json
import threading
import time

import numpy as np
import pytest

pytest.importorskip("httpx")

from misbehaving import vector_of

from umekomi.errors import DataError, UmekomiError, WrongUse
from umekomi.models import load
from umekomi.models.opening import is_model_name
from umekomi.models.services.embedder import ServiceEmbedder
from umekomi.models.services.endpoints import endpoint_of
from umekomi.models.services.money import BudgetReached, Purse, price_of

TEXTS = [f"text number {n}" for n in range(10)]


def openai(server, more="", model="m"):
    return load(f"openai:{model}@{server.url}#delay=0.01&{more}")


def test_vectors_order_batches_and_the_bound_on_requests_at_once(service):
    server = service()
    server.slow = 0.02
    embedder = openai(server, "max_items=2&parallel=3")
    found = embedder.encode(TEXTS + TEXTS[:2])
    assert found.dtype == np.float32 and embedder.dimension == 8
    np.testing.assert_allclose(found, [vector_of(text) for text in TEXTS + TEXTS[:2]], atol=1e-6)
    assert sorted(map(len, (body["input"] for body in server.bodies))) == [2] * 5 and 1 < server.busiest <= 3
    assert server.paths[0] == "/v1/embeddings" and server.bodies[0]["model"] == "m"
    assert "Authorization" not in server.headers[0]
    assert embedder.bill.tokens == 30 and embedder.lengths(TEXTS).tolist() == [3] * 10


def test_a_text_that_is_timed_alone_says_nothing_of_texts_a_second(service):
    server = service()
    embedder = openai(server)
    embedder.encode(TEXTS)
    texts, seconds = embedder.bill.texts, embedder.bill.seconds
    assert texts == len(TEXTS) and seconds > 0
    server.slow = 0.05
    assert embedder.seconds_of(TEXTS[0], "query") >= 0.05 and server.asked[TEXTS[0]] == 2
    assert (embedder.bill.texts, embedder.bill.seconds) == (texts, seconds)
    assert embedder.bill.requests == 2 and embedder.bill.tokens == 33


def test_batches_keep_to_the_tokens_of_a_request(service):
    server = service()
    openai(server, "max_tokens=100&parallel=1").encode(["word " * 40, "ward " * 40, "a", "b", "word " * 200])
    assert [len(body["input"]) for body in server.bodies] == [1, 3, 1]


def test_nothing_is_asked_twice_by_another_process_or_another_order(service):
    server = service()
    first = openai(server).encode(TEXTS)
    again = openai(server)
    np.testing.assert_array_equal(again.encode(TEXTS[::-1])[::-1], first)
    assert again.bill.requests == 0 and again.dimension == 8
    again.encode([*TEXTS, "one more"])
    assert (
        max(server.asked.values()) == 1
        and again.bill.texts == 1
        and again.to_ask(["new", "a", TEXTS[0]]) == ["new", "a"]
    )


@pytest.mark.parametrize("step", [(429, {"Retry-After": "0"}), 429, 500, 503, lambda answer: b'{"data": [{"embed',
                                  (429, {"Retry-After": email.utils.formatdate(time.time() - 5)})])  # fmt: skip
def test_what_passes_is_asked_again(service, step):
    server = service()
    server.plan += [step, step]
    embedder = openai(server)
    np.testing.assert_allclose(embedder.encode(TEXTS), [vector_of(text) for text in TEXTS], atol=1e-6)
    assert len(server.bodies) == 3 == embedder.bill.attempts and embedder.bill.requests == 1


def test_retry_after_is_waited_for_and_a_long_one_is_named(service):
    server = service()
    server.plan.append((429, {"Retry-After": "0.3"}))
    begun = time.perf_counter()
    openai(server).encode(["a"])
    assert time.perf_counter() - begun >= 0.3
    server.plan.append((429, {"Retry-After": "7200"}))
    with pytest.raises(UmekomiError, match="asks to wait 7,200 seconds"):
        openai(server).encode(["b"])


def test_a_slow_drip_ends(service):
    server = service()
    server.plan += [lambda answer: "drip"] * 2
    begun = time.perf_counter()
    with pytest.raises(UmekomiError, match="no whole answer within 0.3 seconds"):
        openai(server, "timeout=0.3&attempts=2").encode(["a"])
    assert time.perf_counter() - begun < 3


def null(answer):
    answer["data"][4]["embedding"] = None  # in reverse: text number 5
    return answer


def zero(answer):
    answer["data"][4]["embedding"] = [0.0] * 8
    return answer


def nan(answer):
    answer["data"][4]["embedding"][3] = float("nan")
    return answer


def hole(answer):
    answer["data"][4]["embedding"][3] = None
    return answer


def wide(answer):
    answer["data"][4]["embedding"] = [1.0] * 9
    return answer


def empty(answer):
    answer["data"][4]["embedding"] = []
    return answer


@pytest.mark.parametrize(("step", "said"), [(null, "found null"), (zero, "nothing but zeros"), (nan, "NaN"), (hole, "null"),
                                            (wide, "8 numbers as before, found one of 9 .too wide"), (empty, "of 0 numbers")])  # fmt: skip
def test_a_bad_vector_names_its_text_and_the_good_ones_are_kept(service, step, said):
    server = service()
    embedder = openai(server)
    embedder.encode(["warm"])
    server.plan.append(step)
    with pytest.raises(UmekomiError, match=said) as error:
        embedder.encode(TEXTS)
    assert "'text number 5'" in str(error.value) and "\n" not in str(error.value)
    embedder.encode(TEXTS)
    assert server.bodies[-1]["input"] == ["text number 5"]


def test_too_few_too_many_and_one_for_all(service):
    server = service()
    for change, said in (
        (lambda data: data[:1], "expected 10 vectors, found 1, .*text number 0.*set max_items to 1"),
        (lambda data: data[1:], "expected 10 vectors, found 9"),
        (lambda data: [*data, data[0]], "expected 10 vectors, found 11"),
        (lambda data: [], "expected 10 vectors, found 0"),
    ):
        server.plan.append(lambda answer, change=change: answer | {"data": change(answer["data"])})
        with pytest.raises(UmekomiError, match=said):
            openai(server).encode(TEXTS)
    server.plan.append(lambda answer: {"hello": "world"})
    with pytest.raises(UmekomiError, match="in the shape of openai's embeddings, found .*world"):
        openai(server).encode(TEXTS)


def test_another_width_the_second_time_even_in_another_process(service):
    server = service()
    openai(server).encode(TEXTS)
    server.width = 12
    with pytest.raises(UmekomiError, match=r"8 numbers as before, found one of 12 \(too wide\), for the text 'new'"):
        openai(server).encode(["new"])
    server.width = 4
    with pytest.raises(UmekomiError, match=r"found one of 4 \(too narrow\)"):
        openai(server).encode(["new"])


def test_what_was_answered_before_a_failure_is_kept(service):
    server = service()
    server.plan += [None, None, 400]
    with pytest.raises(UmekomiError, match="answers 400 for the text 'text number 4' and 1 more: not now"):
        openai(server, "max_items=2&parallel=1").encode(TEXTS)
    openai(server, "max_items=2&parallel=1").encode(TEXTS)
    assert sorted(server.asked) == sorted(TEXTS) and max(server.asked.values()) == 1


def test_ctrl_c_keeps_what_was_paid(service, monkeypatch):
    server = service()
    server.slow = 0.05
    embedder = openai(server, "max_items=1&parallel=2")
    keep, seen = embedder._keep, []

    def interrupted(good, role):
        keep(good, role)
        seen.extend(good)
        if len(seen) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(embedder, "_keep", interrupted)
    with pytest.raises(KeyboardInterrupt):
        embedder.encode(TEXTS)
    asked = sum(server.asked.values())
    openai(server).encode(TEXTS)
    assert 3 <= asked < 10 and max(server.asked.values()) == 1


def test_keys_and_addresses(service, monkeypatch):
    server = service()
    for name in ("OPENAI_API_KEY", "MY_KEY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(WrongUse, match="wants a key: set OPENAI_API_KEY"):
        load("openai:text-embedding-3-small").encode(["a"])
    with pytest.raises(WrongUse, match="set MY_KEY"):
        openai(server, "key=MY_KEY").encode(["a"])
    monkeypatch.setenv("MY_KEY", "a-secret")
    openai(server, "key=MY_KEY").encode(["a"])
    assert server.headers[-1]["Authorization"] == "Bearer a-secret"
    monkeypatch.setenv("OPENAI_API_KEY", "another")
    openai(server).encode(["b"])
    assert "Authorization" not in server.headers[-1]  # a maker's key goes to the maker only
    server.plan += [401, 404, 302]
    with pytest.raises(WrongUse, match=r"refuses the key \(MY_KEY\)") as error:
        openai(server, "key=MY_KEY").encode(["c"])
    assert "a-secret" not in str(error.value)
    with pytest.raises(WrongUse, match="expected the model m at .*404"):
        openai(server).encode(["c"])
    with pytest.raises(WrongUse, match="points elsewhere"):
        openai(server).encode(["c"])
    begun = time.perf_counter()
    with pytest.raises(UmekomiError, match="cannot be reached at http://127.0.0.1:9/v1/embeddings"):
        load("openai:m@http://127.0.0.1:9").encode(["a"])
    assert time.perf_counter() - begun < 2


@pytest.mark.parametrize(("name", "said"), [
    ("openai:m@ftp://there", "cannot be|expected"), ("openai:@http://x", "expected a model's name"),
    ("openai:m@http://u:p@host", "password"), ("openai:m@http://x#parallel=0", "parallel: expected 1"),
    ("openai:m@http://x#parallel=two", "expected a number"), ("openai:m@http://x#key=a key", "environment variable"),
    ("openai:m@http://x#url=http://y", "before the #"), ("openai:m@http://x#top_n=3", "setting or role .*'top_n'"),
    ("openai:m@http://x#paralel=3", "parallel"),
])  # fmt: skip
def test_names_that_lead_nowhere(service, name, said):
    if name.endswith("ftp://there"):  # no URL: all of it is the model's name
        assert endpoint_of(name).model == "m@ftp://there"
        return
    with pytest.raises(WrongUse, match=said):
        load(name)


def test_roles_become_what_the_service_wants(service):
    server = service()
    embedder = openai(server, "query=query%3A+&document=passage: ")
    a, b = embedder.encode(["x"], role="query"), embedder.encode(["x"], role="document")
    assert [body["input"] for body in server.bodies] == [["query: x"], ["passage: x"]] and not np.allclose(a, b)
    embedder.encode(["x"])
    assert server.bodies[-1]["input"] == ["x"]
    with pytest.raises(WrongUse, match="knows no role 'poet'; there are: document, query"):
        embedder.encode(["x"], role="poet")
    jina = load(f"jina:j@{server.url}")
    jina.encode(["x"], role="query")
    assert server.bodies[-1]["task"] == "retrieval.query" and "similarity" in jina.roles
    load(f"voyage:v@{server.url}").encode(["x"], role="document")
    assert server.bodies[-1]["input_type"] == "document"


def test_cohere(service):
    server = service(shape="cohere")
    embedder = load(f"cohere:embed@{server.url}")
    found = embedder.encode(TEXTS, role="query")
    np.testing.assert_allclose(found, [vector_of(text) for text in TEXTS], atol=1e-6)
    body = server.bodies[0]
    assert (
        server.paths[0] == "/v2/embed" and body["input_type"] == "search_query" and body["embedding_types"] == ["float"]
    )
    embedder.encode(["x"])
    assert server.bodies[-1]["input_type"] == "search_document" and embedder.bill.tokens == 31


def test_google_and_the_second_gemini(service, monkeypatch):
    monkeypatch.setenv("GEMINI_API_KEY", "a-secret")
    server = service(shape="google", counts=False)
    second = load(f"google:gemini-embedding-2@{server.url}#key=GEMINI_API_KEY")
    found = second.encode(TEXTS, role="query")
    assert len(server.bodies[0]["requests"]) == 10 and found.shape == (10, 8)
    request = server.bodies[0]["requests"][3]
    assert request["content"]["parts"] == [{"text": "task: search result | query: text number 3"}]
    assert "taskType" not in request and server.headers[0]["x-goog-api-key"] == "a-secret"
    second.encode(["x"], role="document")
    assert server.bodies[-1]["requests"][0]["content"]["parts"][0]["text"] == "title: none | text: x"
    load(f"google:gemini-embedding-001@{server.url}").encode(["x"], role="query")
    assert server.bodies[-1]["requests"][0]["taskType"] == "RETRIEVAL_QUERY"
    server.plan.append(lambda answer: {"embeddings": answer["embeddings"][:1]})
    with pytest.raises(UmekomiError, match="expected 10 vectors, found 1"):
        second.encode(TEXTS, role="similarity")
    assert not second.bill.counted  # Google's batches say nothing of tokens


def test_a_file_of_endpoints(service, monkeypatch, tmp_path):
    server = service()
    monkeypatch.setenv("MINE", "a-secret")
    (tmp_path / "umekomi-endpoints.toml").write_text(
        f'[mine]\nshape = "openai"\nmodel = "m"\nurl = "{server.url}/v1"\nkey = "MINE"\nmax_items = 3\n'
        'prompts = { query = "q: " }\nfields.query = { extra = true }\n[prices.m]\nusd = 0.5\ndate = "2026-11"\n'
    )
    assert is_model_name("mine") and not is_model_name("theirs")
    embedder = load("mine")
    embedder.encode(TEXTS, role="query")
    assert (
        len(server.bodies) == 4 and server.bodies[0]["input"][0].startswith("q: ") and server.bodies[0]["extra"] is True
    )
    assert price_of(embedder.endpoint).usd == 0.5
    embedder.save(tmp_path / "model")
    assert "a-secret" not in "".join(file.read_text() for file in (tmp_path / "model").iterdir())
    again = load(tmp_path / "model")
    np.testing.assert_array_equal(again.encode(TEXTS, role="query"), embedder.encode(TEXTS, role="query"))
    assert len(server.bodies) == 4


@pytest.mark.parametrize(("text", "said"), [
    ("[a", "expected TOML"), ('[a]\nshape = "smtp"', "expected a shape"), ('[a]\nshape = "openai"\nmodel = "m"', "a url"),
    ('[a]\nshape = "openai"\nurl = "http://x"\nmodel = 3', "model: expected str"), ("a = 1", "a table of settings"),
    ('[a]\nshape = "openai"\nurl = "http://x"\nmodel = "m"\nitems = 3', "found 'items'"),
    ('[a]\nshape = "openai"\nurl = "http://x"\nmodel = "m"\nprompts = { query = 3 }', "prompts.query: expected str"),
])  # fmt: skip
def test_a_wrong_file_is_one_line(service, tmp_path, text, said):
    (tmp_path / "umekomi-endpoints.toml").write_text(text)
    with pytest.raises((DataError, WrongUse), match=said):
        load("a")


def test_prices_are_asked_for_and_never_guessed(service, monkeypatch, tmp_path):
    server = service()
    assert price_of(endpoint_of("openai:text-embedding-3-small")).usd == 0.02
    assert price_of(endpoint_of("openai:text-embedding-9")) is None
    assert price_of(endpoint_of("openai:text-embedding-3-small@https://elsewhere.example")) is None
    assert price_of(endpoint_of(f"openai:m@{server.url}")).usd == 0
    (tmp_path / "umekomi-endpoints.toml").write_text('[prices."text-embedding-9"]\nusd = "much"\n')
    with pytest.raises(DataError, match="usd: expected dollars for a million tokens, found 'much'"):
        price_of(endpoint_of("openai:text-embedding-9"))


def test_the_budget_is_never_passed(service, tmp_path):
    server = service()
    (tmp_path / "umekomi-endpoints.toml").write_text("[prices.m]\nusd = 1000000\n")  # a dollar a token
    embedder = openai(server, "max_items=1&parallel=3")
    embedder.purse = Purse(60.0)
    with pytest.raises(BudgetReached, match=r"before the budget of \$60 is passed: .*kept"):
        embedder.encode(TEXTS)
    assert 0 < embedder.purse.spent <= 60 and embedder.purse.spent == 3 * sum(server.asked.values())
    kept = sum(server.asked.values())
    poor = openai(server)
    poor.purse = Purse(1.0)
    with pytest.raises(BudgetReached):
        poor.encode(TEXTS)
    assert sum(server.asked.values()) == kept and poor.purse.spent == 0  # stopped before anything is spent
    poor.purse = None
    poor.encode(TEXTS)
    assert max(server.asked.values()) == 1


def test_threads_share_an_embedder(service):
    server = service()
    embedder = openai(server, "max_items=2")
    results = {}
    threads = [
        threading.Thread(target=lambda n=n: results.update({n: embedder.encode([f"{n} {text}" for text in TEXTS])}))
        for n in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for n, found in results.items():
        np.testing.assert_allclose(found, [vector_of(f"{n} {text}") for text in TEXTS], atol=1e-6)


def test_empty_texts_and_none(service):
    server = service()
    with pytest.raises(WrongUse, match="found an empty one in place 2"):
        openai(server).encode(["a", " "])
    assert openai(server).encode([]).shape == (0, 8)
    assert isinstance(load(f"openai:m@{server.url}"), ServiceEmbedder) and json.dumps(server.bodies)
