"""The ONNX graph of a GGUF file's network: token ids and mask in, finished vectors out, its weights still in blocks.

Quantized matrices stand in ONNX Runtime's ``MatMulNBits`` (codes of four or eight bits, a scale for each block), exact:
what it multiplies is what the blocks say. A block's minimum (Q4_1, Q5_1, Q4_K, Q5_K) is a product of its own with the
sums of the numbers that meet the block, a thirty-second of the work. The token table stays in codes, of which a text's
rows are taken.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from umekomi.errors import DataError, MissingExtra, WrongUse
from umekomi.models.engines.gguf.blocks import FLOATS, Codes, codes, expand

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from umekomi.models.engines.gguf.header import Gguf, Tensor
    from umekomi.models.engines.gguf.shape import Shape

MICROSOFT = "com.microsoft"
OPSET = 20
EXACT, ROUNDED = 1, 4
"""``accuracy_level``: float32 products, or activations rounded to eight bits, a scale for each block of them."""
IGNORED = ("output.weight",)
"""Tensors that make no vectors."""
SLOWED = ("llama", "qwen2", "qwen3")
SPEEDS = "rope_freqs.weight"
"""What each speed of the rotation is divided by: a tensor that files of these may have, as those of Llama 3 do."""
LEAST_BLOCK = 16
ALIGNMENT = 64
"""Bytes, at whose multiples arrays begin in a file of weights."""
HIDDEN = -3.0e38
FAR = -1.0e30
"""What hides a token from another: where it is a bias it is added to."""


def build(file: Gguf, shape: Shape, *, exact: bool = False) -> tuple[bytes, dict[str, NDArray[Any]]]:
    """(the graph without its large weights, these by name). ``exact``: products in float32; else activations meet
    quantized weights in eight bits, as llama.cpp rounds them, too.

    Raises:
        DataError: for a tensor that is missing, has another shape, or is none of this architecture's.
    """
    graph = _Graph(file, shape, exact)
    return graph.finished(), graph.weights


def build_portable(file: Gguf, shape: Shape, store: Path | None = None) -> bytes:
    """The graph in the standard's operators alone, for OpenVINO: a matrix is ``(code - zero) · scale``, which it
    multiplies without expanding it. ``store``: the file in which the large weights are put, one after the other; the
    graph expects it beside itself. Without it they are within the graph.

    Raises:
        DataError: as by :func:`build`.
    """
    if store is None:
        return _Portable(file, shape).finished()
    with store.open("wb") as stream:
        return _Portable(file, shape, stream).finished()


class _Graph:
    def __init__(self, file: Gguf, shape: Shape, exact: bool) -> None:
        try:
            from onnx import ModelProto, TensorProto, helper
        except ImportError:
            raise MissingExtra("onnx", "gguf", f"running {file.path.name}") from None
        self.helper, self.types, self.model = helper, TensorProto, ModelProto()
        self.file, self.shape, self.exact = file, shape, exact
        self.nodes: list[Any] = []
        self.small: list[Any] = []
        self.weights: dict[str, NDArray[Any]] = {}
        self.used: set[str] = {SPEEDS} if shape.architecture in SLOWED else set()
        self.count = 0
        self.known: dict[Any, str] = {}

    # --- nodes and constants ------------------------------------------------------------------------------------------

    def node(self, kind: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        """A node with one output, whose name is given."""
        self.count += 1
        name = f"{kind}_{self.count}"
        self.nodes.append(self.helper.make_node(kind, list(inputs), [name], name=name, domain=domain, **attributes))
        return name

    def several(self, kind: str, outputs: int, *inputs: str, domain: str = "", **attributes: Any) -> list[str]:
        self.count += 1
        names = [f"{kind}_{self.count}_{each}" for each in range(outputs)]
        self.nodes.append(self.helper.make_node(kind, list(inputs), names, name=names[0], domain=domain, **attributes))
        return names

    def constant(self, value: Any, kind: Any = np.float32) -> str:
        """A small array within the graph."""
        array = np.asarray(value, kind)
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self.known:
            name = f"constant_{len(self.known)}"
            proto = self.helper.make_tensor(
                name, self.helper.np_dtype_to_tensor_dtype(array.dtype), array.shape, array.tobytes(), raw=True
            )
            self.small.append(proto)
            self.known[key] = name
        return self.known[key]

    def weight(self, name: str, array: NDArray[Any]) -> str:
        """A large array beside the graph."""
        array = np.ascontiguousarray(array)
        proto = self._initializer(name, self.helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
        self._outside(proto, "weights")
        self.weights[name] = array
        return name

    def _initializer(self, name: str, kind: int, shape: tuple[int, ...]) -> Any:
        proto = self.model.graph.initializer.add()
        proto.name, proto.data_type = name, kind
        proto.dims.extend(shape)
        return proto

    def _outside(self, proto: Any, location: str, **where: int) -> None:
        """Say that the numbers stand elsewhere."""
        proto.data_location = self.types.EXTERNAL
        for key, value in {"location": location, **where}.items():
            entry = proto.external_data.add()
            entry.key, entry.value = key, str(value)

    # --- tensors of the file ------------------------------------------------------------------------------------------

    def has(self, name: str) -> bool:
        return name in self.file.tensors

    def tensor(self, name: str, *shape: int) -> Tensor:
        tensor = self.file.tensor(name)
        if tensor.shape != shape:
            raise DataError(
                f"{self.file.path}, tensor {name}: expected the shape {list(shape)}, found {list(tensor.shape)}"
            )
        self.used.add(name)
        return tensor

    def vector(self, name: str, width: int) -> str:
        """A tensor of one axis, within the graph."""
        return self.constant(expand(self.tensor(name, width)))

    def product(
        self, rows: str, names: list[str], shapes: list[tuple[int, int]], biases: list[str] | None = None
    ) -> str:
        """``rows`` times the matrices of these names, one beside the other, plus their biases where there are any."""
        tensors = [self.tensor(name, *shape) for name, shape in zip(names, shapes, strict=True)]
        added = [name for name in biases or [] if self.has(name)]
        if added and len(added) != len(names):
            raise DataError(
                f"{self.file.path}: expected a bias with each of {', '.join(names)}, found {', '.join(added)}"
            )
        bias = (
            np.concatenate([expand(self.tensor(name, shape[0])) for name, shape in zip(added, shapes, strict=True)])
            if added
            else None
        )
        if all(tensor.type in FLOATS for tensor in tensors):
            whole = np.concatenate([expand(tensor) for tensor in tensors])
            joined = self.node("MatMul", rows, self.weight("+".join(names), whole.T))
            return joined if bias is None else self.node("Add", joined, self.constant(bias))
        quantized = [codes(tensor) for tensor in tensors if tensor.type not in FLOATS]
        if len(quantized) == len(tensors) and len({(part.bits, part.block) for part in quantized}) == 1:
            return self._blocks(rows, "+".join(names), _joined(quantized), bias)
        each = [
            self.product(rows, [name], [shape], [added[place]] if added else None)
            for place, (name, shape) in enumerate(zip(names, shapes, strict=True))
        ]
        return self.node("Concat", *each, axis=-1)

    def _blocks(self, rows: str, name: str, part: Codes, bias: NDArray[np.float32] | None) -> str:
        out, inner = part.codes.shape
        blocks = part.scales.shape[1]
        if part.bits == 4:
            halves = (part.codes + np.int8(8)).view(np.uint8)
            packed: NDArray[np.uint8] = halves[:, 0::2] | (halves[:, 1::2] << np.uint8(4))
        else:
            packed = part.codes.view(np.uint8) ^ np.uint8(128)
        inputs = [
            rows,
            self.weight(f"{name}:codes", packed.reshape(out, blocks, -1)),
            self.weight(f"{name}:scales", part.scales),
        ]
        found = self.node(
            "MatMulNBits",
            *inputs,
            domain=MICROSOFT,
            K=inner,
            N=out,
            bits=part.bits,
            block_size=part.block,
            accuracy_level=EXACT if self.exact else ROUNDED,
        )
        if part.minima is not None:
            split = self.node("Reshape", rows, self.constant([0, 0, blocks, part.block], np.int64))
            sums = self.node("ReduceSum", split, self.constant([-1], np.int64), keepdims=0)
            found = self.node("Add", found, self.node("MatMul", sums, self.weight(f"{name}:minima", part.minima.T)))
        return found if bias is None else self.node("Add", found, self.constant(bias))

    def table(self, name: str, ids: str) -> str:
        """Rows of a matrix, float32 ``[batch, tokens, width]``."""
        tensor = self.file.tensor(name)
        self.used.add(name)
        if tensor.type in FLOATS:
            values = tensor.data.view("<f2") if tensor.type == "F16" else expand(tensor)
            rows = self.node("Gather", self.weight(name, values.reshape(tensor.shape)), ids)
            return self.node("Cast", rows, to=self.types.FLOAT) if tensor.type == "F16" else rows
        part = codes(tensor)
        blocks = part.scales.shape[1]
        rows = self.node("Cast", self.node("Gather", self.weight(name, part.codes), ids), to=self.types.FLOAT)
        rows = self.node("Reshape", rows, self.constant([0, 0, blocks, part.block], np.int64))

        def spread(values: NDArray[np.float32], kind: str) -> str:
            taken = self.node("Gather", self.weight(f"{name}:{kind}", values), ids)
            return self.node("Unsqueeze", taken, self.constant([-1], np.int64))

        rows = self.node("Mul", rows, spread(part.scales, "scales"))
        if part.minima is not None:
            rows = self.node("Add", rows, spread(part.minima, "minima"))
        return self.node("Reshape", rows, self.constant([0, 0, tensor.shape[1]], np.int64))

    # --- layers -------------------------------------------------------------------------------------------------------

    def norm(self, rows: str, name: str, width: int | None = None) -> str:
        """A layer norm, with its bias where the file has one, or by the root mean square."""
        width = width or self.shape.width
        weight = self.vector(f"{name}.weight", width)
        if self.shape.architecture in ("bert", "nomic-bert", "modern-bert"):
            bias = [self.vector(f"{name}.bias", width)] if self.has(f"{name}.bias") else []
            return self.node("LayerNormalization", rows, weight, *bias, axis=-1, epsilon=self.shape.eps)
        return self.node("SimplifiedLayerNormalization", rows, weight, axis=-1, epsilon=self.shape.eps, stash_type=1)

    def head_norm(self, rows: str, name: str, heads: int) -> str:
        """A norm of every head by itself."""
        width = self.shape.head_width
        split = self.node("Reshape", rows, self.constant([0, 0, heads, width], np.int64))
        return self.node("Reshape", self.norm(split, name, width), self.constant([0, 0, heads * width], np.int64))

    def attention(self, rows: str, layer: int) -> str:
        shape, prefix = self.shape, f"blk.{layer}"
        inner, outer = shape.heads * shape.head_width, shape.kv_heads * shape.head_width
        sizes = [inner, outer, outer]
        if self.has(f"{prefix}.attn_qkv.weight"):
            names, shapes = [f"{prefix}.attn_qkv"], [(sum(sizes), shape.width)]
        else:
            names = [f"{prefix}.attn_{each}" for each in "qkv"]
            shapes = [(size, shape.width) for size in sizes]
        joined = self.product(rows, [f"{name}.weight" for name in names], shapes, [f"{name}.bias" for name in names])
        query, key, value = self.several("Split", 3, joined, self.constant(sizes, np.int64), axis=-1)
        if self.has(f"{prefix}.attn_q_norm.weight"):
            query = self.head_norm(query, f"{prefix}.attn_q_norm", shape.heads)
            key = self.head_norm(key, f"{prefix}.attn_k_norm", shape.kv_heads)
        mixed = (self._grouped if shape.causal else self._seeing_all)(query, key, value, layer)
        name = f"{prefix}.attn_output"
        return self.product(mixed, [f"{name}.weight"], [(shape.width, inner)], [f"{name}.bias"])

    def _rotation(self, layer: int) -> tuple[str, str]:
        """Cosines and sines ``[context, rotary / 2]`` of this layer's rotation."""
        shape = self.shape
        local = shape.local[layer]
        key = ("rotation", local)
        if key not in self.known:
            places = np.arange(shape.context, dtype=np.float64)
            speeds = (shape.local_base if local else shape.base) ** (
                -np.arange(0, shape.rotary, 2, dtype=np.float64) / shape.rotary
            )
            angles = np.outer(places, speeds if local else speeds / divisors(self.file, shape))
            self.weight(f"cosines_{local}", np.cos(angles).astype(np.float32))
            self.weight(f"sines_{local}", np.sin(angles).astype(np.float32))
            self.known[key] = "there"
        return f"cosines_{local}", f"sines_{local}"

    def _grouped(self, query: str, key: str, value: str, layer: int) -> str:
        """Attention to what stands before, keys and values shared by groups of heads."""
        shape = self.shape
        window = {"local_window_size": shape.window} if shape.local[layer] else {}
        return self.several(
            "GroupQueryAttention",
            3,
            *(query, key, value, "", "", self._last(), self._longest(), *self._rotation(layer)),
            domain=MICROSOFT,
            num_heads=shape.heads,
            kv_num_heads=shape.kv_heads,
            do_rotary=1,
            rotary_interleaved=int(shape.architecture == "llama"),
            scale=shape.head_width**-0.5,
            **window,
        )[0]

    def _seeing_all(self, query: str, key: str, value: str, layer: int) -> str:
        shape = self.shape
        if shape.rotary:
            cosines, sines = self._rotation(layer)
            query, key = (
                self.node(
                    "RotaryEmbedding",
                    *(rows, self._places(), cosines, sines),
                    domain=MICROSOFT,
                    num_heads=heads if shape.rotary != shape.head_width else 0,
                    rotary_embedding_dim=shape.rotary if shape.rotary != shape.head_width else 0,
                    interleaved=int(shape.architecture == "llama"),
                )
                for rows, heads in ((query, shape.heads), (key, shape.kv_heads))
            )
        if shape.kv_heads != shape.heads:
            key, value = self._repeated(key), self._repeated(value)
        mask = ["", "", self._bias()] if shape.local[layer] else ["", self._mask()]
        return self.node(
            "MultiHeadAttention",
            *(query, key, value, *mask),
            domain=MICROSOFT,
            num_heads=shape.heads,
            scale=shape.head_width**-0.5,
            mask_filter_value=HIDDEN,
        )

    def _repeated(self, rows: str) -> str:
        """Each key's or value's head for every query of its group."""
        shape = self.shape
        times = shape.heads // shape.kv_heads
        split = self.node("Reshape", rows, self.constant([0, 0, shape.kv_heads, 1, shape.head_width], np.int64))
        tiled = self.node("Tile", split, self.constant([1, 1, 1, times, 1], np.int64))
        return self.node("Reshape", tiled, self.constant([0, 0, shape.heads * shape.head_width], np.int64))

    def once(self, key: str, make: Any) -> str:
        """What several layers share."""
        if key not in self.known:
            self.known[key] = make()
        return self.known[key]

    def _mask(self) -> str:
        return self.once("mask", lambda: self.node("Cast", "attention_mask", to=self.types.INT32))

    def _last(self) -> str:
        """int32 ``[batch]``: the place of each text's last token."""

        def make() -> str:
            count = self.node("ReduceSum", self._mask(), self.constant([1], np.int64), keepdims=0)
            return self.node("Sub", count, self.constant([1], np.int32))

        return self.once("last", make)

    def _longest(self) -> str:
        def make() -> str:
            size = self.node("Shape", "input_ids", start=1, end=2)
            scalar = self.node("Squeeze", size)
            return self.node("Cast", scalar, to=self.types.INT32)

        return self.once("longest", make)

    def _counted(self) -> str:
        """int64 ``[tokens]``: 0, 1, 2 …"""

        def make() -> str:
            size = self.node("Squeeze", self.node("Shape", "input_ids", start=1, end=2))
            return self.node("Range", self.constant(0, np.int64), size, self.constant(1, np.int64))

        return self.once("counted", make)

    def _places(self) -> str:
        """int64 ``[batch, tokens]``: each token's place."""

        def make() -> str:
            size = self.node("Shape", "input_ids")
            return self.node("Expand", self._counted(), size)

        return self.once("places", make)

    def _bias(self) -> str:
        """float32 ``[batch, 1, tokens, tokens]``: nothing where a token is seen, next to minus infinity where it stands
        further off than half a window, or is padding."""

        def make() -> str:
            across = self.node("Unsqueeze", self._counted(), self.constant([0], np.int64))
            down = self.node("Unsqueeze", self._counted(), self.constant([1], np.int64))
            apart = self.node("Abs", self.node("Sub", across, down))
            far = self.node("Greater", apart, self.constant(self.shape.window // 2, np.int64))
            padded = self.node("Equal", "attention_mask", self.constant(0, np.int64))
            padded = self.node("Unsqueeze", padded, self.constant([1, 2], np.int64))
            hidden = self.node("Or", far, padded)
            return self.node("Where", hidden, self.constant(HIDDEN), self.constant(0.0))

        return self.once("bias", make)

    def feed_forward(self, rows: str, layer: int) -> str:
        shape, prefix = self.shape, f"blk.{layer}"
        up, gate, down = (f"{prefix}.ffn_{each}" for each in ("up", "gate", "down"))
        if shape.architecture == "bert":
            wide = self.product(rows, [f"{up}.weight"], [(shape.inner, shape.width)], [f"{up}.bias"])
            wide = self.node("Gelu", wide)
        else:
            if shape.architecture == "modern-bert":  # one matrix holds both, what is bent first
                both = self.product(rows, [f"{up}.weight"], [(2 * shape.inner, shape.width)])
            else:
                both = self.product(rows, [f"{gate}.weight", f"{up}.weight"], [(shape.inner, shape.width)] * 2)
            bent, plain = self.several("Split", 2, both, axis=-1, num_outputs=2)
            if shape.gemma:
                bent = self.node("Gelu", bent, approximate="tanh")
            elif shape.architecture == "modern-bert" and shape.activation == "gelu":
                bent = self.node("Gelu", bent)
            else:
                bent = self.node("Mul", bent, self.node("Sigmoid", bent))
            wide = self.node("Mul", bent, plain)
        return self.product(wide, [f"{down}.weight"], [(shape.width, shape.inner)], [f"{down}.bias"])

    def layer(self, rows: str, layer: int) -> str:
        shape, prefix = self.shape, f"blk.{layer}"
        if shape.architecture in ("bert", "nomic-bert"):  # a norm behind each sum
            rows = self.norm(self.node("Add", self.attention(rows, layer), rows), f"{prefix}.attn_output_norm")
            return self.norm(self.node("Add", self.feed_forward(rows, layer), rows), f"{prefix}.layer_output_norm")
        bare = shape.architecture == "modern-bert" and layer == 0 and not self.has(f"{prefix}.attn_norm.weight")
        attended = self.attention(rows if bare else self.norm(rows, f"{prefix}.attn_norm"), layer)
        if shape.gemma:
            attended = self.norm(attended, f"{prefix}.post_attention_norm")
        rows = self.node("Add", attended, rows)
        attended = self.feed_forward(self.norm(rows, f"{prefix}.ffn_norm"), layer)
        if shape.gemma:
            attended = self.norm(attended, f"{prefix}.post_ffw_norm")
        return self.node("Add", attended, rows)

    # --- the whole ----------------------------------------------------------------------------------------------------

    def begin(self) -> str:
        shape = self.shape
        rows = self.table("token_embd.weight", "input_ids")
        if shape.architecture in ("bert", "nomic-bert"):
            if self.has("token_types.weight"):  # every text is a first one
                kinds = self.file.tensor("token_types.weight")
                self.tensor("token_types.weight", *kinds.shape)
                first = expand(kinds).reshape(-1)[: shape.width]
                if len(first) != shape.width:
                    raise DataError(f"{self.file.path}, token_types.weight: expected rows of {shape.width}")
                rows = self.node("Add", rows, self.constant(first))
            if not shape.rotary:
                places = self.file.tensor("position_embd.weight")
                if len(places.shape) != 2 or places.shape[1] != shape.width or places.shape[0] < shape.context:
                    raise DataError(
                        f"{self.file.path}, position_embd.weight: expected [{shape.context}, {shape.width}], found "
                        f"{list(places.shape)}"
                    )
                self.used.add("position_embd.weight")
                table = self.weight("position_embd.weight", expand(places))
                rows = self.node("Add", rows, self.node("Gather", table, self._counted()))
        if shape.gemma:
            rows = self.node("Mul", rows, self.constant(np.float32(shape.width**0.5)))
        return self.norm(rows, "token_embd_norm") if self.has("token_embd_norm.weight") else rows

    def pooled(self, rows: str) -> str:
        """float32 ``[batch, width]``"""
        if self.shape.pooling == "cls":
            return self.node("Gather", rows, self.constant(0, np.int64), axis=1)
        if self.shape.pooling == "last":
            place = self.node("Unsqueeze", self.node("Cast", self._last(), to=self.types.INT64),
                              self.constant([1], np.int64))  # fmt: skip
            return self.node("GatherND", rows, place, batch_dims=1)
        mask = self.node("Cast", "attention_mask", to=self.types.FLOAT)
        column = self.node("Unsqueeze", mask, self.constant([2], np.int64))
        axis = self.constant([1], np.int64)
        total = self.node("ReduceSum", self.node("Mul", rows, column), axis, keepdims=0)
        return self.node("Div", total, self.node("ReduceSum", mask, axis, keepdims=1))

    def finished(self) -> bytes:
        shape, helper = self.shape, self.helper
        rows = self.begin()
        for layer in range(shape.layers):
            rows = self.layer(rows, layer)
        if shape.architecture not in ("bert", "nomic-bert"):
            rows = self.norm(rows, "output_norm")
        vectors = self.pooled(rows)
        for name in ("dense_2.weight", "dense_3.weight"):
            if self.has(name):
                tensor = self.file.tensor(name)
                dense = self.constant(expand(self.tensor(name, *tensor.shape)).T)
                vectors = self.node("MatMul", vectors, dense)
        length = self.node("ReduceL2", vectors, self.constant([-1], np.int64), keepdims=1)
        vectors = self.node("Div", vectors, self.node("Max", length, self.constant(1e-12)))
        self.nodes.append(helper.make_node("Identity", [vectors], ["sentence_embedding"], name="finished"))
        strange = [name for name in self.file.tensors if name not in self.used and name not in IGNORED]
        if strange:
            raise WrongUse(
                f"{self.file.path}: expected the tensors of {shape.architecture}, found {strange[0]}"
                f"{f' and {len(strange) - 1} more' if len(strange) > 1 else ''}, which umekomi does not know there"
            )
        inputs = [
            helper.make_tensor_value_info(name, self.types.INT64, ["batch", "tokens"])
            for name in ("input_ids", "attention_mask")
        ]
        outputs = [helper.make_tensor_value_info("sentence_embedding", self.types.FLOAT, ["batch", None])]
        graph, model = self.model.graph, self.model  # filled in place: a copy would hold all weights twice
        graph.name, model.ir_version = "gguf", 10
        graph.node.extend(self.nodes)
        graph.input.extend(inputs)
        graph.output.extend(outputs)
        graph.initializer.extend(self.small)
        model.opset_import.extend([helper.make_opsetid("", OPSET), helper.make_opsetid(MICROSOFT, 1)])
        return bytes(model.SerializeToString())


def divisors(file: Gguf, shape: Shape) -> NDArray[np.float32]:
    """What the speeds of the full rotation are divided by, ``[rotary / 2]``: the stretch, times what the file lists."""
    if shape.architecture not in SLOWED or SPEEDS not in file.tensors:
        return np.full(shape.rotary // 2, shape.stretch, np.float32)
    factors = expand(file.tensor(SPEEDS))
    if factors.shape != (shape.rotary // 2,) or not (np.isfinite(factors) & (factors > 0)).all():
        raise DataError(
            f"{file.path}, tensor {SPEEDS}: expected {shape.rotary // 2} numbers above zero, found "
            f"{list(factors.shape)} with {factors[~(factors > 0) | ~np.isfinite(factors)][:1].tolist()}"
        )
    return factors * np.float32(shape.stretch)


def _joined(parts: list[Codes]) -> Codes:
    """Matrices of one block size, one below the other."""
    minima = None
    if any(part.minima is not None for part in parts):
        minima = np.concatenate([np.zeros_like(part.scales) if part.minima is None else part.minima for part in parts])
    return Codes(
        np.concatenate([part.codes for part in parts]),
        np.concatenate([part.scales for part in parts]),
        minima,
        parts[0].bits,
    )


class _Portable(_Graph):
    """The same network in the standard's operators."""

    def __init__(self, file: Gguf, shape: Shape, store: BinaryIO | None = None) -> None:
        super().__init__(file, shape, exact=True)
        self.store = store

    def weight(self, name: str, array: NDArray[Any], kind: int | None = None, shape: tuple[int, ...] = ()) -> str:
        """A large array; of bytes that are no numbers of NumPy's, its ``kind`` and ``shape``."""
        array = np.ascontiguousarray(array)
        proto = self._initializer(name, kind or self.helper.np_dtype_to_tensor_dtype(array.dtype), shape or array.shape)
        if self.store is None:
            proto.raw_data = array.tobytes()
            return name
        self.store.write(bytes(-self.store.tell() % ALIGNMENT))
        self._outside(proto, Path(self.store.name).name, offset=self.store.tell(), length=array.nbytes)
        self.store.write(array.data)
        return name

    def norm(self, rows: str, name: str, width: int | None = None) -> str:
        if self.shape.architecture in ("bert", "nomic-bert", "modern-bert"):
            return super().norm(rows, name, width)
        weight = self.vector(f"{name}.weight", width or self.shape.width)
        mean = self.node("ReduceMean", self.node("Mul", rows, rows), self.constant([-1], np.int64), keepdims=1)
        length = self.node("Sqrt", self.node("Add", mean, self.constant(self.shape.eps)))
        return self.node("Mul", self.node("Div", rows, length), weight)

    def _blocks(self, rows: str, name: str, part: Codes, bias: NDArray[np.float32] | None) -> str:
        out, inner = part.codes.shape
        shape = (out, part.scales.shape[1], part.block)
        values, scales = part.codes.reshape(shape), part.scales
        zero: Any = 8 if part.bits == 4 else 128
        if part.minima is not None:  # code · s + m = (code - (-m / s)) · s; a block of one number has no s
            alone = scales == 0
            values, scales = np.where(alone[..., None], np.int8(0), values), np.where(alone, np.float32(1), scales)
            zero = (zero - part.minima / scales).astype(np.float32)[..., None]
        kind = self.types.UINT4 if part.bits == 4 else self.types.UINT8
        packed: NDArray[np.uint8] = (values.view(np.uint8) + np.uint8(8 if part.bits == 4 else 128)).reshape(-1)
        if part.bits == 4:
            packed = packed[0::2] | (packed[1::2] << np.uint8(4))
        matrix = self.node("Cast", self.weight(f"{name}:codes", packed, kind, shape), to=self.types.FLOAT)
        if part.minima is None:
            whole = self.helper.make_tensor(f"{name}:zero", kind, (1, 1, 1), [zero])
            self.small.append(whole)
            below = self.node("Cast", whole.name, to=self.types.FLOAT)
        else:
            below = self.weight(f"{name}:zeros", zero)
        matrix = self.node("Mul", self.node("Sub", matrix, below), self.weight(f"{name}:scales", scales[..., None]))
        matrix = self.node("Reshape", matrix, self.constant([out, inner], np.int64))
        found = self.node("MatMul", rows, self.node("Transpose", matrix, perm=[1, 0]))
        return found if bias is None else self.node("Add", found, self.constant(bias))

    def _heads(self, rows: str, heads: int) -> str:
        """``[batch, heads, tokens, width of a head]``"""
        split = self.node("Reshape", rows, self.constant([0, 0, heads, self.shape.head_width], np.int64))
        return self.node("Transpose", split, perm=[0, 2, 1, 3])

    def _turned(self, rows: str, layer: int) -> str:
        """Heads, rotated. Of numbers that stand side by side the even ones come first then, in queries and keys
        alike."""
        shape = self.shape
        cosines, sines = (
            self.once(f"{name} cut", lambda name=name: self.node("Gather", name, self._counted()))
            for name in self._rotation(layer)
        )
        rest = []
        if shape.rotary != shape.head_width:
            sizes = self.constant([shape.rotary, shape.head_width - shape.rotary], np.int64)
            rows, still = self.several("Split", 2, rows, sizes, axis=-1)
            rest = [still]
        if shape.architecture == "llama":
            pairs = self.node("Reshape", rows, self.constant([0, 0, 0, shape.rotary // 2, 2], np.int64))
            first, second = (self.node("Gather", pairs, self.constant(at, np.int64), axis=-1) for at in (0, 1))
        else:
            first, second = self.several("Split", 2, rows, axis=-1, num_outputs=2)
        left = self.node("Sub", self.node("Mul", first, cosines), self.node("Mul", second, sines))
        right = self.node("Add", self.node("Mul", second, cosines), self.node("Mul", first, sines))
        return self.node("Concat", left, right, *rest, axis=-1)

    def _mixed(self, query: str, key: str, value: str, layer: int) -> str:
        shape = self.shape
        if shape.kv_heads != shape.heads:
            key, value = self._repeated(key), self._repeated(value)
        asked, there, told = (self._heads(rows, shape.heads) for rows in (query, key, value))
        if shape.rotary:
            asked, there = self._turned(asked, layer), self._turned(there, layer)
        asked = self.node("Mul", asked, self.constant(np.float32(shape.head_width**-0.5)))
        scores = self.node("MatMul", asked, self.node("Transpose", there, perm=[0, 1, 3, 2]))
        weights = self.node("Softmax", self.node("Add", scores, self._hidden(shape.local[layer])), axis=-1)
        joined = self.node("Transpose", self.node("MatMul", weights, told), perm=[0, 2, 1, 3])
        return self.node("Reshape", joined, self.constant([0, 0, shape.heads * shape.head_width], np.int64))

    _grouped = _seeing_all = _mixed

    def _hidden(self, local: bool) -> str:
        """float32 ``[batch, 1, tokens, tokens]``: nothing where a token is seen, next to minus infinity elsewhere."""

        def make() -> str:
            across = self.node("Unsqueeze", self._counted(), self.constant([0], np.int64))
            down = self.node("Unsqueeze", self._counted(), self.constant([1], np.int64))
            padded = self.node("Equal", "attention_mask", self.constant(0, np.int64))
            hidden = self.node("Unsqueeze", padded, self.constant([1, 2], np.int64))
            apart = self.node("Sub", down, across)
            if self.shape.causal:
                hidden = self.node("Or", hidden, self.node("Less", apart, self.constant(0, np.int64)))
            if local:
                size = self.shape.window - 1 if self.shape.causal else self.shape.window // 2
                apart = apart if self.shape.causal else self.node("Abs", apart)
                hidden = self.node("Or", hidden, self.node("Greater", apart, self.constant(size, np.int64)))
            return self.node("Where", hidden, self.constant(FAR), self.constant(0.0))

        return self.once(f"hidden {local}", make)
