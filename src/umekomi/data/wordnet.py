"""WordNet 3.0's noun hierarchy (Miller 1995) from the database files that Debian calls ``wordnet-base``, or from the
public archive: 82,115 noun synsets, 743,241 pairs in the transitive closure, instances included, which is the set of
the Poincaré paper (Nickel & Kiela 2017, section 4.1)."""

from __future__ import annotations

import os
from pathlib import Path

import pyarrow as pa

from umekomi.data.columns import Dataset
from umekomi.data.graphs import closure
from umekomi.errors import DataError, WrongUse
from umekomi.files import content_hash

HOME = "https://wordnetcode.princeton.edu/3.0/WNdb-3.0.tar.gz"
FOLDERS = ("/usr/share/wordnet", "/usr/share/wordnet-3.0/dict", "/usr/local/WordNet-3.0/dict")


def folder() -> Path:
    """Where the database files lie: ``WNSEARCHDIR``, the places packages put them, or the cache of a download."""
    for place in (os.environ.get("WNSEARCHDIR"), *FOLDERS):
        if place and (Path(place) / "data.noun").is_file():
            return Path(place)
    return _downloaded()


def _downloaded() -> Path:
    import tarfile
    import urllib.error
    import urllib.request

    from umekomi.files import cache_folder, whole_folder

    target = cache_folder() / "wordnet-3.0"
    if (target / "data.noun").is_file():
        return target
    try:
        archive, _ = urllib.request.urlretrieve(HOME)
    except (urllib.error.URLError, OSError) as error:
        raise WrongUse(
            f"WordNet's database files are not on this machine (looked in {', '.join(FOLDERS)}) and {HOME} cannot be "
            "reached "
            f"({error}): install the package wordnet-base, or set WNSEARCHDIR"
        ) from None
    with tarfile.open(archive) as files, whole_folder(target) as place:
        for member in files.getmembers():
            if member.isfile() and Path(member.name).name.startswith(("data.", "index.")):
                member.name = Path(member.name).name
                files.extract(member, place, filter="data")
    Path(archive).unlink()
    return target


def _records(file: Path) -> list[str]:
    """The lines of a database file behind its licence, whose lines are indented."""
    return [line for line in file.read_text("utf-8").splitlines() if not line.startswith("  ")]


def hypernyms(path: str | Path | None = None, pos: str = "noun") -> tuple[dict[int, str], list[tuple[int, int]]]:
    """(name by synset offset, direct (child, parent) edges by offset), hypernyms and instance hypernyms.

    Names are ``lemma.n.NN`` with the lemma's own sense number, as NLTK writes them.
    """
    path = Path(path) if path else folder()
    letter = {"noun": "n", "verb": "v"}[pos]
    senses: dict[tuple[str, int], int] = {}
    for line in _records(path / f"index.{pos}"):
        fields = line.split()
        count = int(fields[2])
        for number, place in enumerate(fields[-count:], 1):
            senses[fields[0], int(place)] = number
    names: dict[int, str] = {}
    edges = []
    for line in _records(path / f"data.{pos}"):
        fields = line.split(" | ")[0].split()
        offset, words = int(fields[0]), int(fields[3], 16)
        lemma = fields[4].lower()
        sense = senses.get((lemma, offset))
        if sense is None:
            raise DataError(
                f"{path / f'data.{pos}'}: synset {fields[0]}: expected {lemma!r} in index.{pos}, found no such sense"
            )
        names[offset] = f"{lemma}.{letter}.{sense:02d}"
        pointers = fields[4 + 2 * words + 1 :]
        for index in range(int(fields[4 + 2 * words])):
            symbol, target, target_pos, _ = pointers[4 * index : 4 * index + 4]
            if symbol in ("@", "@i") and target_pos == letter:
                edges.append((offset, int(target)))
    return names, edges


def load(path: str | Path | None = None, pos: str = "noun") -> Dataset:
    """The closure as one split ``train`` with columns child, parent."""
    names, edges = hypernyms(path, pos)
    pairs = closure(edges)
    table = pa.table({"child": [names[child] for child, _ in pairs], "parent": [names[parent] for _, parent in pairs]})
    note = f"{len(names):,} synsets, {len(edges):,} direct edges, {len(pairs):,} pairs in the closure"
    return Dataset(f"wordnet-{pos}s", {"train": table}, licence="WordNet", notes=(note,))


