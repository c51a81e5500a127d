"""The words and vectors that a network which reads word by word begins with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from umekomi.data.vocabulary import count_tokens
from umekomi.data.vocabulary import split_words as split_words
from umekomi.errors import DataError, WrongUse
from umekomi.models.entity import EntityEmbedder
from umekomi.models.words import BEFORE, UNKNOWN, WordReader, word_tokenizer

if TYPE_CHECKING:
    from numpy.typing import NDArray

SPREAD = 0.4
"""Standard deviation of vectors that are drawn: about GloVe's."""


class BeginningWords(NamedTuple):
    """What a network that reads words begins with: the ``reader``, the ``table`` float32 ``[words, dim]``, whether its
    vectors were ``given``, and what the card says of it."""

    reader: WordReader
    table: NDArray[np.float32]
    given: bool
    about: dict[str, Any]


def begin_words(
    texts: Sequence[str],
    start: EntityEmbedder | None,
    who: str,
    *,
    dimensions: int,
    split: str = "treebank",
    lowercase: bool | None = None,
    min_count: int = 1,
    vocabulary: int | None = None,
    begin: str = "<s>",
    end: str = "</s>",
    skips_unknown: bool = True,
    generator: np.random.Generator,
) -> BeginningWords:
    """The words of ``start``, all of them, with their vectors; or, where there is none, those of the texts that occur
    ``min_count`` times or more, with vectors drawn as wide as GloVe's are. ``<unk>`` and what stands around a text have
    rows too, drawn where ``start`` has none; ``<unk>``'s is zero where it is left out.

    Args:
        texts: what is learned from.
        start: word vectors, whose width is then the table's.
        who: for errors.
        dimensions: the width of vectors that are drawn.
        split: one of :data:`SPLITS`.
        lowercase: whether words are; None: as ``start`` has them, and without one they are.
        min_count: how often a word occurs at least.
        vocabulary: at most so many words, the frequent ones, where there is no ``start``; None: all.
        begin: the word before each text, or empty.
        end: the word behind it, or empty.
        skips_unknown: whether other words are left out, or read as ``<unk>``.
        generator: random numbers.
    """
    if start is not None and not isinstance(start, EntityEmbedder):
        raise WrongUse(f"{who}: start must be a table of word vectors, found {start.name} of kind {start.kind}")
    if lowercase is None:
        lowercase = start is None or not any(str(name) != str(name).lower() for name in start.names)
    specials = list(dict.fromkeys((UNKNOWN, *filter(None, (begin, end)))))
    cased = [text.lower() for text in texts] if lowercase else texts
    counted = count_tokens(split_words(cased, split), 1, who)
    if start is None:
        names = [name for name, count in zip(counted.names, counted.counts, strict=True) if count >= min_count]
        if not names:
            raise DataError(f"{who}: expected words that occur {min_count} times or more, found none")
        names = [name for name in names if name not in specials][:vocabulary]
        table = generator.normal(0, SPREAD, (len(specials) + len(names), dimensions))
    else:
        names = [str(name) for name in start.names if name not in specials]
        table = generator.normal(0, float(start.vectors.std()) or SPREAD, (len(specials) + len(names), start.dimension))
        table[len(specials) :] = start.vectors[[start.rows[name] for name in names]]
        for row, name in enumerate(specials):
            if name in start.rows:
                table[row] = start[name]
    if skips_unknown:
        table[0] = 0
    known = set(names)
    read = sum(int(count) for name, count in zip(counted.names, counted.counts, strict=True) if name in known)
    if not read:
        raise DataError(
            f"{who}: expected texts with words of {start.name if start else 'their own'}, found none: "
            f"{', '.join(map(repr, counted.names[:5]))}"
        )
    about = {
        "words": len(names),
        "words known": round(read / int(counted.counts.sum()), 4),
        "vectors": start.name if start else "drawn",
    }
    before = split if split in BEFORE else ""
    tokenizer = word_tokenizer([*specials, *names], split, lowercase=lowercase, begin=begin, end=end)
    reader = WordReader(tokenizer, skips_unknown=skips_unknown, before=before)
    return BeginningWords(reader, table.astype(np.float32), start is not None, about)


def shared_words(names: Sequence[str], start: EntityEmbedder, who: str) -> list[int]:
    """Which of the names ``start`` has; the error where they are too few to learn a map from."""
    shared = [row for row, name in enumerate(names) if name in start.rows]
    if len(shared) < 2:
        raise DataError(f"{who}: expected words of {start.name} in the texts to learn a map from, found {len(shared)}")
    return shared


def expand_words(
    names: Sequence[str], table: NDArray[np.float32], start: EntityEmbedder, who: str
) -> tuple[list[str], NDArray[np.float32], int]:
    """Vocabulary expansion (Kiros+ 2015, 2.2): the linear map with a constant that takes the vectors of ``start`` to
    those of ``table`` ``[names, dim]`` for the words that both have, by least squares, gives every other word of
    ``start`` a vector. Gives the names, the table, and how many words the map was learned from."""
    shared = shared_words(names, start, who)
    given = np.concatenate([start.vectors, np.ones((len(start.vectors), 1), np.float32)], 1).astype(np.float64)
    known = given[[start.rows[names[row]] for row in shared]]
    mapped, *_ = np.linalg.lstsq(known, table[shared].astype(np.float64), rcond=None)
    there = set(names)
    more = [row for row, name in enumerate(start.names) if str(name) not in there]
    whole = np.concatenate([table, (given[more] @ mapped).astype(np.float32)])
    return [*names, *(str(start.names[row]) for row in more)], whole, len(shared)


def seen_words(rows: Sequence[Any], count: int) -> tuple[list[Any], Any]:
    """(the rows with the words that occur in them numbered anew, which words those are): optimisers look at every row
    of a table in every step, of GloVe's 400,000 as of the few thousand that can change, and where weights decay they
    wear away the vectors of words that training never sees. Of nodes ``[nodes, 3]`` the first column is the word."""
    flat = [row if row.ndim == 1 else row[:, 0] for row in rows]
    seen = np.unique(np.concatenate([[0], *flat]))
    seen = seen[seen >= 0]
    number = np.full(count + 1, -1, np.int64)  # what is no word (-1) stays so
    number[seen] = np.arange(len(seen))
    out = [number[row] if row.ndim == 1 else np.column_stack([number[row[:, 0]], row[:, 1:]]) for row in rows]
    return out, seen


def with_all_words(network: Any, table: Any, seen: Any) -> None:
    """The network with the whole ``table``, the rows ``seen`` as they were learned."""
    import torch

    whole = torch.from_numpy(np.array(table, np.float32))
    whole[torch.from_numpy(seen)] = network.words.weight.data.cpu()
    network.words = torch.nn.Embedding(len(whole), whole.shape[1], _weight=whole)
    if "rows" in getattr(network, "_settings", {}):
        network._settings["rows"] = len(whole)
