"""The floor for every neural recipe: the same network before it learned anything (Wieting & Kiela, "No training
required", ICLR 2019, arXiv 1901.10444, show how far random encoders get)."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from umekomi.contracts import Paper, Recipe


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
    columns: ClassVar[tuple[str, ...]] = ()
    extra: ClassVar[str] = "neural"

    def fit(
        self,
        data: Any = None,
        *,
        start: Any = None,
        seed: int = 0,
        checkpoint: str | Path | None = None,
        progress: bool = False,
    ) -> Any:
        from umekomi.models import load
        from umekomi.models.text import TextEmbedder

        base = load(start or "minilm")
        import torch
        from transformers import AutoModel

        with torch.random.fork_rng():
            torch.manual_seed(seed)
            model = copy.deepcopy(base.model)
            fresh = AutoModel.from_config(model.transformers_model.config)
            model.transformers_model.load_state_dict(fresh.state_dict())
        return TextEmbedder(
            model,
            f"untrained-{base.name}",
            {"recipe": self.settings(), "start": base.name, "seed": seed, "licence": "Apache-2.0"},
        )
