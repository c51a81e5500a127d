"""Small damage to a text, as two views of it: words split in two, characters replaced at random or by a neighbouring
key (the kinds of the paper "Layer by Layer", each with a chance of .3). Japanese and other texts without spaces are
taken character by character."""

from __future__ import annotations

import random

KEYS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
NEAR = {
    key: [
        KEYS[r][c]
        for r in range(max(row - 1, 0), min(row + 2, 3))
        for c in range(max(place - 1, 0), min(place + 2, len(KEYS[r])))
        if KEYS[r][c] != key
    ]
    for row, keys in enumerate(KEYS)
    for place, key in enumerate(keys)
}
"""The keys around each letter."""


def damaged(text: str, seed: int, chance: float = 0.3) -> str:
    """One view of the text: each word is, with ``chance``, changed in one place, by one of the three kinds.

    >>> damaged("the quick brown fox", 1) == damaged("the quick brown fox", 1)
    True
    >>> damaged("the quick brown fox", 1, chance=0.0)
    'the quick brown fox'
    """
    generator = random.Random(f"{seed}:{text}")
    letters = sorted({character for character in text if not character.isspace()})
    words = text.split(" ") if " " in text.strip() else [text[i : i + 2] for i in range(0, len(text), 2)]
    joint = " " if " " in text.strip() else ""
    return joint.join(
        _changed(word, letters, generator) if word and generator.random() < chance else word for word in words
    )


def _changed(word: str, letters: list[str], generator: random.Random) -> str:
    place = generator.randrange(len(word))
    kind = generator.choice(("split", "replace", "key"))
    if kind == "split":
        return f"{word[:place]} {word[place:]}" if place else word
    near = NEAR.get(word[place].lower()) if kind == "key" else None
    return word[:place] + generator.choice(near or letters or [word[place]]) + word[place + 1 :]
