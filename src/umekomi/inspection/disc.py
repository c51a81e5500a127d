"""A picture of a two-dimensional table: the Poincaré disc with its hierarchy."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from umekomi.errors import MissingExtra, WrongUse
from umekomi.files import whole_file
from umekomi.parts.similarity import hyperboloid

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from umekomi.models.entity import EntityEmbedder

ENDINGS = (".svg", ".png", ".pdf")


def disc(
    model: EntityEmbedder,
    out: str | Path,
    *,
    pairs: Iterable[tuple[str, str]] = (),
    names: Sequence[str] | int = 25,
    title: str = "",
) -> Path:
    """Draw a table of points in the ball or on the hyperboloid, two-dimensional, to an SVG, PNG or PDF file.

    ``pairs`` (child, parent) are drawn as geodesics; ``names`` are written, or the so many entities nearest to the
    middle.
    """
    try:
        from matplotlib.figure import Figure
        from matplotlib.patches import Circle
    except ImportError:
        raise MissingExtra("matplotlib", "plots", "a picture of the disc") from None
    out = Path(out)
    if out.suffix not in ENDINGS:
        raise WrongUse(f"{out}: expected a file ending in {', '.join(ENDINGS)}")
    points = _in_the_disc(model)
    radius = np.linalg.norm(points, axis=1)
    chosen = [model.names[row] for row in np.argsort(radius)[:names]] if isinstance(names, int) else list(names)
    figure = Figure(figsize=(8, 8), layout="constrained")
    axes = figure.add_subplot()
    axes.add_patch(Circle((0, 0), 1, fill=False, color="0.5", linewidth=1))
    for child, parent in pairs:
        line = geodesic(points[model.row(child)], points[model.row(parent)])
        axes.plot(line[:, 0], line[:, 1], color="0.75", linewidth=0.4, zorder=1)
    axes.scatter(points[:, 0], points[:, 1], s=4, color="tab:blue", zorder=2)
    for name in chosen:
        x, y = points[model.row(name)]
        axes.annotate(name, (x, y), fontsize=7, xytext=(2, 2), textcoords="offset points", zorder=3)
    axes.set(xlim=(-1.03, 1.03), ylim=(-1.03, 1.03), aspect="equal", title=title or model.name)
    axes.axis("off")
    with whole_file(out) as temporary:
        figure.savefig(temporary, format=out.suffix[1:], dpi=150)
    return out


def geodesic(a: ArrayLike, b: ArrayLike, steps: int = 32) -> NDArray[np.float64]:
    """Points ``[steps, 2]`` on the shortest way from a to b in the disc: an arc that meets the rim at right angles.
    Computed on the hyperboloid, where it is sinh((1 - t) d) a + sinh(t d) b over sinh d."""
    lifted = []
    for point in (np.asarray(a, np.float64), np.asarray(b, np.float64)):
        square = point @ point
        lifted.append(np.array([1 + square, *(2 * point)]) / (1 - square))
    inner = lifted[0][0] * lifted[1][0] - lifted[0][1:] @ lifted[1][1:]
    distance = np.arccosh(max(inner, 1.0))
    t = np.linspace(0, 1, steps)[:, None]
    if distance < 1e-6:
        way = (1 - t) * lifted[0] + t * lifted[1]
    else:
        way = (np.sinh((1 - t) * distance) * lifted[0] + np.sinh(t * distance) * lifted[1]) / np.sinh(distance)
    return way[:, 1:] / (1 + way[:, :1])


def _in_the_disc(model: EntityEmbedder) -> NDArray[np.float64]:
    metric = getattr(model, "metric", "")
    width = model.dimension - (metric == "lorentz")
    if metric not in ("poincare", "lorentz") or width != 2:
        raise WrongUse(
            f"a picture of the disc needs a two-dimensional hyperbolic table; {model.name} has {width} dimensions and "
            f"compares by {metric}"
        )
    if metric == "poincare":
        return np.asarray(model.vectors, np.float64)
    points = hyperboloid(model.vectors)
    return points[:, 1:] / (1 + points[:, :1])
