"""The tokenizer of a GGUF file, made from the vocabulary in it: WordPiece (``bert``), SentencePiece's unigrams (``t5``)
and pairs (``llama``), pairs of bytes (``gpt2``) under each name that llama.cpp gives to how a text is cut before
(``tokenizer.ggml.pre``), and pairs of characters (``gemma4``).

Tested token for token against llama.cpp's own expected outputs. The patterns are those of the models' published
tokenizers.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import IntEnum
from typing import TYPE_CHECKING, Any, NamedTuple

from umekomi.errors import DataError
from umekomi.models.borders import in_one_line, is_of_a_library
from umekomi.models.engines.gguf.header import NEEDED, Gguf

if TYPE_CHECKING:
    from tokenizers import Tokenizer

SPACE = "▁"


class Sort(IntEnum):
    """What a token is (``tokenizer.ggml.token_type``)."""

    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3
    USER_DEFINED = 4
    UNUSED = 5
    BYTE = 6


# --- how a text is cut before pairs are joined ------------------------------------------------------------------------

_ENDINGS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_LOWER_ENDINGS = "'s|'t|'re|'ve|'m|'ll|'d"
_SPACES = r"\s*[\r\n]+|\s+(?!\S)|\s+"
_GPT2 = rf"{_LOWER_ENDINGS}| ?\p{{L}}+| ?\p{{N}}+| ?[^\s\p{{L}}\p{{N}}]+|\s+(?!\S)|\s+"
_WORD = r"[^\r\n\p{L}\p{N}]?\p{L}+"
_MARKS = r" ?[^\s\p{L}\p{N}]+[\r\n]*"
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_CJK = "[一-龥぀-ゟ゠-ヿ]+"
_DEEPSEEK3 = (
    r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|"
    rf"{_SPACES}"
)


def _llama3(digits: str, endings: str = f"{_ENDINGS}|", word: str = _WORD, marks: str = _MARKS) -> str:
    return rf"{endings}{word}|{digits}|{marks}|{_SPACES}"


def _cased(digits: str, endings: str = f"{_ENDINGS}?") -> str:
    """Words cut where upper case begins, as o200k and tekken do."""
    head = r"[^\r\n\p{L}\p{N}]?"
    marks = r" ?[^\s\p{L}\p{N}]+[\r\n/]*"
    return rf"{head}{_UPPER}*{_LOWER}+{endings}|{head}{_UPPER}+{_LOWER}*{endings}|{digits}|{marks}|{_SPACES}"


class _Cut(NamedTuple):
    """The patterns, each of which cuts what the one before left; whether a piece that is a token stays whole, whatever
    the pairs say; whether a begin-of-text token is added where the file does not say."""

    patterns: tuple[str, ...]
    whole: bool = False
    begins: bool = False


_QWEN2 = _Cut((_llama3(r"\p{N}"),))
_LLAMA3 = _llama3(r"\p{N}{1,3}")
_STARCODER = _Cut((r"\p{N}", _GPT2))
_BLOOM = r" ?[^(\s|.,!?…。，、।۔،)]+"
_DEFAULT = _Cut((r"[\p{P}\$\+<=>\^~\|]+", _GPT2, r"\p{N}+", "[0-9][0-9][0-9]"))
_MARKED = _Cut((_llama3(r"\p{N}", word=r"[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+", marks=r" ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*"),))

CUTS: dict[str, _Cut] = {
    "default": _DEFAULT,
    "": _DEFAULT,
    **dict.fromkeys(
        ("llama3", "llama-v3", "llama-bpe", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2", "jina-v5-nano"),
        _Cut((_LLAMA3,), whole=True, begins=True),
    ),
    **dict.fromkeys(("dbrx", "smaug-bpe", "chatglm-bpe"), _Cut((_LLAMA3,))),
    **dict.fromkeys(("glm4", "glm5"), _Cut((_LLAMA3,), whole=True)),
    **dict.fromkeys(
        ("qwen2", "deepseek-r1-qwen", "kormo", "f2llmv2", "stablelm2", "hunyuan", "solar-open", "megrez", "grok-2"),
        _QWEN2,
    ),
    "qwen35": _MARKED,
    **dict.fromkeys(
        (
            *("gpt-2", "phi-2", "jina-es", "jina-de", "gigachat", "jina-v2-es", "jina-v2-de", "a.x-4.0", "mellum"),
            *("modern-bert", "jina-v1-en", "jina-v2-code", "roberta-bpe", "mpt", "olmo", "jais", "exaone4"),
            *("trillion", "granite-docling"),
        ),
        _Cut((_GPT2,)),
    ),
    **dict.fromkeys(
        ("starcoder", "refact", "command-r", "smollm", "codeshell", "exaone", "minerva-7b", "mellum2"), _STARCODER
    ),
    "falcon": _Cut((r"[\p{P}\$\+<=>\^~\|`]+", _GPT2, "[0-9][0-9][0-9]")),
    "deepseek-llm": _Cut(
        (
            *(r"[\r\n]", r"\s?[\p{Lu}\p{Ll}\p{Lt}]+", "\\s?[!-/:-~！-／：-～\u2018-\u201f\u3000-\u3002]+", r"\s+$"),
            *("[一-龥ࠀ-一가-퟿]+", r"\p{N}+"),
        )
    ),
    "deepseek-coder": _Cut((r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", "[一-龥ࠀ-一가-퟿]+", r"\p{N}")),
    **dict.fromkeys(("deepseek-v3", "hunyuan-dense", "joyai-llm", "hy_v4"), _Cut((r"\p{N}{1,3}", _CJK, _DEEPSEEK3))),
    **dict.fromkeys(("poro-chat", "bloom", "gpt3-finnish"), _Cut((_BLOOM,))),
    "viking": _Cut((_BLOOM, r"\p{N}")),
    "tekken": _Cut((_cased(r"\p{N}", ""),), whole=True, begins=True),
    **dict.fromkeys(("gpt-4o", "llama4", "kanana2", "talkie", "minimax-m2"), _Cut((_cased(r"\p{N}{1,3}"),))),
    "granite-embed-multi-97m": _Cut((_cased(r"\p{N}{1,3}"),), whole=True),
    **dict.fromkeys(("tiny_aya", "cohere2moe"), _Cut((r"\d{1,3}(?=(?:\d{3})*\b)", _cased(r"\p{N}{1,3}")))),
    "superbpe": _Cut((r"\p{N}+", r"(?=(\d{3})+(?!\d))")),
    **dict.fromkeys(
        ("bailingmoe", "bailingmoe2", "llada-moe"),
        _Cut(
            (
                r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]++[\r\n]*|"
                r"\s*[\r\n]|\s+(?!\S)|\s+",
            )
        ),
    ),
    "seed-coder": _Cut((_llama3(r"\p{N}", marks=r" ?[^\s\p{L}\p{N}\r\n]+"),)),
    "ufakzeka": _Cut((_llama3(r"\p{N}", endings=""),)),
    "laguna": _Cut((r"[^\n]+|[\n]+", _llama3(r"\p{N}"))),
    "minicpm5": _Cut((r"\p{N}{1,3}", _llama3(r"\p{N}+")), whole=True),
}
"""By ``tokenizer.ggml.pre``. What is not here needs code of its own (kimi-k2, afmoe) or embeds nothing (chameleon)."""


# --- the vocabulary ---------------------------------------------------------------------------------------------------


class _Vocabulary:
    """The tokens of a file, what each is, and what stands around a text."""

    def __init__(self, file: Gguf) -> None:
        self.file = file
        self.model = str(file.get("tokenizer.ggml.model", str, NEEDED))
        tokens = file.get("tokenizer.ggml.tokens", list, NEEDED)
        if not tokens or not isinstance(tokens[0], str):
            raise DataError(f"{file.path}, tokenizer.ggml.tokens: expected texts, found {tokens!r:.60}")
        self.tokens = [token or f"[EMPTY_{number}]" for number, token in enumerate(tokens)]
        self.sorts = self._numbers("token_type")
        self.scores = self._numbers("scores")

    def _numbers(self, key: str) -> list[Any]:
        import numpy as np

        values = self.file.metadata.get(f"tokenizer.ggml.{key}")
        if values is None:
            return []
        if not isinstance(values, np.ndarray) or len(values) < len(self.tokens):
            raise DataError(
                f"{self.file.path}, tokenizer.ggml.{key}: expected {len(self.tokens):,} numbers, one a token, found "
                f"{len(values) if hasattr(values, '__len__') else values!r:.40}"
            )
        if not np.isfinite(values).all():
            raise DataError(f"{self.file.path}, tokenizer.ggml.{key}: expected finite numbers, found NaN or infinity")
        return values.tolist()

    def sort(self, number: int) -> int:
        return self.sorts[number] if self.sorts else Sort.NORMAL

    def flag(self, key: str, default: bool) -> bool:
        return bool(self.file.get(f"tokenizer.ggml.{key}", bool, default))

    def special(self, name: str, default: int | None = None) -> int | None:
        """The number of the begin, end, unknown, separator … token. A number that no token has is an error where the
        file says it, none where it is the format's default."""
        key = {"sep": "seperator", "unk": "unknown", "pad": "padding"}.get(name, name)
        number = self.file.get(f"tokenizer.ggml.{key}_token_id", int)
        if number is None:
            return default if default is not None and default < len(self.tokens) else None
        if not 0 <= number < len(self.tokens):
            raise DataError(
                f"{self.file.path}, tokenizer.ggml.{key}_token_id: expected one of {len(self.tokens):,} tokens, found "
                f"{number}"
            )
        return int(number)

    def numbered(self) -> dict[str, int]:
        """Each token's number; of two that are written alike the last, as llama.cpp has it."""
        return {token: number for number, token in enumerate(self.tokens)}

    def added(self) -> Iterator[Any]:
        """The tokens that are found in a text as they stand, before it is cut."""
        from tokenizers import AddedToken

        for number, token in enumerate(self.tokens):
            sort = self.sort(number)
            if sort in (Sort.CONTROL, Sort.USER_DEFINED):
                yield AddedToken(token, special=sort == Sort.CONTROL, normalized=False)


