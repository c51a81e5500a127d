"""How rows become a batch: an instruction of its own for each row, and a pooling that can leave it out."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from sentence_transformers.sentence_transformer.data_collator import SentenceTransformerDataCollator

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

INSTRUCTIONS = {"instruction": ("anchor",), "document_instruction": ()}
"""Which columns an instruction stands before; ``document_instruction``: all others."""


def tokens_of(model: SentenceTransformer, instruction: str) -> int:
    """How many tokens of a text are its instruction, counted from the text's first token (special tokens before it with
    it); a space at the instruction's end belongs to the word behind it."""
    if not instruction:
        return 0
    words = model.tokenizer
    ids = words(instruction.rstrip())["input_ids"]
    special = set(words.all_special_ids)
    while ids and ids[-1] in special:
        ids = ids[:-1]
    return len(ids)


@dataclass
class InstructedCollator(SentenceTransformerDataCollator):
    """sentence-transformers' collator over rows with the columns ``instruction`` and ``document_instruction``: each
    row's is put before its texts, and ``prompt_length`` int64 ``[batch]`` says how many tokens that is."""

    model: Any = None
    known: dict[str, int] = field(default_factory=dict)

    def __call__(self, features: list[dict[str, Any]]) -> dict[str, Any]:
        """The batch as tensors."""
        if not features or "instruction" not in features[0]:
            return super().__call__(features)
        asked = [row["instruction"] or "" for row in features]
        told = [row.get("document_instruction") or "" for row in features]
        columns = [name for name in features[0] if name not in (*INSTRUCTIONS, "label", "dataset_name")]
        before = {name: asked if name == "anchor" else told for name in columns}
        plain = []
        for place, row in enumerate(features):
            kept = {name: value for name, value in row.items() if name not in INSTRUCTIONS}
            plain.append(kept | {name: before[name][place] + row[name] for name in columns})
        batch = super().__call__(plain)
        for name in columns:
            if any(before[name]):
                batch[f"{name}_prompt_length"] = torch.tensor([self._length(text) for text in before[name]])
        return batch

    def _length(self, instruction: str) -> int:
        if instruction not in self.known:
            self.known[instruction] = tokens_of(self.model, instruction)
        return self.known[instruction]
