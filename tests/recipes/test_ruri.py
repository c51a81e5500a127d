"""ruri and sarashina on networks of one layer: prefixes, stages, and what the reranker does to pairs and labels."""

import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("sentence_transformers")

from umekomi.cli.main import main
from umekomi.errors import DataError, WrongUse
from umekomi.models.prompts import prompts_of
from umekomi.models.scratch import untrained_transformer
from umekomi.models.starting import cross_encoder
from umekomi.parts.losses.contrastive import POLICY, InfoNCE, distilled
from umekomi.parts.networks import sees
from umekomi.recipes import get
from umekomi.recipes.ruri import prompts_of as prefixes
from umekomi.run import Run
from umekomi.tasks.negatives import lexical_teacher, taught, with_negatives

TEXTS = [
    f"the {animal} number {i} lives by {place}"
    for i in range(4)
    for animal in ("cat", "dog", "owl")
    for place in ("water", "trees")
]
ASKED = [f"where does {text.split()[1]} {text.split()[3]} live?" for text in TEXTS]
PAIRS = pa.table({"anchor": ASKED, "positive": TEXTS})
CLASSES = pa.table({"text": TEXTS, "label": [text.split()[1] for text in TEXTS]})
SCORED = pa.table({"sentence1": TEXTS[:8], "sentence2": TEXTS[8:16], "score": [5.0, 1.0] * 4})
SETS = {"weak titles": PAIRS, "questions": PAIRS, "topics": CLASSES, "sts": SCORED}


@pytest.fixture(scope="module")
def networks():
    size = {"layers": 1, "width": 32, "heads": 4, "vocabulary": 400, "max_length": 64}
    return {name: untrained_transformer(name, TEXTS + ASKED, **size) for name in ("bert", "qwen3")}


@pytest.fixture
def stages_run(monkeypatch):
    """(who, stage) of all that the trainer was given, as it still runs."""
    from umekomi.parts.learning import sentences as training

    seen = []
    real = training._train

    def train(model, stage, run, *rest):
        seen.append((run.who, stage))
        return real(model, stage, run, *rest)

    monkeypatch.setattr(training, "_train", train)
    return seen


def ruri(**options):
    return replace(get("ruri").tiny(), max_rows=None, batch_sizes=(8, 8), **options)


# --- the teacher ------------------------------------------------------------------------------------------------------


def test_distillation_is_the_divergence_of_two_softmaxes():
    draw = np.random.default_rng(0)
    queries, candidates = draw.normal(size=(3, 5)), draw.normal(size=(3, 4, 5))
    teacher, present = draw.normal(size=(3, 4)) * 3, np.array([[1, 1, 1, 1], [1, 1, 0, 0], [1, 0, 0, 0]], bool)
    want = 0.0
    for row in range(3):
        own = [k for k in range(4) if present[row, k]]
        cosines = [
            queries[row] @ candidates[row, k] / np.linalg.norm(queries[row]) / np.linalg.norm(candidates[row, k])
            for k in own
        ]
        p, q = (np.exp(each) / np.exp(each).sum() for each in (teacher[row, own], np.array(cosines) / 0.1))
        want += (p * np.log(p / q)).sum() / 3
    tensors = [torch.tensor(each) for each in (queries, candidates, teacher)]
    found = distilled(*tensors, temperature=0.1, present=torch.tensor(present))
    assert float(found) == pytest.approx(want)
    whole = distilled(*tensors, temperature=0.1)
    assert float(whole) == pytest.approx(float(distilled(*tensors, temperature=0.1, present=torch.ones(3, 4).bool())))


def test_the_loss_adds_what_the_label_teaches():
    torch.manual_seed(0)
    columns = [torch.randn(3, 6) for _ in range(4)]
    policy, scores = torch.tensor([[1.0, -1, 2], [1, -1, 1], [1, -1, 0]]), torch.randn(3, 3)
    plain = InfoNCE(torch.nn.Identity(), temperature=0.1).of(columns, policy)
    teaching = InfoNCE(torch.nn.Identity(), temperature=0.1, distillation=2.0)
    assert teaching.of(columns, policy) == plain, "no scores, nothing taught"
    labels = torch.cat([policy, scores], 1)
    present = torch.tensor([[1, 1, 1], [1, 1, 0], [1, 0, 0]]).bool()
    more = distilled(columns[0], torch.stack(columns[1:], 1), scores, temperature=0.1, present=present)
    assert float(teaching.of(columns, labels)) == pytest.approx(float(plain + 2 * more), rel=1e-6)
    assert InfoNCE(torch.nn.Identity(), temperature=0.1).of(columns, labels) == plain


# --- mining -----------------------------------------------------------------------------------------------------------


