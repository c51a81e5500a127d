"""Chunks: whole sentences within their size, nothing lost, and judged by the evidence that one has read, not by how
large they are."""

import json
import re
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from umekomi.data.readers import retrieval
from umekomi.errors import DataError, WrongUse
from umekomi.models.untrained import RandomEmbedder
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
