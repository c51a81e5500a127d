"""What a saved folder may hold and name, looked at before any library opens it: a folder is a stranger's. Light.

Every entry is a file or a folder of its own; every path that a file names stays within; every class that a file names
is one of a known few; a network is no larger than the weights beside it. And what no hand writes (arrays, vocabularies)
is what was saved: :data:`~umekomi.files.SUMS_FILE` has its checksums, in the form that ``sha256sum -c`` reads.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING, Any

import numpy as np

from umekomi.errors import DataError, MissingExtra, WrongUse
from umekomi.files import MODEL_FILE, SUMS_FILE, file_hash, read_json
from umekomi.models.borders import reading

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from umekomi.contracts import Floats

_HOMES = {
    "base": ("dense", "normalize", "router", "transformer"),
    "sentence_transformer": (
        *("bow", "clip_model", "cnn", "dropout", "layer_norm", "lstm", "pooling"),
        *("static_embedding", "weighted_layer_pooling", "word_embeddings", "word_weights"),
    ),
    "multi_vector_encoder": ("multi_vector_mask", "token_pooling"),
    "cross_encoder": ("logit_score",),
}
_CLASSES = {
    **{"dense": "Dense", "normalize": "Normalize", "router": "Router", "transformer": "Transformer", "bow": "BoW"},
    **{"clip_model": "CLIPModel", "cnn": "CNN", "dropout": "Dropout", "layer_norm": "LayerNorm", "lstm": "LSTM"},
    **{"pooling": "Pooling", "static_embedding": "StaticEmbedding", "multi_vector_mask": "MultiVectorMask"},
    **{"weighted_layer_pooling": "WeightedLayerPooling", "word_embeddings": "WordEmbeddings"},
    **{"word_weights": "WordWeights", "token_pooling": "HierarchicalTokenPooling", "logit_score": "LogitScore"},
}


def _layers() -> dict[str, str]:
    known: dict[str, str] = {}
    for family, files in _HOMES.items():
        for file in files:
            name = _CLASSES[file]
            places = [f"{family}.modules", f"{family}.modules.{file}"]
            if family == "base":  # shown by each family as its own, and once theirs
                places += [f"{other}.modules" for other in _HOMES] + [f"sentence_transformer.modules.{file}"]
            if family in ("base", "sentence_transformer"):  # before version 5.4
                places += ["models", f"models.{name}"]
            known |= {f"sentence_transformers.{place}.{name}": name for place in places}
    return known | {"sentence_transformers.models.Asym": "Router"}


LAYERS = _layers()
"""The classes of sentence-transformers that a folder may name, under each of the paths that they have had: exactly
these."""
WORDS = frozenset(
    f"sentence_transformers.{place}.{name}"
    for name, file in (("WhitespaceTokenizer", "whitespace"), ("PhraseTokenizer", "phrase"))
    for place in (
        "models.tokenizer",
        f"models.tokenizer.{name}",
        "sentence_transformer.modules.tokenizer",
        f"sentence_transformer.modules.tokenizer.{file}",
    )
)
"""The tokenizers that a table of word vectors may name."""
ACTIVATIONS = frozenset(
    f"torch.nn.{place}{name}"
    for place, names in (
        ("modules.linear.", ("Identity",)),
        (
            "modules.activation.",
            (
                *("CELU", "ELU", "GELU", "GLU", "Hardshrink", "Hardsigmoid", "Hardswish", "Hardtanh", "LeakyReLU"),
                *("LogSigmoid", "Mish", "PReLU", "ReLU", "ReLU6", "SELU", "Sigmoid", "SiLU", "Softmax", "Softplus"),
                *("Softshrink", "Softsign", "Tanh", "Tanhshrink"),
            ),
        ),
    )
    for place, names in ((place, names), ("", names))
    for name in names
)
"""The activations that a dense layer or a scorer may name."""
SETTINGS = frozenset(
    [
        *("config.json", "config_sentence_transformers.json", "tokenizer_config.json", "special_tokens_map.json"),
        *("generation_config.json", "preprocessor_config.json", "processor_config.json", "adapter_config.json"),
        *("router_config.json", "wordembedding_config.json", "lstm_config.json", "cnn_config.json"),
        *("whitespacetokenizer_config.json", "phrasetokenizer_config.json"),
    ]
)
"""Files of settings that the libraries read, each an object; so is every ``sentence_…`` one."""
UNSAVED = ("Normalize", "Dropout", "CLIPModel", "Transformer", "InstructedTransformer")
"""Layers that have no ``config.json`` of settings which they cannot do without."""


# --- entries and paths ----------------------------------------------------------------------------------------------


def check_entries(folder: Path) -> None:
    """The error for the first entry that is neither a file nor a folder of its own: a pipe would be waited for, a
    device read without end, a link to a folder leads elsewhere. A link to a file is that file (the hub's cache is made
    of them)."""
    root = folder.resolve()
    for place, folders, files in os.walk(folder):
        for name in folders:
            path = Path(place, name)
            if path.is_symlink() and not path.resolve().is_relative_to(root):
                raise DataError(f"{path}: expected a folder of the model's own, found a link to {path.resolve()}")
        for name in files:
            path = Path(place, name)
            if path.is_symlink() and not path.exists():
                raise DataError(f"{path}: expected a file, found a link that leads nowhere")
            if not path.is_file():
                raise DataError(f"{path}: expected a file, found {_sort(path)}")


def _sort(path: Path) -> str:
    for ask, name in (("is_fifo", "a pipe"), ("is_socket", "a socket"), ("is_dir", "a folder")):
        if getattr(path, ask)():
            return name
    return "a device"


def inside(folder: Path, named: object, by: Path) -> Path:
    """The path within ``folder`` that the file ``by`` names; the error for one that is absolute or leads out, on any
    system."""
    if not isinstance(named, str) or "\0" in named:
        raise DataError(f"{by}: expected a path within the folder, found {named!r}")
    windows = PureWindowsPath(named)
    if windows.anchor or PurePosixPath(named).is_absolute() or {".."} & set(windows.parts):
        raise DataError(f"{by}: expected a path within the folder, found {named!r}")
    path = folder / windows.as_posix()
    if path.exists() and not path.resolve().is_relative_to(folder.resolve()) and path.is_dir():
        raise DataError(f"{by}: expected a path within the folder, found {named!r}, a link to {path.resolve()}")
    return path


# --- JSON -----------------------------------------------------------------------------------------------------------


def read_object(path: Path) -> dict[str, Any]:
    """A JSON file that holds an object; the error for any other."""
    if not path.is_file():
        raise WrongUse(f"{path}: the saved model is not whole: no such file")
    object = read_json(path)
    if not isinstance(object, dict):
        raise DataError(f"{path}: expected an object, found {_brief(object)}")
    return object


def _brief(value: object) -> str:
    text = repr(value)
    return f"{type(value).__name__} {text[:40]}{'…' if len(text) > 40 else ''}"


def fields(found: Mapping[str, Any], by: Path | str, **expected: Any) -> dict[str, Any]:
    """``found`` with each field of the type that ``expected`` gives it (a tuple: any of these; a field whose name ends
    in ``_`` may be left out, and has the name without it); the error for one that is missing, of another type, or not
    known. A whole number will do for a fraction."""
    out = dict(found)
    for key, kinds in expected.items():
        name, kinds = key.removesuffix("_"), kinds if isinstance(kinds, tuple) else (kinds,)
        if name not in out:
            if key.endswith("_"):
                continue
            raise WrongUse(f"{by}: the saved model is not whole: {name!r} is not there")
        value = out[name]
        fits = isinstance(value, (*kinds, int) if float in kinds else kinds)
        if not fits or (isinstance(value, bool) and bool not in kinds):
            wanted = " or ".join(kind.__name__ for kind in kinds)
            raise DataError(f"{by}, {name}: expected {wanted}, found {_brief(value)}")
    known = {key.removesuffix("_") for key in expected}
    unknown = next((name for name in out if name not in known), None)
    if unknown is not None:
        raise DataError(f"{by}: expected {', '.join(sorted(known)) or 'no settings'}, found {str(unknown)[:60]!r}")
    return out


def settings(folder: Path, head: Mapping[str, Any], **expected: Any) -> dict[str, Any]:
    """The settings of ``umekomi.json``, checked as by :func:`fields`."""
    return fields(head.get("settings") or {}, f"{folder / MODEL_FILE}, settings", **expected)


# --- arrays and vocabularies ----------------------------------------------------------------------------------------


def read_arrays(path: Path, *names: str) -> dict[str, Any]:
    """All arrays of a safetensors file, by name; ``names`` must be among them."""
    from safetensors.numpy import load_file

    with reading(path):
        arrays: dict[str, Any] = load_file(path)
    missing = [name for name in names if name not in arrays]
    if missing:
        raise WrongUse(f"{path}: expected the array {missing[0]!r}, found {', '.join(arrays)[:200] or 'none'}")
    return arrays


def read_floats(path: Path, name: str, axes: int) -> Floats:
    """The one array of this name, as float32 with so many axes."""
    array = read_arrays(path, name)[name]
    if array.ndim != axes or array.dtype.kind != "f":
        raise DataError(
            f"{path}, {name}: expected floats with {axes} axes, found {array.dtype} of shape {list(array.shape)}"
        )
    return array.astype(np.float32, copy=False)


def read_list(path: Path) -> list[Any]:
    """A JSON file with a list of names, each a text or a number."""
    if not path.is_file():
        raise WrongUse(f"{path}: the saved model is not whole: no such file")
    items = read_json(path)
    if not isinstance(items, list):
        raise DataError(f"{path}: expected a list of names, found {_brief(items)}")
    for place, name in enumerate(items):
        if isinstance(name, (list, dict)) or name is None:
            raise DataError(f"{path}: expected a name in place {place + 1}, found {_brief(name)}")
    return items


def read_tokenizer(path: Path) -> Tokenizer:
    """A tokenizer of the tokenizers library."""
    from tokenizers import Tokenizer

    if not path.is_file():
        raise WrongUse(f"{path}: the saved model is not whole: no such file")
    with reading(path):
        tokenizer: Tokenizer = Tokenizer.from_file(str(path))
    return tokenizer


def most_tokens(tokenizer: Tokenizer) -> int:
    """One more than the highest number that a tokenizer gives: how many rows its table must have."""
    return max(tokenizer.get_vocab().values(), default=-1) + 1


# --- checksums ------------------------------------------------------------------------------------------------------


def _summed(folder: Path) -> Iterator[Path]:
    """The files that no hand writes, without those of a model within, which has checksums of its own."""
    for path in sorted(folder.iterdir()):
        if path.is_dir():
            if not (path / MODEL_FILE).is_file():
                yield from _summed(path)
        elif path.name not in ("README.md", SUMS_FILE, MODEL_FILE, "modules.json") and not (
            path.suffix == ".json" and "config" in path.name
        ):
            yield path


def write_sums(folder: Path) -> None:
    """Keep the checksums of the folder's arrays and vocabularies beside them."""
    lines = [f"{file_hash(path)}  {path.relative_to(folder).as_posix()}\n" for path in _summed(folder)]
    if lines:
        (folder / SUMS_FILE).write_text("".join(lines), encoding="utf-8")


