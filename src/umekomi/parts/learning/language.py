"""Language modelling by transformers' own trainer: the next token (causal networks) or masked ones (encoders), over
texts packed end to end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from umekomi.errors import DataError, WrongUse
from umekomi.parts.learning.trainer import arguments, checkpoints, progress_callback, train_resuming
from umekomi.run import Run

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def pack_texts(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], length: int) -> NDArray[np.int64]:
    """Every text's tokens one behind the other, cut into rows of ``length``: int64 ``[rows, length]``; the rest that
    fills no row is left out."""
    flat: list[int] = []
    for start in range(0, len(texts), 4096):
        for ids in tokenizer(list(texts[start : start + 4096]), verbose=False)["input_ids"]:
            flat += ids
    rows = len(flat) // length
    if not rows:
        raise DataError(f"pre-training: expected {length} tokens of text or more, found {len(flat)}")
    return np.array(flat[: rows * length], np.int64).reshape(rows, length)


def pretrain(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str],
    *,
    run: Run,
    objective: Literal["causal", "masked"] = "causal",
    masked: float = 0.3,
    length: int = 128,
    steps: int = 1000,
    batch_size: int = 32,
    learning_rate: float = 1e-3,
    warmup: float = 0.05,
    save_steps: int = 500,
) -> list[float]:
    """Train ``model`` in place; the mean loss of each tenth of the way, in nats a token. Where the run has a checkpoint
    folder, an interrupted one goes on from its last ``save_steps``.

    Args:
        model: a network with its language-modelling head.
        tokenizer: its tokenizer; with a mask token, where tokens are masked.
        texts: packed end to end.
        run: who, seed, checkpoint, progress.
        objective: ``"causal"``, the next token, or ``"masked"``.
        masked: the share of tokens that are.
        length: tokens a row.
        steps: batches in all.
        batch_size: rows a batch.
        learning_rate: the highest, behind the warm-up.
        warmup: the share of the steps in which it rises.
        save_steps: between two checkpoints.
    """
    import datasets
    from transformers import DataCollatorForLanguageModeling, Trainer, TrainingArguments, set_seed

    if objective not in ("causal", "masked"):
        raise WrongUse(f"pre-training, objective: expected causal or masked, found {objective!r}")
    if objective == "masked" and tokenizer.mask_token_id is None:
        raise WrongUse(f"pre-training: expected a tokenizer with a mask token, {type(tokenizer).__name__} has none")
    if not 0 < masked < 1 or min(length, steps, batch_size) < 1:
        raise WrongUse(
            "pre-training: expected a share masked of 0 to 1, a length, steps and batch of one or more, found "
            f"{masked}, {length}, {steps}, {batch_size}"
        )
    losses: list[float] = []

    def logged(values: dict[str, Any]) -> None:
        if "loss" in values:
            losses.append(float(values["loss"]))

    with checkpoints(run) as folder, run.bar(steps * batch_size, "rows") as bar:
        rows = datasets.Dataset.from_dict({"input_ids": pack_texts(tokenizer, texts, length)})
        set_seed(run.seed)
        chosen = arguments(
            run,
            folder,
            save_steps=save_steps,
            max_steps=steps,
            per_device_train_batch_size=batch_size,
            learning_rate=learning_rate,
            warmup_steps=int(warmup * steps),
            weight_decay=0.01,
            lr_scheduler_type="cosine",
            logging_strategy="steps",
            logging_steps=max(steps // 10, 1),
        )
        trainer = Trainer(
            model=model,
            args=TrainingArguments(**chosen),
            train_dataset=rows,
            data_collator=DataCollatorForLanguageModeling(tokenizer, mlm=objective == "masked", mlm_probability=masked),
            callbacks=[progress_callback(bar, batch_size, logged=logged)],
        )
        train_resuming(trainer, folder)
    model.eval()
    return losses
