"""The guide's worked example works as it is printed, and README's numbers are those of results/."""

from __future__ import annotations

import ast
import importlib.util
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import TEXTS

ROOT = Path(__file__).resolve().parents[1]


def module(path: Path, name: str):
    spec = importlib.util.spec_from_file_location(name, path)
    made = importlib.util.module_from_spec(spec)
    sys.modules[name] = made
    spec.loader.exec_module(made)
    return made


def of_guide(page: str, name: str, folder: Path):
    """(the recipe's class, the test's function, a ``get`` that knows the recipe) of a guide's code."""
    from umekomi.recipes import Recipe, get

    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    recipe, test = re.findall(r"```python\n(.*?)```", text, re.DOTALL)[:2]
    assert f"`src/umekomi/recipes/{name}.py`" in text and len(recipe.splitlines()) <= 120
    (folder / f"{name}.py").write_text(recipe, encoding="utf-8")
    made = module(folder / f"{name}.py", name)
    (kind,) = (
        each
        for each in vars(made).values()
        if isinstance(each, type) and issubclass(each, Recipe) and each.__module__ == name
    )
    scope = {"get": lambda wanted: kind if wanted == name else get(wanted), "TEXTS": TEXTS, "pytest": pytest, "np": np}
    asked = scope["get"]
    exec(test, scope)
    scope["get"] = asked  # where the block brings its own, that one does not know the guide's recipe
    (tried,) = (value for key, value in scope.items() if key.startswith("test_"))
    return kind, tried, asked


def test_the_worked_example_of_the_guide(tmp_path):
    kind, tried, _ = of_guide("add-a-recipe.md", "sif", tmp_path)
    tried()
    assert kind().settings() == {"recipe": "sif", "a": 1e-3}


@pytest.mark.parametrize(("page", "name"), [("add-a-network.md", "dan"), ("add-a-scorer.md", "relatedness")])
def test_the_other_guides_code_runs_and_keeps_what_recipes_promise(page, name, tmp_path, monkeypatch):
    """Its own test, and the battery that every recipe passes."""
    pytest.importorskip("sentence_transformers")
    monkeypatch.syspath_prepend(str(ROOT / "tests" / "recipes"))
    import battery

    _, tried, get = of_guide(page, name, tmp_path)
    tried()
    base = get("lsa")(dimensions=4, vocabulary=80).fit({"text": battery.TEXTS})
    monkeypatch.setattr(battery, "get", get)
    monkeypatch.setattr(battery, "start", lambda asked: base)
    monkeypatch.setattr(battery, "FIXED", battery.FIXED | {"relatedness"})
    model = battery.check_recipe(name, tmp_path, monkeypatch)
    assert battery.check_fields_of(name) >= 1
    battery.check_data_of(name)
    from umekomi.models import load

    assert np.array_equal(battery.answers_of(load(tmp_path / "model")), battery.answers_of(model))


def test_the_layer_of_the_guide_gives_a_text_its_vector_whatever_the_batch():
    torch = pytest.importorskip("torch")
    from umekomi.parts.layers.sentence import WordNetwork, padded

    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "add-a-network.md").read_text("utf-8"), re.DOTALL)
    scope = {"__name__": "gated"}
    exec(blocks[2], scope)
    torch.manual_seed(0)
    network = WordNetwork(9, 4, scope["GatedEncoder"](4, **scope["GatedEncoder"](4, width=5).settings())).eval()
    rows = [np.array(row, np.int64) for row in ([1, 2, 3], [4], [], [5, 6, 7, 8, 1, 2])]
    with torch.inference_mode():
        together = network(*padded(rows)).vectors
        for row, vector in zip(rows, together, strict=True):
            assert vector.numpy() == pytest.approx(network(*padded([row])).vectors[0].numpy(), abs=1e-6)
        assert not together[2].any()


def test_the_tables_of_the_pages_are_what_results_say():
    tables = module(ROOT / "docs" / "tables.py", "tables")
    for name, (file, _) in tables.BLOCKS.items():
        assert tables.block(name) in (ROOT / file).read_text(encoding="utf-8"), f"{file}, {name}: run make tables"


