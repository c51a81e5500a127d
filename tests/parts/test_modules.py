"""The learner of plain torch modules: right by a plain loop, and interrupted anywhere to the same bits."""

import math
import os
import random
import subprocess
import sys
from functools import partial

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("accelerate")

from torch import nn
from torch.nn import functional

from umekomi.errors import DataError, UmekomiError, WrongUse
from umekomi.parts.layers.recurrent import Recurrent
from umekomi.parts.learning import modules
from umekomi.parts.learning.checkpoint import detach_tree, move_tree, read_tree, write_tree
from umekomi.parts.learning.modules import CHECKPOINT, items_in, learn, seed_globals
from umekomi.parts.learning.rates import Decay, Moment, Plateau, Warmup
from umekomi.parts.learning.samplers import Buckets, Streams, shuffled
from umekomi.run import Run

SGD = partial(torch.optim.SGD, lr=0.1)
DATA = np.random.default_rng(0)
POINTS = DATA.normal(size=(37, 5)).astype(np.float32)
CLASSES = (POINTS @ DATA.normal(size=5) > 0).astype(np.int64)
TOKENS = np.random.default_rng(3).integers(0, 11, 200)


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


class Net(nn.Module):
    def __init__(self, dropout=0.2):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Dropout(dropout), nn.Linear(8, 2))

    def forward(self, points):
        return self.layers(points)


def net(seed=0, dropout=0.2):
    with seed_globals(seed):
        return Net(dropout)


def of_rows(rows, generator):
    return torch.from_numpy(POINTS[rows] + 0.01 * generator.normal(size=(len(rows), 5)).astype(np.float32)), (
        torch.from_numpy(CLASSES[rows])
    )


def batches(size=8):
    return shuffled(len(POINTS), of_rows, size)


def loss(module, batch):
    points, classes = batch
    return functional.cross_entropy(module(points), classes)


def accuracy(module):
    return float((module(torch.from_numpy(POINTS)).argmax(1).numpy() == CLASSES).mean())


def same(a, b):
    return all(torch.equal(value, b.state_dict()[name]) for name, value in a.state_dict().items())


def fit(module=None, data=None, objective=loss, checkpoint=None, seed=0, key="k", epochs=3, optimiser=SGD, **options):
    module = module or net()
    history = learn(
        module,
        data or batches(),
        objective,
        run=Run("toy", seed, checkpoint),
        key=key,
        epochs=epochs,
        optimiser=optimiser,
        **options,
    )
    return module, history


class Cut(BaseException):
    """As a Ctrl-C: no Exception."""


def cut_after(count, function):
    """The function, which ends the run at its ``count``-th call."""
    calls = iter(range(1, count + 1))

    def call(*args, **options):
        if next(calls, count) == count:
            raise Cut
        return function(*args, **options)

    return call


# what it computes


def test_it_is_a_plain_loop():
    module, history = fit(net(dropout=0.0), clip=0.5, schedule=Decay(0.5))
    plain = net(dropout=0.0)
    optimiser = torch.optim.SGD(plain.parameters(), lr=0.1)
    means, clipped = [], 0
    for epoch in range(3):
        optimiser.param_groups[0]["lr"] = 0.1 * 0.5**epoch
        total = 0.0
        for batch in batches()(epoch, Run("toy", 0).generator(epoch)):
            value = loss(plain, batch)
            optimiser.zero_grad()
            value.backward()
            clipped += float(nn.utils.clip_grad_norm_(plain.parameters(), 0.5)) > 0.5
            optimiser.step()
            total += value.item() * len(batch[1])
        means.append(total / 37)
    plain.eval()
    assert same(module, plain) and 0 < clipped < 15
    assert history.losses == means and history.rates == [0.1, 0.05, 0.025]
    assert (history.steps, history.best, history.ended) == (15, None, "epochs")
    assert not module.training


def test_values_are_clipped():
    module, _ = fit(net(dropout=0.0), epochs=1, data=batches(37), clip_value=1e-3)
    was = net(dropout=0.0)
    change = torch.cat([(a - b).abs().ravel() for a, b in zip(was.parameters(), module.parameters(), strict=True)])
    assert 0.5e-4 < change.max() <= 1.01e-4


