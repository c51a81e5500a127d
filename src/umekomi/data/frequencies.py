"""How often words occur: from a corpus, from wordfreq's lists of 40 languages (Speer 2022), or as given."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np

from umekomi.errors import MissingExtra, WrongUse

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from tokenizers import Tokenizer


def word_list(language: str = "en", size: int = 300_000) -> dict[str, float]:
    """wordfreq's probabilities of a language's most frequent words."""
    try:
        import wordfreq
    except ImportError:
        raise MissingExtra("wordfreq", "frequencies", "word frequencies of a language") from None
    if language not in wordfreq.available_languages():
        raise WrongUse(
            f"wordfreq has no list of the language {language!r}; it has: "
            f"{', '.join(sorted(wordfreq.available_languages()))}"
        )
    listed = wordfreq.get_frequency_dict(language, wordlist="best")
    return dict(sorted(listed.items(), key=lambda item: -item[1])[:size])


def of_words(
    words: Sequence[str], source: str | Mapping[str, float] | Iterable[Sequence[str]] = "en"
) -> NDArray[np.float64]:
    """Probabilities of ``words``, float64 ``[n]``, among themselves: from a language's list, a mapping (of counts,
    say), or a corpus (lists of words). A word that is not there has 0."""
    if isinstance(source, str):
        known: Mapping[str, float] = word_list(source)
    elif isinstance(source, Mapping):
        known = source
    else:
        known = Counter(word for words_of in source for word in words_of)
    frequencies = np.array([known.get(word, known.get(word.lower(), 0.0)) for word in words], np.float64)
    if not frequencies.sum() > 0:
        raise WrongUse("word frequencies: none of the words occurs in the source")
    return frequencies / frequencies.sum()


def of_tokens(tokenizer: Tokenizer, source: str | Mapping[str, float] | Sequence[str] = "en") -> NDArray[np.float64]:
    """Probabilities of a :class:`tokenizers.Tokenizer`'s tokens, float64 ``[vocabulary]``: from a corpus (texts), or
    from a list of words, each cut into its tokens. A language's list is cut once a process for one tokenizer."""
    if isinstance(source, str):
        return _listed(tokenizer.to_str(), source).copy()
    return _counted(tokenizer, source if isinstance(source, Mapping) else Counter(source))


@lru_cache(maxsize=4)
def _listed(tokenizer: str, language: str) -> NDArray[np.float64]:
    from tokenizers import Tokenizer

    return _counted(Tokenizer.from_str(tokenizer), word_list(language))


def _counted(tokenizer: Tokenizer, words: Mapping[str, float]) -> NDArray[np.float64]:
    ids = [encoding.ids for encoding in tokenizer.encode_batch_fast(list(words), add_special_tokens=False)]
    weights = np.repeat(np.array(list(words.values()), np.float64), [len(each) for each in ids])
    tokens = np.fromiter(chain.from_iterable(ids), np.int64, len(weights))
    counts = np.bincount(tokens, weights, tokenizer.get_vocab_size())
    if not counts.sum() > 0:
        raise WrongUse("token frequencies: the source holds no token of this tokenizer")
    return counts / counts.sum()
