import numpy as np
import pytest

from umekomi.errors import WrongUse
from umekomi.inspection import disc
from umekomi.inspection.disc import geodesic
from umekomi.models.entity import EntityEmbedder
from umekomi.parts.similarity import poincare

POINTS = np.array([[0.0, 0.0], [0.5, 0.1], [-0.2, 0.8]], np.float32)


def test_a_picture_of_the_disc(tmp_path):
    pytest.importorskip("matplotlib")
    ball = EntityEmbedder(["root", "left", "right"], POINTS, metric="poincare")
    square = (POINTS**2).sum(1, keepdims=True)
    lifted = EntityEmbedder(ball.names, np.column_stack([1 + square, 2 * POINTS]) / (1 - square), metric="lorentz")
    for model in (ball, lifted):
        out = disc(model, tmp_path / "a.svg", pairs=[("left", "root"), ("right", "root")], title="a tree")
        text = out.read_text()
        assert "<svg" in text and text.rstrip().endswith("</svg>")
    with pytest.raises(WrongUse, match="ending in .svg"):
        disc(ball, tmp_path / "a.gif")
    with pytest.raises(WrongUse, match="two-dimensional hyperbolic table; entities has 3 dimensions"):
        disc(EntityEmbedder(["a"], np.zeros((1, 3))), tmp_path / "a.svg")


def test_a_geodesic_is_the_shortest_way():
    a, b = POINTS[1].astype(np.float64), POINTS[2].astype(np.float64)
    way = geodesic(a, b, steps=50)
    assert way[0] == pytest.approx(a) and way[-1] == pytest.approx(b)
    steps = sum(float(-poincare(way[i : i + 1], way[i + 1 : i + 2])[0, 0]) for i in range(49))
    assert steps == pytest.approx(float(-poincare(a[None], b[None])[0, 0]), rel=1e-3)