def test_several_batches_a_step_are_one_large_one():
    def cut(*places):
        points, classes = torch.from_numpy(POINTS), torch.from_numpy(CLASSES)
        return lambda epoch, generator: list(
            zip(points.tensor_split(places), classes.tensor_split(places), strict=True)
        )

    large, first = fit(linear(), cut(20, 30))
    small, second = fit(linear(), cut(7, 12, 20, 25, 29, 30, 33, 36), accumulate=3)
    assert first.steps == second.steps == 9
    torch.testing.assert_close(large.weight, small.weight, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(first.losses, second.losses, rtol=1e-5)


def linear():
    with seed_globals(0):
        return nn.Linear(5, 2)


def test_the_seed_decides():
    first, _ = fit(seed=1)
    again, _ = fit(seed=1)
    other, _ = fit(seed=2)
    assert same(first, again) and not same(first, other)
    dropped = [fit(data=lambda e, g: [of_rows(np.arange(37), np.random.default_rng(0))], seed=s)[0] for s in (1, 2)]
    assert not same(*dropped), "dropout follows the seed too"


def test_generators_outside_are_left_as_they_were():
    torch.manual_seed(5), np.random.seed(5), random.seed(5)
    expected = torch.rand(1), np.random.random(), random.random()
    torch.manual_seed(5), np.random.seed(5), random.seed(5)
    fit(epochs=1, validate=accuracy)
    assert (torch.rand(1), np.random.random(), random.random()) == expected


def test_a_loss_may_have_weights_and_weights_may_be_frozen(tmp_path):
    class Head(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.ones(()))

        def forward(self, module, batch):
            return functional.cross_entropy(self.scale * module(batch[0]), batch[1])

    module, head = net(), Head()
    module.layers[0].weight.requires_grad_(False)
    fit(module, objective=head, checkpoint=tmp_path)
    assert torch.equal(module.layers[0].weight, net().layers[0].weight) and float(head.scale) != 1
    kept, again = float(head.scale.detach()), Head()
    second = net()
    second.layers[0].weight.requires_grad_(False)
    fit(second, objective=again, checkpoint=tmp_path)
    assert float(again.scale.detach()) == kept and same(module, second)


def test_sparse_gradients_are_clipped_and_used(tmp_path):
    class Words(nn.Module):
        def __init__(self, sparse):
            super().__init__()
            self.table, self.out = nn.Embedding(11, 4, sparse=sparse), nn.Linear(4, 2)

    def score(module, batch):
        return functional.cross_entropy(module.out(module.table(batch).mean(1)), batch[:, 0] % 2)

    def made(sparse, **options):
        with seed_globals(0):
            module = Words(sparse)
        rows = shuffled(24, lambda rows, generator: torch.from_numpy(TOKENS[:192].reshape(24, 8)[rows]), 6)
        adagrad = partial(torch.optim.Adagrad, lr=0.2)
        return fit(module, rows, score, clip=0.2, clip_value=0.1, optimiser=adagrad, **options)[0]

    dense, sparse = made(False), made(True)
    for name, value in dense.state_dict().items():
        torch.testing.assert_close(sparse.state_dict()[name], value)
    made(True, checkpoint=tmp_path)
    assert same(sparse, made(True, checkpoint=tmp_path))


def test_shards_of_weights_are_refused(monkeypatch):
    monkeypatch.setattr("accelerate.Accelerator.distributed_type", type("T", (), {"value": "FSDP"}))
    with pytest.raises(WrongUse, match="expected processes with all weights each, found FSDP"):
        fit()


def test_processes_that_do_not_find_each_other_are_an_error(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr("torch.accelerator.is_available", lambda: True)
    with pytest.raises(WrongUse, match="expected 2 processes as launched, accelerate found 1"):
        fit()


def test_after_each_step_weights_may_be_bounded():
    def bound(module):
        weight = module.layers[4].weight
        weight.mul_((0.3 / weight.norm(dim=1, keepdim=True)).clamp(max=1))

    module, _ = fit(after_step=bound)
    free, _ = fit()
    assert float(module.layers[4].weight.norm(dim=1).detach().max()) < 0.3001
    assert float(free.layers[4].weight.norm(dim=1).detach().max()) > 0.31


def test_items_are_counted():
    assert items_in([1, 2, 3]) == 3 and items_in({"a": np.zeros((4, 2))}) == 4
    assert items_in((torch.zeros(2, 9), torch.zeros(5))) == 2 and items_in(((torch.zeros(6, 1), None), 3)) == 6
    _, history = fit(epochs=1, size=lambda batch: 1)
    unweighted = []
    fit(epochs=1, objective=lambda m, b: unweighted.append(loss(m, b)) or unweighted[-1])
    assert history.losses[0] == pytest.approx(np.mean([value.item() for value in unweighted]), rel=1e-6)


def test_validation_patience_and_the_best_weights():
    values = iter([0.1, 0.5, 0.3, 0.5, 0.4, 0.9])
    seen = []

    def validate(module):
        assert not module.training and not torch.is_grad_enabled()
        seen.append({name: value.clone() for name, value in module.state_dict().items()})
        return next(values)

    module, history = fit(epochs=9, validate=validate, patience=3)
    assert history.values == [0.1, 0.5, 0.3, 0.5, 0.4] and (history.best, history.ended) == (2, "patience")
    assert all(torch.equal(value, seen[1][name]) for name, value in module.state_dict().items())
    values = iter([0.5, 0.1, 0.3, 0.3])
    last, history = fit(epochs=4, validate=validate, better="lower", patience=2, best=False)
    assert (history.best, history.ended, len(history.losses)) == (2, "patience", 4)
    assert all(torch.equal(value, seen[-1][name]) for name, value in last.state_dict().items())


def test_looking_changes_nothing():
    def curious(module, step=0):
        seen.append((step, module.training, torch.rand(1).item(), np.random.random()))
        return 0.5

    seen = []
    plain, _ = fit()
    validated, _ = fit(validate=curious, best=False)
    seen.clear()
    watched, _ = fit(watch=curious, watch_every=4)
    assert [step for step, *_ in seen] == [0, 4, 8, 12, 15] and not any(training for _, training, *_ in seen)
    seen.clear()
    by_epoch, _ = fit(watch=curious)
    assert [step for step, *_ in seen] == [0, 5, 10, 15]
    assert same(plain, validated) and same(plain, watched) and same(plain, by_epoch)


# learning-rate rules


def slow_infersent(values, rate=0.1):
    """The loop of InferSent's training script: rates of each epoch that is run."""
    best, rates, stop = -1e10, [], False
    for epoch, value in enumerate(values):
        if stop:
            break
        rate = rate * 0.99 if epoch else rate
        rates.append(rate)
        if value > best:
            best = value
        else:
            rate /= 5
            stop = rate < 1e-5
    return rates


@pytest.mark.parametrize("seed", range(4))
def test_plateau_is_the_published_loop(seed):
    values = iter(given := np.random.default_rng(seed).integers(0, 6, 20).tolist())
    _, history = fit(net(), epochs=20, schedule=Plateau(), validate=lambda m: float(next(values)), data=batches(37))
    expected = slow_infersent(given)
    np.testing.assert_allclose(history.rates, expected, rtol=1e-12)
    assert history.ended == ("rate" if len(expected) < 20 else "epochs")


def test_warmup_rises_and_falls():
    at = [Moment(epoch, 2, step, 10, 1.0) for epoch in range(2) for step in range(10)]
    found = [Warmup(0.25)(moment) for moment in at]
    np.testing.assert_allclose(found[:5], [0.2, 0.4, 0.6, 0.8, 1.0])
    np.testing.assert_allclose(found[5:], [(20 - step) / 15 for step in range(5, 20)])
    cosine = [Warmup(0.25, "cosine")(moment) for moment in at]
    np.testing.assert_allclose(cosine[5:], [(1 + math.cos(math.pi * (step - 5) / 15)) / 2 for step in range(5, 20)])
    assert [Warmup(0.25, "constant")(moment) for moment in at][5:] == [1.0] * 15
    assert Warmup(0)(at[0]) == 1.0 and Warmup(1.0)(at[-1]) == 1.0


def test_rules_ask_for_what_they_need():
    with pytest.raises(WrongUse, match="expected validation"):
        fit(schedule=Plateau())
    with pytest.raises(WrongUse, match="whose number is known"):
        fit(data=lambda epoch, generator: iter(batches()(epoch, generator)), schedule=Warmup())


# interrupted and gone on with

OPTIMISERS = {
    "sgd": partial(torch.optim.SGD, lr=0.1, momentum=0.9),
    "adam": partial(torch.optim.AdamW, lr=0.01, betas=(0.8, 0.99), amsgrad=True),
    "adagrad": partial(torch.optim.Adagrad, lr=0.2, initial_accumulator_value=1.0),
    "adadelta": partial(torch.optim.Adadelta, lr=1.0, rho=0.95, eps=1e-6),
    "rmsprop": partial(torch.optim.RMSprop, lr=0.01, centered=True),
}


def drawing(module, batch):
    """A loss that draws from all three global generators."""
    noise = torch.rand(()) + np.random.random() + random.random()
    return loss(module, batch) * (1 + noise)


@pytest.mark.parametrize("name", OPTIMISERS)
@pytest.mark.parametrize("steps", [1, 4, 5, 6, 13])
def test_cut_off_anywhere_it_goes_on_to_the_same_bits(tmp_path, name, steps):
    options = {
        "optimiser": OPTIMISERS[name],
        "validate": lambda m: -abs(accuracy(m) - 0.6),
        "schedule": Plateau(2, 0.9),
        "clip": 0.5,
        "accumulate": 1,
    }
    whole, history = fit(objective=drawing, **options)
    with pytest.raises(Cut):
        fit(objective=cut_after(steps, drawing), checkpoint=tmp_path, save_seconds=0, **options)
    assert (tmp_path / CHECKPOINT).is_file() == (steps > 1) and len(list(tmp_path.iterdir())) <= 1
    calls = []
    again, after = fit(
        objective=lambda m, b: calls.append(0) or drawing(m, b), checkpoint=tmp_path, save_seconds=0, **options
    )
    assert same(whole, again) and after == history
    assert len(calls) == history.steps - (steps - 1), "no step is taken twice"


@pytest.mark.parametrize("what", ["validate", "watch", "after_step", "batches", "write", "rename"])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_cut_off_in_anything(tmp_path, monkeypatch, what, count):
    calls = {
        "validate": accuracy,
        "watch": lambda module, step: None,
        "after_step": lambda module: module.layers[4].weight.mul_(0.99),
    }
    from safetensors.torch import save_file

    whole, history = fit(**calls)
    options = {**calls, "checkpoint": tmp_path, "save_seconds": 0}
    with monkeypatch.context() as patched, pytest.raises(Cut):
        if what in calls:
            options[what] = cut_after(count, calls[what])
        elif what == "batches":
            options["data"] = cut_after(count, batches())
        elif what == "write":
            patched.setattr("safetensors.torch.save_file", cut_after(count, save_file))
        else:
            patched.setattr("pathlib.Path.replace", cut_after(count, os.replace))
        fit(**options)
    assert {path.name for path in tmp_path.iterdir()} <= {CHECKPOINT}
    again, after = fit(**{**calls, "checkpoint": tmp_path, "save_seconds": 0})
    assert same(whole, again) and after == history


def test_it_may_be_cut_again_and_again(tmp_path):
    whole, history = fit(validate=accuracy, patience=2)
    for _ in range(30):
        module = net()
        try:
            _, after = fit(
                module,
                objective=cut_after(3, loss),
                checkpoint=tmp_path,
                save_seconds=0,
                validate=accuracy,
                patience=2,
            )
            break
        except Cut:
            pass
    assert same(whole, module) and after == history


def test_batches_that_can_only_be_gone_through(tmp_path):
    def gone_through(epoch, generator):
        yield from batches()(epoch, generator)

    whole, _ = fit(data=gone_through)
    assert same(whole, fit()[0])
    with pytest.raises(Cut):
        fit(data=gone_through, objective=cut_after(9, loss), checkpoint=tmp_path, save_seconds=0)
    assert same(whole, fit(data=gone_through, checkpoint=tmp_path)[0])


def test_a_finished_run_is_not_run_again(tmp_path):
    whole, history = fit(checkpoint=tmp_path, validate=accuracy)
    again, after = fit(objective=cut_after(1, loss), checkpoint=tmp_path, validate=accuracy)
    assert same(whole, again) and after == history and not again.training


@pytest.mark.parametrize(
    "other",
    [
        {"key": "other data"},
        {"seed": 1},
        {"epochs": 4},
        {"clip": 1.0},
        {"accumulate": 2},
        {"optimiser": partial(torch.optim.SGD, lr=0.2)},
        {"optimiser": partial(torch.optim.Adagrad, lr=0.1)},
        {"schedule": Decay(0.5)},
        {"module": net(seed=9)},
    ],
)
def test_a_checkpoint_of_anything_else_is_not_gone_on_from(tmp_path, capsys, other):
    start = {name: value.clone() for name, value in other["module"].state_dict().items()} if "module" in other else None
    alone, _ = fit(**other)
    with pytest.raises(Cut):
        fit(objective=cut_after(7, loss), checkpoint=tmp_path, save_seconds=0)
    if start is not None:
        other["module"].load_state_dict(start)
        alone = fit(module_of(start))[0]
    again, _ = fit(**other, checkpoint=tmp_path)
    assert same(alone, again)
    assert "belongs to other data or settings: toy starts anew" in capsys.readouterr().err


def module_of(state):
    module = net()
    module.load_state_dict(state)
    return module


def test_a_damaged_checkpoint_is_one_line(tmp_path):
    (tmp_path / CHECKPOINT).write_bytes(b"half of it")
    with pytest.raises(DataError, match="expected a checkpoint, found a damaged file") as error:
        fit(checkpoint=tmp_path)
    assert "\n" not in str(error.value)


def test_what_a_kill_left_half_written_is_removed(tmp_path):
    (tmp_path / f".{CHECKPOINT}.abc.safetensors").write_bytes(b"half")
    fit(checkpoint=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [CHECKPOINT]


def test_gradients_are_switched_on_for_it():
    with torch.no_grad():
        module, _ = fit()
        assert not torch.is_grad_enabled()
    assert same(module, fit()[0])


# trees of tensors


def test_a_tree_comes_back_as_it_was(tmp_path):
    tied = torch.arange(6.0)
    tree = {
        0: (tied, [tied, tied[2:4], torch.zeros(2, 0)], {"a": None, "b": True}),
        "x": {"long name/with.signs": torch.tensor(3), "y": (1, 2.5, float("inf"), "text")},
        "half": torch.ones(2, 3, dtype=torch.bfloat16).T,
    }
    write_tree(tmp_path / "tree", tree)
    again = read_tree(tmp_path / "tree")
    assert again.keys() == tree.keys() and type(again[0]) is tuple and type(again[0][1]) is list
    assert again["x"]["y"] == tree["x"]["y"] and again[0][2] == tree[0][2]
    for a, b in ((again[0][0], tied), (again[0][1][1], tied[2:4]), (again["half"], tree["half"])):
        assert torch.equal(a, b) and a.dtype == b.dtype
    assert again[0][1][2].shape == (2, 0) and int(again["x"]["long name/with.signs"]) == 3
    with pytest.raises(WrongUse, match=r"checkpoint, a.0: expected tensors and plain values .* found object"):
        write_tree(tmp_path / "tree", {"a": [object()]})
    assert torch.equal(read_tree(tmp_path / "tree")[0][0], tied), "the file there stays whole"


def test_trees_are_cut_from_their_graph_and_moved():
    from collections import namedtuple

    weight = torch.ones(2, requires_grad=True)
    found = detach_tree({"a": [weight * 2, (weight * 3, None)]})
    assert not found["a"][0].requires_grad and not found["a"][1][0].requires_grad and found["a"][1][1] is None
    pair = namedtuple("pair", "ids words")(torch.zeros(1), ["a"])
    there = move_tree({"p": pair, "n": [np.ones(1)]}, torch.device("meta"))
    assert there["p"].ids.device.type == "meta" and there["p"].words == ["a"] and isinstance(there["n"][0], np.ndarray)


# truncated back-propagation


class Reader(nn.Module):
    def __init__(self):
        super().__init__()
        self.words, self.lstm, self.out = nn.Embedding(11, 6), nn.LSTM(6, 7, batch_first=True), nn.Linear(7, 11)

    def forward(self, ids, state):
        read, state = self.lstm(self.words(ids), state)
        return self.out(read), state


def reader(seed=0):
    with seed_globals(seed):
        return Reader()


def reading(module, batch, state):
    scores, state = module(batch[:, :-1], state)
    return functional.cross_entropy(scores.transpose(1, 2), batch[:, 1:]), state


def streams(lanes=1):
    return Streams([0, 60, 90, 200], lambda at, generator: torch.from_numpy(TOKENS[at]), 3, 5, lanes)


def test_state_is_carried_without_its_graph():
    module, _ = fit(reader(), streams(), reading, carry=True, epochs=2)
    plain = reader()
    optimiser = torch.optim.SGD(plain.parameters(), lr=0.1)
    for epoch in range(2):
        state = None
        for batch in streams()(epoch, Run("toy").generator(epoch)):
            value, state = reading(plain, batch, state)
            state = tuple(part.detach() for part in state)
            optimiser.zero_grad()
            value.backward()
            optimiser.step()
    assert same(module, plain)
    forgetful, _ = fit(reader(), streams(), lambda m, b, s: reading(m, b, None), carry=True, epochs=2)
    assert not same(module, forgetful)


@pytest.mark.parametrize("lanes", [1, 2])
@pytest.mark.parametrize("steps", [1, 8, 9, 17])
def test_carried_state_is_kept_too(tmp_path, lanes, steps):
    options = {"data": streams(lanes), "carry": True, "epochs": 2}
    whole, history = fit(reader(), objective=reading, **options)
    with pytest.raises(Cut):
        fit(reader(), objective=cut_after(steps, reading), checkpoint=tmp_path, save_seconds=0, **options)
    again, after = fit(reader(), objective=reading, checkpoint=tmp_path, save_seconds=0, **options)
    assert same(whole, again) and after == history


def test_a_state_of_another_kind_is_one_line():
    with pytest.raises(WrongUse, match="carried state: expected tensors in tuples, lists and dictionaries, found set"):
        fit(reader(), streams(), lambda m, b, s: (reading(m, b, None)[0], {1, 2}), carry=True)


# what goes wrong


def test_numbers_that_are_not_finite_name_epoch_and_batch():
    calls = []

    def breaks(module, batch):
        calls.append(0)
        return loss(module, batch) * (float("inf") if len(calls) == 8 else 1)

    with pytest.raises(UmekomiError, match=r"toy: epoch 2, batch 3: expected a finite loss, found inf; slower"):
        fit(objective=breaks, hint="slower")

    class Rooted(nn.Module):
        def __init__(self):
            super().__init__()
            self.root = nn.Parameter(torch.zeros(()))

    def rooted(module, batch):
        return module.root.sqrt()

    with pytest.raises(
        UmekomiError, match=r"epoch 1, batch 1: expected a finite gradient, found inf in 'root'; a smaller"
    ):
        fit(Rooted(), objective=rooted)

    def spoil(module):
        module.layers[4].bias.fill_(float("nan"))

    where = r"epoch 1, batch 5: expected finite weights, found NaN or infinity in 'layers.4.bias'"
    with pytest.raises(UmekomiError, match=where):
        fit(data=lambda e, g: [[0]] * 5, after_step=spoil, objective=constant)


def constant(module, batch):
    return (module.layers[0].weight * 0).sum()


def test_weights_that_are_not_finite_are_never_kept(tmp_path):
    def spoil(module):
        module.layers[4].bias.fill_(float("nan"))

    with pytest.raises(UmekomiError, match="batch 1: expected finite weights"):
        fit(after_step=spoil, objective=constant, checkpoint=tmp_path, save_seconds=0, data=lambda e, g: [[0]] * 3)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"epochs": 0}, "epochs: expected 1 or more, found 0"),
        ({"accumulate": 0}, "accumulate: expected 1 or more, found 0"),
        ({"clip": 0.0}, "clip: expected a number above 0, found 0.0"),
        ({"clip_value": float("nan")}, "clip_value: expected a number above 0, found nan"),
        ({"patience": 2}, "patience: expected a validation"),
        ({"better": "more"}, "better: expected higher or lower, found 'more'"),
        ({"validate": lambda m: float("nan")}, "epoch 1: expected a finite value of validation, found nan"),
        ({"objective": lambda m, b: m(b[0])}, "expected a loss that is a scalar tensor"),
        ({"objective": lambda m, b: torch.zeros(())}, "expected a loss that is a scalar tensor and depends"),
        ({"data": lambda e, g: []}, "epoch 1: expected one batch or more, found none"),
        ({"data": lambda e, g: [[]], "objective": constant}, "batch 1: expected one item or more"),
        ({"module": nn.Module()}, "expected weights to train, found none"),
    ],
)
def test_wrong_use_is_one_line(options, says):
    with pytest.raises(UmekomiError) as error:
        fit(**options)
    assert says in str(error.value) and str(error.value).startswith("toy") and "\n" not in str(error.value)