def tokenizer(file: Gguf, ends_in: str = "") -> Tokenizer:
    """The file's tokenizer, which adds what the file says stands before and behind a text; ``ends_in``: a token that
    every text ends in, whatever the file says.

    Raises:
        DataError: for a vocabulary of an unknown sort, or one that lacks a token that it needs.
    """
    vocabulary = _Vocabulary(file)
    makers = {"bert": _wordpiece, "t5": _unigram, "llama": _sentencepiece, "gpt2": _bytes, "gemma4": _characters}
    if vocabulary.model not in makers:
        raise DataError(
            f"{file.path}, tokenizer.ggml.model: expected one of {', '.join(makers)}, found {vocabulary.model!r:.40}"
        )
    try:
        words, before, behind = makers[vocabulary.model](vocabulary)
        words.add_tokens(list(vocabulary.added()))
    except DataError:
        raise
    except BaseException as error:
        if not is_of_a_library(error):
            raise
        raise DataError(f"{file.path}: expected a vocabulary that makes a tokenizer: {in_one_line(error)}") from error
    if ends_in:
        number = words.token_to_id(ends_in)
        if number is None:
            raise DataError(f"{file.path}: expected the end-of-text token {ends_in} in its vocabulary, found none")
        behind = [number]
    _surround(vocabulary, words, before, behind)
    return words