def descendants(root: str, path: str | Path | None = None) -> Dataset:
    """The part of the noun closure below ``root`` ("mammal.n.01"), itself included: child, parent."""
    names, edges = hypernyms(path)
    pairs = [(names[child], names[parent]) for child, parent in closure(edges)]
    inside = {child for child, parent in pairs if parent == root} | {root}
    if len(inside) < 2:
        raise WrongUse(f"{root!r}: expected the name of a noun synset with hyponyms, such as 'mammal.n.01'")
    kept = [(child, parent) for child, parent in pairs if child in inside and parent in inside]
    table = pa.table({"child": [child for child, _ in kept], "parent": [parent for _, parent in kept]})
    return Dataset(
        f"wordnet-{root.split('.')[0]}s",
        {"train": table},
        licence="WordNet",
        notes=(f"{len(inside):,} synsets, {len(kept):,} pairs",),
    )


def glosses(path: str | Path | None = None) -> Dataset:
    """Definitions of nouns, verbs, adjectives and adverbs, as one split ``train``: anchor = the definition (without its
    examples), positive = a word of the synset, one row a word; words of several parts ("ice cream") are left out and
    counted."""
    place = Path(path) if path else folder()
    definitions, words, several = [], [], 0
    for pos in ("noun", "verb", "adj", "adv"):
        for line in _records(place / f"data.{pos}"):
            head, _, gloss = line.partition(" | ")
            fields = head.split()
            definition = gloss.split('; "')[0].strip()
            for word in fields[4 : 4 + 2 * int(fields[3], 16) : 2]:
                word = word.split("(")[0].lower()
                if "_" in word:
                    several += 1
                elif definition:
                    definitions.append(definition)
                    words.append(word)
    table = pa.table({"anchor": definitions, "positive": words})
    return Dataset(
        "wordnet-glosses", {"train": table}, licence="WordNet", notes=(f"{several:,} words of several parts left out",)
    )


LEXICOGRAPHER_FILES = [
    "adj.all",
    "adj.pert",
    "adv.all",
    "noun.Tops",
    "noun.act",
    "noun.animal",
    "noun.artifact",
    "noun.attribute",
    "noun.body",
    "noun.cognition",
    "noun.communication",
    "noun.event",
    "noun.feeling",
    "noun.food",
    "noun.group",
    "noun.location",
    "noun.motive",
    "noun.object",
    "noun.person",
    "noun.phenomenon",
    "noun.plant",
    "noun.possession",
    "noun.process",
    "noun.quantity",
    "noun.relation",
    "noun.shape",
    "noun.state",
    "noun.substance",
    "noun.time",
    "verb.body",
    "verb.change",
    "verb.cognition",
    "verb.communication",
    "verb.competition",
    "verb.consumption",
    "verb.contact",
    "verb.creation",
    "verb.emotion",
    "verb.motion",
    "verb.perception",
    "verb.possession",
    "verb.social",
    "verb.stative",
    "verb.weather",
    "adj.ppl",
]
"""By number, as lexnames(5WN) lists them."""


def topics(path: str | Path | None = None) -> Dataset:
    """Which of WordNet's lexicographer files a noun's or verb's definition is from: text, label, 41 classes
    ("noun.animal"). A fifth, by hash of the text, is ``test``; a definition in two files is left out and counted."""
    place = Path(path) if path else folder()
    members: dict[str, set[str]] = {}
    for pos in ("noun", "verb"):
        for line in _records(place / f"data.{pos}"):
            head, _, gloss = line.partition(" | ")
            definition = gloss.split('; "')[0].strip()
            if definition:
                members.setdefault(definition, set()).add(LEXICOGRAPHER_FILES[int(head.split()[1])])
    rows = [
        (text, next(iter(files)), int(content_hash(text)[:8], 16) % 5 == 0)
        for text, files in members.items()
        if len(files) == 1
    ]
    splits = {
        split: pa.table(
            {
                "text": [text for text, _, held in rows if held == test],
                "label": [label for _, label, held in rows if held == test],
            }
        )
        for split, test in (("train", False), ("test", True))
    }
    note = f"{len(members) - len(rows):,} definitions that stand in several files left out"
    return Dataset("wordnet-topics", splits, licence="WordNet", notes=(note,))
