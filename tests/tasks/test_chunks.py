"""Chunks: whole sentences within their size, nothing lost, and judged by the evidence that one has read, not by how
large they are."""

import json
import re
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from umekomi.comparison.leaderboard import next_command
from umekomi.data.readers import retrieval
from umekomi.errors import DataError, WrongUse
from umekomi.models.scorers import PairHeadScorer
from umekomi.models.untrained import HashingEmbedder, RandomEmbedder
from umekomi.parts.ranking import exact_search
from umekomi.recipes import get
from umekomi.tasks.chunks import READ, Chunks, Span, chunked, cut, evidence_of, tokens_of
from umekomi.verbs.compare import compare

ANIMALS = ["cat", "dog", "otter", "heron", "badger", "salmon", "beetle", "falcon"]


def documents(count=6, sentences=60):
    return [
        {
            "id": f"d{n}",
            "text": " ".join(
                f"The {ANIMALS[(n + s) % 8]} of house {n} did thing {s} on day {s * 7}." for s in range(sentences)
            ),
        }
        for n in range(count)
    ]


def data(evidence=True, **options):
    import pyarrow as pa

    corpus = documents(**options)
    rows = []
    for n, document in enumerate(corpus):
        for s in (3, 17, 29):
            sentence = f"The {ANIMALS[(n + s) % 8]} of house {n} did thing {s} on day {s * 7}."
            assert sentence in document["text"]
            rows.append(
                {"id": f"q{n}-{s}", "text": f"who did thing {s} in house {n} on day {s * 7}", "evidence": sentence}
            )
    queries = pa.Table.from_pylist(rows if evidence else [{k: row[k] for k in ("id", "text")} for row in rows])
    qrels = pa.Table.from_pylist(
        [
            {"query_id": row["id"], "corpus_id": row["id"][1:].split("-")[0].join(["d", ""]), "score": 1.0}
            for row in rows
        ]
    )
    return retrieval(queries, pa.Table.from_pylist(corpus), qrels)


@settings(max_examples=60, deadline=None)
@given(
    st.text(st.sampled_from("ab. !?\n埋。# "), max_size=300),
    st.integers(1, 30),
    st.sampled_from(["sentences", "headings"]),
    st.sampled_from([0.0, 0.5]),
)
def test_chunks_hold_every_word_within_their_size(text, size, by, overlap):
    spans = cut(text, size, by=by, overlap=overlap)
    assert spans == sorted(spans) and len(set(spans)) == len(spans)
    covered = set()
    for start, end in spans:
        covered |= set(range(start, end))
        assert tokens_of(text[start:end]) <= size or not text.strip()
    words = {place for match in re.finditer(r"[ab埋]", text) for place in range(match.start(), match.end())}
    assert words <= covered
    if not overlap:
        assert all(a[1] <= b[0] for a, b in pairwise(spans))


def test_overlap_repeats_whole_sentences_and_headings_are_borders():
    text = " ".join(f"Sentence number {n} here." for n in range(10))
    plain, again = cut(text, 20), cut(text, 20, overlap=0.5)
    assert len(again) > len(plain) and all(b[0] < a[1] for a, b in pairwise(again))
    parts = cut("# One\nTells of one.\n# Two\nTells of two.", 100, by="headings")
    assert len(parts) == 2 and len(cut("# One\nTells of one.\n# Two\nTells of two.", 100)) == 1
    with pytest.raises(WrongUse, match="expected sentences or headings, found 'pages'"):
        cut("text", 10, by="pages")


class Oracle(RandomEmbedder):
    """Finds the chunks that share most words with the query."""

    def similarity(self, a, b):
        return self.table[: a.shape[0], : b.shape[0]]