def _surround(vocabulary: _Vocabulary, words: Tokenizer, before: list[int | None], behind: list[int | None]) -> None:
    """Add these tokens to every text."""
    from tokenizers import processors

    if None in before or None in behind:
        where = "begin" if None in before else "end"
        raise DataError(
            f"{vocabulary.file.path}: expected a vocabulary with the token that every text is to {where} with, found "
            "none"
        )
    named = [(vocabulary.tokens[number], number) for number in [*before, *behind] if number is not None]
    if not named:
        return
    start, end = [token for token, _ in named[: len(before)]], [token for token, _ in named[len(before) :]]
    template = processors.TemplateProcessing(
        single=[*start, "$A", *end], pair=[*start, "$A", *end, "$B:1", *(f"{token}:1" for token in end)],
        special_tokens=list(dict(named).items()),
    )  # fmt: skip
    words.post_processor = template


_Made = tuple["Tokenizer", "list[int | None]", "list[int | None]"]


def _wordpiece(vocabulary: _Vocabulary) -> _Made:
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers

    numbered = {}
    for number, token in enumerate(vocabulary.tokens):
        if token.startswith(SPACE):
            written = token[len(SPACE) :]
        elif vocabulary.sort(number) == Sort.NORMAL and not (token.startswith("[") and token.endswith("]")):
            written = f"##{token}"
        else:
            written = token
        numbered[written] = number
    unknown = vocabulary.special("unk", 100)
    if unknown is None:
        raise DataError(f"{vocabulary.file.path}: expected a vocabulary with an unknown token, found none")
    words = Tokenizer(models.WordPiece(numbered, unk_token=vocabulary.tokens[unknown], max_input_chars_per_word=100))
    lower = vocabulary.flag("normalizer.lowercase", True)
    accents = vocabulary.flag("normalizer.strip_accents", lower)
    words.normalizer = normalizers.BertNormalizer(
        clean_text=True, handle_chinese_chars=True, strip_accents=accents, lowercase=lower
    )
    words.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    words.decoder = decoders.WordPiece()
    begin = vocabulary.special("cls", None)
    return words, [vocabulary.special("bos", 101) if begin is None else begin], [vocabulary.special("sep", 102)]


