"""A GGUF file as an embedder that ONNX Runtime runs, its weights in their blocks."""

from __future__ import annotations

import mmap
import shutil
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from umekomi.errors import DataError, MissingExtra, WrongUse
from umekomi.files import cache_folder, content_hash, file_hash, scratch_folder
from umekomi.models.base import Open
from umekomi.models.engines.gguf.blocks import FLOATS
from umekomi.models.engines.gguf.graph import build, build_portable
from umekomi.models.engines.gguf.header import Gguf, needs_package
from umekomi.models.engines.gguf.shape import Shape, Ways, entry_of, read_shape, ways
from umekomi.models.engines.gguf.words import tokenizer
from umekomi.models.engines.onnx import OnnxEmbedder
from umekomi.models.engines.runtimes import OnnxRuntime, Runtime, check_runtime, default_runtime
from umekomi.models.folders import settings
from umekomi.progress import say

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from umekomi.models.published.catalogue import Entry

FILE = "model.gguf"
WEIGHTS = "weights"
UNLINKS = sys.platform != "win32"
"""Whether a file can go while it is mapped. Then OpenVINO's weights are one: it keeps them beside its own layout of
them, and pages of a file that nothing reads need no memory."""


class GgufEmbedder(OnnxEmbedder):
    """A GGUF file that is run. Its vectors have length one and compare by cosine.

    Args:
        path: the file; of a split one, any of its parts.
        pooling: ``"mean"``, ``"cls"`` or ``"last"``; empty: as the file says, or as
            :func:`umekomi.models.engines.gguf.shape.ways` works it out, which is said.
        exact: multiply in float32 by ONNX Runtime; else activations meet quantized weights in fewer bits
            (:func:`chosen`).
        runtime: ``"onnx"``, ``"openvino"`` or ``"openvino-bf16"``; empty: :func:`chosen`.
        name: of the model; empty: the file's.
        card: what is known about it beside what the file says.
    """

    kind = "gguf"

    def __init__(
        self,
        path: str | Path,
        *,
        pooling: str = "",
        exact: bool = False,
        runtime: str = "",
        name: str = "",
        card: dict[str, Any] | None = None,
    ) -> None:
        needs_package(f"reading {path}")
        if not find_spec("onnx"):
            raise MissingExtra("onnx", "gguf", f"running {path}")
        opened = Opened(path, pooling)
        file, shape = opened.file, opened.shape
        quantized = any(tensor.type not in FLOATS for tensor in file.tensors.values())
        runtime = "onnx" if exact else runtime or chosen(quantized)
        check_runtime(runtime)
        self._build: Callable[..., Any] = (
            partial(build, file, shape, exact=exact) if runtime == "onnx" else partial(build_portable, file, shape)
        )
        self.path, self.shape, self.exact, self.pooling = Path(path), shape, exact, pooling
        self._files = file.files
        super().__init__(
            b"",  # what _open builds: nothing keeps it
            opened.tokenizer(),
            dimension=opened.dimension,
            context=shape.context,
            metric="cosine",
            prompts=opened.prompts,
            name=name or opened.name,
            card=opened.card | (card or {}),
            runtime=runtime,
        )
        del self._build, file, opened
        return_memory()
        if quantized and not exact and not self.rounding:
            self.rounding = "activations of eight bits"

    def _open(self, runtime: str, graph: bytes | Path) -> Runtime:
        if runtime == "onnx":
            return OnnxRuntime(*self._build())
        if UNLINKS:
            with suppress(OSError):  # nowhere to write
                return self._mapped(runtime)
        return super()._open(runtime, self._build())

    def _mapped(self, runtime: str) -> Runtime:
        """OpenVINO with the weights in a file that has no name any more."""
        with scratch_folder(cache_folder() / "opened") as scratch:
            (scratch / "graph.onnx").write_bytes(self._build(scratch / WEIGHTS))
            found = super()._open(runtime, scratch / "graph.onnx")
            some = np.zeros((2, min(8, self.shape.context)), np.int64)
            found.run({"input_ids": some, "attention_mask": some + 1})  # it lays out its matrices now
            forget(scratch / WEIGHTS)
        return found

    def fingerprint(self) -> str:
        """Names the files' content, and what was chosen beside it."""
        if not self.stands_for:  # a file is read once
            self.stands_for = content_hash("gguf", self.pooling, *(file_hash(path) for path in self._files))
        return self.stands_for

    def _write(self, folder: Path) -> dict[str, Any]:
        if len(self._files) > 1:
            raise WrongUse(f"{self.path}: expected one file to save, found {len(self._files)} parts: merge them first")
        shutil.copyfile(self._files[0], folder / FILE)
        return {"pooling": self.pooling}

    @classmethod
    def _read(
        cls, folder: Path, head: dict[str, Any], open: Open, runtime: str = "", pooling: str = ""
    ) -> GgufEmbedder:
        pooling = pooling or settings(folder, head, pooling=str)["pooling"]
        return cls(folder / FILE, pooling=pooling, runtime=runtime, name=head["name"], card=head.get("card"))


