"""How a model is opened where it only encodes: by ONNX Runtime or OpenVINO where they give the same vectors faster,
else as it is.

A transformer text embedder on a CPU is exported once, checked against itself on texts of many lengths, and kept in the
cache folder under the content of its folder; from then on it opens without torch. What cannot be exported exactly runs
by torch.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from umekomi.errors import DataError, MissingExtra, UmekomiError, WrongUse
from umekomi.files import MODEL_FILE, cache_folder, content_hash, folder_hash, read_json, whole_folder, write_json
from umekomi.models import opening
from umekomi.models.engines.runtimes import check_runtime, default_runtime
from umekomi.models.opening import (
    Source,
    as_embedder,
    class_of_kind,
    folder_of,
    is_model_name,
    load_embedder,
    load_folder,
    open_file,
    open_folder,
    open_source,
    resolve,
)
from umekomi.models.services.endpoints import is_service
from umekomi.models.tokens import NetworkEmbedder
from umekomi.progress import say

if TYPE_CHECKING:
    from umekomi.models.base import EmbedderBase, Named, Saved
    from umekomi.models.elmo import ElmoEmbedder
    from umekomi.models.engines.onnx import OnnxEmbedder
    from umekomi.models.sequence import SequenceEmbedder

TITLES = {"onnx": "ONNX Runtime", "openvino": "OpenVINO", "openvino-bf16": "OpenVINO in bfloat16"}
ENGINES = ("auto", *TITLES, "torch")
WORD_BY_WORD = ("sequence", "elmo")
"""Kinds of model that read a text word by word with a network of their own."""
TOKEN_KINDS = ("elmo",)
"""Those whose vectors of words are what they are for, which a graph does not give: they run as they are unless an
engine is named."""
GRAPHS = ("onnx", "elmo-onnx")
"""Kinds that are graphs."""
EXPORTED = ("text", *WORD_BY_WORD, *GRAPHS, "transformed")
"""Kinds of model that may run by another engine than their own; what a name on the hub is, only opening tells."""
EXACT = 0.9999
"""Least cosine of every probe text to the model's own vector."""
FORMAT = 2
LARGEST = 1_900_000_000
"""Bytes of weights that one graph file holds."""
PROBES = (
    "",
    "a",
    "The cat sat on the mat.",
    "埋め込みは文を数のならびにする。検索・分類・推薦につかう。",
    "MIXED case, ＦＵＬＬ ｗｉｄｔｈ and Ünïcödé — with punctuation!? (and 1,234.5 numbers)",
    "🙂 emoji\tand\nwhite space   in between",
    "def encode(items, *, role=None): return [hash(item) % 2 ** 32 for item in items]",
    "Bond yields rose as investors sold shares, and the market closed lower for the third day in a row. " * 5,
    "The quick brown fox jumps over the lazy dog while it rains in Spain. " * 150,
)