def check_sums(folder: Path) -> None:
    """The error for the first file that is no longer what was saved; a folder without checksums has none to check."""
    sums = folder / SUMS_FILE
    if not sums.is_file():
        return
    with reading(sums):
        lines = sums.read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines, 1):
        wanted, gap, name = line[:64], line[64:66], line[66:]
        if gap != "  " or not name or set(wanted) - set("0123456789abcdef"):
            raise DataError(f"{sums}, line {number}: expected a checksum and a file's name, found {line[:80]!r}")
        path = inside(folder, name, sums)
        if not path.is_file():
            raise WrongUse(f"{path}: the saved model is not whole: no such file")
        if file_hash(path) != wanted:
            raise DataError(
                f"{path}: expected the file that was saved, found another: it is damaged, or was changed on purpose "
                f"(then remove {SUMS_FILE})"
            )


# --- sentence-transformers' folders ---------------------------------------------------------------------------------


def check_layers(folder: Path, ours: Mapping[str, Any]) -> None:
    """The error for the first thing in a folder of sentence-transformers or transformers that is not to be opened: a
    layer, activation or tokenizer that is not known, a path that leads out, settings of another type, a network larger
    than its weights. ``ours``: our layers by name."""
    places = [folder]
    if (folder / "modules.json").is_file():
        for name, path in _modules(folder, folder / "modules.json", ours):
            places.append(path)
            if name == "Router":
                places += _routes(path, ours)
            elif name not in UNSAVED and path != folder and not any(path.glob("*config.json")):
                raise WrongUse(f"{path / 'config.json'}: the saved model is not whole: no such file")
    for place in dict.fromkeys(places):
        if place.is_dir():
            _check_place(place)


