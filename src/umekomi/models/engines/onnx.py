"""A text embedder as one ONNX graph, run by ONNX Runtime or OpenVINO: no torch at run time.

On a CPU each batch runs on one core, with as many batches at once as there are cores: nothing waits at a barrier, and a
batch's activations stay in the core's cache. Batches are filled by tokens, texts of one length together, so that next
to nothing is padding.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from umekomi.errors import DataError, WrongUse
from umekomi.files import MODEL_FILE
from umekomi.models.base import Encoded, Open
from umekomi.models.borders import border, reading, without_noise
from umekomi.models.engines.graphs import Direction, check_onnx, pooled_graph
from umekomi.models.engines.runtimes import Runtime, open_runtime
from umekomi.models.folders import read_tokenizer, settings
from umekomi.models.tokens import NetworkEmbedder, TokenizedEmbedder, filled, packed
from umekomi.parts.kernels.threads import cores
from umekomi.progress import Progress

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from tokenizers import Encoding, Tokenizer

    from umekomi.contracts import Floats
    from umekomi.models.sequence import SequenceEmbedder


LONGEST = 1 << 20
"""Words of a text that a graph of an embedder without a limit reads."""
WORDS = 4096
"""Words of a batch of such an embedder."""
STEP_WORDS = 20
"""What a step of a recurrent graph costs beside its words, in words (2,048 wide, one core: 5.7 ms, and .28 a word)."""
BLOCK = 4096
"""Texts that are tokenised ahead and sorted together."""
CPU_TOKENS, GPU_TOKENS = 512, 16384
"""Tokens of a batch, padding among them: the most that stay in a core's cache, and those that fill a GPU."""


class TextIds(NamedTuple):
    """What the graph reads of a text: its token ids, or its words."""

    ids: list[Any]
    type_ids: list[int]
    overflowing: bool


