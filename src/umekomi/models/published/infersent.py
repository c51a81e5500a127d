"""InferSent's published state dictionaries, read by the names and shapes of their arrays: ``infersent1.pkl`` and
``infersent2.pkl``, and the encoders that its training script left (github.com/facebookresearch/InferSent).

They are pickles: torch reads arrays from them and nothing else (``weights_only``), here and nowhere else. The word
vectors that they were learned on are the user's: GloVe 840B for version 1, fastText's crawl-300d-2M for version 2.
"""

from __future__ import annotations

import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import torch

from umekomi.errors import DataError, WrongUse
from umekomi.models.entity import EntityEmbedder
from umekomi.models.sequence import SequenceEmbedder
from umekomi.models.words import UNKNOWN, WordReader, word_tokenizer
from umekomi.parts.layers.sentence import ConvolutionEncoder, Encoder, RecurrentEncoder, WordNetwork, load_words

AROUND = {1: ("<s>", "</s>"), 2: ("<p>", "</p>")}
"""The words around every text, by version."""
NAMES = {
    "enc_lstm.": "recurrent.cells.0.",
    "proj_lstm.": "pool.values.",
    "proj_key.": "pool.keys.",
    "proj_query.": "pool.of_summary.",
    "query_embedding.weight": "pool.queries",
    **{f"convnet{number}.0.": f"layers.{number - 1}." for number in range(1, 5)},
}
"""Their names, and ours; ``proj_enc`` is one thing or another."""


def infersent(path: str | Path, vectors: EntityEmbedder) -> SequenceEmbedder:
    """The encoder of a published file over ``vectors``. A file's name ends in its version, ``infersent1`` or
    ``infersent2``: the words around a text are another, and version 1 has its maximum over zeros too."""
    path = Path(path)
    number = re.search(r"infersent([12])", path.name.lower())
    version = int(number[1]) if number else 1
    state = read_state(path)
    encoder = encoder_of(state, path, "zero" if version == 1 else "masked")
    inputs = _inputs(state)
    if vectors.dimension != inputs:
        raise DataError(
            f"{path}: expected word vectors of {inputs} numbers, found {vectors.dimension} in {vectors.name}"
        )
    begin, end = AROUND[version]
    missing = [name for name in (begin, end) if name not in vectors]
    if missing:
        raise DataError(
            f"{path}: expected a vector of {missing[0]!r}, which stands around each text, found none in {vectors.name}"
        )
    names = [name for name in map(str, vectors.names) if name != UNKNOWN]
    table = np.zeros((1 + len(names), inputs), np.float32)
    table[1:] = vectors.vectors[[vectors.rows[name] for name in names]]
    reader = WordReader(word_tokenizer([UNKNOWN, *names], begin=begin, end=end))
    network = WordNetwork(len(table), inputs, encoder)
    load_words(network.words, table)
    card = {"licence": "CC BY-NC 4.0", "start": f"InferSent version {version}", "vectors": vectors.name}
    return SequenceEmbedder(reader, network, name=path.stem, card=card)


def read_state(path: Path) -> dict[str, torch.Tensor]:
    """The arrays of a state dictionary; one line for a file that holds anything else. Of a whole classifier, its
    encoder's."""
    if not path.is_file():
        raise WrongUse(f"{path}: no such file")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError, AttributeError) as error:
        said = " ".join(str(error).split())[:120]
        raise DataError(
            f"{path}: expected a state dictionary of torch, arrays by name and nothing else: {said}"
        ) from None
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise DataError(f"{path}: expected a state dictionary of torch, found {type(state).__name__}")
    if any(str(name).startswith("encoder.") for name in state):
        state = {name: value for name, value in state.items() if not name.startswith("classifier.")}
    return {str(name).removeprefix("encoder."): value.float() for name, value in state.items()}


def _inputs(state: dict[str, torch.Tensor]) -> int:
    first = state.get("enc_lstm.weight_ih_l0", state.get("convnet1.0.weight"))
    assert first is not None  # encoder_of has seen to it
    return int(first.shape[1])


def encoder_of(state: dict[str, torch.Tensor], path: Path, padding: Any) -> Encoder:
    """The encoder whose arrays these are; every array is accounted for."""
    encoder: Encoder
    if "convnet1.0.weight" in state:
        width, inputs = state["convnet1.0.weight"].shape[:2]
        encoder = ConvolutionEncoder(inputs, width=width, padding=padding)
    elif "enc_lstm.weight_hh_l0" in state and "enc_lstm.weight_ih_l0" in state:
        rows, width = state["enc_lstm.weight_hh_l0"].shape
        queries = state.get("query_embedding.weight")
        pooling = "max"
        if queries is not None:
            pooling = "yang" if "proj_query.weight" in state else "naacl" if len(queries) == 1 else "mila"
        both = "enc_lstm.weight_hh_l0_reverse" in state
        cell = "gru" if rows == 3 * width else "lstm"
        if not both or cell == "gru":
            pooling = "last"
        encoder = RecurrentEncoder(
            state["enc_lstm.weight_ih_l0"].shape[1], width=width, cell=cell, padding=padding, pooling=pooling,  # type: ignore[arg-type]
            directions="both" if both else "forward", projected=queries is None and "proj_enc.weight" in state,
        )  # fmt: skip
    else:
        named = ", ".join(list(state)[:5]) or "none"
        raise DataError(f"{path}: expected the arrays of an InferSent encoder, found {named}")
    own = {}
    for name, value in state.items():
        ours = name.replace("proj_enc.", "pool.keys." if "proj_query.weight" in state else "projection.")
        for theirs, our in NAMES.items():
            ours = ours.replace(theirs, our)
        if ours == "pool.queries" and len(value) == 2:
            value = value[[0, 1, 1, 1]]  # the code asks its second query three times
        own[ours] = value
    wanted = {name: tuple(value.shape) for name, value in encoder.state_dict().items()}
    for name, shape in wanted.items():
        if name not in own or tuple(own[name].shape) != shape:
            found = "none" if name not in own else f"shape {list(own[name].shape)}"
            raise DataError(f"{path}: expected an array for {name} of shape {list(shape)}, found {found}")
    strange = next((name for name in own if name not in wanted), None)
    if strange is not None:
        raise DataError(f"{path}: found the array {strange!r}, which no InferSent encoder of these has")
    encoder.load_state_dict(own)
    return encoder
