"""Questions made from documents: what each way makes, what the filters leave out, the folder that can be edited, and
language models behind a chat endpoint or in a folder."""

import json
import random
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from umekomi.data import load
from umekomi.errors import DataError, UmekomiError, WrongUse
from umekomi.tasks.questions import WAYS, make_questions, read_questions, write_questions
from umekomi.tasks.questions.filters import duplicates, lead_back, leak
from umekomi.tasks.questions.making import documents_of, ways_of
from umekomi.tasks.questions.ways import Document, Question, Vocabulary, body_of, own_title
from umekomi.tasks.questions.writers import clean
from umekomi.verbs.compare import compare

ANIMALS = [
    "cat",
    "dog",
    "otter",
    "heron",
    "badger",
    "salmon",
    "beetle",
    "falcon",
    "lizard",
    "walrus",
    "ferret",
    "magpie",
]
PLACES = ["river", "forest", "meadow", "harbour", "orchard", "quarry"]


def text_of(n):
    animal, place = ANIMALS[n % 12], PLACES[n % 6]
    return (
        f"The {animal} of the {place}\n\nA {animal} numbered {n} lives near the old {place} since the spring of {1900 + n}. "
        f"It eats berries and roots when the snow covers everything around its burrow. "
        f"Visitors of station {n * 7} often hear its call before the morning begins."
    )


TEXTS = [text_of(n) for n in range(60)]


def test_titles_are_first_lines_that_tell_nothing_yet():
    assert own_title(TEXTS[0]) == "The cat of the river"
    assert own_title("# Heading one\n" + "word " * 20) == "Heading one"
    assert own_title("It rained all day.\n" + "word " * 20) == "" == own_title("one line only")
    assert own_title("東大寺の仏像\n" + "奈良県奈良市にある" * 10) == "東大寺の仏像"
    document = Document("d", TEXTS[0], "The cat of the river")
    assert body_of(document).startswith("A cat numbered 0")


def test_every_way_makes_what_it_says():
    documents = documents_of(load({"text": TEXTS})["all"], "t")
    vocabulary = Vocabulary(documents)
    (title,) = WAYS["title"](documents[0], vocabulary, random.Random(0))
    assert title.text == "The cat of the river"
    (paraphrase,) = WAYS["paraphrase"](documents[3], vocabulary, random.Random(1))
    assert paraphrase.evidence in TEXTS[3] and paraphrase.text not in TEXTS[3]
    words = paraphrase.text.split()
    assert set(words) < set(paraphrase.evidence.rstrip(".").split()) and len(words) < len(paraphrase.evidence.split())
    (phrases,) = WAYS["phrases"](documents[3], vocabulary, random.Random(1))
    assert 2 <= len(phrases.text.split()) <= 6 and "heron" in phrases.text
    assert WAYS["heading"](documents[0], vocabulary, random.Random(0)) == []
    section = Document("d", "Care\nFeed it twice a day.", "The otter", "Care")
    assert WAYS["heading"](section, vocabulary, random.Random(0))[0].text == "The otter: Care"


def test_filters_against_what_they_say():
    asked = [Question("Same thing", "a", "title"), Question("same  THING", "b", "title"), Question("own", "a", "title"),
             Question("own", "a", "phrases")]  # fmt: skip
    assert duplicates(asked) == [False, False, True, False]
    documents = [Document(f"d{n}", text) for n, text in enumerate(TEXTS)]
    vocabulary = Vocabulary(documents)
    assert leak("1907 otter numbered", documents[7], vocabulary) > 0
    assert leak("which animal lives there", documents[7], vocabulary) == 0
    own = sorted(set(vocabulary.words(TEXTS[7])), key=vocabulary.rarity)
    assert leak(" ".join(own[-3:]), documents[7], vocabulary) == 1.0
    right = Question("heron since 1903", "d3", "x"), Question("something else entirely about wheels", "d3", "x")
    assert lead_back(right, documents) == [True, False]


