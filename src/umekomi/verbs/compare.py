"""The verb ``compare``, the main job: models and recipes on one's own data, with intervals, costs, and a
recommendation."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from umekomi import __version__
from umekomi.comparison.candidates import Candidate
from umekomi.comparison.chunking import plans, whole_documents, write_chunks
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
from umekomi.tasks.chunks import Chunks

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
    chunks: Sequence[int] = (),
    chunk_by: str = "sentences",
    overlap: float = 0.0,
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
            (``"openai:MODEL@URL"``, ``"cohere:MODEL"``, ``"google:MODEL"``, a name of umekomi-endpoints.toml), which
            behind a ``>`` are asked to order texts (``"minilm>cohere:rerank-v3.5"``).
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
        questions: judges on questions made from the documents: ``"all"``, some of
            ``"title,heading,paraphrase,phrases"``, ``"chat:MODEL@URL"`` or ``"local:MODEL"`` (a folder
            or a GGUF file). They are kept in
            ``out``/questions, and used again from there.
        chunks: sizes in tokens; documents are cut, and every candidate judged on every size by how much of the evidence
            is found (the queries' column ``evidence``, else the relevant documents).
        chunk_by: whether chunks end with ``"sentences"`` alone or begin anew at ``"headings"``.
        overlap: the share of a chunk that the next one repeats.
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
    if chunks:
        given = whole_documents(load(given))
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
    purse = None if budget_usd is None else Purse(budget_usd)
    if by is not None:
        column_of(planned.task, by, getattr(getattr(planned.task, "data", None), "num_rows", 0))
    rows: list[Row] = []
    skipped: dict[str, str] = {}
    parts = plans(planned, chunks, chunk_by, overlap) if chunks else [(0, planned)]
    for size, part in parts:
        key = content_hash(base, size, chunk_by, overlap) if size else base
        run = Judging(folder, key, part, start, seed, batch_size, progress)
        run.purse, run.usd_per_hour = purse, usd_per_hour
        ending = f"/{size}" if size else ""
        own = _judge(run, wanted, ending, skipped)
        if hybrid:
            own += hybrids(run, own, ending, skipped, reason_of)
        rows += [row.ending_in(ending) for row in own]
        if size and isinstance(part.task, Chunks):
            write_chunks(folder, size, part.task)
        planned = part
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
        _with_options(data, encoding, hybrid, questions, max_queries, chunks, chunk_by, overlap, by, split, seed),
        by,
        usd_per_hour,
        None if purse is None else purse.spent,
    )
    from umekomi.comparison.report import write_report

    write_report(comparison, planned.task)
    return comparison


def _judge(run: Judging, wanted: Sequence[Candidate], ending: str, skipped: dict[str, str]) -> list[Row]:
    """The rows of all candidates of a run that could be judged; why another is not goes to ``skipped``, ``ending``
    behind its name."""
    rows = []
    refused = foresee_all(run, wanted)
    skipped.update({f"{spec}{ending}": reason for spec, reason in refused.items()})
    left = [candidate for candidate in wanted if candidate.spec not in refused]
    for number, candidate in enumerate(left, 1):
        name = f"{candidate.spec}{ending}"
        try:
            row, again = run.candidate(candidate)
        except Exception as error:  # whatever it is that fails in one candidate, the others' rows stay
            skipped[name] = reason_of(error)
            say(f"[{number}/{len(left)}] {name}: skipped: {skipped[name]}")
            continue
        rows.append(row)
        before = " (finished before)" if again else ""
        say(f"[{number}/{len(left)}] {name}: {row.metric} {row.score.value:.4f}{before}")
    return rows


def _with_options(
    data: Given,
    encoding: str | None,
    hybrid: bool,
    questions: str | None,
    max_queries: int | None,
    chunks: Sequence[int],
    chunk_by: str,
    overlap: float,
    by: str | None,
    split: str | None,
    seed: int,
) -> Given:
    """What stands behind ``--data`` in the command that gives the same table; other data than a name as they are.

    Args:
        data: the data's name.
        encoding: of its file.
        hybrid: with fusion.
        questions: how they are made.
        max_queries: judged on.
        chunks: their sizes.
        chunk_by: where they end.
        overlap: what they repeat.
        by: the groups' column.
        split: judged on.
        seed: of what is drawn.
    """
    if not isinstance(data, str):
        return data
    said = {
        "--encoding": encoding,
        "--split": split,
        "--questions": questions,
        "--max-queries": max_queries,
        "--chunks": ",".join(map(str, chunks)) or None,
        "--chunk-by": chunk_by if chunks and chunk_by != "sentences" else None,
        "--overlap": overlap or None,
        "--by": by,
        "--seed": seed or None,
    }
    options = [f"{name} {shlex.quote(str(value))}" for name, value in said.items() if value is not None]
    return " ".join([shlex.quote(data), *(["--hybrid"] if hybrid else []), *options])
