"""The plan of a comparison: what each candidate will take, said before anything is judged or paid."""

from __future__ import annotations

from collections.abc import Sequence

from umekomi.comparison.candidates import Candidate
from umekomi.comparison.costs import LONG, Foreseen, asked_for, foresee, foresee_order, unpayable
from umekomi.comparison.judging import Judging, reason_of
from umekomi.errors import UmekomiError
from umekomi.models.base import EmbedderBase
from umekomi.models.services.embedder import ServiceEmbedder
from umekomi.models.services.endpoints import is_service
from umekomi.models.services.scorer import ServiceScorer
from umekomi.progress import say
from umekomi.tasks.retrieval import SearchTask

MANY = 200_000
"""Bytes of text below which a local model is not timed: it is done before one has read how long it takes."""


def foresee_all(run: Judging, wanted: Sequence[Candidate]) -> dict[str, str]:
    """Say of every model that is not finished what it will take; with a budget, those that cannot be paid are named
    with the reason, and nothing of them is asked."""
    asked = asked_for(run.plan.task)
    size = sum(len(text.encode()) for _, texts in asked for text in texts)
    left = [candidate for candidate in wanted if not _finished(run, candidate)]
    refused: dict[str, str] = {}
    seen: set[str] = set()
    promised = 0.0
    for candidate in _models(left):
        if candidate.recipe is not None or _finished(run, candidate):
            continue
        try:
            model, key, _, _ = run.model(candidate)
        except Exception:  # said when it is judged, with the others
            continue
        if not isinstance(model, EmbedderBase) or not model.costly or key in seen:
            continue
        if not isinstance(model, ServiceEmbedder) and (size < MANY or _kept(run, key)):
            continue
        seen.add(key)
        try:
            about = foresee(model, asked, run.usd_per_hour)
        except Exception as error:
            say(f"  {candidate.spec}: {reason_of(error)}")
            continue
        say(f"  {candidate.spec}: {about}{_warning(about)}")
        if not isinstance(model, ServiceEmbedder):
            continue
        reason = unpayable(run.purse, model, about, promised)
        if not reason:
            promised += about.usd or 0.0
            continue
        for each, encodes in zip(left, _models(left), strict=True):
            if encodes.recipe is None and run.model_key(encodes) == key:
                refused[each.spec] = reason
                say(f"  {each.spec}: {reason}")
    for candidate in left:
        if candidate.first is not None and candidate.spec not in refused:
            reason, usd = _foresee_order(run, candidate, promised)
            promised += usd
            if reason:
                refused[candidate.spec] = reason
                say(f"  {candidate.spec}: {reason}")
    if wanted and len(refused) == len(wanted):
        raise UmekomiError("; ".join(dict.fromkeys(refused.values())))
    return refused


def _foresee_order(run: Judging, candidate: Candidate, promised: float) -> tuple[str, float]:
    """Say what a service will take for ordering a candidate's hits; why it cannot be paid behind what was ``promised``,
    where it cannot, and the dollars that are promised to it. Which texts will be found is not known yet: as many of
    them are counted, and of what is kept as much as could be among them."""
    task = run.plan.task
    if not isinstance(task, SearchTask) or not is_service(candidate.name):
        return "", 0.0
    try:
        scorer, _, _, _ = run.scorer(candidate)
    except Exception:  # said when it is judged, with the others
        return "", 0.0
    if not isinstance(scorer, ServiceScorer):
        return "", 0.0
    texts = [text for text in task.texts() if text.strip()]
    depth = min(candidate.depth, len(texts))
    sample = texts[:: max(1, len(texts) // max(1, depth))][:depth]
    pairs = [(query, text) for query in task.questions if query.strip() for text in sample]
    about = foresee_order(scorer, [query for query, _ in pairs], [text for _, text in pairs], anew=False)
    say(f"  {candidate.spec}: at most {about}")
    least = None if about.usd is None else about.usd * max(0.0, 1 - scorer.kept / max(1, about.texts))
    reason = unpayable(run.purse, scorer, about._replace(usd=least), promised)
    return reason, 0.0 if reason else least or 0.0


def _models(wanted: Sequence[Candidate]) -> list[Candidate]:
    """Every candidate that encodes, those before a reranker too."""
    return [candidate.first or candidate for candidate in wanted]


def _finished(run: Judging, candidate: Candidate) -> bool:
    """Was its row kept? What is wrong with a name is said when it is judged."""
    try:
        return run.row_file(run.row_key(candidate)).is_file()
    except Exception:
        return False


def _kept(run: Judging, key: str) -> bool:
    """Were its vectors of an earlier run kept?"""
    folder = run.folder / "vectors" / key
    return folder.is_dir() and any(folder.glob("*.npz"))


def _warning(about: Foreseen) -> str:
    return " (long: Ctrl-C now; fewer queries or a smaller corpus take less)" if (about.seconds or 0) > LONG else ""
