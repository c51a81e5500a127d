import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("sentence_transformers")

from umekomi.data.contrast import concatenate, contrastive_rows
from umekomi.models.scratch import untrained_transformer
from umekomi.parts.learning.batches import InstructedCollator
from umekomi.parts.learning.language import pack_texts, pretrain
from umekomi.parts.learning.sentences import Stage, fine_tune
from umekomi.parts.losses.contrastive import InfoNCE
from umekomi.run import Run

TEXTS = [f"the {animal} number {i} sat on mat {i * 7 % 13}" for i in range(24) for animal in ("cat", "dog")]


@pytest.fixture(scope="module")
def backbone():
    return untrained_transformer("qwen3", TEXTS, layers=2, width=32, heads=4, vocabulary=400, max_length=64)


def table(**more):
    return contrastive_rows({"anchor": TEXTS, "positive": [f"about {text}" for text in TEXTS], **more}, "x")


def stage(table, **options):
    return lambda model: [Stage({"a": table}, {"a": InfoNCE(model)}, 2, 8, 1e-3, 0.0, "shuffle", **options)]


class Stop(Exception):
    pass


@pytest.mark.parametrize("lora", [None, (4, 8.0, 0.1)])
def test_an_interrupted_stage_goes_on_to_the_same_bits(backbone, lora, tmp_path):
    if lora:
        pytest.importorskip("peft")
    base = backbone.embedder("latent", bidirectional=True, latents=4, heads=2).model
    whole = fine_tune(base, stage(table(), lora=lora), run=Run("test", 1))

    def stop(model, step):
        if step == 9:
            raise Stop

    with pytest.raises(Stop):
        fine_tune(
            base, stage(table(), lora=lora, watch=stop, watch_every=3), run=Run("test", 1, tmp_path), save_steps=4
        )
    assert [folder.name for folder in (tmp_path / "stage_0").iterdir()] == ["checkpoint-8"]
    again = fine_tune(base, stage(table(), lora=lora), run=Run("test", 1, tmp_path), save_steps=4)
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in whole.state_dict().items())
    assert not any(
        torch.equal(value, whole.state_dict()[name])
        for name, value in base.state_dict().items()
        if name.endswith("q_proj.weight")
    )
    assert all(parameter.requires_grad for parameter in again.parameters()) and not any(
        "lora" in name for name in again.state_dict()
    )


def test_a_checkpoint_cut_off_while_it_was_written_is_passed_over(backbone, tmp_path):
    base = backbone.embedder("mean").model
    whole = fine_tune(base, stage(table()), run=Run("test", 1))

    def stop(model, step):
        if step == 9:
            raise Stop

    with pytest.raises(Stop):
        fine_tune(base, stage(table(), watch=stop, watch_every=3), run=Run("test", 1, tmp_path), save_steps=4)
    for step, state in ((9, None), (10, "{"), (11, "")):
        cut = tmp_path / "stage_0" / f"checkpoint-{step}"
        cut.mkdir()
        (cut / "weights.safetensors").write_bytes(b"half of it")
        if state is not None:
            (cut / "trainer_state.json").write_text(state)
    again = fine_tune(base, stage(table()), run=Run("test", 1, tmp_path), save_steps=4)
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in whole.state_dict().items())


def test_the_objectives_own_parameters_are_kept_too(backbone, tmp_path):
    base = backbone.embedder("mean").model
    seen = []

    def plan(model, stop_at=None):
        loss = InfoNCE(model, learned=True)
        seen.append(loss)

        def watch(_, step):
            if step == stop_at:
                raise Stop

        return [Stage({"a": table()}, {"a": loss}, 2, 8, 1e-2, 0.0, "shuffle", watch=watch, watch_every=1)]

    fine_tune(base, plan, run=Run("test", 1))
    with pytest.raises(Stop):
        fine_tune(base, lambda model: plan(model, 9), run=Run("test", 1, tmp_path), save_steps=4)
    fine_tune(base, plan, run=Run("test", 1, tmp_path), save_steps=4)
    assert float(seen[0].temperature) != pytest.approx(0.05, rel=1e-3)
    assert float(seen[2].temperature) == float(seen[0].temperature)


def test_watching_changes_nothing(backbone):
    base = backbone.embedder("mean").model
    steps = []
    plain = fine_tune(base, stage(table()), run=Run("test", 1))
    watched = fine_tune(
        base,
        stage(
            table(), watch=lambda model, step: steps.append((step, model.training, torch.rand(1).item())), watch_every=5
        ),
        run=Run("test", 1),
    )
    assert [step for step, *_ in steps] == [0, 5, 10, 12] and not any(training for _, training, _ in steps)
    assert all(torch.equal(value, watched.state_dict()[name]) for name, value in plain.state_dict().items())


