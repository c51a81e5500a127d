"""The verb ``convert``: a model from one format to another."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from umekomi.errors import WrongUse
from umekomi.files import MODEL_FILE, SUMS_FILE
from umekomi.limits import checked
from umekomi.models import TransformedEmbedder, load, word2vec
from umekomi.models.engines.choice import export, gguf_source, has_graph, open_gguf
from umekomi.models.engines.gguf import header
from umekomi.models.entity import EntityEmbedder
from umekomi.models.opening import as_embedder
from umekomi.models.static import StaticEmbedder

STATES = (".pkl", ".pickle", ".pt", ".pth")
"""Files of torch's state dictionaries."""
if TYPE_CHECKING:
    from umekomi.models.base import Named, Saved

FORMATS = ("word2vec", "safetensors", "sentence-transformers", "onnx", "gguf")


@checked
def convert(
    source: Named,
    out: str | Path,
    to: str | None = None,
    *,
    precision: str = "float32",
    data: str | Path | Iterable[str] | None = None,
    least_cosine: float = 0.99,
    vectors: Named | None = None,
    type: str = "",
    pooling: str = "",
    progress: bool = False,
) -> Path:
    """Write a model in another format.

    ``"word2vec"``: a table of entities as text, or binary where ``out`` ends in ``.bin``. ``"safetensors"``: umekomi's
    own folder. ``"sentence-transformers"``: a folder that opens there as it is, without ``umekomi.json``; transforms
    that are linear become its layers. ``"onnx"``: a folder that needs no torch. ``"gguf"``: a file for llama.cpp and
    its kin. What comes from a GGUF file has its weights expanded to float32, except in another GGUF file.

    Args:
        source: the model; a file ending in ``.txt``, ``.vec`` or ``.bin``, packed or not, is read as word2vec; one
            ending in ``.pkl``, ``.pickle``, ``.pt`` or ``.pth`` as an encoder that InferSent published
            (:mod:`umekomi.models.published.infersent`).
        out: a folder, or a file of word vectors.
        to: one of these formats; None: by the ending of ``out``.
        precision: ``"int8"``: a graph's weights have eight bits where that costs no more than ``least_cosine``, and the
            card says what it costs (:func:`umekomi.models.engines.quantized.int8`).
        data: the texts that this is measured on.
        least_cosine: that every text keeps to its own vector.
        vectors: of such an encoder, the table of word vectors that it was learned on.
        type: of a GGUF file's matrices: F32, F16, Q8_0, Q4_0, Q4_1 or Q4_K; empty: F16, or those of a GGUF source.
        pooling: that a GGUF source has, or is written into a GGUF file: mean, cls or last.
        progress: shows a bar.
    """
    out = Path(out)
    to = to or ("word2vec" if word2vec.is_named(out) else "gguf" if header.is_named(out) else "safetensors")
    if to not in FORMATS:
        raise WrongUse(f"convert: expected one of {', '.join(FORMATS)}, found {to!r}")
    if precision not in ("float32", "int8"):
        raise WrongUse(f"precision: expected float32 or int8, found {precision!r}")
    if precision == "int8" and (to != "onnx" or data is None):
        raise WrongUse("precision int8: expected to 'onnx', and data, the texts to measure the loss on")
    if type and to != "gguf":
        raise WrongUse(f"type: expected to 'gguf', found {to!r}")
    packed = gguf_source(source) if to != "gguf" else None
    if pooling and to != "gguf" and packed is None:
        raise WrongUse(f"pooling: expected a GGUF file on either side, found {source} to {to!r}")
    model: Saved = _open(source, vectors) if packed is None else open_gguf(packed, "torch", pooling)
    if to == "word2vec":
        word2vec.write(as_table(model), out)
    elif to == "gguf":
        from umekomi.models.engines.gguf.writing import write

        write(model, out, type, pooling)
    elif to == "onnx":
        from umekomi.models.engines.onnx import OnnxEmbedder

        if not has_graph(model) and not isinstance(model, OnnxEmbedder):
            raise WrongUse(
                f"onnx: expected a transformer text embedder or one that reads word by word, found kind {model.kind}"
            )
        exported = model if isinstance(model, OnnxEmbedder) else export(as_embedder(model))
        if precision == "int8" and data is not None:
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


def _texts(data: str | Path | Iterable[str]) -> list[str]:
    """The texts of a file's first text column, or texts as they are."""
    if not isinstance(data, (str, Path)):
        return list(data)
    from umekomi.data.readers import batches

    table = next(batches(Path(data), 4096))
    column = next(
        (name for name in ("text", "anchor", "sentence1", *table.column_names) if name in table.column_names), "text"
    )
    return [str(text) for text in table[column].to_pylist() if text]


def _open(source: Named, vectors: Named | None) -> Saved:
    if isinstance(source, (str, Path)) and Path(source).suffix in STATES and not Path(source).is_dir():
        if vectors is None:
            raise WrongUse(
                f"{source}: expected the word vectors that it was learned on",
                parameter="vectors",
                advice="name them with",
            )
        table = load(vectors)
        if not isinstance(table, EntityEmbedder):
            raise WrongUse(f"vectors: expected a table of word vectors, found kind {getattr(table, 'kind', 'none')}")
        from umekomi.models.published.infersent import infersent

        return infersent(source, table)
    if vectors is not None:
        raise WrongUse(f"vectors: expected a source ending in {', '.join(STATES)}, found {source}")
    if isinstance(source, (str, Path)) and word2vec.is_named(source) and not Path(source).is_dir():
        return word2vec.read(source)
    return load(source)


def as_table(model: Saved) -> EntityEmbedder:
    """A table of names and vectors: an entity embedder as it is, a static embedder's tokens."""
    if isinstance(model, EntityEmbedder):
        return model
    if isinstance(model, StaticEmbedder):
        vocabulary = sorted(model.tokenizer.get_vocab().items(), key=lambda entry: entry[1])
        kept = [(name, row) for name, row in vocabulary if name and not any(character.isspace() for character in name)]
        return EntityEmbedder([name for name, _ in kept], model.table[[row for _, row in kept]], name=model.name)
    raise WrongUse(f"word2vec: expected a table of entities or a static embedder, found kind {model.kind}")
