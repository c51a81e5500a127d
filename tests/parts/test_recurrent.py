"""Recurrent layers, beside slow loops in NumPy and torch's own."""

import itertools

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from umekomi.errors import UmekomiError
from umekomi.parts.layers import products, recurrent
from umekomi.parts.layers.products import Product
from umekomi.parts.layers.recurrent import Packing, Recurrent, Steps, lengths_of

LENGTHS = torch.tensor([4, 0, 7, 1, 7, 2])
INPUTS, TIME = 3, 8


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def array(tensor):
    return tensor.detach().numpy().astype(np.float64)


def slow_lstm(weights, vectors, h, c, cell_clip, projection_clip):
    """One sequence, in the order given: the outputs and the last h and c."""
    of_input, of_h, b1, b2, mapped = weights
    outputs = []
    for x in vectors:
        i, f, g, o = np.split(of_input @ x + b1 + of_h @ h + b2, 4)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        if cell_clip:
            c = np.clip(c, -cell_clip, cell_clip)
        h = sigmoid(o) * np.tanh(c)
        if mapped is not None:
            h = mapped @ h
            if projection_clip:
                h = np.clip(h, -projection_clip, projection_clip)
        outputs.append(h)
    return outputs, h, c


def slow_gru(weights, vectors, h):
    of_input, of_h, b1, b2, _ = weights
    outputs = []
    for x in vectors:
        r1, z1, n1 = np.split(of_input @ x + b1, 3)
        r2, z2, n2 = np.split(of_h @ h + b2, 3)
        z = sigmoid(z1 + z2)
        h = (1 - z) * np.tanh(n1 + sigmoid(r1 + r2) * n2) + z * h
        outputs.append(h)
    return outputs, h


def slow(layer, vectors, lengths, state):
    """Every sequence alone, every step by itself: the outputs of each layer, the last outputs, and the state."""
    suffixes = ("", "_reverse") if layer.directions == "both" else ("",)
    batch, time, _ = vectors.shape
    layers = [np.zeros((batch, time, layer.dimension)) for _ in layer.cells]
    last = np.zeros((batch, layer.dimension))
    state = [array(part) for part in state]
    for row in range(batch):
        length, read = int(lengths[row]), array(vectors[row])[: int(lengths[row])]
        for number, cell in enumerate(layer.cells):
            sides = []
            for side, suffix in enumerate(suffixes):
                names = ["weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"]
                weights = [array(getattr(cell, name + suffix)) for name in names]
                mapped = getattr(cell, f"weight_hr_l0{suffix}", None)
                weights.append(None if mapped is None else array(mapped))
                backward = layer.directions == "backward" or side == 1
                given = read[::-1] if backward else read
                at = number * len(suffixes) + side
                if layer.cell == "gru":
                    outputs, state[0][at, row] = slow_gru(weights, given, state[0][at, row])
                else:
                    outputs, state[0][at, row], state[1][at, row] = slow_lstm(
                        weights, given, state[0][at, row], state[1][at, row], layer.cell_clip, layer.projection_clip
                    )
                sides.append(outputs[::-1] if backward else outputs)
            made = np.array([np.concatenate(step) for step in zip(*sides, strict=True)]).reshape(
                length, layer.dimension
            )
            read = read + made if layer.residual and number and length else made
            layers[number][row, :length] = read
        if length:
            width = layer.step_width
            if layer.directions == "forward":
                last[row] = read[-1]
            elif layer.directions == "backward":
                last[row] = read[0]
            else:
                last[row] = np.concatenate([read[-1, :width], read[0, width:]])
    return layers, last, state


CASES = [
    {"cell": cell, "directions": directions, "layers": layers, "residual": residual, **more}
    for cell, directions, (layers, residual), more in itertools.product(
        ("lstm", "gru"),
        ("forward", "backward", "both"),
        ((1, False), (3, True)),
        ({}, {"cell_clip": 0.2}, {"projection": 2}, {"projection": 2, "cell_clip": 0.2, "projection_clip": 0.05}),
    )
    if cell == "lstm" or not more
]
EXACT = pytest.mark.parametrize("case", CASES, ids=lambda case: "-".join(str(value) for value in case.values()))


