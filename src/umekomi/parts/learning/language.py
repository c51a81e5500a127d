"""Language modelling by transformers' own trainer: the next token (causal networks) or masked ones (encoders), over
texts packed end to end."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from umekomi.errors import DataError, WrongUse
from umekomi.parts.learning.sentences import last_checkpoint
from umekomi.progress import Progress


def packed(tokenizer: Any, texts: Sequence[str], length: int) -> Any:
    """Every text's tokens one behind the other, cut into rows of ``length``: int64 ``[rows, length]``; the rest that
    fills no row is left out."""
    import numpy as np

    flat: list[int] = []
    for start in range(0, len(texts), 4096):
        for ids in tokenizer(list(texts[start : start + 4096]), verbose=False)["input_ids"]:
            flat += ids
    rows = len(flat) // length
    if not rows:
        raise DataError(f"pre-training: expected {length} tokens of text or more, found {len(flat)}")
    return np.array(flat[: rows * length], np.int64).reshape(rows, length)


def pretrain(
    model: Any,
    tokenizer: Any,
    texts: Sequence[str],
    *,
    objective: str = "causal",
    masked: float = 0.3,
    length: int = 128,
    steps: int = 1000,
    batch_size: int = 32,
    learning_rate: float = 1e-3,
    warmup: float = 0.05,
    seed: int = 0,
    checkpoint: str | Path | None = None,
    save_steps: int = 500,
    progress: bool = False,
) -> list[float]:
    """Train ``model`` (with its language-modelling head) in place for ``steps`` batches; the mean loss of each tenth of
    the way, in nats a token. With ``checkpoint``, an interrupted run goes on from its last ``save_steps``."""
    import datasets
    import torch
    from transformers import (
        DataCollatorForLanguageModeling,
        PrinterCallback,
        Trainer,
        TrainerCallback,
        TrainingArguments,
        set_seed,
    )

    if objective not in ("causal", "masked"):
        raise WrongUse(f"pre-training, objective: expected causal or masked, found {objective!r}")
    if objective == "masked" and tokenizer.mask_token_id is None:
        raise WrongUse(f"pre-training: expected a tokenizer with a mask token, {type(tokenizer).__name__} has none")
    if not 0 < masked < 1 or min(length, steps, batch_size) < 1:
        raise WrongUse(
            "pre-training: expected a share masked of 0 to 1, a length, steps and batch of one or more, found "
            f"{masked}, {length}, {steps}, {batch_size}"
        )
    logging.getLogger("transformers.trainer").setLevel(logging.ERROR)
    datasets.disable_progress_bars()
    rows = datasets.Dataset.from_dict({"input_ids": packed(tokenizer, texts, length)})
    losses: list[float] = []
    with (
        tempfile.TemporaryDirectory() as scratch,
        Progress("pre-training", steps * batch_size, "rows", progress) as bar,
    ):
        folder = Path(checkpoint) if checkpoint else Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        set_seed(seed)
        arguments = TrainingArguments(
            output_dir=str(folder),
            max_steps=steps,
            per_device_train_batch_size=batch_size,
            learning_rate=learning_rate,
            warmup_steps=int(warmup * steps),
            weight_decay=0.01,
            lr_scheduler_type="cosine",
            seed=seed,
            data_seed=seed,
            report_to="none",
            disable_tqdm=True,
            logging_strategy="steps",
            logging_steps=max(steps // 10, 1),
            save_strategy="steps" if checkpoint else "no",
            save_steps=save_steps,
            save_total_limit=1,
            bf16=torch.cuda.is_available(),
            dataloader_pin_memory=torch.cuda.is_available(),
        )

        class Show(TrainerCallback):  # type: ignore[misc]
            def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
                bar.advance(batch_size)

            def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
                if logs and "loss" in logs:
                    losses.append(float(logs["loss"]))

        collator = DataCollatorForLanguageModeling(tokenizer, mlm=objective == "masked", mlm_probability=masked)
        trainer = Trainer(model=model, args=arguments, train_dataset=rows, data_collator=collator, callbacks=[Show()])
        trainer.remove_callback(PrinterCallback)
        trainer.train(resume_from_checkpoint=last_checkpoint(folder))
    model.eval()
    return losses
