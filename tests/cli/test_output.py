"""What goes to standard output is whole in any encoding, JSON is strict, and nothing but our own lines goes to standard
error."""

from __future__ import annotations

import io
import json
import logging
import math
import os
import sys
import warnings

import numpy as np
import pytest

from umekomi.cli import show
from umekomi.cli.main import main
from umekomi.errors import DataError, WrongUse
from umekomi.files import plain
from umekomi.statistics import Interval


def strict(text):
    def refuse(constant):
        raise ValueError(constant)

    return json.loads(text, parse_constant=refuse)


@pytest.fixture
def stream(monkeypatch):
    """Standard output in an encoding; what was written, in bytes."""

    def make(encoding):
        buffer = io.BytesIO()
        monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(buffer, encoding=encoding, write_through=True))
        return buffer

    return make


@pytest.fixture
def index(tmp_path):
    (tmp_path / "t.jsonl").write_text(json.dumps({"id": "é", "text": "埋め込み – “fruit” é 🍎"}) + "\n")
    assert main(["index", "hashing", str(tmp_path / "t.jsonl"), "--out", str(tmp_path / "i")]) == 0
    return str(tmp_path / "i")


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "shift_jis", "utf-8", "utf-16"])
def test_any_encoding_loses_nothing(stream, index, encoding):
    written = stream(encoding)
    assert main(["search", index, "fruit", "--json"]) == 0
    text = written.getvalue().decode(encoding if encoding.startswith("utf") else "ascii")
    assert strict(text)[0]["text"] == "埋め込み – “fruit” é 🍎"
    written = stream(encoding)
    assert main(["search", index, "fruit"]) == 0
    shown = written.getvalue().decode(encoding)
    assert "fruit" in shown
    assert ("埋" in shown) or ("\\u57cb" in shown)


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_every_verb_that_prints_a_table(stream, encoding):
    for words in (["recipes"], ["info", "poincare"], ["info", "pydocs"], ["--help"], ["search", "--help"]):
        written = stream(encoding)
        assert main(words) == 0
        assert written.getvalue()


def test_json_is_strict(capsys):
    show.as_json(
        {
            "figure": Interval(math.nan, -math.inf, 1.0),
            "numbers": np.array([[1.5, np.nan], [2, np.inf]], np.float32),
            "one": np.float32(np.nan),
            "count": np.int64(3),
            "flag": np.bool_(True),
            ("a", 1): {2: {"z", "b"}},
            "half": "\ud800",
        }
    )
    assert strict(capsys.readouterr().out) == {
        "figure": [None, None, 1.0],
        "numbers": [[1.5, None], [2.0, None]],
        "one": None,
        "count": 3,
        "flag": True,
        "('a', 1)": {"2": ["b", "z"]},
        "half": "\ud800",
    }
    assert plain(float("inf")) is None


def test_libraries_warnings_do_not_reach_the_terminal(capsys, monkeypatch):
    def noisy(*words, **options):
        warnings.warn("a library's", RuntimeWarning, stacklevel=1)
        warnings.warn("a library's", DeprecationWarning, stacklevel=1)
        logging.getLogger("some.library").warning("a library's")
        np.log(np.zeros(1))
        raise DataError("ours")

    monkeypatch.setattr("umekomi.verbs.info.info", noisy)
    monkeypatch.delenv("TRANSFORMERS_VERBOSITY", raising=False)
    showing, last, environment = warnings.showwarning, logging.lastResort, dict(os.environ)
    assert main(["info", "bm25"]) == 1
    assert capsys.readouterr().err == "umekomi: ours\n"
    assert (warnings.showwarning, logging.lastResort) == (showing, last), "as it was, in the caller's process"
    assert dict(os.environ) == environment


def test_errors_name_parameters_and_the_command_line_its_options(tmp_path, capsys):
    import umekomi

    (tmp_path / "t.jsonl").write_text('{"words": "a text"}\n')
    with pytest.raises(DataError, match="found words: name one with column$"):
        umekomi.search("random", "q", tmp_path / "t.jsonl")
    assert main(["search", "random", "q", "--in", str(tmp_path / "t.jsonl")]) == 1
    assert capsys.readouterr().err.endswith("found words: name one with --column\n")
    with pytest.raises(WrongUse, match="say what to search with source$"):
        umekomi.search("random", "q")
    assert main(["search", "random", "q"]) == 2
    assert capsys.readouterr().err.endswith("say what to search with --in\n")
    assert main(["evaluate", "random", "--task", "retrieval"]) == 2
    assert capsys.readouterr().err.endswith("name a set or a file with --data\n")


def test_no_message_of_the_library_names_an_option():
    """Wrong advice to whoever calls it from Python. Commands to type next, and the server's own, are meant."""
    import re
    from pathlib import Path

    import umekomi

    root = Path(umekomi.__file__).parent
    meant = {
        "comparison/leaderboard.py",
        "verbs/reproduce.py",
        "server/running.py",
        "server/app.py",
        "verbs/compare.py",
        "verbs/train.py",
    }
    for file in root.rglob("*.py"):
        name = file.relative_to(root).as_posix()
        if name.startswith("cli/") or name in meant:
            continue
        code = re.sub(r'""".*?"""', "", file.read_text(encoding="utf-8"), flags=re.S)
        lines = [line.split(" # ")[0] for line in code.splitlines() if "in Python" not in line]
        found = [line for line in lines if re.search(r"""["' ]--[a-z{][a-z-]*""", line)]
        assert not found, (name, found)


def test_a_stream_that_takes_nothing_more_is_one_line(monkeypatch, capsys):
    class Full(io.TextIOWrapper):
        def flush(self):
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(sys, "stdout", Full(io.BytesIO(), encoding="utf-8"))
    assert main(["recipes", "--json"]) == 1
    assert "No space left" in capsys.readouterr().err
