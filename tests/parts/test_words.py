import pytest

from umekomi.errors import WrongUse
from umekomi.parts.words import choose, tokenizer


def test_japanese_is_split_by_a_real_tokenizer_where_there_is_one():
    pytest.importorskip("fugashi")
    assert choose(["東京都は日本の首都である。", "埋め込みを学ぶ。"]) == "fugashi"
    found = tokenizer("fugashi")("梅雨は日本の雨季である。")
    assert "梅雨" in found
    assert "は" not in found, "particles carry nothing"
    assert "。" not in found


def test_without_it_bigrams_and_said_so(monkeypatch):
    monkeypatch.setattr("umekomi.parts.words.find_spec", lambda name: None)
    assert choose(["東京都は日本の首都である。"]) == "bigrams"


def test_inflected_forms_meet():
    pytest.importorskip("fugashi")
    split = tokenizer("fugashi")
    assert set(split("本を読んだ")) == set(split("本を読む"))


def test_unknown_tokenizer():
    with pytest.raises(WrongUse, match="fugashi"):
        tokenizer("mecab")
