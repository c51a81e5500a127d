"""Ways through the house, counted on real runs: ``python docs/house.py --ways FOLDER ...`` runs this file once for each
source folder and each way, with that folder's umekomi.

A *stay* is a visit to a module: a call site in one module whose call lands in another, counted once however often a
loop takes it. A *climb* is a stay in a module that stands above the one it is called from: it imports it, directly or
over others, and is not imported by it. *Rooms* are the folders of the modules visited. What runs while modules are
imported is left out: every way is gone once before it is counted.
"""

from __future__ import annotations

import json
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

TEXTS = ["the cat sat on the mat", "a dog ran in the park", "bread is baked in an oven", "shares fell on monday"]
ROWS = {"anchor": [f"what of {text}" for text in TEXTS], "positive": TEXTS}


def encode(folder: Path) -> Callable[[], Any]:
    """(a) a text through ``encode``."""
    import umekomi

    source = folder / "texts.txt"
    source.write_text("\n".join(TEXTS) + "\n")
    model, runs = umekomi.load("hashing"), iter(range(9))
    return lambda: umekomi.encode(model, source, folder / f"vectors-{next(runs)}.npy")


def training(name: str) -> Callable[[Path], Callable[[], Any]]:
    """(b) a pair through training."""

    def prepare(folder: Path) -> Callable[[], Any]:
        from dataclasses import replace

        import umekomi
        from umekomi.recipes import get

        recipe = replace(get(name).small(), batch_size=4, max_length=16)
        start = umekomi.load("minilm")
        return lambda: recipe.fit(dict(ROWS), start=start)

    return prepare


def search(folder: Path) -> Callable[[], Any]:
    """(c) a query through ``search``."""
    import umekomi

    source = folder / "texts.txt"
    source.write_text("\n".join(TEXTS) + "\n")
    umekomi.index("hashing", source, folder / "index")
    return lambda: umekomi.search(str(folder / "index"), "cat", k=2)


def request(folder: Path) -> Callable[[], Any]:
    """(d) a request to the server, for an embedding."""
    from starlette.testclient import TestClient

    import umekomi
    from umekomi.server.app import Settings
    from umekomi.server.routes import application

    umekomi.load("hashing").save(folder / "model")
    asked = TestClient(application([folder / "model"], settings=Settings(hosts=frozenset({"testserver"}))))
    asked.__enter__()
    body = {"model": "model", "input": TEXTS}

    def ask() -> None:
        answer = asked.post("/v1/embeddings", json=body)
        assert answer.status_code == 200, answer.text

    return ask


def candidate(folder: Path) -> Callable[[], Any]:
    """(e) a candidate through ``compare``."""
    import umekomi

    rows = [dict(zip(ROWS, pair, strict=True)) for pair in zip(*ROWS.values(), strict=True)]
    runs = iter(range(9))
    return lambda: umekomi.compare(["hashing"], rows, out=folder / f"comparison-{next(runs)}")


WAYS = {
    "(a) a text through `encode`": encode,
    "(b) a pair through near2": training("near2"),
    "(b) a pair through simcse": training("simcse"),
    "(c) a query through `search`": search,
    "(d) a request to the server": request,
    "(e) a candidate through `compare`": candidate,
}


class Tracer:
    """Calls from one module of the package into another, on every thread."""

    def __init__(self, source: Path) -> None:
        self.source = source
        self.calls: set[tuple[str, int, str, str]] = set()
        self.names: dict[CodeType, str] = {}

    def module(self, frame: FrameType) -> str:
        """The module that a frame runs in; empty outside the package."""
        code = frame.f_code
        if code not in self.names:
            file = Path(code.co_filename)
            inside = file.is_absolute() and file.is_relative_to(self.source) and code.co_name != "<module>"
            parts = [self.source.name, *file.relative_to(self.source).with_suffix("").parts] if inside else []
            self.names[code] = ".".join(parts[:-1] if parts[-1:] == ["__init__"] else parts)
        return self.names[code]

    def __call__(self, frame: FrameType, event: str, _: Any) -> None:
        if event != "call" or not (landed := self.module(frame)):
            return
        caller = frame.f_back
        while caller is not None and not self.module(caller):
            caller = caller.f_back
        if caller is None:
            self.calls.add(("", 0, "", landed))
        elif (came := self.module(caller)) != landed:
            self.calls.add((came, caller.f_lineno, caller.f_code.co_name, landed))

    def trace(self, walk: Callable[[], Any]) -> None:
        """Go the way with every call watched."""
        threading.setprofile(self)
        sys.setprofile(self)
        try:
            walk()
        finally:
            sys.setprofile(None)
            threading.setprofile(None)  # type: ignore[arg-type]  # typeshed forgets that None takes it away


def main() -> None:
    """``ways.py SOURCE WAY``: the calls of the way as JSON."""
    source, way = Path(sys.argv[1]).resolve(), sys.argv[2]
    tracer = Tracer(source)
    with tempfile.TemporaryDirectory() as folder:
        threading.setprofile(tracer)  # threads that the first walk starts are there for the second
        walk = WAYS[way](Path(folder))
        walk()
        tracer.calls.clear()
        tracer.trace(walk)
    print(json.dumps(sorted(tracer.calls)), flush=True)


if __name__ == "__main__":
    main()
