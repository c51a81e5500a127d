"""The floor for every neural recipe: the same network before it learned anything (Wieting & Kiela, "No training
required", ICLR 2019, arXiv 1901.10444, show how far random encoders get)."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from umekomi.recipes import Paper, Recipe, Start
from umekomi.run import Run

if TYPE_CHECKING:
    from umekomi.models.text import TextEmbedder


@dataclass(frozen=True)
class Untrained(Recipe):
    """The architecture of ``start`` (minilm when not said) with fresh random weights: what pre-training is worth.

    Needs no data: whatever is given is not looked at.
    """

    name: ClassVar[str] = "untrained"
    paper: ClassVar[Paper] = Paper(
        "No Training Required: Exploring Random Encoders for Sentence Classification",
        "Wieting & Kiela",
        2019,
        "ICLR",
        "1901.10444",
    )
    learns: ClassVar[tuple[str, ...]] = ()
    quick: ClassVar[bool] = True
    begins: ClassVar[str | None] = "minilm"
    extra: ClassVar[str] = "neural"

    def learn(self, data: object, start: Start, run: Run) -> TextEmbedder:
        import torch
        from transformers import AutoModel

        from umekomi.models.starting import trainable_model
        from umekomi.models.text import TextEmbedder

        base = trainable_model(start, self.name)
        with torch.random.fork_rng():
            torch.manual_seed(run.seed)
            model = copy.deepcopy(base.model)
            fresh = AutoModel.from_config(model.transformers_model.config)
            weights = fresh.state_dict()
            # the network may lack what a fresh one has (BERT's pooler, where nothing reads it)
            model.transformers_model.load_state_dict(
                {name: weights[name] for name in model.transformers_model.state_dict()}
            )
        return TextEmbedder(model, f"untrained-{base.name}", {"licence": "Apache-2.0"})
