"""Fresh processes without the wait: one process has imported the heavy packages of others (torch, transformers ...) but
nothing of umekomi, and forks for each request. A child is as fresh as a new interpreter in all that is under test, and
starts in milliseconds instead of seconds. What a test says of imports needs a real new process.

Run as ``python zygote.py SOCKET`` it is that process; :class:`Process` asks it for a child.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from functools import cache
from pathlib import Path

PACKAGES = (
    "numpy",
    "pyarrow.parquet",
    "scipy.sparse",
    "scipy.stats",
    "sklearn.linear_model",
    "numba",
    "safetensors.numpy",
    "tokenizers",
    "onnxruntime",
    "typer",
    "uvicorn",
    "fastapi",
    "torch",
    "transformers",
    "sentence_transformers",
)
READ = ("CUDA_", "HF_", "HUGGINGFACE_", "LD_", "MKL_", "NUMBA_", "OMP_", "OPENBLAS_", "TOKENIZERS_", "TRANSFORMERS_")
"""How variables begin that some of :data:`PACKAGES` read once, when they are imported: a zygote for each setting."""


# --- the zygote -------------------------------------------------------------------------------------------------------


def serve(place: str) -> None:
    """Import, listen, and fork a keeper for each request until the first client's end is closed."""
    import importlib

    for package in PACKAGES:
        with contextlib.suppress(ImportError):
            importlib.import_module(package)
    assert not any(name.split(".")[0] == "umekomi" for name in sys.modules), "what is under test is not there yet"
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # keepers need no burial
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(place)
        listening.listen(16)
        while True:
            asking, _ = listening.accept()
            if os.fork() == 0:
                listening.close()
                keep(asking)
            asking.close()


def keep(asking: socket.socket) -> None:
    """Fork the child, tell its number and, when it has ended, its status."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    message, descriptors, _, _ = socket.recv_fds(asking, 1 << 20, 2)
    request = json.loads(message)
    child = os.fork()
    if child == 0:
        asking.close()
        os._exit(run(request, descriptors))
    asking.sendall(f"{child}\n".encode())
    _, status = os.waitpid(child, 0)
    with contextlib.suppress(OSError):
        asking.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())
    os._exit(0)


def run(request: dict, descriptors: list[int]) -> int:
    """Be that process: its directory, variables and streams, then ``-c SOURCE`` or ``-m MODULE WORDS``."""
    for number, descriptor in enumerate((os.open(os.devnull, os.O_RDONLY), *descriptors)):
        os.dup2(descriptor, number)
    sys.stdin, sys.stdout, sys.stderr = (
        open(number, mode, encoding="utf-8", closefd=False, buffering=buffering)  # noqa: SIM115
        for number, mode, buffering in ((0, "r", -1), (1, "w", -1), (2, "w", 1))
    )
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["environment"])
    sys.path[:0] = request["path"]
    status = 0
    try:
        if request["source"] is not None:
            sys.argv = ["-c", *request["words"]]
            exec(compile(request["source"], "<string>", "exec"), {"__name__": "__main__"})
        else:
            sys.argv = [request["module"], *request["words"]]
            runpy.run_module(request["module"], run_name="__main__", alter_sys=True)
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else int(error.code is not None)
        if isinstance(error.code, str):
            print(error.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
        status = 1
    threading._shutdown()  # as the interpreter does at its end: wait for threads, then what was registered
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    return status


# --- its clients ------------------------------------------------------------------------------------------------------


class Zygote:
    """The process, started at once and imported in the background."""

    def __init__(self, settings: tuple[tuple[str, str], ...]) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.place = f"{self.folder.name}/zygote"
        others = {name: value for name, value in os.environ.items() if not name.startswith(READ)}
        self.process = subprocess.Popen(
            [sys.executable, __file__, self.place],
            env={**others, **dict(settings), "PYTHONPATH": ""},
            cwd=self.folder.name,
            stdin=subprocess.DEVNULL,
        )

    def connect(self) -> socket.socket:
        """A connection, as soon as it listens."""
        connection = socket.socket(socket.AF_UNIX)
        for _ in range(1200):
            with contextlib.suppress(OSError):
                connection.connect(self.place)
                return connection
            assert self.process.poll() is None, "the zygote ended"
            time.sleep(0.05)
        raise TimeoutError("the zygote was not ready within a minute")

    def close(self) -> None:
        self.process.terminate()
        self.process.wait()
        self.folder.cleanup()


def shared(environment: dict[str, str]) -> Zygote:
    """This process's zygote for children with these variables, started when it is first needed and ended with it."""
    return _of(tuple(sorted((name, value) for name, value in environment.items() if name.startswith(READ))))


@cache
def _of(settings: tuple[tuple[str, str], ...]) -> Zygote:
    zygote = Zygote(settings)
    atexit.register(zygote.close)
    return zygote


class Process:
    """A child of the zygote, with the face of ``subprocess.Popen``; what it writes goes to files that are read at its
    end."""

    def __init__(self, *, source=None, module="", words=(), cwd=None, environment=None) -> None:
        self.out, self.err = tempfile.TemporaryFile("w+"), tempfile.TemporaryFile("w+")  # noqa: SIM115
        request = {
            "source": source,
            "module": module,
            "words": [str(word) for word in words],
            "cwd": str(cwd or os.getcwd()),
            "environment": dict(os.environ) if environment is None else environment,
            "path": ["" if source is not None else str(cwd or os.getcwd()), *import_path()],
        }
        self.connection = shared(request["environment"]).connect()
        socket.send_fds(self.connection, [json.dumps(request).encode()], [self.out.fileno(), self.err.fileno()])
        self.told = b""
        while b"\n" not in self.told:
            self._hear()
        self.pid = int(self.told.split(b"\n")[0])
        self.returncode: int | None = None

    def _hear(self) -> None:
        piece = self.connection.recv(64)
        if not piece:
            raise RuntimeError("the zygote's keeper ended before its child")
        self.told += piece

    def wait(self, timeout: float | None = None) -> int:
        """Its status, as soon as it has one."""
        if self.returncode is not None:
            return self.returncode
        self.connection.settimeout(timeout)
        while self.told.count(b"\n") < 2:
            try:
                self._hear()
            except (TimeoutError, BlockingIOError):
                raise subprocess.TimeoutExpired("a child of the zygote", timeout or 0) from None
        self.returncode = int(self.told.split(b"\n")[1])
        self.connection.close()
        return self.returncode

    def poll(self) -> int | None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self.wait(0)
        return None

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """What it wrote to standard output and standard error, at its end."""
        self.wait(timeout)
        texts = []
        for stream in (self.out, self.err):
            stream.seek(0)
            texts.append(stream.read())
        return texts[0], texts[1]


def import_path() -> list[str]:
    """What a new interpreter would import from beside its own: PYTHONPATH, and where an editable umekomi stands."""
    import umekomi

    places = [place for place in os.environ.get("PYTHONPATH", "").split(os.pathsep) if place]
    own = str(Path(umekomi.__file__).parent.parent)
    return places if own in places else [*places, own]


if __name__ == "__main__":
    serve(sys.argv[1])
