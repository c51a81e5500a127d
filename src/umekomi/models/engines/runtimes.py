"""What runs a graph: ONNX Runtime or OpenVINO, from any number of threads at once, each run on one core of a CPU."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from umekomi.errors import MissingExtra, WrongUse

if TYPE_CHECKING:
    import openvino
    from numpy.typing import NDArray


class Runtime(Protocol):
    """A graph that takes arrays by name and gives one back."""

    inputs: list[str]
    gpu: bool
    rounding: str
    """What its numbers are rounded to, where that is coarser than the graph's."""

    def run(self, feed: dict[str, NDArray[Any]]) -> NDArray[Any]: ...


class OnnxRuntime:
    """ONNX Runtime: CUDA where its build has it."""

    rounding = ""

    def __init__(self, graph: bytes | Path, weights: Mapping[str, NDArray[Any]] | None = None) -> None:
        """``weights``: arrays that the graph names and does not hold."""
        import onnxruntime

        onnxruntime.set_default_logger_severity(3)
        options = onnxruntime.SessionOptions()
        self.gpu = "CUDAExecutionProvider" in onnxruntime.get_available_providers()
        if not self.gpu:
            options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        providers = [*(["CUDAExecutionProvider"] if self.gpu else []), "CPUExecutionProvider"]
        if weights:
            values = [onnxruntime.OrtValue.ortvalue_from_numpy(array) for array in weights.values()]
            options.add_external_initializers(list(weights), values)
        self._session = onnxruntime.InferenceSession(
            str(graph) if isinstance(graph, Path) else graph, options, providers=providers
        )
        self.inputs = [item.name for item in self._session.get_inputs()]

    def run(self, feed: dict[str, NDArray[Any]]) -> NDArray[Any]:
        return self._session.run(None, {name: feed[name] for name in self.inputs})[0]  # type: ignore[no-any-return]


_FIRST = threading.Lock()


@cache
def _core() -> openvino.Core:
    """OpenVINO's list of what this machine computes with, looked up once."""
    import numpy as np
    import openvino

    # Its table of NumPy's types is made at first use, under a C++ guard that lets go of the interpreter meanwhile: two
    # threads there first wait for each other for ever, one with the guard, one with the interpreter.
    with _FIRST:
        openvino.Type.f32.to_dtype()
        openvino.Tensor(np.zeros((1, 1), np.float32))
    return openvino.Core()


class OpenVino:
    """OpenVINO on the CPU, in the graph's own numbers or in bfloat16, on ``threads`` cores."""

    gpu = False

    def __init__(self, graph: bytes | Path, threads: int, rounding: str = "") -> None:
        core = _core()
        self.rounding = rounding
        settings = {
            "NUM_STREAMS": threads,
            "INFERENCE_NUM_THREADS": threads,
            "ENABLE_CPU_PINNING": False,
            "INFERENCE_PRECISION_HINT": rounding or "f32",
        }
        self._compiled = core.compile_model(core.read_model(graph), "CPU", settings)
        self.inputs = [item.any_name for item in self._compiled.inputs]
        self._own = threading.local()

    def run(self, feed: dict[str, NDArray[Any]]) -> NDArray[Any]:
        request = getattr(self._own, "request", None)
        if request is None:
            request = self._own.request = self._compiled.create_infer_request()
        return request.infer({name: feed[name] for name in self.inputs}, share_inputs=True)[0]  # type: ignore[no-any-return]


PACKAGES = {"onnx": "onnxruntime", "openvino": "openvino", "openvino-bf16": "openvino"}


def default_runtime() -> str | None:
    """ONNX Runtime, or OpenVINO where only that is installed, or none."""
    return next((name for name in ("onnx", "openvino") if find_spec(PACKAGES[name])), None)


def check_runtime(name: str) -> None:
    """The error where ``name`` cannot run here."""
    if not find_spec(PACKAGES[name]):
        raise MissingExtra(PACKAGES[name], "onnx" if name == "onnx" else "openvino", f"engine {name}")
    if name == "openvino-bf16" and "BF16" not in _core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        raise WrongUse(
            f"engine {name}: expected a processor that computes in bfloat16 (AVX-512 BF16, AMX), found one that does "
            "not: use openvino"
        )


def open_runtime(name: str, graph: bytes | Path, threads: int) -> Runtime:
    """``graph`` by one of :data:`PACKAGES`; ``""`` is :func:`default_runtime`."""
    name = name or default_runtime() or "onnx"
    check_runtime(name)
    return OnnxRuntime(graph) if name == "onnx" else OpenVino(graph, threads, "bf16" if name.endswith("bf16") else "")
