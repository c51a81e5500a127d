"""Claims about shorter and sparser vectors, on minilm's vectors of WordNet's definitions (wordnet-topics: 41 classes,
by lexicographer file): nested prefixes against widths trained apart (Kusupati et al. 2022); sparse codes against
prefixes and main directions at as many active dimensions and at as many bytes (Wen et al. 2025); what their contrast
adds, and annealing (CSRv2)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

import numpy as np

from umekomi.data import load
from umekomi.models import load as load_model
from umekomi.models.cascade import Cascade
from umekomi.parts.similarity import normalise
from umekomi.progress import say
from umekomi.statistics import interval, paired_interval
from umekomi.transforms import Binary, Int8, Pca, SparseCode
from umekomi.verbs.reproduce import Claim, Measurement, cached

SEEDS = (0, 1, 2)
DATA = "wordnet-topics, minilm"
TRAIN, TEST = 40_000, 5_000
WIDTHS = (8, 16, 32, 64, 128, 256)
EPOCHS = {"heads": 15, "codes": 10}
QUICK = {"SEEDS": (0,), "TRAIN": 300, "TEST": 60, "EPOCHS": {"heads": 1, "codes": 1}}


@cache
def features() -> tuple[Any, Any, Any, Any]:
    """(training vectors, their classes, test vectors, their classes)."""
    parts = []
    for split, count in (("train", TRAIN), ("test", TEST)):
        table = load("wordnet-topics")[split]
        chosen = np.sort(np.random.default_rng(0).permutation(table.num_rows)[:count])
        texts, labels = table["text"].take(chosen).to_pylist(), table["label"].take(chosen).to_pylist()
        (vectors,) = cached(
            ["shrinking", split, count],
            lambda texts=texts: [load_model("minilm").encode(texts, batch_size=64, progress=True)],
        )  # type: ignore[misc]
        parts += [vectors, np.array(labels)]
    return tuple(parts)  # type: ignore[return-value]


def nearest(train: Any, test: Any) -> Any:
    """1 where the nearest training vector (cosine) has the test vector's class, float64 ``[test]``."""
    _, labels, _, wanted = features()
    train, test = normalise(train), normalise(test)
    right = np.zeros(len(wanted))
    for start in range(0, len(wanted), 500):
        scores = test[start : start + 500] @ train.T
        best = np.asarray(scores.argmax(1)).ravel() if hasattr(scores, "indptr") else scores.argmax(1)
        right[start : start + 500] = labels[best] == wanted[start : start + 500]
    return right


def row(claim: str, arm: str, values: Sequence[Any], metric: str) -> Measurement:
    """The mean over seeds; bounds hold every seed's figure and the first one's interval over items."""
    inside, each = interval(values[0]), [float(one.mean()) for one in values]
    return Measurement(
        claim,
        arm,
        DATA,
        len(values[0]),
        metric,
        float(np.mean(each)),
        min([inside.low, *each]),
        max([inside.high, *each]),
        seeds=len(values),
    )


def difference(claim: str, arm: str, a: Sequence[Any], b: Sequence[Any], metric: str, paper: str = "+") -> Measurement:
    """Paired over items, each item's values averaged over seeds."""
    found = paired_interval(np.mean(a, axis=0), np.mean(b, axis=0))
    return Measurement(
        claim,
        arm,
        DATA,
        len(a[0]),
        f"{metric}, difference",
        found.value,
        found.low,
        found.high,
        seeds=max(len(a), len(b)),
        paper=paper,
    )


# --- Matryoshka -------------------------------------------------------------------------------------------------------


