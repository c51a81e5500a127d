"""A server of one's own for these tests, in a process on a free port of loopback."""

from __future__ import annotations

import os
import signal
import socket
import time
import urllib.request

import zygote

DOCUMENTS = [
    ("bread", "Knead the dough. Let it rise for an hour. Bake the loaf in a hot oven.", 2019),
    ("stocks", "Stock prices fell sharply on Monday. Bond yields rose.", 2021),
    ("cats", "Kittens sleep most of the day. They purr when they are content.", 2020),
    ("rain", "It rained all week in Kyoto. The river rose.", 2021),
    ("umekomi", "埋め込みは文を数のならびにする。近い意味の文は近くに来る。", 2026),
    ("markup", "<script>alert('x')</script> is a text like any other & stays one.", 2022),
]


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return listening.getsockname()[1]


class Server:
    """``umekomi serve WORDS`` until the end of the block."""

    def __init__(self, *words, env=None, wait=True):
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.process = zygote.Process(
            module="umekomi",
            words=["serve", *words, "--port", self.port],
            environment={**os.environ, **(env or {})},
        )
        for _ in range(600 if wait else 0):
            try:
                with urllib.request.urlopen(self.url + "/ready", timeout=2):
                    return
            except OSError:
                if self.process.poll() is not None:
                    raise RuntimeError(self.process.communicate()[1]) from None
                time.sleep(0.1)
        if wait:
            self.process.kill()
            raise RuntimeError("not ready within a minute")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self, sig=signal.SIGTERM) -> str:
        """What it wrote to standard error."""
        if self.process.poll() is None:
            self.process.send_signal(sig)
        return self.process.communicate(timeout=60)[1]
