"""The model card that every saved folder carries."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from umekomi.models.base import Saved


def model_card(model: Saved) -> str:
    """Markdown: what the model is, how it was made, how to use it."""
    card = model.card
    lines = [
        f"# {model.name}",
        "",
        f"Kind: {model.kind}. Dimensions: {getattr(model, 'dimension', '—')}. Compares by: "
        f"{getattr(model, 'metric', '—')}.",
    ]
    for key in ("licence", "paper", "recipe", "trained_on", "start", "seed"):
        if card.get(key) not in (None, "", [], {}):
            lines += [f"{key.replace('_', ' ').capitalize()}: {card[key]}."]
    lines += [
        "",
        "```python",
        "import umekomi",
        'embedder = umekomi.load("this folder")',
        'embedder.encode(["a text"])',
        "```",
        "",
    ]
    return "\n".join(lines)