def return_memory() -> None:
    """Give freed memory back to the system, where the C library keeps it (glibc): of a file of 98 MB that was opened,
    105 MB less stay behind."""
    import ctypes

    with suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)


def forget(path: Path) -> None:
    """Drop this process's pages of a file that is mapped to be read, where the system says which these are (Linux):
    those that are read again come back from the file."""
    import ctypes

    with suppress(OSError, AttributeError):
        advise = ctypes.CDLL(None).madvise
        advise.argtypes = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int
        for line in Path("/proc/self/maps").read_text().splitlines():
            area, rights, *_, name = line.split(maxsplit=5)
            if name == str(path.resolve()) and "w" not in rights:
                begin, end = (int(part, 16) for part in area.split("-"))
                advise(begin, end - begin, mmap.MADV_DONTNEED)


def chosen(quantized: bool) -> str:
    """What runs a file where nothing is said: of quantized weights OpenVINO where it is installed, in bfloat16 where
    the processor multiplies in it (its rounding is finer than that to eight bits), else ONNX Runtime: the fastest of
    what was tried (benchmarks/gguf.py)."""
    if quantized and find_spec("openvino"):
        try:
            check_runtime("openvino-bf16")
        except WrongUse:
            return "openvino"
        return "openvino-bf16"
    return default_runtime() or "onnx"


class Opened:
    """A file that was looked at: its network's shape, what was mended, its words, prompts and card."""

    def __init__(self, path: str | Path, pooling: str = "", *, quiet: bool = False) -> None:
        self.file = Gguf(path)
        read_shape(self.file)
        self.entry: Entry | None = entry_of(self.file)
        self.ways: Ways = ways(self.file, pooling, self.entry)
        self.shape: Shape = read_shape(self.file, self.ways.pooling)
        if self.ways.said and not quiet:
            say(self.ways.said)

    @property
    def name(self) -> str:
        """The catalogue's name, or the file's."""
        return self.entry.name if self.entry is not None else self.file.path.stem

    @property
    def dimension(self) -> int:
        """Width of the vectors."""
        last = self.file.tensors.get("dense_3.weight") or self.file.tensors.get("dense_2.weight")
        return self.shape.width if last is None else last.shape[0]

    @property
    def prompts(self) -> dict[str, str]:
        """The catalogue's, by role."""
        return dict(self.entry.prompts) if self.entry is not None else {}

    @property
    def card(self) -> dict[str, Any]:
        """What is known: architecture, tensor types, pooling, licence."""
        types, counts = np.unique([tensor.type for tensor in self.file.tensors.values()], return_counts=True)
        licence = self.file.metadata.get("general.license") or (self.entry.licence if self.entry is not None else "")
        source = self.file.metadata.get("general.base_model.0.repo_url") or (self.entry.hub if self.entry else "")
        known = {
            "architecture": self.shape.architecture,
            "tensors": ", ".join(f"{count} {kind}" for kind, count in zip(types, counts, strict=True)),
            "parameters": int(sum(np.prod(tensor.shape) for tensor in self.file.tensors.values())),
            "pooling": self.shape.pooling,
            "context": self.shape.context,
            "licence": str(licence),
            "start": str(source),
        }
        return {key: value for key, value in known.items() if value}

    def tokenizer(self) -> Tokenizer:
        """The file's tokenizer, whose numbers all have a row in the table."""
        words = tokenizer(self.file, self.ways.ends_in)
        highest = max(words.get_vocab().values(), default=-1)
        if highest >= self.shape.vocabulary:
            raise DataError(
                f"{self.file.path}: expected a row of token_embd.weight for each of {highest + 1:,} tokens, found "
                f"{self.shape.vocabulary:,}"
            )
        return words
