"""Parsed sentences in brackets, as the Penn and Stanford Sentiment Treebanks have them: ``(3 (2 A) (4 (3 lovely) (2
film)))``. A node is a label and then one word, or its children; read without recursion, however deep it is.

A node that has one child and no word is passed over: the child takes its label. More than two children are an error.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from umekomi.data.lines import check_encoding, read_lines
from umekomi.errors import DataError, where

_TOKEN = re.compile(r"[()]|[^ \t\r\n()]+")
"""A space that does not break stands within a word: the treebank's ``8 1\\/2``."""
_ESCAPES = {"-LRB-": "(", "-RRB-": ")", "-LSB-": "[", "-RSB-": "]", "-LCB-": "{", "-RCB-": "}"}


class Tree(NamedTuple):
    """The nodes of one sentence, children before their parent, the root last. ``words`` are those of the leaves in the
    order of the sentence; ``word`` int64 ``[nodes]`` which of them a node is (-1: none); ``children`` int64
    ``[nodes, 2]`` (-1 where it is a word); ``labels`` as they stand."""

    words: list[str]
    word: NDArray[np.int64]
    children: NDArray[np.int64]
    labels: list[str]

    @property
    def text(self) -> str:
        """The sentence, a space between two words."""
        return " ".join(self.words)


def parse_tree(line: str, source: str | None = None, number: int | None = None) -> Tree:
    """One tree; an error names the column where reading went wrong, and the line ``number`` of ``source``.

    >>> tree = parse_tree("(3 (2 A) (4 (3 lovely) (2 film)))")
    >>> tree.text, tree.labels, tree.children[-1].tolist()
    ('A lovely film', ['2', '3', '2', '4', '3'], [0, 3])
    """

    def wrong(column: int, expected: str, found: str) -> DataError:
        return DataError(f"{where(source, number)}, column {column + 1}: expected {expected}, found {found}")

    words: list[str] = []
    word: list[int] = []
    children: list[tuple[int, int]] = []
    labels: list[str] = []
    open_nodes: list[tuple[int, list[str], list[int]]] = []  # (where it opened, label and word, its children)
    done = False
    for match in _TOKEN.finditer(line):
        token, column = match.group(), match.start()
        if done:
            raise wrong(column, "the end of the line behind a whole tree", repr(token[:40]))
        if token == "(":
            if open_nodes and not open_nodes[-1][1]:
                raise wrong(column, "a label behind '('", "'('")
            if open_nodes and len(open_nodes[-1][1]) > 1:
                raise wrong(column, f"')' behind the word {open_nodes[-1][1][1]!r:.40}", "'('")
            open_nodes.append((column, [], []))
        elif not open_nodes:
            raise wrong(column, "a tree that begins with '('", repr(token[:40]))
        elif token != ")":
            own, below = open_nodes[-1][1:]
            if below:
                raise wrong(column, "'(' or ')' behind a child", repr(token[:40]))
            if len(own) == 2:
                raise wrong(column, f"')' behind the word {own[1]!r:.40}", repr(token[:40]))
            own.append(token)
        else:
            begun, own, below = open_nodes.pop()
            if not own:
                raise wrong(column, "a label behind '('", "')'")
            if len(own) == 2:
                words.append(_ESCAPES.get(own[1], own[1]))
                word.append(len(words) - 1)
                children.append((-1, -1))
                labels.append(own[0])
            elif len(below) == 1:
                labels[below[0]] = own[0]
            elif len(below) == 2:
                word.append(-1)
                children.append((below[0], below[1]))
                labels.append(own[0])
            else:
                what = f"{len(below)} children" if below else "neither"
                raise wrong(begun, "a node of one word or one or two children", what)
            node = below[0] if len(below) == 1 else len(labels) - 1
            if open_nodes:
                open_nodes[-1][2].append(node)
            done = not open_nodes
    if open_nodes:
        raise wrong(
            len(line.rstrip()), f"')' to close the '(' of column {open_nodes[-1][0] + 1}", "the end of the line"
        )
    if not done:
        raise wrong(0, "a tree in brackets", "nothing")
    return Tree(words, np.array(word, np.int64), np.array(children, np.int64).reshape(-1, 2), labels)


def parse_trees(lines: Iterable[str], source: str | None = None) -> Iterator[Tree]:
    """Every tree of ``lines``, one a line; empty ones are passed over."""
    for number, line in enumerate(lines, 1):
        if line.strip():
            yield parse_tree(line, source, number)


def read_trees(path: str | Path, encoding: str | None = None) -> pa.Table:
    """The column ``tree`` of a file with one tree a line (also gzipped), each of which can be parsed; empty lines are
    passed over. ``encoding``: of a file that is not UTF-8."""
    path = Path(path)
    trees = []
    for number, line in read_lines(path, path.suffix.lower() == ".gz", check_encoding(encoding)):
        if line.strip():
            parse_tree(line, str(path), number)
            trees.append(line.strip())
    if not trees:
        raise DataError(f"{path}: expected at least one tree, found none")
    return pa.table({"tree": pa.array(trees, pa.string())})
