"""ELMo's learning: both readings, the softmax drawn from, the mix by labels."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from umekomi.errors import DataError, WrongUse
from umekomi.recipes.elmo import Elmo
from umekomi.run import Run

torch = pytest.importorskip("torch")

from umekomi.models.words import CharacterReader
from umekomi.parts.layers.bilm import BiLanguageModel
from umekomi.parts.learning.bilm import UNKNOWN, Corpus, LanguageHead, Window, learn_mix
from umekomi.parts.learning.modules import seed_globals

TEXTS = [f"{who} {does} {what}" for who in ("the cat", "a dog", "no bird") for does in ("ran", "sat") for what in "xyz"]


def test_the_corpus_has_marks_rare_words_and_both_readings():
    corpus = dataclasses.replace(Elmo.tiny(), vocabulary=2)._corpus(CharacterReader.of("spaces", 8), ["b a a", "a c"])
    assert corpus.tokens[:5].tolist()[0::4] == [0, 1] and corpus.offsets.tolist() == [0, 5, 9]
    turned = corpus.reversed()
    assert turned[:5].tolist() == corpus.tokens[:5][::-1].tolist()
    assert turned[5:].tolist() == corpus.tokens[5:][::-1].tolist()
    assert corpus.targets == 5 and len(corpus.characters) == 5
    rare = corpus.target(np.array([0, 1, 2, 3, 4]))
    assert rare.tolist() == [0, 1, 3, 4, UNKNOWN]


def head(rows, sampled=None, length=3):
    with seed_globals(5):
        model = BiLanguageModel(filters=[(1, 4)], projection=3, width=5, characters=3, longest=5)
        return LanguageHead(model, rows, sampled, 0.0, length)


def window(generator, drawn=None):
    rows = generator.integers(0, 6, (2, 2, 4))
    return Window(
        torch.from_numpy(generator.integers(1, 200, (6, 5)).astype(np.int32)),
        *[torch.from_numpy(rows[side][:, :-1]) for side in (0, 1)],
        *[torch.from_numpy(rows[side][:, 1:]) for side in (0, 1)],
        torch.from_numpy(np.zeros(0, np.int64) if drawn is None else drawn),
    )


def test_the_backward_stack_reads_the_turned_text_from_its_begin():
    given, module = window(np.random.default_rng(0)), head(7)
    ahead, back, state = module.read(given, None)
    swapped = given._replace(ahead=given.back, back=given.ahead)
    module.model.forwards.cells, module.model.backwards.cells = (
        module.model.backwards.cells,
        module.model.forwards.cells,
    )
    back_again, ahead_again, _ = module.read(swapped, None)
    torch.testing.assert_close(ahead, ahead_again)
    torch.testing.assert_close(back, back_again)
    ahead, back, state = module.read(given, None)
    parts = [given._replace(ahead=given.ahead[:, cut], back=given.back[:, cut]) for cut in (slice(0, 2), slice(2, 3))]
    first = module.read(parts[0], None)
    second = module.read(parts[1], first[2])
    torch.testing.assert_close(torch.cat([first[1], second[1]], 1), back)
    torch.testing.assert_close(torch.cat([first[0], second[0]], 1), ahead)
    torch.testing.assert_close(second[2], state)


def test_a_softmax_drawn_from_against_a_slow_loop():
    generator, rows = np.random.default_rng(1), 60
    module = head(rows, 40).train()
    states, targets = torch.randn(5, 3, generator=torch.Generator().manual_seed(0)), [0, 3, 9, 30, 59]
    drawn = module.softmax.draw(generator)
    tries, chosen = drawn[-1], drawn[:-1].tolist()
    assert len(set(chosen)) == 40 and tries >= 40
    weight, bias = (value.detach().double().numpy() for value in module.softmax.parameters())
    chance = np.log((np.arange(rows) + 2) / (np.arange(rows) + 1)) / np.log(rows + 1)
    losses = []
    for state, target in zip(states.double().numpy(), targets, strict=True):

        def logit(word, state=state):
            return weight[word] @ state + bias[word] - np.log(1 - (1 - chance[word]) ** tries)

        others = sum(np.exp(logit(word)) for word in chosen if word != target)
        losses.append(-np.log(np.exp(logit(target)) / (np.exp(logit(target)) + others)))
    found = module.loss(states.unsqueeze(0), torch.tensor([targets]), torch.from_numpy(drawn))
    assert float(found) == pytest.approx(np.mean(losses), rel=1e-5)
    module.eval()
    whole = torch.nn.functional.cross_entropy(module.softmax(states), torch.tensor(targets))
    torch.testing.assert_close(module.loss(states.unsqueeze(0), torch.tensor([targets]), torch.zeros(0)), whole)


def test_the_words_drawn_follow_the_logarithm_of_ranks():
    module, generator = head(1000, 1), np.random.default_rng(2)
    drawn = np.array([module.softmax.draw(generator)[0] for _ in range(20_000)])
    wanted = module.softmax.chance(torch.arange(1000))
    for low, high in ((0, 1), (1, 10), (10, 100), (100, 1000)):
        assert abs((drawn[(drawn >= low) & (drawn < high)]).size / len(drawn) - float(wanted[low:high].sum())) < 0.015


def test_the_mix_finds_the_layer_that_tells():
    from umekomi.parts.layers.bilm import ElmoNetwork

    generator = np.random.default_rng(3)
    labels = generator.integers(0, 2, 400)
    layers = generator.normal(size=(400, 3, 4)).astype(np.float32)
    layers[:, 1, 0] = labels * 2 - 1
    network = ElmoNetwork(BiLanguageModel(filters=[(1, 4)], projection=2, width=5))
    about = learn_mix(network, layers, labels, run=Run("elmo"), key="", penalty=0.0, epochs=60, learning_rate=0.05)
    assert about["mix"][1] > 0.6 > 0.5 > max(about["mix"][0], about["mix"][2])
    assert float(network.shares().sum()) == pytest.approx(about["gamma"], abs=1e-3)
    held = learn_mix(network, layers, labels, run=Run("elmo"), key="", penalty=1.0, epochs=60, learning_rate=0.05)
    assert max(held["mix"]) < 0.45


def test_perplexity_falls_below_that_of_frequencies():
    recipe = dataclasses.replace(Elmo.tiny(), epochs=25, batch_size=4, width=16, projection=8, dropout=0.0)
    about = recipe.fit({"text": TEXTS}, seed=0).card["training"]
    assert about["perplexity"][-1] < 0.6 * about["perplexity of frequencies"]
    assert about["perplexity"][-1] < about["perplexity"][0]


def test_labels_mix_the_layers_of_a_model_that_stays_as_it_is():
    start = Elmo.tiny().fit({"text": TEXTS}, seed=0)
    before = {name: value.clone() for name, value in start.network.model.state_dict().items()}
    mixed = dataclasses.replace(Elmo.tiny(), mix="learned").fit(
        {"text": TEXTS, "label": [text.split()[1] for text in TEXTS]}, start=start
    )
    for name, value in mixed.network.model.state_dict().items():
        assert torch.equal(value, before[name])
    assert sum(mixed.card["training"]["mix"]) == pytest.approx(1, abs=1e-3)
    on = Elmo.tiny().fit({"text": TEXTS}, start=start)
    assert not torch.equal(on.network.model.words.table.weight, before["words.table.weight"])


@pytest.mark.parametrize(
    ("make", "line"),
    [
        (lambda: dataclasses.replace(Elmo.tiny(), projection=8), "projection: expected less than the width 8, found 8"),
        (lambda: dataclasses.replace(Elmo.tiny(), layer=3), "layer: expected 0 to 2 and mix mean, found 3"),
        (lambda: dataclasses.replace(Elmo.tiny(), warmup=2), "warmup: expected stateful beside it"),
        (
            lambda: dataclasses.replace(Elmo.tiny(), mix="learned").fit({"text": TEXTS}),
            "expected labels to learn it by",
        ),
        (lambda: Elmo.tiny().fit({"text": [" ", "  "]}), "expected texts with words, found none|empty|blank"),
        (lambda: Elmo.tiny().fit({"text": ["one text"]}), "expected two texts or more, found 1"),
    ],
)
def test_bad_input_is_one_line(make, line):
    with pytest.raises((DataError, WrongUse), match=line):
        make()


def test_a_corpus_is_checked_by_its_content():
    assert Corpus(np.zeros(2, np.int32), np.array([0, 2]), np.zeros((2, 5), np.uint16), 3).reversed().tolist() == [0, 0]
