"""Hard negatives: documents near to an anchor that are no answer. What the verb ``mine`` and the recipes that mine for
themselves share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from umekomi.errors import DataError, WrongUse
from umekomi.models.base import EmbedderBase, Scorer
from umekomi.parts import similarity as similarities
from umekomi.parts.ranking import exact_search, fuse_ranks
from umekomi.tasks.base import vectors_of

if TYPE_CHECKING:
    import pyarrow as pa

    from umekomi.data.columns import Split
    from umekomi.models.scorers import CrossEncoderScorer
    from umekomi.run import Run


@dataclass(frozen=True)
class Negatives:
    """``table`` (anchor, positive, negative_1 …), how many of the pairs had too few, and how many candidates each rule
    took out."""

    table: Any
    short: int
    counts: dict[str, int]


def hard_negatives(
    embedder: EmbedderBase,
    table: pa.Table,
    more: Sequence[str] = (),
    *,
    known: pa.Table | None = None,
    negatives: int = 3,
    relative_margin: float | None = 0.05,
    margin: float | None = None,
    duplicate: float | None = 0.97,
    depth: int = 50,
    skip: int = 0,
    raters: Sequence[Any] = (),
    lowest: bool = False,
    keep_short: bool = False,
    batch_size: int = 32,
    progress: bool = False,
) -> Negatives:
    r"""The ``negatives`` documents most similar to each anchor that are no positive of it. Rules as of
    :func:`umekomi.mine`, each counted.

    Args:
        embedder: whose similarity is searched by.
        table: anchor and positive.
        more: documents that are searched beside the positives.
        known: pairs, where ``table`` has only some of them: their positives are answers too.
        negatives: so many a pair.
        relative_margin: keeps a candidate only below s(pos) - relative_margin · \|s(pos)\|, s(pos) of the anchor's
            lowest-scored positive (NV-Embed's TopKPercPos 95 %).
        margin: keeps a candidate only below s(pos) - margin.
        duplicate: takes out one whose similarity to the positive itself is that high (cosine embedders only).
        depth: candidates that are looked at beside the positives.
        skip: passes over the first so many.
        raters: embedders or scorers that rank the candidates left; their ranks are joined by Σ 1 / (60 + rank), and the
            highest are taken.
        lowest: takes the lowest-ranked instead (Gemini Embedding: the neighbours that all raters find least like an
            answer).
        keep_short: keeps pairs with too few negatives, the missing ones empty.
        batch_size: items that are encoded at once.
        progress: shows a bar.
    """
    import pyarrow as pa

    anchors, positives = table["anchor"].to_pylist(), table["positive"].to_pylist()
    corpus = list(dict.fromkeys([*positives, *more]))
    if len(corpus) <= negatives:
        raise DataError(f"mine: expected more than {negatives} distinct documents, found {len(corpus)}")
    number_of = {text: number for number, text in enumerate(corpus)}
    positives_of: dict[str, set[int]] = {}
    same: dict[str, list[int]] = {}
    for number, text in enumerate(corpus):
        same.setdefault(_plain(text), []).append(number)
    for anchor, positive in zip(anchors, positives, strict=True):
        positives_of.setdefault(anchor, set()).update(same[_plain(positive)])
    for anchor, positive in (
        zip(*(known[name].to_pylist() for name in ("anchor", "positive")), strict=True) if known else ()
    ):
        if anchor in positives_of:
            positives_of[anchor].update(same.get(_plain(positive), ()))
    questions = list(positives_of)
    query_vectors = vectors_of(embedder, questions, "query", batch_size, progress)
    documents = vectors_of(embedder, corpus, "document", batch_size, progress)
    numbers, scores = exact_search(
        embedder, query_vectors, documents, min(depth + max(map(len, positives_of.values())), len(corpus))
    )
    row_of = {question: row for row, question in enumerate(questions)}
    counts = {"known positive": 0, "relative margin": 0, "margin": 0, "near-copy of the positive": 0}
    guard = (
        duplicate is not None
        and embedder.metric == "cosine"
        and hasattr(documents, "dtype")
        and not hasattr(documents, "indptr")
    )
    lowest_of: dict[str, float] = {}
    for question, own in positives_of.items():
        row = row_of[question]
        own_vectors = similarities.take(documents, sorted(own))
        lowest_of[question] = float(
            embedder.similarity(similarities.rows(query_vectors, row, row + 1), own_vectors)[0].min()
        )
    left: list[list[int]] = []
    for anchor, positive in zip(anchors, positives, strict=True):
        row, own = row_of[anchor], positives_of[anchor]
        candidates = [(int(n), float(s)) for n, s in zip(numbers[row], scores[row], strict=True) if np.isfinite(s)]
        remaining = [hit for hit in candidates if hit[0] not in own]
        counts["known positive"] += len(candidates) - len(remaining)
        base = lowest_of[anchor]
        if relative_margin is not None:
            remaining, before = (
                [hit for hit in remaining if hit[1] < base - relative_margin * abs(base)],
                len(remaining),
            )
            counts["relative margin"] += before - len(remaining)
        if margin is not None:
            remaining, before = [hit for hit in remaining if hit[1] < base - margin], len(remaining)
            counts["margin"] += before - len(remaining)
        if guard and remaining:
            here = similarities.rows(documents, number_of[positive], number_of[positive] + 1)
            near = embedder.similarity(here, similarities.take(documents, [n for n, _ in remaining]))[0]
            before = len(remaining)
            remaining = [hit for hit, value in zip(remaining, near, strict=True) if value < duplicate]
            counts["near-copy of the positive"] += before - len(remaining)
        left.append([n for n, _ in remaining[skip:]])
    if raters:
        left = fuse_raters(raters, anchors, left, corpus, lowest=lowest, batch_size=batch_size, progress=progress)
    mined_rows, short = [], 0
    for anchor, positive, numbers_left in zip(anchors, positives, left, strict=True):
        short += len(numbers_left) < negatives
        if len(numbers_left) >= negatives or keep_short:
            mined = [corpus[n] for n in numbers_left[:negatives]]
            mined_rows.append((anchor, positive, *mined, *[""] * (negatives - len(mined))))
    names = ["anchor", "positive", *[f"negative_{i + 1}" for i in range(negatives)]]
    return Negatives(
        pa.table({name: pa.array([row[i] for row in mined_rows], pa.string()) for i, name in enumerate(names)}),
        short,
        counts,
    )


def fuse_raters(
    raters: Sequence[Any],
    anchors: Sequence[str],
    left: list[list[int]],
    corpus: Sequence[str],
    *,
    lowest: bool,
    batch_size: int = 32,
    progress: bool = False,
) -> list[list[int]]:
    """Each anchor's candidates in the order of their fused ranks.

    Args:
        raters: embedders or scorers.
        anchors: one for each list of candidates.
        left: the numbers of each anchor's candidates.
        corpus: the documents that are numbered.
        lowest: the last first, else the best.
        batch_size: items that are encoded at once.
        progress: shows a bar.
    """
    rankings: list[list[Any]] = [[] for _ in left]
    for rater in raters:
        if isinstance(rater, EmbedderBase):
            query_vectors = vectors_of(rater, anchors, "query", batch_size, progress)
            used = sorted({number for candidates in left for number in candidates})
            row_of = {number: row for row, number in enumerate(used)}
            documents = (
                vectors_of(rater, [corpus[number] for number in used], "document", batch_size, progress)
                if used
                else None
            )
            rated = [
                rater.similarity(
                    similarities.rows(query_vectors, row, row + 1),
                    similarities.take(documents, [row_of[n] for n in candidates]),
                )[0]
                if candidates
                else np.zeros(0)
                for row, candidates in enumerate(left)
            ]
        elif isinstance(rater, Scorer):
            flat = rater.score(
                [anchor for anchor, candidates in zip(anchors, left, strict=True) for _ in candidates],
                [corpus[n] for each in left for n in each],
            )
            rated = np.split(np.asarray(flat), np.cumsum([len(each) for each in left])[:-1])
        else:
            raise WrongUse(f"mine: expected raters that are embedders or scorers, found {type(rater).__name__}")
        for each, values in zip(rankings, rated, strict=True):
            if not np.isfinite(values).all():
                raise DataError(f"mine: {getattr(rater, 'name', 'a rater')} gives a score that is no finite number")
            each.append(np.argsort(-values, kind="stable"))
    sign = 1 if lowest else -1
    return [
        [candidates[i] for i in np.argsort(sign * fuse_ranks(each, len(candidates)), kind="stable")]
        for candidates, each in zip(left, rankings, strict=True)
    ]


def _plain(text: str) -> str:
    return " ".join(text.split()).lower()


def with_negatives(
    table: Split, run: Run, teacher: EmbedderBase, count: int, *, most: int | None = None, **options: Any
) -> Split:
    """The pairs of a set that searches, at most ``most`` of them drawn with the run's seed, with ``count`` mined
    negatives each where it brings none of its own; rows that find too few keep what they find. Another set is given
    back. ``options`` as of :func:`hard_negatives`."""
    from umekomi.data.columns import RetrievalData
    from umekomi.data.contrast import is_search
    from umekomi.data.shapes import pairs
    from umekomi.parts.learning.sentences import sample_rows

    if not is_search(table):
        return table
    anchored = pairs(table, run.who)
    chosen = sample_rows(anchored, most, run.seed)
    if not count or any(name.startswith("negative") for name in anchored.column_names):
        return chosen
    more = table.corpus["text"].to_pylist() if isinstance(table, RetrievalData) else anchored["positive"].to_pylist()
    documents = len({*chosen["positive"].to_pylist(), *more})
    if documents < 2:
        return chosen
    options = {"duplicate": None, "progress": run.progress, "keep_short": True} | options
    mined = hard_negatives(teacher, chosen, more, known=anchored, negatives=min(count, documents - 1), **options).table
    for name in ("instruction", "document_instruction"):
        if name in chosen.column_names:
            mined = mined.append_column(name, chosen[name])
    return mined


def judged_against(table: Split, run: Run, negatives: int, most: int | None) -> pa.Table:
    """sentence1, sentence2, label of a set that searches: its pairs fit, and ``negatives`` of BM25's first fifty
    documents do not (:func:`umekomi.data.judgements.against`); of at most ``most`` pairs."""
    from umekomi.data.judgements import against

    teacher = lexical_teacher([table], run.who)
    return against(with_negatives(table, run, teacher, negatives, most=most, relative_margin=None), negatives, run.seed)


def taught(rows: pa.Table, teacher: CrossEncoderScorer, run: Run, keep_share: float | None = None) -> pa.Table:
    """Rows of :func:`umekomi.data.contrast.contrastive_rows` whose label goes on with the scores that a cross-encoder
    gives the positive and the negatives, before its activation. With ``keep_share`` only those whose positive it scores
    above that share of their negatives or more, and those without any: what a score is worth alone depends on how many
    negatives the teacher learned from, an order does not."""
    import pyarrow as pa

    names = ["positive", *(name for name in rows.column_names if name.startswith("negative"))]
    texts = [rows[name].to_pylist() for name in names]
    anchors = rows["anchor"].to_pylist()
    columns = []
    with run.bar(len(anchors) * len(texts), "pairs") as bar:
        for column in texts:
            columns.append(teacher.logits(anchors, column))
            bar.advance(len(column))
    scores = np.stack(columns, 1)
    policy = np.array(rows["label"].to_pylist(), np.float64)
    label = pa.array(list(np.concatenate([policy, scores], 1)), pa.list_(pa.float64()))
    scored = rows.set_column(rows.column_names.index("label"), "label", label)
    if keep_share is None:
        return scored
    held = policy[:, 2]
    beaten = (scores[:, :1] > scores[:, 1:]) & (np.arange(len(texts) - 1) < held[:, None])
    return scored.filter(pa.array(beaten.sum(1) >= keep_share * held))


def lexical_teacher(tables: Sequence[Any], who: str) -> EmbedderBase:
    """BM25 over the documents of all sets: who finds the negatives where no embedder can yet."""
    from umekomi.data.shapes import texts
    from umekomi.models.lexical import Bm25Embedder

    return Bm25Embedder.fit(list(dict.fromkeys(text for table in tables for text in texts(table, who))))
