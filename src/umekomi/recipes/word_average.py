"""The baseline of every encoder that reads given word vectors: their mean. J. Wieting, M. Bansal, K. Gimpel,
K. Livescu, "Towards universal paraphrastic sentence embeddings" (ICLR 2016, arXiv 1511.08198), take it for theirs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from umekomi.errors import WrongUse
from umekomi.recipes import REQUIRED, Paper, Recipe
from umekomi.run import Run


@dataclass(frozen=True)
class WordAverage(Recipe):
    """A text is the mean of its words' given vectors, words without one left out: what an encoder over them must beat.

    ``start`` is the table of word vectors. Needs no data. Words are lower-cased where no name of the table has a
    capital.
    """

    name: ClassVar[str] = "word-average"
    paper: ClassVar[Paper] = Paper(
        "Towards universal paraphrastic sentence embeddings",
        "Wieting, Bansal, Gimpel & Livescu",
        2016,
        "ICLR",
        "1511.08198",
    )
    learns: ClassVar[tuple[str, ...]] = ()
    begins: ClassVar[str | None] = REQUIRED
    needs: ClassVar[str] = "a table of word vectors (a word2vec or GloVe file, a learned table)"

    tokenizer: Literal["treebank", "spaces", "plain"] = "treebank"

    def learn(self, data: Any, start: Any, run: Run) -> Any:
        from umekomi.models.entity import EntityEmbedder
        from umekomi.models.static import StaticEmbedder
        from umekomi.models.words import UNKNOWN, word_tokenizer

        if not isinstance(start, EntityEmbedder):
            raise WrongUse(f"{self.name}: start must be a table of word vectors, found {start.name} of {start.kind}")
        names = [str(name) for name in start.names]
        lowercase = all(name == name.lower() for name in names)
        if UNKNOWN in names:
            names[names.index(UNKNOWN)] = "\0"  # a row that no word leads to
        tokenizer = word_tokenizer([*names, UNKNOWN], self.tokenizer, lowercase=lowercase)
        # a word without a vector adds nothing to the sum, and cosine does not see what the sum is divided by
        table = np.concatenate([start.vectors, np.zeros((1, start.dimension), np.float32)])
        return StaticEmbedder(tokenizer, table, name=f"{self.name}-{start.name}")
