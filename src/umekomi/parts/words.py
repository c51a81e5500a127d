"""Texts into words, for everything lexical. Japanese needs a real tokenizer, or every Japanese baseline is a fake win
for the others: fugashi with unidic-lite where installed, character bigrams otherwise; which one it was is recorded."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from functools import cache
from importlib.util import find_spec
from typing import Any

from umekomi.errors import MissingExtra, WrongUse

_WORD = re.compile(r"(?u)\b\w\w+\b")
_CJK = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]")
_RUN = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff々ー]+|[^\W_\u3040-\u30ff\u3400-\u9fff]+")
_EMPTY_POS = ("助詞", "助動詞", "補助記号", "空白", "記号")

TOKENIZERS = ("words", "fugashi", "surfaces", "bigrams", "treebank")
STEM = "stem:"
"""What stands before a language in the name of a tokenizer that takes words to their stems (Snowball)."""
TREEBANK = (
    r"\w+?(?=[nN]['’][tT]\b)|[nN]['’][tT]\b|['’](?:[sSmMdD]|ll|LL|re|RE|ve|VE)\b"
    r"|(?:[A-Za-z]\.){2,}|\.{2,}|-{2,}"
    r"|\w+(?:[-/]\w+|[.,]\d+|['’](?!(?:[sSmMdD]|ll|LL|re|RE|ve|VE|[tT])\b)\w+)*|[^\w\s]"
)
"""A token nearly as the Penn Treebank has it: words, punctuation marks and contractions apart."""


NORMALISATIONS = ("", "NFKC")
"""How a text may be brought to one form before it is split: not at all, or by Unicode's compatibility composition."""


def fold_case_and_width(text: str) -> str:
    """One form for one word: full and half width, ligatures, superscripts (Unicode's NFKC).

    >>> fold_case_and_width("ＡＢＣ ｶﾞｷﾞ ﬁne")
    'ABC ガギ fine'
    """
    return text if text.isascii() else unicodedata.normalize("NFKC", text)


def choose(texts: Sequence[str]) -> str:
    """The tokenizer these texts ask for: Japanese ones (a tenth of the characters) fugashi, or bigrams without it.

    >>> choose(["plain English"])
    'words'
    """
    sample = "".join(fold_case_and_width(text[:500]) for text in texts[:: max(1, len(texts) // 1000)])
    if len(_CJK.findall(sample)) * 10 < len(sample):
        return "words"
    return "fugashi" if find_spec("fugashi") and find_spec("unidic_lite") else "bigrams"


def tokenizer(name: str, normalisation: str = "") -> Callable[[str], list[str]]:
    """The function of this name: a text in, its words out; before them, its :data:`normalisation <NORMALISATIONS>`.

    >>> tokenizer("words")("The cat sat on the mat")
    ['cat', 'sat', 'mat']
    >>> tokenizer("bigrams")("埋め込み model")
    ['埋め', 'め込', '込み', 'model']
    """
    if name not in TOKENIZERS and not name.startswith(STEM):
        raise WrongUse(f"no tokenizer named {name!r}; there are: {', '.join(TOKENIZERS)}, {STEM}LANGUAGE")
    if normalisation not in NORMALISATIONS:
        raise WrongUse(f"no normalisation of texts named {normalisation!r}; there is: NFKC")
    named = {"words": words, "bigrams": bigrams, "fugashi": japanese, "surfaces": surfaces, "treebank": treebank}
    split = _stemming(name.removeprefix(STEM)) if name.startswith(STEM) else named[name]
    return (lambda text: split(fold_case_and_width(text))) if normalisation else split


@cache
def _stopwords() -> frozenset[str]:
    from bm25s.stopwords import STOPWORDS_EN

    return frozenset(STOPWORDS_EN)


def words(text: str) -> list[str]:
    """Lower-cased words of two letters or more, without bm25s's English stop words."""
    return [word for word in _WORD.findall(text.lower()) if word not in _stopwords()]


def _stemming(language: str) -> Callable[[str], list[str]]:
    """Words, without English stop words, each as its stem by the Snowball stemmer of this language."""
    try:
        import Stemmer
    except ImportError:
        raise MissingExtra("PyStemmer", "stemming", f"stemming {language}") from None
    if language not in Stemmer.algorithms():
        raise WrongUse(f"no stemmer for {language!r}; there are: {', '.join(Stemmer.algorithms())}")
    stem = Stemmer.Stemmer(language).stemWords
    return lambda text: stem(words(text))  # type: ignore[no-any-return]


@cache
def _treebank() -> Any:
    from tokenizers import Regex
    from tokenizers.pre_tokenizers import Split

    return Split(Regex(TREEBANK), "removed", invert=True)


def treebank(text: str) -> list[str]:
    """Words, punctuation marks and contractions, each by itself and as it is written: what vectors that were learned
    on tokenised text (GloVe) have a row for.

    >>> treebank("Don't stop: it's John O'Brien's U.S.-made 1,000 re-runs...")
    ['Do', "n't", 'stop', ':', 'it', "'s", 'John', "O'Brien", "'s", 'U.S.', '-', 'made', '1,000', 're-runs', '...']
    """
    return [word for word, _ in _treebank().pre_tokenize_str(text)]


def bigrams(text: str) -> list[str]:
    """Pairs of neighbouring characters within runs of Japanese or Chinese; other words whole."""
    out = []
    for run in _RUN.findall(text.lower()):
        if _CJK.match(run) and len(run) > 1:
            out += [run[i : i + 2] for i in range(len(run) - 1)]
        else:
            out.append(run)
    return out


@cache
def _tagger() -> object:
    try:
        import fugashi
        import unidic_lite
    except ImportError:
        raise MissingExtra("fugashi", "japanese", "splitting Japanese into words") from None
    return fugashi.Tagger(f'-d "{unidic_lite.DICDIR}"')


def japanese(text: str) -> list[str]:
    """Lemmas by MeCab with UniDic, without particles, auxiliaries and punctuation."""
    return [
        (word.feature.lemma or word.surface).lower()
        for word in _tagger()(text)  # type: ignore[operator]
        if word.feature.pos1 not in _EMPTY_POS
    ]


def surfaces(text: str) -> list[str]:
    """Every word as MeCab with UniDic cuts it, particles included, as it is written; only punctuation is left out."""
    return [
        word.surface.lower()
        for word in _tagger()(text)  # type: ignore[operator]
        if word.feature.pos1 not in ("補助記号", "空白", "記号")
    ]


def sentence_spans(text: str) -> list[tuple[int, int]]:
    """(start, end) of every sentence, white space around it left out.

    >>> [ "It rains. Come in!"[a:b] for a, b in sentence_spans("It rains. Come in!") ]
    ['It rains.', 'Come in!']
    """
    out = []
    for match in re.finditer(r"[^.!?。！？\n]+(?:[.!?](?=\s|$)|[.!?](?=\S)[^\s]*|[。！？]|\n|$)+", text):
        piece = match.group()
        start = match.start() + len(piece) - len(piece.lstrip())
        end = match.end() - (len(piece) - len(piece.rstrip()))
        if end > start:
            out.append((start, end))
    return out or [(0, len(text))]


def split_sentences(text: str) -> list[str]:
    """The sentences of a text, none where it is empty.

    >>> split_sentences("It rains. Come in!")
    ['It rains.', 'Come in!']
    """
    return [text[low:high] for low, high in sentence_spans(text) if text[low:high].strip()]
