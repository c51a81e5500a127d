"""The house, counted and drawn from its own source: ``python docs/house.py [FOLDER ...]``.

Prints, for each source folder (``src/umekomi`` where none is named), what the syntax trees say: files at the root,
circles of imports, parameters typed ``Any``, the length of recipes, how many places know a shape of data, a model's
name or a kind of model. ``--draw`` prints the rooms as a Mermaid picture instead, and ``--write`` puts it into
``docs/house.md``; a test fails when the page shows another picture than the imports give. ``--ways`` goes five ways
through the house (``docs/ways.py``), counts where they stay and climb, what a new thing touches and how long it takes
to start; with ``--write`` that table goes into the page.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import re
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from copy import deepcopy
from functools import cache
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from ways import WAYS

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src" / "umekomi"
PAGE = ROOT / "docs" / "house.md"
MARKS = {
    "rooms": ("<!-- rooms: drawn by python docs/house.py --write -->", "<!-- /rooms -->"),
    "ways": ("<!-- ways: counted by python docs/house.py --ways BEFORE AFTER --write -->", "<!-- /ways -->"),
}

GROUND = "ground"
"""The modules at the package's root, as one room."""

PLACES = {
    "places that know a shape of data": (
        r"(?<![.\w])(?:shape|shape_name|shape_of)\(",
        r"\b(?:SHAPES|TEXTS|GROUPS|OF_SHAPE|_COLUMNS|OBJECTIVES)\b",
        r"\b(?:task|\])\.shapes\b",
        r"(?<![.\w])(?<!for )shape (?:==|!=|in|not in) ",
        r"\.columns (?:==|!=) \(",
    ),
    "places that work out a model's name": (
        r"\bin (?:catalogue\.)?CATALOGUE\b",
        r"\bin BUILT_IN\b",
        r"\bcount\(\"/\"\)",
        r"\"(?:modules|config)\.json\"\)\.is_file\(",
    ),
    "places that know a kind of model": (
        r"(?<!task)(?<!self)\.kind (?:==|!=|in|not in) ",
        r"\bhasattr\([^)]*\"(?:encode|score|predict|embedder)\"",
        r"\bMODELS\b",
    ),
}
"""Patterns over source without comments and docstrings; a place is a line that at least one of them meets."""


def modules(source: Path) -> dict[str, ast.Module]:
    """Every module's syntax tree by its dotted name; a package has the name of its folder."""
    trees = {}
    for file in sorted(source.rglob("*.py")):
        parts = [source.name, *file.relative_to(source).with_suffix("").parts]
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        trees[name] = ast.parse(file.read_text(encoding="utf-8"))
    return trees


def imported(name: str, tree: ast.Module, known: Iterable[str]) -> set[str]:
    """Modules of the package that a module imports, at its top or within a function; not those that only type checkers
    read."""
    known = set(known)
    found: set[str] = set()
    for node in statements(tree):
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            targets = [f"{node.module}.{alias.name}" for alias in node.names]
            targets = [target if target in known else node.module for target in targets]
        else:
            continue
        found |= {target for target in targets if target in known}
    return found - {name}


def statements(tree: ast.AST) -> Iterator[ast.AST]:
    """All nodes but those under ``if TYPE_CHECKING``."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            continue
        yield node
        yield from statements(node)


def circles(arrows: Mapping[str, set[str]]) -> list[list[str]]:
    """Groups of modules each of which reaches all others of its group; the largest first (Tarjan 1972)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    groups: list[list[str]] = []

    def visit(name: str) -> None:
        index[name] = low[name] = len(index)
        stack.append(name)
        for target in sorted(arrows[name]):
            if target not in index:
                visit(target)
                low[name] = min(low[name], low[target])
            elif target in stack:
                low[name] = min(low[name], index[target])
        if low[name] == index[name]:
            start = stack.index(name)
            groups.append(sorted(stack[start:]))
            del stack[start:]

    for name in arrows:
        if name not in index:
            visit(name)
    return sorted((group for group in groups if len(group) > 1), key=len, reverse=True)


