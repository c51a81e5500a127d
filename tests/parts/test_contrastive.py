import math

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("sentence_transformers")

from umekomi.errors import WrongUse
from umekomi.parts.losses.contrastive import Candidates, InfoNCE, info_nce, numbered


def unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


@pytest.fixture
def vectors():
    generator = np.random.default_rng(0)
    q, d, n = (generator.normal(size=shape) for shape in ((6, 5), (6, 5), (6, 2, 5)))
    return unit(q), unit(d), unit(n)


def tensors(*arrays):
    return [torch.tensor(array) for array in arrays]


def test_gemini_mask_leaves_the_positive_in_and_duplicates_out(vectors):
    """Gemini Embedding: one own hard negative, other positives where mask(i, j) is one; the printed mask would drop j =
    i."""
    q, d, n = vectors
    q[3] = q[0]
    d[5] = d[1]
    same = [[i == j or {i, j} == {0, 3} or {i, j} == {1, 5} for j in range(6)] for i in range(6)]
    tau, total = 0.1, 0.0
    for i in range(6):
        positive = math.exp(q[i] @ d[i] / tau)
        z = math.exp(q[i] @ n[i, 0] / tau) + positive
        for j in range(6):
            if j != i and not same[i][j]:
                z += math.exp(q[i] @ d[j] / tau)
        total -= math.log(positive / z)
    found = info_nce(
        *tensors(q, d, n[:, :1]), temperature=tau, candidates=Candidates(negatives="own"), same=torch.tensor(same)
    )
    assert found.item() == pytest.approx(total / 6, rel=1e-9)
    assert torch.isfinite(found)


def test_qwen3_four_terms_with_the_false_negative_mask(vectors):
    q, d, n = vectors
    d[4] = d[2]
    tau, margin, total, masked = 0.07, 0.1, 0.0, 0
    for i in range(6):
        s = q[i] @ d[i]
        z = math.exp(s / tau)

        def term(value, gone=False, limit=s + margin):
            nonlocal masked
            masked += gone or value > limit
            return 0.0 if gone or value > limit else math.exp(value / tau)

        z += sum(term(q[i] @ n[i, k]) for k in range(2))
        for j in range(6):
            if j != i:
                gone = {i, j} == {2, 4}
                z += term(q[i] @ q[j], gone) + term(d[i] @ d[j], gone) + term(q[i] @ d[j], gone)
        total -= math.log(math.exp(s / tau) / z)
    same = torch.eye(6, dtype=torch.bool)
    same[2, 4] = same[4, 2] = True
    choice = Candidates(queries=True, document_document=True, negatives="own", margin=margin)
    assert info_nce(*tensors(q, d, n), temperature=tau, candidates=choice, same=same).item() == pytest.approx(
        total / 6, rel=1e-9
    )
    assert masked > 10


def test_simcse_takes_everybodys_negatives_and_weighs_its_own(vectors):
    q, d, n = vectors
    tau, alpha, total = 0.05, 3.0, 0.0
    for i in range(6):
        z = sum(
            math.exp(q[i] @ d[j] / tau)
            + sum((alpha if i == j else 1) * math.exp(q[i] @ n[j, k] / tau) for k in range(2))
            for j in range(6)
        )
        total -= q[i] @ d[i] / tau - math.log(z)
    found = info_nce(*tensors(q, d, n), temperature=tau, candidates=Candidates(own_weight=alpha))
    assert found.item() == pytest.approx(total / 6, rel=1e-9)


