"""Texts as rows of word numbers, or of their words' characters, for embedders that read word by word. Light: the
tokenizers library does it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from umekomi.errors import DataError, WrongUse
from umekomi.files import MODEL_FILE
from umekomi.models.borders import border
from umekomi.models.folders import fields, read_tokenizer
from umekomi.parts.characters import word_characters
from umekomi.parts.words import TREEBANK, tokenizer

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from tokenizers import Tokenizer

SPLITS = ("treebank", "spaces", "plain", "surfaces", "bigrams")
"""How a text becomes words: words, marks and contractions apart; what stands between spaces; lower-cased runs of
letters and digits; Japanese words (fugashi) or pairs of characters."""
BEFORE = ("surfaces", "bigrams")
"""Splits that no tokenizer of the tokenizers library makes: the text is split before it."""
UNKNOWN = "<unk>"
CACHED = 1 << 16
"""Words whose characters are kept."""


def word_tokenizer(
    names: Sequence[str], split: str = "treebank", *, lowercase: bool = False, begin: str = "", end: str = ""
) -> Tokenizer:
    """Words to their places in ``names``, which must hold ``<unk>``, what every other word becomes; ``begin`` and
    ``end``, where they are given, are among the names and stand around each text."""
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors

    if split not in SPLITS:
        raise WrongUse(f"no way to split texts named {split!r}; there are: {', '.join(SPLITS)}")
    rows = {name: row for row, name in enumerate(names)}
    for name in (UNKNOWN, *filter(None, (begin, end))):
        if name not in rows:
            raise WrongUse(f"words: expected {name!r} among the names, found {len(rows):,} without it")
    tokenizer = Tokenizer(models.WordLevel(rows, UNKNOWN))
    if lowercase or split == "plain":
        tokenizer.normalizer = normalizers.Lowercase()
    pattern = {"treebank": TREEBANK, "plain": r"[\p{L}\p{N}\p{M}]+"}.get(split)
    tokenizer.pre_tokenizer = (
        pre_tokenizers.WhitespaceSplit()
        if pattern is None
        else pre_tokenizers.Split(Regex(pattern), "removed", invert=True)
    )
    around = [name for name in (begin, "$A", end) if name]
    if len(around) > 1:
        specials = [(name, rows[name]) for name in dict.fromkeys((begin, end)) if name]
        tokenizer.post_processor = processors.TemplateProcessing(single=around, special_tokens=specials)
    return tokenizer


class TextReader(ABC):
    """What makes numbers of texts. ``tokenizer`` says where their words are; ``before`` is one of :data:`BEFORE`, or
    empty."""

    SETTINGS: ClassVar[dict[str, type]]
    """What :meth:`write` keeps beside the tokenizer, by the names that ``__init__`` has."""

    def __init__(self, tokenizer: Tokenizer, before: str = "") -> None:
        if before not in ("", *BEFORE):
            raise WrongUse(f"before: expected nothing, {' or '.join(BEFORE)}, found {before!r}")
        unknown = getattr(tokenizer.model, "unk_token", None)
        if unknown is not None and tokenizer.model.token_to_id(unknown) is None:
            raise WrongUse(f"tokenizer: expected {unknown!r}, what it calls unknown words, among its words, found none")
        tokenizer.no_padding()
        tokenizer.no_truncation()
        self.tokenizer, self.before = tokenizer, before

    @property
    def skips(self) -> int | None:
        """The number that is left out, or None."""
        return None

    @abstractmethod
    def read(self, texts: Sequence[str]) -> list[NDArray[np.int64]]:
        """int64 ``[words]`` of each text, or ``[words, characters]``."""

    @abstractmethod
    def names(self, rows: NDArray[np.int64]) -> list[str]:
        """The words of these numbers."""

    def split_before(self, texts: Sequence[str]) -> list[str]:
        """The texts as the tokenizer takes them."""
        if not self.before:
            return list(texts)
        cut = tokenizer(self.before)
        return [" ".join(cut(text)) for text in texts]

    def write(self, folder: Path) -> dict[str, Any]:
        """``tokenizer.json``, and the settings for :meth:`open`."""
        self.tokenizer.save(str(folder / "tokenizer.json"))
        return {name: getattr(self, name) for name in self.SETTINGS}

    @classmethod
    def open(cls, folder: Path, found: dict[str, Any]) -> Self:
        """What :meth:`write` wrote."""
        by = f"{folder / MODEL_FILE}, settings, reader"
        own = fields(found, by, **cls.SETTINGS)
        try:
            return cls(read_tokenizer(folder / "tokenizer.json"), **own)
        except WrongUse as error:
            raise DataError(f"{by}: {error}") from None


class WordReader(TextReader):
    """``tokenizer`` gives a text's word numbers; with ``skips_unknown`` words that it has no row for are left out, as
    if they were not there."""

    SETTINGS: ClassVar[dict[str, type]] = {"skips_unknown": bool, "before": str}

    def __init__(self, tokenizer: Tokenizer, *, skips_unknown: bool = True, before: str = "") -> None:
        super().__init__(tokenizer, before)
        self.skips_unknown = skips_unknown

    @property
    def skips(self) -> int | None:
        """``<unk>``'s number with ``skips_unknown``."""
        return self.tokenizer.token_to_id(UNKNOWN) if self.skips_unknown else None

    @property
    def rows(self) -> int:
        """How many rows a table must have for all that :meth:`read` gives."""
        return max(self.tokenizer.get_vocab().values(), default=-1) + 1

    def read(self, texts: Sequence[str]) -> list[NDArray[np.int64]]:
        """int64 ``[words]`` of each text."""
        with border("words"):
            encodings = self.tokenizer.encode_batch_fast(self.split_before(texts))
        rows = [np.array(encoding.ids, np.int64) for encoding in encodings]
        skips = self.skips
        return rows if skips is None else [row[row != skips] for row in rows]

    def words(self, texts: Sequence[str]) -> list[list[str]]:
        """The words of each text that have a number, as the tokenizer has them."""
        return [self.names(rows) for rows in self.read(texts)]

    def names(self, rows: NDArray[np.int64]) -> list[str]:
        """The words of these numbers."""
        return [str(self.tokenizer.id_to_token(int(row))) for row in rows]


