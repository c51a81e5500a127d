"""Open a model: a folder that umekomi or sentence-transformers saved, a catalogue name, or a hub id.

Nothing in a folder is ever run: ``umekomi.json`` names one of the kinds below, and ``modules.json`` may name only
classes of sentence-transformers and ours.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

from umekomi.errors import WrongUse, unknown_name
from umekomi.files import MODEL_FILE, read_json

KINDS = {
    "text": "umekomi.models.text",
    "static": "umekomi.models.static",
    "bm25": "umekomi.models.lexical",
    "tfidf": "umekomi.models.lexical",
    "random": "umekomi.models.untrained",
    "hashing": "umekomi.models.untrained",
    "entity": "umekomi.models.entity",
    "bags": "umekomi.models.bags",
    "multi": "umekomi.models.multivector",
    "onnx": "umekomi.models.engines.onnx",
    "transformed": "umekomi.models.transformed",
    "backbone": "umekomi.models.backbone",
    "cross-encoder": "umekomi.models.scorers",
    "gemini": "umekomi.models.gemini",
}
"""The module that reads each kind; in it, ``MODELS[kind]`` is the class."""


def load(name: Any) -> Any:
    """The embedder, scorer or backbone at ``name``: a folder, a catalogue name (``"minilm"``), or a hub id. An object
    that is one already is given back."""
    if not isinstance(name, (str, Path)):
        return name
    folder = Path(name).expanduser()
    if folder.is_dir():
        return load_folder(folder)
    text = str(name)
    from umekomi.models.published import catalogue

    if text in BUILT_IN:
        return reader(text).default()
    if text in catalogue.CATALOGUE:
        return catalogue.open_entry(catalogue.CATALOGUE[text])
    if text.startswith((".", "/", "~")) or text.count("/") != 1:
        if "/" in text or text.endswith("/"):
            raise WrongUse(f"{text}: no such folder")
        raise unknown_name("model, recipe or folder", text, [*catalogue.CATALOGUE, *BUILT_IN])
    return catalogue.open_hub(text)


def load_embedder(name: Any) -> Any:
    """:func:`load`, where only an embedder will do."""
    model = load(name)
    if not hasattr(model, "encode"):
        hint = ": call .embedder() on it first" if model.kind == "backbone" else ""
        raise WrongUse(f"{model.name} is a {model.kind}; expected an embedder{hint}")
    return model


BUILT_IN = ("random", "hashing")
"""Embedders that need no learning and no files."""


def reader(kind: str) -> Any:
    """The class that reads this kind."""
    return import_module(KINDS[kind]).MODELS[kind]


def load_folder(folder: Path) -> Any:
    """A saved folder; ours by ``umekomi.json``, sentence-transformers' own by ``modules.json``."""
    if (folder / MODEL_FILE).is_file():
        head = read_json(folder / MODEL_FILE)
        kind = head.get("kind") if isinstance(head, dict) else None
        if kind not in KINDS:
            raise WrongUse(f"{folder / MODEL_FILE}: expected a kind among {', '.join(KINDS)}, found {kind!r}")
        if head.get("format", 0) > 1:
            raise WrongUse(f"{folder}: saved in format {head['format']}, this version reads up to 1: upgrade umekomi")
        try:
            model = reader(kind)._read(folder, head)
        except (FileNotFoundError, KeyError) as error:
            raise WrongUse(f"{folder}: the saved model is not whole: {error}") from None
        model.name = head.get("name") or folder.name
        model.card = head.get("card") or {}
        return model
    if (folder / "config.json").is_file() and read_json(folder / "config.json").get("model_type") == "nvembed":
        from umekomi.models.published.nv_embed import nv_embed

        return nv_embed(folder, folder.name)
    if (folder / "modules.json").is_file():
        modules = read_json(folder / "modules.json")
        if len(modules) == 1 and modules[0].get("type", "").endswith("StaticEmbedding") and not modules[0].get("path"):
            return reader("static")._read(folder, {"name": folder.name})
        return reader("text")._read(folder, {"name": folder.name})
    if (folder / "config.json").is_file():
        return reader("text")._read(folder, {"name": folder.name})
    raise WrongUse(f"{folder}: expected a saved model ({MODEL_FILE} or modules.json), found neither")
