"""The verb ``convert``: a model from one format to another."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from umekomi.errors import WrongUse
from umekomi.files import MODEL_FILE, SUMS_FILE
from umekomi.limits import checked
from umekomi.models import TransformedEmbedder, load, word2vec
from umekomi.models.entity import EntityEmbedder
from umekomi.models.static import StaticEmbedder

FORMATS = ("word2vec", "safetensors", "sentence-transformers", "onnx")


@checked
def convert(
    source: Any,
    out: str | Path,
    to: str | None = None,
    *,
    precision: str = "float32",
    data: Any = None,
    least_cosine: float = 0.99,
    progress: bool = False,
) -> Path:
    """Write the model at ``source`` to ``out`` in another format.

    ``"word2vec"``: a table of entities as text, or binary where ``out`` ends in ``.bin``. ``"safetensors"``: umekomi's
    own folder. ``"sentence-transformers"``: a folder that opens there as it is, without ``umekomi.json``; transforms
    that are linear become its layers. ``"onnx"``: a folder that needs no torch; with ``precision="int8"`` its weights
    have eight bits where every text of ``data`` keeps a cosine of ``least_cosine`` to its own vector, and the card says
    what it costs (:func:`umekomi.models.engines.quantized.int8`). A ``source`` ending in ``.txt``, ``.vec`` or
    ``.bin``, packed or not, is read as word2vec.
    """
    out = Path(out)
    to = to or ("word2vec" if word2vec.is_named(out) else "safetensors")
    if to not in FORMATS:
        raise WrongUse(f"convert: expected one of {', '.join(FORMATS)}, found {to!r}")
    if precision not in ("float32", "int8"):
        raise WrongUse(f"precision: expected float32 or int8, found {precision!r}")
    if precision == "int8" and (to != "onnx" or data is None):
        raise WrongUse("precision int8: expected to 'onnx', and data, the texts to measure the loss on")
    model = _open(source)
    if to == "word2vec":
        word2vec.write(as_table(model), out)
    elif to == "onnx":
        from umekomi.models.engines.choice import export, has_graph
        from umekomi.models.engines.onnx import OnnxEmbedder

        if not has_graph(model) and not isinstance(model, OnnxEmbedder):
            raise WrongUse(
                f"onnx: expected a transformer text embedder or one that reads word by word, found kind {model.kind}"
            )
        exported = model if isinstance(model, OnnxEmbedder) else export(model)
        if precision == "int8":
            from umekomi.models.engines.quantized import int8

            exported = int8(exported, _texts(data), least=least_cosine, progress=progress)
        exported.save(out)
    elif to == "sentence-transformers":
        if isinstance(model, TransformedEmbedder):
            from umekomi.models.folding import fold

            model = fold(model)
        if not model.standard:
            raise WrongUse(
                "sentence-transformers has no such model: expected kind text, static, multi or cross-encoder, found "
                f"{model.kind}"
            )
        model.save(out)
        for file in (MODEL_FILE, SUMS_FILE):
            (out / file).unlink()
    else:
        model.save(out)
    return out


def _texts(data: Any) -> list[str]:
    """The texts of a file's first text column, or texts as they are."""
    if not isinstance(data, (str, Path)):
        return list(data)
    from umekomi.data.readers import batches

    table = next(batches(Path(data), 4096))
    column = next(
        (name for name in ("text", "anchor", "sentence1", *table.column_names) if name in table.column_names), "text"
    )
    return [str(text) for text in table[column].to_pylist() if text]


def _open(source: Any) -> Any:
    if isinstance(source, (str, Path)) and word2vec.is_named(source) and not Path(source).is_dir():
        return word2vec.read(source)
    return load(source)


def as_table(model: Any) -> Any:
    """A table of names and vectors: an entity embedder as it is, a static embedder's tokens."""
    if isinstance(model, EntityEmbedder):
        return model
    if isinstance(model, StaticEmbedder):
        vocabulary = sorted(model.tokenizer.get_vocab().items(), key=lambda entry: entry[1])
        kept = [(name, row) for name, row in vocabulary if name and not any(character.isspace() for character in name)]
        return EntityEmbedder([name for name, _ in kept], model.table[[row for _, row in kept]], name=model.name)
    raise WrongUse(f"word2vec: expected a table of entities or a static embedder, found kind {model.kind}")