def _ends(vocabulary: _Vocabulary, bos: int | None, eos: int | None, *, begins: bool, ends: bool) -> tuple[Any, Any]:
    before = [vocabulary.special("bos", bos)] if vocabulary.flag("add_bos_token", begins) else []
    behind = [vocabulary.special("eos", eos)] if vocabulary.flag("add_eos_token", ends) else []
    return before, behind


def _unigram(vocabulary: _Vocabulary) -> _Made:
    import numpy as np
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers

    unknown = vocabulary.special("unk", 2)
    if unknown is None or not vocabulary.scores:
        lacking = "an unknown token" if unknown is None else "scores"
        raise DataError(f"{vocabulary.file.path}: expected a vocabulary with {lacking}, found none")
    # a token that the user defined is taken before all others
    pieces = [
        (token, 0.0 if vocabulary.sort(number) == Sort.USER_DEFINED else float(vocabulary.scores[number]))
        for number, token in enumerate(vocabulary.tokens)
    ]
    words = Tokenizer(models.Unigram(pieces, unk_id=unknown, byte_fallback=False))
    steps: list[Any] = []
    charsmap = vocabulary.file.metadata.get("tokenizer.ggml.precompiled_charsmap")
    if charsmap is not None:
        if not isinstance(charsmap, np.ndarray) or charsmap.dtype.itemsize != 1:
            raise DataError(
                f"{vocabulary.file.path}, tokenizer.ggml.precompiled_charsmap: expected bytes, found {charsmap!r:.40}"
            )
        steps.append(normalizers.Precompiled(charsmap.tobytes()))
    if steps:
        words.normalizer = normalizers.Sequence(steps)
    prefix = vocabulary.flag("add_space_prefix", True)
    marked = pre_tokenizers.Metaspace(SPACE, prepend_scheme="always" if prefix else "never")
    if vocabulary.flag("remove_extra_whitespaces", False):
        words.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), marked])
    else:
        words.pre_tokenizer = marked
    words.decoder = decoders.Metaspace(SPACE, prepend_scheme="always" if prefix else "never")
    return words, *_ends(vocabulary, None, 1, begins=False, ends=True)


