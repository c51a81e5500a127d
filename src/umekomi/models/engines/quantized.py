"""An exported text embedder with weights of eight bits, and what that costs, measured on the user's texts.

Weights are rounded channel by channel, activations as they come (ONNX Runtime's dynamic quantisation). Layers are not
alike: rounding one of them may turn the vectors away by more than all others together. So each matrix product is
rounded by itself first, and the most sensitive stay in float until the least cosine over the texts holds; where that
leaves next to nothing rounded, it is refused.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from umekomi.environment import instructions
from umekomi.errors import MissingExtra, WrongUse
from umekomi.models.engines.onnx import OnnxEmbedder
from umekomi.parts.similarity import normalise
from umekomi.progress import Progress, say

LEAST = 0.99
MOST_TEXTS = 256
WORTH = 0.25
"""Share of the matrix products that must be rounded for it to be worth anything."""


def int8(embedder: OnnxEmbedder, texts: Sequence[str], *, least: float = LEAST, progress: bool = False) -> OnnxEmbedder:
    """``embedder`` with as many matrix products in eight bits as keep every one of ``texts`` at a cosine of ``least``
    or more to its own vector.

    The card says what it costs: ``int8: {cosine_least, cosine_mean, texts, rounded, of, speed}``, measured on ``texts``
    (at most 256 of them, evenly taken); ``speed`` is texts per second against ``embedder``'s. The error says the best
    that was reached.
    """
    try:
        import onnx
        from onnxruntime.quantization import QuantType, quantize_dynamic
    except ImportError as error:
        raise MissingExtra(error.name or "onnx", "onnx", "rounding an ONNX model to eight bits") from None
    import logging

    if embedder.kind != OnnxEmbedder.kind:
        raise WrongUse(f"int8: expected a model of one graph, found {embedder.name}, of kind {embedder.kind}")
    if not 0 < least < 1:
        raise WrongUse(f"int8: expected a least cosine between 0 and 1, found {least}")
    texts = [text for text in texts if text.strip()]
    if len(texts) < 8:
        raise WrongUse(f"int8: expected at least 8 texts to measure the loss on, found {len(texts)}")
    texts = [texts[place] for place in np.linspace(0, len(texts) - 1, min(len(texts), MOST_TEXTS)).astype(int)]
    few = texts[:: max(1, len(texts) // 32)]
    logging.getLogger().setLevel(max(logging.getLogger().level, logging.ERROR))
    with tempfile.TemporaryDirectory() as scratch:
        source, target = Path(scratch) / "float.onnx", Path(scratch) / "int8.onnx"
        source.write_bytes(embedder.graph)
        graph = onnx.load(str(source)).graph
        constants = {tensor.name for tensor in graph.initializer} | {
            node.output[0] for node in graph.node if node.op_type == "Constant"
        }
        products = [
            node.name
            for node in graph.node
            if node.op_type in ("MatMul", "Gemm") and any(name in constants for name in node.input)
        ]
        if not products:
            raise WrongUse(f"int8: {embedder.name}'s graph has no product with a constant matrix")

        def rounded(names: Sequence[str]) -> OnnxEmbedder:
            quantize_dynamic(
                str(source),
                str(target),
                nodes_to_quantize=list(names),
                op_types_to_quantize=["MatMul", "Gemm"],
                per_channel=True,
                reduce_range=not _sums_whole(),
                weight_type=QuantType.QInt8,
            )
            return _with(embedder, target.read_bytes())

        want, want_few = (normalise(embedder.encode(each)) for each in (texts, few))
        losses = []
        with Progress("rounding each product by itself", len(products), "products", progress) as bar:
            for name in products:
                losses.append(1 - float((normalise(rounded([name]).encode(few)) * want_few).sum(1).min()))
                bar.advance()
        order = [products[place] for place in np.argsort(losses)]
        low, high = 0, len(order)
        best: tuple[int, Any, float] | None = None
        reached = 0.0
        while low < high:  # losses grow with what is rounded: the most that keeps every text
            count = (low + high + 1) // 2 if best is not None or high < len(order) else high
            quantised = rounded(order[:count])
            cosines = (normalise(quantised.encode(texts)) * want).sum(1)
            reached = max(reached, float(cosines.min()))
            if cosines.min() >= least:
                low, best = count, (count, quantised, float(cosines.mean()))
                loss = float(cosines.min())
            else:
                high = count - 1
        if best is None or best[0] < WORTH * len(order):
            kept = best[0] if best else 0
            raise WrongUse(
                f"int8: {embedder.name} keeps a cosine of {least} with {kept} of {len(order)} products in eight bits, "
                "too few to be worth it; "
                f"with more the least is {reached:.4f}: leave it in float, or ask for less"
            )
    count, quantised, mean = best
    speed = _rate(quantised, texts) / _rate(embedder, texts)
    quantised.card = {
        **embedder.card,
        "int8": {
            "cosine_least": round(loss, 5),
            "cosine_mean": round(mean, 5),
            "texts": len(texts),
            "rounded": count,
            "of": len(order),
            "speed": round(speed, 2),
        },
    }
    if speed < 1:
        say(
            f"note: in eight bits {embedder.name} is slower here ({speed:.2f} times float's texts a second): this "
            "processor gains nothing from them"
        )
    return quantised


def _sums_whole() -> bool:
    """Does the processor sum products of bytes without losing the highest bit (VNNI)? Others need weights of seven
    bits."""
    return not instructions().isdisjoint({"avx512_vnni", "avx_vnni", "asimddp"})


def _with(embedder: OnnxEmbedder, graph: bytes) -> OnnxEmbedder:
    from tokenizers import Tokenizer

    return OnnxEmbedder(
        graph,
        Tokenizer.from_str(embedder.tokenizer.to_str()),
        dimension=embedder.dimension,
        context=embedder.context,
        metric=embedder.metric,
        prompts=embedder.prompts,
        default_prompt=embedder.default_prompt,
        skips=embedder.skips,
        words=embedder.words,
        packs=embedder.packs,
        name=f"{embedder.name}-int8",
        card=embedder.card,
    )


def _rate(embedder: OnnxEmbedder, texts: Sequence[str]) -> float:
    """Texts a second, the best of three."""
    took = []
    for _ in range(3):
        begun = time.perf_counter()
        embedder.encode(list(texts))
        took.append(time.perf_counter() - begun)
    return len(texts) / min(took)
