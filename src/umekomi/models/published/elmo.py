"""ELMo's weights as AllenNLP published them: a folder with ``…options….json`` and ``…weights….hdf5``, read by name and
shape."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from umekomi.errors import DataError, MissingExtra
from umekomi.models.borders import reading
from umekomi.models.elmo import ElmoEmbedder, elmo_network
from umekomi.models.folders import fields, read_object
from umekomi.models.words import CharacterReader
from umekomi.parts.characters import CHARACTERS, PADDING
from umekomi.parts.layers.bilm import BiLanguageModel

if TYPE_CHECKING:
    from numpy.typing import NDArray


def elmo(folder: Path, name: str) -> ElmoEmbedder:
    """The embedder of a published folder: the uniform mix of all layers. Every array of the file must be one that the
    options ask for, of that shape; words stand between spaces, as the released program wants them."""
    weights = sorted(folder.glob("*weights*.hdf5")) or sorted(folder.glob("*.hdf5"))
    options = sorted(folder.glob("*options*.json"))
    if len(options) != 1 or len(weights) != 1:
        raise DataError(f"{folder}: expected one file of options (JSON) and one of weights (HDF5)")
    network = elmo_network(str(options[0]), model=_sizes(options[0]), reading={})
    _read_weights(network.model, weights[0])
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