def annotations(trees: Iterable[ast.Module]) -> tuple[int, int]:
    """(parameters and returns typed ``Any``, parameters and returns in all); ``self`` and ``cls`` are none."""
    loose = total = 0
    for tree in trees:
        for node in ast.walk(tree):
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            arguments = node.args
            every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg]
            given = [each.annotation for each in every if each is not None and each.arg not in ("self", "cls")]
            given.append(node.returns)
            loose += sum(isinstance(each, ast.Name) and each.id == "Any" for each in given)
            total += len(given)
    return loose, total


def statement_count(tree: ast.Module) -> int:
    """Statements, which no width of lines changes."""
    return sum(isinstance(node, ast.stmt) for node in ast.walk(tree))


@cache
def code_lines(tree: ast.Module) -> list[str]:
    """The source of a module without comments and docstrings, as Python would write it."""
    tree = deepcopy(tree)
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            node.body = [
                each for each in body if not (isinstance(each, ast.Expr) and isinstance(each.value, ast.Constant))
            ] or [ast.Pass()]
    return ast.unparse(tree).replace("'", '"').splitlines()


def places(trees: Mapping[str, ast.Module], patterns: Iterable[str]) -> list[str]:
    """Where a line meets one of ``patterns``: ``module: line`` for each; imports are none."""
    pattern = re.compile("|".join(patterns))
    return [
        f"{name}: {line.strip()}"
        for name, tree in trees.items()
        for line in code_lines(tree)
        if pattern.search(line) and not re.match(r"\s*(?:from|import) ", line)
    ]


def counted(source: Path) -> dict[str, str]:
    """What there is to say of a source folder, in figures."""
    trees = modules(source)
    arrows = {name: imported(name, tree, trees) for name, tree in trees.items()}
    inside = {
        name: {each for each in targets if each.startswith(f"{source.name}.models.")}
        for name, targets in arrows.items()
        if name.startswith(f"{source.name}.models.")
    }
    loose, total = annotations(trees.values())
    recipes = {
        file.stem: len(file.read_text(encoding="utf-8").splitlines())
        for file in (source / "recipes").glob("*.py")
        if file.stem != "__init__"
    }
    written = {stem: statement_count(trees[f"{source.name}.recipes.{stem}"]) for stem in recipes}
    longest = max(recipes, key=lambda name: recipes[name])
    entries = [path for path in source.iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()]
    lines = sum(len(file.read_text(encoding="utf-8").splitlines()) for file in source.rglob("*.py"))
    rows = {
        "modules at the root": str(sum(path.suffix == ".py" for path in entries)),
        "folders at the root": str(sum(path.is_dir() for path in entries)),
        "modules": str(len(trees)),
        "lines": f"{lines:,}",
        "statements": f"{sum(statement_count(tree) for tree in trees.values()):,}",
        "circles in models/": told(circles(inside)),
        "circles overall": told(circles(arrows)),
        "parameters and returns typed Any": f"{loose} of {total:,}",
        "recipes: median lines": f"{statistics.median(recipes.values()):g}",
        "recipes: longest": f"{recipes[longest]} ({longest})",
        "recipes: median statements": f"{statistics.median(written.values()):g}",
        "recipes: most statements": f"{max(written.values())} ({max(written, key=lambda name: written[name])})",
    }
    for what, patterns in PLACES.items():
        found = places(trees, patterns)
        rows[what] = f"{len(found)} in {len({each.split(':')[0] for each in found})} modules"
    return rows


def told(groups: list[list[str]]) -> str:
    """The sizes of circles."""
    return f"{len(groups)}, of {', '.join(str(len(group)) for group in groups)} modules" if groups else "none"


# --- the picture ------------------------------------------------------------------------------------------------------