def _modules(folder: Path, by: Path, ours: Mapping[str, Any]) -> Iterator[tuple[str, Path]]:
    modules = read_json(by)
    if not isinstance(modules, list) or not modules:
        raise DataError(f"{by}: expected a list of layers, found {_brief(modules)}")
    for module in modules:
        if not isinstance(module, dict):
            raise DataError(f"{by}: expected a list of layers, found {_brief(module)} in it")
        named = {key: module[key] for key in ("name", "path", "type") if key in module}
        fields(named, by, name=str, path=str, type=str)
        yield _layer(module["type"], by, ours), inside(folder, module["path"], by)


def _layer(kind: object, by: Path, ours: Mapping[str, Any]) -> str:
    """The bare name of a layer that may be named."""
    if isinstance(kind, str) and kind in ours:
        return kind.rpartition(".")[2]
    if not isinstance(kind, str) or kind not in LAYERS:
        raise WrongUse(
            f"{by}: expected layers of sentence-transformers or umekomi, found {str(kind)[:80]!r}; umekomi runs no "
            "code that a folder names"
        )
    return LAYERS[kind]


def _routes(folder: Path, ours: Mapping[str, Any]) -> Iterator[Path]:
    by = next((folder / name for name in ("router_config.json", "config.json") if (folder / name).is_file()), None)
    if by is None:
        raise WrongUse(f"{folder / 'router_config.json'}: the saved model is not whole: no such file")
    config = read_object(by)
    types, structure = config.get("types"), config.get("structure")
    if not isinstance(types, dict) or not isinstance(structure, dict):
        raise DataError(f"{by}: expected the layers of each route, types and structure, found {', '.join(config)[:80]}")
    for route, names in structure.items():
        if not isinstance(names, list) or not names or any(not isinstance(n, str) or n not in types for n in names):
            raise DataError(f"{by}, route {route!r}: expected a list of its layers' names, found {_brief(names)}")
    for name, kind in types.items():
        path = inside(folder, name, by)
        if _layer(kind, by, ours) not in UNSAVED and not any(path.glob("*config.json")):
            raise WrongUse(f"{path / 'config.json'}: the saved model is not whole: no such file")
        yield path


