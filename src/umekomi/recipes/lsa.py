"""LSA: S. Deerwester, S. Dumais, G. Furnas, T. Landauer, R. Harshman, "Indexing by latent semantic analysis" (JASIS
1990).

The text-by-term matrix of TF-IDF weights is cut to its ``dimensions`` largest singular values, X ≈ U S Vᵀ, and a text's
vector is its row times V. Since that is a sum over its tokens of idf(t) · V[t], the whole model is a token table, and
the embedder a static one. Where we differ: tokens are subwords that are learned from the same texts (unigram language
model, Kudo 2018), so that Japanese needs no other tokenizer and no token is unknown at run time; and term frequency is
not damped, since a table can only add.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

import numpy as np

from umekomi.errors import DataError
from umekomi.fields import AtLeast
from umekomi.models.static import StaticEmbedder
from umekomi.recipes import Paper, Recipe, Start
from umekomi.run import Run

if TYPE_CHECKING:
    import pyarrow as pa
    from tokenizers import Tokenizer


@dataclass(frozen=True)
class Lsa(Recipe):
    """Words that occur in the same texts come to lie together, by a singular value decomposition alone.

    A static table learned in seconds on the user's own texts, light install only.
    """

    name: ClassVar[str] = "lsa"
    paper: ClassVar[Paper] = Paper(
        "Indexing by latent semantic analysis", "Deerwester, Dumais, Furnas, Landauer & Harshman", 1990, "JASIS 41(6)"
    )
    learns: ClassVar[tuple[str, ...]] = ("texts",)
    quick: ClassVar[bool] = True

    dimensions: Annotated[int, AtLeast(1)] = 256
    vocabulary: Annotated[int, AtLeast(2)] = 16_000

    def learn(self, data: pa.Table, start: Start, run: Run) -> StaticEmbedder:
        from scipy.sparse import csr_array
        from sklearn.feature_extraction.text import TfidfTransformer
        from sklearn.utils.extmath import randomized_svd

        texts = data["text"].to_pylist()
        tokenizer = subwords(texts, self.vocabulary)
        size = tokenizer.get_vocab_size()
        width = min(self.dimensions, len(texts) - 1, size - 1)
        if width < 1:
            raise DataError(f"{self.name} needs two texts or more, found {len(texts)}")
        probe = StaticEmbedder(tokenizer, np.zeros((size, 1), np.float32))
        ids, offsets = probe.tokens(texts)
        counts = csr_array((np.ones(len(ids), np.float32), ids, offsets), shape=(len(texts), size))
        counts.sum_duplicates()
        weigh = TfidfTransformer().fit(counts)
        _, _, right = randomized_svd(weigh.transform(counts), width, random_state=run.seed)
        table = (right.T * weigh.idf_[:, None]).astype(np.float32)
        return StaticEmbedder(tokenizer, table, name=self.name)


def subwords(texts: list[str], size: int) -> Tokenizer:
    """A unigram subword tokenizer (Kudo 2018) learned from texts, lower-cased and width-folded (NFKC)."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.WhitespaceSplit(),
            pre_tokenizers.Punctuation(),
            pre_tokenizers.Digits(),
            pre_tokenizers.Metaspace(),
        ]
    )
    trainer = trainers.UnigramTrainer(vocab_size=size, special_tokens=["<unk>"], unk_token="<unk>", show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    # the library's JSON reader is off by a bit in the last digit of long numbers: short ones come back as they were
    plan = json.loads(tokenizer.to_str())
    # and its trainer gives tokens of one score in another order every time: one seed must give one model
    unknown, *rest = ((token, round(score, 6)) for token, score in plan["model"]["vocab"])
    plan["model"]["vocab"] = [unknown, *sorted(rest, key=lambda each: (-each[1], each[0]))]
    return Tokenizer.from_str(json.dumps(plan))