def open_for_encoding(model: Named, engine: str = "auto") -> EmbedderBase:
    """The embedder at ``model`` (a name, a folder, or an object, which is given back), ready to encode.

    ``"auto"``: by ONNX Runtime (or OpenVINO, if only that is there) where it is installed, the model is a transformer
    and there is no GPU; ``"onnx"``, ``"openvino"`` and, in bfloat16, ``"openvino-bf16"``: so, or an error that says why
    not; ``"torch"``: as :func:`umekomi.load` opens it. In every case the vectors are the model's: cosine 0.9999 or more
    on every probe, and its fingerprint.
    """
    if engine not in ENGINES:
        raise WrongUse(f"engine: expected {', '.join(ENGINES)}, found {engine!r}")
    if (source := gguf_source(model)) is not None:
        return open_gguf(source, engine)
    if not isinstance(model, (str, Path)) or engine == "torch" or (engine == "auto" and _gpu()):
        return load_embedder(model)
    if engine != "auto":
        check_runtime(engine)
    runtime = default_runtime() if engine == "auto" else engine
    if runtime is None:
        return load_embedder(model)
    name = str(model)
    source = resolve(model)
    folder, kind = source.folder, source.kind
    if folder is None:
        opened = load_embedder(model)
        if engine == "auto":
            return opened
        if not has_graph(opened):
            raise _no_graph(engine, name, opened.kind)
        return _exported(opened, name, None, None, engine, runtime)
    if kind == "transformed":
        return _transformed(source, folder, engine)
    if kind not in EXPORTED or (kind in TOKEN_KINDS and engine == "auto"):
        if engine != "auto":
            raise _no_graph(engine, name, kind)
        return load_embedder(model)
    if kind in GRAPHS and runtime == default_runtime():
        return load_embedder(model)
    key = content_hash(FORMAT, name if name != str(folder) else folder.name, folder_hash(folder))
    graph_folder = folder if kind in GRAPHS else cache_folder() / "engines" / key
    note = cache_folder() / "engines" / f"{key}-{runtime}.json"
    if (graph_folder / MODEL_FILE).is_file():
        try:
            graph = as_embedder(load_folder(graph_folder, runtime=runtime))
        except Exception as error:  # a damaged file, whatever the runtime makes of it
            if kind in GRAPHS:
                raise DataError(
                    f"{graph_folder}: expected a graph, found what cannot be opened ({type(error).__name__})"
                ) from None
            say(f"note: {graph_folder} cannot be opened ({type(error).__name__}); {name} is exported again")
        else:
            return graph if note.is_file() else _proved(load_embedder(model), graph, name, note, engine, runtime)
    if sum(path.stat().st_size for path in folder.rglob("*.safetensors")) > LARGEST:
        if engine != "auto":
            raise WrongUse(
                f"engine {engine}: {name} has more than {LARGEST / 1e9:.1f} GB of weights, which one graph file "
                "cannot hold; use engine torch"
            )
        return load_embedder(model)
    say(f"{name}: exporting its graph for {TITLES[runtime]}, once")
    return _exported(load_embedder(model), name, graph_folder, note, engine, runtime)


def gguf_source(model: Named) -> Source | None:
    """Where a name leads, if that is a GGUF file or a folder of one."""
    if not isinstance(model, (str, Path)) or not is_model_name(model):
        return None
    source = resolve(model)
    return source if source.kind == "gguf" else None


def open_gguf(source: Source, engine: str = "auto", pooling: str = "") -> EmbedderBase:
    """A GGUF file, or a folder of one, whose own pooling stays unless one is named: by ONNX Runtime or OpenVINO, its
    weights in their blocks, or by torch, expanded."""
    if engine == "torch":
        from umekomi.models.engines.gguf.expanded import read_expanded
        from umekomi.models.engines.gguf.model import FILE

        if source.folder is None:
            assert source.file is not None
            return read_expanded(source.file, pooling)
        expanded = read_expanded(
            source.folder / FILE, pooling or str(source.head.get("settings", {}).get("pooling", ""))
        )
        expanded.name = str(source.head.get("name") or expanded.name)
        return expanded
    runtime = "" if engine == "auto" else engine
    if runtime:
        check_runtime(runtime)
    opens = open_file if source.folder is None else open_folder
    return as_embedder(opens(source, runtime=runtime, pooling=pooling))


def _no_graph(engine: str, name: str, kind: str) -> WrongUse:
    return WrongUse(
        f"engine {engine}: expected a transformer text embedder, or one that reads word by word; {name} is of kind "
        f"{kind}"
    )


def has_graph(embedder: Saved) -> bool:
    """Is it a network that :func:`export` writes?"""
    return isinstance(embedder, NetworkEmbedder) or embedder.kind in WORD_BY_WORD


