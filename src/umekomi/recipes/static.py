"""Static distillation: a transformer's own vectors of its vocabulary as a token table, in the line of model2vec
(Tulkens & van Dongen 2024), whitened under the tokens' real frequencies (Yokoi, Bao, Kurita & Shimodaira, "Zipfian
whitening", NeurIPS 2024, arXiv 2411.00680) where model2vec takes a token's rank for its frequency.

Every entry of the vocabulary goes through the model once, between the tokens the model puts around a text; its pooled
vector, before any normalisation, is its row. With texts given, the rows are moved so that a text's mean of rows comes
near to the model's own vector of it: one linear map for all of them, then each by ridge regression (``strength`` is the
pull towards where it was; conjugate gradients). Then mean and covariance under the frequencies are taken out, the
largest ``dimensions`` directions kept. A text is the mean of its tokens' rows: no transformer at run time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, cast

import numpy as np

from umekomi.data.frequencies import of_tokens
from umekomi.errors import WrongUse
from umekomi.fields import AtLeast
from umekomi.models.base import EmbedderBase
from umekomi.models.static import StaticEmbedder
from umekomi.progress import Progress, say
from umekomi.recipes import Paper, Recipe, Start
from umekomi.run import Run
from umekomi.transforms.whitening import Sif, Whitening, ZipfianWhitening

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray
    from sentence_transformers import SentenceTransformer
    from tokenizers import Tokenizer

    from umekomi.contracts import Floats, Sparse
    from umekomi.models.text import TextEmbedder

WHITEN = {"zipfian": ZipfianWhitening, "uniform": Whitening, "none": None}


@dataclass(frozen=True)
class Static(Recipe):
    """A transformer's vectors of its own vocabulary, whitened by how often tokens occur: hundreds of times as fast as
    it.

    ``start`` is the text embedder to distil. Texts are optional: with them the table learns the model's vectors of at
    most ``texts`` of them. ``frequencies`` is a language that wordfreq knows, or ``"data"`` to count tokens in the
    texts given.
    """

    name: ClassVar[str] = "static"
    paper: ClassVar[Paper] = Paper(
        "Zipfian whitening", "Yokoi, Bao, Kurita & Shimodaira", 2024, "NeurIPS", "2411.00680"
    )
    learns: ClassVar[tuple[str, ...]] = ("texts",)
    begins: ClassVar[str | None] = "minilm"
    optional_data: ClassVar[bool] = True
    extra: ClassVar[str] = "neural"

    dimensions: Annotated[int, AtLeast(1)] = 256
    whiten: Literal["zipfian", "uniform", "none"] = "zipfian"
    frequencies: str = "en"
    sif: Annotated[float, AtLeast(0)] = 0.0
    """Weigh row w by sif / (sif + p(w)) (Arora, Liang & Ma 2017); 0 leaves all alike."""
    texts: Annotated[int, AtLeast(0)] = 100_000
    strength: Annotated[float, AtLeast(0)] = 0.1
    batch_size: Annotated[int, AtLeast(1)] = 1024

    @classmethod
    def small(cls) -> Static:
        return cls(texts=5_000)

    @classmethod
    def tiny(cls) -> Static:
        return cls(dimensions=4, texts=8)

    def learn(self, data: pa.Table | None, start: Start, run: Run) -> StaticEmbedder:
        teacher = _teacher(start)
        model = teacher.model
        tokenizer = _tokenizer(model)
        texts = data["text"].to_pylist() if data is not None else []
        if self.frequencies == "data" and not texts:
            raise WrongUse("static, frequencies='data' counts tokens in texts: give some, or name a language")
        p = of_tokens(tokenizer, texts if self.frequencies == "data" else self.frequencies)
        table = _vocabulary(model, tokenizer, self.batch_size, run.progress)
        about: dict[str, Any] = {"tokens": len(table), "tokens that occur": int((p > 0).sum())}
        if texts and self.texts:
            if len(texts) > self.texts:
                texts = [
                    texts[i]
                    for i in np.random.default_rng(run.seed & 0xFFFFFFFF).choice(len(texts), self.texts, replace=False)
                ]
            table, about["texts"], about["error"] = self._moved(table, tokenizer, texts, teacher, run.progress)
        kind = WHITEN[self.whiten]
        if kind is not None:
            whitening = kind(self.dimensions).fit(table, weights=p)
            table = whitening.transform(table)
            if int(whitening.dropped_):
                say(
                    f"note: {self.name} dropped {int(whitening.dropped_)} directions of {teacher.name}'s token vectors "
                    "that hold next to no variance"
                )
            about["directions dropped"] = int(whitening.dropped_)
        elif self.dimensions < table.shape[1]:
            from umekomi.transforms.linear import Pca

            pca = Pca(self.dimensions).fit(table)
            table = np.asarray((table - pca.mean_) @ pca.directions_, np.float32)
        if self.sif:
            table = Sif(self.sif).fit(table, weights=p).transform(table)
        return StaticEmbedder(tokenizer, table.astype(np.float32), name=self.name, card={"training": about})

    def _moved(
        self, table: Floats, tokenizer: Tokenizer, texts: list[str], teacher: EmbedderBase, progress: bool
    ) -> tuple[Floats, int, float]:
        """(the table after regression on the model's vectors of texts, how many texts, the mean squared error left)."""
        from scipy.sparse import csr_array

        probe = StaticEmbedder(tokenizer, table)
        ids, offsets = probe.tokens(texts)
        lengths = np.diff(offsets)
        filled = np.flatnonzero(lengths)
        shares = np.repeat((1 / np.maximum(lengths, 1)).astype(np.float32), lengths)
        bags = csr_array((shares, ids, offsets), shape=(len(texts), len(table)))[filled]
        target = teacher.encode([texts[i] for i in filled], output="dense", batch_size=128, progress=progress)
        means = bags @ table
        # one map for all rows, that of the rows as they are (the model's own space) where the texts say nothing else
        scale = np.float32((means * target).sum() / max(float((means * means).sum()), 1e-12))
        scatter: Any = means.T @ means
        scatter += np.eye(len(scatter), dtype=np.float32) * np.float32(1e-3 * np.trace(scatter) / len(scatter))
        table = scale * table + table @ np.linalg.solve(scatter, means.T @ (target - scale * means))
        table = table + ridge(bags, target - bags @ table, self.strength)
        return table, len(filled), float(((bags @ table - target) ** 2).sum(1).mean())


def ridge(bags: Sparse, target: NDArray[np.float32], strength: float, steps: int = 60) -> NDArray[np.float32]:
    """X ``[m, d]`` that minimises |bags X - target|² + strength |X|², for CSR ``bags`` ``[n, m]``: conjugate gradients,
    all columns at once, preconditioned by the diagonal."""
    turned = bags.T.tocsr()
    residual = turned @ target
    diagonal = np.asarray(bags.multiply(bags).sum(0)).ravel()[:, None] + np.float32(max(strength, 1e-6))
    solution = np.zeros_like(residual)
    scaled = residual / diagonal
    direction, energy = scaled.copy(), (residual * scaled).sum(0)
    begun = float(energy.sum())
    for _ in range(steps):
        pushed = turned @ (bags @ direction) + np.float32(strength) * direction
        length = energy / np.maximum((direction * pushed).sum(0), 1e-20)
        solution += length * direction
        residual -= length * pushed
        scaled = residual / diagonal
        after = (residual * scaled).sum(0)
        if float(after.sum()) < 1e-7 * begun:
            break
        direction = scaled + (after / np.maximum(energy, 1e-20)) * direction
        energy = after
    return solution


def _teacher(start: Start) -> TextEmbedder:
    assert start is not None  # one always begins from a model
    if not isinstance(start, EmbedderBase) or not hasattr(getattr(start, "model", None), "tokenizer"):
        raise WrongUse(f"static distils a sentence-transformers model such as minilm; found {start.name}")
    return cast("TextEmbedder", start)


def _tokenizer(model: SentenceTransformer) -> Tokenizer:
    """The model's own tokenizer as a :class:`tokenizers.Tokenizer`, a copy."""
    from tokenizers import Tokenizer

    fast = getattr(model.tokenizer, "_tokenizer", None)
    if fast is None:
        raise WrongUse(
            "static needs a model whose tokenizer is of the tokenizers library; this one's is written in Python"
        )
    copy = Tokenizer.from_str(fast.to_str())
    copy.no_padding()
    copy.no_truncation()
    return copy


def _vocabulary(
    model: SentenceTransformer, tokenizer: Tokenizer, batch_size: int, progress: bool
) -> NDArray[np.float32]:
    """The pooled vector of every token between the tokens that the model puts around a text, float32 ``[vocabulary,
    d]``."""
    import torch

    around = _around(tokenizer)
    place, size = around.index(-1), tokenizer.get_vocab_size()
    parts = []
    with Progress("static: vocabulary", size, "tokens", progress) as bar, torch.inference_mode():
        for start in range(0, size, batch_size):
            tokens = torch.arange(start, min(start + batch_size, size))
            ids = torch.tensor(around).repeat(len(tokens), 1)
            ids[:, place] = tokens
            features = {"input_ids": ids.to(model.device), "attention_mask": torch.ones_like(ids).to(model.device)}
            for layer in model:
                if type(layer).__name__ != "Normalize":
                    features = layer(features)
            parts.append(features["sentence_embedding"].float().cpu().numpy())
            bar.advance(len(tokens))
    return np.concatenate(parts)


def _around(tokenizer: Tokenizer) -> list[int]:
    """The ids of a text of one token, with -1 in that token's place."""
    for word in ("a", "の", *sorted(tokenizer.get_vocab())[:20_000]):
        bare = tokenizer.encode(word, add_special_tokens=False).ids
        whole = tokenizer.encode(word).ids
        if len(bare) == 1 and whole.count(bare[0]) == 1:
            return [-1 if token == bare[0] else token for token in whole]
    raise WrongUse(
        "static: the model's tokenizer makes a single token of no text: it cannot be asked for its tokens one by one"
    )
