"""A small run of each kind of wrong request; ``python -m tests.fuzz.bodies`` makes the large ones."""

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("httptools")

from .bodies import run, wrong_with


def test_no_wrong_request_is_the_servers_fault(capsys):
    assert run(300, 0) == []
    said = capsys.readouterr().out
    assert said.startswith("300 cases of seed 0, 30 of them over sockets") and " 200: " in f" {said.splitlines()[1]}"


def test_it_would_find_one():
    kind = {"content-type": "application/json"}
    assert wrong_with(500, b"{}", {}) and wrong_with(0, b"", {})
    assert wrong_with(200, b'{"a":NaN}', kind) and wrong_with(200, b"{", kind)
    assert wrong_with(400, b'{"error":{"message":"a\\nb"}}', kind)
    assert not wrong_with(200, b'{"a":1}', kind) and not wrong_with(404, b'{"error":{"message":"a"}}', kind)