# several processes, another device

SHARED = """
import sys
import torch
sys.path.insert(0, {tests!r})
torch.set_num_threads(1)
import test_modules
test_modules.shared({place!r}, 1)
"""


def shared(place, accumulate):
    """What one process does with two batches a step, or each of two with one."""
    from accelerate import PartialState
    from safetensors.torch import save_file

    def plain():
        with seed_globals(0):
            return nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Dropout(0.3), nn.Linear(8, 2))

    options = {
        "validate": lambda module: -float(module[0].weight.square().sum()),
        "clip": 0.5,
        "accumulate": accumulate,
        "optimiser": OPTIMISERS["adam"],
        "after_step": lambda module: None,
    }
    module, history = fit(plain(), **options)
    folder = os.path.join(place, "checkpoint")
    with pytest.raises(Cut):
        fit(plain(), checkpoint=folder, save_seconds=0, **{**options, "after_step": cut_after(5, lambda module: None)})
    again, after = fit(plain(), checkpoint=folder, save_seconds=0, **options)
    assert same(module, again) and after == history
    read, reading_history = fit(reader(), streams(2), reading, carry=True, accumulate=accumulate, epochs=2)
    with pytest.raises(Cut):
        fit(
            reader(), streams(2), cut_after(6 * accumulate, reading), f"{folder}-2", carry=True, accumulate=accumulate,
            epochs=2, save_seconds=0,
        )  # fmt: skip
    again, after = fit(
        reader(), streams(2), reading, f"{folder}-2", carry=True, accumulate=accumulate, epochs=2, save_seconds=0
    )
    assert same(read, again) and after == reading_history
    if PartialState().is_main_process:
        tensors = {**module.state_dict(), **read.state_dict()}
        numbers = [*history.losses, *history.values, *reading_history.losses]
        save_file({**tensors, "numbers": torch.tensor(numbers)}, os.path.join(place, "outcome.safetensors"))