def test_gte_and_clip_directions(vectors):
    q, d, _ = vectors
    tau, gte, clip = 0.2, 0.0, 0.0
    for i in range(6):
        s = math.exp(q[i] @ d[i] / tau)
        rest = [j for j in range(6) if j != i]
        z = s + sum(math.exp(x / tau) for j in rest for x in (q[i] @ d[j], q[i] @ q[j], q[j] @ d[i], d[i] @ d[j]))
        gte -= math.log(s / z)
        clip -= (
            math.log(s / sum(math.exp(q[i] @ d[j] / tau) for j in range(6))) / 2
            + math.log(s / sum(math.exp(q[j] @ d[i] / tau) for j in range(6))) / 2
        )
    every = Candidates(queries=True, document_document=True, document_query=True)
    assert info_nce(*tensors(q, d), temperature=tau, candidates=every).item() == pytest.approx(gte / 6, rel=1e-9)
    assert info_nce(*tensors(q, d), temperature=tau, candidates=Candidates(symmetric=True)).item() == pytest.approx(
        clip / 6, rel=1e-9
    )


def test_rows_without_in_batch_candidates_see_only_their_own_negatives(vectors):
    q, d, n = vectors
    in_batch = [True, False, True, False, False, True]
    held = [2, 1, 0, 2, 0, 1]
    tau, total = 0.1, 0.0
    for i in range(6):
        s = math.exp(q[i] @ d[i] / tau)
        z = s + sum(math.exp(q[i] @ n[i, k] / tau) for k in range(held[i]))
        if in_batch[i]:
            z += sum(
                math.exp(q[i] @ d[j] / tau) + sum(math.exp(q[i] @ n[j, k] / tau) for k in range(held[j]))
                for j in range(6)
                if j != i
            )
        total -= math.log(s / z)
    loss = InfoNCE(None, temperature=tau)
    label = torch.tensor([[int(x), -1, h] for x, h in zip(in_batch, held, strict=True)])
    assert loss.of([*tensors(q, d), *tensors(*n.transpose(1, 0, 2))], label).item() == pytest.approx(
        total / 6, rel=1e-6
    )


def test_one_group_is_no_negative_of_itself(vectors):
    q, d, _ = vectors
    group = [0, 1, 0, 2, 1, 2]
    total = 0.0
    for i in range(6):
        z = sum(math.exp(q[i] @ d[j] / 0.1) for j in range(6) if j == i or group[i] != group[j])
        total -= q[i] @ d[i] / 0.1 - math.log(z)
    label = torch.tensor([[1, g, 0] for g in group])
    assert InfoNCE(None, temperature=0.1).of(tensors(q, d), label).item() == pytest.approx(total / 6, rel=1e-6)


def test_a_negative_of_another_row_that_answers_the_query_is_left_out(vectors):
    q, d, n = vectors
    n[2, 1] = d[0]
    columns = [*tensors(q, d), *tensors(*n.transpose(1, 0, 2))]
    numbers = [torch.arange(6), torch.arange(6), torch.arange(10, 16), torch.arange(20, 26)]
    numbers[3][2] = 0  # the text of row 0's positive
    found = InfoNCE(None, temperature=0.1).of(columns, None, numbers).item()
    total = 0.0
    for i in range(6):
        z = sum(
            math.exp(q[i] @ d[j] / 0.1)
            + sum(math.exp(q[i] @ n[j, k] / 0.1) for k in range(2) if (i, j, k) != (0, 2, 1))
            for j in range(6)
        )
        total -= q[i] @ d[i] / 0.1 - math.log(z)
    assert found == pytest.approx(total / 6, rel=1e-6)


def test_nested_prefixes_are_a_weighted_sum(vectors):
    q, d, _ = vectors
    one = {width: InfoNCE(None, temperature=0.1).of([x[:, :width] for x in tensors(q, d)]).item() for width in (2, 5)}
    both = InfoNCE(None, temperature=0.1, prefixes={5: 1.0, 2: 0.5}).of(tensors(q, d)).item()
    assert both == pytest.approx(one[5] + 0.5 * one[2], rel=1e-6)