def test_ranks_are_two_columns_joined_by_lines():
    import xml.etree.ElementTree as ET

    tables = module(ROOT / "docs" / "tables.py", "tables")
    left = {name: {"value": str(value)} for name, value in (("a & b", 0.5), ("c", 0.7), ("d", 0.6))}
    right = {name: {"value": str(value)} for name, value in (("a & b", 0.3), ("c", 0.1), ("d", 0.2))}
    drawn = ET.fromstring(tables.ranks_picture(left, right))
    columns: dict[str, list] = {}
    for each in drawn.iter("text"):
        if "font-weight" not in each.attrib:
            columns.setdefault(each.get("x"), []).append((float(each.get("y")), each.text))
    told = [[text for _, text in sorted(column)] for column in columns.values()]
    assert told == [["c 0.700", "d 0.600", "a & b 0.500"], ["a & b 0.300", "d 0.200", "c 0.100"]]
    places = [{text.rpartition(" ")[0]: y for y, text in column} for column in columns.values()]
    lines = [re.findall(r"-?[\d.]+", path.get("d")) for path in drawn.iter("path")]
    found = sorted((float(line[1]), float(line[-1])) for line in lines)
    assert found == sorted((places[0][arm] - 4, places[1][arm] - 4) for arm in left), "each joined to itself"


def test_all_31_systems_are_listed():
    lines = (ROOT / "docs" / "systems.csv").read_text().splitlines()[1:]
    assert [line.split(",")[0] for line in lines] == [f"S{i:02d}" for i in range(1, 32)]


def test_results_have_the_columns_of_the_books():
    import csv

    from umekomi.verbs.reproduce import COLUMNS

    for file in (ROOT / "results").glob("*.csv"):
        rows = list(csv.DictReader(file.open(newline="", encoding="utf-8")))
        assert tuple(rows[0]) == COLUMNS, file
        for row in rows:
            assert float(row["low"]) <= float(row["value"]) <= float(row["high"]), (file, row["arm"])


def test_reproduce_replaces_its_own_rows_only(tmp_path):
    from umekomi.errors import WrongUse
    from umekomi.verbs.reproduce import COLUMNS, record, reproduce

    row = dict.fromkeys(COLUMNS, "") | {"claim": "a", "arm": "x"}
    record(tmp_path / "r.csv", "a", [row])
    record(tmp_path / "r.csv", "b", [row | {"claim": "b"}])
    record(tmp_path / "r.csv", "a", [row | {"arm": "y"}])
    lines = (tmp_path / "r.csv").read_text().splitlines()
    assert len(lines) == 3
    assert any(",y," in line for line in lines)
    assert not any("a,x" in line for line in lines)
    with pytest.raises(WrongUse, match="no claim named 'nonsense'"):
        reproduce("nonsense", place=ROOT)


def test_every_verb_has_a_page_of_its_own():
    pytest.importorskip("mkdocs")
    from umekomi.cli.main import app

    hooks = module(ROOT / "docs" / "hooks.py", "docs_hooks")
    verbs = {command.callback.__name__ for command in app.registered_commands}
    assert verbs == set(hooks.VERBS)
    pages = {hooks.page("verbs", verb) for verb in verbs} | {"verbs/index.md"}
    assert len(pages) == len(verbs) + 1


def test_the_picture_of_the_rooms_is_what_the_imports_give():
    house = module(ROOT / "docs" / "house.py", "house")
    page = (ROOT / "docs" / "house.md").read_text(encoding="utf-8")
    assert house.page_with("rooms", house.drawn(), page) == page, "run make house"
    rooms = {room for pair in house.rooms() for room in pair}
    told = {word.strip("`/") for word in re.findall(r"^\| (`\w+/`|ground) \|", page, re.MULTILINE)}
    assert told == rooms


