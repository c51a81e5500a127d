"""ELMo as a model: texts to the characters of their words, the network of a saved folder, and the published weights
(an options file and HDF5), read by name and shape."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_type_hints

import numpy as np

from umekomi.errors import DataError, MissingExtra, WrongUse
from umekomi.fields import Above, AtLeast, Within, problem
from umekomi.files import MODEL_FILE
from umekomi.models.borders import border, reading
from umekomi.models.folders import fields, read_object, read_tokenizer
from umekomi.models.sequence import PLACES, SequenceEmbedder
from umekomi.models.tokens import filled
from umekomi.models.words import BEFORE, UNKNOWN, word_tokenizer
from umekomi.parts.layers.bilm import BiLanguageModel, ElmoNetwork
from umekomi.parts.layers.characters import CHARACTERS, PADDING, word_characters
from umekomi.parts.layers.sentence import EncodedBatch
from umekomi.parts.words import tokenizer as split_function
from umekomi.run import Run

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from tokenizers import Tokenizer

CACHED = 1 << 16
"""Words whose characters are kept."""

Size = Annotated[int, AtLeast(1)]


def elmo_network(
    by: str,
    *,
    filters: list[Any],
    projection: Size,
    width: Size,
    layers: Annotated[int, Within(1, 64, "[]")],
    characters: Size,
    highway: Annotated[int, Within(0, 64, "[]")],
    longest: Annotated[int, Within(3, 10_000, "[]")],
    activation: Literal["relu", "tanh"],
    cell_clip: Annotated[float, Above(0)] | None,
    projection_clip: Annotated[float, Above(0)] | None,
    residual: bool,
    dropout: Annotated[float, Within(0, 1)],
    layer: Annotated[int, AtLeast(0)] | None,
    stateful: bool,
    warmup: Annotated[int, AtLeast(0)],
) -> ElmoNetwork:
    """A network of the settings that :meth:`ElmoNetwork.settings` gave; one error for those of none.

    Args:
        by: the file, for errors.
        filters: of the convolutions: how many characters wide, and how many.
        projection: numbers of a word's vector, and of each direction's output.
        width: cells of each LSTM.
        layers: of LSTM.
        characters: numbers of a character's vector.
        highway: layers behind the convolutions.
        longest: characters of a word that are read, the marks around it among them.
        activation: of the convolutions.
        cell_clip: bound of the cells; None: none.
        projection_clip: bound of the outputs; None: none.
        residual: whether a layer's input is added to its output, from the second on.
        dropout: share that training leaves out.
        layer: one layer instead of the mix; 0: the words' own.
        stateful: whether the state goes on from text to text.
        warmup: texts that are read before, to come to a state.
    """
    values = {name: value for name, value in locals().items() if name not in ("by", "filters")}
    hints = get_type_hints(elmo_network, include_extras=True)
    for name, value in values.items():
        expected = problem(value, hints[name])
        if expected is not None:
            raise DataError(f"{by}, {name}: expected {expected}, found {value!r:.60}")
    for pair in filters:
        if not (isinstance(pair, list) and len(pair) == 2 and all(type(n) is int and n > 0 for n in pair)):
            raise DataError(f"{by}, filters: expected pairs of whole numbers above zero, found {pair!r:.60}")
    own = {name: values.pop(name) for name in ("layer", "stateful", "warmup")}
    try:
        return ElmoNetwork(BiLanguageModel(filters=filters, **values), **own)
    except (WrongUse, RuntimeError, TypeError) as error:
        raise DataError(f"{by}: {error}") from None


class CharacterReader:
    """A text as the characters of its words: int64 ``[words, longest]``. ``tokenizer`` says where its words are;
    ``before`` is one of :data:`~umekomi.models.words.BEFORE`, or empty."""

    skips = None

    def __init__(self, tokenizer: Tokenizer, longest: int = 50, before: str = "") -> None:
        if before not in ("", *BEFORE):
            raise WrongUse(f"before: expected nothing, {' or '.join(BEFORE)}, found {before!r}")
        if longest < 3:
            raise WrongUse(f"longest: expected 3 characters or more, found {longest}")
        tokenizer.no_padding()
        tokenizer.no_truncation()
        self.tokenizer, self.longest, self.before = tokenizer, longest, before
        self._known: dict[str, NDArray[np.int64]] = {}

    @classmethod
    def of(cls, split: str, longest: int = 50) -> CharacterReader:
        """With one of :data:`~umekomi.models.words.SPLITS`; case stays."""
        before = split if split in BEFORE else ""
        return cls(word_tokenizer([UNKNOWN], "spaces" if before else split), longest, before)

    def words(self, texts: Sequence[str]) -> list[list[str]]:
        """The words of each text."""
        if self.before:
            cut = split_function(self.before)
            texts = [" ".join(cut(text)) for text in texts]
        with border("words"):
            encodings = self.tokenizer.encode_batch([text.replace("\0", " ") for text in texts])
        return [
            [text[low:high] for low, high in encoding.offsets] for text, encoding in zip(texts, encodings, strict=True)
        ]

    def read(self, texts: Sequence[str]) -> list[NDArray[np.int64]]:
        """int64 ``[words, longest]`` of each text."""
        return [self.characters(words) for words in self.words(texts)]

    def characters(self, words: Sequence[str]) -> NDArray[np.int64]:
        """int64 ``[words, longest]``."""
        rows = np.zeros((len(words), self.longest), np.int64)
        for place, word in enumerate(words):
            row = self._known.get(word)
            if row is None:
                row = word_characters(word, self.longest)
                if len(self._known) < CACHED:
                    self._known[word] = row
            rows[place] = row
        return rows

    def names(self, rows: NDArray[np.int64]) -> list[str]:
        """The words of rows of characters, as far as they were read."""
        inner = [row[1:] - 1 for row in rows]
        return [bytes(row[row < 256].tolist()).decode("utf-8", "replace") for row in inner]

    def write(self, folder: Path) -> dict[str, Any]:
        """``tokenizer.json``, and the settings for :meth:`open`."""
        self.tokenizer.save(str(folder / "tokenizer.json"))
        return {"longest": self.longest, "before": self.before}

    @classmethod
    def open(cls, folder: Path, found: dict[str, Any]) -> CharacterReader:
        """What :meth:`write` wrote."""
        by = f"{folder / MODEL_FILE}, settings, reader"
        own = fields(found, by, longest=int, before=str)
        try:
            return cls(read_tokenizer(folder / "tokenizer.json"), **own)
        except WrongUse as error:
            raise DataError(f"{by}: {error}") from None


class ElmoEmbedder(SequenceEmbedder):
    """ELMo's network over the characters of words. It has no graph to export yet: ONNX has no LSTM with clips."""

    kind = "elmo"

    def _batches(
        self, items: list[str], batch_size: int, tokens: bool = False
    ) -> Iterator[tuple[Any, EncodedBatch, NDArray[np.int64]]]:
        """Where the state goes on from text to text, texts are read in their order, each in its place of a batch."""
        import torch

        if not self.network.stateful:
            yield from super()._batches(items, batch_size, tokens)
            return
        self.network.forget()
        warm = list(range(min(self.network.warmup, len(items))))
        for first, places in [(True, warm), (False, list(range(len(items))))]:
            for start in range(0, len(places), batch_size):
                chosen = np.array(places[start : start + batch_size])
                rows = self.reader.read([items[place] for place in chosen])
                with border(self.name), torch.inference_mode():
                    encoded = self.network(*self._padded(rows, range(len(rows))))
                if not first:
                    yield chosen, encoded, np.array([len(row) for row in rows], np.int64)


