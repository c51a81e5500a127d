"""What learns sentences by generating: noise, what is read and written, vocabulary expansion, and what is no data."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from umekomi.errors import DataError, UmekomiError, WrongUse
from umekomi.models import load
from umekomi.models.entity import EntityEmbedder
from umekomi.parts.learning.generating import Ragged, TextRows, damage
from umekomi.recipes import get

RNG = np.random.default_rng(0)
WORDS = ["red", "blue", "green", "ball", "box", "car", "the", "a", "is", "not"]
GIVEN = EntityEmbedder(WORDS, RNG.normal(size=(len(WORDS), 6)).astype(np.float32), name="ten")
SENTENCES = [
    f"{one} {thing} is {is_not}{colour}"
    for one in ("the", "a")
    for thing in WORDS[3:6]
    for colour in WORDS[:3]
    for is_not in ("", "not ")
]


# --- parts ------------------------------------------------------------------------------------------------------------


def test_ragged_texts_are_taken_and_padded():
    texts = Ragged.of([np.array([3, 1]), np.array([], np.int64), np.array([2, 5, 1])])
    assert texts.lengths.tolist() == [2, 0, 3]
    ids, lengths = texts.take(np.array([2, -1, 0, 1])).padded()
    assert ids.tolist() == [[2, 5, 1], [0, 0, 0], [3, 1, 0], [0, 0, 0]] and lengths.tolist() == [3, 0, 2, 0]
    assert Ragged.of([]).take(np.array([-1])).padded()[1].tolist() == [0]
    many = Ragged(np.zeros(1_000_000, np.int32), np.arange(1_000_001))
    tracemalloc.start()
    assert many.take(np.array([999_999, -1, 0])).offsets.tolist() == [0, 1, 1, 2]
    assert tracemalloc.get_traced_memory()[1] < 100_000, "a batch costs what it holds, not what there is"
    tracemalloc.stop()
    rows = TextRows(texts, texts, np.array([[0, 2, -1], [2, 0, 2]]))
    assert rows.written.tolist() == [3, 5] and rows.lengths.tolist() == [5, 8]


def slow_damage(rows, deletion, swap, generator):
    """Word by word, with the numbers that :func:`damage` draws: one a word, then one a place that is left."""
    drawn = iter(generator.random(sum(map(len, rows))))
    left = []
    for row in rows:
        keeps = [next(drawn) >= deletion for _ in row]
        left.append([word for word, keep in zip(row, keeps, strict=True) if keep] or [])
        if row and not keeps[-1]:
            left[-1].append(row[-1])
    drawn = iter(generator.random(sum(map(len, left))))
    out = []
    for row in left:
        swaps = [next(drawn) < swap for _ in row]
        row = list(row)
        for place in range(0, len(row) - 2, 2):  # the last is the end's mark
            if swaps[place]:
                row[place], row[place + 1] = row[place + 1], row[place]
        out.append(row)
    return out


@pytest.mark.parametrize(("deletion", "swap"), [(0.3, 0.5), (0.0, 1.0), (1.0, 0.0), (0.0, 0.0)])
def test_noise_against_a_slow_loop(deletion, swap):
    rows = [[*RNG.integers(2, 99, size).tolist(), 1] for size in (5, 1, 0, 8, 2, 7)]
    texts = Ragged.of([np.array(row) for row in rows])
    found = damage(texts, np.random.default_rng(4), deletion=deletion, swap=swap)
    want = slow_damage(rows, deletion, swap, np.random.default_rng(4))
    assert [found.ids[a:b].tolist() for a, b in zip(found.offsets, found.offsets[1:], strict=False)] == want
    assert texts.ids.tolist() == [word for row in rows for word in row], "what is written stays whole"
    if deletion == swap == 0:
        assert np.array_equal(found.ids, texts.ids)
    if swap == 1:
        assert want[0][:4] == [rows[0][1], rows[0][0], rows[0][3], rows[0][2]]


def test_as_many_words_are_deleted_and_pairs_swapped_as_the_chances_say():
    texts = Ragged.of([np.append(np.arange(2, 22), 1)] * 2000)
    found = damage(texts, np.random.default_rng(0), deletion=0.1, swap=0.0)
    assert (found.lengths.mean() - 1) / 20 == pytest.approx(0.9, abs=0.005)
    found = damage(texts, np.random.default_rng(0), deletion=0.0, swap=0.1)
    first = found.ids.reshape(2000, 21)[:, 0:20:2]
    assert float((first % 2 == 1).mean()) == pytest.approx(0.1, abs=0.005)


# --- sdae -------------------------------------------------------------------------------------------------------------


def test_sdae_learns_to_write_what_it_read():
    own = replace(get("sdae").tiny(), dimensions=24, word_dimensions=8, readout=8, epochs=25, learning_rate=0.02)
    own = replace(own, noise=0.0, batch_size=8)
    about = own.fit({"text": SENTENCES}, seed=0).card["training"]
    assert about["perplexity"][0] > 4 > 1.6 > about["perplexity"][-1]
    assert about["words foretold"] == 12 and about["left out"] == 0
    noisy = replace(own, noise=0.5, epochs=3).fit({"text": SENTENCES}, seed=0)
    clean = replace(own, epochs=3).fit({"text": SENTENCES}, seed=0)
    assert not np.array_equal(noisy.encode(SENTENCES[:2]), clean.encode(SENTENCES[:2]))
    one = replace(own, noise=0.0, deletion=0.5, swap=0.5, epochs=3).fit({"text": SENTENCES}, seed=0)
    assert np.array_equal(one.encode(SENTENCES[:2]), noisy.encode(SENTENCES[:2])), "noise is the chance of both"


@pytest.mark.parametrize("change", [{"softmax": "sampled", "sampled": 6}, {"cell": "lstm", "every_step": False},
                                    {"tied": False, "readout": None}])  # fmt: skip
def test_sdae_in_other_forms_learns_too(change):
    own = replace(get("sdae").tiny(), dimensions=12, epochs=6, learning_rate=0.01, batch_size=8, **change)
    about = own.fit({"text": SENTENCES}, seed=0).card["training"]
    assert about["perplexity"][-1] < about["perplexity"][0]


def test_given_words_are_read_through_a_map_that_every_one_of_them_gets(tmp_path):
    own = replace(get("sdae").tiny(), word_dimensions=5, epochs=1)
    model = own.fit({"text": [text for text in SENTENCES if "car" not in text]}, start=GIVEN, seed=3)
    table = model.network.words.weight.detach().numpy()
    assert table.shape == (len(WORDS) + 2, 5), "with the unknown word and the end"
    step = np.linalg.lstsq(np.c_[GIVEN.vectors, np.ones(10)], table[2:], rcond=None)[0]
    assert np.c_[GIVEN.vectors, np.ones(10)] @ step == pytest.approx(table[2:], abs=1e-4)
    a, b = model.encode(["the car is red", "the box is red"])
    assert not np.allclose(a, b), "a word that no text had is read by its given vector"
    assert model.encode(["zzz"]) == pytest.approx(model.encode([""])), "words without one are left out"
    model.save(tmp_path / "m")
    assert np.array_equal(load(tmp_path / "m").encode(["a red car"]), model.encode(["a red car"]))


def test_documents_are_their_sentences_and_long_ones_are_counted():
    own = replace(get("sdae").tiny(), epochs=1, longest=4)
    rows = {"document": [SENTENCES[:6], [*SENTENCES[6:12], "a " * 9]]}
    about = own.fit(rows, seed=0).card["training"]
    assert about["left out"] == 7 and about["rows"] + about["held out"] == 6  # those with "not", and the long one


# --- skip-thought -----------------------------------------------------------------------------------------------------

COUNTED = [["one two three", "two three four", "three four five", "four five one"], ["five one two", "one two three"]]


def test_skip_thought_reads_a_sentence_and_writes_both_neighbours(monkeypatch):
    import umekomi.parts.learning.generating as generating

    seen = []
    monkeypatch.setattr(generating, "learn", lambda module, batches, *given, **how: seen.append((module, batches)))
    kind = get("skip-thought")
    with pytest.raises(AttributeError):  # nothing was learned
        replace(kind.tiny(), model="uni", held_out=0.1).fit({"document": COUNTED}, seed=0)
    module, batches = seen[0]
    names = ["<unk>", "</s>", "one", "two", "three", "four", "five"]
    order = {}
    for text in [sentence for document in COUNTED for sentence in document]:
        for word in text.split():
            order[word] = order.get(word, 0) + 1
    names = ["<unk>", "</s>", *sorted(order, key=lambda word: -order[word])]

    def said(ids, lengths):
        return [
            " ".join(names[word] for word in row[: int(n) - 1]) if n else ""
            for row, n in zip(ids, lengths, strict=True)
        ]

    triples = set()
    for batch in batches(0, np.random.default_rng(0)):
        triples |= set(zip(said(*batch.source), *[said(*target) for target in batch.targets], strict=True))
    flat = [("", *document, "") for document in COUNTED]
    wanted = {(d[i], d[i - 1], d[i + 1]) for d in flat for i in range(1, len(d) - 1)}
    assert triples < wanted and len(triples) == len(wanted) - 1, "all but the one held out"
    assert module.decoders[0].softmax is module.decoders[1].softmax
    assert module.decoders[0].recurrent is not module.decoders[1].recurrent


@pytest.mark.parametrize("model", ["uni", "bi", "combined"])
def test_skip_thoughts_models(model, tmp_path):
    own = replace(get("skip-thought").tiny(), model=model)
    made = own.fit({"document": COUNTED * 4}, seed=0)
    assert made.dimension == (12 if model == "combined" else 6)
    vectors = made.encode(["one two", "", "zzz three"])
    assert vectors.any(1).all(), "the end of a text is read"
    if model == "combined":
        assert np.linalg.norm(vectors[:, :6], axis=1) == pytest.approx(1, abs=1e-5)
        assert np.linalg.norm(vectors[:, 6:], axis=1) == pytest.approx(1, abs=1e-5)
        assert {"uni", "bi"} <= set(made.card["training"])
        long = " ".join(["two", "three"] * 2500)
        assert made.encode([long]) == pytest.approx(made.encode([long], batch_size=1), abs=1e-6)
    made.save(tmp_path / "m")
    assert np.array_equal(load(tmp_path / "m").encode(["one four"]), made.encode(["one four"]))


def test_neighbours_are_learned_to_be_written():
    own = replace(get("skip-thought").tiny(), model="uni", dimensions=24, epochs=10, learning_rate=0.02, batch_size=16)
    documents = [[f"{a} is first", f"then {a} and {b}", f"last comes {b}"] for a in WORDS[:6] for b in WORDS[:6]]
    about = own.fit({"document": documents}, seed=0).card["training"]["uni"]
    assert about["perplexity"][-1] < 0.4 * about["perplexity"][0]


def test_a_word_never_seen_gets_a_vector_near_its_neighbours():
    """Given vectors in two heaps; words of each heap stand in texts of one kind; one of each was never read."""
    generator = np.random.default_rng(5)
    names = [f"{heap}{i}" for heap in ("left", "right") for i in range(8)]
    centre = np.repeat(generator.normal(size=(2, 6)), 8, 0)
    given = EntityEmbedder(names, (centre + 0.1 * generator.normal(size=(16, 6))).astype(np.float32), name="heaps")
    documents = []
    for _ in range(40):
        heap, (a, b, c) = ("left", "right")[generator.integers(2)], generator.permutation(7)[:3]
        tail = "sank under water" if heap == "left" else "rose into the air"
        documents.append([f"{heap}{a} met {heap}{b}", f"then {heap}{c} {tail}"])
    own = replace(get("skip-thought").tiny(), model="uni", dimensions=12, word_dimensions=8, readout=8, epochs=16)
    model = replace(own, learning_rate=0.02, batch_size=8).fit({"document": documents}, start=given, seed=0)
    about = model.card["training"]
    assert about["words added"] == 2 and about["words shared"] == 14 and about["expanded by"] == "heaps"
    words = model.reader.tokenizer.get_vocab()
    table = model.network.words.weight.detach().numpy()
    for heap, other in (("left", "right"), ("right", "left")):
        new = table[words[f"{heap}7"]]
        near, far = (np.mean([table[words[f"{each}{i}"]] for i in range(7)], 0) for each in (heap, other))
        assert np.linalg.norm(new - near) < 0.85 * np.linalg.norm(new - far)
    assert not np.allclose(model.encode(["left7"]), model.encode(["right7"]))


def test_documents_without_neighbours_are_counted_and_said(capsys):
    own = replace(get("skip-thought").tiny(), model="uni", epochs=1)
    about = own.fit({"document": [*COUNTED, ["alone here"], ["one alone"]]}, seed=0).card["training"]
    assert about["documents of one sentence"] == 2
    assert "2 of 4 documents have one sentence, which has no neighbour" in capsys.readouterr().err
    with pytest.raises(DataError, match=r"skip-thought: expected documents with sentences side by side of 1 to 30 words, "
                       r"found 0 such sentences in 2 documents"):  # fmt: skip
        own.fit({"document": [["alone here"], ["one alone"]]})


# --- translation, pictures, definitions -------------------------------------------------------------------------------

FRENCH = {"the": "le", "a": "un", "is": "est", "not": "pas", "red": "rouge", "blue": "bleu", "green": "vert"}
FRENCH |= {"ball": "ballon", "box": "boite", "car": "auto"}


def test_nmt_learns_to_write_translations(tmp_path):
    pairs = {"anchor": SENTENCES, "positive": [" ".join(FRENCH[word] for word in text.split()) for text in SENTENCES]}
    own = replace(get("nmt").tiny(), dimensions=24, word_dimensions=8, readout=8, epochs=25, learning_rate=0.02)
    model = replace(own, patience=None, batch_size=8).fit(pairs, seed=0)
    about = model.card["training"]
    assert about["perplexity"][0] > 4 > 1.6 > about["perplexity"][-1]
    read = set(model.reader.tokenizer.get_vocab())
    assert {"ball", "red"} < read and not read & {"ballon", "rouge"}, "it reads the first language alone"
    model.save(tmp_path / "m")
    assert np.array_equal(load(tmp_path / "m").encode(SENTENCES[:3]), model.encode(SENTENCES[:3]))
    given = replace(own, epochs=1).fit(pairs, start=GIVEN)
    assert given.network.words.weight.shape == (12, 8)
    with pytest.raises(DataError, match="nmt: expected two pairs or more of 1 to 2 words, found 0 among 36"):
        replace(own, longest=2).fit(pairs)


COLOURS = {"red": [1.0, 0.0, 0.2], "blue": [0.0, 1.0, 0.2], "green": [0.3, 0.3, -1.0]}


@pytest.mark.parametrize("form", ["bag", "recurrent"])
@pytest.mark.parametrize("start", [None, GIVEN])
def test_captions_point_at_their_pictures(form, start, tmp_path):
    texts = [text for text in SENTENCES if "not" not in text]
    rows = {"text": texts, "image": [COLOURS[text.split()[-1]] for text in texts]}
    own = replace(get("captionrep").tiny(), form=form, epochs=30, held_out=0.3, margin=0.5)
    own = replace(own, learning_rate=0.1 if form == "bag" else 0.02)
    model = own.fit(rows, start=start, seed=0)
    assert model.dimension == 3 and model.card["training"]["pictures"] == 3
    found = model.encode(["the ball is red", "a box is blue", "green car"])
    cosine = model.similarity(found, np.array(list(COLOURS.values()), np.float32))
    assert cosine.argmax(1).tolist() == [0, 1, 2]
    model.save(tmp_path / "m")
    assert np.array_equal(load(tmp_path / "m").encode(texts[:2]), model.encode(texts[:2]))


def test_definitions_are_read_word_by_word_too():
    texts = [text for text in SENTENCES if "not" not in text]
    rows = {"anchor": texts, "positive": [text.split()[-1] for text in texts]}
    kind = get("dictrep")
    own = replace(kind.tiny(), form="recurrent", epochs=30, learning_rate=0.02, held_out=0.3, margin=0.5)
    for embeddings in (False, True):
        model = replace(own, embeddings=embeddings).fit(rows, start=GIVEN, seed=0)
        assert model.kind == "sequence" and model.dimension == GIVEN.dimension
        found = model.encode(["the car is blue", "a car is red"])
        nearest = model.similarity(found, GIVEN.vectors[:3]).argmax(1)
        assert embeddings or [WORDS[row] for row in nearest] == ["blue", "red"]
        losses = model.card["training"]["loss"]
        assert losses[-1] < 0.5 * losses[0]
    assert kind.recurrent().form == "recurrent"


def test_without_torch_they_give_the_same():
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    from umekomi.models.engines.choice import export

    for model in (
        replace(get("skip-thought").tiny(), epochs=1).fit({"document": COUNTED * 3}, seed=0),
        replace(get("dictrep").tiny(), form="recurrent", epochs=1).fit(
            {"anchor": SENTENCES, "positive": [text.split()[-1] for text in SENTENCES]}, start=GIVEN, seed=0
        ),
    ):
        texts = [*SENTENCES[:5], "one two", ""]
        assert export(model).encode(texts) == pytest.approx(model.encode(texts), abs=1e-5)


def test_pointing_against_a_slow_loop():
    from umekomi.parts.learning.aiming import pointing_loss

    vectors = torch.randn(5, 3, dtype=torch.float64, requires_grad=True)
    right, wrong = (torch.nn.functional.normalize(torch.randn(5, 3, dtype=torch.float64)) for _ in range(2))

    def cosine(a, b):
        return float(a @ b / a.norm() / b.norm())

    want = np.mean([max(0, 0.3 - cosine(v, r) + cosine(v, w)) for v, r, w in zip(vectors, right, wrong, strict=True)])
    assert float(pointing_loss(vectors, right, wrong, 0.3)) == pytest.approx(want)
    assert torch.autograd.gradcheck(lambda v: pointing_loss(v, right, wrong, 0.3), vectors)


# --- documents --------------------------------------------------------------------------------------------------------

STORIES = [
    ["red balls fell.", "nobody saw them!", "they lay there."],
    ["a car stopped.", "it was blue."],
    ["green boxes came.", "we opened one.", "all were empty.", "so we left."],
    ["nobody opened the car!", "it rained."],
]
WRITTEN = ["\n".join(story).replace(".", " .").replace("!", " !") for story in STORIES]


@pytest.mark.parametrize("form", ["standard", "attention"])
def test_documents_are_written_again(form, tmp_path):
    own = replace(get("hierarchical-autoencoder").tiny(), form=form, width=24, word_dimensions=12, epochs=25)
    model = replace(own, batch_size=4, learning_rate=0.02).fit({"document": STORIES * 8}, seed=0)
    about = model.card["training"]
    assert about["perplexity"][0] > 2 > about["perplexity"][-1] and model.dimension == 24
    texts = [" ".join(story) for story in STORIES]
    for beam in (1, 3):
        assert model.reconstruct(texts, beam=beam) == WRITTEN
    model.save(tmp_path / "m")
    again = load(tmp_path / "m")
    assert np.array_equal(again.encode(texts[:4]), model.encode(texts[:4]))
    assert again.reconstruct(texts[:4]) == model.reconstruct(texts[:4])
    assert model.reconstruct(["", texts[0]])[0] == "" and model.reconstruct(texts[0]) == model.reconstruct(texts[:1])
    assert not model.encode([""]).any()
    assert model.reconstruct([]) == []
    for option, says in (
        ({"beam": 0}, "beam: expected 1 or more, found 0"),
        ({"longest": 0}, "longest: expected a number"),
    ):
        with pytest.raises(WrongUse, match=says):
            model.reconstruct(texts, **option)


def test_texts_become_documents_and_long_ones_are_counted():
    own = replace(get("hierarchical-autoencoder").tiny(), epochs=1, longest=18)
    texts = [" ".join(story) for story in STORIES] + ["word " * 30 + "."]
    about = own.fit({"text": texts}, seed=0).card["training"]
    assert about["left out"] == 1 and about["rows"] + about["held out"] == 4
    given = own.fit({"text": texts}, start=GIVEN, seed=0)
    assert given.network.words.weight.shape == (13, 6), "the unknown word, both marks, and ten words"
    with pytest.raises(DataError, match="row 2, column 'document': expected one sentence or more, found none"):
        own.fit({"document": [["a b"], [" "]]})
    with pytest.raises(DataError, match="expected two documents or more of 1 to 18 words, found 0 among 2"):
        own.fit({"document": [["w " * 20], ["w " * 20]]})


# --- what is no data --------------------------------------------------------------------------------------------------


def test_data_that_it_cannot_learn_from_is_one_line():
    sdae, skip = get("sdae").tiny(), get("skip-thought").tiny()
    with pytest.raises(DataError, match="sdae: row 2, column 'document': expected one sentence or more, found none"):
        sdae.fit({"document": [["a b"], []]})
    with pytest.raises(DataError, match="sdae: expected two sentences or more of 1 to 100 words, found 1 among 1"):
        sdae.fit({"text": ["one sentence"]})
    for recipe, data in ((sdae, {"text": SENTENCES}), (skip, {"document": COUNTED})):
        with pytest.raises(WrongUse, match="start must be a table of word vectors, found random"):
            recipe.fit(data, start="random")
    with pytest.raises(
        DataError, match="skip-thought: expected words of ten in the texts to learn a map from, found 0"
    ):
        skip.fit({"document": COUNTED}, start=GIVEN)
    with pytest.raises(WrongUse, match=r"tied: expected readout as wide as word_dimensions \(100\), found 2400"):
        get("sdae")(tied=True)
    with pytest.raises(WrongUse, match="dimensions: expected an even number, half of it for each way, found 7"):
        get("skip-thought")(dimensions=7)
    with pytest.raises(UmekomiError, match=r"sdae: epoch 1, batch \d+.*a smaller learning_rate \(now 1e\+38\)"):
        replace(sdae, learning_rate=1e38, epochs=9).fit({"text": SENTENCES})


def test_pictures_that_are_no_vectors_are_one_line():
    recipe = get("captionrep").tiny()
    for image, says in (
        ([[1.0, 0.0], [1.0]], "row 2, column 'image': expected 2 numbers as in the rows before, found 1"),
        ([["x"], ["y"]], "row 1, column 'image': expected the picture's vector, a list of numbers, found ['x']"),
        ([[1.0, 0.0], [0.0, 0.0]], "row 2, column 'image': expected finite numbers, found zeros alone"),
        ([[1.0, 0.0], [float("inf"), 0.0]], "row 2, column 'image': expected finite numbers, found NaN or infinity"),
        ([[1.0, 0.0], [1.0, 0.0]], "expected the vectors of two pictures or more, found one"),
        ([[], []], "row 1, column 'image': expected the picture's vector, a list of numbers, found []"),
    ):
        with pytest.raises(DataError) as error:
            recipe.fit({"text": ["a b", "b c"], "image": image})
        assert says in str(error.value) and "\n" not in str(error.value)
    with pytest.raises(WrongUse, match="captionrep: start must be a table of word vectors, found random"):
        recipe.fit({"text": ["a b", "b c"], "image": [[1.0], [2.0]]}, start="random")


def test_folders_that_are_none_are_one_line(tmp_path):
    import json

    combined = replace(get("skip-thought").tiny(), epochs=1).fit({"document": COUNTED * 3}, seed=0)
    written = replace(get("hierarchical-autoencoder").tiny(), epochs=1).fit({"document": STORIES}, seed=0)
    for model, change, says in (
        (combined, lambda sizes: sizes.update(parts=[]), "parts: expected networks of 7 words, found 0"),
        (combined, lambda sizes: sizes.update(parts=[3]), "parts: expected objects, found 3"),
        (combined, lambda sizes: sizes["parts"][1].update(rows=9), "parts: expected networks of 7 words"),
        (combined, lambda sizes: sizes["parts"][0].update(encoder="os:system"), "encoder: expected one of"),
        (written, lambda sizes: sizes["settings"].update(form="x"), "form: expected one of standard, hierarchical"),
        (written, lambda sizes: sizes.update(rows=2), "expected three words or more of some numbers, found 2 of 5"),
        (written, lambda sizes: sizes["settings"].update(width=99), "expected float32 of shape"),
    ):
        model.save(tmp_path / "m")
        head = json.loads((tmp_path / "m" / "umekomi.json").read_text())
        change(head["settings"]["sizes"])
        (tmp_path / "m" / "umekomi.json").write_text(json.dumps(head))
        with pytest.raises(UmekomiError) as error:
            load(tmp_path / "m")
        assert says in str(error.value) and "\n" not in str(error.value)