def test_the_house_is_counted_rightly(tmp_path):
    house = module(ROOT / "docs" / "house.py", "house")
    files = {
        "__init__.py": "",
        "errors.py": "class Fault(Exception):\n    'A fault.'\n",
        "models/__init__.py": "",
        "models/a.py": "from typing import TYPE_CHECKING, Any\nif TYPE_CHECKING:\n    from pack.recipes import one\n"
        "from pack.models import b\ndef load(name: Any, kind: str = 'x') -> Any:\n    'shape(x)'\n"
        "    return name.kind == 'text'\n",
        "models/b.py": "def f(x):\n    from pack.models.a import load\n    return load(x)\n",
        "recipes/__init__.py": "",
        "recipes/one.py": "from pack.models.a import load\nfrom pack import errors\n",
    }
    for name, source in files.items():
        (tmp_path / "pack" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "pack" / name).write_text(source)
    found = house.counted(tmp_path / "pack")
    assert (found["modules at the root"], found["folders at the root"], found["modules"]) == ("2", "2", "7")
    assert found["circles in models/"] == found["circles overall"] == "1, of 2 modules"
    assert found["parameters and returns typed Any"] == "2 of 5"
    assert found["recipes: longest"] == "2 (one)"
    assert found["places that know a kind of model"] == "1 in 1 modules"
    assert found["places that know a shape of data"] == "0 in 0 modules", "a docstring is no place"
    assert dict(house.rooms(tmp_path / "pack")) == {("recipes", "models"): 1, ("recipes", "ground"): 1}
    assert "recipes -- 1 --> models" in house.drawn(tmp_path / "pack")


def test_the_ways_are_walked_and_climbs_are_against_the_imports(tmp_path):
    """One way on the real source; the counting on a package of three modules."""
    house = module(ROOT / "docs" / "house.py", "house")
    calls = house.walked(house.SOURCE, "(c) a query through `search`")
    assert ("umekomi.verbs.search", "umekomi.indexes.index") in {(came, landed) for came, _, _, landed in calls}
    assert house.above({"a": {"b"}, "b": {"c"}, "c": set()}) == {"a": {"b", "c"}, "b": {"c"}, "c": set()}
    page = (ROOT / "docs" / "house.md").read_text(encoding="utf-8")
    assert all(f"| {way} |" in page for way in house.WAYS), "run python docs/house.py --ways BEFORE AFTER --write"
    trees = house.modules(house.SOURCE)
    for names in house.NAMED.values():
        assert all(house.touched(trees, names)), "each is named somewhere"


def functions_of(body, name="", own=None):
    """(name, function, its docstring's text) of all public functions, methods and classes; ``__init__`` is told by its
    class."""
    for node in body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield from functions_of(node.body, f"{name}{node.name}.", node)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            decorators = " ".join(ast.unparse(each) for each in node.decorator_list)
            if "njit" in decorators or "overload" in decorators:  # a compiled loop's arrays are told in one piece
                continue
            if node.name == "__init__" and own is not None:
                yield name.rstrip("."), node, ast.get_docstring(own) or ""
            elif not node.name.startswith("_"):
                yield name + node.name, node, ast.get_docstring(node) or ""


def test_seven_parameters_are_told_one_by_one():
    """From seven parameters on, a docstring has ``Args:`` with a line for each. The command line tells its own by its
    help."""
    source, wanting, seen = ROOT / "src" / "umekomi", [], 0
    for file in sorted(source.rglob("*.py")):
        if file.relative_to(source).parts[0] == "cli":
            continue
        for name, node, doc in functions_of(ast.parse(file.read_text(encoding="utf-8")).body):
            arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            names = [each.arg for each in arguments if each.arg not in ("self", "cls")]
            if len(names) >= 7:
                seen += 1
                told = re.findall(r"^ +\**(\w+): ", doc.partition("Args:\n")[2], re.MULTILINE)
                if told[: len(names)] != names:
                    wanting.append(
                        f"{file.relative_to(source)}: {name}: {[each for each in names if each not in told]}"
                    )
    assert seen > 40
    assert not wanting, "\n".join(wanting)
