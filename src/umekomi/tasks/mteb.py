"""mteb's tasks and benchmarks by name, through its own API, with any of our embedders.

Two traps are closed here: an object without ``mteb_model_meta`` is judged as an empty one, and mteb's result cache
goes by the model's name: ours is the fingerprint, and the cache is off.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from umekomi.errors import MissingExtra, WrongUse, unknown_name
from umekomi.tasks.base import Result, Score, Task, own_role

if TYPE_CHECKING:
    from numpy.typing import ArrayLike
    from torch import Tensor

    from umekomi.contracts import Floats
    from umekomi.models.base import EmbedderBase

try:
    import mteb
    from mteb.models.abs_encoder import AbsEncoder
    from mteb.models.model_meta import ModelMeta
except ImportError as error:
    raise MissingExtra(error.name or "mteb", "eval", "a task of mteb") from None

ROLES = {"query": "query", "document": "document", "passage": "document"}
JMTEB = {"jmteb": "JMTEB(v2)", "jmteb-lite": "JMTEB-lite(v1)", "jmteb-v1": "MTEB(jpn, v1)"}
"""The Japanese benchmark by the names that people use: version 2 (28 data sets, no pair classification), the same with
smaller corpora, and version 1 (16 data sets), of which most published figures are."""
BY_DATA, BY_KIND = "mean over data sets", "mean over kinds of task"
"""The two averages that leaderboards and model cards mix up: they differ by a point and more."""
FLOOR = 0.02
"""A figure of pair classification this near to that of saying yes to all says nothing."""


class MtebEncoder(AbsEncoder):  # type: ignore[misc]
    """One of our embedders as mteb calls them: its prompts by mteb's role, its own similarity."""

    def __init__(self, embedder: EmbedderBase) -> None:
        if "dense" not in embedder.outputs:
            raise WrongUse(
                f"mteb's tasks take dense vectors; {embedder.name} gives {' and '.join(sorted(embedder.outputs))}"
            )
        self.embedder = embedder
        self.mteb_model_meta = ModelMeta.create_empty(
            overwrites={"name": f"umekomi/{embedder.fingerprint()}", "revision": "1"}
        )
        self.model_prompts = None

    def encode(
        self, inputs: Any, *, task_metadata: Any, hf_split: str, hf_subset: str, prompt_type: Any = None, **options: Any
    ) -> Floats:
        texts = [text for batch in inputs for text in batch["text"]]
        role = ROLES.get(getattr(prompt_type, "value", prompt_type) or "")
        if role is None:
            wanted = {"Classification": "classification", "Clustering": "clustering", "STS": "similarity"}.get(
                task_metadata.type
            )
            role = own_role(self.embedder, wanted) if wanted else None
        return self.embedder.encode(texts, output="dense", role=role, batch_size=options.get("batch_size", 32))

    def similarity(self, embeddings1: ArrayLike, embeddings2: ArrayLike) -> Tensor:
        import torch

        return torch.from_numpy(self.embedder.similarity(_rows(embeddings1), _rows(embeddings2)))

    def similarity_pairwise(self, embeddings1: ArrayLike, embeddings2: ArrayLike) -> Tensor:
        import torch

        return torch.from_numpy(self.embedder.similarity_pairwise(_rows(embeddings1), _rows(embeddings2)))


def _rows(vectors: ArrayLike) -> Floats:
    array = np.asarray(vectors, np.float32)
    return array if array.ndim == 2 else array[None]


class MtebTask(Task):
    """One task or benchmark of mteb: its main scores, one an item (mteb gives no value by item)."""

    kind: ClassVar[str] = "mteb"
    shapes: ClassVar[tuple[str, ...]] = ()

    def __init__(self, name: str | Any) -> None:
        self.name = name if isinstance(name, str) else f"mteb:{name.metadata.name}"
        if not isinstance(name, str):
            self.tasks = [name]
            return
        name = JMTEB.get(name, name)
        benchmarks = {benchmark.name for benchmark in mteb.get_benchmarks()}
        if name in benchmarks:
            self.tasks = list(mteb.get_benchmark(name).tasks)
            return
        try:
            self.tasks = [mteb.get_task(name)]
        except KeyError:
            known = {task.metadata.name for task in mteb.get_tasks()}
            raise unknown_name("mteb task or benchmark", name, known | benchmarks | set(JMTEB)) from None

    def size(self) -> Mapping[str, int]:
        return {"tasks": len(self.tasks)}

    def _evaluate(self, model: EmbedderBase, batch_size: int, progress: bool) -> Result:
        floors = {}
        try:
            for task in self.tasks:
                if str(task.metadata.type) == "PairClassification":
                    task.load_data()  # mteb lets go of it behind the evaluation
                    floors[task.metadata.name] = of_yes_to_all(task)
            results = mteb.evaluate(
                MtebEncoder(model),
                self.tasks,
                cache=None,
                overwrite_strategy="always",
                encode_kwargs={"batch_size": batch_size},
                co2_tracker=False,
                show_progress_bar=progress,
            )
        except (OSError, ConnectionError) as error:
            raise WrongUse(f"{self.name}: mteb cannot fetch its data ({type(error).__name__}): {error}") from None
        by_task = {result.task_name: float(result.get_score()) for result in results.task_results}
        figures = {task: value for task, value in by_task.items() if np.isfinite(value)}
        kinds = {task.metadata.name: str(task.metadata.type) for task in self.tasks}
        scores = averages({task: (kinds[task], value) for task, value in figures.items()})
        scores |= {task: Score(np.array([value])) for task, value in (figures or by_task).items()}
        notes = ["mteb gives no value by item: no interval"]
        if figures and len(figures) < len(by_task):
            notes.append(f"no figure of {', '.join(sorted(set(by_task) - set(figures)))}: mteb's is no number")
        for name, floor in floors.items():
            if floor is not None and name in figures and figures[name] - floor < FLOOR:
                notes.append(
                    f"{name}: {figures[name]:.3f} is what saying yes to all pairs gives ({floor:.3f}): it tells "
                    "nothing of the model"
                )
        return Result(self.name, scores, tuple(notes))


def averages(figures: Mapping[str, tuple[str, float]]) -> dict[str, Score]:
    """Of data sets' (kind, main score): the mean over them, then, of several kinds, the mean over the kinds' means and
    each of these. One data set has no average."""
    if len(figures) < 2:
        return {}
    by_kind: dict[str, list[float]] = {}
    for kind, value in figures.values():
        by_kind.setdefault(kind, []).append(value)
    out = {BY_DATA: Score(np.array([value for _, value in figures.values()]))}
    if len(by_kind) > 1:
        out[BY_KIND] = Score(np.array([np.mean(values) for values in by_kind.values()]))
        out |= {
            f"{kind}, mean of {len(values)}": Score(np.array(values))
            for kind, values in sorted(by_kind.items())
            if len(values) > 1
        }
    return out


def of_yes_to_all(task: Any) -> float | None:
    """What a task of pair classification, its data loaded, gives to a model that finds all pairs the same: p of average
    precision, where p is the share of pairs that are, 2 p / (1 + p) of F1; None for other scores."""
    of_share = {"ap": lambda p: p, "f1": lambda p: 2 * p / (1 + p)}.get(task.metadata.main_score.rpartition("_")[2])
    if of_share is None:
        return None
    splits = task.dataset.values() if task.metadata.is_multilingual else [task.dataset]
    labels = [
        np.ravel(split[name][getattr(task, "label_column_name", "labels")])
        for split in splits
        for name in task.metadata.eval_splits
        if name in split
    ]
    return float(of_share(float(np.mean(np.concatenate(labels))))) if labels else None
