"""Every number that a verb takes has a legal range, declared once; the table here is made from the verbs themselves."""

from __future__ import annotations

import inspect
import math
import re
import typing

import numpy as np
import pytest

import umekomi
from umekomi.cli.main import app, flag, main
from umekomi.errors import WrongUse
from umekomi.fields import Above, Within, problem
from umekomi.limits import LIMITS, check, checked, range_of


def numbers(function):
    """{name: int or float} of the parameters of a function that take one number."""
    found = {}
    for name, parameter in inspect.signature(inspect.unwrap(function), eval_str=True).parameters.items():
        kinds = [parameter.annotation]
        while any(typing.get_args(kind) for kind in kinds):
            kinds = [
                part
                for kind in kinds
                for part in (
                    typing.get_args(kind)[:1] if hasattr(kind, "__metadata__") else typing.get_args(kind) or [kind]
                )
                if not (hasattr(part, "__origin__") and part.__origin__ in (list, tuple))
            ]
        if {int, float} & set(kinds):
            found[name] = float if float in kinds else int
    return found


VERBS = {command.callback.__name__: command.callback for command in app.registered_commands}
OPTIONS = [(verb, name, kind) for verb, function in VERBS.items() for name, kind in numbers(function).items()]
WORDS = {
    "compare": ["bm25", "--data", "d"],
    "convert": ["m", "--out", "o"],
    "encode": ["m", "t.jsonl", "--out", "v.npy"],
    "evaluate": ["m", "--task", "t"],
    "index": ["m", "t.jsonl", "--out", "i"],
    "inspect": ["m"],
    "mine": ["m", "--data", "d", "--out", "n.jsonl"],
    "search": ["m", "q"],
    "serve": ["m"],
    "shrink": ["m", "--data", "d"],
    "train": ["lsa", "--data", "d", "--out", "m"],
}


def declared(name):
    """(the range of a parameter, whether it takes several numbers)"""
    hint = LIMITS[name]
    several = typing.get_origin(hint) is tuple
    return typing.get_args(typing.get_args(hint)[0] if several else hint)[1], several


def just_outside(limit):
    """The first whole numbers that a range does not hold, below and above."""
    below = limit.low if isinstance(limit, Above) or limit.ends[0] == "(" else limit.low - 1
    return [below] if isinstance(limit, Above) else [below, limit.high + 1]


def outside(limit, kind):
    """Numbers that an option may not have, as one writes them."""
    bad = ["-1e18", "nan", "inf", "-inf"] if kind is float else [str(-(10**18))]
    return bad + [str(kind(number)) for number in just_outside(limit)]


def test_the_table_is_whole():
    assert len(OPTIONS) >= 30
    assert {verb for verb, _, _ in OPTIONS} == set(WORDS)
    assert not {name for _, name, _ in OPTIONS} - set(LIMITS), "a number without a legal range"


@pytest.mark.parametrize(("verb", "name", "kind"), OPTIONS)
def test_a_number_outside_its_range_is_refused_before_anything_is_done(verb, name, kind, capsys, tmp_path, monkeypatch):
    import typer

    monkeypatch.chdir(tmp_path)
    option = flag(typer.main.get_command(app), verb, name)
    assert option.startswith("-")
    for value in outside(declared(name)[0], kind):
        assert main([verb, *WORDS[verb], f"{option}={value}" if option.startswith("--") else f"{option}{value}"]) == 2
        error = capsys.readouterr().err
        assert error.startswith(f"umekomi: {option}: expected {range_of(name)}, found "), error
        assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("verb", sorted(set(WORDS) - {"serve"}))
def test_the_python_function_refuses_the_same(verb):
    function = getattr(umekomi, verb)
    own = {name for name in inspect.signature(function).parameters if name in LIMITS}
    assert own >= {name for owner, name, _ in OPTIONS if owner == verb} - {"recall", "beam"}
    given = [None] * sum(
        parameter.default is parameter.empty and parameter.kind is not parameter.VAR_KEYWORD
        for parameter in inspect.signature(function).parameters.values()
    )
    for name in own:
        limit, several = declared(name)
        for bad in (math.nan, math.inf, 10**400, *just_outside(limit), *([] if several else ["3", True])):
            with pytest.raises(WrongUse, match=re.escape(f"{name}: expected {range_of(name)}, found ")):
                function(*given, **{name: [bad] if several else bad})


def test_what_inspect_writes_back_is_a_function_of_its_own():
    from umekomi.verbs.inspect import reconstruct

    for bad in (0, 10_001, math.nan, "3", True):
        with pytest.raises(WrongUse, match=re.escape(f"beam: expected {range_of('beam')}, found ")):
            reconstruct(None, None, beam=bad)


def test_what_a_range_holds():
    count, share = typing.Annotated[int, Within(1, 10, "[]")], typing.Annotated[float, Within(0, 1, "(]")]
    assert [problem(value, count) is None for value in (1, 10, np.int64(3), 0, 11, 2.5, 3.0, True, np.True_, "3")] == [
        *[True] * 3,
        *[False] * 7,
    ]
    values = (1, 0.5, np.float32(0.5), 0, 1.5, math.nan, -math.inf, 10**400, True, np.True_)
    assert [problem(value, share) is None for value in values] == [*[True] * 3, *[False] * 7]
    check("seed", None)
    check("bits", "all")
    check("no such parameter", -1)
    with pytest.raises(WrongUse, match="dims: expected a whole number from 1 to 2,147,483,647, found 0"):
        check("dims", [64, 0])
    assert checked(lambda seed=0: seed)(seed=5) == 5
    with pytest.raises(WrongUse, match="seed: expected a whole number from 0 to 4,294,967,295, found -1"):
        checked(lambda **options: options)(seed=-1)
    assert checked(lambda **options: options)(seed=1, other=-1) == {"seed": 1, "other": -1}


def test_help_shows_the_range(capsys):
    assert main(["encode", "--help"]) == 0
    assert "[a whole number from 1 to 2,147,483,647]" in " ".join(capsys.readouterr().out.split())
