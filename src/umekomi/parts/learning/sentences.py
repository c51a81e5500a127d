"""Stages of training a sentence-transformers model, an embedder or a cross-encoder: data, objective, settings; run
one after the other by its own trainer (checkpoints, resume, mixed precision and distribution come with it)."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from umekomi.parts.learning.trainer import arguments, checkpoints, last_checkpoint, progress_callback, train_resuming
from umekomi.run import Run

if TYPE_CHECKING:
    import pyarrow as pa
    from peft import PeftModel
    from sentence_transformers import SentenceTransformer
    from transformers import TrainerState


@dataclass(frozen=True)
class Stage:
    """``tables`` and ``losses`` by the same names: one is plain training, several take turns batch by batch, each batch
    from one of them. ``sampler``: ``"no-duplicates"`` keeps equal texts out of a batch, ``"shuffle"`` leaves that to
    the loss. ``watch`` is called with the model and the step before the first step and then every ``watch_every`` steps
    and behind the last. ``lora`` (rank, alpha, dropout) trains adapters of that shape on every linear layer of the
    network, folded into its weights behind the stage."""

    tables: Mapping[str, Any]
    losses: Mapping[str, Any]
    epochs: float = 1
    batch_size: int = 32
    learning_rate: float = 2e-5
    warmup: float = 0.1
    sampler: str = "no-duplicates"
    weight_decay: float = 0.0
    schedule: str = "linear"
    watch: Callable[[Any, int], None] | None = None
    watch_every: int = 100
    lora: tuple[int, float, float] | None = None


def fine_tune(
    base: SentenceTransformer,
    stages: Callable[[Any], Sequence[Stage]],
    *,
    run: Run,
    max_length: int | None = None,
    save_steps: int = 100,
) -> SentenceTransformer:
    """A copy of the sentence-transformers model ``base``, trained by the stages that ``stages(copy)`` makes, one after
    the other, on texts cut at ``max_length`` tokens; what it reads afterwards is what it read before.

    Where the run has a checkpoint folder, every ``save_steps`` steps are kept there and an interrupted run goes on from
    the last; a finished stage is not run again.
    """
    model = copy.deepcopy(base)
    length = model.max_seq_length
    if max_length:
        model.max_seq_length = min(max_length, length or max_length)
    # else the trainer computes examples for a card that is not written, with a bar of its own
    model.model_card_data.widget = [{"text": ""}]
    for number, stage in enumerate(stages(model)):
        _train(model, stage, run if run.checkpoint is None else run.at(f"stage_{number}"), save_steps)
    model.max_seq_length = length
    return model.eval()


def round_robin(
    tables: Mapping[str, Any], objective: Callable[[Any], Any], **stage: Any
) -> Callable[[Any], list[Stage]]:
    """One stage in which several sets take turns under one objective, each batch of one of them; ``stage`` as of
    :class:`Stage`."""
    return lambda model: [Stage(tables, dict.fromkeys(tables, objective(model)), sampler="shuffle", **stage)]


class Staged(Protocol):
    """A recipe of several contrastive stages: the settings of each by its number, and what all share."""

    @property
    def epochs(self) -> tuple[float, ...]: ...
    @property
    def batch_sizes(self) -> tuple[int, ...]: ...
    @property
    def learning_rates(self) -> tuple[float, ...]: ...
    @property
    def warmup(self) -> float: ...
    @property
    def max_length(self) -> int | None: ...


def fine_tune_stage(
    base: SentenceTransformer,
    tables: Mapping[str, Any],
    objective: Callable[[Any], Any],
    recipe: Staged,
    number: int,
    run: Run,
    **stage: Any,
) -> SentenceTransformer:
    """:func:`fine_tune` by stage ``number`` of a recipe, its sets taking turns; ``stage`` as of :class:`Stage`."""
    plan = round_robin(
        tables,
        objective,
        epochs=recipe.epochs[number],
        batch_size=recipe.batch_sizes[number],
        learning_rate=recipe.learning_rates[number],
        warmup=recipe.warmup,
        **stage,
    )
    return fine_tune(base, plan, run=run, max_length=recipe.max_length)


def judging(rows: pa.Table, model: Any, **stage: Any) -> Stage:
    """A stage of a cross-encoder: binary cross-entropy on sentence1, sentence2 and label, how well they fit from 0 to
    1; ``stage`` as of :class:`Stage`."""
    from sentence_transformers.cross_encoder.losses import BinaryCrossEntropyLoss

    return Stage({"pairs": rows}, {"pairs": BinaryCrossEntropyLoss(model)}, sampler="shuffle", **stage)


def sample_rows(table: pa.Table, most: int | None, seed: int) -> pa.Table:
    """At most so many rows of a table, sampled with the seed, in their order."""
    if not most or table.num_rows <= most:
        return table
    return table.take(sorted(random.Random(seed).sample(range(table.num_rows), most)))


def _train(model: SentenceTransformer, stage: Stage, run: Run, save_steps: int) -> None:
    """Train ``model`` in place by one stage."""
    import datasets
    from sentence_transformers.base.sampler import BatchSamplers, MultiDatasetBatchSamplers
    from transformers import set_seed

    model.model_card_data.train_datasets = []
    tables = {name: datasets.Dataset(datasets.table.InMemoryTable(_plain(each))) for name, each in stage.tables.items()}
    steps = max(1, int(-(-sum(each.num_rows for each in tables.values()) // stage.batch_size) * stage.epochs))
    single = len(tables) == 1

    def watched(state: TrainerState) -> None:
        step = state.global_step
        if stage.watch and (step % stage.watch_every == 0 or step == state.max_steps):
            _watched(model, stage.watch, step)

    with checkpoints(run) as folder, run.bar(steps * stage.batch_size, "pairs") as bar:
        set_seed(run.seed)
        adapted = lora(model, *stage.lora) if stage.lora else None
        if stage.watch and last_checkpoint(folder) is None:
            _watched(model, stage.watch, 0)
        chosen = arguments(
            run,
            folder,
            save_steps=save_steps,
            num_train_epochs=stage.epochs,
            per_device_train_batch_size=stage.batch_size,
            learning_rate=stage.learning_rate,
            warmup_steps=int(stage.warmup * steps),
            weight_decay=stage.weight_decay,
            lr_scheduler_type=stage.schedule,
            batch_sampler=BatchSamplers.BATCH_SAMPLER if stage.sampler == "shuffle" else BatchSamplers.NO_DUPLICATES,
            multi_dataset_batch_sampler=MultiDatasetBatchSamplers.PROPORTIONAL,
        )
        trainer_of, arguments_of, collator = _theirs(model)
        trainer = trainer_of(
            model=model,
            args=arguments_of(**chosen),
            train_dataset=next(iter(tables.values())) if single else datasets.DatasetDict(tables),
            loss=next(iter(stage.losses.values())) if single else dict(stage.losses),
            callbacks=[progress_callback(bar, stage.batch_size, watched)],
            data_collator=collator,
        )
        train_resuming(trainer, folder)
    if adapted is not None:
        model[0].model = adapted.merge_and_unload().requires_grad_(True)


def _theirs(model: Any) -> tuple[Any, Any, Any]:
    """(trainer, class of its arguments, collator) for an embedder or a cross-encoder of sentence-transformers."""
    from sentence_transformers import CrossEncoder

    if isinstance(model, CrossEncoder):
        from sentence_transformers.cross_encoder import CrossEncoderTrainer, CrossEncoderTrainingArguments

        return _trainer(CrossEncoderTrainer), CrossEncoderTrainingArguments, None
    from sentence_transformers import SentenceTransformerTrainer, SentenceTransformerTrainingArguments

    from umekomi.parts.learning.batches import InstructedCollator

    collator = InstructedCollator(preprocess_fn=model.preprocess, model=model)
    return _trainer(SentenceTransformerTrainer), SentenceTransformerTrainingArguments, collator


def _trainer(base: Any) -> Any:
    """sentence-transformers' trainer ``base``, whose checkpoints hold the weights being trained as they stand, adapters
    and the objective's own parameters (heads, a temperature) with them: theirs reopens a model from its folder, which
    has neither."""
    from safetensors.torch import load_file, save_file

    class Trainer(base):  # type: ignore[misc]
        def _weights(self) -> dict[str, Any]:
            model: Any = getattr(self.model, "_orig_mod", self.model)
            weights = {f"model.{name}": value for name, value in model.state_dict(keep_vars=True).items()}
            own = {id(value) for value in weights.values()}
            for key, loss in (self.loss if isinstance(self.loss, dict) else {"": self.loss}).items():
                weights |= {
                    f"loss.{key}.{name}": value for name, value in loss.named_parameters() if id(value) not in own
                }
            return weights

        def _save(self, output_dir: str | None = None, state_dict: object = None) -> None:
            place = Path(output_dir or self.args.output_dir)
            place.mkdir(parents=True, exist_ok=True)
            save_file(
                {name: value.detach().cpu().clone().contiguous() for name, value in self._weights().items()},
                place / "weights.safetensors",
            )

        def _load_from_checkpoint(self, checkpoint_path: str) -> None:
            kept = load_file(Path(checkpoint_path) / "weights.safetensors")
            for name, value in self._weights().items():
                value.data.copy_(kept[name])

    return Trainer


def _watched(model: SentenceTransformer, watch: Callable[[Any, int], None], step: int) -> None:
    """Look at the model as it will be used, and leave the generators and the mode as they were."""
    import torch

    was = model.training
    with torch.random.fork_rng(), torch.no_grad():
        watch(model.eval(), step)
    model.train(was)


def lora(model: SentenceTransformer, rank: int, alpha: float, dropout: float) -> PeftModel:
    """Low-rank adapters on every linear layer of the network (Hu et al. 2106.09685, by peft), everything else of it
    frozen; poolings and projections behind it train whole."""
    from umekomi.errors import MissingExtra

    try:
        from peft import LoraConfig, get_peft_model
    except ImportError as error:
        raise MissingExtra(error.name or "peft", "lora", "training by low-rank adapters") from None
    adapted = get_peft_model(
        model[0].model, LoraConfig(r=rank, lora_alpha=alpha, lora_dropout=dropout, target_modules="all-linear")
    )
    model[0].model = adapted
    return adapted


def _plain(table: pa.Table) -> pa.Table:
    """Without schema metadata that ``datasets`` would try to read as its own, and with columns it can batch."""
    return table.replace_schema_metadata(None).combine_chunks()