def export(embedder: EmbedderBase, runtime: str = "") -> OnnxEmbedder:
    """The embedder as one graph that needs no torch, opened by ``runtime``."""
    from umekomi.models.engines import elmo, onnx

    if embedder.kind == "elmo":
        return elmo.export_elmo(cast("ElmoEmbedder", embedder), runtime)
    if embedder.kind == "sequence":
        return onnx.export_sequence(cast("SequenceEmbedder", embedder), runtime)
    return onnx.export(cast("NetworkEmbedder", embedder), runtime)


def load(name: Named, engine: str = "auto", *, pooling: str = "") -> Saved:
    """The embedder, scorer or backbone at ``name``: a folder, a file of word vectors or GGUF, a catalogue name
    (``"minilm"``), a hub id, or a service.

    It encodes as fast as the command line does: a transformer runs by ``engine`` (as of :func:`open_for_encoding`)
    where that gives the model's own vectors; what gives word vectors, too, which a graph does not, is the model itself
    unless an engine is named. Recipes that go on from it, ``save`` and ``shrink`` take the model itself. An object that
    is a model already is given back. ``pooling`` (``"mean"``, ``"cls"``, ``"last"``) is how a GGUF file's vectors are
    made, where it does not say or says it wrong.
    """
    if engine not in ENGINES:
        raise WrongUse(f"engine: expected {', '.join(ENGINES)}, found {engine!r}")
    if pooling:
        source = gguf_source(name)
        if source is None:
            raise WrongUse(f"pooling: expected a GGUF file, whose pooling can be named, found {name}")
        return open_gguf(source, engine, pooling)
    if engine == "auto" and isinstance(name, (str, Path)) and resolve(name).kind in WORD_BY_WORD:
        return opening.load(name)
    opened = open_to_judge(name, engine)
    if isinstance(name, (str, Path)) and resolve(name).kind not in GRAPHS:
        fast = getattr(opened, "base", opened)
        if fast.kind in GRAPHS:
            opened.original = lambda: opening.load(name)
            if fast is not opened:
                fast.original = lambda: cast("Any", opening.load(name)).base
    return opened


def open_to_judge(model: Named, engine: str = "auto") -> Saved:
    """:func:`open_for_encoding`, and scorers and predictors as they are (and every object)."""
    if not isinstance(model, (str, Path)):
        return model
    source = resolve(model)
    if source.kind in (*EXPORTED, "gguf") or engine not in ENGINES or (not source.kind and engine != "auto"):
        return open_for_encoding(model, engine)
    if engine not in ("auto", "torch"):
        raise _no_graph(engine, str(model), source.kind)
    return open_source(source)


def as_reranker(model: Named) -> Named:
    """The reranker that a service's name leads to, which is asked at its ``/rerank``; any other model or name as it
    is."""
    if isinstance(model, str) and folder_of(model) is None and is_service(model):
        return cast("Named", class_of_kind("service-scorer").named(model))
    return model


def _transformed(source: Source, folder: Path, engine: str) -> EmbedderBase:
    """Transforms behind the engine; what the whole is called is worked out once, with the model as it is, and kept."""
    note = cache_folder() / "engines" / f"{content_hash(FORMAT, folder.name, folder_hash(folder))}.json"
    stands_for = read_json(note)["fingerprint"] if note.is_file() else open_folder(source).fingerprint()
    opened = as_embedder(open_folder(source, lambda base: open_for_encoding(base, engine)))
    opened.stands_for = stands_for
    if not note.is_file():
        _write(note, {"fingerprint": stands_for})
    return opened


def _write(note: Path, value: dict[str, Any]) -> None:
    """Keep what was found out, if the cache folder takes it."""
    try:
        write_json(note, value)
    except OSError as error:
        say(f"note: {note} could not be written ({error}); the next opening takes longer")


