import math

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("sentence_transformers")

from umekomi.errors import WrongUse
from umekomi.parts.merging import greedy, load_into, slerp, slerp_all, soup


def states(count, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [{"a": torch.randn(3, 4, generator=generator), "n": torch.tensor(7)} for _ in range(count)]


def test_soup_is_the_weighted_mean_and_leaves_integers():
    one, two, three = states(3)
    assert torch.allclose(soup([one, two, three])["a"], (one["a"] + two["a"] + three["a"]) / 3)
    assert torch.allclose(soup([one, two], [3, 1])["a"], 0.75 * one["a"] + 0.25 * two["a"])
    assert soup([one, two])["n"].item() == 7
    half = soup([{"a": x["a"].half()} for x in (one, two)])["a"]
    assert half.dtype == torch.float16


def test_slerp_by_hand():
    """A quarter turn in the plane: halfway lies at 45 degrees, its length kept."""
    a, b = {"w": torch.tensor([2.0, 0.0])}, {"w": torch.tensor([0.0, 2.0])}
    torch.testing.assert_close(slerp(a, b, 0.5)["w"], torch.tensor([math.sqrt(2), math.sqrt(2)]))
    torch.testing.assert_close(
        slerp(a, b, 1 / 3)["w"], 2 * torch.tensor([math.cos(math.pi / 6), math.sin(math.pi / 6)])
    )
    for t, end in ((0, a), (1, b)):
        torch.testing.assert_close(slerp(a, b, t)["w"], end["w"])


def test_slerp_falls_back_to_a_line_for_parallel_opposite_and_zero_tensors():
    for first, second in (([1.0, 1.0], [2.0, 2.0]), ([1.0, 0.0], [-3.0, 0.0]), ([0.0, 0.0], [1.0, 2.0])):
        a, b = torch.tensor(first), torch.tensor(second)
        torch.testing.assert_close(slerp({"w": a}, {"w": b}, 0.25)["w"], 0.75 * a + 0.25 * b)


def test_many_on_the_sphere_keep_their_length():
    unit = [{"w": torch.nn.functional.normalize(state["a"].flatten(), dim=0)} for state in states(4)]
    assert slerp_all(unit)["w"].norm().item() == pytest.approx(1, abs=1e-5)
    assert torch.equal(slerp_all(unit[:1])["w"], unit[0]["w"])


def test_greedy_keeps_what_does_not_hurt():
    target = torch.zeros(3, 4)
    parts = [{"a": torch.full((3, 4), value)} for value in (1.0, -1.0, 9.0)]
    merged, chosen = greedy(parts, lambda state: -float((state["a"] - target).abs().mean()))
    assert sorted(chosen) == [0, 1] and torch.equal(merged["a"], target)


def test_other_shapes_are_named():
    with pytest.raises(WrongUse, match=r"model 2 differs from the first in a"):
        soup([{"a": torch.zeros(2)}, {"a": torch.zeros(3)}])
    with pytest.raises(WrongUse, match="weights"):
        soup(states(2), [1.0])
    with pytest.raises(WrongUse, match="0 to 1"):
        slerp(*states(2), 2)


def test_a_copy_takes_the_weights():
    model = torch.nn.Linear(2, 2)
    out = load_into(model, {name: torch.zeros_like(value) for name, value in model.state_dict().items()})
    assert out.weight.abs().sum() == 0 and model.weight.abs().sum() > 0