def _check_place(place: Path) -> None:
    """One layer's folder: its settings are objects, and name nothing that is not known."""
    for path in sorted(place.glob("*.json")):
        if path.name in SETTINGS or path.name.startswith("sentence_") or path.name.endswith(".index.json"):
            config = read_object(path)
            _check_settings(place, path, config)
    if (place / "config.json").is_file():
        _check_size(place)


def _check_settings(place: Path, path: Path, found: dict[str, Any]) -> None:
    if path.name.endswith(".index.json"):
        weights = found.get("weight_map")
        if not isinstance(weights, dict):
            raise DataError(f"{path}, weight_map: expected an object, found {_brief(weights)}")
        for name in dict.fromkeys(str(name) for name in weights.values()):
            if not inside(place, name, path).is_file():
                raise WrongUse(f"{place / name}: the saved model is not whole: no such file")
    scorer = found.get("sentence_transformers")
    named = {
        "activation_function": found.get("activation_function") if "in_features" in found else None,  # of a Dense layer
        "sbert_ce_default_activation_function": found.get("sbert_ce_default_activation_function"),
        "activation_fn": (scorer if isinstance(scorer, dict) else found).get("activation_fn"),
    }
    for key, value in named.items():
        if value is not None and not (isinstance(value, str) and value in ACTIVATIONS):
            raise WrongUse(f"{path}, {key}: expected an activation of torch.nn, found {str(value)[:80]!r}")
    if path.name == "wordembedding_config.json":
        value = found.get("tokenizer_class")
        if not (isinstance(value, str) and value in WORDS):
            raise WrongUse(
                f"{path}, tokenizer_class: expected a tokenizer of sentence-transformers, found {str(value)[:80]!r}"
            )
    if path.name == "tokenizer_config.json" and found.get("tokenizer_class") == "BertJapaneseTokenizer":
        _check_splitter(place, found)
    for key in ("tokenizer_name_or_path", "base_model_name_or_path"):
        if found.get(key) and (path.name.startswith("sentence_") or path.name == "adapter_config.json"):
            inside(place, found[key], path)


