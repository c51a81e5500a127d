"""A table of token vectors: a text is the mean of its tokens' rows. No neural network library at run time; the folder
is sentence-transformers' ``StaticEmbedding``, and opens there as it is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from umekomi.errors import DataError, WrongUse
from umekomi.files import write_json
from umekomi.models.base import Encoded, Open, TextFace
from umekomi.models.borders import border
from umekomi.models.folders import most_tokens, read_floats, read_tokenizer, settings
from umekomi.progress import Progress

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from tokenizers import Tokenizer

    from umekomi.contracts import Floats, Output, Transform

_STATIC = "sentence_transformers.sentence_transformer.modules.static_embedding.StaticEmbedding"
CHUNK = 4096


class StaticEmbedder(TextFace):
    """``tokenizer`` (a :class:`tokenizers.Tokenizer`) and ``table`` float32 ``[vocabulary, dim]``."""

    kind = "static"
    standard = True
    outputs = frozenset({"dense", "multi"})

    def __init__(
        self, tokenizer: Tokenizer, table: NDArray[np.float32], name: str = "static", card: dict[str, Any] | None = None
    ) -> None:
        super().__init__(name, card)
        rows = most_tokens(tokenizer)
        if table.ndim != 2 or len(table) < rows or not rows:
            raise DataError(f"{name}: expected a table of {rows} rows, one a token, found shape {table.shape}")
        tokenizer.no_padding()
        tokenizer.no_truncation()
        self.tokenizer, self.table = tokenizer, np.ascontiguousarray(table, np.float32)
        self.dimension = table.shape[1]

    def with_table(self, transforms: Sequence[Transform]) -> StaticEmbedder:
        """The same tokens with the table changed: the mean of changed rows is what a text becomes."""
        table = self.table
        for transform in transforms:
            table = transform.transform(table)
        return StaticEmbedder(
            self.tokenizer, table, "+".join([self.name, *(transform.name for transform in transforms)]), self.card
        )

    def tokens(self, texts: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """(token ids of all texts in a row, offsets ``[texts + 1]``)."""
        with border(self.name):
            encodings = self.tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        ids = [encoding.ids for encoding in encodings]
        offsets = np.zeros(len(ids) + 1, np.int64)
        np.cumsum([len(part) for part in ids], out=offsets[1:])
        return np.fromiter((token for part in ids for token in part), np.int64, int(offsets[-1])), offsets

    def _encode(self, items: list[Any], *, output: str, role: str | None, batch_size: int, progress: bool) -> Output:
        from umekomi.contracts import Vectors

        if output == "multi":
            ids, offsets = self.tokens(items)
            return Vectors(self.table[ids], offsets)
        return self._means(items, progress)[0]

    def _encode_with_counts(self, items: list[str], role: str | None, batch_size: int) -> Encoded:
        vectors, lengths = self._means(items)
        return Encoded(vectors, lengths, lengths < 0)  # nothing is ever cut

    def _means(self, items: list[str], progress: bool = False) -> tuple[Floats, NDArray[np.int64]]:
        """(the mean of each text's rows, how many tokens it has)."""
        from scipy.sparse import csr_array

        out, counts = np.empty((len(items), self.dimension), np.float32), np.zeros(len(items), np.int64)
        with Progress(f"{self.name}: encoding", len(items), "texts", progress) as bar:
            for start in range(0, len(items), CHUNK):
                part = items[start : start + CHUNK]
                ids, offsets = self.tokens(part)
                counts[start : start + len(part)] = np.diff(offsets)
                share = np.repeat((1 / np.maximum(np.diff(offsets), 1)).astype(np.float32), np.diff(offsets))
                out[start : start + len(part)] = (
                    csr_array((share, ids, offsets), shape=(len(part), len(self.table))) @ self.table
                )
                bar.advance(len(part))
        return out, counts

    def lengths(self, items: Sequence[str], role: str | None = None) -> NDArray[np.int64]:
        return np.diff(self.tokens(items)[1])

    def similarity(self, a: Output, b: Output) -> Floats:
        """Cosine of dense vectors, MaxSim of multi-vectors (their tokens brought to length one)."""
        from umekomi.contracts import Vectors
        from umekomi.parts.similarity import maxsim, normalise

        if isinstance(a, Vectors) != isinstance(b, Vectors):
            raise WrongUse(f"{self.name}: expected two sides of one kind, found multi-vectors and dense vectors")
        if isinstance(a, Vectors) and isinstance(b, Vectors):
            return maxsim(Vectors(normalise(a.flat), a.offsets), Vectors(normalise(b.flat), b.offsets))
        return super().similarity(a, b)

    def _write(self, folder: Path) -> dict[str, Any]:
        from safetensors.numpy import save_file

        save_file({"embedding.weight": self.table}, folder / "model.safetensors", metadata={"format": "pt"})
        self.tokenizer.save(str(folder / "tokenizer.json"))
        write_json(folder / "modules.json", [{"idx": 0, "name": "0", "path": "", "type": _STATIC}])
        prompts = {"document": "", "query": ""}
        write_json(
            folder / "config_sentence_transformers.json",
            {
                "model_type": "SentenceTransformer",
                "prompts": prompts,
                "default_prompt_name": None,
                "similarity_fn_name": self.metric,
            },
        )
        return {}

    @classmethod
    def _read(cls, folder: Path, head: dict[str, Any], open: Open) -> StaticEmbedder:
        settings(folder, head)
        table = read_floats(folder / "model.safetensors", "embedding.weight", 2)
        tokenizer = read_tokenizer(folder / "tokenizer.json")
        return cls(tokenizer, table, head.get("name") or folder.name, head.get("card"))
