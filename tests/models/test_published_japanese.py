"""Ruri and Sarashina by layout: the tokenizers' classes are the published ones, the weights small and random."""

import json

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("sentence_transformers")

from umekomi.errors import MissingExtra
from umekomi.models import load, opening, scratch
from umekomi.models.prompts import prompts_of
from umekomi.models.published.catalogue import CATALOGUE

TEXTS = [
    "瑠璃色はどんな色？",
    "日本の首都は東京です。",
    "埋め込みは文を数の ならびにする。",
    "検索クエリ: 検索文書: トピック: 文章:",
]
MARKS = {"cls_token": "[CLS]", "mask_token": "[MASK]", "pad_token": "[PAD]", "sep_token": "[SEP]", "unk_token": "[UNK]"}
LLAMA = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>", "sep_token": "<sep>"}
LLAMA |= {"cls_token": "<cls>", "mask_token": "<mask>"}


def write(folder, network, mode, words):
    """A folder of sentence-transformers 3 with two layers, as all of them are published."""
    network.save_pretrained(folder)
    (folder / "1_Pooling").mkdir()
    pooling = {f"pooling_mode_{name}": name == mode for name in ("cls_token", "mean_tokens", "max_tokens", "lasttoken")}
    kinds = [("", "Transformer"), ("1_Pooling", "Pooling")]
    modules = [
        {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for i, (path, kind) in enumerate(kinds)
    ]
    for name, told in (
        ("modules.json", modules),
        ("1_Pooling/config.json", pooling | {"word_embedding_dimension": network.config.hidden_size}),
        ("sentence_bert_config.json", {"max_seq_length": 64, "do_lower_case": False}),
        ("config_sentence_transformers.json", {"prompts": {}, "default_prompt_name": None, "similarity_fn_name": None}),
        ("tokenizer_config.json", words),
    ):
        (folder / name).write_text(json.dumps(told), encoding="utf-8")


@pytest.fixture
def version_1(tmp_path, monkeypatch):
    """cl-nagoya/ruri-base: BERT, words by MeCab, then wordpieces."""
    from transformers import BertConfig, BertModel

    folder = tmp_path / "ruri-base"
    folder.mkdir()
    letters = sorted({letter for text in TEXTS for letter in text if letter.strip()})
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "クエリ", "文章", "瑠璃", "東京", *letters]
    pieces += [f"##{letter}" for letter in letters]
    (folder / "vocab.txt").write_text("\n".join(pieces) + "\n", encoding="utf-8")
    shape = {"num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64, "max_position_embeddings": 64}
    torch.manual_seed(0)
    network = BertModel(BertConfig(vocab_size=len(pieces), hidden_size=32, **shape), add_pooling_layer=False)
    words = {"tokenizer_class": "BertJapaneseTokenizer", "word_tokenizer_type": "mecab", "do_lower_case": False}
    words |= {"subword_tokenizer_type": "wordpiece", "mecab_kwargs": {"mecab_dic": "unidic_lite"}, **MARKS}
    write(folder, network, "mean_tokens", words | {"model_max_length": 512})
    monkeypatch.setattr(opening, "_fetched", lambda hub: folder)
    return folder


def sentencepiece(folder):
    """A unigram tokenizer that folds widths and puts nothing before a text, as Sarashina2's does; ModernBERT-Ja has it
    too."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

    fast = Tokenizer(models.Unigram())
    fast.normalizer = normalizers.NFKC()
    fast.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never")
    special = ["<unk>", "<s>", "</s>", "<pad>", "<sep>", "<mask>", "<cls>"]
    trainer = trainers.UnigramTrainer(vocab_size=90, special_tokens=special, unk_token="<unk>", show_progress=False)
    fast.train_from_iterator(TEXTS * 20, trainer)
    fast.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)])
    folder.mkdir()
    fast.save(str(folder / "tokenizer.json"))
    return fast


@pytest.fixture(params=["ruri-v3-30m", "sarashina-embedding-v1-1b"])
def unigrams(request, tmp_path, monkeypatch):
    """(name, folder, tokenizer) of version 3 and of Sarashina, both of the class LlamaTokenizer."""
    from transformers import LlamaConfig, LlamaModel, ModernBertConfig, ModernBertModel

    folder = tmp_path / request.param
    fast = sentencepiece(folder)
    shape = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 64}
    shape |= {"vocab_size": fast.get_vocab_size(), "max_position_embeddings": 64, "pad_token_id": 3}
    torch.manual_seed(0)
    ruri = request.param.startswith("ruri")
    network = ModernBertModel(ModernBertConfig(**shape)) if ruri else LlamaModel(LlamaConfig(**shape))
    words = {"tokenizer_class": "LlamaTokenizer", "add_bos_token": True, "add_eos_token": True, "legacy": False}
    write(folder, network, "mean_tokens" if ruri else "lasttoken", words | LLAMA | {"model_max_length": 8192})
    monkeypatch.setattr(opening, "_fetched", lambda hub: folder)
    return request.param, folder, fast


def vectors(folder, texts):
    """What the network of a folder gives for these texts, their tokens cut by ``encode``."""
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(str(folder), device="cpu", local_files_only=True).encode(texts)


def test_version_1_puts_its_two_prefixes_by_role(version_1, tmp_path):
    pytest.importorskip("fugashi")
    pytest.importorskip("unidic_lite")
    model = load("ruri-base")
    assert type(model.model.tokenizer).__name__ == "BertJapaneseTokenizer"
    assert model.model.tokenizer.tokenize("クエリ: 瑠璃の東京")[:3] == ["クエリ", ":", "瑠璃"]
    for role, before in (("query", "クエリ: "), ("document", "文章: ")):
        theirs = vectors(version_1, [before + text for text in TEXTS])
        np.testing.assert_array_equal(model.encode(TEXTS, role=role), theirs)
    model.save(tmp_path / "mine")
    np.testing.assert_array_equal(
        load(tmp_path / "mine").encode(TEXTS, role="query"), model.encode(TEXTS, role="query")
    )


@pytest.mark.parametrize("missing", ["fugashi", "unidic_lite"])
def test_version_1_says_what_its_tokenizer_needs(version_1, missing, monkeypatch):
    from umekomi.models import folders

    real = folders.find_spec
    monkeypatch.setattr(folders, "find_spec", lambda name: None if name == missing else real(name))
    with pytest.raises(MissingExtra, match=rf"ruri-base: its tokenizer.*'{missing}'.*umekomi\[japanese\]") as error:
        load("ruri-base")
    assert "\n" not in str(error.value)


def test_texts_are_cut_as_the_file_says_and_prefixed_by_role(unigrams, tmp_path):
    """transformers 5.23 makes a BPE without merges of a unigram file whose class is LlamaTokenizer, on a Llama."""
    name, _, fast = unigrams
    model = load(name)
    entry = CATALOGUE[name]
    for text in (*TEXTS, "  ab  瑠璃 "):
        assert model.model.tokenizer(text)["input_ids"] == fast.encode(text).ids
    network = model.model.transformers_model
    for role in ("query", "document", "similarity", "classification"):
        if role in model.roles or role in ("query", "document"):
            before = entry.prompts.get(role, "")
            for text in TEXTS:
                with torch.no_grad():
                    states = network(input_ids=torch.tensor([fast.encode(before + text).ids])).last_hidden_state[0]
                want = states.mean(0) if entry.pooling == "mean" else states[-1]
                np.testing.assert_allclose(model.encode([text], role=role)[0], want.numpy(), atol=1e-5)
    assert prompts_of(model) == {role: text for role, text in entry.prompts.items() if text}
    model.save(tmp_path / "mine")
    again = load(tmp_path / "mine")
    np.testing.assert_array_equal(again.encode(TEXTS, role="query"), model.encode(TEXTS, role="query"))
    np.testing.assert_allclose(  # and it opens elsewhere as it is
        vectors(tmp_path / "mine", [entry.prompts.get("query", "") + text for text in TEXTS]),
        model.encode(TEXTS, role="query"),
        atol=1e-5,
    )


def test_the_licence_is_said_where_it_forbids_commercial_use(unigrams, capsys):
    name, *_ = unigrams
    model = load(name)
    told = capsys.readouterr().err
    assert ("not for commercial use" in told) == name.startswith("sarashina")
    assert model.card["licence"] == CATALOGUE[name].licence


@pytest.mark.parametrize("name", scratch.SIZES)
def test_a_network_of_a_published_size_has_as_many_parameters(name, monkeypatch):
    size = scratch.SIZES[name]

    class Words:
        pad_token_id = cls_token_id = sep_token_id = eos_token_id = 0

        def __len__(self):
            return size["vocabulary"]

    monkeypatch.setattr(scratch, "train_tokenizer", lambda *given, **how: Words())
    with torch.device("meta"):
        model = scratch.untrained_transformer(texts=["a"], **size).model.base_model
    millions = sum(parameter.numel() for parameter in model.parameters()) / 1e6
    assert millions == pytest.approx(float(CATALOGUE[name].parameters.removesuffix(" M")), abs=1.1)  # BERT's pooler
    assert model.config.hidden_size == CATALOGUE[name].dimensions
