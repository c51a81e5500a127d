"""How a training went, as a picture: what a recipe left in its model's card under ``training`` / ``curve``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from umekomi.errors import MissingExtra, WrongUse
from umekomi.files import whole_file

if TYPE_CHECKING:
    from umekomi.models.base import Saved

ENDINGS = (".svg", ".png", ".pdf")


def training_curve(model: Saved, out: str | Path) -> Path:
    """Draw every quantity of the curve against the step, and uniformity against alignment where both are there (Wang &
    Isola 2005.10242, figure 3; SimCSE, figure 2: towards the lower left is better), to an SVG, PNG or PDF file. Recipe
    simcse with ``watch`` leaves such a curve."""
    out = Path(out)
    if out.suffix not in ENDINGS:
        raise WrongUse(f"{out}: expected a file ending in {', '.join(ENDINGS)}")
    curve = (model.card.get("training") or {}).get("curve") if isinstance(model.card.get("training"), dict) else None
    if not curve:
        raise WrongUse(f"{model.name}: its card holds no curve of its training (train simcse with watch=, say)")
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingExtra("matplotlib", "plots", "a picture of the training") from None
    names = [name for name in curve[0] if name != "step"]
    plane = {"alignment", "uniformity"} <= set(names)
    figure = Figure(figsize=(4 * (len(names) + plane), 3.4), layout="constrained")
    axes = figure.subplots(1, len(names) + plane, squeeze=False)[0]
    steps = [point["step"] for point in curve]
    for place, name in zip(axes, names, strict=False):
        place.plot(steps, [point[name] for point in curve], marker="o", markersize=3)
        place.set(xlabel="step", title=name)
        place.grid(alpha=0.25)
    if plane:
        x, y = [point["uniformity"] for point in curve], [point["alignment"] for point in curve]
        axes[-1].plot(x, y, color="0.7", linewidth=1)
        axes[-1].scatter(x, y, c=steps, cmap="viridis", s=18, zorder=3)
        for place in (0, len(curve) - 1):
            axes[-1].annotate(
                f"step {steps[place]}", (x[place], y[place]), fontsize=8, xytext=(4, 4), textcoords="offset points"
            )
        axes[-1].set(
            xlabel="uniformity (lower is more even)",
            ylabel="alignment (lower is closer)",
            title="alignment and uniformity",
        )
        axes[-1].grid(alpha=0.25)
    with whole_file(out) as temporary:
        figure.savefig(temporary, format=out.suffix[1:], dpi=150)
    return out