def frozen_layers(
    embedder: SequenceEmbedder, texts: Sequence[str], run: Run, batch_size: int = 32
) -> NDArray[np.float32]:
    """float32 ``[texts, layers + 1, dimension]``: the mean over each text's words at each layer."""
    import torch

    network = embedder.network
    out = np.zeros((len(texts), len(network.mix), embedder.dimension), np.float32)
    rows = embedder.reader.read(texts)
    lengths = np.array([len(row) for row in rows])
    with run.bar(len(texts), "texts") as bar:
        for places in filled(lengths, PLACES, batch_size, waste=None):
            if not lengths[places].any():
                continue
            with torch.inference_mode():
                layers = network.model(*embedder._padded(rows, places)).layers
                counts = np.maximum(lengths[places], 1)[:, None]
                for number, layer in enumerate(layers):
                    out[places, number] = layer.sum(1).cpu().numpy() / counts
            bar.advance(len(places))
    return out


# --- the published weights --------------------------------------------------------------------------------------------


def published_files(folder: Path) -> tuple[Path, Path] | None:
    """(options, weights) of a folder in the published layout; None where it is none."""
    weights = sorted(folder.glob("*weights*.hdf5")) or sorted(folder.glob("*.hdf5"))
    options = sorted(folder.glob("*options*.json"))
    return (options[0], weights[0]) if len(options) == 1 and len(weights) == 1 else None


def published_elmo(folder: Path, name: str) -> ElmoEmbedder:
    """The embedder of a folder with ``…options….json`` and ``…weights….hdf5`` as AllenNLP published them: the uniform
    mix of all layers. Every array of the file must be one that the options ask for, of that shape; words stand between
    spaces, as the released program wants them."""
    files = published_files(folder)
    if files is None:
        raise DataError(f"{folder}: expected one file of options (JSON) and one of weights (HDF5)")
    options, weights = files
    network = ElmoNetwork(BiLanguageModel(**_sizes(options)))
    _read_weights(network.model, weights)
    reader = CharacterReader.of("spaces", network.model.sizes["longest"])
    return ElmoEmbedder(reader, network, name=name)