def made(case, dtype=torch.float64, width=5):
    torch.manual_seed(3)
    return Recurrent(INPUTS, width, **case).to(dtype)


def inputs(layer, dtype=torch.float64):
    generator = torch.Generator().manual_seed(1)
    vectors = torch.randn(len(LENGTHS), TIME, INPUTS, generator=generator, dtype=dtype)
    state = tuple(
        0.1 * torch.randn(part.shape, generator=generator, dtype=dtype)
        for part in layer.zero_state(vectors, len(LENGTHS))
    )
    vectors[torch.arange(TIME) >= LENGTHS[:, None]] = float("nan")  # what stands behind a sequence is never read
    return vectors, state


@EXACT
@pytest.mark.parametrize("graph", [True, False])
def test_it_is_a_slow_loop(case, graph):
    layer = made(case)
    vectors, state = inputs(layer)
    with torch.set_grad_enabled(graph):
        for begin in (None, state):
            read = layer(vectors, LENGTHS, begin, all_layers=True)
            layers, last, end = slow(layer, vectors, LENGTHS, begin or layer.zero_state(vectors, len(LENGTHS)))
            for ours, theirs in zip(read.layers, layers, strict=True):
                np.testing.assert_allclose(array(ours), theirs, rtol=1e-12, atol=1e-14)
            assert read.outputs is read.layers[-1]
            np.testing.assert_allclose(array(read.last), last, rtol=1e-12, atol=1e-14)
            for ours, theirs in zip(read.state, end, strict=True):
                np.testing.assert_allclose(array(ours), theirs, rtol=1e-12, atol=1e-14)
    for name, part in (("cell_clip", 1), ("projection_clip", 0)):
        if name in case:  # it is reached, and it makes a difference
            assert float(read.state[part][:, LENGTHS > 0].abs().max()) <= case[name] + 1e-12
            free = Recurrent(INPUTS, 5, **{**case, name: None}).double()
            free.load_state_dict(layer.state_dict())
            assert not torch.allclose(free(vectors, LENGTHS, state).outputs, read.outputs)


@EXACT
def test_gradients_are_those_of_small_steps(case):
    layer = made(case, width=3)
    lengths = torch.tensor([3, 0, 1])
    vectors = torch.randn(3, 3, INPUTS, dtype=torch.float64, requires_grad=True)
    state = tuple((0.1 * torch.randn_like(part)).requires_grad_(True) for part in layer.zero_state(vectors.detach(), 3))
    names = [name for name, _ in layer.named_parameters()]

    def run(vectors, *rest):
        weights = dict(zip(names, rest[len(state) :], strict=True))
        read = torch.func.functional_call(layer, weights, (vectors, lengths, rest[: len(state)]), {"all_layers": True})
        return (*read.layers, read.last, *read.state)

    weights = [weight.detach().clone().requires_grad_(True) for weight in layer.parameters()]
    fast = case["layers"] > 1 or case["directions"] == "both"  # one random direction instead of every number
    assert torch.autograd.gradcheck(run, (vectors, *state, *weights), fast_mode=fast)