def coverage_by_hand(task, ranking, spans, corpus):
    """Token by token: read the chunks in order until a thousand, count those of the evidence."""
    seen, left = set(), READ
    for n in ranking:
        chunk = task.spans[n]
        for match in re.finditer(r"[^\W_]+|[^\w\s]", corpus[chunk.document][chunk.start : chunk.end]):
            if left == 0:
                break
            seen.add((chunk.document, chunk.start + match.start()))
            left -= 1
    wanted = {
        (span.document, span.start + match.start())
        for span in spans
        for match in re.finditer(r"[^\W_]+|[^\w\s]", corpus[span.document][span.start : span.end])
    }
    return len(seen & wanted) / min(len(wanted), READ)


@pytest.mark.parametrize("size", [16, 64, 400])
def test_coverage_against_counting_token_by_token(size):
    given = data(evidence=False)
    task = Chunks(given, tuple(chunked(given, size, overlap=0.25)))
    corpus = given.corpus["text"].to_pylist()
    evidence, lost = evidence_of(given)
    assert not lost
    draw = np.random.default_rng(size)
    counts = [tokens_of(text) for text in task.texts()]
    for spans in list(evidence.values())[:6]:
        ranking = draw.permutation(len(task.spans))[:100].tolist()
        assert task._covered(ranking, spans, counts, corpus) == pytest.approx(
            coverage_by_hand(task, ranking, spans, corpus)
        )


def test_larger_chunks_do_not_win_by_being_larger():
    """A model that knows nothing reads as much evidence by chance whatever the size is."""
    given = data(count=40)
    values = {
        size: Chunks(given, tuple(chunked(given, size))).evaluate(RandomEmbedder.default()).value
        for size in (32, 128, 700)
    }
    share = READ / (40 * tokens_of(given.corpus["text"][0].as_py()))
    assert all(abs(value - share) < 0.06 for value in values.values()), values


def test_sizes_as_rows_and_the_chunks_that_won(tmp_path):
    found = compare(["bm25", "random"], data(), out=tmp_path / "c", chunks=(16, 64, 256), by="length")
    rows = {row.candidate: row for row in found.rows}
    assert set(rows) == {f"{name}/{size}" for name in ("bm25", "random") for size in (16, 64, 256)}
    assert found.metric == "evidence@1000" and found.baseline.startswith("bm25/") and rows["bm25/64"].baseline
    assert rows["bm25/16"].score.value > 0.9 > rows["random/16"].score.value and rows["bm25/16"].ms_per_query > 0
    size = found.winner.rpartition("/")[2]
    assert found.next_command.startswith("umekomi index") and f"chunks-{size}.jsonl" in found.next_command
    lines = [json.loads(line) for line in (tmp_path / "c" / f"chunks-{size}.jsonl").read_text().splitlines()]
    texts = dict(zip(*(data().corpus[name].to_pylist() for name in ("id", "text")), strict=True))
    assert all(texts[line["document"]][line["start"] : line["end"]] == line["text"] for line in lines)
    journal = (tmp_path / "c" / "journal.jsonl").read_text()
    compare(["bm25", "random"], data(), out=tmp_path / "c", chunks=(16, 64, 256))
    assert (tmp_path / "c" / "journal.jsonl").read_text() == journal