def test_two_processes_are_one_that_reads_both_batches(tmp_path):
    from safetensors.torch import load_file

    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    shared(str(tmp_path / "one"), 2)
    script = tmp_path / "script.py"
    script.write_text(SHARED.format(tests=os.path.dirname(__file__), place=str(tmp_path / "two")))
    found = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", str(script)],
        capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, timeout=300, check=False,
    )  # fmt: skip
    assert found.returncode == 0, found.stderr[-3000:]
    one, two = (load_file(tmp_path / name / "outcome.safetensors") for name in ("one", "two"))
    for name, value in one.items():
        torch.testing.assert_close(value, two[name], rtol=1e-6, atol=1e-6)


def test_streams_without_a_lane_for_each_process_are_refused(monkeypatch):
    real = modules._accelerator

    class Two:
        def __init__(self, inner):
            self.inner, self.num_processes = inner, 2

        def __getattr__(self, name):
            return getattr(self.inner, name)

    monkeypatch.setattr(modules, "_accelerator", lambda *given: Two(real(*given)))
    with pytest.raises(WrongUse, match="expected streams in a multiple of 2 lanes, one for each process, found 1"):
        fit(reader(), streams(), reading, carry=True)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_on_a_cuda_device_it_learns_the_same():
    module, history = fit(net(dropout=0.0))
    assert next(module.parameters()).device.type == "cpu" and history.steps == 15


