"""The tied top-k autoencoder against torch's derivatives of the paper's formulas, and what its codes promise."""

from __future__ import annotations

import numpy as np
import pytest

from umekomi.errors import DataError, WrongUse
from umekomi.transforms.codes import Learner, SparseCode


def vectors_of(rows: int, width: int = 24, seed: int = 0):
    generator = np.random.default_rng(seed)
    directions = generator.standard_normal((40, width))
    codes = np.where(generator.random((rows, 40)) < 0.08, generator.random((rows, 40)), 0)
    vectors = codes @ directions + 0.05 * generator.standard_normal((rows, width))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize("mode", ["alone", "labels", "pairs", "none dead"])
def test_slopes_are_those_of_the_formulas(mode):
    torch = pytest.importorskip("torch")
    code = SparseCode(4, 48, contrast=0.3, auxiliary=0.25, auxiliary_k=5, dead_after=10)
    learner = Learner(code, 24)
    generator = np.random.default_rng(1)
    learner.arrays["inner"][:] = 0.05 * generator.standard_normal(48)
    learner.arrays["outer"][:] = 0.05 * generator.standard_normal(24)
    learner.arrays["idle"][: 20 if mode != "none dead" else 0] = 99
    inputs = vectors_of(16)
    labels = np.arange(16) % 3 if mode == "labels" else None
    pairs = 8 if mode == "pairs" else 0
    loss, slopes = learner.slopes(inputs, 4, labels, pairs)

    weight, inner, outer = (
        torch.tensor(learner.arrays[name].astype(np.float64), requires_grad=True) for name in learner.names
    )
    x = torch.tensor(inputs.astype(np.float64))
    activations = (x - outer) @ weight.T + inner

    def topped(a, k):
        values, places = a.topk(k, dim=1)
        return torch.zeros_like(a).scatter(1, places, torch.relu(values))

    z, z4 = topped(activations, 4), topped(activations, 16)
    residual = x - (z @ weight + outer)
    slow = (residual**2).mean() + ((x - z4 @ weight - outer) ** 2).mean() / 8
    e = residual.detach()
    dead = torch.full((48,), -torch.inf, dtype=torch.float64)
    dead[:20] = 0
    helped = (topped(activations + dead, 5) if mode != "none dead" else 0 * activations) @ weight + outer
    slow = slow + 0.25 * ((helped - e - outer.detach()) ** 2).mean() / ((e.mean(0) - e) ** 2).mean()
    unit = z / z.norm(dim=1, keepdim=True)
    if mode == "pairs":
        scores = unit[:8] @ unit[8:].T / 0.2
        contrast = torch.nn.functional.cross_entropy(scores, torch.arange(8))
    elif mode != "labels":
        contrast = torch.nn.functional.cross_entropy(unit @ unit.T / 0.2, torch.arange(16))
    else:
        terms = []
        for i in range(16):
            others = [j for j in range(16) if j != i]
            scores = torch.stack([torch.exp(unit[i] @ unit[j] / 0.2) for j in others])
            same = torch.tensor([labels[i] == labels[j] for j in others])
            terms.append(-torch.log(scores[same].sum() / scores.sum()))
        contrast = torch.stack(terms).mean()
    slow = slow + 0.3 * contrast
    slow.backward()
    assert abs(loss - slow.item()) < 1e-5
    for name, tensor in zip(learner.names, (weight, inner, outer), strict=True):
        np.testing.assert_allclose(slopes[name], tensor.grad.numpy(), atol=2e-6, err_msg=name)


def test_codes_are_sparse_and_hold_more_than_as_many_directions():
    vectors = vectors_of(4000)
    code = SparseCode(4, 96, epochs=60, batch_size=256, learning_rate=2e-3, contrast=0, weight_decay=0).fit(vectors)
    codes = code.transform(vectors)
    assert codes.shape == (4000, 96)
    assert np.diff(codes.indptr).max() <= 4
    assert (codes.data > 0).all()
    left = ((vectors - code.reconstruct(codes)) ** 2).sum() / ((vectors - vectors.mean(0)) ** 2).sum()
    centred = vectors - vectors.mean(0)
    values = np.linalg.svd(centred, compute_uv=False) ** 2
    assert left < values[4:].sum() / values.sum() / 3  # four latents of 96 tell more than the four main directions
    assert code.dead_ < 0.5


def test_annealing_comes_down_to_k():
    code = SparseCode(2, 48, start_k=16, annealing=0.5)
    learner = Learner(code, 24)
    learner.steps = 100
    seen = []
    for step in (0, 25, 50, 99):
        learner.arrays["step"][0] = step
        seen.append(learner.k())
    assert seen == [16, 9, 2, 2]


