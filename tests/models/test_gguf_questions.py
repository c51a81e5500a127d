"""A GGUF file writes questions: the network that transformers takes out of it, word for word as from its folder."""

import pytest

pytest.importorskip("gguf")
transformers = pytest.importorskip("transformers")
pytest.importorskip("sentence_transformers")

from gguf_networks import embedder

from umekomi.data import load
from umekomi.errors import DataError, UmekomiError, WrongUse
from umekomi.tasks.questions import make_questions
from umekomi.tasks.questions.writers import ASK, LocalWriter
from umekomi.verbs.convert import convert

TEXTS = ["Otters sleep in rivers.", "Bread rises in an hour."]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    place = tmp_path_factory.mktemp("writer")
    model = embedder("llama")
    model.save(place / "embedder")
    convert(place / "embedder", place / "tiny.gguf", type="F32")
    network = model.model[0].auto_model
    whole = transformers.LlamaForCausalLM(network.config)
    whole.model.load_state_dict(network.state_dict())
    whole.tie_weights()
    whole.save_pretrained(place / "folder")
    model.model.tokenizer.save_pretrained(place / "folder")
    return place


def test_a_gguf_file_writes_what_its_network_writes(tiny, tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("UMEKOMI_CACHE", str(tmp_path / "cache"))
    writer, folder = LocalWriter(str(tiny / "tiny.gguf")), LocalWriter(str(tiny / "folder"))
    words, network, content = writer._opened()
    assert "GGUF" not in capfd.readouterr().err
    theirs = folder._opened()
    for name, value in theirs[1].state_dict().items():
        assert (network.state_dict()[name] - value).abs().max() < 1e-6, name
    assert words(ASK)["input_ids"][:9] == theirs[0](ASK)["input_ids"][:9] and content != theirs[2]
    written = writer.write(TEXTS, False)
    monkeypatch.setattr(LocalWriter, "_one", None)  # what was written is not written again
    assert LocalWriter(str(tiny / "tiny.gguf")).write(TEXTS, False) == written


def test_wrong_files_are_one_line(tiny, tmp_path, monkeypatch):
    monkeypatch.setenv("UMEKOMI_CACHE", str(tmp_path / "cache"))
    table = load({"text": [f"{text} That is told here, in place {n}." for n in range(4) for text in TEXTS]})["all"]
    with pytest.raises(WrongUse, match=r"local:.*nowhere\.gguf: no such file"):
        make_questions(table, f"local:{tmp_path / 'nowhere.gguf'}", "t")
    (tmp_path / "cut.gguf").write_bytes((tiny / "tiny.gguf").read_bytes()[:3000])
    (tmp_path / "text.gguf").write_text("hello")
    embedder("bert").save(tmp_path / "bert")
    convert(tmp_path / "bert", tmp_path / "bert.gguf")
    for name in ("cut", "text", "bert"):
        with pytest.raises(
            UmekomiError, match="expected a causal language model of transformers or in GGUF: "
        ) as error:
            make_questions(table, f"local:{tmp_path / name}.gguf", "t")
        assert "\n" not in str(error.value)
    with pytest.raises(
        DataError, match="expected a network whose weights lie beside it"
    ):  # an embedder's: no words come out
        make_questions(table, f"local:{tmp_path / 'bert'}", "t")
