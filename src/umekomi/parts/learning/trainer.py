"""What the learners that stand on transformers' trainers share: one list of its arguments, the progress bar, and the
last checkpoint that was written whole."""

from __future__ import annotations

import json
import logging
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from umekomi.progress import Progress
from umekomi.run import Run

if TYPE_CHECKING:
    from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments


@contextmanager
def checkpoints(run: Run) -> Iterator[Path]:
    """The run's checkpoint folder, made; a temporary one where it has none. The trainer's own chatter is off."""
    import datasets

    logging.getLogger("transformers.trainer").setLevel(logging.ERROR)
    datasets.disable_progress_bars()
    with tempfile.TemporaryDirectory() as scratch:
        folder = run.checkpoint or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        yield folder


def arguments(run: Run, folder: Path, *, save_steps: int, **own: object) -> dict[str, object]:
    """Arguments of a trainer that is seeded by ``run`` and saves to ``folder`` every ``save_steps`` steps, if the run
    keeps checkpoints; ``own`` are the learner's."""
    import torch

    return {
        "output_dir": str(folder),
        "seed": run.seed,
        "data_seed": run.seed,
        "report_to": "none",
        "disable_tqdm": True,
        "logging_strategy": "no",
        "save_strategy": "steps" if run.checkpoint else "no",
        "save_steps": save_steps,
        "save_total_limit": 1,
        "bf16": torch.cuda.is_available(),
        "dataloader_pin_memory": torch.cuda.is_available(),
    } | own


def train_resuming(trainer: Trainer, folder: Path) -> None:
    """Train, from the last whole checkpoint in ``folder`` where there is one; nothing is printed."""
    from transformers import PrinterCallback

    trainer.remove_callback(PrinterCallback)
    trainer.train(resume_from_checkpoint=last_checkpoint(folder))


def progress_callback(
    bar: Progress,
    count: int,
    after: Callable[[Any], None] | None = None,
    logged: Callable[[dict[str, Any]], None] | None = None,
) -> TrainerCallback:
    """A callback that moves ``bar`` by ``count`` a step, and hands on the trainer's state after each and what it
    logs."""
    from transformers import TrainerCallback

    class Show(TrainerCallback):  # type: ignore[misc]
        def on_step_end(
            self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
        ) -> None:
            bar.advance(count)
            if after is not None:
                after(state)

        def on_log(
            self,
            args: TrainingArguments,
            state: TrainerState,
            control: TrainerControl,
            logs: dict[str, Any] | None = None,
            **kwargs: object,
        ) -> None:
            if logged is not None and logs:
                logged(logs)

    return Show()


def last_checkpoint(folder: Path) -> str | None:
    """The last checkpoint in ``folder`` that was written whole; what a kill cut off while it was written is removed.
    The trainer's state is the last file it writes."""
    whole = []
    for place in folder.glob("checkpoint-*"):
        try:
            json.loads((place / "trainer_state.json").read_text(encoding="utf-8"))
            whole.append(place)
        except (OSError, ValueError):
            shutil.rmtree(place, ignore_errors=True)
    return str(max(whole, key=lambda place: int(place.name.rpartition("-")[2]))) if whole else None
