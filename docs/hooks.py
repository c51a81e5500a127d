"""Pages made from the code when the site is built: one a verb (its help and its Python function), one a recipe (its
docstring, its fields, its rows in results/), and the systems table. Nothing that is generated lies in git."""

from __future__ import annotations

import csv
import inspect
import sys
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "docs"), str(ROOT)]

import tables  # noqa: E402

from tests.parity import table as parity_table  # noqa: E402

VERBS = (
    "compare",
    "train",
    "encode",
    "evaluate",
    "inspect",
    "shrink",
    "index",
    "search",
    "serve",
    "mine",
    "convert",
    "recipes",
    "info",
    "reproduce",
)


def page(folder: str, name: str) -> str:
    """A page's place: ``index`` is the folder's own, so that the verb of this name gets another."""
    return "/".join(part for part in (folder, f"{'index-verb' if name == 'index' else name}.md") if part)


def on_config(config: Any) -> Any:
    """The generated pages in the navigation."""
    from umekomi.recipes import names

    for entry in config.nav:
        for title, kinds in (("Verbs", VERBS), ("Recipes", names())):
            if entry.get(title) == f"{title.lower()}/":
                entry[title] = [f"{title.lower()}/index.md", *({kind: page(title.lower(), kind)} for kind in kinds)]
    return config


def on_files(files: Files, config: Any) -> Files:
    """Add the generated pages."""
    pages = {page("verbs", verb): verb_page(verb) for verb in VERBS}
    from umekomi.recipes import names

    pages |= {f"recipes/{name}.md": recipe_page(name) for name in names()}
    pages["speed.md"] = tables.benchmarks_page()
    pages["bytes.md"] = tables.bytes_page()
    pages["bits.md"] = tables.bits_page()
    pages["ranks.md"] = tables.ranks_page()
    pages["parity.md"] = parity_page()
    pages["systems.md"] = "# The systems\n\n" + tables.systems_table(site=True) + "\n"
    pages["verbs/index.md"] = "# Verbs\n\nEach verb is a Python function of the same name first.\n\n" + "".join(
        f"- [{verb}]({page('', verb)})\n" for verb in VERBS
    )
    pages["recipes/index.md"] = "# Recipes\n\n" + "".join(f"- [{name}]({name}.md)\n" for name in names())
    for uri, content in pages.items():
        files.append(File.generated(config, uri, content=content))
    return files


def parity_page() -> str:
    """What is compared with a reference, and how near it must be."""
    return f"""# As elsewhere

What has a reference is compared with the reference's own outputs on small fixed inputs, each time the tests run; the
differences are absolute. `make parity` prints how far each is today; `python -m tests.parity.references` makes the
references anew.

{parity_table()}
"""


def verb_page(verb: str) -> str:
    """The command's help, and the function behind it."""
    import typer

    from umekomi.cli.main import app

    command = typer.main.get_command(app).commands[verb]
    context = typer.Context(command, info_name=f"umekomi {verb}", terminal_width=100)
    target = {"recipes": "umekomi.verbs.info.recipes_table", "info": "umekomi.verbs.info.info"}.get(verb)
    import umekomi

    function = getattr(umekomi, verb, None)
    target = target or f"{function.__module__}.{verb}"
    return f"# umekomi {verb}\n\n```text\n{command.get_help(context)}\n```\n\n::: {target}\n"


def recipe_page(name: str) -> str:
    """Module docstring, claim, fields with both settings, measured rows."""
    from umekomi.data.shapes import RETRIEVAL, SHAPES
    from umekomi.fields import declared, describe
    from umekomi.recipes import get

    kind = get(name)
    module = inspect.getmodule(kind)
    presets = {"paper": kind(), "two cores (`--small`)": kind.small()} | {
        f"`--preset {preset}`": getattr(kind, preset)() for preset in kind.presets
    }
    told = [preset.settings() for preset in presets.values()]
    legal = {key: describe(hint) for key, hint in declared(kind).items()}
    fields = "\n".join(
        f"| `{key}` | {' | '.join(f'`{each[key]!r}`' for each in told)} | {legal[key]} |"
        for key in told[0]
        if key != "recipe"
    )
    install = f"`umekomi[{kind.extra}]`" if kind.extra else "light"
    parts = [
        f"# {name}",
        inspect.getdoc(kind) or "",
        f"**Paper:** {kind.paper.cite()}  \n**Learns from:** "
        f"{'; '.join(str(SHAPES.get(each, RETRIEVAL)) for each in kind.learns) or 'nothing'}  \n"
        f"**Begins from:** {kind.begins or 'nothing'}  \n**Makes:** {kind.makes}  \n**Install:** {install}",
        "## The method",
        inspect.getdoc(module) or "",
    ]
    if fields:
        parts += [
            "## Fields",
            "| field | " + " | ".join(presets) + " | expected |\n" + "|---" * (len(presets) + 2) + "|\n" + fields,
        ]
    rows = results(name)
    if rows:
        columns = ("claim", "arm", "data", "metric", "value", "low", "high", "seeds", "paper")
        lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
        lines += ["| " + " | ".join(row[column] for column in columns) + " |" for row in rows]
        about = rows[0]
        parts += [
            "## Measured",
            "\n".join(lines),
            f"{about['hardware']}; {about['versions']}; commit {about['commit']}; {about['date']}. Measure again: "
            f"`umekomi reproduce {name}`.",
        ]
    return "\n\n".join(parts) + "\n"


def results(name: str) -> list[dict[str, str]]:
    """The recipe's rows in results/."""
    file = ROOT / "results" / f"{name}.csv"
    return list(csv.DictReader(file.open(encoding="utf-8", newline=""))) if file.is_file() else []
