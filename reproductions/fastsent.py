"""Hill, Cho & Korhonen's comparison in small: which way of making sentence vectors from running text is best depends on
what they are for. Trained on half of english-novels (3.3 million words; the paper has 70 million sentences of books);
judged supervised (logistic regression on MR, CR, SUBJ, MPQA, TREC) and unsupervised (STS14, SICK), with TF-IDF and
random vectors beside them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from umekomi.data import load
from umekomi.data.vocabulary import count_tokens, split_words
from umekomi.models.bags import BagEmbedder
from umekomi.models.base import EmbedderBase
from umekomi.progress import say
from umekomi.recipes import get
from umekomi.statistics import interval, paired_interval
from umekomi.tasks.labels import Classification
from umekomi.tasks.pairs import Similarity
from umekomi.verbs.reproduce import Claim, Measurement, cached

SEEDS = (0, 1, 2)
SUPERVISED = ("mr", "cr", "subj", "mpqa", "trec")
UNSUPERVISED = ("sts14", "sick-r")
PAPER = {  # MR, CR, SUBJ, MPQA, TREC accuracy; STS14, SICK Spearman
    "FastSent": (70.8, 78.4, 88.7, 80.6, 76.8, 0.63, 0.61),
    "FastSent+AE": (71.8, 76.7, 88.8, 81.5, 80.4, 0.62, 0.60),
    "CBOW sum": (73.6, 77.3, 89.1, 85.0, 82.2, 0.64, 0.60),
    "skip-gram sum": (73.6, 77.3, 89.2, 85.0, 82.2, 0.62, 0.60),
    "TF-IDF": (73.7, 79.2, 90.3, 82.4, 85.0, 0.58, 0.52),
    "DictRep": (76.7, 78.7, 90.7, 87.2, 81.0, 0.67, None),
}
PAPER |= {"PV-DBOW": (60.2, 66.9, 76.3, 70.7, 59.4, 0.42, 0.42), "PV-DM": (61.5, 68.6, 76.4, 78.1, 55.8, None, None)}
WIDTH = 100
ONE_SEED = ("TF-IDF", "PV-DBOW", "PV-DM")
QUICK = {"SEEDS": (0,)}


class Paragraphs(EmbedderBase):
    """gensim's paragraph vectors: a text's vector is inferred."""

    kind, modalities = "paragraphs", frozenset({"text"})

    def __init__(self, model: Any, name: str) -> None:
        self.model, self.name, self.dimension, self.card = model, name, WIDTH, {}

    def _encode(self, items: list[Any], **options: Any) -> Any:
        return np.stack(
            [self.model.infer_vector(words, epochs=10) for words in split_words(items, "plain").to_pylist()]
        ).astype(np.float32)

    def _write(self, folder: Any) -> Any:
        raise NotImplementedError("gensim's model is judged and not kept")

    _read = classmethod(_write)


def models(arm: str, seed: int) -> Any:
    novels = load("english-novels")["train"]
    novels = novels.slice(0, novels.num_rows // 2)
    if arm.startswith("FastSent"):
        return get("fastsent")(min_count=5, autoencode=arm.endswith("AE"), threads=1).fit(novels, seed=seed)
    sentences = [sentence for document in novels["document"].to_pylist() for sentence in document]
    found = count_tokens(split_words(sentences, "plain"), 5)
    if arm == "random vectors":
        return BagEmbedder(
            found.names, np.random.default_rng(seed).normal(size=(len(found.names), WIDTH)).astype(np.float32), name=arm
        )
    if arm.startswith("PV"):
        from gensim.models.doc2vec import Doc2Vec, TaggedDocument

        tagged = [TaggedDocument(found.text(i), [i]) for i in range(len(sentences))]
        trained = Doc2Vec(
            tagged,
            dm=int(arm == "PV-DM"),
            vector_size=WIDTH,
            window=5,
            negative=5,
            min_count=5,
            epochs=3,
            workers=1,
            seed=seed,
        )
        return Paragraphs(trained, arm)
    from gensim.models import Word2Vec

    words = [found.text(i) for i in range(len(sentences))]
    model = Word2Vec(
        words,
        vector_size=WIDTH,
        window=5,
        negative=5,
        min_count=5,
        sg=int(arm.startswith("skip")),
        epochs=3,
        workers=1,
        seed=seed,
    )
    table = BagEmbedder(found.names, model.wv[found.names].astype(np.float32), name=arm)
    if arm == "DictRep":
        return get("dictrep")().fit(load("wordnet-glosses")["train"], start=table, seed=seed)
    return table


def values(arm: str, seed: int) -> list[Any]:
    """The values of every item on every set, in the order of SUPERVISED and UNSUPERVISED."""

    def measure() -> list[Any]:
        say(f"  {arm}, seed {seed}")
        model = None if arm == "TF-IDF" else models(arm, seed)
        out = []
        for name in (*SUPERVISED, *UNSUPERVISED):
            data = load(name)
            table = data["test"] if "test" in data.splits else data["all"]
            train = data.splits.get("train") if name == "trec" else None
            judged = model
            if judged is None:
                columns = [
                    part[column].to_pylist()
                    for part in (table, *([train] if train is not None else []))
                    for column in ("text", "sentence1", "sentence2")
                    if column in part.column_names
                ]
                judged = get("tfidf")().fit(
                    {"text": list(dict.fromkeys(text for column in columns for text in column))}
                )
            task: Any = Classification(table, train=train) if name in SUPERVISED else Similarity(table)
            out.append(task.evaluate(judged).main.values)
        return out

    return cached(["hill", arm, seed], measure)


def comparison(progress: bool) -> Iterator[Measurement]:
    claim = "fastsent-comparison"
    arms = (
        "FastSent",
        "FastSent+AE",
        "CBOW sum",
        "skip-gram sum",
        "PV-DBOW",
        "PV-DM",
        "DictRep",
        "TF-IDF",
        "random vectors",
    )
    found = {arm: [values(arm, seed) for seed in ((0,) if arm in ONE_SEED else SEEDS)] for arm in arms}
    for place, name in enumerate((*SUPERVISED, *UNSUPERVISED)):
        supervised = name in SUPERVISED
        metric, statistic = ("accuracy", "mean") if supervised else ("spearman", "spearman")
        merged = {
            arm: np.mean([run[place] for run in runs], axis=0) if supervised else runs[0][place]
            for arm, runs in found.items()
        }
        for arm, runs in found.items():
            each = [interval(run[place], statistic, resamples=300) for run in runs]
            figures = PAPER.get(arm, ())
            paper = figures[place] if figures and figures[place] is not None else ""
            low, high = np.mean([one.low for one in each]), np.mean([one.high for one in each])
            yield Measurement(
                claim,
                arm,
                name,
                len(runs[0][place]),
                metric,
                float(np.mean([one.value for one in each])),
                float(low),
                float(high),
                seeds=len(runs),
                paper=str(paper),
                paper_data="Toronto Books, 70M sentences" if paper else "",
            )
        for other in ("CBOW sum", "TF-IDF", "random vectors"):
            difference = paired_interval(merged["FastSent"], merged[other], statistic, resamples=300)
            yield Measurement(
                claim,
                f"FastSent − {other}",
                name,
                len(merged[other]),
                f"{metric}, paired difference",
                *difference,
                seeds=len(SEEDS) if supervised else 1,
            )


CLAIMS = [
    Claim(
        "fastsent-comparison",
        "fastsent",
        "Additive models learned from neighbouring sentences equal word2vec sums, and which is best depends on the "
        "use.",
        "Hill, Cho & Korhonen 2016, tables 2 and 3",
        "0",
        comparison,
    )
]