def rooms(source: Path = SOURCE) -> Counter[tuple[str, str]]:
    """How many modules of a room import how many of another: pairs (module, module) by (room, room)."""
    trees = modules(source)

    def room(name: str) -> str:
        parts = name.split(".")
        return parts[1] if len(parts) > 1 and (source / parts[1]).is_dir() else GROUND

    pairs = ((room(name), room(target)) for name, tree in trees.items() for target in imported(name, tree, trees))
    return Counter((above, below) for above, below in pairs if above != below)


def heights(arrows: Mapping[tuple[str, str], int]) -> dict[str, int]:
    """Each room's floor: one above the highest that it imports; arrows on a circle do not count."""
    below: dict[str, set[str]] = {}
    for one, other in arrows:
        below.setdefault(one, set()).add(other)
        below.setdefault(other, set())
    together = {room: number for number, group in enumerate(circles(below)) for room in group}

    def floor(room: str) -> int:
        lower = [each for each in below[room] if room not in together or together.get(each) != together[room]]
        return 1 + max((floor(each) for each in lower), default=-1)

    return {room: floor(room) for room in below}


def drawn(source: Path = SOURCE) -> str:
    """The rooms as a Mermaid flowchart, top floor first. An arrow is drawn where no way over a room between stands for
    it, and bears how many imports of modules it is; imports of the ground are left out, all rooms have them."""
    arrows = {pair: count for pair, count in rooms(source).items() if GROUND not in pair}
    below: dict[str, set[str]] = {}
    for one, other in arrows:
        below.setdefault(one, set()).add(other)
        below.setdefault(other, set())

    def reaches(start: str, goal: str, seen: frozenset[str] = frozenset()) -> bool:
        return any(
            each == goal or reaches(each, goal, seen | {start}) for each in below[start] if each not in seen | {start}
        )

    floors = heights(arrows)
    lines = ["```mermaid", "flowchart TD"]
    for floor in sorted(set(floors.values()), reverse=True):
        beside = [f"{room}[{room}/]" for room in sorted(floors) if floors[room] == floor]
        lines += [f"    {' ~~~ '.join(beside)}"]
    for (one, other), count in sorted(arrows.items(), key=lambda item: (-floors[item[0][0]], item)):
        if floors[one] <= floors[other]:
            lines.append(f"    {one} -. {count} .-> {other}")
        elif not any(each != other and reaches(each, other) for each in below[one]):
            lines.append(f"    {one} -- {count} --> {other}")
    return "\n".join([*lines, "```"])


def page_with(what: str, text: str, page: str) -> str:
    """The page with ``text`` between the marks of ``what``."""
    begin, end = MARKS[what]
    return re.sub(re.escape(begin) + ".*?" + re.escape(end), lambda _: f"{begin}\n{text}\n{end}", page, flags=re.DOTALL)


# --- the ways ---------------------------------------------------------------------------------------------------------


