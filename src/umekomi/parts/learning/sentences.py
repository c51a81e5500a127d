"""Stages of training a sentence-transformers model: data, objective, settings; run one after the other by its own
trainer (checkpoints, resume, mixed precision and distribution come with it)."""

from __future__ import annotations

import copy
import logging
import random
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from umekomi.progress import Progress


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


def tuned(base: Any, stages: Callable[[Any], Sequence[Stage]], *, max_length: int | None = None, **options: Any) -> Any:
    """A copy of the sentence-transformers model ``base``, trained by the stages that ``stages(copy)`` makes
    (:func:`train` takes the ``options``), on texts cut at ``max_length`` tokens; what it reads afterwards is what it
    read before."""
    model = copy.deepcopy(base)
    length = model.max_seq_length
    if max_length:
        model.max_seq_length = min(max_length, length or max_length)
    train(model, stages(model), **options)
    model.max_seq_length = length
    return model


def taught(
    base: Any,
    tables: Mapping[str, Any],
    objective: Callable[[Any], Any],
    *,
    what: str,
    where: str,
    checkpoint: str | Path | None = None,
    max_length: int | None = None,
    seed: int = 0,
    progress: bool = False,
    **stage: Any,
) -> Any:
    """A copy of ``base`` trained on several sets by ``objective(copy)``, each batch of one of them; its checkpoints
    stand in the folder ``where`` below ``checkpoint``. ``stage`` as of :class:`Stage`."""

    def plan(model: Any) -> list[Stage]:
        return [Stage(tables, dict.fromkeys(tables, objective(model)), sampler="shuffle", **stage)]

    folder = Path(checkpoint) / where if checkpoint else None
    return tuned(
        base, plan, max_length=max_length, seed=seed, checkpoint=folder, progress=progress, what=f"{what}, {where}"
    )


def drawn(table: Any, most: int | None, seed: int) -> Any:
    """At most so many rows of a table, drawn with the seed, in their order."""
    if not most or table.num_rows <= most:
        return table
    return table.take(sorted(random.Random(seed).sample(range(table.num_rows), most)))


