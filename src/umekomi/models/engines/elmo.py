"""ELMo as two ONNX graphs, run without torch: one makes vectors of words from their characters, the other a text's
vector from those of its words.

ONNX's LSTM has neither projection nor clips. So a direction is a Scan over the words whose body is one step of all its
layers; it carries the cells, the outputs and the sum of what the layers give, and keeps nothing of a step behind it. So
a text takes memory for the vectors of its words, which both directions read, and for nothing else that grows with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import compress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from umekomi.errors import DataError, WrongUse
from umekomi.files import MODEL_FILE
from umekomi.models.base import Open
from umekomi.models.borders import reading
from umekomi.models.engines.graphs import Nodes, check_onnx, ids_input
from umekomi.models.engines.onnx import LONGEST, WORDS, OnnxEmbedder, TextIds, traced
from umekomi.models.engines.runtimes import open_runtime
from umekomi.models.words import CharacterReader
from umekomi.parts.characters import BEGIN, END, marker_characters

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from umekomi.contracts import Floats
    from umekomi.models.elmo import ElmoEmbedder

CHUNK = 256
"""Words whose vectors are computed at once: the convolutions of the published size take 180 kB a word."""
KNOWN = 1 << 24
"""Numbers of words' vectors that are kept for the next texts: 64 MiB."""