def _check_splitter(place: Path, found: dict[str, Any]) -> None:
    """The error where fugashi or the dictionary is not installed, by which BERT's Japanese tokenizer cuts words."""
    if found.get("word_tokenizer_type") != "mecab":
        return
    chosen = found.get("mecab_kwargs")
    dictionary = chosen.get("mecab_dic", "unidic_lite") if isinstance(chosen, dict) else "unidic_lite"
    for package in ("fugashi", dictionary):
        if isinstance(package, str) and not find_spec(package):
            raise MissingExtra(package, "japanese", f"{place}: its tokenizer, which cuts Japanese into words,")


_DEPTHS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers", "encoder_layers", "decoder_layers")
_WIDTHS = ("hidden_size", "d_model", "n_embd", "dim", "intermediate_size", "ffn_dim", "d_ff", "n_inner", "hidden_dim")
_ROWS = ("vocab_size", "max_position_embeddings", "n_positions", "type_vocab_size", "max_2d_position_embeddings")
SMALL = 50_000_000
"""Numbers of a network that are made whatever the weights say: .2 GB."""


def _check_size(place: Path) -> None:
    """A configuration that asks for far more than the weights hold would be built before it is found not to fit: for
    minutes, and out of memory."""
    from safetensors import safe_open

    path = place / "config.json"
    config = read_object(path)
    files = sorted(place.glob("*.safetensors"))
    numbers = tensors = 0
    for file in files:
        with reading(file), safe_open(file, "np") as weights:
            for name in weights.keys():  # noqa: SIM118 - a safetensors file, not a mapping
                shape = weights.get_slice(name).get_shape()
                size = 1
                for side in shape:
                    size *= side
                numbers, tensors = numbers + size, tensors + 1
    if not files:
        return
    holders = [config, *(value for key, value in config.items() if key.endswith("_config") and isinstance(value, dict))]
    for holder in holders:
        counts = {
            key: value
            for key in (*_DEPTHS, *_WIDTHS, *_ROWS)
            if isinstance(value := holder.get(key), int) and not isinstance(value, bool)
        }
        for key, value in counts.items():
            if value < 0:
                raise DataError(f"{path}, {key}: expected a size, found {value}")
        depth = max((counts[key] for key in _DEPTHS if key in counts), default=1)
        wide = max((counts[key] for key in _WIDTHS if key in counts), default=1)
        narrow = min((counts[key] for key in _WIDTHS if counts.get(key)), default=1)
        rows = max((counts[key] for key in _ROWS if key in counts), default=1)
        # a layer has some weights of its own, or shares them with others (ALBERT); tables and layers may be factorised
        most = 8 * max(numbers, SMALL)
        if depth > max(256, tensors) or narrow * wide * depth > most or rows * narrow > 2 * most:
            raise DataError(
                f"{path}: expected the network whose {numbers:,} weights lie beside it, found {depth:,} layers of "
                f"width {wide:,} and tables of {rows:,} rows"
            )


def damaged(folder: Path) -> str | None:
    """What is wrong with the first file of a folder that cannot be read as what its name says: asked when opening has
    failed."""
    from safetensors import safe_open

    from umekomi.errors import UmekomiError

    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        try:
            if path.name == "tokenizer.json":
                read_tokenizer(path)
            elif path.suffix == ".json":
                read_json(path)
            elif path.suffix == ".safetensors":
                with reading(path), safe_open(path, "np"):
                    pass
        except UmekomiError as error:
            return str(error)
    return None