@pytest.mark.parametrize(("cell", "projection"), [("lstm", None), ("lstm", 4), ("gru", None)])
@pytest.mark.parametrize("both", [False, True])
def test_it_is_torchs_own(cell, projection, both):
    layer = made(
        {"cell": cell, "projection": projection, "directions": "both" if both else "forward"}, torch.float32, 9
    )
    own = layer.cells[0]
    lengths = LENGTHS[LENGTHS > 0]
    vectors = torch.randn(len(lengths), 7, INPUTS)
    packed = pack_padded_sequence(vectors, lengths, batch_first=True, enforce_sorted=False)
    theirs, state = own(packed)
    theirs, _ = pad_packed_sequence(theirs, batch_first=True)
    weight = torch.randn(theirs.shape)
    (theirs * weight).sum().backward()
    gradients = [parameter.grad.clone() for parameter in own.parameters()]
    own.zero_grad()
    read = layer(vectors, lengths)
    (read.outputs * weight).sum().backward()
    torch.testing.assert_close(read.outputs, theirs)
    for ours, part in zip(read.state, state if cell == "lstm" else (state,), strict=True):
        torch.testing.assert_close(ours, part)
    for parameter, gradient in zip(own.parameters(), gradients, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("directions", ["forward", "backward", "both"])
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_torchs_kernels_give_the_same_where_they_are_used(cell, directions, monkeypatch):
    layer = made({"cell": cell, "directions": directions, "layers": 2, "residual": True})
    vectors, state = inputs(layer)
    own = layer(vectors, LENGTHS, state)
    monkeypatch.setattr(Recurrent, "_layer", lambda layer, *given: layer._by_torch(*given[:4]))
    theirs = layer(vectors, LENGTHS, state)
    for ours, part in zip(
        (own.outputs, own.last, *own.state), (theirs.outputs, theirs.last, *theirs.state), strict=True
    ):
        torch.testing.assert_close(ours, part)


@pytest.mark.parametrize("case", [{}, {"cell": "gru"}, {"projection": 3, "cell_clip": 0.2, "projection_clip": 0.1}])
def test_matrices_laid_out_once_give_the_same(case, monkeypatch):
    if not products._has_onednn():
        pytest.skip("this torch has no oneDNN")
    monkeypatch.setattr(products, "PACKED_NUMBERS", 1)
    layer = Recurrent(5, 24, directions="both", **case)
    generator = torch.Generator().manual_seed(3)
    lengths = torch.randint(0, 9, (700,), generator=generator)  # of the first step there are some 600 rows, then fewer
    vectors = torch.randn(700, 8, 5, generator=generator)
    laid_out = []
    monkeypatch.setattr(recurrent, "Product", lambda *given: laid_out.append(Product(*given)) or laid_out[-1])

    def run(learn):
        layer.zero_grad()
        given = vectors.clone().requires_grad_(learn)
        with torch.set_grad_enabled(learn):
            found = layer(given, lengths)
        if learn:
            (found.outputs.square().sum() + found.last.sum()).backward()
        slopes = [given.grad, *(weight.grad for weight in layer.parameters())] if learn else []
        return [found.outputs.detach(), *(each.detach() for each in found.state)], [slope.clone() for slope in slopes]

    for learn in (False, True):
        monkeypatch.setattr(products, "PACKED_ROWS", 1 << 60)
        want = run(learn)
        assert all(each._packed is None for each in laid_out)
        laid_out.clear()
        monkeypatch.setattr(products, "PACKED_ROWS", 512)
        found = run(learn)
        assert laid_out and all(each._packed is not None for each in laid_out)
        laid_out.clear()
        for one, other in zip(found[0], want[0], strict=True):
            torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)
        for one, other in zip(found[1], want[1], strict=True):
            torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5 * float(other.abs().max()))


@pytest.mark.parametrize("rows", [1, 3, 48, 49, 100, 255, 256, 257, 900])
def test_a_layout_serves_any_number_of_rows(rows, monkeypatch):
    monkeypatch.setattr(products, "PACKED_NUMBERS", 1)
    generator = torch.Generator().manual_seed(0)
    weight, x = torch.randn(130, 70, generator=generator), torch.randn(rows, 70, generator=generator)
    product, bias = Product(weight, 1 << 20), torch.randn(130, generator=generator)
    there = torch.randn(rows, 130, generator=generator)
    want = x.double() @ weight.double().t()
    for call, wanted in (
        (lambda to: product.add(x, to), want + there),
        (lambda to: product.put(x, to), want),
        (lambda to: product.put(x, to, bias), want + bias),
        (lambda to: to.copy_(product.of(x, bias)), want + bias),
    ):
        to = there.clone()
        call(to)
        torch.testing.assert_close(to.double(), wanted, rtol=1e-5, atol=1e-4)