def test_dot_products_and_the_learned_temperature(vectors):
    q, d, _ = vectors
    q = 3 * q
    total = sum(-(q[i] @ d[i]) / 2 + math.log(sum(math.exp(q[i] @ d[j] / 2) for j in range(6))) for i in range(6))
    loss = InfoNCE(None, temperature=2.0, cosine=False, learned=True).double()
    value = loss.of(tensors(q, d))
    assert value.item() == pytest.approx(total / 6, rel=1e-6)
    value.backward()
    step = 1e-5
    ends = []
    for sign in (1, -1):
        moved = InfoNCE(None, temperature=2.0 * math.exp(sign * step), cosine=False).double()
        moved.log_temperature = torch.tensor(math.log(2.0) + sign * step, dtype=torch.float64)
        ends.append(moved.of(tensors(q, d)).item())
    assert loss.log_temperature.grad.item() == pytest.approx((ends[0] - ends[1]) / (2 * step), rel=1e-4)
    assert not list(InfoNCE(None, learned=False).parameters())


def test_gradient_by_finite_differences(vectors):
    q, d, n = tensors(*vectors)
    choice = Candidates(queries=True, document_document=True, document_query=True, own_weight=2.0)
    q.requires_grad_(), d.requires_grad_(), n.requires_grad_()
    assert torch.autograd.gradcheck(lambda *parts: info_nce(*parts, temperature=0.3, candidates=choice), (q, d, n))


def test_texts_are_numbered_by_their_tokens_wherever_padding_stands():
    left = {"input_ids": torch.tensor([[0, 5, 6], [7, 8, 9]]), "attention_mask": torch.tensor([[0, 1, 1], [1, 1, 1]])}
    right = {"input_ids": torch.tensor([[5, 6, 0], [7, 8, 0]]), "attention_mask": torch.tensor([[1, 1, 0], [1, 1, 0]])}
    a, b = numbered([left, right])
    assert a[0] == b[0] and a[1] != b[1]


class Table(torch.nn.Module):
    """A model for the trainers' shape of features: mean of token vectors, with dropout to see whether it is
    replayed."""

    def __init__(self):
        super().__init__()
        self.table = torch.nn.Embedding(50, 8)
        self.drop = torch.nn.Dropout(0.3)

    def forward(self, features):
        mask = features["attention_mask"].unsqueeze(-1).float()
        tokens = self.drop(self.table(features["input_ids"])) * mask
        return {"sentence_embedding": tokens.sum(1) / mask.sum(1)}


def batch(generator, rows, width):
    return {
        "input_ids": torch.randint(0, 50, (rows, width), generator=generator),
        "attention_mask": torch.ones(rows, width, dtype=torch.long),
    }


@pytest.mark.parametrize("prefixes", [None, {8: 1.0, 4: 1.0}])
def test_cached_gradients_are_those_of_the_whole_batch(prefixes):
    torch.manual_seed(0)
    model = Table()
    model.drop.p = 0.0
    generator = torch.Generator().manual_seed(1)
    columns = [batch(generator, 10, width) for width in (4, 7, 5)]
    label = torch.tensor([[1, -1, 1]] * 10)
    grads = []
    for mini in (0, 3):
        loss = InfoNCE(
            model,
            temperature=0.1,
            mini_batch=mini,
            prefixes=prefixes,
            learned=True,
            candidates=Candidates(queries=True),
        )
        model.zero_grad()
        value = loss([dict(column) for column in columns], label)
        value.backward()
        grads.append((value.item(), model.table.weight.grad.clone(), loss.log_temperature.grad.clone()))
    assert grads[0][0] == pytest.approx(grads[1][0], rel=1e-6)
    torch.testing.assert_close(grads[0][1], grads[1][1], rtol=1e-4, atol=1e-7)
    torch.testing.assert_close(grads[0][2], grads[1][2])


def test_it_is_sentence_transformers_loss_where_they_overlap():
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss

    torch.manual_seed(0)
    q, d, n = (torch.randn(7, 8) for _ in range(3))
    theirs = MultipleNegativesRankingLoss(None, scale=20.0).compute_loss_from_embeddings([q, d, n], None)
    ours = info_nce(q, d, n[:, None], temperature=0.05)
    torch.testing.assert_close(ours, theirs)