def walked(source: Path, way: str) -> list[tuple[str, int, str, str]]:
    """The calls from one module into another (module, line, function, module called) on one real run."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "docs" / "ways.py"), str(source), way],
        env={**os.environ, "PYTHONPATH": str(source.parent), "TOKENIZERS_PARALLELISM": "false"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"{way}, {source}: {done.stderr[-2000:]}")
    return [tuple(call) for call in json.loads(done.stdout.splitlines()[-1])]


def above(arrows: Mapping[str, set[str]]) -> dict[str, set[str]]:
    """What each module imports, directly or over others."""
    reached: dict[str, set[str]] = {}
    for name in arrows:
        seen: set[str] = set()
        waiting = [name]
        while waiting:
            for target in arrows[waiting.pop()] - seen:
                seen.add(target)
                waiting.append(target)
        reached[name] = seen
    return reached


def way_counts(source: Path) -> dict[str, str]:
    """Stays, climbs and rooms of every way."""
    trees = modules(source)
    reached = above({name: imported(name, tree, trees) for name, tree in trees.items()})
    rows = {}
    for way in WAYS:
        calls = walked(source, way)
        climbs = [
            (came, landed)
            for came, _, _, landed in calls
            if came and came in reached[landed] and landed not in reached[came]
        ]
        visited = {landed for *_, landed in calls}
        rooms_seen = {name.split(".")[1] if name.count(".") > 1 else GROUND for name in visited}
        rows[way] = f"stays {len(calls)}, modules {len(visited)}, rooms {len(rooms_seen)}, climbs {len(climbs)}"
    return rows


NAMED = {
    "shape": ("scored pairs", "labelled pairs", "judged pairs", "labelled texts", "hierarchy", "triples"),
    "recipe": ("bm25", "csr", "edrep", "fastsent", "lsa", "near2", "poincare", "simcse", "starspace", "static"),
    "kind of model": ("backbone", "bags", "entity", "static", "transformed"),
    "task": ("classification", "clustering", "link-prediction", "pair-classification", "reconstruction", "similarity"),
}
"""Of each sort some that all versions have, and whose names mean nothing else."""


def touched(trees: Mapping[str, ast.Module], names: Iterable[str]) -> list[int]:
    """For each name the modules whose code (not prose) names it; a new one of its sort may touch as many."""
    texts = {name: "\n".join(code_lines(tree)) for name, tree in trees.items()}
    return [sum(f'"{name}"' in text for text in texts.values()) for name in names]


def seconds(source: Path, *words: str) -> float:
    """The least of five starts."""
    took = []
    for _ in range(5):
        begun = time.perf_counter()
        subprocess.run(
            [sys.executable, *words],
            env={**os.environ, "PYTHONPATH": str(source.parent)},
            stdout=subprocess.DEVNULL,
            check=True,
        )
        took.append(time.perf_counter() - begun)
    return min(took)


def told_ways(sources: list[Path]) -> str:
    """The table of ways, of what a new thing touches, and of starts: a column for each source folder."""
    columns = []
    for source in sources:
        trees = modules(source)
        column = way_counts(source)
        for sort, names in NAMED.items():
            counts = touched(trees, names)
            column[f"modules that name one {sort}: median, most"] = f"{statistics.median(counts):g}, {max(counts)}"
        column["`import umekomi`, seconds"] = f"{seconds(source, '-c', 'import umekomi'):.2f}"
        column["`umekomi --help`, seconds"] = f"{seconds(source, '-m', 'umekomi', '--help'):.2f}"
        columns.append(column)
    heads = ["before", "now"] if len(columns) == 2 else [str(source) for source in sources]
    rows = [[key, *(column[key] for column in columns)] for key in columns[0]]
    return "\n".join(f"| {' | '.join(row)} |" for row in [["", *heads], ["---"] * (len(columns) + 1), *rows])


def main(words: list[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("folders", nargs="*", type=Path, help="source folders; src/umekomi where none is named")
    parser.add_argument("--draw", action="store_true", help="print the picture of the rooms")
    parser.add_argument("--ways", action="store_true", help="go five ways and count stays and climbs")
    parser.add_argument("--write", action="store_true", help="put the picture (or the ways) into docs/house.md")
    parser.add_argument("--places", action="store_true", help="print every line that was counted as a place")
    chosen = parser.parse_args(words)
    folders = [folder.resolve() for folder in chosen.folders] or [SOURCE]
    if chosen.draw:
        print(drawn(folders[0]))
    elif chosen.ways or chosen.write:
        what, text = ("ways", told_ways(folders)) if chosen.ways else ("rooms", drawn())
        if chosen.write:
            PAGE.write_text(page_with(what, text, PAGE.read_text(encoding="utf-8")), encoding="utf-8")
        else:
            print(text)
    elif chosen.places:
        for what, patterns in PLACES.items():
            print(f"{what}:", *places(modules(folders[0]), patterns), sep="\n  ")
    else:
        columns = [counted(folder) for folder in folders]
        print("| | " + " | ".join(str(folder) for folder in folders) + " |")
        print("|---" * (len(folders) + 1) + "|")
        for key in columns[0]:
            print(f"| {key} | " + " | ".join(column[key] for column in columns) + " |")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