def _sizes(path: Path) -> dict[str, Any]:
    head = fields(read_object(path), path, lstm=dict, char_cnn=dict)
    lstm = fields(
        head["lstm"],
        f"{path}, lstm",
        dim=int,
        projection_dim=int,
        n_layers=int,
        cell_clip=(int, float),
        proj_clip=(int, float),
        use_skip_connections=bool,
    )
    cnn = fields(
        head["char_cnn"],
        f"{path}, char_cnn",
        filters=list,
        embedding=dict,
        n_highway=int,
        n_characters=int,
        max_characters_per_token=int,
        activation=str,
    )
    if cnn["n_characters"] not in (CHARACTERS - 1, CHARACTERS):
        raise DataError(f"{path}, n_characters: expected {CHARACTERS}, found {cnn['n_characters']}")
    return {
        "filters": cnn["filters"],
        "projection": lstm["projection_dim"],
        "width": lstm["dim"],
        "layers": lstm["n_layers"],
        "characters": fields(cnn["embedding"], f"{path}, char_cnn, embedding", dim=int)["dim"],
        "highway": cnn["n_highway"],
        "longest": cnn["max_characters_per_token"],
        "activation": cnn["activation"],
        "cell_clip": float(lstm["cell_clip"]),
        "projection_clip": float(lstm["proj_clip"]),
        "residual": lstm["use_skip_connections"],
    }


def _read_weights(model: BiLanguageModel, path: Path) -> None:
    """Fill the network from HDF5. TensorFlow's gates stand in the order input, cell, forget, output, and 1 is added to
    the forget gate there: here it is in the bias."""
    import torch

    try:
        import h5py
    except ImportError:
        raise MissingExtra("h5py", "hdf5", f"reading {path.name}") from None
    arrays: dict[str, NDArray[np.float32]] = {}
    with reading(path), h5py.File(path, "r") as file:

        def take(place: str, item: Any) -> None:
            if isinstance(item, h5py.Dataset):
                arrays[place] = np.asarray(item[...], np.float32)

        file.visititems(take)
    left = set(arrays)

    def array(place: str, *shape: int) -> Any:
        if place not in arrays:
            raise DataError(f"{path}: expected the array {place!r} of shape {list(shape)}, found none")
        if arrays[place].shape != shape:
            raise DataError(f"{path}, {place}: expected shape {list(shape)}, found {list(arrays[place].shape)}")
        left.discard(place)
        return torch.from_numpy(arrays[place])

    def fill(linear: Any, weight: Any, bias: Any) -> None:
        linear.weight.copy_(weight)
        linear.bias.copy_(bias)

    sizes = model.sizes
    dim, width, projection = sizes["characters"], sizes["width"], sizes["projection"]
    total = sum(count for _, count in sizes["filters"])
    with torch.no_grad():
        model.words.table.weight[1:] = array("char_embed", PADDING + 1, dim)
        model.words.table.weight[0] = 0
        for number, ((span, count), layer) in enumerate(zip(sizes["filters"], model.words.filters, strict=True)):
            weight = array(f"CNN/W_cnn_{number}", 1, span, dim, count)[0].permute(2, 1, 0)
            fill(layer, weight, array(f"CNN/b_cnn_{number}", count))
        for number, highway in enumerate(model.words.highways):
            for theirs, linear in (("transform", highway.transform), ("carry", highway.gate)):
                weight = array(f"CNN_high_{number}/W_{theirs}", total, total).T
                fill(linear, weight, array(f"CNN_high_{number}/b_{theirs}", total))
        fill(
            model.words.projection, array("CNN_proj/W_proj", total, projection).T, array("CNN_proj/b_proj", projection)
        )
        gates = torch.cat([torch.arange(width) + gate * width for gate in (0, 2, 1, 3)])
        for side, stack in enumerate((model.forwards, model.backwards)):
            for number, cell in enumerate(stack.cells):
                place = f"RNN_{side}/RNN/MultiRNNCell/Cell{number}/LSTMCell"
                both = array(f"{place}/W_0", 2 * projection, 4 * width).T[gates]
                bias = array(f"{place}/B", 4 * width)[gates]
                bias[width : 2 * width] += 1.0
                cell.load_state_dict(
                    {
                        "weight_ih_l0": both[:, :projection],
                        "weight_hh_l0": both[:, projection:],
                        "bias_ih_l0": bias,
                        "bias_hh_l0": torch.zeros_like(bias),
                        "weight_hr_l0": array(f"{place}/W_P_0", width, projection).T,
                    }
                )
    strange = next(iter(sorted(left)), None)
    if strange is not None:
        raise DataError(f"{path}: expected the arrays of its options, found {strange!r} too")
