"""What tests share: the offline data where it is, the packaged model once, and a way to run in a fresh process."""

from __future__ import annotations

import copy
import gc
import json
import os
import re
import subprocess
import sys
from itertools import compress
from operator import not_
from pathlib import Path

import numpy as np
import pytest
import zygote

collect_ignore = ["fixtures"]  # made by the code of earlier commits, whose modules had other names
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
if (
    "PYTEST_XDIST_WORKER_COUNT" in os.environ
):  # each worker its share of the cores: more threads wait for each other, busily
    share = max(1, (os.cpu_count() or 1) // int(os.environ["PYTEST_XDIST_WORKER_COUNT"]))
    os.environ.setdefault("OMP_NUM_THREADS", str(share))


ROUNDS = int(os.environ.get("UMEKOMI_ROUNDS", "10"))
"""Kills and cuts of a test of them; ``make test-all`` makes ten times as many."""


def pack() -> Path | None:
    """The data pack: UMEKOMI_DATA, or shared/data beside the checkout."""
    for place in (os.environ.get("UMEKOMI_DATA"), Path(__file__).resolve().parents[2] / "shared" / "data"):
        if place and (Path(place) / "stsb").is_dir():
            return Path(place)
    return None


needs_data = pytest.mark.skipif(pack() is None, reason="the data pack is not on this machine (UMEKOMI_DATA)")


@pytest.fixture(scope="session", autouse=True)
def _data_root() -> None:
    if pack() is not None:
        os.environ["UMEKOMI_DATA"] = str(pack())


@pytest.fixture(scope="session", autouse=True)
def _cache(tmp_path_factory) -> None:
    """No test takes vectors or graphs that another run of the tests left; the workers of one run share theirs, so that
    minilm's graph is made once."""
    own = tmp_path_factory.getbasetemp()
    os.environ["UMEKOMI_CACHE"] = str((own.parent if os.environ.get("PYTEST_XDIST_WORKER") else own) / "cache")


FIRST = (
    "test_claims",
    "test_engine",
    "test_battery",
    "test_contrastive_recipes",
    "test_index",
    "test_recipes",
    "test_wire",
    "test_running",
    "test_modules",
)
"""The files that take longest: begun last, one of them would keep one worker while the other has nothing left."""


ONCE = ("comparison", "data", "indexes", "parts", "tasks", "transforms", "verbs")
ONCE += ("test_docs.py", "test_files.py", "test_limits.py", "test_output.py", "test_statistics.py")
"""Folders and files whose tests, where the light install runs them, say the same with all extras installed: ``make
test`` runs them there, ``make test-all`` in both."""


def pytest_addoption(parser) -> None:
    group = parser.getgroup("umekomi")
    group.addoption("--note-passed", metavar="FILE", help="write the names of the tests that passed")
    group.addoption("--passed", metavar="FILE", help="leave out the tests of ONCE that passed as FILE says")


def pytest_collection_modifyitems(config, items) -> None:
    items.sort(key=lambda item: FIRST.index(item.path.stem) if item.path.stem in FIRST else len(FIRST))
    if config.getoption("passed"):
        passed = set(Path(config.getoption("passed")).read_text().splitlines())
        again = [item.nodeid not in passed or not {*re.split("/|::", item.nodeid)[1:3]} & {*ONCE} for item in items]
        config.hook.pytest_deselected(items=list(compress(items, map(not_, again))))
        items[:] = compress(items, again)


_passed: list[str] = []


def pytest_runtest_logreport(report) -> None:
    if report.when == "call" and report.passed:
        _passed.append(report.nodeid)


def pytest_sessionfinish(session) -> None:
    if session.config.getoption("note_passed") and "PYTEST_XDIST_WORKER" not in os.environ:
        Path(session.config.getoption("note_passed")).write_text("".join(f"{name}\n" for name in sorted(_passed)))


MODULES = 50
_kept = [0]


def pytest_runtest_setup() -> None:
    """What was imported stays, and collecting garbage need not look at it: every training begins by collecting, which
    takes half a second where torch and transformers are there, most of a small training's time."""
    if len(sys.modules) >= _kept[0] + MODULES:
        _kept[0] = len(sys.modules)
        gc.collect()
        gc.freeze()


@pytest.fixture(scope="session")
def minilm():
    pytest.importorskip("sentence_transformers")
    from umekomi.models import load

    return load("minilm")


def with_fewer_tokens(embedder, texts, common=3000):
    """A text embedder with a WordPiece tokenizer (minilm) without its rarest tokens: those of ``texts`` stay, and the
    ``common`` commonest in English. What goes through the whole vocabulary takes a tenth of the time."""
    import torch
    from tokenizers import Tokenizer

    from umekomi.data.frequencies import of_tokens
    from umekomi.models.text import TextEmbedder

    model = copy.deepcopy(embedder.model)
    words = model.tokenizer
    whole = Tokenizer.from_str(words._tokenizer.to_str())
    whole.no_padding()
    whole.no_truncation()
    often = np.argsort(-of_tokens(whole), kind="stable")[:common].tolist()
    here = [token for encoding in whole.encode_batch(list(texts)) for token in encoding.ids]
    kept = sorted({*range(max(words.all_special_ids) + 1), *often, *here})  # special tokens keep their numbers
    filed = json.loads(words._tokenizer.to_str())
    filed["model"]["vocab"] = {whole.id_to_token(old): new for new, old in enumerate(kept)}
    words._tokenizer = Tokenizer.from_str(json.dumps(filed))
    network = model.transformers_model
    network.set_input_embeddings(torch.nn.Embedding.from_pretrained(network.get_input_embeddings().weight.data[kept]))
    network.config.vocab_size = len(kept)
    return TextEmbedder(model, embedder.name)


@pytest.fixture(scope="session")
def pydocs():
    from umekomi.data import load

    return load("pydocs")


@pytest.fixture
def fresh():
    """Run Python source in a process of its own; what it prints."""

    def run(source: str, *, ok: bool = True, within: float | None = None, **environment: str) -> str:
        done = subprocess.run(
            [sys.executable, "-c", source],
            capture_output=True,
            text=True,
            env={**os.environ, **environment},
            check=False,
            timeout=within,
        )
        if ok:
            assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout

    return run


@pytest.fixture
def forked():
    """Run Python source in a child of the zygote, in which torch and the like are there already but nothing of umekomi
    is; what it prints."""

    def run(source: str, **environment: str) -> str:
        process = zygote.Process(source=source, environment={**os.environ, **environment})
        out, error = process.communicate()
        assert process.returncode == 0, error[-3000:]
        return out

    return run


@pytest.fixture
def command():
    """Run the command line in a child of the zygote: (status, standard output, standard error)."""

    def run(*words: str, cwd: Path | None = None, **environment: str) -> tuple[int, str, str]:
        process = zygote.Process(module="umekomi", words=words, cwd=cwd, environment={**os.environ, **environment})
        out, error = process.communicate()
        return process.returncode, out, error

    return run


TEXTS = [
    "The cat sat on the mat.",
    "A dog ran through the park.",
    "Stock prices fell sharply on Monday.",
    "The central bank raised interest rates.",
    "Kittens and puppies are young animals.",
    "埋め込みは文を数のならびにする。",
    "A short one.",
    "Bond yields rose as investors sold shares, and the market closed lower for the third day in a row.",
]


# --- the server ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def folders(tmp_path_factory, minilm):
    """(a static model, an index of six documents): what the server's tests serve."""
    from served import DOCUMENTS

    from umekomi.models.scratch import untrained_transformer
    from umekomi.recipes import get
    from umekomi.verbs.index import index

    root = tmp_path_factory.mktemp("served")
    texts = [text for _, text, _ in DOCUMENTS]
    small = untrained_transformer("bert", texts, layers=1, width=32, heads=2, vocabulary=400, max_length=64)
    get("static")(dimensions=16).fit(start=small.embedder()).save(root / "tiny")
    (root / "documents.jsonl").write_text(
        "".join(json.dumps({"id": i, "text": t, "year": y}) + "\n" for i, t, y in DOCUMENTS)
    )
    index("minilm", root / "documents.jsonl", root / "notes")
    return root / "tiny", root / "notes"


@pytest.fixture(scope="session")
def server(folders):
    """minilm, the static model and the index, in a process on a free port of loopback."""
    from served import Server

    tiny, notes = folders
    with Server("minilm", tiny, "--index", notes) as running:
        yield running
        assert running.process.poll() is None, "the server lived through all tests"


@pytest.fixture(scope="session")
def call(server):
    """(status, JSON or text, headers) of a request."""
    import httpx

    client = httpx.Client(base_url=server.url, timeout=60)

    def ask(method, path, json=None, **options):
        answer = client.request(method, path, json=json, **options)
        kind = answer.headers.get("content-type", "")
        return answer.status_code, answer.json() if kind.startswith("application/json") else answer.text, answer.headers

    yield ask
    client.close()


@pytest.fixture
def service(tmp_path, monkeypatch):
    """Starts services that misbehave as they are told, in a folder and with a cache of the test's own."""
    from misbehaving import Misbehaving

    monkeypatch.setenv("UMEKOMI_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    made = []

    def start(**options):
        made.append(Misbehaving(**options))
        return made[-1]

    yield start
    for each in made:
        each.close()