def mapped(widths: Sequence[int], tied: bool, seed: int) -> tuple[Any, list[Any]]:
    """(a linear map of minilm's 384 dimensions to the longest width, 1 for every test vector that each head gets
    right)."""
    import torch

    from umekomi.parts.losses.nested import NestedHeads

    train, labels, test, wanted = features()
    classes, y = np.unique(labels, return_inverse=True)

    def learn() -> list[Any]:
        torch.manual_seed(seed)
        layer = torch.nn.Linear(train.shape[1], max(widths))
        heads = NestedHeads(None, len(classes), widths, [1.0] * len(widths), tied=tied, seed=seed)
        optimizer = torch.optim.AdamW([*layer.parameters(), *heads.parameters()], 2e-3, weight_decay=1e-4)
        x, target = torch.from_numpy(train), torch.from_numpy(y)
        epochs, batch = EPOCHS["heads"], 256
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=epochs * -(-len(x) // batch))
        for _ in range(epochs):
            for rows in torch.randperm(len(x)).split(batch):
                loss = heads.loss(layer(x[rows]), target[rows])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
        with torch.no_grad():
            out = layer(torch.from_numpy(test))
            right = [
                classes[torch.nn.functional.linear(out[:, : m.shape[1]], m, b).argmax(1).numpy()] == wanted
                for m, b in heads.heads()
            ]
            return [*[each.astype(np.float64) for each in right], layer(x).numpy(), out.numpy()]

    found = cached(["matryoshka", TRAIN, list(widths), tied, seed], learn)
    return found[len(widths) :], found[: len(widths)]


def probe(train: Any, test: Any) -> Any:
    """A linear classifier on fixed features: 1 for every test vector it gets right."""
    from sklearn.linear_model import LogisticRegression

    _, labels, _, wanted = features()
    return (LogisticRegression(C=10, max_iter=300).fit(train, labels).predict(test) == wanted).astype(np.float64)


def nested(progress: bool) -> Iterator[Measurement]:
    claim, metric = "matryoshka-widths", "accuracy"
    train, _, test, _ = features()
    together = [mapped(WIDTHS, False, seed)[1] for seed in SEEDS]
    tied = [mapped(WIDTHS, True, seed)[1] for seed in SEEDS]
    generator = np.random.default_rng(0)
    for place, width in enumerate(WIDTHS):
        say(f"  {width} dimensions")
        one = [mapped((width,), False, seed)[1][0] for seed in SEEDS]
        arms = {
            "nested": [run[place] for run in together],
            "nested, tied": [run[place] for run in tied],
            "trained apart": one,
        }
        main = Pca(width).fit(train)
        chosen = [np.sort(generator.permutation(train.shape[1])[:width]) for _ in SEEDS]
        fixed = {
            "main directions": lambda main=main: [probe(main.transform(train), main.transform(test))],
            "first dimensions": lambda width=width: [probe(train[:, :width], test[:, :width])],
            "random dimensions": lambda chosen=chosen: [probe(train[:, each], test[:, each]) for each in chosen],
        }
        arms |= {name: cached(["matryoshka", TRAIN, name, width], make) for name, make in fixed.items()}  # type: ignore[arg-type]
        for name, values in arms.items():
            yield row(claim, f"{name}, {width} dimensions", values, metric)
        yield difference(claim, f"nested − trained apart, {width} dimensions", arms["nested"], one, metric, "0")
        yield difference(
            claim, f"nested − main directions, {width} dimensions", arms["nested"], arms["main directions"], metric
        )


def adaptive(progress: bool) -> Iterator[Measurement]:
    """The cascade's accuracy and mean width; how much of exact search a shortlist by a prefix keeps."""
    claim = "matryoshka-adaptive"
    _, labels, _, wanted = features()
    right, whole, used = [], [], []
    lists: dict[tuple[int, int], list[Any]] = {}
    for seed in SEEDS:
        train, test = mapped(WIDTHS, False, seed)[0]
        cascade = Cascade(WIDTHS, seed=seed).fit(train, labels)
        answers, took = cascade.predict(test)
        right.append((answers == wanted).astype(np.float64))
        used.append(took.astype(np.float64))
        whole.append((cascade.heads_[-1].predict(normalise(test[:, : WIDTHS[-1]])) == wanted).astype(np.float64))
        a, b = normalise(test[:500]), normalise(train)
        exact = np.argsort(-(a @ b.T), 1)[:, :10]
        for width, size in ((8, 200), (16, 200), (32, 200), (16, 50)):
            coarse = normalise(test[:500, :width]) @ normalise(train[:, :width]).T
            near = np.argpartition(-coarse, size, axis=1)[:, :size]
            lists.setdefault((width, size), []).append(
                np.array([len(set(x) & set(y)) / 10 for x, y in zip(exact, near, strict=True)])
            )
    yield row(claim, "cascade over 8 to 256 dimensions", right, "accuracy")
    yield row(claim, "256 dimensions for every text", whole, "accuracy")
    yield difference(claim, "cascade − 256 dimensions for every text", right, whole, "accuracy", "0")
    yield row(claim, "cascade over 8 to 256 dimensions", used, "dimensions used")
    for (width, size), values in lists.items():
        yield row(claim, f"shortlist of {size} by {width} dimensions, looked at again with 256", values, "recall@10")


# --- sparse codes -----------------------------------------------------------------------------------------------------


def coded(k: int, seed: int, contrast: str = "none", start_k: int = 0) -> Any:
    """1 where the nearest code has the test code's class."""
    train, labels, test, _ = features()

    def learn() -> list[Any]:
        say(f"  k {k}, contrast {contrast}, from {start_k or k}, seed {seed}")
        settings: dict[str, Any] = {
            "epochs": EPOCHS["codes"],
            "batch_size": 1024,
            "learning_rate": 1e-3,
            "weight_decay": 0.0,
            "seed": seed,
            "start_k": start_k,
        }
        code = SparseCode(k, contrast=0.0 if contrast == "none" else 0.1, **settings).fit(
            train, labels=labels if contrast == "labels" else None
        )
        return [nearest(code.transform(train), code.transform(test)), np.array([code.dead_])]

    return cached(["csr", TRAIN, k, seed, contrast, start_k], learn)


def codes(progress: bool) -> Iterator[Measurement]:
    claim, metric = "csr-codes", "1-NN accuracy"
    train, _, test, _ = features()
    yield row(claim, "all 384 dimensions (1,536 bytes)", [nearest(train, test)], metric)
    fixed = {
        width: {
            "main directions": [nearest(main.transform(train), main.transform(test))],
            "first dimensions": [nearest(train[:, :width], test[:, :width])],
        }
        for width in (2, 4, 8, 16, 32, 64, 128)
        for main in [Pca(width).fit(train)]
    }
    for width, arms in fixed.items():
        for name, values in arms.items():
            yield row(claim, f"{name}, {width} ({4 * width} bytes)", values, metric)
    bits, bytes_ = Binary().fit(train), Int8().fit(train)
    packed = {
        "one bit a dimension (48 bytes)": nearest(bits.transform(train), test),
        "one byte a dimension (384 bytes)": nearest(bytes_.transform(train), test),
    }
    for name, value in packed.items():
        yield row(claim, name, [value], metric)
    for k in (2, 4, 8, 32):
        plain, alone, labelled = (
            [coded(k, seed, contrast)[0] for seed in SEEDS] for contrast in ("none", "self", "labels")
        )
        said = f"k {k} ({8 * k} bytes)"
        yield row(claim, f"sparse code, {said}", plain, metric)
        yield row(claim, f"with the contrast of each text with itself, {said}", alone, metric)
        yield row(claim, f"with the contrast of labels, {said}", labelled, metric)
        yield row(claim, f"sparse code, {said}", [coded(k, seed)[1] for seed in SEEDS], "share of dead latents")
        yield difference(
            claim, f"sparse code − main directions, {k} active", plain, fixed[k]["main directions"], metric
        )
        yield difference(
            claim, f"sparse code − main directions, {8 * k} bytes", plain, fixed[2 * k]["main directions"], metric, "?"
        )
        yield difference(claim, f"contrast of each text with itself − none, k {k}", alone, plain, metric)
        yield difference(claim, f"contrast of labels − none, k {k}", labelled, plain, metric)
        if k <= 4:
            eased = [coded(k, seed, start_k=64)[0] for seed in SEEDS]
            yield row(claim, f"annealed from 64, {said}", eased, metric)
            yield row(
                claim,
                f"annealed from 64, {said}",
                [coded(k, seed, start_k=64)[1] for seed in SEEDS],
                "share of dead latents",
            )
            yield difference(claim, f"annealed from 64 − not, k {k}", eased, plain, metric)


CLAIMS = [
    Claim(
        "matryoshka-widths",
        "matryoshka",
        "Nested prefixes are as good as widths trained apart.",
        "Kusupati et al. 2022, figures 2 and 3",
        "0",
        nested,
    ),
    Claim(
        "matryoshka-adaptive",
        "matryoshka",
        "A cascade over prefixes keeps full accuracy at a fraction of the width; a short prefix's shortlist keeps the "
        "neighbours.",
        "Kusupati et al. 2022, section 4",
        "0",
        adaptive,
    ),
    Claim(
        "csr-codes",
        "csr",
        "A few active latents keep more than as many dimensions; contrast adds to it.",
        "Wen et al. 2025, table 4",
        "+",
        codes,
    ),
]