def test_one_seed_one_code_and_a_resumed_fit_is_the_same(tmp_path, monkeypatch):
    from umekomi.parts.learning import arrays as epochs

    vectors = vectors_of(500)
    settings = {"epochs": 6, "batch_size": 128, "learning_rate": 1e-3}
    whole = SparseCode(4, 48, **settings).fit(vectors)
    monkeypatch.setattr(epochs, "SAVE_SECONDS", 0.0)
    step = Learner.step
    seen = [0]

    def interrupted(self, *arguments):
        seen[0] += 1
        if seen[0] == 14:
            raise KeyboardInterrupt
        return step(self, *arguments)

    monkeypatch.setattr(Learner, "step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        SparseCode(4, 48, **settings).fit(vectors, checkpoint=tmp_path)
    again = SparseCode(4, 48, **settings).fit(vectors, checkpoint=tmp_path)
    assert seen[0] < 14 + 24
    np.testing.assert_array_equal(whole.weight_, again.weight_)
    assert (whole.transform(vectors) != again.transform(vectors)).nnz == 0


def test_bad_input_of_codes():
    vectors = vectors_of(50)
    for use, kind, said in (
        (lambda: SparseCode(0), WrongUse, "k: expected 1 or more, found 0"),
        (lambda: SparseCode(9, 8), WrongUse, "at least k = 9 latents"),
        (lambda: SparseCode(temperature=0), WrongUse, "temperature"),
        (lambda: SparseCode().transform(vectors), WrongUse, "learned nothing"),
        (lambda: SparseCode().fit(vectors[:1]), DataError, "at least two vectors"),
        (lambda: SparseCode().fit(vectors * np.nan), DataError, "finite"),
        (lambda: SparseCode().fit(vectors, labels=[1]), WrongUse, "one label for every vector"),
        (lambda: SparseCode().fit(vectors, positives=vectors[:3]), WrongUse, "positives of the shape"),
    ):
        with pytest.raises(kind, match=said):
            use()


@pytest.mark.parametrize("kind", ["pairs", "labels"])
def test_the_objective_with_a_backbone_is_the_frozen_ones(kind):
    """The same loss and the same gradients of the code as the learner without torch, on the same vectors."""
    torch = pytest.importorskip("torch")
    pytest.importorskip("sentence_transformers")
    from umekomi.parts.losses.sparse import SparseContrast
    from umekomi.transforms.codes import Learner, SparseCode

    vectors = np.random.default_rng(0).normal(size=(12, 6)).astype(np.float32)
    code = SparseCode(3, 24, contrast=0.7, temperature=0.2, auxiliary=0.0)
    learner = Learner(code, 6)
    generator = np.random.default_rng(1)
    for name in ("inner", "outer"):
        learner.arrays[name][:] = generator.normal(size=learner.arrays[name].shape) * 0.1
    labels = np.array([0, 1, 2] * 4) if kind == "labels" else None
    pairs = 6 if kind == "pairs" else 0
    loss, slopes = learner.slopes(vectors, 3, labels, pairs)
    ours = SparseContrast(
        None,
        {f"{name}_": learner.arrays[name] for name in ("weight", "inner", "outer")},
        3,
        contrast=0.7,
        temperature=0.2,
    )
    given = torch.tensor(vectors, requires_grad=True)
    found = ours.of(given, None if labels is None else torch.tensor(labels), pairs)
    assert found.item() == pytest.approx(loss, rel=1e-4)
    found.backward()
    for name in ("weight", "inner", "outer"):
        np.testing.assert_allclose(getattr(ours, name).grad.numpy(), slopes[name], atol=2e-5)
    assert given.grad.abs().sum() > 0


@pytest.mark.parametrize("tune", ["full", "lora"])
def test_csr_tunes_its_backbone(tune, tmp_path):
    pytest.importorskip("sentence_transformers")
    if tune == "lora":
        pytest.importorskip("peft")
    from dataclasses import replace

    from umekomi.errors import WrongUse
    from umekomi.models import load
    from umekomi.models.scratch import untrained_transformer
    from umekomi.recipes import get

    texts = [
        f"the {animal} number {i} lives by {place}"
        for i in range(8)
        for animal in ("cat", "dog", "owl")
        for place in ("water", "trees")
    ]
    start = untrained_transformer("bert", texts, layers=1, width=32, heads=4, vocabulary=300, max_length=32).embedder(
        "mean"
    )
    recipe = replace(
        get("csr").small(),
        k=4,
        epochs=2,
        batch_size=16,
        contrast=1.0,
        tune=tune,
        tune_learning_rate=1e-3,
        tune_epochs=2,
        tune_batch=16,
        lora=(2, 4.0, 0.0),
    )
    data = {"text": texts, "label": [text.split()[1] for text in texts]}
    model = recipe.fit(data, start=start)
    frozen = replace(recipe, tune="none").fit(data, start=start)
    codes = model.encode(texts)
    assert codes.shape == (48, 128) and (np.diff(codes.indptr) <= 4).all()
    assert np.abs(model.base.encode(texts[:3]) - start.encode(texts[:3])).max() > 1e-4
    np.testing.assert_array_equal(frozen.base.encode(texts[:3]), start.encode(texts[:3]))

    def apart(embedder):
        """Mean similarity within classes less the mean between them."""
        z = embedder.encode(texts)
        s = embedder.similarity(z, z)
        same = np.array(data["label"])[:, None] == np.array(data["label"])
        return s[same & ~np.eye(48, dtype=bool)].mean() - s[~same].mean()

    assert apart(model) > apart(frozen)
    model.save(tmp_path / "model")
    assert (load(tmp_path / "model").encode(texts[:4]) != model.encode(texts[:4])).nnz == 0
    with pytest.raises(WrongUse, match="pairs or labels"):
        recipe.fit({"text": texts}, start=start)
    with pytest.raises(WrongUse, match="contrast above zero"):
        replace(recipe, contrast=0.0).fit(data, start=start)
