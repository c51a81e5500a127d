"""A text embedder as one ONNX graph, run by ONNX Runtime: no torch at run time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from umekomi.errors import MissingExtra, WrongUse
from umekomi.models.base import EmbedderBase
from umekomi.progress import Progress

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from umekomi.models.text import TextEmbedder


class OnnxEmbedder(EmbedderBase):
    """``model.onnx`` (token ids and mask in, finished vectors out) and ``tokenizer.json``."""

    kind = "onnx"

    def __init__(
        self,
        graph: bytes,
        tokenizer: Tokenizer,
        *,
        dimension: int,
        context: int,
        metric: str,
        prompts: dict[str, str],
        name: str,
        card: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(name, card)
        try:
            import onnxruntime
        except ImportError:
            raise MissingExtra("onnxruntime", "onnx", "running an ONNX model") from None
        onnxruntime.set_default_logger_severity(3)
        self.graph, self.tokenizer = graph, tokenizer
        self.dimension, self.context, self.metric, self.prompts = dimension, context, metric, prompts
        self.session = onnxruntime.InferenceSession(graph, providers=onnxruntime.get_available_providers())
        self.inputs = [item.name for item in self.session.get_inputs()]

    @property
    def roles(self) -> frozenset[str]:
        return frozenset(self.prompts)

    def _encode(self, items: list[Any], *, output: str, role: str | None, batch_size: int, progress: bool) -> Any:
        import numpy as np

        if role not in (None, "query", "document") and role not in self.prompts:
            raise WrongUse(f"{self.name} knows no role {role!r}; there are: {', '.join(sorted({'query', 'document', *self.prompts}))}")
        prompt = self.prompts.get(role or "", "")
        order = sorted(range(len(items)), key=lambda i: -len(items[i]))
        out = np.zeros((len(items), self.dimension), np.float32)
        self.tokenizer.enable_truncation(self.context)
        self.tokenizer.enable_padding()
        with Progress(f"{self.name}: encoding", len(items), "texts", progress) as bar:
            for start in range(0, len(order), batch_size):
                chosen = order[start : start + batch_size]
                encodings = self.tokenizer.encode_batch([prompt + items[i] for i in chosen])
                feed = {
                    "input_ids": np.array([encoding.ids for encoding in encodings], np.int64),
                    "attention_mask": np.array([encoding.attention_mask for encoding in encodings], np.int64),
                    "token_type_ids": np.array([encoding.type_ids for encoding in encodings], np.int64),
                }
                (out[chosen],) = self.session.run(None, {name: feed[name] for name in self.inputs})
                bar.advance(len(chosen))
        return out

    def truncated(self, items: Sequence[str]) -> Any:
        import numpy as np

        self.tokenizer.no_truncation()
        self.tokenizer.no_padding()
        return np.array([len(encoding.ids) > self.context for encoding in self.tokenizer.encode_batch_fast(list(items))], bool)

    def _write(self, folder: Path) -> dict[str, Any]:
        (folder / "model.onnx").write_bytes(self.graph)
        self.tokenizer.save(str(folder / "tokenizer.json"))
        return {"dimension": self.dimension, "context": self.context, "prompts": self.prompts}

    @classmethod
    def _read(cls, folder: Path, head: dict[str, Any]) -> OnnxEmbedder:
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        graph = (folder / "model.onnx").read_bytes()
        return cls(graph, tokenizer, metric=head["metric"], name=head["name"], card=head.get("card"), **head["settings"])


def export(embedder: TextEmbedder) -> OnnxEmbedder:
    """The whole pipeline of a text embedder (transformer, pooling, normalisation) as one graph with free batch and
    length. Needs torch and the package onnx; the result needs neither."""
    import io
    import warnings

    import torch
    from tokenizers import Tokenizer

    try:
        import onnx  # noqa: F401
    except ImportError:
        raise MissingExtra("onnx", "onnx", "exporting to ONNX") from None
    model = embedder.model
    features = model.preprocess(["a text", "another, longer text"])
    names = [name for name in ("input_ids", "attention_mask", "token_type_ids") if name in features]

    class Whole(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = model

        def forward(self, *tensors: torch.Tensor) -> torch.Tensor:
            return self.inner(dict(zip(names, tensors, strict=True)))["sentence_embedding"]  # type: ignore[no-any-return]

    stream = io.BytesIO()
    attention = model.transformers_model.config._attn_implementation
    model.transformers_model.set_attn_implementation("eager")
    try:
        with torch.inference_mode(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the tracer names every shape it fixes; batch and length stay free, a test looks
            torch.onnx.export(
                Whole().cpu(),
                tuple(features[name].cpu() for name in names),
                stream,  # type: ignore[arg-type]
                input_names=names,
                output_names=["sentence_embedding"],
                dynamic_axes={name: {0: "batch", 1: "tokens"} for name in names} | {"sentence_embedding": {0: "batch"}},
                opset_version=17,
                dynamo=False,
            )
    finally:
        model.transformers_model.set_attn_implementation(attention)
    return OnnxEmbedder(
        stream.getvalue(),
        Tokenizer.from_str(model.tokenizer._tokenizer.to_str()),
        dimension=embedder.dimension,
        context=int(model.max_seq_length or 512),
        metric=embedder.metric,
        prompts={key: value for key, value in (model.prompts or {}).items() if value},
        name=f"{embedder.name}-onnx",
        card=embedder.card,
    )


MODELS = {"onnx": OnnxEmbedder}
