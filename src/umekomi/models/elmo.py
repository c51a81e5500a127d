"""ELMo as a model: texts to the characters of their words, and the network of a saved folder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from umekomi.errors import DataError, WrongUse
from umekomi.models.borders import border
from umekomi.models.sequence import PLACES, SequenceEmbedder, check_settings
from umekomi.models.tokens import filled
from umekomi.parts.layers.bilm import BiLanguageModel, ElmoNetwork
from umekomi.parts.layers.sentence import EncodedBatch
from umekomi.run import Run

if TYPE_CHECKING:
    from numpy.typing import NDArray


def elmo_network(by: str, *, model: dict[str, Any], reading: dict[str, Any]) -> ElmoNetwork:
    """A network of the settings that :meth:`ElmoNetwork.settings` gave; one error for those of none."""
    check_settings(by, BiLanguageModel, model)
    check_settings(by, ElmoNetwork, reading)
    pairs = model.get("filters")
    for pair in pairs if isinstance(pairs, list) else [pairs]:
        if not (isinstance(pair, list) and len(pair) == 2 and all(type(n) is int and n > 0 for n in pair)):
            raise DataError(f"{by}, filters: expected pairs of whole numbers above zero, found {pair!r:.60}")
    try:
        return ElmoNetwork(BiLanguageModel(**model), **reading)
    except (WrongUse, RuntimeError, TypeError) as error:
        raise DataError(f"{by}: {error}") from None


class ElmoEmbedder(SequenceEmbedder):
    """ELMo's network over the characters of words; exported, it is :mod:`umekomi.models.engines.elmo`."""

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

        def read(low: int, high: int) -> tuple[EncodedBatch, NDArray[np.int64]]:
            rows = self.reader.read(items[low:high])
            with border(self.name), torch.inference_mode():
                return self.network(*self._padded(rows)), np.array([len(row) for row in rows], np.int64)

        warm = min(self.network.warmup, len(items))
        for low in range(0, warm, batch_size):
            read(low, min(low + batch_size, warm))
        for low in range(0, len(items), batch_size):
            encoded, lengths = read(low, low + batch_size)
            yield np.arange(low, low + len(lengths)), encoded, lengths

    def layer_means(self, texts: Sequence[str], run: Run, batch_size: int = 32) -> NDArray[np.float32]:
        """float32 ``[texts, layers + 1, dimension]``: the mean over each text's words at each layer."""
        import torch

        out = np.zeros((len(texts), len(self.network.mix), self.dimension), np.float32)
        rows = self.reader.read(texts)
        lengths = np.array([len(row) for row in rows])
        with run.bar(len(texts), "texts") as bar:
            for places in filled(lengths, PLACES, batch_size, waste=None):
                with torch.inference_mode():
                    layers = self.network.model(*self._padded([rows[place] for place in places])).layers
                counts = np.maximum(lengths[places], 1)[:, None]
                for number, layer in enumerate(layers):
                    out[places, number] = layer.sum(1).cpu().numpy() / counts
                bar.advance(len(places))
        return out
