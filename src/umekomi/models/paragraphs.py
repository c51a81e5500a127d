"""Paragraph vectors (Le & Mikolov, ICML 2014) of gensim: a text's vector is found by gradient steps against words that
stay as they are. Saved as arrays; opened again by gensim, with the same numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from umekomi.data.vocabulary import split_words
from umekomi.errors import DataError, MissingExtra
from umekomi.files import write_json
from umekomi.models.base import Open, TextFace
from umekomi.models.folders import read_arrays, read_list, settings
from umekomi.progress import Progress

Floats = NDArray[np.float32]
LEAST_RATE = 0.004
"""What the learning rate falls to, as a share of what it begins with."""
INFER_SEED = 0
"""Of every text's first vector and its negative samples: a text has one vector, whatever was asked before."""


@dataclass(frozen=True)
class Settings:
    """gensim's, of one of the two ways: ``dm`` (words are foretold from the paragraph and their neighbours) or DBOW
    (from the paragraph alone); the vectors of its neighbours are averaged."""

    dm: bool
    dimensions: int
    window: int
    negative: int
    sample: float
    learning_rate: float
    infer_epochs: int


@dataclass
class ParagraphTable:
    """What one of the two ways has learned: vectors of ``names`` (``words``), and by which a word is foretold
    (``output``), float32 ``[words, d]`` each; ``counts`` how often each word occurred."""

    how: Settings
    names: list[str]
    counts: NDArray[np.int64]
    words: Floats
    output: Floats

    def gensim(self) -> Any:
        """The gensim model of these arrays."""
        model = gensim_model(self.how, seed=INFER_SEED, epochs=1)
        model.build_vocab_from_freq(dict(zip(self.names, self.counts.tolist(), strict=True)), corpus_count=1)
        order = [model.wv.key_to_index[name] for name in self.names]
        model.wv.vectors[order], model.syn1neg[order] = self.words, self.output
        return model


def gensim_model(how: Settings, *, seed: int, epochs: int, min_count: int = 1) -> Any:
    """An untrained model of gensim with one worker, which is what makes it repeatable."""
    try:
        from gensim.models.doc2vec import Doc2Vec
    except ImportError:
        raise MissingExtra("gensim", "paragraphs", "paragraph vectors") from None
    return Doc2Vec(
        dm=int(how.dm),
        vector_size=how.dimensions,
        window=how.window,
        negative=how.negative,
        hs=0,
        sample=how.sample,
        alpha=how.learning_rate,
        min_alpha=how.learning_rate * LEAST_RATE,
        min_count=min_count,
        epochs=epochs,
        workers=1,
        seed=seed,
    )


class ParagraphEmbedder(TextFace):
    """``tables`` side by side (DM, DBOW, or both); ``layers`` is a classifier behind them, (matrix ``[in, out]``, bias)
    of each layer with ReLU between, and ``labels`` what it names."""

    kind = "paragraphs"
    costly = True

    def __init__(
        self,
        tables: Sequence[ParagraphTable],
        *,
        tokenizer: str = "plain",
        layers: Sequence[tuple[Floats, Floats]] = (),
        labels: Sequence[str] = (),
        name: str = "paragraphs",
        card: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(name, card)
        self.tables, self.tokenizer, self.labels = list(tables), tokenizer, list(labels)
        self.layers = [(np.asarray(matrix, np.float32), np.asarray(bias, np.float32)) for matrix, bias in layers]
        self.dimension = sum(table.how.dimensions for table in self.tables)
        width = self.dimension
        for matrix, bias in self.layers:
            if matrix.shape[0] != width or bias.shape != (matrix.shape[1],):
                raise DataError(f"{name}: expected a layer of {width} inputs, found {matrix.shape} and {bias.shape}")
            width = matrix.shape[1]
        if self.layers and width != len(self.labels):
            raise DataError(f"{name}: expected a number for each of {len(self.labels)} labels, found {width}")
        self._models = [table.gensim() for table in self.tables]

    def _encode(self, items: list[Any], *, output: str, role: str | None, batch_size: int, progress: bool) -> Any:
        words = split_words(items, self.tokenizer).to_pylist()
        out = np.zeros((len(items), self.dimension), np.float32)
        with Progress(f"{self.name}: encoding", len(items), "texts", progress) as bar:
            for row, text in enumerate(words):
                at = 0
                for table, model in zip(self.tables, self._models, strict=True):
                    if any(word in model.wv.key_to_index for word in text):
                        model.random = np.random.RandomState(INFER_SEED)
                        out[row, at : at + table.how.dimensions] = model.infer_vector(
                            text, epochs=table.how.infer_epochs
                        )
                    at += table.how.dimensions
                bar.advance()
        return out

    def label_scores(self, texts: Sequence[str]) -> tuple[list[str], Floats]:
        """(the labels, a number for each ``[texts, labels]``)."""
        values = self.encode(list(texts), output="dense")
        for number, (matrix, bias) in enumerate(self.layers):
            values = (np.maximum(values, 0) if number else values) @ matrix + bias
        return self.labels, values

    def _write(self, folder: Path) -> dict[str, Any]:
        from safetensors.numpy import save_file

        arrays: dict[str, Any] = {}
        for number, table in enumerate(self.tables):
            write_json(folder / f"words-{number}.json", table.names)
            arrays |= {
                f"words.{number}": table.words,
                f"output.{number}": table.output,
                f"counts.{number}": table.counts,
            }
        for number, (matrix, bias) in enumerate(self.layers):
            arrays |= {f"matrix.{number}": matrix, f"bias.{number}": bias}
        save_file(
            {name: np.ascontiguousarray(value) for name, value in arrays.items()}, folder / "paragraphs.safetensors"
        )
        return {
            "ways": [vars(table.how) for table in self.tables],
            "tokenizer": self.tokenizer,
            "layers": len(self.layers),
            "labels": self.labels,
        }

    @classmethod
    def _read(cls, folder: Path, head: dict[str, Any], open: Open) -> ParagraphEmbedder:
        own = settings(folder, head, ways=list, tokenizer=str, layers=int, labels=list)
        file = folder / "paragraphs.safetensors"
        tables = []
        for number, way in enumerate(own["ways"]):
            if not isinstance(way, dict) or set(way) != set(Settings.__dataclass_fields__):
                raise DataError(f"{folder}, ways: expected the settings of one, found {way!r:.80}")
            how = Settings(**way)
            words, output, counts = _three(file, number)
            names = [str(name) for name in read_list(folder / f"words-{number}.json")]
            if words.shape != (len(names), how.dimensions) or output.shape != words.shape or len(counts) != len(names):
                raise DataError(
                    f"{file}: expected vectors of {len(names)} words and {how.dimensions} numbers, found {words.shape} "
                    f"and {output.shape}"
                )
            tables.append(ParagraphTable(how, names, counts, words, output))
        layers = []
        for number in range(own["layers"]):
            arrays = read_arrays(file, f"matrix.{number}", f"bias.{number}")
            layers.append((arrays[f"matrix.{number}"], arrays[f"bias.{number}"]))
        return cls(
            tables,
            tokenizer=own["tokenizer"],
            layers=layers,
            labels=[str(label) for label in own["labels"]],
            name=head["name"],
            card=head.get("card"),
        )


def _three(file: Path, number: int) -> tuple[Floats, Floats, NDArray[np.int64]]:
    names = [f"{name}.{number}" for name in ("words", "output", "counts")]
    arrays = read_arrays(file, *names)
    return arrays[names[0]], arrays[names[1]], arrays[names[2]]