def train(
    model: Any,
    stages: Sequence[Stage],
    *,
    seed: int = 0,
    checkpoint: str | Path | None = None,
    progress: bool = False,
    what: str = "training",
    save_steps: int = 100,
) -> None:
    """Train ``model`` in place. With ``checkpoint``, every ``save_steps`` steps are kept there and an interrupted run
    goes on from the last; a finished stage is not run again."""
    import datasets
    import torch
    from sentence_transformers import SentenceTransformerTrainingArguments
    from sentence_transformers.base.sampler import BatchSamplers, MultiDatasetBatchSamplers
    from transformers import PrinterCallback, TrainerCallback, set_seed

    from umekomi.parts.learning.batches import InstructedCollator

    logging.getLogger("transformers.trainer").setLevel(logging.ERROR)
    model.model_card_data.widget = [
        {"text": ""}
    ]  # else the trainer computes examples for a card that is not written, with a bar of its own
    datasets.disable_progress_bars()
    for number, stage in enumerate(stages):
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(checkpoint) / f"stage_{number}" if checkpoint else Path(scratch)
            folder.mkdir(parents=True, exist_ok=True)
            set_seed(seed)
            model.model_card_data.train_datasets = []
            tables = {
                name: datasets.Dataset(datasets.table.InMemoryTable(_plain(table)))
                for name, table in stage.tables.items()
            }
            rows = sum(table.num_rows for table in stage.tables.values())
            steps = max(1, int(-(-rows // stage.batch_size) * stage.epochs))
            adapted = lora(model, *stage.lora) if stage.lora else None
            arguments = SentenceTransformerTrainingArguments(
                output_dir=str(folder),
                num_train_epochs=stage.epochs,
                per_device_train_batch_size=stage.batch_size,
                learning_rate=stage.learning_rate,
                warmup_steps=int(stage.warmup * steps),
                weight_decay=stage.weight_decay,
                lr_scheduler_type=stage.schedule,
                batch_sampler=BatchSamplers.BATCH_SAMPLER
                if stage.sampler == "shuffle"
                else BatchSamplers.NO_DUPLICATES,
                multi_dataset_batch_sampler=MultiDatasetBatchSamplers.PROPORTIONAL,
                seed=seed,
                data_seed=seed,
                report_to="none",
                disable_tqdm=True,
                logging_strategy="no",
                save_strategy="steps" if checkpoint else "no",
                save_steps=save_steps,
                save_total_limit=1,
                bf16=torch.cuda.is_available(),
                dataloader_pin_memory=torch.cuda.is_available(),
            )
            single = len(tables) == 1
            with Progress(what, steps * stage.batch_size, "pairs", progress) as bar:

                class Show(TrainerCallback):  # type: ignore[misc]
                    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
                        now = stage  # noqa: B023  # the trainer ends before the next stage begins
                        bar.advance(now.batch_size)
                        step = state.global_step
                        if now.watch and (step % now.watch_every == 0 or step == state.max_steps):
                            _watched(model, now.watch, step)

                if stage.watch and last_checkpoint(folder) is None:
                    _watched(model, stage.watch, 0)

                trainer = _trainer()(
                    model=model,
                    args=arguments,
                    train_dataset=next(iter(tables.values())) if single else datasets.DatasetDict(tables),
                    loss=next(iter(stage.losses.values())) if single else dict(stage.losses),
                    callbacks=[Show()],
                    data_collator=InstructedCollator(preprocess_fn=model.preprocess, model=model),
                )
                trainer.remove_callback(PrinterCallback)
                trainer.train(resume_from_checkpoint=last_checkpoint(folder))
            if adapted is not None:
                model[0].model = adapted.merge_and_unload().requires_grad_(True)
    model.eval()


def last_checkpoint(folder: Path) -> str | None:
    """The last checkpoint in ``folder`` that was written whole; what a kill cut off while it was written is removed.
    The trainer's state is the last file it writes."""
    import json
    import shutil

    whole = []
    for place in folder.glob("checkpoint-*"):
        try:
            json.loads((place / "trainer_state.json").read_text(encoding="utf-8"))
            whole.append(place)
        except (OSError, ValueError):
            shutil.rmtree(place, ignore_errors=True)
    return str(max(whole, key=lambda place: int(place.name.rpartition("-")[2]))) if whole else None


def _trainer() -> Any:
    """sentence-transformers' trainer, whose checkpoints hold the weights being trained as they stand, adapters and the
    objective's own parameters (heads, a temperature) with them: theirs reopens a model from its folder, which has
    neither."""
    from safetensors.torch import load_file, save_file
    from sentence_transformers import SentenceTransformerTrainer

    class Trainer(SentenceTransformerTrainer):  # type: ignore[misc]
        def _weights(self) -> dict[str, Any]:
            model: Any = getattr(self.model, "_orig_mod", self.model)
            found = {f"model.{name}": value for name, value in model.state_dict(keep_vars=True).items()}
            own = {id(value) for value in found.values()}
            for key, loss in (self.loss if isinstance(self.loss, dict) else {"": self.loss}).items():
                found |= {
                    f"loss.{key}.{name}": value for name, value in loss.named_parameters() if id(value) not in own
                }
            return found

        def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
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


def _watched(model: Any, watch: Callable[[Any, int], None], step: int) -> None:
    """Look at the model as it will be used, and leave the generators and the mode as they were."""
    import torch

    was = model.training
    with torch.random.fork_rng(), torch.no_grad():
        watch(model.eval(), step)
    model.train(was)


def lora(model: Any, rank: int, alpha: float, dropout: float) -> Any:
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


def _plain(table: Any) -> Any:
    """Without schema metadata that ``datasets`` would try to read as its own, and with columns it can batch."""
    return table.replace_schema_metadata(None).combine_chunks()
