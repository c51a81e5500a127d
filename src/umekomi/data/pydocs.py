"""The docstrings of the running Python's standard library as a retrieval set that needs neither network nor files.

Query: a docstring's first sentence. Document: qualified name, signature, and the rest of the docstring with that
sentence taken out (at least eight words left). Split by top-level module, so that nothing of a test module is trained
on. The set depends on the Python version: results name its fingerprint.
"""

from __future__ import annotations

import ast
import hashlib
import re
import sysconfig
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path

import pyarrow as pa

from umekomi.data.columns import Dataset
from umekomi.data.readers import retrieval

LEFT_OUT = frozenset(
    ["site-packages", "test", "tests", "idlelib", "lib2to3", "turtledemo", "ensurepip", "pydoc_data", "__pycache__"]
)
WORDS_LEFT = 8
QUERY_WORDS = 3


def first_sentence(text: str) -> str:
    """The first sentence of the first paragraph, or that paragraph when no sentence ends in it.

    >>> first_sentence("Return e.g. a list. More follows.")
    'Return e.g. a list.'
    >>> first_sentence("梅雨は雨季である。日本にある。")
    '梅雨は雨季である。'
    """
    paragraph = text.strip().split("\n\n")[0]
    end = 0
    for match in re.finditer(r"[.!?](?=\s|$)|[。！？]", paragraph):
        end = match.end()
        if not re.search(r"\b(e\.g|i\.e|etc|vs|cf)\.$", paragraph[:end]):
            return paragraph[:end].strip()
    return paragraph.strip()


def remove_sentence(text: str, sentence: str) -> str:
    """``text`` with every occurrence of ``sentence`` taken out, however its white space is laid.

    >>> remove_sentence("Open it. Then read\\nit. Open\\n  it.", "Open it.")
    'Then read\\nit.'
    """
    words = [match.span() for match in re.finditer(r"\S+", text)]
    flat, wanted = (_without_case(" ".join(each.split())) for each in (text, sentence))
    begins = [0, *accumulate(end - begin + 1 for begin, end in words)]  # of the words in flat

    def place(at: int) -> int:
        """Where in the text a letter of flat stands."""
        word = bisect_right(begins, at) - 1
        return words[word][0] + at - begins[word]

    kept, behind = [], 0
    at = flat.find(wanted) if wanted else -1
    while at >= 0:
        end = at + len(wanted)
        kept.append(text[behind : place(at)].rstrip(" \t"))
        behind = place(end - 1) + 1
        while text[behind : behind + 1] in (" ", "\t"):
            behind += 1
        at = flat.find(wanted, end)
    return "".join([*kept, text[behind:]]).strip()


def _without_case(text: str) -> str:
    return text.replace("\N{LATIN CAPITAL LETTER I WITH DOT ABOVE}", "i").lower()  # alone it becomes two letters


def _nodes(tree: ast.AST, prefix: str) -> Iterator[tuple[str, ast.AST]]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield f"{prefix}.{node.name}", node
            yield from _nodes(node, f"{prefix}.{node.name}")
        elif isinstance(node, (ast.If, ast.Try)):
            yield from _nodes(node, prefix)


def _signature(node: ast.AST) -> str:
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
        returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
        return f"({ast.unparse(node.args)}){returns}"
    if isinstance(node, ast.ClassDef) and node.bases:
        return f"({', '.join(ast.unparse(base) for base in node.bases)})"
    return ""


def _docstrings(root: Path) -> Iterator[tuple[str, str, str]]:
    """(qualified name, signature, docstring) of everything documented, in the order of the files."""
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        if LEFT_OUT.intersection(parts) or parts[0].startswith("config-"):
            continue
        try:
            tree = ast.parse(path.read_bytes())
        except SyntaxError:
            continue
        module = ".".join(part for part in parts if part != "__init__")
        for name, node in [(module, tree), *_nodes(tree, module)]:
            text = ast.get_docstring(node)  # type: ignore[arg-type]
            if text:
                yield name, _signature(node), text


def split_of(module: str) -> str:
    """The split of a top-level module: the same on every machine.

    >>> split_of("json") == split_of("json")
    True
    """
    bucket = hashlib.blake2b(module.encode(), digest_size=4).digest()
    share = int.from_bytes(bucket, "little") % 100
    return "train" if share < 42 else "dev" if share < 50 else "test"


def load(root: str | Path | None = None) -> Dataset:
    """All splits; ``notes`` says what was left out and how many."""
    root = Path(root or sysconfig.get_paths()["stdlib"])
    left_out: Counter[str] = Counter()
    queries: set[str] = set()
    documents: set[str] = set()
    rows: dict[str, list[tuple[str, str, str]]] = {"train": [], "dev": [], "test": []}
    for name, signature, text in _docstrings(root):
        query = " ".join(first_sentence(text).split())
        rest = remove_sentence(text, query)
        document = f"{name}{signature}\n{rest}"
        if len(query.split()) < QUERY_WORDS:
            left_out[f"first sentence under {QUERY_WORDS} words"] += 1
        elif len(rest.split()) < WORDS_LEFT:
            left_out[f"under {WORDS_LEFT} words left"] += 1
        elif query.lower() in queries or rest in documents:
            left_out["duplicate"] += 1
        elif query.lower() in " ".join(document.split()).lower():
            left_out["document contains its query"] += 1
        else:
            queries.add(query.lower())
            documents.add(rest)
            rows[split_of(name.split(".")[0])].append((name, query, document))
    splits = {}
    for split, found in rows.items():
        ids = [f"{index}:{name}" for index, (name, _, _) in enumerate(found)]
        splits[split] = retrieval(
            _table(id=ids, text=[query for _, query, _ in found]),
            _table(id=ids, text=[document for _, _, document in found]),
            _table(query_id=ids, corpus_id=ids, score=[1.0] * len(ids)),
        )
    kept = sum(len(found) for found in rows.values())
    counted = ", ".join(f"{count} ({why})" for why, count in sorted(left_out.items()))
    return Dataset("pydocs", splits, licence="PSF-2.0", notes=(f"{kept} pairs kept; left out: {counted}",))


def _table(**columns: list) -> object:  # type: ignore[type-arg]
    return pa.table(columns)