@EXACT
def test_a_vector_does_not_depend_on_its_batch(case):
    layer = made(case, torch.float32, width=64).eval()
    generator = torch.Generator().manual_seed(1)
    lengths = torch.randint(0, 40, (50,), generator=generator)
    vectors = torch.randn(50, 40, INPUTS, generator=generator)
    with torch.no_grad():
        together = layer(vectors, lengths).last
        alone = torch.cat([layer(vectors[i : i + 1, : lengths[i]], lengths[i : i + 1]).last for i in range(50)])
        turned = layer(vectors.flip(0), lengths.flip(0)).last.flip(0)
    scale = together.norm(dim=1).clamp(min=1e-9)
    assert float(((together - alone).norm(dim=1) / scale).max()) < 1e-5
    assert float(((together - turned).norm(dim=1) / scale).max()) < 1e-5
    assert not together[lengths == 0].any() and together[lengths > 0].any(1).all()


@EXACT
def test_in_pieces_it_is_the_same(case, monkeypatch):
    layer = made(case)
    vectors, state = inputs(layer)
    with torch.no_grad():
        whole = layer(vectors, LENGTHS, state)
        for rows in (1, 7):
            monkeypatch.setattr(recurrent, "ROWS", rows)
            pieces = layer(vectors, LENGTHS, state)
            torch.testing.assert_close(pieces.outputs, whole.outputs)
            torch.testing.assert_close(pieces.state, whole.state)


def test_pieces_cover_all_steps_in_order():
    packing = Packing(LENGTHS, TIME, torch.device("cpu"))
    assert packing.sizes == [5, 4, 3, 3, 2, 2, 2] and packing.starts[-1] == packing.rows == 21
    for backward in (False, True):
        steps = Steps(packing, backward, None, None)
        for most in (1, 5, 8, 100):
            pieces = list(steps.pieces(most))
            assert [step for piece, _, _ in pieces for step in piece] == list(steps.order())
            assert all(high - low == sum(packing.sizes[step] for step in piece) for piece, low, high in pieces)
            assert all(high - low <= most or len(piece) == 1 for piece, low, high in pieces)


@pytest.mark.parametrize("lengths", [LENGTHS, LENGTHS * 0, torch.tensor([], dtype=torch.int64), torch.tensor([8])])
def test_packing_is_a_slow_loop(lengths):
    packing = Packing(lengths, TIME, torch.device("cpu"))
    padded = torch.arange(len(lengths) * TIME * 2.0).view(len(lengths), TIME, 2) + 1
    order = sorted((row for row in range(len(lengths)) if lengths[row]), key=lambda row: -int(lengths[row]))
    assert packing.order.tolist() == order
    expected = [(row, step) for step in range(TIME) for row in order if step < lengths[row]]
    assert packing.pack(padded).tolist() == [padded[place].tolist() for place in expected]
    unpacked = packing.unpack(packing.pack(padded), len(lengths), TIME)
    mask = torch.arange(TIME) < lengths[:, None]
    assert torch.equal(unpacked, padded * mask[:, :, None])
    turned = [expected.index((row, int(lengths[row]) - 1 - step)) for row, step in expected]
    assert packing.turned.tolist() == turned
    for backward, step_on in ((False, -1), (True, 1)):
        before = [
            expected.index((row, step + step_on))
            if (row, step + step_on) in expected
            else len(expected) + order.index(row)
            for row, step in expected
        ]
        assert packing.before(backward).tolist() == before


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_state_is_carried(cell):
    layer = made({"cell": cell, "layers": 2, "residual": True})
    vectors = torch.randn(3, 9, INPUTS, dtype=torch.float64)
    whole = layer(vectors, torch.tensor([9, 9, 4]))
    first = layer(vectors[:, :4], torch.tensor([4, 4, 4]))
    second = layer(vectors[:, 4:], torch.tensor([5, 5, 0]), first.state)
    torch.testing.assert_close(torch.cat([first.outputs, second.outputs], 1), whole.outputs)
    torch.testing.assert_close(second.state, whole.state)
    (second.outputs.sum() + second.state[0].sum()).backward()
    assert all(weight.grad.abs().sum() > 0 for weight in layer.parameters())


