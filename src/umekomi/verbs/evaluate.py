"""The verb ``evaluate``: a model and a task."""

from __future__ import annotations

from typing import Any

from umekomi.data.sets import overlap
from umekomi.errors import WrongUse
from umekomi.limits import checked
from umekomi.models.engines.choice import open_to_judge
from umekomi.progress import say
from umekomi.tasks import Result, Task, make


@checked
def evaluate(
    model: Any,
    task: str | Task,
    data: Any = None,
    *,
    split: str | None = None,
    dimensions: int | None = None,
    engine: str = "auto",
    batch_size: int = 32,
    progress: bool = False,
) -> Result:
    """Judge a model on a task: a dataset's name, ``"dataset:kind"``, ``"mteb:NAME"``, or a kind of task with ``data``.

    ``dimensions`` judges the first so many; ``engine`` is :func:`umekomi.models.engines.choice.open_for_encoding`'s. A
    recipe that learns from texts alone (``"bm25"``) is first fitted on the texts judged on.
    """
    if isinstance(task, str):
        task = make(task, data, split)
    model = resolve(model, task, engine)
    if not hasattr(model, "encode") and not (task.scores_pairs and hasattr(model, "score")):
        raise WrongUse(
            f"{task.name} ({task.kind}) judges embedders{' and scorers' if task.scores_pairs else ''}; {model.name} "
            f"is a {model.kind}"
        )
    if dimensions is not None:
        from umekomi.transforms import Truncate

        model = model.with_transform(Truncate(dimensions))
    trained_on = (getattr(model, "card", None) or {}).get("trained_on")
    shared = overlap(trained_on, task.name) if trained_on else None
    if shared:
        say(f"warning: {model.name} was trained on {trained_on}: {shared}")
    return task.evaluate(model, batch_size=batch_size, progress=progress)


def resolve(model: Any, task: Task, engine: str = "auto") -> Any:
    """A model by name, folder or hub id; a recipe that needs no labels is fitted on the task's own texts."""
    if isinstance(model, str):
        from umekomi.data.views import texts
        from umekomi.recipes import get, names

        if model in names() and not get(model).labelled:
            rows = getattr(task, "data", None)
            return get(model)().fit(texts(rows, model) if rows is not None and get(model).columns else None)
    return open_to_judge(model, engine)