def test_pairs_that_were_not_sampled_are_answers_too():
    table = pa.table(
        {
            "anchor": ["cat"] * 6 + ["dog"],
            "positive": [f"cat {i}" for i in range(6)] + ["dog x"],
            "instruction": ["find"] * 7,
        }
    )
    found = with_negatives(table, Run("x"), lexical_teacher([table], "x"), 1, most=2)
    assert found.num_rows == 2
    assert not any(
        text.startswith("cat")
        for a, text in zip(found["anchor"].to_pylist(), found["negative_1"].to_pylist(), strict=True)
        if a == "cat"
    )
    assert found["instruction"].to_pylist() == ["find"] * 2
    assert with_negatives(CLASSES, Run("x"), lexical_teacher([table], "x"), 1) is CLASSES


# --- ruri -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scheme", "want"),
    [
        ("none", ("", "", "", "")),
        ("two", ("クエリ: ", "文章: ", "クエリ: ", "クエリ: ")),
        ("1+3", ("検索クエリ: ", "検索文書: ", "トピック: ", "")),
    ],
)
def test_prefixes_stand_before_what_is_learned_and_what_is_encoded(networks, stages_run, scheme, want):
    start = networks["bert"].embedder("mean", prompts={"query": "of the start: "})
    model = ruri(prefix_scheme=scheme).fit(SETS, start=start)
    assert [prefixes(scheme)[role] for role in ("query", "document", "classification", "similarity")] == list(want)
    assert prompts_of(model) == {role: text for role, text in prefixes(scheme).items() if text}
    assert start.prompt("query") == "of the start: ", "the start stays as it is"
    (_, supervised) = stages_run[-1]
    query, document, topic, plain = want
    for name, sides in (("questions", (query, document)), ("topics", (topic, topic)), ("sts", (plain, plain))):
        for column, text in zip(("instruction", "document_instruction"), sides, strict=True):
            assert set(supervised.tables[name][column].to_pylist()) == {text}


def test_stages_in_their_order(networks, stages_run):
    model = ruri().fit(SETS, start=networks["bert"])
    assert [who for who, _ in stages_run] == ["ruri, weak", *["ruri, reranker"] * 2, "ruri, supervised"]
    weak, first, second, supervised = (stage for _, stage in stages_run)
    assert list(weak.tables) == ["weak titles"] and not any(
        "negative" in name for name in weak.tables["weak titles"].column_names
    )
    assert first.tables["pairs"].num_rows == second.tables["pairs"].num_rows == 2 * PAIRS.num_rows
    assert set(supervised.tables) == {"weak titles", "questions", "topics", "sts"}, "weak pairs join where all are kept"
    for name, table in supervised.tables.items():
        widths = {len(label) for label in table["label"].to_pylist()}
        assert widths == {POLICY + 3 if name in ("weak titles", "questions") else POLICY}
    kept = model.card["training"]["pairs kept"]
    assert kept == {name: [PAIRS.num_rows] * 2 for name in ("questions", "weak titles")}


def test_switched_off_there_is_no_reranker(networks, stages_run):
    ruri(distillation=0.0, keep_share=None).fit(SETS, start=networks["bert"])
    assert [who for who, _ in stages_run] == ["ruri, weak", "ruri, supervised"]
    assert set(stages_run[-1][1].tables) == {"questions", "topics", "sts"}
    stages_run.clear()
    model = ruri().fit({"weak titles": PAIRS}, start=networks["bert"])
    assert [who for who, _ in stages_run] == ["ruri, weak"] and prompts_of(model)["query"] == "クエリ: "


def test_a_saved_reranker_filters_and_teaches(networks, stages_run, tmp_path, monkeypatch, capsys):
    from umekomi.models.scorers import CrossEncoderScorer

    judge = CrossEncoderScorer(cross_encoder(networks["bert"], "judge", 0), "judge")
    judge.save(tmp_path / "judge")
    probe = taught(
        pa.table(
            {
                "anchor": ASKED[:2],
                "positive": TEXTS[:2],
                "negative_1": ["", TEXTS[3]],
                "label": [[1, -1, 0], [1, -1, 1]],
            }
        ),
        judge,
        Run("judge"),
    )
    labels = probe["label"].to_pylist()
    assert labels[0][:3] == [1.0, -1.0, 0.0]
    np.testing.assert_allclose(labels[1][3:], judge.logits([ASKED[1]] * 2, [TEXTS[1], TEXTS[3]]), atol=1e-6)
    np.testing.assert_allclose(1 / (1 + np.exp(-judge.logits(ASKED, TEXTS))), judge.score(ASKED, TEXTS), atol=1e-6)
    rows = pa.table(
        {
            "anchor": ASKED[:6],
            "positive": TEXTS[:6],
            "negative_1": TEXTS[6:12],
            "negative_2": TEXTS[12:18],
            "label": [[1, -1, held] for held in (2, 2, 2, 2, 1, 0)],
        }
    )
    own, first, second = (judge.logits(ASKED[:6], rows[name].to_pylist()) for name in rows.column_names[1:4])
    shares = [((a > b) + (a > c)) / 2 for a, b, c in zip(own[:4], first, second, strict=False)]
    shares += [float(own[4] > first[4]), 1.0]
    for least in (0.0, 0.5, 1.0):
        kept = taught(rows, judge, Run("judge"), least)["anchor"].to_pylist()
        assert kept == [anchor for anchor, share in zip(ASKED, shares, strict=False) if share >= least]
    against = PAIRS.append_column("negative", pa.array(TEXTS[3:] + TEXTS[:3]))
    model = ruri(reranker=str(tmp_path / "judge"), keep_share=0.5).fit({"questions": against}, start=networks["bert"])
    assert [who for who, _ in stages_run] == ["ruri, supervised"]
    kept, found = model.card["training"]["pairs kept"]["questions"]
    assert kept == stages_run[0][1].tables["questions"].num_rows and found == PAIRS.num_rows
    assert f"ruri: {kept} of {found} pairs of questions stay" in capsys.readouterr().err

    answers = set(zip(ASKED, TEXTS, strict=True))
    monkeypatch.setattr(
        CrossEncoderScorer,
        "logits",
        lambda self, a, b: np.array([-float(pair in answers) for pair in zip(a, b, strict=True)]),
    )
    with pytest.raises(DataError, match=r"ruri: expected pairs whose positive the reranker scores above 0\.5 of their"):
        ruri(reranker=str(tmp_path / "judge"), keep_share=0.5).fit({"questions": against}, start=networks["bert"])