def test_made_questions_are_kept_read_and_edited(tmp_path):
    made = make_questions(load({"text": TEXTS})["all"], "all", "t", most=30)
    again = make_questions(load({"text": TEXTS})["all"], "all", "t", most=30)
    assert made.data.queries.equals(again.data.queries) and 5 <= made.data.queries.num_rows <= 30
    assert set(made.data.queries["way"].to_pylist()) <= set(WAYS) and "a stand-in for real queries" in made.notes[0]
    titled = [row for row in made.data.queries.to_pylist() if row["way"] == "title"]
    corpus = dict(zip(*(made.data.corpus[name].to_pylist() for name in ("id", "text")), strict=True))
    assert not any(row["text"] in corpus[made.data.judgements()[row["id"]].__iter__().__next__()] for row in titled)
    write_questions(tmp_path / "q", made, {"ways": "all"})
    lines = (tmp_path / "q" / "queries.jsonl").read_text().splitlines()
    (tmp_path / "q" / "queries.jsonl").write_text("\n".join(lines[2:]) + "\n")
    edited = read_questions(tmp_path / "q")
    assert (
        edited.data.queries.num_rows == made.data.queries.num_rows - 2 and "2 questions deleted by hand" in edited.notes
    )
    (tmp_path / "q" / "queries.jsonl").write_text(lines[0].replace('"q0"', '"other"') + "\n")
    with pytest.raises(DataError, match="expected a question that .* judges, found none"):
        read_questions(tmp_path / "q")
    write_questions(tmp_path / "q", made, {"ways": "all"})
    judged = tmp_path / "q" / "qrels" / "test.tsv"
    judged.write_text(judged.read_text().replace("\t1\n", "\tgood\n", 1))
    with pytest.raises(DataError, match=r"qrels/test.tsv.*line 2.*expected a number, found 'good'"):
        read_questions(tmp_path / "q")


