"""The verb ``compare``, the main job: models and recipes on one's own data, with intervals, costs, and a
recommendation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from umekomi import __version__
from umekomi.comparison.candidates import Candidate
from umekomi.comparison.details import column_of
from umekomi.comparison.foreseeing import foresee_all
from umekomi.comparison.fusion import hybrids
from umekomi.comparison.judging import FORMAT, Judging, check_folder, reason_of
from umekomi.comparison.leaderboard import Comparison, Row, conclude
from umekomi.comparison.plan import plan
from umekomi.comparison.questioning import asked_of
from umekomi.data import load
from umekomi.errors import UmekomiError, WrongUse
from umekomi.files import content_hash
from umekomi.limits import checked
from umekomi.models.services.money import Purse
from umekomi.progress import say

if TYPE_CHECKING:
    from umekomi.data.columns import Given


@checked
def compare(
    candidates: Sequence[str],
    data: Given,
    *,
    task: str | None = None,
    split: str | None = None,
    out: str | Path | None = None,
    start: str = "minilm",
    budget_bytes: float | None = None,
    budget_ms: float | None = None,
    budget_usd: float | None = None,
    usd_per_hour: float | None = None,
    hybrid: bool = False,
    by: str | None = None,
    paper_settings: bool = False,
    max_queries: int | None = None,
    questions: str | None = None,
    seed: int = 0,
    batch_size: int = 64,
    encoding: str | None = None,
    progress: bool = False,
) -> Comparison:
    """Judge models and recipes on the same held-out items.

    Recipes are fitted here: those without labels on the texts to be searched (or on the training split of other tasks),
    those with labels on the training split.

    Args:
        candidates: recipes (``"bm25"``, ``"near2"``), models (``"minilm"``, a folder, a hub id), each also cut
            (``"near2@64"``), with its prompts and without (``"e5+prompt"``, ``"e5-prompt"``), stemmed
            (``"bm25+stem=german"``), or reranked (``"minilm>50>my-cross-encoder"``); services
            (``"openai:MODEL@URL"``, ``"cohere:MODEL"``, ``"google:MODEL"``, a name of umekomi-endpoints.toml).
        data: a named dataset, a file, a folder, or tables.
        task: the kind of task; None: the one that the columns make.
        split: the split judged on.
        out: the folder in which everything is kept; the report is written there.
        start: the model that recipes go on from.
        budget_bytes: bounds the recommendation: bytes an item.
        budget_ms: bounds the recommendation: milliseconds a query.
        budget_usd: dollars that services may cost in this run; nothing is asked that might pass them.
        usd_per_hour: what an hour of this machine costs, for the dollars of local models.
        hybrid: adds BM25 fused with every dense candidate, by reciprocal rank and tuned on other queries.
        by: a column whose values make groups that are shown by themselves; ``"length"``: how long the items are.
        paper_settings: fits recipes in the papers' sizes, else in those of ``small()``.
        max_queries: judged on, drawn by a hash of their text.
        questions: judges on questions made from the documents: ``"all"``, some of ``"title,heading,paraphrase,phrases"``,
            ``"chat:MODEL@URL"`` or ``"local:MODEL"``. They are kept in ``out``/questions, and used again from there.
        seed: of what is learned and carved.
        batch_size: items that are encoded at once.
        encoding: of a file that is not UTF-8.
        progress: shows a bar.
    """
    if not candidates:
        raise WrongUse("compare: expected at least one model or recipe")
    wanted = [Candidate.parse(spec, paper_settings) for spec in dict.fromkeys(candidates)]
    if hybrid and "bm25" not in [candidate.spec for candidate in wanted]:
        wanted.insert(0, Candidate.parse("bm25", paper_settings))
    learns = any(candidate.recipe is not None and candidate.recipe.supervised for candidate in wanted)
    given: Given = load(data, encoding=encoding) if encoding else data
    if questions is not None:
        given = asked_of(load(given), questions, split, out, max_queries, seed, progress)
        learns = False
    planned = plan(given, task, split, learns, seed, max_queries)
    say(
        f"{planned.dataset.name}: {planned.task.kind} on "
        f"{', '.join(f'{count:,} {what}' for what, count in planned.task.size().items())}"
    )
    for note in planned.notes:
        say(f"  {note}")
    base = content_hash(
        FORMAT,
        __version__,
        planned.dataset.fingerprint(),
        planned.task.kind,
        planned.task.size(),
        seed,
        task,
        split,
        max_queries,
        *planned.task.edition(),
    )
    name = Path(planned.dataset.name).stem.replace(" ", "-") or "data"
    folder = Path(out) if out else Path("umekomi-compare") / f"{name}-{base[:8]}"
    check_folder(folder)
    run = Judging(folder, base, planned, start, seed, batch_size, progress)
    run.purse = None if budget_usd is None else Purse(budget_usd)
    run.usd_per_hour = usd_per_hour
    if by is not None:
        column_of(planned.task, by, getattr(getattr(planned.task, "data", None), "num_rows", 0))
    rows: list[Row] = []
    skipped = foresee_all(run, wanted)
    wanted = [candidate for candidate in wanted if candidate.spec not in skipped]
    for number, candidate in enumerate(wanted, 1):
        try:
            row, again = run.candidate(candidate)
        except Exception as error:  # whatever it is that fails in one candidate, the others' rows stay
            skipped[candidate.spec] = reason_of(error)
            say(f"[{number}/{len(wanted)}] {candidate.spec}: skipped: {skipped[candidate.spec]}")
            continue
        rows.append(row)
        figure = row.score.value
        say(
            f"[{number}/{len(wanted)}] {row.candidate}: {row.metric} "
            f"{figure:.4f}{' (finished before)' if again else ''}"
        )
    if hybrid:
        rows += hybrids(run, rows, skipped, reason_of)
    if not rows:
        raise UmekomiError(
            "no candidate could be judged: " + "; ".join(f"{spec}: {why}" for spec, why in skipped.items())
        )
    comparison = conclude(
        planned,
        rows,
        skipped,
        folder,
        budget_bytes,
        budget_ms,
        list(candidates),
        f"{data} --encoding {encoding}" if encoding else data,
        by,
        usd_per_hour,
        None if run.purse is None else run.purse.spent,
    )
    from umekomi.comparison.report import write_report

    write_report(comparison, planned.task)
    return comparison
