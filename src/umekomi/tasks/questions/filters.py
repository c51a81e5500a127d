"""Which made questions are kept: those that are asked once, that do not repeat a document's rarest words, and that lead
back to it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from umekomi.models.lexical import Bm25Embedder
from umekomi.parts.ranking import exact_search
from umekomi.tasks.questions.ways import Document, Question, Vocabulary

LEAK = 0.6
"""The most of a question's words that may be among its document's rarest."""
BACK = 20
"""Among the first so many of a search a question must find its document."""


def duplicates(questions: Sequence[Question]) -> list[bool]:
    """True for questions that are asked of one document only; of those that repeat each other about one, the first."""
    key = [" ".join(each.text.lower().split()) for each in questions]
    asked: dict[str, set[str]] = {}
    for name, each in zip(key, questions, strict=True):
        asked.setdefault(name, set()).add(each.document)
    seen: set[str] = set()
    out = []
    for name in key:
        out.append(len(asked[name]) == 1 and name not in seen)
        seen.add(name)
    return out


def leak(question: str, document: Document, vocabulary: Vocabulary) -> float:
    """The share of a question's words that are among the document's rare words: the quarter of its own that fewest
    other documents have. 1: a search for odd words would find it, whatever they mean."""
    own = set(vocabulary.words(document.text))
    asked = set(vocabulary.words(question))
    if not asked or not own:
        return 0.0
    limit = np.quantile([vocabulary.rarity(word) for word in own], 0.75)
    rare = {word for word in own if vocabulary.rarity(word) >= limit and vocabulary.rarity(word) > 0}
    return len(asked & rare) / len(asked)


def lead_back(questions: Sequence[Question], documents: Sequence[Document]) -> list[bool]:
    """True for questions by which their document is among the first :data:`BACK` of a search (at most a tenth of them
    all, at least three): by BM25, or by what words mean here (LSA), so that neither sort of candidate is preferred."""
    if not questions:
        return []
    texts, place = [each.text for each in documents], {each.id: n for n, each in enumerate(documents)}
    wanted = np.array([place[each.document] for each in questions])
    depth = min(BACK, max(3, len(texts) // 10), len(texts))
    out = np.zeros(len(questions), bool)
    for embedder in _searchers(texts):
        asked = embedder.encode_query([each.text for each in questions])
        numbers, scores = exact_search(embedder, asked, embedder.encode_document(texts), depth)
        out |= ((numbers == wanted[:, None]) & (scores > 0)).any(1)
    return [bool(each) for each in out]


def _searchers(texts: Sequence[str]) -> list[Bm25Embedder]:
    from sklearn.decomposition import TruncatedSVD

    from umekomi.models.lexical import TfIdfEmbedder

    lexical = Bm25Embedder.fit(texts)
    tfidf = TfIdfEmbedder.fit(texts)
    width = min(128, tfidf.dimension - 1, len(texts) - 1)
    if width < 2:
        return [lexical]
    reduce = TruncatedSVD(width, random_state=0).fit(tfidf.encode(list(texts)))

    class Latent:
        """TF-IDF on its main directions."""

        name = "LSA"

        def encode_query(self, items: Sequence[str]) -> np.ndarray:
            from umekomi.parts.similarity import normalise

            return np.asarray(normalise(reduce.transform(tfidf.encode(list(items))).astype(np.float32)))

        encode_document = encode_query

        def similarity(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
            return a @ b.T

    return [lexical, Latent()]  # type: ignore[list-item]


def counted(questions: Sequence[Question]) -> dict[str, int]:
    """How many there are by way."""
    return dict(Counter(each.way for each in questions))
