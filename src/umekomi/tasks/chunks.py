"""Long documents cut into chunks, and whether the place that answers is found: judged by how much of the evidence one
has read after so many tokens, so that larger chunks cannot win by being larger."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np

from umekomi.data import RetrievalData
from umekomi.errors import DataError, WrongUse
from umekomi.parts.ranking import exact_search
from umekomi.parts.words import sentence_spans
from umekomi.tasks.base import Result, Score, vectors_of
from umekomi.tasks.retrieval import SearchTask, check_retrieval

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from umekomi.contracts import Floats
    from umekomi.models.base import EmbedderBase

READ = 1000
"""Tokens that are read of what was found, best chunk first."""
FIRST = 5
DEPTH = 100
BY = ("sentences", "headings")
_TOKEN = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff々ー]|[^\W_]+|[^\w\s]")
_HEADING = re.compile(r"^(?:#{1,6}\s+\S.*|[^\n]{1,80}\n(?:=+|-+)\s*)$", re.MULTILINE)


class Span(NamedTuple):
    """Characters ``start`` to ``end`` of document number ``document``."""

    document: int
    start: int
    end: int


def tokens_of(text: str) -> int:
    """Words and punctuation marks, each character of a script without spaces: as many as no one model counts, and as
    many for all of them.

    >>> tokens_of("It rains, again."), tokens_of("雨が降る。")
    (5, 5)
    """
    return len(_TOKEN.findall(text))


def cut(text: str, size: int, *, by: str = "sentences", overlap: float = 0.0) -> list[tuple[int, int]]:
    """(start, end) of every chunk: whole sentences up to ``size`` tokens, a longer sentence cut at words; none crosses
    a heading where they are cut by headings. ``overlap`` is the share of a chunk that the next one repeats.

    >>> [ "One. Two. Three."[a:b] for a, b in cut("One. Two. Three.", 4) ]
    ['One. Two.', 'Three.']
    """
    if by not in BY:
        raise WrongUse(f"expected {' or '.join(BY)}, found {by!r}", parameter="chunk_by")
    starts = [0, *(match.start() for match in _HEADING.finditer(text))] if by == "headings" else [0]
    borders = sorted({*starts, len(text)})
    out: list[tuple[int, int]] = []
    for low, high in pairwise(borders):
        pieces = [(low + a, low + b) for a, b in sentence_spans(text[low:high]) if text[low + a : low + b].strip()]
        out += _grouped(text, [each for piece in pieces for each in _short(text, piece, size)], size, overlap)
    return out or [(0, len(text))]


def _short(text: str, piece: tuple[int, int], size: int) -> list[tuple[int, int]]:
    """A sentence, cut at words where it is longer than a chunk."""
    tokens = list(_TOKEN.finditer(text, *piece))
    if len(tokens) <= size:
        return [piece]
    return [(part[0].start(), part[-1].end()) for n in range(0, len(tokens), size) if (part := tokens[n : n + size])]


def _grouped(text: str, pieces: Sequence[tuple[int, int]], size: int, overlap: float) -> list[tuple[int, int]]:
    counts = [tokens_of(text[a:b]) for a, b in pieces]
    out, first = [], 0
    while first < len(pieces):
        last, total = first, counts[first]
        while last + 1 < len(pieces) and total + counts[last + 1] <= size:
            last += 1
            total += counts[last]
        out.append((pieces[first][0], pieces[last][1]))
        if last + 1 >= len(pieces):
            break
        again, back = 0, last
        while back > first and again + counts[back] <= overlap * size:
            again += counts[back]
            back -= 1
        first = back + 1
    return out


def check_size(data: RetrievalData, size: int) -> None:
    """The error for chunks that no sentence fits in."""
    shortest = min(
        tokens_of(text[a:b]) for text in data.corpus["text"].to_pylist()[:200] for a, b in sentence_spans(text)
        if text[a:b].strip()
    )  # fmt: skip
    if size < max(shortest, 2):
        raise DataError(
            f"chunks of {size} tokens: expected at least {max(shortest, 2)}, the shortest sentence's, found {size}"
        )


def chunked(data: RetrievalData, size: int, *, by: str = "sentences", overlap: float = 0.0) -> list[Span]:
    """All chunks of a corpus, in order."""
    return [
        Span(number, start, end)
        for number, text in enumerate(data.corpus["text"].to_pylist())
        for start, end in cut(text, size, by=by, overlap=overlap)
    ]


def evidence_of(data: RetrievalData) -> tuple[dict[str, list[Span]], int]:
    """(what answers each query, queries whose evidence is not in its document): the column ``evidence`` of the queries
    where it is, else the whole of each relevant document."""
    place = {name: number for number, name in enumerate(data.corpus["id"].to_pylist())}
    texts = data.corpus["text"].to_pylist()
    told: dict[str, str] = {}
    if "evidence" in data.queries.column_names:
        told = dict(zip(data.queries["id"].to_pylist(), data.queries["evidence"].to_pylist(), strict=True))
    out, lost = {}, 0
    for query, judged in data.judgements().items():
        spans = []
        for name, grade in judged.items():
            if grade <= 0:
                continue
            number, words = place[name], (told.get(query) or "").strip()
            start = texts[number].find(words) if words else 0
            if start >= 0:
                spans.append(Span(number, start, start + len(words) if words else len(texts[number])))
        if spans:
            out[query] = spans
        else:
            lost += 1
    return out, lost


@dataclass(frozen=True)
class Chunks(SearchTask):
    """Find the evidence among chunks of ``size`` tokens. Main metric: the share of the evidence, or of as much of it as
    1,000 tokens hold, that is within the first 1,000 tokens of what was found."""

    data: RetrievalData
    spans: tuple[Span, ...]
    name: str = "chunks"
    depth: int = DEPTH
    main_depth: ClassVar[int] = DEPTH
    kind: ClassVar[str] = "chunks"
    shapes: ClassVar[tuple[str, ...]] = ("retrieval",)

    def size(self) -> Mapping[str, int]:
        return {
            "queries": self.data.queries.num_rows,
            "documents": self.data.corpus.num_rows,
            "chunks": len(self.spans),
        }

    def check(self) -> None:
        check_retrieval(self.data, self.name)

    @cached_property
    def _evidence(self) -> tuple[dict[str, list[Span]], int]:
        return evidence_of(self.data)

    @cached_property
    def _counts(self) -> list[int]:
        return [tokens_of(text) for text in self.texts()]

    @property
    def count(self) -> int:
        return len(self.spans)

    def texts(self) -> list[str]:
        corpus = self.data.corpus["text"].to_pylist()
        return [corpus[span.document][span.start : span.end] for span in self.spans]

    def _evaluate(self, model: EmbedderBase, batch_size: int, progress: bool) -> Result:
        documents = vectors_of(model, self.texts(), "document", batch_size, progress)
        queries = vectors_of(model, self.questions, "query", batch_size, progress)
        return self.result(*exact_search(model, queries, documents, self.depth))

    def result(self, numbers: NDArray[np.int64], scores: Floats) -> Result:
        evidence, lost = self._evidence
        place = {name: row for row, name in enumerate(self.data.queries["id"].to_pylist())}
        counts = self._counts
        corpus = self.data.corpus["text"].to_pylist()
        covered, shares = [], []
        for query in self.data.judgements():
            row = place[query]
            ranked = [int(n) for n, value in zip(numbers[row], scores[row], strict=True) if np.isfinite(value)]
            spans = evidence.get(query, [])
            covered.append(self._covered(ranked, spans, counts, corpus))
            shares.append(float(any(_holds(self.spans[n], span) for n in ranked[:FIRST] for span in spans)))
        notes = (f"{lost} queries whose evidence is not in their document count as zero",) if lost else ()
        scores_ = {
            f"evidence@{READ}": Score(np.array(covered)),
            f"whole in {FIRST}": Score(np.array(shares)),
        }
        return Result(self.name, scores_, notes)

    def _covered(
        self, ranked: Sequence[int], spans: Sequence[Span], counts: Sequence[int], corpus: Sequence[str]
    ) -> float:
        """The share of the evidence's tokens within the first :data:`READ` tokens of the chunks, in their order; the
        last chunk is read as far as the tokens go."""
        total = sum(tokens_of(corpus[span.document][span.start : span.end]) for span in spans)
        if not total:
            return 0.0
        left, read = READ, []
        for n in ranked:
            if left <= 0:
                break
            chunk = self.spans[n]
            end = chunk.end
            if counts[n] > left:
                marks = list(_TOKEN.finditer(corpus[chunk.document], chunk.start, chunk.end))
                end = marks[left - 1].end()
            read.append(Span(chunk.document, chunk.start, end))
            left -= counts[n]
        seen = 0
        for span in spans:
            inside = sorted(
                (max(span.start, each.start), min(span.end, each.end))
                for each in read
                if each.document == span.document
            )
            at = span.start
            for start, end in inside:
                start = max(start, at)
                if end > start:
                    seen += tokens_of(corpus[span.document][start:end])
                    at = end
        return min(1.0, seen / min(total, READ))


def _holds(chunk: Span, span: Span) -> bool:
    """Is all of a span within a chunk?"""
    return chunk.document == span.document and chunk.start <= span.start and chunk.end >= span.end


def is_whole(data: RetrievalData, spans: Sequence[Span]) -> bool:
    """Is every document one chunk, so that nothing can be learned from this size?"""
    return len(spans) == data.corpus.num_rows


def joined(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Pages, slides and sections of one document as one text, in order."""
    out: dict[str, dict[str, Any]] = {}
    for row in rows:
        whole = out.setdefault(str(row["document"]), {"id": str(row["document"]), "text": ""})
        whole["text"] = f"{whole['text']}\n\n{row['text']}".strip()
    return list(out.values())
