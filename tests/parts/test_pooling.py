import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("sentence_transformers")

from umekomi.errors import WrongUse
from umekomi.parts.pooling import LatentAttention, LayerMix, TailMean, WithoutPrompt, masked_mean


def features(rows, side="right", width=8, **more):
    """Token vectors of several texts, padded with large numbers that must not be seen."""
    longest = max(len(row) for row in rows)
    tokens, mask = torch.full((len(rows), longest, width), 1e4), torch.zeros(len(rows), longest, dtype=torch.long)
    for place, row in enumerate(rows):
        where = slice(0, len(row)) if side == "right" else slice(longest - len(row), longest)
        tokens[place, where], mask[place, where] = row, 1
    return {"token_embeddings": tokens, "attention_mask": mask, **more}


@pytest.fixture
def texts():
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(count, 8, generator=generator) for count in (3, 7, 1, 5)]


def latent(form, **options):
    torch.manual_seed(1)
    return LatentAttention(8, latents=6, heads=2, form=form, **options).eval()


LAYERS = [lambda: TailMean(8, 0.5), *[lambda form=form: latent(form) for form in ("paper", "released", "mlp")]]


@pytest.mark.parametrize("make", LAYERS)
@pytest.mark.parametrize("side", ["right", "left"])
def test_the_same_vector_whatever_else_is_in_the_batch(make, side, texts):
    layer = make()
    together = layer(features(texts, side))["sentence_embedding"]
    for place, text in enumerate(texts):
        alone = layer(features([text]))["sentence_embedding"][0]
        assert ((together[place] - alone).norm() / alone.norm()).item() <= 1e-5


def softmax(x):
    x = np.exp(x - x.max(-1, keepdims=True))
    return x / x.sum(-1, keepdims=True)


def norm(x, layer):
    centred = x - x.mean(-1, keepdims=True)
    return (
        centred / np.sqrt(x.var(-1, keepdims=True) + layer.eps) * layer.weight.detach().numpy()
        + layer.bias.detach().numpy()
    )


def gelu(x):
    return torch.nn.functional.gelu(torch.tensor(x)).numpy()


def linear(x, layer):
    out = x @ layer.weight.detach().numpy().T
    return out if layer.bias is None else out + layer.bias.detach().numpy()


def test_the_papers_form_by_a_slow_loop(texts):
    layer = latent("paper")
    dictionary = layer.dictionary.detach().numpy()
    for text in texts:
        rows = []
        for token in text.numpy():
            parts = []
            for head in range(2):
                mine = slice(4 * head, 4 * head + 4)
                weights = softmax(np.array([token[mine] @ latent_[mine] for latent_ in dictionary]))
                parts.append(sum(weight * latent_[mine] for weight, latent_ in zip(weights, dictionary, strict=True)))
            rows.append(linear(gelu(linear(np.concatenate(parts), layer.widen)), layer.narrow))
        np.testing.assert_allclose(
            layer(features([text]))["sentence_embedding"][0].detach(), np.mean(rows, 0), rtol=1e-4, atol=1e-5
        )


@pytest.mark.parametrize("head_width", [0, 5])
def test_the_released_form_by_a_slow_loop(texts, head_width):
    """Pre-norm attention of tokens over latents with a residual, then a gated MLP with a residual, then the mean."""
    layer = latent("released", head_width=head_width)
    width = head_width or 4
    context = norm(layer.dictionary.detach().numpy(), layer.latent_norm)
    both = linear(context, layer.answer)
    keys, values = both[:, : 2 * width], both[:, 2 * width :]
    for text in texts:
        rows = []
        for token in text.numpy():
            asked = linear(norm(token, layer.token_norm), layer.ask)
            heads = []
            for head in range(2):
                mine = slice(width * head, width * (head + 1))
                weights = softmax(keys[:, mine] @ asked[mine] / np.sqrt(width))
                heads.append(weights @ values[:, mine])
            x = token + linear(np.concatenate(heads), layer.join)
            straight, gate = np.split(linear(norm(x, layer.norm), layer.widen), 2)
            rows.append(x + linear(straight * gelu(gate), layer.narrow))
        np.testing.assert_allclose(
            layer(features([text]))["sentence_embedding"][0].detach(), np.mean(rows, 0), rtol=1e-4, atol=1e-5
        )


def test_the_published_heads_shapes_and_the_control_of_as_many_parameters():
    with torch.device("meta"):
        published = LatentAttention(4096, latents=512, heads=8, head_width=4096)
    assert tuple(published.ask.weight.shape) == (32768, 4096) and tuple(published.answer.weight.shape) == (65536, 4096)
    assert tuple(published.join.weight.shape) == (4096, 32768) and tuple(published.dictionary.shape) == (512, 4096)
    assert tuple(published.widen.weight.shape) == (32768, 4096) and tuple(published.narrow.weight.shape) == (
        4096,
        16384,
    )
    assert sum(p.numel() for p in published.parameters()) == pytest.approx(
        0.740e9, rel=0.01
    )  # modern.md, from the shapes
    counts = [
        sum(p.numel() for p in LatentAttention(64, 32, 4, form=form).parameters()) for form in ("released", "mlp")
    ]
    assert counts[1] == pytest.approx(counts[0], rel=0.01)


@pytest.mark.parametrize("side", ["right", "left"])
def test_instruction_tokens_are_left_out_for_every_row_by_its_own_length(texts, side):
    layer = WithoutPrompt()
    out = layer(features(texts, side, prompt_length=torch.tensor([1, 4, 1, 0])))
    pooled = masked_mean(out["token_embeddings"], out["attention_mask"].bool())
    for place, skipped in enumerate((1, 4, 0, 0)):  # the third text is nothing but its instruction: pooled whole
        torch.testing.assert_close(pooled[place], texts[place][skipped:].mean(0))
    one = layer(features(texts, side, prompt_length=2))["attention_mask"].sum(1)
    assert one.tolist() == [1, 5, 1, 3]
    assert WithoutPrompt(-1)(features(texts, side, prompt_length=2))["attention_mask"].sum(1).tolist() == [2, 6, 1, 4]
    assert layer(features(texts, side))["attention_mask"].sum(1).tolist() == [3, 7, 1, 5]


def test_layers_mixed_by_softmax(texts):
    layer = LayerMix(8, layers=4, first=1)
    with torch.no_grad():
        layer.weights.copy_(torch.tensor([0.0, 1.0, 2.0]))
    states = [torch.randn(2, 3, 8) for _ in range(4)]
    out = layer({"all_layer_embeddings": states})["token_embeddings"]
    shares = np.exp([0, 1, 2]) / np.exp([0, 1, 2]).sum()
    torch.testing.assert_close(out, sum(float(share) * state for share, state in zip(shares, states[1:], strict=True)))
    with pytest.raises(WrongUse, match="expected 4 hidden states"):
        layer({})


@pytest.mark.parametrize("form", ["paper", "released", "mlp"])
def test_every_parameter_learns(form, texts):
    layer = latent(form)
    layer(features(texts))["sentence_embedding"].pow(2).sum().backward()
    assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in layer.parameters())


def test_wrong_settings():
    for wrong in (
        lambda: LatentAttention(8, form="other"),
        lambda: LatentAttention(10, heads=4, form="paper"),
        lambda: TailMean(8, 0),
        lambda: LayerMix(8, 3, 3),
    ):
        with pytest.raises(ValueError, match="expected"):
            wrong()
    with pytest.raises(WrongUse, match="padded"):
        TailMean(8)({"cu_seq_lens_q": torch.tensor([0, 3]), "token_embeddings": torch.zeros(1, 3, 8)})