def test_every_row_has_its_own_instruction(backbone):
    embedder = backbone.embedder("mean", without_prompt=True)
    some = concatenate(
        [table().slice(0, 2).set_column(2, "instruction", [["first: ", "a longer second: "]]), table().slice(2, 1)]
    )
    batch = InstructedCollator(preprocess_fn=embedder.model.preprocess, model=embedder.model)(some.to_pylist())
    words = embedder.model.tokenizer
    lengths = [
        len(words(text.rstrip())["input_ids"]) - 1 if text else 0 for text in ("first: ", "a longer second: ", "")
    ]
    assert batch["anchor_prompt_length"].tolist() == lengths and "positive_prompt_length" not in batch
    assert words.decode(batch["anchor_input_ids"][1], skip_special_tokens=True) == "a longer second: " + TEXTS[1]
    assert batch["label"].tolist() == [[1, -1, 0]] * 3
    features = {name.removeprefix("anchor_"): value for name, value in batch.items() if name.startswith("anchor_")}
    together = embedder.model(features)["sentence_embedding"]
    alone = embedder.model.encode([TEXTS[1]], prompt="a longer second: ", convert_to_tensor=True)
    torch.testing.assert_close(together[1], alone[0], atol=1e-5, rtol=1e-4)


def test_one_set_a_batch_or_all_of_them(backbone):
    """Two tables take turns, each batch of one of them; one table of both is mixed."""
    import pyarrow as pa

    def numbered(part, group):
        return part.set_column(part.column_names.index("label"), "label", pa.array([[1, group, 0]] * part.num_rows))

    parts = {"a": numbered(table().slice(0, 24), 0), "b": numbered(table().slice(24), 1)}
    seen = []

    class Loss(InfoNCE):
        def forward(self, sentence_features, labels=None):
            seen.append(set(labels[:, 1].tolist()))
            return super().forward(sentence_features, None)

    base = backbone.embedder("mean").model
    fine_tune(
        base,
        lambda model: [Stage(parts, dict.fromkeys(parts, Loss(model)), 1, 8, 1e-3, 0.0, "shuffle")],
        run=Run("test", 1),
    )
    assert sorted(map(sorted, seen)) == [[0]] * 3 + [[1]] * 3
    seen.clear()
    fine_tune(
        base,
        lambda model: [
            Stage({"all": concatenate(list(parts.values()))}, {"all": Loss(model)}, 1, 8, 1e-3, 0.0, "shuffle")
        ],
        run=Run("test", 1),
    )
    assert len(seen) == 6 and {0, 1} in seen


@pytest.mark.parametrize(
    ("architecture", "objective"), [("qwen3", "causal"), ("bert", "masked"), ("modernbert", "masked")]
)
def test_pre_training_learns_and_goes_on_where_it_stopped(architecture, objective, tmp_path):
    made = untrained_transformer(architecture, TEXTS, layers=1, width=32, heads=4, vocabulary=300, max_length=32)
    losses = pretrain(
        made.model,
        made.tokenizer,
        TEXTS,
        run=Run("test"),
        objective=objective,
        length=16,
        steps=40,
        batch_size=8,
        learning_rate=3e-3,
    )
    assert len(losses) == 10 and losses[-1] < losses[0] - 0.5
    again = untrained_transformer(architecture, TEXTS, layers=1, width=32, heads=4, vocabulary=300, max_length=32)
    options = {"objective": objective, "length": 16, "batch_size": 8, "learning_rate": 3e-3}
    pretrain(again.model, again.tokenizer, TEXTS, steps=40, run=Run("test", 0, tmp_path), save_steps=20, **options)
    assert all(torch.equal(value, again.model.state_dict()[name]) for name, value in made.model.state_dict().items())


def test_rows_are_packed_without_padding(backbone):
    rows_ = pack_texts(backbone.tokenizer, TEXTS, 16)
    flat = [token for text in TEXTS for token in backbone.tokenizer(text)["input_ids"]]
    np.testing.assert_array_equal(rows_.ravel(), flat[: rows_.size])
    assert rows_.shape[1] == 16 and len(flat) - rows_.size < 16


def test_wrong_pre_training_is_one_line(backbone):
    from umekomi.errors import UmekomiError

    for options in ({"objective": "other"}, {"masked": 1.5}, {"steps": 0}, {"length": 10_000}):
        with pytest.raises(UmekomiError) as error:
            pretrain(backbone.model, backbone.tokenizer, TEXTS, run=Run("test"), **options)
        assert "expected" in str(error.value) and "\n" not in str(error.value)
