"""Questions that a language model writes: any chat endpoint of OpenAI's shape, or a model of transformers or a GGUF
file on this machine. What was answered is kept under the model and the text, and never asked again."""

from __future__ import annotations

import dataclasses
import re
import sqlite3
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path
from typing import Any, Protocol

from umekomi.errors import MissingExtra, UmekomiError, WrongUse
from umekomi.files import cache_folder, content_hash, file_hash, folder_hash
from umekomi.models.borders import in_one_line, is_of_a_library
from umekomi.models.engines.gguf.header import is_named, needs_package
from umekomi.models.services.endpoints import Endpoint, endpoint_of, is_service
from umekomi.models.services.wire import Wire
from umekomi.parts.networks import check_weights
from umekomi.progress import Progress

CHAT, LOCAL = "chat:", "local:"
LONGEST = 6000
"""Characters of a document that are shown."""
ASK = (
    "Below is a passage from a collection that people search. Write one question or search request that somebody who "
    "has not seen it would type and that it answers, in the passage's own language. Do not name the passage, and use "
    "other words than its own where you can. Answer with the question alone, on one line.\n\nPassage:\n{text}"
)


class Writer(Protocol):
    """Writes a question for every text."""

    name: str

    def write(self, texts: Sequence[str], progress: bool) -> list[str]:
        """One question a text, empty where none was given."""


def writer_of(way: str) -> Writer:
    """``chat:MODEL@URL`` (or a maker's name, or one of the file of endpoints, behind ``chat:``), ``local:MODEL``: a
    folder, a hub's name or a GGUF file."""
    if way.startswith(LOCAL):
        return LocalWriter(way.removeprefix(LOCAL))
    rest = way.removeprefix(CHAT)
    name = rest if is_service(rest) else f"openai:{rest}"
    endpoint = endpoint_of(name)
    if endpoint.shape != "openai":
        raise WrongUse(f"{way}: expected a chat endpoint of OpenAI's shape, found {endpoint.shape}'s")
    return ChatWriter(endpoint, way)


class Kept:
    """Answers of one model, in the cache folder."""

    def __init__(self, name: str) -> None:
        folder = cache_folder() / "questions"
        folder.mkdir(parents=True, exist_ok=True)
        self.base = sqlite3.connect(folder / f"{content_hash(name, ASK)}.sqlite", timeout=60)
        self.base.execute("create table if not exists answers (key text primary key, question text)")

    def get(self, text: str) -> str | None:
        """The question that was written for a text."""
        row = self.base.execute("select question from answers where key = ?", (content_hash(text),)).fetchone()
        return None if row is None else str(row[0])

    def put(self, text: str, question: str) -> None:
        """Keep one, on disk before going on."""
        with self.base:
            self.base.execute("insert or replace into answers values (?, ?)", (content_hash(text), question))


class ChatWriter:
    """A chat endpoint of OpenAI's shape: ``POST /v1/chat/completions``."""

    def __init__(self, endpoint: Endpoint, name: str) -> None:
        self.endpoint, self.name = endpoint, name
        self.wire = Wire(endpoint)

    def write(self, texts: Sequence[str], progress: bool) -> list[str]:
        kept = Kept(content_hash(dataclasses.replace(self.endpoint, key="").identity(), "chat"))
        out = {text: question for text in texts if (question := kept.get(text)) is not None}
        missing = list(dict.fromkeys(text for text in texts if text not in out))
        if missing:
            self.wire.client()
        with (
            Progress(f"{self.name}: writing questions", len(missing), "questions", progress) as bar,
            ThreadPoolExecutor(self.endpoint.parallel, "umekomi-writer") as pool,
        ):
            futures = [pool.submit(self._one, text) for text in missing]
            try:
                for text, future in zip(missing, futures, strict=True):
                    out[text] = future.result()
                    kept.put(text, out[text])
                    bar.advance()
            except BaseException:
                self.wire.stop.set()
                for text, future in zip(missing, futures, strict=True):
                    if not future.cancel() and text not in out:
                        try:
                            kept.put(text, future.result())
                        except UmekomiError:
                            continue
                raise
        return [out[text] for text in texts]

    def _one(self, text: str) -> str:
        body = {
            "model": self.endpoint.model,
            "messages": [{"role": "user", "content": ASK.format(text=text[:LONGEST])}],
            "temperature": 0,
        }
        answer = self.wire.post("chat/completions", body, f"the text {text[:60]!r}")
        try:
            content: Any = answer["choices"][0]["message"]["content"]
        except (KeyError, IndexError, TypeError):
            raise UmekomiError(
                f"{self.name}: expected a chat completion, found {str(answer)[:120]}, for the text {text[:60]!r}"
            ) from None
        return clean(content if isinstance(content, str) else "")


