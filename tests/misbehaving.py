"""A server of embeddings on this machine that misbehaves when told to: what makers' services and home-grown ones do."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np


def score_of(query, document):
    """The score of a pair, the same every time."""
    return vector_of(f"{query} | {document}")[0]


def vector_of(text, width=8):
    """The vector of a text, the same every time."""
    return np.random.default_rng(abs(hash(text)) % 2**32).normal(size=width).round(6).tolist()


class Misbehaving:
    """``plan`` holds what the next requests get instead of an answer, first in first out: a status, (status, headers),
    or a function of the good answer. ``asked`` counts every text that was answered well, ``bodies`` keeps all."""

    def __init__(self, shape="openai", width=8, counts=True):
        self.shape, self.width, self.counts = shape, width, counts
        self.plan, self.bodies, self.headers, self.paths = [], [], [], []
        self.asked = Counter()
        self.busiest = self._busy = 0
        self.slow = 0.0
        self._lock = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                outer.answer(self)

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def texts(self, body):
        if "documents" in body:
            return [f"{body['query']} | {document}" for document in body["documents"]]
        if self.shape == "google":
            return [each["content"]["parts"][0]["text"] for each in body["requests"]]
        return body["texts" if self.shape == "cohere" else "input"]

    def ordered(self, body):
        rows = [
            {"index": n, "relevance_score": score_of(body["query"], text)} for n, text in enumerate(body["documents"])
        ]
        rows = sorted(rows, key=lambda row: -row["relevance_score"])[: body.get("top_n", body.get("top_k"))]
        if self.shape == "cohere":
            units = {"search_units": -(-len(rows) // 100)} if self.counts else {}
            return {"id": "x", "results": rows, "meta": {"billed_units": units}}
        words = sum(len(text.split()) for text in self.texts(body))
        usage = {"total_tokens": words if self.counts else None}
        return (
            {"object": "list", "data": rows, "usage": usage} if "top_k" in body else {"results": rows, "usage": usage}
        )

    def good(self, texts):
        rows = [vector_of(text, self.width) for text in texts]
        tokens = sum(len(text.split()) for text in texts) if self.counts else None
        if self.shape == "google":
            return {"embeddings": [{"values": row} for row in rows]}
        if self.shape == "cohere":
            return {"embeddings": {"float": rows}, "meta": {"billed_units": {"input_tokens": tokens}}}
        data = [{"object": "embedding", "index": i, "embedding": row} for i, row in enumerate(rows)]
        return {"data": data[::-1], "usage": {"prompt_tokens": tokens, "total_tokens": tokens}}

    def answer(self, handler):
        body = json.loads(handler.rfile.read(int(handler.headers["Content-Length"])))
        with self._lock:
            self.bodies.append(body)
            self.paths.append(handler.path)
            self.headers.append(dict(handler.headers))
            self._busy += 1
            self.busiest = max(self.busiest, self._busy)
            step = self.plan.pop(0) if self.plan else None
        try:
            if self.slow:
                time.sleep(self.slow)
            if isinstance(step, int):
                step = (step, {})
            if isinstance(step, tuple):
                return self.send(handler, step[0], {"error": {"message": "not now, key a-secret"}}, step[1])
            answer = self.ordered(body) if "documents" in body else self.good(self.texts(body))
            if callable(step):
                answer = step(answer)
            if isinstance(answer, bytes):
                return self.raw(handler, answer)
            if answer == "drip":
                return self.drip(handler)
            with self._lock:
                self.asked.update(self.texts(body))
            return self.send(handler, 200, answer, {})
        finally:
            with self._lock:
                self._busy -= 1

    def send(self, handler, status, answer, headers):
        data = json.dumps(answer).encode()
        handler.send_response(status)
        for name, value in ({"Content-Type": "application/json", "Content-Length": str(len(data))} | headers).items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(data)

    def raw(self, handler, data):
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data)

    def drip(self, handler):
        handler.send_response(200)
        handler.send_header("Content-Length", "100000")
        handler.end_headers()
        for _ in range(200):
            try:
                handler.wfile.write(b" ")
                handler.wfile.flush()
            except OSError:
                return
            time.sleep(0.02)

    def close(self):
        self.server.shutdown()
        self.server.server_close()
