"""Cross-encoder: R. Nogueira, K. Cho, "Passage Re-ranking with BERT" (arXiv 1901.04085, 2019).

Both texts go through the network as one sequence, [CLS] a [SEP] b [SEP]; a linear layer on the first token's pooled
vector gives s, and σ(s) is the score. The loss is their eq. 1, −Σ log σ(s) of pairs that fit −Σ log (1 − σ(s)) of
those that do not, divided by the batch. Where we differ: a grade between 0 and 1 weighs the two terms; their negatives
are all of BM25's first thousand documents that are not judged relevant, here ``negatives`` of its first fifty a pair,
and drawn from all where it finds too few; rows that are graded get none. Batch, rate, decay and length are the paper's
(BERT on MS MARCO, 100,000 steps, a tenth of them warming up), recalled and not read again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from umekomi.data.shapes import shape_name
from umekomi.fields import Above, AtLeast, Within
from umekomi.recipes import Paper, Recipe
from umekomi.run import Run


@dataclass(frozen=True)
class CrossEncoder(Recipe):
    """A network that reads both texts of a pair at once orders a short list better than vectors do, and reads every
    pair anew.

    Learns from graded rows as they are (scored pairs, labelled pairs, judged pairs), or from pairs and retrieval sets
    against mined negatives. ``start`` is a transformer text embedder, a backbone, or a cross-encoder to go on from.
    """

    name: ClassVar[str] = "cross-encoder"
    paper: ClassVar[Paper] = Paper("Passage Re-ranking with BERT", "Nogueira & Cho", 2019, "", "1901.04085")
    learns: ClassVar[tuple[str, ...]] = ("scored pairs", "labelled pairs", "judged pairs", "pairs", "retrieval")
    begins: ClassVar[str | None] = "minilm"
    makes: ClassVar = "scorer"
    supervised: ClassVar[bool] = True
    extra: ClassVar[str] = "neural"

    negatives: Annotated[int, AtLeast(1)] = 4
    epochs: Annotated[float, Above(0)] = 1
    batch_size: Annotated[int, AtLeast(1)] = 128
    learning_rate: Annotated[float, Above(0)] = 3e-6
    warmup: Annotated[float, Within(0, 1, "[]")] = 0.1
    weight_decay: Annotated[float, AtLeast(0)] = 0.01
    max_length: Annotated[int | None, AtLeast(1)] = 512
    max_pairs: Annotated[int | None, AtLeast(1)] = None

    @classmethod
    def small(cls) -> CrossEncoder:
        return cls(epochs=2, batch_size=16, learning_rate=5e-5, max_length=128, max_pairs=4000)

    @classmethod
    def tiny(cls) -> CrossEncoder:
        return cls(negatives=1, batch_size=4, learning_rate=1e-3, max_length=32, max_pairs=24)

    def learn(self, data: Any, start: Any, run: Run) -> Any:
        from umekomi.models.scorers import CrossEncoderScorer
        from umekomi.models.starting import cross_encoder
        from umekomi.parts.learning.sentences import fine_tune, judging

        rows = self._judged(data, run)
        base = cross_encoder(start, self.name, run.seed)

        def plan(model: Any) -> list[Any]:
            stage = {"epochs": self.epochs, "batch_size": self.batch_size, "learning_rate": self.learning_rate}
            return [judging(rows, model, **stage, warmup=self.warmup, weight_decay=self.weight_decay)]

        model = fine_tune(base, plan, run=run, max_length=self.max_length)
        return CrossEncoderScorer(model, self.name, {"training": {"pairs": rows.num_rows}})

    def _judged(self, data: Any, run: Run) -> Any:
        """sentence1, sentence2, and how well they fit, at most ``max_pairs``."""
        from umekomi.data.judgements import judged
        from umekomi.parts.learning.sentences import sample_rows
        from umekomi.tasks.negatives import judged_against

        graded = shape_name(data) not in ("pairs", "retrieval")
        if graded and not (shape_name(data) == "judged pairs" and min(data["score"].to_pylist()) > 0):
            return sample_rows(judged(data, self.name), self.max_pairs, run.seed)
        most = None if self.max_pairs is None else max(1, self.max_pairs // (1 + self.negatives))
        return judged_against(data, run, self.negatives, most)
