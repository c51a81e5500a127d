"""Questions without a language model: what a document calls itself, one of its sentences said otherwise, its key
phrases."""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from umekomi.parts.words import choose, sentence_spans, tokenizer

SHORT_TITLE = 15
"""Words of a first line that may be a title; of a script without spaces, so many characters times three."""


@dataclass(frozen=True)
class Document:
    """A text to be searched, and what it calls itself."""

    id: str
    text: str
    title: str = ""
    heading: str = ""


class Question(NamedTuple):
    """Asked of a document; ``evidence`` is what in it answers, where that is one place."""

    text: str
    document: str
    way: str
    evidence: str = ""


class Vocabulary:
    """In how many documents each word occurs, by a tokenizer that fits them."""

    def __init__(self, documents: Sequence[Document]) -> None:
        self.name = choose([each.text for each in documents])
        self.spaced = self.name == "words"
        self.words = tokenizer(self.name, "NFKC")
        self.count = len(documents)
        self.frequency: Counter[str] = Counter()
        for each in documents:
            self.frequency.update(set(self.words(each.text)))

    def rarity(self, word: str) -> float:
        """log (documents / documents with the word): 0 of a word that all have."""
        import math

        return math.log((self.count + 1) / (self.frequency[word] + 1))


def body_of(document: Document) -> str:
    """The text without the title and the heading that it begins with."""
    text = document.text.strip()
    for name in (document.title, document.heading):
        if name and text.startswith(name):
            text = text.removeprefix(name).lstrip(" \n.:-—#")
    return text


def own_title(text: str) -> str:
    """A first line that looks like a title: short, and with a text below it."""
    line, _, rest = text.strip().partition("\n")
    line = line.strip("# \t*=")
    if line.endswith((".", "。", "!", "！", "?", "？", ":", "：", ";", ",")):  # the beginning of what is told
        return ""
    most = SHORT_TITLE if " " in line else SHORT_TITLE * 3
    length = len(line.split()) if " " in line else len(line)
    return line if 0 < length <= most and len(rest.strip()) >= 40 else ""


def by_title(document: Document, vocabulary: Vocabulary, draw: random.Random) -> list[Question]:
    """The title asks for the body."""
    return [Question(document.title, document.id, "title")] if document.title else []


def by_heading(document: Document, vocabulary: Vocabulary, draw: random.Random) -> list[Question]:
    """The heading, its title before it where it says little alone, asks for the section."""
    if not document.heading:
        return []
    alone = len(vocabulary.words(document.heading)) >= 3 or not document.title
    return [Question(document.heading if alone else f"{document.title}: {document.heading}", document.id, "heading")]


def by_paraphrase(document: Document, vocabulary: Vocabulary, draw: random.Random) -> list[Question]:
    """One of the sentences that say most, said otherwise: a third of its words dropped, of its rarest three in five,
    and neighbours swapped. None of a script without spaces where nothing cuts it into words."""
    if not vocabulary.spaced and vocabulary.name == "bigrams":
        return []
    body = body_of(document)
    every = [body[start:end] for start, end in sentence_spans(body)]
    told = [text for text in every if len(vocabulary.words(text)) >= 5]
    if not told:
        return []
    weight = [sum(vocabulary.rarity(word) for word in set(vocabulary.words(text))) / len(text) ** 0.5 for text in told]
    best = sorted(range(len(told)), key=lambda n: -weight[n])[:3]
    evidence = told[draw.choice(best)]
    units = re.findall(r"\w[\w'’-]*", evidence) if vocabulary.spaced else tokenizer("surfaces")(evidence)
    rare = set(
        sorted(set(vocabulary.words(evidence)), key=lambda word: (-vocabulary.rarity(word), word))[
            : len(units) // 6 + 1
        ]
    )
    kept = [unit for unit in units if draw.random() > (0.6 if unit.lower() in rare else 1 / 3)]
    place = 0
    while place + 1 < len(kept):
        if draw.random() < 0.3:
            kept[place], kept[place + 1] = kept[place + 1], kept[place]
            place += 1
        place += 1
    return [Question((" " if vocabulary.spaced else "").join(kept), document.id, "paraphrase", evidence)]


def by_phrases(document: Document, vocabulary: Vocabulary, draw: random.Random) -> list[Question]:
    """Its key phrases: runs of neighbouring words weighted by how often and how early they stand and how rare they are
    elsewhere; the best three, at most six words."""
    words = vocabulary.words(body_of(document))
    if len(words) < 8:
        return []
    counts = Counter(words)
    first = {word: place for place, word in reversed(list(enumerate(words)))}
    weight = {
        word: count**0.5 * vocabulary.rarity(word) * (1.5 - first[word] / len(words)) for word, count in counts.items()
    }
    pairs = Counter(pairwise(words))
    phrases: dict[tuple[str, ...], float] = {(word,): value for word, value in weight.items()}
    phrases |= {
        pair: (weight[pair[0]] + weight[pair[1]]) * 0.75 for pair, n in pairs.items() if n > 1 and pair[0] != pair[1]
    }
    chosen: list[str] = []
    for phrase in sorted(phrases, key=lambda each: (-phrases[each], each)):
        if not set(phrase) & set(chosen) and len(chosen) + len(phrase) <= 6:
            chosen += phrase
        if len(chosen) >= 4:
            break
    return [Question(" ".join(chosen), document.id, "phrases")] if len(chosen) >= 2 else []


Way = Callable[[Document, Vocabulary, random.Random], list[Question]]
WAYS: Mapping[str, Way] = {
    "title": by_title,
    "heading": by_heading,
    "paraphrase": by_paraphrase,
    "phrases": by_phrases,
}
"""The ways that need no language model, by name."""