class ElmoOnnxEmbedder(OnnxEmbedder):
    """``model.onnx`` and, for the words, ``words.onnx``.

    Args:
        graph: of texts, its bytes or its file.
        words_graph: of words, likewise.
        reader: cuts texts into words, and these into characters.
        dimension: the vectors' width.
        context: words of a text that are read.
        metric: how its vectors compare.
        name: of the model.
        card: what is known about it.
        stands_for: the fingerprint of the model that these are the graphs of.
        words: of a batch.
        threads: that run the graphs; None: one a core.
        runtime: what runs them (:func:`umekomi.models.engines.runtimes.open_runtime`).
    """

    kind = "elmo-onnx"

    def __init__(
        self,
        graph: bytes | Path,
        words_graph: bytes | Path,
        reader: CharacterReader,
        *,
        dimension: int,
        context: int = LONGEST,
        metric: str = "cosine",
        name: str,
        card: dict[str, Any] | None = None,
        stands_for: str = "",
        words: int = WORDS,
        threads: int | None = None,
        runtime: str = "",
    ) -> None:
        super().__init__(
            graph,
            reader.tokenizer,
            dimension=dimension,
            context=context,
            metric=metric,
            prompts={},
            name=name,
            card=card,
            stands_for=stands_for,
            words=words,
            threads=threads,
            runtime=runtime,
        )
        self.reader, self._words_graph = reader, words_graph
        self._words_runtime = open_runtime(runtime, words_graph, self.threads)
        self._known: dict[str, Floats] = {}
        self._marks = self._run_words(np.stack([marker_characters(mark, reader.longest) for mark in (BEGIN, END)]))

    @property
    def words_graph(self) -> bytes:
        """The file of the words' graph."""
        return self._words_graph if isinstance(self._words_graph, bytes) else self._words_graph.read_bytes()

    def lengths(self, items: Sequence[str], role: str | None = None) -> Any:
        return np.array([len(words) for words in self.reader.words(items)], np.int64)

    def _cut(self, texts: list[str]) -> list[TextIds]:
        return [TextIds(words[: self.context], [], len(words) > self.context) for words in self.reader.words(texts)]

    def _feed(self, texts: Sequence[TextIds], width: int) -> dict[str, NDArray[Any]]:
        """Each text with the marks around it: 0 and 1 of the vectors, behind which those of the words stand."""
        numbers: dict[str, int] = {}
        ids, mask, marks = (np.zeros((len(texts), width + 2), np.int64) for _ in range(3))
        for row, text in enumerate(texts):
            end = len(text.ids) + 1
            ids[row, 1:end] = [numbers.setdefault(word, len(numbers) + 2) for word in text.ids]
            ids[row, end] = 1
            mask[row, : end + 1] = 1
            marks[row, [0, end]] = 1
        vectors = np.concatenate([self._marks, self._word_vectors(list(numbers))])
        return {"vectors": vectors, "input_ids": ids, "attention_mask": mask, "special_tokens_mask": marks}

    def _word_vectors(self, words: list[str]) -> Floats:
        """float32 ``[words, projection]``. What is asked for twice at once by two threads is computed twice."""
        out = np.empty((len(words), self._marks.shape[1]), np.float32)
        known = [self._known.get(word) for word in words]
        for place, vector in enumerate(known):
            if vector is not None:
                out[place] = vector
        places = list(compress(range(len(words)), (vector is None for vector in known)))
        room = KNOWN // self._marks.shape[1]
        for low in range(0, len(places), CHUNK):
            some = places[low : low + CHUNK]
            out[some] = vectors = self._run_words(self.reader.characters([words[place] for place in some]))
            if len(self._known) < room:
                self._known |= {words[place]: vector for place, vector in zip(some, vectors, strict=True)}
        return out

    def _run_words(self, characters: NDArray[np.int64]) -> Floats:
        vectors = self._words_runtime.run({"characters": characters})
        if vectors.shape != (len(characters), self.dimension // 2):
            raise DataError(
                f"{self.name}: expected {len(characters)} vectors of {self.dimension // 2} numbers from the graph of "
                f"its words, found shape {list(vectors.shape)}"
            )
        return vectors.astype(np.float32, copy=False)

    def _write(self, folder: Path) -> dict[str, Any]:
        (folder / "words.onnx").write_bytes(self.words_graph)
        settings = super()._write(folder)
        del settings["prompts"]
        return settings | {"longest": self.reader.longest, "before": self.reader.before}

    @classmethod
    def _read(cls, folder: Path, head: dict[str, Any], open: Open, runtime: str = "") -> ElmoOnnxEmbedder:
        own, tokenizer = cls._settings(folder, head, words=int, longest=int, before=str)
        try:
            reader = CharacterReader(tokenizer, own.pop("longest"), own.pop("before"))
        except WrongUse as error:
            raise DataError(f"{folder / MODEL_FILE}, settings: {error}") from None
        with reading(folder / "model.onnx"):
            return cls(
                folder / "model.onnx",
                cls._graph_file(folder, "words.onnx"),
                reader,
                metric=head["metric"],
                name=head["name"],
                card=head.get("card"),
                runtime=runtime,
                **own,
            )


# --- the graphs -----------------------------------------------------------------------------------------------------


def export_elmo(embedder: ElmoEmbedder, runtime: str = "") -> ElmoOnnxEmbedder:
    """The network as two graphs, opened by ``runtime``. Needs torch and the package onnx; the result needs neither. An
    embedder that carries its state from text to text has none."""
    network, reader = embedder.network, embedder.reader
    assert isinstance(reader, CharacterReader)
    if network.stateful:
        raise WrongUse(
            f"onnx: a vector of {embedder.name} depends on what was read before it (stateful), a graph's must not"
        )
    check_onnx()
    import torch

    words, place = network.model.words, next(network.parameters()).device
    given = torch.zeros((2, reader.longest), dtype=torch.int64)
    try:
        words_graph = traced(words.cpu(), {"characters": given}, output="vectors")
    finally:
        words.to(place)
    with torch.no_grad():
        shares = network.shares().cpu().tolist()
    stacks = [
        Stack(
            [_cell(cell) for cell in stack.cells],
            stack.cell_clip,
            stack.projection_clip,
            stack.residual,
        )
        for stack in (network.model.forwards, network.model.backwards)
    ]
    return ElmoOnnxEmbedder(
        sentence_graph(stacks, shares),
        words_graph,
        CharacterReader(type(reader.tokenizer).from_str(reader.tokenizer.to_str()), reader.longest, reader.before),
        dimension=embedder.dimension,
        metric=embedder.metric,
        name=f"{embedder.name}-onnx",
        card=embedder.card,
        runtime=runtime,
    )


class Cell(NamedTuple):
    """A layer: ``gates`` ``[inputs + projection, 4 · width]`` of a word and the output before it, in the order input,
    forget, cell, output; ``bias`` ``[4 · width]``; ``mapped`` ``[width, projection]``."""

    gates: Floats
    bias: Floats
    mapped: Floats


class Stack(NamedTuple):
    """The layers of one direction; a ``residual`` adds a layer's input to what it gives, from the second on."""

    cells: Sequence[Cell]
    cell_clip: float | None
    projection_clip: float | None
    residual: bool


def _cell(cell: Any) -> Cell:
    """Of a layer of torch's."""
    weights = {name: value.detach().cpu().numpy() for name, value in cell.named_parameters()}
    gates = np.concatenate([weights["weight_ih_l0"], weights["weight_hh_l0"]], 1).T
    return Cell(gates, weights["bias_ih_l0"] + weights["bias_hh_l0"], weights["weight_hr_l0"].T)


def sentence_graph(stacks: Sequence[Stack], shares: Sequence[float]) -> bytes:
    """The mean over a text's words of what the layers give in the mix ``shares``, of words the first, forwards beside
    backwards: ``[batch, 2 · projection]``, zero for a text without a word.

    It takes float32 ``vectors`` ``[words, projection]``, and int64 ``[batch, time]``: ``input_ids`` (which of the
    vectors), ``attention_mask`` (1 for words and the marks around each text) and ``special_tokens_mask`` (1 for marks).
    Layers above the last that has a share are left out.
    """
    from onnx import TensorProto, helper

    outer = Nodes()
    depth = max((number for number, share in enumerate(shares) if share), default=0)
    given = outer.add("Gather", "vectors", outer.add("Transpose", "input_ids", perm=[1, 0]))
    there, marks = (
        outer.add("Cast", outer.add("Transpose", name, perm=[1, 0]), to=TensorProto.FLOAT)
        for name in ("attention_mask", "special_tokens_mask")
    )
    last = outer.constant([2], np.int64)
    there, inner = (
        outer.add("Unsqueeze", each, last)  # [time, batch, 1]
        for each in (there, outer.add("Sub", there, marks))
    )
    batch = outer.add("Gather", outer.add("Shape", "input_ids"), outer.constant([0], np.int64))

    sides = []
    for number, stack in enumerate(stacks):
        cells = stack.cells[:depth]
        projection = stack.cells[0].mapped.shape[1]
        widths = [width for cell in cells for width in cell.mapped.shape[::-1]]
        states = [outer.filled(batch, width) for width in (*widths, projection)]
        body, ends = _step(f"side{number}_", stack._replace(cells=cells), shares, projection)
        outer.add(
            "Scan",
            *states,
            *(given, there, inner),
            outputs=[f"end_{name}" for name in ends],
            body=body,
            num_scan_inputs=3,
            scan_input_directions=[number] * 3,
        )
        sides.append(f"end_{ends[-1]}")
    count = outer.add("ReduceSum", inner, outer.constant([0], np.int64), keepdims=0)
    total = outer.add("Concat", *sides, axis=1)
    outer.add("Div", total, outer.add("Max", count, outer.constant([1.0])), outputs=["sentence_embedding"])
    vectors = helper.make_tensor_value_info("vectors", TensorProto.FLOAT, ["words", projection])
    ids = [ids_input(name) for name in ("input_ids", "attention_mask", "special_tokens_mask")]
    return outer.model([vectors, *ids], 2 * projection)


def _step(prefix: str, stack: Stack, shares: Sequence[float], projection: int) -> tuple[Any, list[str]]:
    """(one step of a direction as the body of a Scan, the names of its states behind the step). States: each layer's
    output and cells, and the sum of the mixed layers over words; behind them it reads the vectors, whether a word or a
    mark is there, whether a word is. Where nothing is, the state is zero."""
    body = Nodes(prefix)
    words, there, inner = (f"{prefix}{name}" for name in ("words", "there", "inner"))
    given = words
    mixed = body.add("Mul", given, body.constant(shares[0]))
    states: list[tuple[str, int]] = []
    ends: list[str] = []
    for number, cell in enumerate(stack.cells):
        h, c = f"{prefix}h{number}", f"{prefix}c{number}"
        states += [(h, projection), (c, len(cell.mapped))]
        both = body.add("Concat", given, h, axis=1)
        gates = zip(np.split(cell.gates, 4, 1), np.split(cell.bias, 4), strict=True)
        i, f, g, o = (
            body.add(squash, body.add("Gemm", both, body.constant(weight), body.constant(bias)))
            for squash, (weight, bias) in zip(("Sigmoid", "Sigmoid", "Tanh", "Sigmoid"), gates, strict=True)
        )
        cells = body.clipped(body.add("Add", body.add("Mul", f, c), body.add("Mul", i, g)), stack.cell_clip)
        squashed = body.add("Mul", o, body.add("Tanh", cells))
        read = body.clipped(body.add("MatMul", squashed, body.constant(cell.mapped)), stack.projection_clip)
        ends += [body.add("Mul", read, there), body.add("Mul", cells, there)]
        given = body.add("Add", read, given) if stack.residual and number else read
        if shares[number + 1]:
            mixed = body.add("Add", mixed, body.add("Mul", given, body.constant(shares[number + 1])))
    total = f"{prefix}total"
    states.append((total, projection))
    ends.append(body.add("Add", total, body.add("Mul", mixed, inner)))
    inputs = [*states, (words, projection), (there, 1), (inner, 1)]
    outputs = [(name, width) for name, (_, width) in zip(ends, states, strict=True)]
    return body.body(f"{prefix}step", inputs, outputs), ends
