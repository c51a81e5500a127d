"""Embedders that read a text word by word with a network of their own: recurrent and convolutional encoders, in
torch. Saved as safetensors and JSON; exported, they encode without torch (:mod:`umekomi.models.engines.onnx`)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_type_hints

import numpy as np

from umekomi.errors import DataError, MissingExtra, WrongUse
from umekomi.fields import problem
from umekomi.files import MODEL_FILE
from umekomi.models.base import Encoded, Open
from umekomi.models.borders import border, reading
from umekomi.models.folders import fields, settings
from umekomi.models.tokens import TokenizedEmbedder, filled
from umekomi.models.words import TextReader, WordReader
from umekomi.progress import Progress, say

try:
    import torch
except ImportError as error:
    raise MissingExtra(error.name or "torch", "neural", "an embedder that reads word by word") from None

from umekomi.parts.layers.kim import KimEncoder
from umekomi.parts.layers.sentence import (
    CombinedNetwork,
    ConvolutionEncoder,
    EncodedBatch,
    Encoder,
    MappedEncoder,
    RecurrentEncoder,
    WordNetwork,
    padded,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from tokenizers import Tokenizer

ENCODERS: dict[str, type[Encoder]] = {
    each.kind: each for each in (RecurrentEncoder, MappedEncoder, ConvolutionEncoder, KimEncoder)
}
"""Encoders that a saved network may name."""
NETWORKS = {
    "words": "umekomi.models.sequence:word_network",
    "combined words": "umekomi.models.sequence:combined_network",
    "labelled words": "umekomi.models.labelled:labelled_words",
    "labelled trees": "umekomi.models.labelled:labelled_trees",
    "elmo": "umekomi.models.elmo:elmo_network",
    "documents": "umekomi.models.autoencoder:document_network",
}
"""What a saved folder may name, and what makes each network of its settings: ``make(by, **settings)``, ``by`` the file
for errors."""
READERS = {
    "words": "umekomi.models.words:WordReader",
    "trees": "umekomi.models.labelled:TreeReader",
    "characters": "umekomi.models.words:CharacterReader",
    "documents": "umekomi.models.autoencoder:DocumentReader",
}
"""How texts become numbers, likewise."""
PLACES = 1 << 13
"""Words of a batch, padding among them: a step's product with 2,048 · 8,192 weights takes .30 ms a text for 64 texts,
.20 for 256 (one core), since the weights are read once for all."""
LONG = 4096
"""Texts of more words are read one by one, in pieces."""
BLOCK = 8192
"""Texts that are tokenised and sorted together."""


def check_settings(by: str, kind: type, settings: dict[str, Any]) -> None:
    """The error for a setting that a network's ``__init__`` does not take by name, or for a value that its type does
    not allow."""
    hints = get_type_hints(kind.__init__, include_extras=True)  # type: ignore[misc]
    for name, value in settings.items():
        expected = problem(value, hints[name]) if name in hints and name not in ("inputs", "return") else "no such name"
        if expected is not None:
            raise DataError(f"{by}, {name}: expected {expected}, found {value!r:.60}")


def word_network(by: str, *, rows: int, inputs: int, encoder: str, settings: dict[str, Any]) -> WordNetwork:
    """A network of the settings that :meth:`WordNetwork.settings` gave; one error for those of none."""
    kind = ENCODERS.get(encoder)
    if kind is None:
        raise DataError(f"{by}, encoder: expected one of {', '.join(ENCODERS)}, found {encoder!r:.60}")
    check_settings(by, kind, settings)
    if min(rows, inputs) < 1:
        raise DataError(f"{by}: expected sizes above zero, found {rows} words of {inputs} numbers")
    try:
        return WordNetwork(rows, inputs, kind(inputs, **settings))  # type: ignore[call-arg]
    except (TypeError, RuntimeError, WrongUse) as error:  # torch's: more numbers than can be counted
        raise DataError(f"{by}: {error}") from None


def combined_network(by: str, *, rows: int, parts: list) -> CombinedNetwork:
    """Networks over the same words, of the settings that :meth:`CombinedNetwork.settings` gave."""
    expected = {"rows": int, "inputs": int, "encoder": str, "settings": dict}
    networks = []
    for number, part in enumerate(parts):
        if not isinstance(part, dict):
            raise DataError(f"{by}, parts: expected objects, found {part!r:.60}")
        networks.append(word_network(f"{by}, parts, {number}", **fields(part, f"{by}, parts, {number}", **expected)))
    if not networks or any(part.words.num_embeddings != rows for part in networks):
        raise DataError(f"{by}, parts: expected networks of {rows} words, found {len(networks)}, of others or none")
    return CombinedNetwork(networks)


def device() -> str:
    """The GPU where there is one."""
    return "cuda" if torch.cuda.is_available() else "cpu"


class SequenceEmbedder(TokenizedEmbedder):
    """``reader`` makes numbers of texts, ``network`` vectors of numbers: ``network(ids, lengths)`` gives
    :class:`~umekomi.parts.layers.sentence.EncodedBatch`, ``network.encode(ids, lengths)`` its vectors alone.

    A text of which no word is known, an empty one among them, has a zero vector and no token vectors, unless words
    stand around every text; how many there were is said. A vector depends on nothing else in the batch, so that some
    thousand words are read together whatever ``batch_size`` says; but where ``network.padding`` is ``"zero"``, texts
    are read longest first, ``batch_size`` together, as InferSent's are.
    """

    kind = "sequence"

    def __init__(
        self,
        reader: TextReader,
        network: Any,
        *,
        metric: str = "cosine",
        name: str = "sequence",
        card: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(name, card)
        self.reader, self.network, self.metric = reader, network.to(device()).eval(), metric
        self.dimension = network.dimension
        self.outputs = frozenset({"dense", "multi"} if network.token_width else {"dense"})

    @property
    def tokenizer(self) -> Tokenizer:
        """Words to numbers."""
        return self.reader.tokenizer

    def reads(self, role: str | None = None) -> int | None:
        return None

    @contextmanager
    def whole(self, role: str | None = None) -> Iterator[Tokenizer]:
        yield self.reader.tokenizer

    def prompt(self, role: str | None) -> str:
        return ""

    def lengths(self, items: Sequence[str], role: str | None = None) -> Any:
        return np.array([len(row) for row in self.reader.read(items)], np.int64)

    def _encode(self, items: list[Any], *, output: str, role: str | None, batch_size: int, progress: bool) -> Any:
        if output == "multi":
            return self._tokens(items, batch_size, progress)
        return self._vectors(items, batch_size, progress)[0]

    def _encode_with_counts(self, items: list[str], role: str | None, batch_size: int) -> Encoded:
        vectors, lengths = self._vectors(items, batch_size, False)
        return Encoded(vectors, lengths, lengths < 0)  # nothing is ever cut

    def _vectors(self, items: list[str], batch_size: int, progress: bool) -> tuple[Any, Any]:
        """(dense vectors, how many words each text has)."""
        out, counts = np.zeros((len(items), self.dimension), np.float32), np.zeros(len(items), np.int64)
        with Progress(f"{self.name}: encoding", len(items), "texts", progress) as bar:
            for places, encoded, lengths in self._batches(items, batch_size):
                out[places], counts[places] = encoded.vectors.cpu().numpy(), lengths
                bar.advance(len(places))
        self._tell_empty(counts)
        return out, counts

    def _tokens(self, items: list[str], batch_size: int, progress: bool) -> Any:
        from umekomi.contracts import Vectors

        rows: list[Any] = [np.zeros((0, self.network.token_width), np.float32)] * len(items)
        with Progress(f"{self.name}: encoding", len(items), "texts", progress) as bar:
            for places, encoded, _ in self._batches(items, batch_size, tokens=True):
                assert encoded.tokens is not None and encoded.counts is not None
                tokens, counts = encoded.tokens.cpu().numpy(), encoded.counts.tolist()
                for place, own, count in zip(places.tolist(), tokens, counts, strict=True):
                    rows[place] = own[:count].copy()
                bar.advance(len(places))
        self._tell_empty(np.array([len(row) for row in rows], np.int64))
        return Vectors.of(rows)

    def _tell_empty(self, counts: NDArray[np.int64]) -> None:
        empty = int((counts == 0).sum())
        if empty:
            say(
                f"note: {empty:,} of {len(counts):,} texts have no word that {self.name} knows: nothing stands for them"
            )

    def _batches(
        self, items: list[str], batch_size: int, tokens: bool = False
    ) -> Iterator[tuple[Any, EncodedBatch, NDArray[np.int64]]]:
        """(places, what the network makes of them, their lengths), texts of like length together."""
        zero = self.network.padding == "zero"
        block = len(items) or 1 if zero else BLOCK
        for start in range(0, len(items), block):
            rows = self.reader.read(items[start : start + block])
            lengths = np.array([len(row) for row in rows], np.int64)
            if zero:
                order = np.argsort(-lengths, kind="stable")
                plan = [order[at : at + batch_size] for at in range(0, len(order), batch_size)]
            else:
                plan = list(filled(lengths, PLACES, len(rows), waste=None))
            for places in plan:
                with border(self.name), torch.inference_mode():
                    long = lengths[places[0]] > LONG and not tokens and not zero
                    given = [rows[place] for place in places]
                    if long:
                        encoded = self._read_long(given)
                    elif tokens:
                        encoded = self.network(*self._padded(given))
                    else:
                        encoded = EncodedBatch(self.network.encode(*self._padded(given)))
                yield start + places, encoded, lengths[places]

    def _padded(self, rows: Sequence[NDArray[np.int64]]) -> tuple[torch.Tensor, torch.Tensor]:
        """(ids ``[batch, time, ...]``, lengths ``[batch]``) on the network's device."""
        ids, lengths = padded(rows)
        where = next(self.network.parameters()).device
        return ids.to(where), lengths.to(where)

    def _read_long(self, rows: Sequence[NDArray[np.int64]]) -> EncodedBatch:
        where = next(self.network.parameters()).device
        with torch.no_grad():
            vectors = [self.network.encode_long(torch.from_numpy(row).to(where)) for row in rows]
        return EncodedBatch(torch.stack(vectors))

    def similarity(self, a: Any, b: Any) -> Any:
        """Cosine of dense vectors, MaxSim of token vectors (brought to length one)."""
        from umekomi.contracts import Vectors
        from umekomi.parts.similarity import maxsim, normalise

        if isinstance(a, Vectors):
            return maxsim(Vectors(normalise(a.flat), a.offsets), Vectors(normalise(b.flat), b.offsets))
        return super().similarity(a, b)

    @property
    def hops(self) -> int:
        """How many attentions over words the network has."""
        return getattr(getattr(getattr(self.network, "encoder", None), "pool", None), "hops", 0)

    def attention(self, texts: Sequence[str]) -> list[tuple[list[str], NDArray[np.float32]]]:
        """The words of each text that were read, and how each hop weighs them, float32 ``[hops, words]``; the error
        where the network has no attention."""
        out = []
        for text in texts:
            row = self.reader.read([text])[0]
            with torch.inference_mode():
                encoded: EncodedBatch = self.network(*self._padded([row]))
            if encoded.attention is None:
                raise WrongUse(f"{self.name}: expected a network with attention over words, found none")
            words = self.reader.names(row)
            out.append((words, encoded.attention[0, :, : len(words)].cpu().numpy()))
        return out

    def _write(self, folder: Path) -> dict[str, Any]:
        from safetensors.torch import save_file

        weights = {name: value.contiguous().cpu() for name, value in self.network.state_dict().items()}
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
        kinds = {place: name for name, place in READERS.items()}
        reader = kinds[f"{type(self.reader).__module__}:{type(self.reader).__qualname__}"]
        return {
            "network": self.network.kind,
            "sizes": self.network.settings(),
            "reader": {"kind": reader, **self.reader.write(folder)},
        }

    @classmethod
    def _read(cls, folder: Path, head: dict[str, Any], open: Open) -> SequenceEmbedder:
        from safetensors.torch import load_file

        own = settings(folder, head, network=str, sizes=dict, reader=dict)
        by = f"{folder / MODEL_FILE}, settings"
        make, reader = _known(NETWORKS, own["network"], f"{by}, network"), dict(own["reader"])
        read = _known(READERS, reader.pop("kind", None), f"{by}, reader, kind").open(folder, reader)
        expected = {name: kind for name, kind in get_type_hints(make).items() if name not in ("by", "return")}
        plain = {name: getattr(kind, "__origin__", kind) for name, kind in expected.items()}
        sizes = fields(own["sizes"], f"{by}, sizes", **plain)
        with torch.device("meta"):  # nothing is made before the file is seen to hold it
            network = make(f"{by}, sizes", **sizes)
        file = folder / "model.safetensors"
        with reading(file):
            weights = load_file(file)
        _check_weights(network, weights, file)
        # into memory of torch's own: a product's last bits hang on where its numbers begin, and a file's begin anywhere
        network.load_state_dict({name: value.clone() for name, value in weights.items()}, assign=True)
        if isinstance(read, WordReader) and read.rows > sizes["rows"]:
            raise DataError(f"{file}: expected {read.rows} words, one a name of the tokenizer, found {sizes['rows']}")
        return cls(read, network, metric=head["metric"], name=head["name"], card=head.get("card"))


def _known(places: dict[str, str], name: Any, by: str) -> Any:
    if not isinstance(name, str) or name not in places:
        raise DataError(f"{by}: expected one of {', '.join(places)}, found {name!r:.60}")
    module, _, attribute = places[name].partition(":")
    return getattr(import_module(module), attribute)


def _check_weights(network: Any, weights: dict[str, Any], file: Path) -> None:
    """The error for the first array that is missing, not known, or of another shape than the settings ask for."""
    wanted = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    for name, shape in wanted.items():
        if name not in weights:
            raise DataError(f"{file}: expected the array {name!r} of shape {list(shape)}, found none")
        there = weights[name]
        if tuple(there.shape) != shape or there.dtype != torch.float32:
            raise DataError(
                f"{file}, {name}: expected float32 of shape {list(shape)}, found {str(there.dtype).rpartition('.')[2]} "
                f"of shape {list(there.shape)}"
            )
    strange = next((name for name in weights if name not in wanted), None)
    if strange is not None:
        raise DataError(f"{file}: expected the arrays of its settings, found {strange!r} too")