def test_bfloat16_learns_too():
    module, history = fit(net(dropout=0.0), precision="bf16")
    exact, other = fit(net(dropout=0.0))
    assert next(module.parameters()).dtype == torch.float32 and not same(module, exact)
    np.testing.assert_allclose(history.losses, other.losses, rtol=0.05)


def test_batches_by_length_are_learned_from(tmp_path):
    sizes = np.random.default_rng(1).integers(1, 30, 37)
    _, history = fit(linear(), Buckets(sizes, of_rows, 8, 100), checkpoint=tmp_path)
    assert history.losses[-1] < history.losses[0] and (tmp_path / CHECKPOINT).is_file()


def test_progress_counts_items(capsys, monkeypatch):
    shown = []
    monkeypatch.setattr("umekomi.progress.Progress.advance", lambda self, by: shown.append((self.total, self.unit, by)))
    learn(net(), batches(), loss, run=Run("toy", progress=True), key="", epochs=2, optimiser=SGD, unit="points")
    assert sum(by for *_, by in shown) == 74 and {(total, unit) for total, unit, _ in shown} == {(74, "points")}


def test_a_sentence_encoder_from_its_parts(tmp_path):
    """What a recipe writes: is the first word above the last? A task that needs the order."""
    generator = np.random.default_rng(0)
    sentences = [generator.integers(1, 9, length) for length in generator.integers(3, 12, 400)]
    labels = np.array([sentence[0] > sentence[-1] for sentence in sentences], np.int64)

    class Encoder(nn.Module):
        def __init__(self):
            super().__init__()
            self.words = nn.Embedding(9, 16, padding_idx=0)
            self.reader = Recurrent(16, 32, directions="both")
            self.head = nn.Linear(64, 2)

        def forward(self, ids, lengths):
            return self.head(self.reader(self.words(ids), lengths).last)

    def make(rows, generator):
        ids = nn.utils.rnn.pad_sequence([torch.from_numpy(sentences[row]) for row in rows], batch_first=True)
        return ids, torch.tensor([len(sentences[row]) for row in rows]), torch.from_numpy(labels[rows])

    def judged(module):
        ids, lengths, classes = make(np.arange(320, 400), generator)
        return float((module(ids, lengths).argmax(1) == classes).float().mean())

    with seed_globals(0):
        encoder = Encoder()
    history = learn(
        encoder,
        Buckets([len(sentence) for sentence in sentences[:320]], make, batch_size=32, tokens=320),
        lambda module, batch: functional.cross_entropy(module(*batch[:2]), batch[2]),
        run=Run("above-last", seed=0, checkpoint=tmp_path),
        key="toy",
        epochs=8,
        optimiser=partial(torch.optim.Adam, lr=0.01),
        schedule=Plateau(divide=2),
        clip=5.0,
        validate=judged,
        patience=4,
    )
    assert history.best is not None and max(history.values) > 0.8
    with torch.no_grad():
        assert judged(encoder) == max(history.values)