def _exported(
    embedder: EmbedderBase, name: str, kept: Path | None, note: Path | None, engine: str, runtime: str
) -> EmbedderBase:
    """The embedder's graph, checked, which ``note`` says, kept under ``kept``; the embedder itself where it has none as
    exact, if ``engine`` leaves the choice."""
    import warnings

    try:
        if not find_spec("onnx"):
            raise MissingExtra("onnx", "onnx", "exporting to ONNX")
        if not has_graph(embedder):
            raise _no_graph(engine, name, embedder.kind)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            exported = export(embedder, runtime)
    except Exception as error:  # whatever the tracer or the runtime cannot do with this network
        return _refused(embedder, name, error, engine, runtime)
    exported.name, exported.card, exported.stands_for = embedder.name, embedder.card, embedder.fingerprint()
    opened = _proved(embedder, exported, name, note, engine, runtime)
    if kept is not None and opened is exported:
        try:
            with whole_folder(kept) as folder:
                exported.save(folder)
        except OSError as error:
            say(f"note: {name}'s graph could not be kept in {kept.parent} ({error}): it is exported again next time")
    return opened


def _proved(
    embedder: EmbedderBase, exported: EmbedderBase, name: str, note: Path | None, engine: str, runtime: str
) -> EmbedderBase:
    """``exported`` if it gives ``embedder``'s vectors, which is noted; else as :func:`_refused`."""
    try:
        least = check(embedder, exported)
    except Exception as error:  # whatever the runtime cannot do with this network
        return _refused(embedder, name, error, engine, runtime)
    if exported.rounding:
        say(f"{name} by {TITLES[runtime]}: the least cosine to its own vectors is {least:.5f} over {len(PROBES)} texts")
    if note is not None:
        _write(note, {"least": least})
    return exported


def _refused(embedder: EmbedderBase, name: str, error: Exception, engine: str, runtime: str) -> EmbedderBase:
    """``embedder`` as it is, if ``engine`` leaves the choice; else the error."""
    why = (
        " ".join(str(error).split())[:300]
        if isinstance(error, UmekomiError)
        else f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
    )
    if engine != "auto":
        raise WrongUse(f"engine {engine}: {name} cannot be run by {TITLES[runtime]}: {why}") from None
    say(f"note: {name} runs by torch; it cannot be exported ({why})")
    return embedder


def check(embedder: EmbedderBase, exported: EmbedderBase) -> float:
    """The least cosine of ``exported``'s vectors to ``embedder``'s over the probes, in every role and in two batch
    compositions; the error below .9999."""
    from umekomi.parts.similarity import normalise

    least, probes = 1.0, list(PROBES)
    reader = getattr(embedder, "reader", None)
    if reader is not None:  # words that it knows, a few and many
        names = sorted(reader.tokenizer.get_vocab())
        probes += [" ".join(names[:: max(1, len(names) // count)][:count]) for count in (3, 40, 300)]
    one_way = embedder.kind in WORD_BY_WORD  # they have no prompts
    for role in (None,) if one_way else (None, *sorted(embedder.roles | {"query", "document"})):
        want = normalise(embedder.encode(probes, output="dense", role=role))
        for found in (
            exported.encode(probes, output="dense", role=role),
            np.concatenate([exported.encode([text], output="dense", role=role) for text in probes]),
        ):
            cosines = (want * normalise(found)).sum(1) + (~want.any(1) & ~found.any(1))  # of nothing, nothing
            if not np.isfinite(found).all() or float(cosines.min()) < EXACT:
                text = probes[int(np.argmin(np.nan_to_num(cosines, nan=-1.0)))]
                raise WrongUse(
                    f"its graph gives another vector than the model for {text[:30]!r} in the role {role}: cosine "
                    f"{float(cosines.min()):.5f}"
                )
            least = min(least, float(cosines.min()))
    return least


def _gpu() -> bool:
    """Is there a GPU that torch can use? torch is asked only where a device file says there may be one."""
    if not any(Path(place).exists() for place in ("/dev/nvidia0", "/dev/nvidiactl", "/dev/dxg")):
        return False
    if not find_spec("torch"):
        return False
    import torch

    return bool(torch.cuda.is_available())