class LocalWriter:
    """A causal language model on this machine: of transformers in a folder or the hub's cache, or a GGUF file, which
    transformers takes out of its blocks into float32. Its folder runs no code."""

    def __init__(self, name: str) -> None:
        self.name = name

    def write(self, texts: Sequence[str], progress: bool) -> list[str]:
        words, model, content = self._opened()
        kept = Kept(content_hash("local", content))
        out = []
        with Progress(f"{self.name}: writing questions", len(texts), "questions", progress) as bar:
            for text in texts:
                answer = kept.get(text)
                if answer is None:
                    answer = clean(self._one(words, model, text))
                    kept.put(text, answer)
                out.append(answer)
                bar.advance()
        return out

    def _opened(self) -> tuple[Any, Any, str]:
        """(tokenizer, network, what names their content)."""
        try:
            from transformers import AutoModelForCausalLM, AutoTokenizer
        except ImportError as error:
            raise MissingExtra(error.name or "transformers", "neural", f"writing questions with {self.name}") from None
        path = Path(self.name).expanduser()
        place, how = self.name, dict[str, Any](use_safetensors=True)
        if is_named(path):
            if not path.is_file():
                raise WrongUse(f"local:{self.name}: no such file")
            needs_package(f"writing questions with {self.name}")
            place, how = str(path.parent), {"gguf_file": path.name}
        named = {name: value for name, value in how.items() if name == "gguf_file"}
        try:
            with redirect_stderr(StringIO()):  # bars of transformers, whatever its settings say
                words = AutoTokenizer.from_pretrained(place, trust_remote_code=False, **named)
                model, report = AutoModelForCausalLM.from_pretrained(
                    place, trust_remote_code=False, dtype="auto", output_loading_info=True, **how
                )
        except BaseException as error:
            if not is_of_a_library(error):
                raise
            raise WrongUse(
                f"local:{self.name}: expected a causal language model of transformers or in GGUF: {in_one_line(error)}"
            ) from None
        check_weights(model, report, path)
        if path.is_dir():
            return words, model.eval(), folder_hash(path)
        return words, model.eval(), file_hash(path) if named else content_hash(self.name, model.config.to_dict())

    def _one(self, words: Any, model: Any, text: str) -> str:
        import torch

        asked = ASK.format(text=text[:LONGEST])
        if words.chat_template:
            turns = [{"role": "user", "content": asked}]
            ids = words.apply_chat_template(turns, add_generation_prompt=True, return_tensors="pt", return_dict=True)
        else:
            ids = words(asked + "\n\nQuestion:", return_tensors="pt")
        most = int(getattr(model.config, "max_position_embeddings", 0) or 4096) - 64
        ids = {name: tensor[:, -most:] for name, tensor in ids.items() if name in ("input_ids", "attention_mask")}
        with torch.no_grad():
            tokens = model.generate(**ids, max_new_tokens=48, do_sample=False, pad_token_id=words.eos_token_id)
        return str(words.decode(tokens[0, ids["input_ids"].shape[1] :], skip_special_tokens=True))


def clean(answer: str) -> str:
    """A question out of what was answered: the last line of what was not thought aloud, without quotes, numbers or
    "Question:" before it.

    >>> clean('<think>hm</think>\\n1. "Where do cats sleep?"')
    'Where do cats sleep?'
    """
    text = re.sub(r"<think>.*?(</think>|$)", " ", answer, flags=re.DOTALL)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines:
        return ""
    line = next((each for each in lines if each.rstrip("\"'”」").endswith(("?", "？"))), lines[0])
    line = re.sub(r"^(\d+[.)]|[-*•])\s*", "", line)
    line = re.sub(r"^(question|query|q|質問)\s*[:：]\s*", "", line, flags=re.IGNORECASE)
    return line.strip("\"'“”「」 ")[:400]
