"""One InfoNCE whose candidates and masks are chosen, not forked.

-log e^{s(q_i, d_i)/τ} / Z_i, and Z_i holds the positive and whatever of these is asked for (j ≠ i throughout):

- ``documents``: e^{s(q_i, d_j)/τ}, on or off for each row (NV-Embed's second stage has them off; Lee et al. 2405.17428,
  3.3);
- ``queries``: e^{s(q_i, q_j)/τ} (Gecko, eq. 3; Qwen3-Embedding, eq. 1; Gemini Embedding leaves it out);
- ``document_document``: e^{s(d_i, d_j)/τ} (Qwen3-Embedding, eq. 1);
- ``document_query``: e^{s(q_j, d_i)/τ} (GTE's improved contrastive loss, Li et al. 2308.03281, eq. 4);
- mined negatives: e^{s(q_i, n_ik)/τ} of the row's own, or of everybody's (SimCSE, Gao et al. 2104.08821, eq. 5).

Out of Z_i stay duplicates (Gemini Embedding: j with q_j = q_i or d_j = d_i; as printed its mask also drops the positive
itself, which must stay), and candidates whose similarity exceeds the positive's by more than a margin (Qwen3-Embedding:
.1), which are taken for unmarked positives. Masks are made from detached similarities.

Beside it a teacher's scores of the positive and the row's own mined negatives may be learned (:func:`distilled`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from sentence_transformers.base.losses.gradcache import CachedLossMixin
from torch import Tensor, nn
from torch.nn import functional

from umekomi.errors import WrongUse
from umekomi.parts.losses.nested import over_prefixes

POLICY = 3
"""How many numbers of a row's label are its policy; those behind are a teacher's scores."""


@dataclass(frozen=True)
class Candidates:
    """What stands in Z_i beside the positive. ``negatives``: ``"own"`` or ``"all"`` mined negatives of the batch;
    ``own_weight`` counts the row's own mined negatives so many times (SimCSE's α). ``duplicates`` keeps equal texts and
    equal groups out; ``margin`` is Qwen3's, None for none; ``symmetric`` averages with the loss of finding the query of
    each document (CLIP)."""

    documents: bool = True
    queries: bool = False
    document_document: bool = False
    document_query: bool = False
    negatives: str = "all"
    own_weight: float = 1.0
    duplicates: bool = True
    margin: float | None = None
    symmetric: bool = False

    def __post_init__(self) -> None:
        if self.negatives not in ("own", "all"):
            raise WrongUse(f"negatives: expected own or all, found {self.negatives!r}")
        if self.own_weight <= 0:
            raise WrongUse(f"own_weight: expected a number above zero, found {self.own_weight}")
        if self.margin is not None and self.margin < 0:
            raise WrongUse(f"margin: expected zero or more, or none, found {self.margin}")


def info_nce(
    queries: Tensor,
    documents: Tensor,
    negatives: Tensor | None = None,
    *,
    temperature: float | Tensor = 0.05,
    cosine: bool = True,
    candidates: Candidates = Candidates(),
    in_batch: Tensor | None = None,
    same: Tensor | None = None,
    answers: Tensor | None = None,
    present: Tensor | None = None,
) -> Tensor:
    """The loss, a scalar.

    Args:
        queries: ``[n, d]``.
        documents: ``[n, d]``, the positive of each.
        negatives: mined ones, ``[n, k, d]``.
        temperature: what similarities are divided by.
        cosine: brings all to length one.
        candidates: which others a query is told from.
        in_batch: bool ``[n]``: which rows take candidates from other rows; None: all.
        same: bool ``[n, n]``: rows i and j have one query or one positive; kept out where ``candidates.duplicates``.
        answers: bool ``[n, n, k]``: row j's k-th negative answers query i; kept out as well.
        present: bool ``[n, k]``: which mined negatives there are; None: all.
    """
    if cosine:
        queries, documents = functional.normalize(queries, dim=-1), functional.normalize(documents, dim=-1)
        negatives = None if negatives is None else functional.normalize(negatives, dim=-1)
    loss = _one_way(queries, documents, negatives, temperature, candidates, in_batch, same, answers, present)
    if not candidates.symmetric:
        return loss
    return (loss + _one_way(documents, queries, None, temperature, candidates, in_batch, same)) / 2


def _one_way(
    queries: Tensor,
    documents: Tensor,
    negatives: Tensor | None,
    temperature: float | Tensor,
    candidates: Candidates,
    in_batch: Tensor | None,
    same: Tensor | None,
    answers: Tensor | None = None,
    present: Tensor | None = None,
) -> Tensor:
    rows = len(queries)
    table = queries @ documents.T
    positive = table.diagonal().unsqueeze(1)
    others = ~torch.eye(rows, dtype=torch.bool, device=queries.device)
    if in_batch is not None:
        others = others & in_batch.bool().unsqueeze(1)
    apart = others & ~same if same is not None and candidates.duplicates else others
    terms: list[tuple[Tensor, Tensor]] = []
    if candidates.documents:
        terms.append((table, apart))
    if candidates.queries:
        terms.append((queries @ queries.T, apart))
    if candidates.document_document:
        terms.append((documents @ documents.T, apart))
    if candidates.document_query:
        terms.append((table.T, apart))
    if negatives is not None and negatives.shape[1]:
        count = negatives.shape[1]
        own = torch.eye(rows, dtype=torch.bool, device=queries.device).unsqueeze(2)
        reached = (own | others.unsqueeze(2)) if candidates.negatives == "all" else own
        reached = reached.expand(rows, rows, count)
        if answers is not None and candidates.duplicates:
            reached = reached & ~answers
        if present is not None:
            reached = reached & present
        scores = torch.einsum("nd,mkd->nmk", queries, negatives)
        terms.append((scores.reshape(rows, -1), reached.reshape(rows, -1)))
    logits, kept = [positive / temperature], [torch.ones_like(positive, dtype=torch.bool)]
    for scores, allowed in terms:
        if candidates.margin is not None:
            allowed = allowed & (scores.detach() <= positive.detach() + candidates.margin)
        logits.append(scores / temperature)
        kept.append(allowed)
    if candidates.own_weight != 1 and negatives is not None and negatives.shape[1]:
        weight = torch.log(torch.tensor(candidates.own_weight, device=queries.device, dtype=queries.dtype))
        logits[-1] = logits[-1] + weight * own.expand(rows, rows, count).reshape(rows, -1)
    everything = torch.cat(logits, 1).masked_fill(~torch.cat(kept, 1), -torch.inf)
    return (torch.logsumexp(everything, 1) - everything[:, 0]).mean()


def distilled(
    queries: Tensor,
    candidates: Tensor,
    teacher: Tensor,
    *,
    temperature: float | Tensor = 0.05,
    cosine: bool = True,
    present: Tensor | None = None,
) -> Tensor:
    """KL(p ‖ q), the mean over rows, a scalar: p the softmax of a teacher's scores of a row's candidates, q that of the
    similarities / τ (a cross-encoder as the teacher: E5, Wang et al. 2212.03533, 3.3).

    Args:
        queries: ``[n, d]``.
        candidates: the positive of each and its own mined negatives, ``[n, k, d]``.
        teacher: its scores before any activation, ``[n, k]``.
        temperature: what similarities are divided by.
        cosine: brings all to length one.
        present: bool ``[n, k]``: which candidates there are; None: all.
    """
    if cosine:
        queries, candidates = functional.normalize(queries, dim=-1), functional.normalize(candidates, dim=-1)
    student = torch.einsum("nd,nkd->nk", queries, candidates) / temperature
    teacher = teacher.to(student.dtype)
    if present is not None:
        least = torch.finfo(student.dtype).min
        student, teacher = student.masked_fill(~present, least), teacher.masked_fill(~present, least)
    return functional.kl_div(student.log_softmax(1), teacher.log_softmax(1), reduction="batchmean", log_target=True)


def numbered(features: Sequence[Mapping[str, Any]]) -> list[Tensor]:
    """A number for every distinct text of several columns, from their tokens: int64 ``[n]`` a column. Texts that are
    cut to the same tokens are one text to the model, and here."""
    known: dict[tuple[int, ...], int] = {}
    out = []
    for column in features:
        ids, mask = column["input_ids"], column["attention_mask"].bool()
        rows = [known.setdefault(tuple(row[kept].tolist()), len(known)) for row, kept in zip(ids, mask, strict=True)]
        out.append(torch.tensor(rows, device=ids.device))
    return out


class InfoNCE(CachedLossMixin, nn.Module):
    """:func:`info_nce` as sentence-transformers' trainers take it: columns anchor, positive, then mined negatives.

    ``label``, where there is one, is ``[n, 3]`` (:mod:`umekomi.parts.learning.batches`): whether the row takes
    candidates from the others, its group (-1 for none; rows of one group are no negatives of each other), and how many
    mined negatives it has, the first ones. A teacher's scores of the positive and the mined negatives may follow.

    Args:
        model: gives the vectors.
        temperature: what similarities are divided by.
        learned: makes the temperature a parameter.
        cosine: brings all to length one.
        candidates: which others a query is told from.
        prefixes: width to weight: sums the loss over nested prefixes (Kusupati et al. 2205.13147).
        mini_batch: the batch is embedded in parts of this size and gradients are cached (Gao et al. 2101.06983;
            sentence-transformers' machinery): batches larger than memory, twice the forward passes, the same gradients.
        one_view: embeds the anchor once and takes it for its own positive as well: one dropout mask for both views
            (SimCSE's table 2, "fixed").
        distillation: how often :func:`distilled` counts, in rows with a teacher's scores.
    """

    uses_gradient_cache = False
    log_temperature: Tensor

    def __init__(
        self,
        model: nn.Module,
        *,
        temperature: float = 0.05,
        learned: bool = False,
        cosine: bool = True,
        candidates: Candidates = Candidates(),
        prefixes: Mapping[int, float] | None = None,
        mini_batch: int = 0,
        one_view: bool = False,
        distillation: float = 0.0,
    ) -> None:
        super().__init__()
        if not temperature > 0:
            raise WrongUse(f"temperature: expected a number above zero, found {temperature}")
        self.model, self.cosine, self.candidates = model, cosine, candidates
        self.prefixes, self.one_view, self.distillation = dict(prefixes or {}), one_view, distillation
        self.mini_batch_size, self.mini_batch_num_tokens, self.show_progress_bar = mini_batch, None, False
        self.uses_gradient_cache = mini_batch > 0
        fixed = torch.tensor(float(temperature)).log()
        if learned:
            self.log_temperature = nn.Parameter(fixed)
        else:
            self.register_buffer("log_temperature", fixed)

    @property
    def temperature(self) -> Tensor:
        """τ, as it is now."""
        return self.log_temperature.exp()

    def forward(self, sentence_features: Iterable[dict[str, Any]], labels: Tensor | None = None) -> Tensor:
        """The loss of a batch."""
        columns = list(sentence_features)
        if len(columns) < 2:
            raise WrongUse(f"InfoNCE: expected columns anchor and positive, found {len(columns)}")
        numbers = numbered(columns) if self.candidates.duplicates and "attention_mask" in columns[0] else None
        if self.mini_batch_size:
            self._numbers = numbers
            return self.forward_cached(columns, labels)  # type: ignore[operator,no-any-return]
        if self.one_view:
            seen = self.model(columns[0])["sentence_embedding"]
            return self.of(
                [seen, seen, *(self.model(column)["sentence_embedding"] for column in columns[2:])], labels, numbers
            )
        return self.of([self.model(column)["sentence_embedding"] for column in columns], labels, numbers)

    def calculate_loss(
        self, reps: list[list[Tensor]], labels: Tensor | None = None, with_backward: bool = False
    ) -> Tensor:
        """The loss from embeddings in parts, as the gradient cache asks for it."""
        loss = self.of([torch.cat(part) for part in reps], labels, self._numbers)
        if with_backward:
            loss.backward()  # type: ignore[no-untyped-call]
            loss = loss.detach()
        return loss

    def of(
        self, columns: Sequence[Tensor], labels: Tensor | None = None, numbers: Sequence[Tensor] | None = None
    ) -> Tensor:
        """The loss from vectors ``[n, d]`` a column; ``numbers`` as :func:`numbered` gives them."""
        queries, documents = columns[0], columns[1]
        negatives = torch.stack(list(columns[2:]), 1) if len(columns) > 2 else None
        same = answers = in_batch = present = teacher = None
        if numbers is not None:
            same = (numbers[0][:, None] == numbers[0]) | (numbers[1][:, None] == numbers[1])
            if negatives is not None:
                stacked = torch.stack(list(numbers[2:]), 1)
                answers = numbers[1][:, None, None] == stacked[None]
        if labels is not None and labels.ndim == 2:
            in_batch, group = labels[:, 0].bool(), labels[:, 1]
            together = (group[:, None] == group) & (group >= 0)[:, None]
            same = together if same is None else same | together
            if negatives is not None:
                present = torch.arange(negatives.shape[1], device=labels.device) < labels[:, 2:3]
                teacher = labels[:, POLICY:] if self.distillation and labels.shape[1] > POLICY else None

        def loss(width: int) -> Tensor:
            contrast = info_nce(
                queries[..., :width],
                documents[..., :width],
                None if negatives is None else negatives[..., :width],
                temperature=self.temperature,
                cosine=self.cosine,
                candidates=self.candidates,
                in_batch=in_batch,
                same=same,
                answers=answers,
                present=present,
            )
            if teacher is None or negatives is None or present is None:
                return contrast
            taught = distilled(
                queries[..., :width],
                torch.cat([documents.unsqueeze(1), negatives], 1)[..., :width],
                teacher,
                temperature=self.temperature,
                cosine=self.cosine,
                present=torch.cat([torch.ones_like(present[:, :1]), present], 1),
            )
            return contrast + self.distillation * taught

        return over_prefixes(self.prefixes or {queries.shape[-1]: 1.0}, loss)

    def get_config_dict(self) -> dict[str, Any]:
        """For the trainer's model card."""
        return asdict(self.candidates) | {
            "temperature": float(self.temperature),
            "cosine": self.cosine,
            "prefixes": self.prefixes,
            "distillation": self.distillation,
        }
