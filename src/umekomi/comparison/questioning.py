"""A comparison without labels: questions made from the documents, kept beside the results, and used again as they were
edited."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from umekomi.comparison.judging import check_folder
from umekomi.files import content_hash
from umekomi.progress import say
from umekomi.tasks import held_out
from umekomi.tasks.questions import Made, make_questions, read_questions, write_questions
from umekomi.tasks.questions.making import MOST, as_dataset
from umekomi.tasks.questions.trust import how_far

if TYPE_CHECKING:
    from umekomi.data import Dataset


def asked_of(
    dataset: Dataset,
    ways: str,
    split: str | None,
    out: str | Path | None,
    most: int | None,
    seed: int,
    progress: bool,
) -> Dataset:
    """The documents of a dataset with made questions, from the folder where they were kept before, or made now.

    Args:
        dataset: what the documents are taken from; its own queries and judgements are not looked at.
        ways: how they are made.
        split: whose documents.
        out: the comparison's folder.
        most: questions wanted.
        seed: of what is drawn.
        progress: shows a bar.
    """
    stem = Path(dataset.name).stem.replace(" ", "-") or "data"
    own = f"{stem}-questions-{content_hash(ways, dataset.fingerprint(), most, seed)[:8]}"
    whole = Path(out) if out else Path("umekomi-compare") / own
    check_folder(whole)
    folder = whole / "questions"
    if (folder / "queries.jsonl").is_file():
        made = read_questions(folder)
        say(
            f"{folder}: {made.data.queries.num_rows:,} questions made before are asked (delete the folder for new ones)"
        )
    else:
        chosen = dataset[split or held_out(dataset)]
        made = make_questions(chosen, ways, dataset.name, most=most or MOST, seed=seed, progress=progress)
        write_questions(folder, made, {"ways": ways, "seed": seed, "data": dataset.name})
        say(f"{made.data.queries.num_rows:,} questions are kept in {folder}: read them, delete the lines of bad ones")
    about = how_far(ways)
    made = Made(made.data, (*made.notes, about)) if about else made
    return as_dataset(f"{dataset.name} (made questions)", made, dataset.licence)