class CharacterReader(TextReader):
    """A text as the characters of its words: int64 ``[words, longest]``."""

    SETTINGS: ClassVar[dict[str, type]] = {"longest": int, "before": str}

    def __init__(self, tokenizer: Tokenizer, longest: int = 50, before: str = "") -> None:
        super().__init__(tokenizer, before)
        if longest < 3:
            raise WrongUse(f"longest: expected 3 characters or more, found {longest}")
        self.longest = longest
        self._known: dict[str, NDArray[np.int64]] = {}

    @classmethod
    def of(cls, split: str, longest: int = 50) -> CharacterReader:
        """With one of :data:`~umekomi.models.words.SPLITS`; case stays."""
        before = split if split in BEFORE else ""
        return cls(word_tokenizer([UNKNOWN], "spaces" if before else split), longest, before)

    def words(self, texts: Sequence[str]) -> list[list[str]]:
        """The words of each text."""
        texts = self.split_before(texts)
        with border("words"):
            encodings = self.tokenizer.encode_batch([text.replace("\0", " ") for text in texts])
        return [
            [text[low:high] for low, high in encoding.offsets] for text, encoding in zip(texts, encodings, strict=True)
        ]

    def read(self, texts: Sequence[str]) -> list[NDArray[np.int64]]:
        """int64 ``[words, longest]`` of each text."""
        return [self.characters(words) for words in self.words(texts)]

    def characters(self, words: Sequence[str]) -> NDArray[np.int64]:
        """int64 ``[words, longest]``."""
        rows = np.zeros((len(words), self.longest), np.int64)
        for place, word in enumerate(words):
            row = self._known.get(word)
            if row is None:
                row = word_characters(word, self.longest)
                if len(self._known) < CACHED:
                    self._known[word] = row
            rows[place] = row
        return rows

    def names(self, rows: NDArray[np.int64]) -> list[str]:
        """The words of rows of characters, as far as they were read."""
        inner = [row[1:] - 1 for row in rows]
        return [bytes(row[row < 256].tolist()).decode("utf-8", "replace") for row in inner]
