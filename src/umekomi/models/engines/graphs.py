"""ONNX graphs that are put together here, node by node: where no exporter has them, or has them slower."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from umekomi.errors import MissingExtra

if TYPE_CHECKING:
    from umekomi.contracts import Floats

ALL = np.iinfo(np.int32).max
"""Behind the last row, whichever that is."""


def check_onnx() -> None:
    """The error where the package onnx is not there."""
    try:
        import onnx  # noqa: F401
    except ImportError:
        raise MissingExtra("onnx", "onnx", "exporting to ONNX") from None


class Nodes:
    """Nodes and constants of a graph; the name of each begins with ``prefix``."""

    def __init__(self, prefix: str = "") -> None:
        self.prefix = prefix
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def add(self, kind: str, *inputs: str, outputs: Sequence[str] = (), **attributes: Any) -> str:
        """A node; the name of its (first) output."""
        from onnx import helper

        names = list(outputs) or [f"{self.prefix}{kind}{len(self.nodes)}"]
        self.nodes.append(helper.make_node(kind, list(inputs), names, name=f"{names[0]}_node", **attributes))
        return names[0]

    def constant(self, value: Any, kind: Any = np.float32) -> str:
        """An array that is always the same; its name."""
        from onnx import numpy_helper

        name = f"{self.prefix}constant{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(value, kind), name))
        return name

    def clipped(self, name: str, bound: float | None) -> str:
        """Within ± ``bound``, where there is one."""
        return name if bound is None else self.add("Clip", name, self.constant(-bound), self.constant(bound))

    def filled(self, batch: str, width: int, value: float = 0.0) -> str:
        """``[batch, width]`` of one value; ``batch`` is int64 ``[1]``."""
        from onnx import numpy_helper

        shape = self.add("Concat", batch, self.constant([width], np.int64), axis=0)
        return self.add("ConstantOfShape", shape, value=numpy_helper.from_array(np.array([value], np.float32)))

    def body(self, name: str, inputs: Sequence[tuple[str, int | None]], outputs: Sequence[tuple[str, int]]) -> Any:
        """These nodes as the body of a loop: (name, width) of each float32 ``[batch, width]``; None: int64 ``[1]``."""
        from onnx import TensorProto, helper

        def value(name: str, width: int | None) -> Any:
            if width is None:
                return helper.make_tensor_value_info(name, TensorProto.INT64, [1])
            return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", width])

        given, made = [value(*each) for each in inputs], [value(*each) for each in outputs]
        return helper.make_graph(self.nodes, name, given, made, self.constants)

    def model(self, inputs: Sequence[Any], dimension: int) -> bytes:
        """These nodes as a model, whose output ``sentence_embedding`` is ``[batch, dimension]``."""
        from onnx import TensorProto, helper

        output = helper.make_tensor_value_info("sentence_embedding", TensorProto.FLOAT, ["batch", dimension])
        graph = helper.make_graph(self.nodes, "sentences", list(inputs), [output], self.constants)
        proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        return bytes(proto.SerializeToString())


def ids_input(name: str) -> Any:
    """An input int64 ``[batch, tokens]``."""
    from onnx import TensorProto, helper

    return helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "tokens"])


# --- a recurrent layer under a pooling --------------------------------------------------------------------------------


class Direction(NamedTuple):
    """Weights of an LSTM (``gates`` 4) or a GRU (3) in one direction as torch has them: ``of_input`` ``[gates · width,
    inputs]``, ``of_h`` ``[gates · width, width]``, a bias of each; ``backward`` from the last word to the first."""

    of_input: Floats
    of_h: Floats
    input_bias: Floats
    h_bias: Floats
    backward: bool


def pooled_graph(table: Floats, sides: Sequence[Direction], pooling: Literal["last", "mean", "max"]) -> bytes:
    """Word vectors ``table`` ``[words, inputs]`` under one layer, its directions side by side, and the last of their
    states, the mean or the maximum over a text's own words; zero for a text without a word.

    A step is the body of a Scan that pools as it goes: no state is kept. It computes what stands there alone: texts are
    sorted by length, and a step takes as many of the first as are that long, so that padding costs nothing.
    """
    from onnx import TensorProto

    outer = Nodes()
    lengths = outer.add("ReduceSum", "attention_mask", outer.constant([1], np.int64), keepdims=0)
    batch = outer.add("Shape", lengths)
    outer.add("TopK", lengths, batch, outputs=["sorted", "order"], axis=0)
    ids = outer.add("Transpose", outer.add("Gather", "input_ids", "order", axis=0), perm=[1, 0])
    words = outer.add("Gather", outer.constant(table), ids)  # [time, batch, inputs]
    sizes = outer.add("ReduceSum", outer.add("Transpose", "attention_mask", perm=[1, 0]), outer.constant([1], np.int64))
    width = sides[0].of_h.shape[1]
    ends = []
    for number, side in enumerate(sides):
        body, states = _pooled_step(f"side{number}_", side, pooling)
        names = [f"end{number}_{state}" for state in range(states)]
        start = [outer.filled(batch, width) for _ in range(states)]
        if pooling == "max":
            start[-1] = outer.filled(batch, width, float(np.finfo(np.float32).min))
        turned = [int(side.backward)] * 2
        outer.add(
            "Scan", *start, sizes, words, outputs=names, body=body, num_scan_inputs=2, scan_input_directions=turned
        )
        ends.append(names[0 if pooling == "last" else -1])
    whole = outer.add("Concat", *ends, axis=1)
    count = outer.add("Unsqueeze", outer.add("Cast", "sorted", to=TensorProto.FLOAT), outer.constant([1], np.int64))
    if pooling == "mean":
        whole = outer.add("Div", whole, outer.add("Max", count, outer.constant([1.0])))
    elif pooling == "max":
        whole = outer.add("Mul", whole, outer.add("Min", count, outer.constant([1.0])))
    back = outer.add("ScatterElements", "order", "order", outer.add("Range", *_range(outer, batch)), axis=0)
    outer.add("Gather", whole, back, outputs=["sentence_embedding"], axis=0)
    return outer.model([ids_input("input_ids"), ids_input("attention_mask")], width * len(sides))


def _range(nodes: Nodes, batch: str) -> tuple[str, str, str]:
    """What a Range from 0 to ``batch`` takes."""
    return nodes.constant(0, np.int64), nodes.add("Squeeze", batch), nodes.constant(1, np.int64)


def _pooled_step(prefix: str, side: Direction, pooling: str) -> tuple[Any, int]:
    """(a step as the body of a Scan, how many states it has): h, the cells of an LSTM, what is pooled. It reads how
    many texts have a word there, and the words."""
    body = Nodes(prefix)
    inputs, width = side.of_input.shape[1], side.of_h.shape[1]
    names = [f"{prefix}h", *([f"{prefix}c"] if len(side.of_h) == 4 * width else [])]
    names += [f"{prefix}pooled"] if pooling != "last" else []
    size, zero, end = f"{prefix}size", body.constant([0], np.int64), body.constant([ALL], np.int64)

    def first(name: str) -> str:
        return body.add("Slice", name, zero, size, zero)

    x, h, *rest = (first(name) for name in (f"{prefix}words", *names))
    both = body.add("Concat", x, h, axis=1)
    joined = np.concatenate([side.of_input, side.of_h], 1)

    def gate(squash: str, number: int) -> str:
        rows = slice(number * width, (number + 1) * width)
        bias = body.constant(side.input_bias[rows] + side.h_bias[rows])
        return body.add(squash, body.add("Gemm", both, body.constant(joined[rows].T), bias))

    if len(side.of_h) == 4 * width:
        i, f, g, o = (gate(squash, number) for number, squash in enumerate(("Sigmoid", "Sigmoid", "Tanh", "Sigmoid")))
        cells = body.add("Add", body.add("Mul", f, rest[0]), body.add("Mul", i, g))
        new = [body.add("Mul", o, body.add("Tanh", cells)), cells]
    else:
        last = slice(2 * width, 3 * width)
        r, z = gate("Sigmoid", 0), gate("Sigmoid", 1)
        own, other = (
            body.add("Gemm", given, body.constant(matrix[last].T), body.constant(bias[last]))
            for given, matrix, bias in ((x, side.of_input, side.input_bias), (h, side.of_h, side.h_bias))
        )
        n = body.add("Tanh", body.add("Add", own, body.add("Mul", r, other)))
        new = [body.add("Add", n, body.add("Mul", z, body.add("Sub", h, n)))]
    if pooling != "last":
        new.append(body.add("Max" if pooling == "max" else "Add", rest[-1], new[0]))
    outputs = [
        body.add("Concat", state, body.add("Slice", name, size, end, zero), axis=0)
        for state, name in zip(new, names, strict=True)
    ]
    given = [*((name, width) for name in names), (size, None), (f"{prefix}words", inputs)]
    return body.body(f"{prefix}step", given, [(name, width) for name in outputs]), len(names)