@pytest.mark.parametrize("directions", ["forward", "backward"])
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_a_condition_is_as_if_it_stood_beside_every_input(cell, directions):
    torch.manual_seed(0)
    layer = Recurrent(INPUTS, 5, cell=cell, layers=2, directions=directions, condition=4).double()
    beside = Recurrent(INPUTS + 4, 5, cell=cell, layers=2, directions=directions).double()
    weights = layer.state_dict()
    said = weights.pop("condition.weight")
    weights["cells.0.weight_ih_l0"] = torch.cat([weights["cells.0.weight_ih_l0"], said], 1)
    beside.load_state_dict(weights)
    vectors = torch.randn(len(LENGTHS), TIME, INPUTS, dtype=torch.float64, requires_grad=True)
    condition = torch.randn(len(LENGTHS), 4, dtype=torch.float64, requires_grad=True)
    own = layer(vectors, LENGTHS, said=layer.said_by(condition))
    joined = torch.cat([vectors, condition.unsqueeze(1).expand(-1, TIME, -1)], 2)
    other = beside(joined, LENGTHS)
    torch.testing.assert_close(own.outputs, other.outputs)
    share = torch.randn_like(own.outputs)
    ours = torch.autograd.grad((own.outputs * share).sum(), [condition, vectors, layer.condition.weight])
    theirs = torch.autograd.grad((other.outputs * share).sum(), [condition, vectors, beside.cells[0].weight_ih_l0])
    for one, two in zip(ours, (*theirs[:2], theirs[2][:, INPUTS:]), strict=True):
        torch.testing.assert_close(one, two)


@pytest.mark.parametrize(
    "settings",
    [{}, {"cell": "gru", "condition": 4}, {"layers": 2, "residual": True, "condition": 4},
     {"projection": 3, "cell_clip": 0.3, "projection_clip": 0.1}],
)  # fmt: skip
def test_single_steps_are_the_reading(settings):
    torch.manual_seed(1)
    layer = Recurrent(INPUTS, 5, **settings).eval()
    vectors, lengths = torch.randn(3, 6, INPUTS), torch.tensor([6, 6, 6])
    condition = torch.randn(3, 4) if "condition" in settings else None
    with torch.no_grad():
        read = layer(vectors, lengths, said=layer.said_by(condition))
        state, said = layer.zero_state(vectors, 3), layer.said_by(condition)
        for time in range(6):
            out, state = layer.step(vectors[:, time], state, said)
            torch.testing.assert_close(out, read.outputs[:, time])
    torch.testing.assert_close(state, read.state)


def test_dropout_stands_between_layers_in_training_only():
    layer = made({"layers": 2, "dropout": 0.5})
    vectors, _ = inputs(layer)
    torch.manual_seed(0)
    dropped = layer(vectors, LENGTHS, all_layers=True)
    layer.eval()
    plain = layer(vectors, LENGTHS, all_layers=True)
    torch.testing.assert_close(dropped.layers[0], plain.layers[0])
    assert not torch.allclose(dropped.outputs, plain.outputs)
    torch.testing.assert_close(made({"layers": 2})(vectors, LENGTHS).outputs, plain.outputs)


def test_nothing_to_read():
    layer = made({"directions": "both"}, torch.float32)
    read = layer(torch.zeros(2, 0, INPUTS), torch.tensor([0, 0]))
    assert read.outputs.shape == (2, 0, 10) and not read.last.any() and read.state[0].shape == (2, 2, 5)
    assert layer(torch.zeros(0, 4, INPUTS), torch.tensor([], dtype=torch.int64)).last.shape == (0, 10)


