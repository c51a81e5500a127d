"""The verb ``evaluate``: a model and a task."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, overload

from umekomi.data import load
from umekomi.data.sets import overlap
from umekomi.data.shapes import texts
from umekomi.errors import WrongUse
from umekomi.limits import checked
from umekomi.models.base import EmbedderBase, describe, sort_of
from umekomi.models.engines.choice import open_to_judge
from umekomi.progress import say
from umekomi.recipes import quick_model
from umekomi.tasks import Result, Task, make

if TYPE_CHECKING:
    from umekomi.data.columns import Given
    from umekomi.models.base import Named, Saved


@overload
def evaluate(
    model: Named,
    task: str | Task,
    data: Given | None = None,
    *,
    split: str | None = None,
    dimensions: int | None = None,
    engine: str = "auto",
    batch_size: int = 32,
    encoding: str | None = None,
    progress: bool = False,
) -> Result: ...


@overload
def evaluate(
    model: Named,
    task: list[str | Task] | list[str] | tuple[str | Task, ...],
    data: Given | None = None,
    *,
    split: str | None = None,
    dimensions: int | None = None,
    engine: str = "auto",
    batch_size: int = 32,
    encoding: str | None = None,
    progress: bool = False,
) -> list[Result]: ...


@checked
def evaluate(
    model: Named,
    task: str | Task | list[str | Task] | list[str] | tuple[str | Task, ...],
    data: Given | None = None,
    *,
    split: str | None = None,
    dimensions: int | None = None,
    engine: str = "auto",
    batch_size: int = 32,
    encoding: str | None = None,
    progress: bool = False,
) -> Result | list[Result]:
    """Judge a model on a task, or on several, one result each.

    Args:
        model: a name, a folder or a model; a recipe that learns from texts alone (``"bm25"``) is first fitted on the
            texts judged on.
        task: a dataset's name, ``"dataset:kind"``, ``"mteb:NAME"``, ``"senteval"`` (all of its tasks) or
            ``"senteval:trec"``, or a kind of task with ``data``.
        data: what a kind of task is judged on.
        split: the split judged on.
        dimensions: judges the first so many.
        engine: what runs a transformer (:func:`umekomi.models.engines.choice.open_for_encoding`).
        batch_size: items that are encoded at once.
        encoding: of a file that is not UTF-8.
        progress: shows a bar.
    """
    if not isinstance(task, (str, Task)):
        options: dict[str, Any] = {"split": split, "dimensions": dimensions, "engine": engine, "encoding": encoding}
        options |= {"batch_size": batch_size, "progress": progress}
        return [evaluate(model, each, data, **options) for each in task]
    if isinstance(task, str):
        task = make(task, load(data, encoding=encoding) if encoding else data, split)
    model = open_model(model, task, engine)
    refused = task.refuses(sort_of(model))
    if refused:
        raise WrongUse(f"{task.name}: {refused}; {describe(model)}")
    if dimensions is not None:
        if not isinstance(model, EmbedderBase):
            raise WrongUse(f"{model.name} is a {model.kind}: its scores have no dimensions to judge the first of")
        from umekomi.transforms import Truncate

        model = model.with_transform(Truncate(dimensions))
    trained_on = (getattr(model, "card", None) or {}).get("trained_on")
    shared = overlap(trained_on, task.name) if trained_on else None
    if shared:
        say(f"warning: {model.name} was trained on {trained_on}: {shared}")
    return task.evaluate(model, batch_size=batch_size, progress=progress)


def open_model(model: Named, task: Task, engine: str = "auto") -> Saved:
    """A model by name, folder or hub id; a quick recipe is fitted on the task's own texts."""
    quick = quick_model(model, lambda: texts(getattr(task, "data", None), str(model)))
    return open_to_judge(model, engine) if quick is None else quick