class OnnxEmbedder(TokenizedEmbedder):
    """``model.onnx`` (token ids and mask in, finished vectors out) and ``tokenizer.json``.

    Args:
        graph: the bytes of the graph, or its file.
        tokenizer: cuts texts into its token ids.
        dimension: the vectors' width.
        context: tokens of a text that are read.
        metric: how its vectors compare.
        prompts: what is put before a text, by role.
        default_prompt: the role whose prompt is put where none is said.
        name: of the model.
        card: what is known about it.
        stands_for: the fingerprint of the model that this is the graph of.
        skips: a token that is left out of every text; one of which nothing is left has a zero vector.
        words: of a batch, whatever its texts, where a graph's steps want many texts at once.
        packs: whether the graph computes no padding.
        threads: that run the graph; None: one a core.
        runtime: what runs it (:func:`umekomi.models.engines.runtimes.open_runtime`).
    """

    kind = "onnx"
    parallel = True

    def __init__(
        self,
        graph: bytes | Path,
        tokenizer: Tokenizer,
        *,
        dimension: int,
        context: int,
        metric: str,
        prompts: dict[str, str],
        default_prompt: str = "",
        name: str,
        card: dict[str, Any] | None = None,
        stands_for: str = "",
        skips: int | None = None,
        words: int | None = None,
        packs: bool = False,
        threads: int | None = None,
        runtime: str = "",
    ) -> None:
        super().__init__(name, card)
        self._graph, self.tokenizer = graph, tokenizer
        self._pools: tuple[ThreadPoolExecutor, ThreadPoolExecutor] | None = None
        self.dimension, self.context, self.metric, self.prompts = dimension, context, metric, prompts
        self.default_prompt, self.stands_for, self.skips = default_prompt, stands_for, skips
        tokenizer.no_padding()
        tokenizer.no_truncation()
        self.threads = cores(threads or 0)
        self.runtime: Runtime = self._open(runtime, graph)
        self.rounding = self.runtime.rounding
        if self.runtime.gpu:
            self.threads = 1
        self.words, self.packs = words, packs
        self.tokens = GPU_TOKENS if self.runtime.gpu else words or CPU_TOKENS
        self.alone = self.tokens // 2
        """Calls with at most so many tokens run on the caller's thread."""

    def _open(self, runtime: str, graph: bytes | Path) -> Runtime:
        """What runs the graph."""
        return open_runtime(runtime, graph, self.threads)

    @property
    def graph(self) -> bytes:
        """The graph's file."""
        return self._graph if isinstance(self._graph, bytes) else self._graph.read_bytes()

    @property
    def roles(self) -> frozenset[str]:
        return frozenset(self.prompts)

    def reads(self, role: str | None = None) -> int | None:
        return self.context

    @contextmanager
    def whole(self, role: str | None = None) -> Iterator[Tokenizer]:
        yield self.tokenizer

    def prompt(self, role: str | None) -> str:
        if role not in (None, "query", "document") and role not in self.prompts:
            raise WrongUse(
                f"{self.name} knows no role {role!r}; there are: "
                f"{', '.join(sorted({'query', 'document', *self.prompts}))}"
            )
        return self.prompts.get(role or self.default_prompt, "")

    def _encode(self, items: list[Any], *, output: str, role: str | None, batch_size: int, progress: bool) -> Floats:
        return self._run(items, role, batch_size, progress).vectors

    def _encode_with_counts(self, items: list[str], role: str | None, batch_size: int) -> Encoded:
        return self._run(items, role, batch_size, False)

    def _run(self, items: list[str], role: str | None, batch_size: int, progress: bool) -> Encoded:
        prompt = self.prompt(role)
        vectors = np.zeros((len(items), self.dimension), np.float32)
        tokens, cut = np.zeros(len(items), np.int64), np.zeros(len(items), bool)
        if not items:
            return Encoded(vectors, tokens, cut)

        def tokenised(start: int) -> list[TextIds]:
            return self._cut([prompt + text for text in items[start : start + BLOCK]])

        def embed(encodings: list[TextIds], places: NDArray[np.int64], width: int, first: int) -> int:
            if self.skips is not None:
                places = places[[bool(encodings[place].ids) for place in places]]
                if not len(places):
                    return 0
            with border(self.name):
                outputs = self.runtime.run(self._feed([encodings[place] for place in places], width))
            if outputs.shape != (len(places), self.dimension):
                raise DataError(
                    f"{self.name}: expected {len(places)} vectors of {self.dimension} dimensions from its graph, found "
                    f"shape {list(outputs.shape)}"
                )
            vectors[first + places] = outputs
            return len(places)

        first = tokenised(0)
        if sum(len(encoding.ids) for encoding in first) <= self.alone:  # too little to share out
            tokens[:], cut[:] = (
                [len(encoding.ids) for encoding in first],
                [bool(encoding.overflowing) for encoding in first],
            )
            for places in self._filled(tokens, self.tokens, batch_size):
                embed(first, places, max(int(tokens[places[0]]), 1), 0)
            return Encoded(vectors, tokens, cut)
        pool, ahead = self._threads()
        with Progress(f"{self.name}: encoding", len(items), "texts", progress) as bar:
            running: deque[Future[int]] = deque()
            encodings = first
            try:
                for start in range(0, len(items), BLOCK):
                    following = ahead.submit(tokenised, start + BLOCK) if start + BLOCK < len(items) else None
                    widths = np.array([len(encoding.ids) for encoding in encodings], np.int64)
                    over = np.array([bool(encoding.overflowing) for encoding in encodings])
                    tokens[start : start + len(encodings)], cut[start : start + len(encodings)] = widths, over
                    budget = min(self.tokens, max(int(widths.max()), -(-int(widths.sum()) // self.threads)))
                    for places in self._filled(widths, budget, batch_size):
                        running.append(pool.submit(embed, encodings, places, max(int(widths[places[0]]), 1), start))
                        while len(running) > 4 * self.threads:
                            bar.advance(running.popleft().result())
                    if following is not None:
                        encodings = following.result()
                while running:
                    bar.advance(running.popleft().result())
            except BaseException:
                for job in running:
                    job.cancel()
                wait(running)  # nothing goes on writing behind the caller's back
                raise
        return Encoded(vectors, tokens, cut)

    def _filled(self, widths: Any, budget: int, batch_size: int) -> Iterator[Any]:
        if self.words is None:
            return filled(widths, budget, batch_size)
        if self.packs:
            return packed(widths, budget)
        return filled(widths, budget, len(widths), 0, STEP_WORDS)

    def _cut(self, texts: list[str]) -> list[TextIds]:
        """The texts as the graph reads them, cut where it reads no more."""
        with border(self.name):
            encodings = self.tokenizer.encode_batch_fast(texts)
        return [self._ids_of(encoding) for encoding in encodings]

    def _feed(self, texts: Sequence[TextIds], width: int) -> dict[str, NDArray[Any]]:
        """The graph's inputs for texts of at most ``width`` tokens."""
        ids, mask, kinds = (np.zeros((len(texts), width), np.int64) for _ in range(3))
        for row, text in enumerate(texts):
            ids[row, : len(text.ids)], mask[row, : len(text.ids)], kinds[row, : len(text.ids)] = (
                text.ids,
                1,
                text.type_ids,
            )
        return {"input_ids": ids, "attention_mask": mask, "token_type_ids": kinds}

    def _ids_of(self, encoding: Encoding) -> TextIds:
        ids, kinds = encoding.ids, encoding.type_ids
        over = len(ids) > self.context
        if over:  # what the tokenizer's own truncation leaves, which would take a second tokenizer
            added = encoding.special_tokens_mask[::-1]
            last = added.index(0) if 0 in added else 0
            ids, kinds = (each[: max(self.context - last, 0)] + each[len(each) - last :] for each in (ids, kinds))
        if self.skips is not None:
            kinds = [kind for number, kind in zip(ids, kinds, strict=True) if number != self.skips]
            ids = [number for number in ids if number != self.skips]
        return TextIds(ids, kinds, over)

    def lengths(self, items: Sequence[str], role: str | None = None) -> Any:
        if self.skips is None:
            return super().lengths(items, role)
        return np.array(
            [len(encoding) - encoding.ids.count(self.skips) for encoding in self.tokenizer.encode_batch(items)],
            np.int64,
        )

    def _threads(self) -> tuple[ThreadPoolExecutor, ThreadPoolExecutor]:
        """Threads that run batches, and one that tokenises ahead; made when first needed."""
        if self._pools is None:
            self._pools = ThreadPoolExecutor(self.threads, "onnx"), ThreadPoolExecutor(1, "tokens")
        return self._pools

    def _write(self, folder: Path) -> dict[str, Any]:
        (folder / "model.onnx").write_bytes(self.graph)
        self.tokenizer.save(str(folder / "tokenizer.json"))
        settings: dict[str, Any] = {"dimension": self.dimension, "context": self.context, "prompts": self.prompts}
        if self.default_prompt:
            settings["default_prompt"] = self.default_prompt
        if self.stands_for:
            settings["stands_for"] = self.stands_for
        if self.skips is not None:
            settings["skips"] = self.skips
        if self.words is not None:
            settings["words"] = self.words
        if self.packs:
            settings["packs"] = True
        return settings

    @classmethod
    def _read(cls, folder: Path, head: dict[str, Any], open: Open, runtime: str = "") -> OnnxEmbedder:
        own, tokenizer = cls._settings(
            folder, head, prompts=dict, default_prompt_=str, skips_=int, words_=int, packs_=bool
        )
        if not all(isinstance(prompt, str) for prompt in own["prompts"].values()):
            raise DataError(f"{folder / MODEL_FILE}, settings, prompts: expected texts")
        graph = cls._graph_file(folder, "model.onnx")
        with reading(graph):
            return cls(
                graph,
                tokenizer,
                metric=head["metric"],
                name=head["name"],
                card=head.get("card"),
                runtime=runtime,
                **own,
            )

    @staticmethod
    def _settings(folder: Path, head: dict[str, Any], **expected: Any) -> tuple[dict[str, Any], Tokenizer]:
        """(what ``umekomi.json`` says, checked, the tokenizer)."""
        own = settings(folder, head, dimension=int, context=int, stands_for_=str, **expected)
        if min(own["dimension"], own["context"], own.get("words", 1)) < 1:
            raise DataError(f"{folder / MODEL_FILE}, settings: expected sizes above zero")
        return own, read_tokenizer(folder / "tokenizer.json")

    @staticmethod
    def _graph_file(folder: Path, name: str) -> Path:
        if not (folder / name).is_file():
            raise WrongUse(f"{folder / name}: the saved model is not whole: no such file")
        return folder / name


def export_sequence(embedder: SequenceEmbedder, runtime: str = "") -> OnnxEmbedder:
    """The network of an embedder that reads word by word as one graph with free batch and length; it reads a text whole
    up to :data:`LONGEST` words. Needs torch and the package onnx; the result needs neither."""
    from tokenizers import Tokenizer

    network, reader = embedder.network, embedder.reader
    if reader.before:
        raise WrongUse(f"onnx: {embedder.name} splits texts by {reader.before}, which a tokenizer's file cannot carry")
    if network.padding == "zero":
        raise WrongUse(f"onnx: a vector of {embedder.name} depends on its batch (padding zero), a graph's must not")

    graph = _pooled(network)
    return OnnxEmbedder(
        _traced_words(network) if graph is None else graph,
        Tokenizer.from_str(reader.tokenizer.to_str()),
        dimension=embedder.dimension,
        context=LONGEST,
        metric=embedder.metric,
        prompts={},
        name=f"{embedder.name}-onnx",
        card=embedder.card,
        skips=reader.skips,
        words=WORDS if graph is None else 2 * WORDS,
        packs=graph is not None,
        runtime=runtime,
    )


def _pooled(network: Any) -> bytes | None:
    """The graph of one recurrent layer that is pooled as it goes; None: the network is none."""
    from torch.nn import Embedding

    from umekomi.parts.layers.sentence import RecurrentEncoder, WordNetwork

    if not isinstance(network, WordNetwork) or not isinstance(network.words, Embedding):
        return None
    encoder = network.encoder
    if not isinstance(encoder, RecurrentEncoder) or not encoder.pool.packs:
        return None
    layer = encoder.recurrent
    if len(layer.cells) > 1 or encoder.projection is not None:
        return None
    check_onnx()

    def direction(suffix: str) -> Direction:
        of_input, of_h, input_bias, h_bias = (
            getattr(layer.cells[0], f"{name}_l0{suffix}").detach().cpu().numpy()
            for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        )
        return Direction(of_input, of_h, input_bias, h_bias, bool(suffix) or layer.directions == "backward")

    sides = [direction(suffix) for suffix in (("", "_reverse") if layer.directions == "both" else ("",))]
    return pooled_graph(network.words.weight.detach().cpu().numpy(), sides, encoder.settings()["pooling"])


def _traced_words(network: Any) -> bytes:
    """The graph of any other network of words, by torch's exporter."""
    import torch

    class Whole(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = network

        def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
            return self.inner(ids, mask.sum(1)).vectors  # type: ignore[no-any-return]

    place = next(network.parameters()).device
    ids = torch.tensor([[0, 0, 0], [0, 0, 0]])
    try:
        return traced(Whole().cpu(), {"input_ids": ids, "attention_mask": torch.tensor([[1, 1, 1], [1, 1, 0]])})
    finally:
        network.to(place)


def traced(whole: Any, features: Mapping[str, Any], output: str = "sentence_embedding") -> bytes:
    """The graph of a module that takes these features, batch and length free, and gives ``output``."""
    import io
    import warnings

    import torch

    check_onnx()
    stream = io.BytesIO()
    with torch.no_grad(), warnings.catch_warnings(), without_noise():
        # the tracer names every shape it fixes; batch and length stay free, a test looks
        warnings.simplefilter("ignore")
        torch.onnx.export(
            whole,
            tuple(features.values()),
            stream,  # type: ignore[arg-type]
            input_names=list(features),
            output_names=[output],
            dynamic_axes={name: {0: "batch", 1: "tokens"} for name in features} | {output: {0: "batch"}},
            opset_version=17,
            dynamo=False,
        )
    return stream.getvalue()


def export(embedder: NetworkEmbedder, runtime: str = "") -> OnnxEmbedder:
    """The whole pipeline of a text embedder (transformer, pooling, normalisation) as one graph with free batch and
    length, opened by ``runtime`` (:func:`umekomi.models.engines.runtimes.open_runtime`). Needs torch and the package
    onnx; the result needs neither."""
    import torch
    from tokenizers import Tokenizer

    model = embedder.model
    if embedder.routes:
        raise WrongUse(
            f"onnx: {embedder.name} has routes ({', '.join(sorted(embedder.routes))}), one graph has one way"
        )
    fast = getattr(model.tokenizer, "_tokenizer", None)
    if fast is None:
        raise WrongUse(f"onnx: {embedder.name} has a tokenizer of Python, which a graph cannot carry")
    features = model.preprocess(["a text", "another, longer text"])
    names = [name for name in ("input_ids", "attention_mask", "token_type_ids") if name in features]

    class Whole(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = model

        def forward(self, *tensors: torch.Tensor) -> torch.Tensor:
            return self.inner(dict(zip(names, tensors, strict=True)))["sentence_embedding"]  # type: ignore[no-any-return]

    attention = model.transformers_model.config._attn_implementation
    place = model.device
    model.transformers_model.set_attn_implementation("eager")
    try:
        graph = traced(Whole().cpu(), {name: features[name].cpu() for name in names})
    finally:
        model.transformers_model.set_attn_implementation(attention)
        model.to(place)
    return OnnxEmbedder(
        graph,
        Tokenizer.from_str(fast.to_str()),
        dimension=embedder.dimension,
        context=int(model.max_seq_length or 512),
        metric=embedder.metric,
        prompts={key: value for key, value in (model.prompts or {}).items() if value},
        default_prompt=model.default_prompt_name or "",
        name=f"{embedder.name}-onnx",
        card=embedder.card,
        runtime=runtime,
    )