def test_wrong_settings_are_one_line():
    for wrong in (
        lambda: InfoNCE(None, temperature=0),
        lambda: InfoNCE(None, temperature=float("nan")),
        lambda: Candidates(negatives="some"),
        lambda: Candidates(margin=-1),
        lambda: Candidates(own_weight=0),
    ):
        with pytest.raises(WrongUse) as error:
            wrong()
        assert "expected" in str(error.value) and "\n" not in str(error.value)


def test_graded_pairs_by_both_losses_of_one_batch(vectors):
    """NEAR²: multiple negatives over the positives plus the margin on hard pairs, by hand, on two prefixes."""
    from umekomi.parts.losses.graded import GradedSum

    q, d, _ = vectors
    labels = [1, 0, 1, 1, 0, 0]
    same = torch.eye(6, dtype=torch.bool)
    same[0, 2] = same[2, 0] = True
    total = 0.0
    for width in (5, 3):
        a, b = unit(q[:, :width]), unit(d[:, :width])
        distance = [1 - a[i] @ b[i] for i in range(6)]
        good, bad = [distance[i] for i in range(6) if labels[i]], [distance[i] for i in range(6) if not labels[i]]
        total += sum(x**2 for x in good if x > min(bad)) + sum(max(0.5 - x, 0) ** 2 for x in bad if x < max(good))
        rows = [i for i in range(6) if labels[i]]
        each = []
        for i in rows:
            z = sum(math.exp(a[i] @ b[j] / 0.1) for j in rows if i == j or {i, j} != {0, 2})
            each.append(math.log(z) - a[i] @ b[i] / 0.1)
        total += sum(each) / len(rows)
    found = GradedSum(None, temperature=0.1, margin=0.5, prefixes=(5, 3)).of(*tensors(q, d), torch.tensor(labels), same)
    assert found.item() == pytest.approx(total, rel=1e-6)


def test_online_contrastive_is_sentence_transformers():
    from sentence_transformers.sentence_transformer.losses import OnlineContrastiveLoss

    from umekomi.parts.losses.graded import online_contrastive

    class Given(torch.nn.Module):
        def forward(self, features):
            return {"sentence_embedding": features["vectors"]}

    for seed in range(5):
        generator = torch.Generator().manual_seed(seed)
        a, b = torch.randn(9, 4, generator=generator), torch.randn(9, 4, generator=generator)
        labels = torch.randint(0, 2, (9,), generator=generator)
        theirs = OnlineContrastiveLoss(Given(), margin=0.5)([{"vectors": a}, {"vectors": b}], labels)
        torch.testing.assert_close(
            online_contrastive(1 - torch.nn.functional.cosine_similarity(a, b), labels, 0.5), theirs
        )


def test_cosent_as_the_recipes_use_it_is_the_formula(vectors):
    """log(1 + Σ over pairs with y_i > y_j of e^{(s_j - s_i)/τ}); it is sentence-transformers', which matryoshka takes
    for scored pairs."""
    from sentence_transformers.sentence_transformer.losses import CoSENTLoss

    class Given(torch.nn.Module):
        def forward(self, features):
            return {"sentence_embedding": features["vectors"]}

    q, d, _ = vectors
    scores = [0.1, 0.9, 0.5, 0.5, 0.0, 1.0]
    s = [q[i] @ d[i] for i in range(6)]
    total = math.log(
        1 + sum(math.exp((s[j] - s[i]) / 0.05) for i in range(6) for j in range(6) if scores[i] > scores[j])
    )
    a, b = tensors(q, d)
    found = CoSENTLoss(Given(), scale=1 / 0.05)([{"vectors": a}, {"vectors": b}], torch.tensor(scores))
    assert found.item() == pytest.approx(total, rel=1e-6)
