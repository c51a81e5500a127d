"""What is here as elsewhere: for each model, loss or formula that has a reference, small fixed inputs and the reference's
own outputs (``*.npz`` beside this file, written by ``python -m tests.parity.references``), and how far ours may be off.

``make parity`` compares them all and prints the differences; the site shows :data:`TABLE`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

Arrays = Mapping[str, Any]
FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Parity:
    """``ours`` makes of the inputs what the reference's outputs are: the same names, each within ``tolerance`` (absolute)
    of the reference's. ``needs`` are the packages that ours takes."""

    name: str
    what: str
    reference: str
    tolerance: float
    ours: Callable[[Arrays], dict[str, Any]]
    needs: tuple[str, ...] = ()

    def arrays(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """(inputs, the reference's outputs)."""
        with np.load(FOLDER / f"{self.name}.npz", allow_pickle=False) as found:
            both = {key: found[key] for key in found.files}
        inputs, outputs = (
            {key.removeprefix(start): value for key, value in both.items() if key.startswith(start)}
            for start in ("in/", "out/")
        )
        return inputs, outputs

    def difference(self) -> float:
        """The largest absolute difference to the reference; names and other texts must be equal."""
        inputs, outputs = self.arrays()
        found = self.ours(inputs)
        if set(found) != set(outputs):
            raise AssertionError(f"{self.name}: expected {', '.join(outputs)}, found {', '.join(found)}")
        worst = 0.0
        for key, expected in outputs.items():
            value = np.asarray(found[key])
            if value.shape != expected.shape:
                raise AssertionError(f"{self.name}, {key}: expected the shape {expected.shape}, found {value.shape}")
            if expected.dtype.kind == "U":
                if value.tolist() != expected.tolist():
                    raise AssertionError(f"{self.name}, {key}: expected {expected.tolist()}, found {value.tolist()}")
            elif expected.size:
                worst = max(worst, float(np.abs(value.astype(np.float64) - expected.astype(np.float64)).max()))
        return worst


# --- models -----------------------------------------------------------------------------------------------------------


def minilm(given: Arrays) -> dict[str, Any]:
    from umekomi.models import load

    return {"vectors": load("minilm").encode(given["texts"].tolist())}


def minilm_onnx(given: Arrays) -> dict[str, Any]:
    from umekomi.models.engines.choice import open_for_encoding

    return {"vectors": open_for_encoding("minilm", "onnx").encode(given["texts"].tolist())}


def static(given: Arrays) -> dict[str, Any]:
    from tokenizers import Tokenizer

    from umekomi.models.static import StaticEmbedder

    model = StaticEmbedder(Tokenizer.from_str(str(given["tokenizer"])), given["table"])
    return {"vectors": model.encode(given["texts"].tolist())}


def word2vec(given: Arrays) -> dict[str, Any]:
    import tempfile

    from umekomi.models import word2vec as reader

    out: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for ending in ("bin", "txt"):
            file = Path(folder) / f"table.{ending}"
            file.write_bytes(given[ending].tobytes())
            table = reader.read(file)
            out |= {f"names, {ending}": table.names, f"vectors, {ending}": table.vectors}
        near = table.most_similar("king", k=3)
        out |= {"nearest": [name for name, _ in near], "cosines": [cosine for _, cosine in near]}
        analogy = table.most_similar(["king", "woman"], ["man"], k=2)
        out |= {"analogy": [name for name, _ in analogy], "analogy, cosines": [cosine for _, cosine in analogy]}
    return out


def bm25(given: Arrays) -> dict[str, Any]:
    from umekomi.models.lexical import Bm25Embedder

    corpus, query = given["corpus"].tolist(), [str(given["query"])]
    out = {}
    for variant in ("lucene", "robertson", "atire"):
        model = Bm25Embedder.fit(corpus, words="words", variant=variant)
        out[variant] = model.similarity(model.encode_query(query), model.encode_document(corpus))[0]
    return out


def tfidf(given: Arrays) -> dict[str, Any]:
    from umekomi.models.lexical import TfIdfEmbedder

    corpus = given["corpus"].tolist()
    return {"weights": TfIdfEmbedder.fit(corpus, words="words").encode(corpus).toarray()}


def nv_embed(given: Arrays) -> dict[str, Any]:
    import tempfile

    from umekomi.models import load

    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "NV-Embed-v2"
        folder.mkdir()
        for name, content in given.items():
            if name.startswith("file:"):
                (folder / name.removeprefix("file:")).write_bytes(content.tobytes())
        model = load(folder)
        texts = given["texts"].tolist()
        return {role: model.encode(texts, role=role) for role in ("query", "document")}


# --- similarities -----------------------------------------------------------------------------------------------------


def hyperbolic(given: Arrays) -> dict[str, Any]:
    from umekomi.parts.similarity import lorentz, poincare

    points, lifted = (
        given["points"],
        np.insert(given["space"], 0, 0, axis=1),
    )  # the first coordinate follows from others
    return {"ball": poincare(points, points), "hyperboloid": lorentz(lifted, lifted)}


def maxsim(given: Arrays) -> dict[str, Any]:
    from umekomi.contracts import Vectors
    from umekomi.parts.similarity import maxsim as ours

    a, b = (Vectors(given[f"{side} tokens"], given[f"{side} offsets"]) for side in ("query", "document"))
    return {"scores": ours(a, b)}


# --- transforms -------------------------------------------------------------------------------------------------------


def gram(vectors: Any) -> Any:
    """What no choice of signs or axes changes."""
    vectors = np.asarray(vectors, np.float64)
    return vectors @ vectors.T


def whitening(given: Arrays) -> dict[str, Any]:
    from umekomi.transforms import Whitening, ZipfianWhitening

    table, p = given["table"], given["p"]
    return {
        "uniform": gram(Whitening().fit(table).transform(table)),
        "Zipfian": gram(ZipfianWhitening().fit(table, weights=p).transform(table)),
    }


def sif(given: Arrays) -> dict[str, Any]:
    from umekomi.transforms import AllButTheTop, Sif

    table, p = given["table"], given["p"]
    return {
        "weighted": Sif(1e-3).fit(table, weights=p).transform(table),
        "all but the top": AllButTheTop(2).fit(table).transform(table),
    }


# --- losses -----------------------------------------------------------------------------------------------------------


def info_nce(given: Arrays) -> dict[str, Any]:
    import torch

    from umekomi.parts.losses.contrastive import info_nce as ours

    q, d, n = (torch.from_numpy(given[name]) for name in ("queries", "documents", "negatives"))
    negatives = n[:, None]
    return {
        "in the batch": ours(q, d, temperature=0.05).item(),
        "with hard negatives": ours(q, d, negatives, temperature=0.05).item(),
    }


def online_contrastive(given: Arrays) -> dict[str, Any]:
    import torch

    from umekomi.parts.losses.graded import online_contrastive as ours

    a, b = torch.from_numpy(given["a"]), torch.from_numpy(given["b"])
    distances = 1 - torch.nn.functional.cosine_similarity(a, b)
    return {"loss": ours(distances, torch.from_numpy(given["labels"]), 0.5).item()}


# --- EDRep ------------------------------------------------------------------------------------------------------------


def normaliser(given: Arrays) -> dict[str, Any]:
    from umekomi.parts.partition import estimate, exact, mixture

    x, y, groups = given["x"], given["y"], given["groups"]
    return {"log Z": exact(x, y), "estimated log Z": estimate(x, mixture(y, groups)[0])}


_NEURAL = ("torch", "sentence_transformers")
DECIMALS = "decimals of sixty places"


def sentences(given: Arrays) -> dict[str, Any]:
    import torch

    from umekomi.parts.layers.sentence import RecurrentEncoder

    vectors, lengths = torch.from_numpy(given["vectors"]), torch.from_numpy(given["lengths"])
    ways = {"last": {}, "mean": {}, "max": {}, "max over zeros": {"pooling": "max", "padding": "zero"}}
    out = {}
    for name in ("lstm", "gru"):
        arrays = {key.partition("/")[2]: torch.from_numpy(given[key]) for key in given if key.startswith(f"{name}/")}
        more = {"self-attention": {"hops": 3, "attention_width": 5}} if name == "gru" else {}
        for way, settings in (ways | more).items():
            encoder = RecurrentEncoder(6, width=4, cell=name, **{"pooling": way} | settings)
            encoder.recurrent.cells[0].load_state_dict(arrays)
            if more and way in more:
                encoder.pool.first.weight.data = torch.from_numpy(given["first"])
                encoder.pool.second.weight.data = torch.from_numpy(given["second"])
            with torch.no_grad():
                found = encoder(vectors, lengths).vectors.numpy()
            out[way if way in more else f"{name}, {way}"] = found
    return out


TABLE = (
    Parity("minilm", "minilm's vectors", "sentence-transformers, all-MiniLM-L6-v2", 1e-5, minilm, _NEURAL),
    Parity(
        "minilm-onnx",
        "minilm's vectors by ONNX Runtime",
        "sentence-transformers, all-MiniLM-L6-v2",
        1e-5,
        minilm_onnx,
        (*_NEURAL, "onnx", "onnxruntime"),
    ),
    Parity("static", "a static table's vectors", "sentence-transformers, StaticEmbedding", 1e-6, static),
    Parity("word2vec", "word2vec files, nearest words, analogies", "gensim, KeyedVectors", 1e-6, word2vec),
    Parity("bm25", "BM25 as inner products (Lucene, Robertson, ATIRE)", "bm25s, get_scores", 1e-4, bm25),
    Parity("tfidf", "TF-IDF weights", "scikit-learn, TfidfVectorizer(sublinear_tf=True)", 1e-6, tfidf),
    Parity(
        "nv-embed",
        "NV-Embed's published layout and latent attention",
        "transformers' Mistral, then Lee et al. 2025, eq. 1 to 3, in NumPy loops",
        5e-6,
        nv_embed,
        _NEURAL,
    ),
    Parity(
        "hyperbolic",
        "distances in the Poincaré ball and on the hyperboloid",
        f"Nickel & Kiela 2017, eq. 1, and 2018, eq. 5; {DECIMALS}",
        2e-5,
        hyperbolic,
    ),
    Parity("maxsim", "MaxSim of token vectors", "sentence-transformers, util.maxsim", 1e-5, maxsim),
    Parity(
        "whitening",
        "uniform and Zipfian whitening, as inner products",
        f"(x − μ) Σ⁻¹ (y − μ) under p, Yokoi et al. 2024; {DECIMALS}",
        1e-4,
        whitening,
    ),
    Parity(
        "sif",
        "SIF's weights; all but the top",
        "Arora et al. 2017 as fractions; scikit-learn, PCA",
        1e-5,
        sif,
    ),
    Parity(
        "info-nce",
        "InfoNCE in the batch and with hard negatives",
        "sentence-transformers, MultipleNegativesRankingLoss",
        1e-5,
        info_nce,
        _NEURAL,
    ),
    Parity(
        "online-contrastive",
        "the online contrastive loss of NEAR²",
        "sentence-transformers, OnlineContrastiveLoss",
        1e-5,
        online_contrastive,
        _NEURAL,
    ),
    Parity(
        "normaliser",
        "EDRep's normaliser, exact and by Gaussians",
        f"Dall'Amico & Belliardo 2025, eq. 4 and 5; {DECIMALS}",
        2e-5,
        normaliser,
    ),
    Parity(
        "sentences",
        "BiLSTM and BiGRU under last, mean, max and self-attention",
        "torch's own layers, packed; Lin et al. 2017, eq. 6, in NumPy",
        1e-6,
        sentences,
        ("torch",),
    ),
)


def table() -> str:
    """:data:`TABLE` in Markdown."""
    rows = [f"| {each.what} | {each.reference} | {each.tolerance:g} |" for each in TABLE]
    return "\n".join(["| what | reference | largest difference allowed |", "|---|---|---|", *rows])


def main() -> int:
    """Print how far each is from its reference; the exit status says whether all are near enough."""
    from importlib.util import find_spec

    far = 0
    for each in TABLE:
        missing = [package for package in each.needs if find_spec(package) is None]
        if missing:
            print(f"{each.name}: left out, {missing[0]} is not installed")
            continue
        difference = each.difference()
        far += difference > each.tolerance
        print(f"{each.name}: {difference:.1e}, {each.tolerance:g} allowed ({each.what}: {each.reference})")
    return int(far > 0)
