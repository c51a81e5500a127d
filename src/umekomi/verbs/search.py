"""The verb ``search``: in an index, or exactly in a file of texts, or in vectors that ``encode`` saved."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from umekomi.errors import DataError, WrongUse, without_password
from umekomi.indexes import Hit, Index, lexical
from umekomi.indexes.adapters import Adapter, is_database
from umekomi.indexes.opening import AnyIndex, is_index, open_index
from umekomi.indexes.payload import row_of
from umekomi.limits import checked
from umekomi.models import load_embedder
from umekomi.models.base import EmbedderBase, Scorer, describe
from umekomi.models.engines.choice import as_reranker, open_for_encoding, open_to_judge
from umekomi.models.scorers import EmbedderScorer
from umekomi.models.truncation import is_truncated
from umekomi.parts import similarity as similarities
from umekomi.parts.words import sentence_spans
from umekomi.progress import say
from umekomi.recipes import quick_model
from umekomi.verbs.encode import WRITTEN, read_vectors, vectors_of

if TYPE_CHECKING:
    from umekomi.contracts import Output
    from umekomi.models.base import Named

DEPTH = 50
"""Hits that a reranker orders anew."""


@checked
def search(
    model: Named | AnyIndex | None,
    query: str,
    source: str | Path | None = None,
    *,
    k: int = 10,
    filter: str | None = None,
    leg: str | None = None,
    rerank: str | None = None,
    depth: int | None = None,
    column: str = "text",
    mark: bool = True,
    batch_size: int = 32,
    encoding: str | None = None,
    progress: bool = False,
) -> list[Hit]:
    """The ``k`` texts most similar to ``query`` by the model's own similarity, best first. In an index, or exact in a
    file of texts; without either, the model must be a table of names, and its own names are searched, the query being
    one of them.

    Args:
        model: a name, a folder, an embedder, or an index (its folder, its address in a database, or an
            :class:`~umekomi.indexes.Index`), which knows its own model; None: the one that encoded ``source``.
        query: one text.
        source: a file or folder of texts (encoded now), or a Parquet file that ``encode`` wrote. A row without ``text``
            is there by its ``title``.
        k: hits.
        filter: a condition on an index's payload.
        leg: of a hybrid index: ``bm25`` or ``vectors`` alone; None: both.
        rerank: a scorer, or an embedder, that orders the first hits anew, of a service its reranker; None: the one that
            the index names, if it does; ``"none"``: none.
        depth: as many hits are ordered so (50, or as the index says).
        column: holds the texts.
        mark: finds the sentence of each hit that is nearest to the query.
        batch_size: items that are encoded at once.
        encoding: of a file that is not UTF-8.
        progress: shows a bar.
    """
    from umekomi.data.readers import Source, identifiers
    from umekomi.parts.ranking import exact_search

    if not query.strip():
        raise WrongUse("search: expected a query, found empty text")
    try:
        query.encode()
    except UnicodeEncodeError:
        raise WrongUse(f"search: expected a query of whole characters, found {query!r}") from None
    with _index(model) as opened:
        if opened is not None:
            if source is not None:
                raise WrongUse(f"{opened.where} is an index: it is searched itself, without a file of texts")
            return _in_index(opened, query, k, filter, mark, leg, stage_of(opened, rerank, depth))
    for what, given in (("a filter", filter), ("a leg", leg)):
        if given is not None:
            raise WrongUse(f"search: {what} needs an index (umekomi index)")
    stage = stage_of(None, rerank, depth)
    assert not isinstance(model, (Index, Adapter))
    if source is None:
        if model is None:
            raise WrongUse("search: expected a model, an index, or a file that encode wrote; found none of them")
        if stage is not None:
            raise WrongUse("search: names are not ordered anew: rerank needs texts")
        return _names(model, query, k)
    if is_database(source):
        raise WrongUse(f"{without_password(str(source))} is an index: name it in the model's place")
    source = Path(source)
    if source.suffix == ".npy":
        raise WrongUse(f"{source} holds vectors without their texts: encode to .parquet to search them")
    saved = read_vectors(source)
    if saved:
        embedder = open_for_encoding(model or saved["model"])
        if embedder.fingerprint() != saved["fingerprint"]:
            raise WrongUse(
                f"{source} was encoded by another model ({saved['model']}) than {embedder.name}: their vectors do not "
                "compare"
            )
        read = Source(source, column=saved["column"], titles=True)
        table = read.read()
        texts = read.texts(table)
        documents: Output = vectors_of(table, source)
    else:
        if model is None:
            raise WrongUse(f"{source} was not written by encode: name the model to search it with")
        read = Source(source, encoding=encoding, column=column, titles=True)
        table = read.read()
        texts = read.texts(table)
        embedder = quick_model(model, lambda: texts) or open_for_encoding(model)
        documents = embedder.encode_document(texts, batch_size=batch_size, progress=progress)
    own_id = next((name for name in ("id", "_id") if name in table.column_names), None)
    left_out = {read.column, own_id, *(WRITTEN if saved else ())}
    width = similarities.width(documents)
    dimensions = width if saved and width < embedder.dimension else None
    asked = embedder.encode_query([query], dimensions=dimensions)
    if bool(is_truncated(embedder, [query])[0]):
        say(f"note: the query is longer than {embedder.name} reads and was cut")
    numbers, scores = exact_search(embedder, asked, documents, k if stage is None else max(k, stage[1]))
    hits = []
    for number, score in zip(numbers[0].tolist(), scores[0].tolist(), strict=True):
        if score == float("-inf"):
            continue
        name = (
            identifiers(table.slice(number, 1)[own_id], str(source), own_id, number)[0] if own_id else str(number + 1)
        )
        payload = {key: value for key, value in row_of(table, number).items() if key not in left_out}
        hits.append(Hit(name, score, texts[number], (0, 0), payload))
    if stage is not None:
        hits = reranked(query, hits, stage[0])[:k]
    return _marked(embedder, asked, hits, dimensions) if mark else hits


def _index(model: object) -> AbstractContextManager[AnyIndex | None]:
    """The index that is searched, None where it is a model; closed behind the search where it was opened for it."""
    if isinstance(model, (str, Path)) and is_index(model):
        return open_index(model)
    return nullcontext(model if isinstance(model, (Index, Adapter)) else None)


def stage_of(opened: Any, rerank: str | None, depth: int | None) -> tuple[str, int] | None:
    """(the model that orders the first hits anew, how many), as asked for, or as the index says of itself; None for
    none."""
    if depth is not None and (isinstance(depth, bool) or not isinstance(depth, int) or depth < 1):
        raise WrongUse(f"rerank, depth: expected a whole number from 1 up, found {depth!r}")
    own = opened.about.get("rerank") if opened is not None else None
    if own is not None and not (
        isinstance(own, dict) and isinstance(own.get("model"), str) and type(own.get("depth")) is int
    ):
        raise DataError(f"{opened.where}: rerank: expected a model and a depth, found {own!r}")
    if rerank == "none" or (rerank is None and own is None):
        return None
    if rerank is not None:
        return rerank, depth or DEPTH
    assert own is not None
    return own["model"], depth or own["depth"]


def open_reranker(name: Named) -> Scorer:
    """The scorer of this name, of a service its reranker, or an embedder's own similarity as one; the error for what
    orders nothing."""
    opened = open_to_judge(as_reranker(name))
    if isinstance(opened, Scorer):
        return opened
    if isinstance(opened, EmbedderBase):
        return EmbedderScorer(opened)
    raise WrongUse(f"rerank: {describe(opened)}: expected a scorer or an embedder of texts")


def reranked(query: str, hits: list[Hit], name: Named) -> list[Hit]:
    """Hits in the order of a reranker, with its scores; those without text come last, as they were."""
    filled = [hit for hit in hits if hit.text.strip()]
    if not filled:
        return hits
    scores = np.asarray(open_reranker(name).score([query] * len(filled), [hit.text for hit in filled]), np.float64)
    if not np.isfinite(scores).all():
        raise DataError(f"rerank: {name} gives a score that is no number")
    order = np.argsort(-scores, kind="stable")
    lowest = float(scores.min())
    rest = [replace(hit, score=min(lowest, 0.0)) for hit in hits if not hit.text.strip()]
    return [replace(filled[place], score=float(scores[place])) for place in order] + rest


def _in_index(
    opened: AnyIndex,
    query: str,
    k: int,
    filter: str | None,
    mark: bool,
    leg: str | None,
    stage: tuple[str, int] | None,
) -> list[Hit]:
    if not len(opened):
        raise WrongUse(f"{opened.where} is an empty index")
    if stage is not None and not opened.about["text"]:
        raise WrongUse(f"{opened.where} names no column of texts: there is nothing for a reranker to read")
    wanted = min(k if stage is None else max(k, stage[1]), len(opened))
    if leg == lexical.NAME:
        hits = opened.search([query], wanted, filter=filter, leg=leg)[0]
        return hits if stage is None else reranked(query, hits, stage[0])[:k]
    if not opened.about["model"]["name"]:
        raise WrongUse(f"{opened.where} was made from vectors without a model: a text cannot be looked for in it")
    embedder = opened.embedder
    asked = opened.asked([query])
    if bool(is_truncated(embedder, [query])[0]):
        say(f"note: the query is longer than {embedder.name} reads and was cut")
    hits = opened.search(asked, wanted, filter=filter, leg=leg, texts=[query])[0]
    if stage is not None:
        hits = reranked(query, hits, stage[0])[:k]
    dimension = opened.about["dimension"]
    shorter = dimension if dimension < embedder.dimension else None
    return _marked(embedder, asked, hits, shorter) if mark and opened.about["output"] == "dense" else hits


def _names(model: Named, query: str, k: int) -> list[Hit]:
    table = load_embedder(model)
    if not hasattr(table, "most_similar"):
        raise WrongUse(
            f"search: {table.name} is no table of names", parameter="source", advice="say what to search with"
        )
    return [Hit(name, score, name) for name, score in table.most_similar(query, k=k)]


def sentences_of_hits(hits: list[Hit], most: int = 64) -> tuple[list[list[tuple[int, int]]], list[str]]:
    """(the first ``most`` sentences of every hit's text, the texts of those that have others beside them): what
    :func:`mark_best` chooses among."""
    spans = [sentence_spans(hit.text)[:most] if hit.text.strip() else [] for hit in hits]
    return spans, [hit.text[a:b] for hit, parts in zip(hits, spans, strict=True) if len(parts) > 1 for a, b in parts]


def mark_best(hits: list[Hit], spans: list[list[tuple[int, int]]], scores: np.ndarray) -> list[Hit]:
    """Every hit with the place of its best sentence; ``scores`` are those of the texts that
    :func:`sentences_of_hits` gave."""
    out, at = [], 0
    for hit, parts in zip(hits, spans, strict=True):
        if len(parts) > 1:
            out.append(replace(hit, best=parts[int(scores[at : at + len(parts)].argmax())]))
            at += len(parts)
        else:
            out.append(replace(hit, best=parts[0]) if parts else hit)
    return out


def _marked(embedder: EmbedderBase, asked: Output, hits: list[Hit], dimensions: int | None) -> list[Hit]:
    spans, texts = sentences_of_hits(hits)
    scores = np.zeros(0, np.float32)
    if texts:
        scores = embedder.similarity(asked, embedder.encode_document(texts, dimensions=dimensions))[0]
    return mark_best(hits, spans, scores)