def test_fusions_of_chunks_stand_beside_their_parts(tmp_path):
    given = data()
    found = compare(["bm25", "lsa@8", "random"], given, out=tmp_path / "c", chunks=(16, 64), hybrid=True)
    rows = {row.candidate: row for row in found.rows}
    parts = {"bm25", "lsa@8", "random", "bm25+lsa@8", "bm25+lsa@8:tuned"}
    assert set(rows) == {f"{name}/{size}" for name in parts for size in (16, 64)} and not found.skipped
    for size in (16, 64):
        task = Chunks(given, tuple(chunked(given, size)))
        texts, questions = task.texts(), given.queries["text"].to_pylist()
        pair = []
        for model in (get(name).small().fit({"text": texts}) for name in ("bm25", "lsa")):
            asked, documents = model.encode_query(questions), model.encode_document(texts)
            if "dense" in model.outputs:
                asked, documents = model.cut(asked, 8), model.cut(documents, 8)
            pair.append(exact_search(model, asked, documents, 100))
        order, scores = [], []
        for query in range(len(questions)):
            total = {}
            for numbers, values in pair:
                ranked = [n for n, value in zip(numbers[query], values[query], strict=True) if np.isfinite(value)]
                for rank, number in enumerate(ranked, 1):
                    total[int(number)] = total.get(int(number), 0) + 1 / (60 + rank)
            best = sorted(total, key=lambda number: (-total[number], number))[:100]
            order.append(best + [0] * (100 - len(best)))
            scores.append([total[n] for n in best] + [-np.inf] * (100 - len(best)))
        want = task.result(np.array(order), np.array(scores))
        assert rows[f"bm25+lsa@8/{size}"].values == pytest.approx(want.main.values.tolist())
        tuned = rows[f"bm25+lsa@8:tuned/{size}"]
        assert "the other 4 fifths of the queries" in " ".join(tuned.notes) and tuned.score.value >= 0.5
        command = next_command(tuned, "chunks", tmp_path)
        assert (
            command.startswith("umekomi index bm25+")
            and f"/chunks-{size}.jsonl --out library --dimensions 8" in command
        )
        assert command.endswith(f" --fusion {tuned.fusion}")
    journal = (tmp_path / "c" / "journal.jsonl").read_text()
    again = compare(["bm25", "lsa@8", "random"], given, out=tmp_path / "c", chunks=(16, 64), hybrid=True)
    assert (tmp_path / "c" / "journal.jsonl").read_text() == journal and again.winner == found.winner


def test_chunks_are_ordered_anew(tmp_path):
    hashing = HashingEmbedder.default()
    PairHeadScorer(hashing, np.concatenate([np.zeros(hashing.dimension), np.ones(hashing.dimension)])).save(
        tmp_path / "s"
    )
    name = f"random>1000>{tmp_path / 's'}"
    found = compare(["random", "hashing", name], data(), out=tmp_path / "c", chunks=(64,))
    rows = {row.candidate: row for row in found.rows}
    assert rows[f"{name}/64"].score.value > rows["random/64"].score.value and rows[f"{name}/64"].start == "random/64"
    command = next_command(rows[f"{name}/64"], "chunks", tmp_path)
    assert (
        command
        == f"umekomi index random {tmp_path}/chunks-64.jsonl --out library --rerank {tmp_path / 's'} --depth 1000"
    )


def test_short_documents_teach_nothing_and_it_is_said(tmp_path):
    found = compare(["bm25"], data(sentences=30), out=tmp_path / "c", chunks=(64, 1000, 4000))
    assert [row.candidate for row in found.rows if row.candidate.endswith("/4000")] == []
    assert any(
        "no document is longer than 1000 tokens" in note and "nothing can be learned" in note for note in found.notes
    )


def test_evidence_that_is_elsewhere_and_sizes_below_a_sentence(tmp_path):
    given = data()
    texts = given.queries["evidence"].to_pylist()
    moved = given._replace(queries=given.queries.set_column(2, "evidence", [["nowhere to be found", *texts[1:]]]))
    found = compare(["bm25"], moved, out=tmp_path / "c", chunks=(64,))
    assert any("judged on the 17 queries" in note for note in found.notes)
    with pytest.raises(DataError, match="chunks of 3 tokens: expected at least 12, the shortest sentence's"):
        compare(["bm25"], given, out=tmp_path / "d", chunks=(3,))
    with pytest.raises(WrongUse, match="chunks are searched; the task is classification"):
        compare(["random"], {"text": ["a b", "c d"] * 9, "label": ["x", "y"] * 9}, out=tmp_path / "e", chunks=(64,))


def test_made_questions_bring_their_evidence(tmp_path):
    found = compare(["bm25"], {"text": [each["text"] for each in documents(12)]}, out=tmp_path / "c", questions="paraphrase",
                    chunks=(32, 128), max_queries=20)  # fmt: skip
    assert {row.candidate for row in found.rows} == {"bm25/32", "bm25/128"}
    assert all(isinstance(span, Span) for span in chunked(data(), 64)[:2])