def _sentencepiece(vocabulary: _Vocabulary) -> _Made:
    from tokenizers import Tokenizer, decoders, models, normalizers

    if not vocabulary.scores:
        raise DataError(f"{vocabulary.file.path}: expected a vocabulary with scores, found none")
    numbered = vocabulary.numbered()
    merges = _merges_by_score(vocabulary, numbered)
    unknown = vocabulary.special("unk", 0)
    words = Tokenizer(
        models.BPE(
            numbered,
            merges,
            unk_token=None if unknown is None else vocabulary.tokens[unknown],
            fuse_unk=True,
            byte_fallback="<0x00>" in numbered,
        )
    )
    prefix = vocabulary.flag("add_space_prefix", True)
    steps = [*([normalizers.Prepend(SPACE)] if prefix else []), normalizers.Replace(" ", SPACE)]
    words.normalizer = normalizers.Sequence(steps)
    words.decoder = decoders.Sequence(
        [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse()]
        + ([decoders.Strip(" ", 1, 0)] if prefix else [])
    )
    return words, *_ends(vocabulary, 1, 2, begins=True, ends=False)


def _merges_by_score(vocabulary: _Vocabulary, numbered: dict[str, int]) -> list[tuple[str, str]]:
    """SentencePiece joins the pair whose whole has the best score; as a list of pairs that is each way to halve each
    token, best token first."""
    usable = (Sort.NORMAL, Sort.USER_DEFINED, Sort.UNUSED)
    sorts, scores = vocabulary.sorts, vocabulary.scores
    order = sorted(numbered.items(), key=lambda item: (-scores[item[1]], item[1]))
    return [
        (token[:place], token[place:])
        for token, number in order
        if len(token) > 1 and (not sorts or sorts[number] in usable)
        for place in range(1, len(token))
        if token[:place] in numbered and token[place:] in numbered
    ]


def _merges(vocabulary: _Vocabulary, numbered: dict[str, int]) -> list[tuple[str, str]]:
    """The pairs as the file lists them, those whose parts are tokens."""
    lines = vocabulary.file.get("tokenizer.ggml.merges", list, NEEDED)
    pairs = []
    for line in lines:
        if not isinstance(line, str):
            raise DataError(f"{vocabulary.file.path}, tokenizer.ggml.merges: expected texts, found {line!r:.40}")
        place = line.find(" ", 1)  # a pair's first part may be a space
        first, second = line[:place], line[place + 1 :]
        if place > 0 and first in numbered and second in numbered and first + second in numbered:
            pairs.append((first, second))
    return pairs


def _bytes(vocabulary: _Vocabulary) -> _Made:
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers

    name = str(vocabulary.file.get("tokenizer.ggml.pre", str, ""))
    if name in ("gemma4", "granite-embed-multi-311m", "sarvam-moe"):
        return _characters(vocabulary)
    if name not in CUTS:
        raise DataError(
            f"{vocabulary.file.path}, tokenizer.ggml.pre: expected a name that is known ("
            f"{', '.join(filter(None, CUTS))}), found {name!r:.40}"
        )
    cut = CUTS[name]
    numbered = vocabulary.numbered()
    words = Tokenizer(models.BPE(numbered, _merges(vocabulary, numbered), ignore_merges=cut.whole))
    words.pre_tokenizer = pre_tokenizers.Sequence(
        [
            *(pre_tokenizers.Split(Regex(pattern), "isolated") for pattern in cut.patterns),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    words.decoder = decoders.ByteLevel()
    return words, *_ends(vocabulary, 11, 11, begins=cut.begins, ends=False)


def _characters(vocabulary: _Vocabulary) -> _Made:
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

    numbered = vocabulary.numbered()
    unknown = vocabulary.special("unk")
    words = Tokenizer(
        models.BPE(
            numbered,
            _merges(vocabulary, numbered),
            unk_token=None if unknown is None else vocabulary.tokens[unknown],
            fuse_unk=True,
            byte_fallback="<0x00>" in numbered,
        )
    )
    words.normalizer = normalizers.Replace(" ", SPACE)
    words.pre_tokenizer = pre_tokenizers.Split(Regex(r"[^\n]+|\n+"), "isolated")
    words.decoder = decoders.Sequence([decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse()])
    return words, *_ends(vocabulary, None, None, begins=True, ends=False)