def test_what_does_not_go_together_is_one_line(networks, tmp_path):
    with pytest.raises(WrongUse, match="ruri, hard_negatives: expected 1 or more"):
        ruri(hard_negatives=0)
    with pytest.raises(
        WrongUse, match="ruri: expected a set that asks for documents .*, found none: set distillation to 0"
    ):
        ruri().fit(SCORED, start=networks["bert"])
    ruri(distillation=0.0, keep_share=None).fit(SCORED, start=networks["bert"])
    networks["bert"].embedder("mean").save(tmp_path / "embedder")
    with pytest.raises(WrongUse, match="ruri, reranker: expected a cross-encoder, found .* of kind text"):
        ruri(reranker=str(tmp_path / "embedder")).fit(PAIRS, start=networks["bert"])


def test_what_is_wrong_is_said_before_anything_is_learned(networks, stages_run):
    low = SCORED.set_column(2, "score", pa.array([1.0, 2.0] * 4))
    for name in ("ruri", "sarashina"):
        with pytest.raises(DataError, match=f"{name}: no pair is scored 4 of 5 or more"):
            get(name).tiny().fit(SETS | {"sts": low}, start=networks["bert"])
    with pytest.raises(WrongUse, match="ruri, reranker: no model, recipe or folder named 'nothing'"):
        ruri(reranker="nothing").fit(SETS, start=networks["bert"])
    assert not stages_run


def test_presets_are_the_two_versions():
    assert get("ruri")().prefix_scheme == "two" and get("ruri").v3().prefix_scheme == "1+3"


# --- sarashina --------------------------------------------------------------------------------------------------------


def test_sarashina_takes_a_decoders_last_token_without_prompts(networks, stages_run):
    model = replace(get("sarashina").tiny(), pooling="lasttoken").fit(SETS, start=networks["qwen3"])
    assert [who for who, _ in stages_run] == ["sarashina, weak", "sarashina, supervised"]
    assert set(stages_run[1][1].tables) == {"questions", "topics", "sts"}
    assert not prompts_of(model) and model.model[1].pooling_mode == "lasttoken"
    words = model.model.tokenizer
    assert words("the cat")["input_ids"][-1] == words.eos_token_id
    seen = sees(model.model.transformers_model, range(10, 16))
    assert (seen == np.tril(seen)).all()
    asked = replace(get("sarashina").tiny(), pooling="own").fit(
        PAIRS, start=networks["bert"].embedder("mean", prompts={"query": "q: "})
    )
    assert not prompts_of(asked) and asked.model[1].pooling_mode == "mean"


def test_the_command_behind_a_training_judges_on_the_labelled_pairs(networks, tmp_path, capsys):
    networks["bert"].embedder("mean").save(tmp_path / "start")
    for name, table in (("weak", PAIRS), ("labelled", PAIRS)):
        lines = (json.dumps(row) + "\n" for row in table.to_pylist())
        (tmp_path / f"{name}.jsonl").write_text("".join(lines))
    words = ["train", "sarashina", "--out", str(tmp_path / "m"), "--start", str(tmp_path / "start"), "--small"]
    for setting in ("max_rows=8", "max_length=24", "epochs=0.5,0.5"):
        words += ["--set", setting]
    for name in ("weak titles", "labelled"):
        words += ["--data", f"{name}={tmp_path / name.split()[0]}.jsonl"]
    assert main(words) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == f"next: umekomi evaluate {tmp_path / 'm'} --task {tmp_path / 'labelled.jsonl'}"
    assert main(last.removeprefix("next: umekomi ").split()) == 0 and "ndcg@10" in capsys.readouterr().out