def test_weights_keep_torchs_names_and_reduced_precision_works():
    layer = Recurrent(4, 6, layers=2, directions="both", projection=3)
    reference = nn.LSTM(4, 6, proj_size=3, bidirectional=True)
    assert layer.cells[0].state_dict().keys() == reference.state_dict().keys()
    with torch.autocast("cpu", torch.bfloat16):
        read = layer(torch.randn(2, 5, 4), torch.tensor([5, 2]))
    assert read.outputs.dtype == torch.float32
    read.outputs.sum().backward()


def test_lengths_of_a_mask():
    mask = torch.tensor([[1, 1, 0], [0, 0, 0], [1, 1, 1]])
    assert lengths_of(mask).tolist() == [2, 0, 3]
    for wrong in ([[0, 1, 1]], [[1, 0, 1]]):
        with pytest.raises(UmekomiError, match="expected padding behind each sequence"):
            lengths_of(torch.tensor(wrong))


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Recurrent(3, 4, cell="rnn"), "cell: expected lstm or gru, found 'rnn'"),
        (lambda: Recurrent(3, 4, directions="left"), "directions: expected forward, backward or both, found 'left'"),
        (lambda: Recurrent(3, 0), "width: expected 1 or more, found 0"),
        (lambda: Recurrent(3, 4, layers=0), "layers: expected 1 or more"),
        (lambda: Recurrent(3, 4, cell="gru", projection=2), "expected an lstm"),
        (lambda: Recurrent(3, 4, projection_clip=3), "expected a projection, found none"),
        (lambda: Recurrent(3, 4, projection=4), "projection: expected less than the width 4, found 4"),
        (lambda: Recurrent(3, 4, directions="both", condition=2), "condition: expected one direction, found both"),
        (
            lambda: Recurrent(3, 4)(torch.zeros(1, 2, 3), torch.tensor([2]), said=torch.zeros(1, 16)),
            "expected no condition, found one",
        ),
        (
            lambda: Recurrent(3, 4, condition=2)(torch.zeros(1, 2, 3), torch.tensor([2])),
            "expected a condition, found none",
        ),
        (lambda: Recurrent(3, 4, cell_clip=-1), "cell_clip: expected a number above 0, found -1"),
        (lambda: Recurrent(3, 4)(torch.zeros(1, 2, 3), torch.tensor([3])), "expected lengths of 0 to 2, found 3 to 3"),
        (lambda: Recurrent(3, 4)(torch.zeros(1, 2, 3), torch.tensor([-1])), "expected lengths of 0 to 2, found -1"),
        (lambda: Recurrent(3, 4)(torch.zeros(1, 2, 3), torch.tensor([1, 1])), "expected 1 lengths, found shape (2,)"),
        (
            lambda: Recurrent(3, 4)(torch.zeros(2, 2, 3), torch.tensor([1, 1]), (torch.zeros(1, 1, 4),) * 2),
            "state: expected shapes [(1, 2, 4), (1, 2, 4)], found [(1, 1, 4), (1, 1, 4)]",
        ),
    ],
)
def test_wrong_use_is_one_line(make, says):
    with pytest.raises(UmekomiError) as error:
        make()
    assert says in str(error.value) and "\n" not in str(error.value)


def test_a_small_step_is_one_threads(monkeypatch):
    """With two threads a loop of small products took 170 times the processor's time where another process computed."""
    seen = []
    true = recurrent.Product.add

    def add(self, x, to):
        seen.append(torch.get_num_threads())
        true(self, x, to)

    monkeypatch.setattr(recurrent.Product, "add", add)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        for width, rows, threads in ((16, 3, 1), (256, 1, 1), (256, 16, 2), (520, 1, 2)):
            layer = Recurrent(4, width)
            seen.clear()
            with torch.no_grad():
                layer(torch.randn(rows, 2, 4), torch.full((rows,), 2))
            assert set(seen) == {threads}, width
            assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