def test_questions_are_kept_in_a_comparisons_own_folder_alone(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("x")
    with pytest.raises(WrongUse, match="mine holds files of something else"):
        compare(["bm25"], {"text": TEXTS}, out=tmp_path / "mine", questions="phrases")
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["letter.txt"]


def test_a_comparison_without_labels(tmp_path, capsys):
    found = compare(
        ["bm25", "random"],
        {"text": TEXTS},
        out=tmp_path / "c",
        questions="phrases,paraphrase",
        max_queries=20,
        by="way",
    )
    assert found.rows[0].candidate == "bm25" and found.size["queries"] <= 20
    assert {group.name for group in found.groups} <= {"phrases", "paraphrase"}
    assert any("stand-in for real queries" in note for note in found.notes)
    assert any("umekomi reproduce questions" in note or "Kendall" in note for note in found.notes)
    file = tmp_path / "c" / "questions" / "queries.jsonl"
    file.write_text("".join(line + "\n" for line in file.read_text().splitlines()[1:]))
    again = compare(["bm25"], {"text": TEXTS}, out=tmp_path / "c", questions="phrases,paraphrase", max_queries=20)
    assert again.size["queries"] == found.size["queries"] - 1 and "made before are asked" in capsys.readouterr().err


def test_wrong_ways_and_documents_are_one_line():
    assert ways_of("all") == list(WAYS)
    for text, said in (("poems", "expected all, title, .*found 'poems'"), ("title,", None), ("", "expected all")):
        if said is None:
            assert ways_of(text) == ["title"]
            continue
        with pytest.raises(WrongUse, match=said):
            ways_of(text)
    with pytest.raises(DataError, match="five documents or more, found 1"):
        make_questions(load({"text": ["one text only, which is long enough to be asked for"]})["all"], "all", "t")
    with pytest.raises(DataError, match="expected questions that pass the filters, found 0 of 7 .*7 asked twice"):
        same = [
            f"The same title\n\nbut another text, which is number {n} and goes on for long enough" for n in range(7)
        ]
        make_questions(load({"text": same})["all"], "title", "t")
    with pytest.raises(DataError, match="questions are made from texts"):
        make_questions(load({"child": ["a", "b"], "parent": ["c", "d"]})["all"], "all", "t")


@pytest.fixture
def chat(tmp_path, monkeypatch):
    monkeypatch.setenv("UMEKOMI_CACHE", str(tmp_path / "cache"))
    asked, plan = [], []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            asked.append((self.path, body))
            text = body["messages"][0]["content"].split("Passage:\n")[1]
            n = text.split("numbered ")[1].split()[0]
            answer = {"choices": [{"message": {"content": f"<think>hm</think>Question: which beast bears {n}?"}}]}
            status = 200
            if plan:
                status, answer = plan.pop(0)
            data = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield f"chat:m@http://127.0.0.1:{server.server_port}#delay=0.01", asked, plan
    server.shutdown()
    server.server_close()


def test_a_chat_endpoint_writes_and_is_not_asked_twice(chat):
    way, asked, plan = chat
    pytest.importorskip("httpx")
    plan.append((500, {}))
    table = load({"text": TEXTS})["all"]
    made = make_questions(table, way, "t", most=20)
    assert len(asked) == 31 and asked[0][0] == "/v1/chat/completions" and asked[0][1]["temperature"] == 0
    assert made.data.queries["text"][0].as_py().startswith("which beast bears ")
    make_questions(table, way, "t", most=20)
    assert len(asked) == 31
    plan += [(200, {"hello": 1})]
    with pytest.raises(UmekomiError, match="expected a chat completion, found .*hello"):
        make_questions(table, way, "t", most=30)
    with pytest.raises(WrongUse, match="of OpenAI's shape, found cohere's"):
        make_questions(table, "chat:cohere:m", "t")


def test_what_models_answer_is_cleaned():
    assert clean("1. Where do otters sleep?") == "Where do otters sleep?"
    assert clean("Sure! Here it is:\n\n「どこで寝ますか？」") == "どこで寝ますか？"
    assert clean("<think>never ends") == "" == clean("")


def test_a_model_of_transformers_writes(tmp_path, monkeypatch):
    transformers = pytest.importorskip("transformers")
    tokenizers = pytest.importorskip("tokenizers")
    torch = pytest.importorskip("torch")
    monkeypatch.setenv("UMEKOMI_CACHE", str(tmp_path / "cache"))
    words = tokenizers.Tokenizer(
        tokenizers.models.WordLevel({"<unk>": 0, "</s>": 1, "cat": 2, "where": 3}, unk_token="<unk>")
    )
    words.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=words, unk_token="<unk>", eos_token="</s>", pad_token="</s>"
    ).save_pretrained(tmp_path / "lm")
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=4,
        hidden_size=8,
        intermediate_size=8,
        num_hidden_layers=1,
        num_attention_heads=1,
        max_position_embeddings=128,
    )
    transformers.LlamaForCausalLM(config).save_pretrained(tmp_path / "lm")
    # a network that knows nothing writes the same for all: every question is asked of several documents
    with pytest.raises(DataError, match="expected questions that pass the filters, found [01] of"):
        make_questions(load({"text": TEXTS[:8]})["all"], f"local:{tmp_path / 'lm'}", "t", most=5)
    with pytest.raises(WrongUse, match="expected a causal language model of transformers"):
        make_questions(load({"text": TEXTS})["all"], f"local:{tmp_path / 'nothing'}", "t", most=5)


def test_agreement_of_orders():
    from reproductions.questions import agreement

    draw = np.random.default_rng(0)
    good = np.linspace(0, 1, 8)[:, None]
    real, made = good + draw.normal(0, 0.2, (8, 200)), good + draw.normal(0, 0.2, (8, 100))
    tau, low, high = agreement(real, made)
    assert tau > 0.9 and low <= tau <= high
    assert agreement(real, made[::-1])[0] < -0.9
