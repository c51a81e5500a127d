"""Hill, Cho & Korhonen's question, asked here: of the ways to learn sentence vectors without labels for them, which are
for supervised use, and which for search?

All that can be learned here are, on each of two corpora (english-novels; the sentences of IMDB's reviews, on which
nothing is judged), at one width and about a minute of one core each, so that methods that sum words read six times as
much as those that read word by word. Judged supervised (logistic regression: on MR, CR, SUBJ, MPQA, TREC, as SentEval's
sets, with mteb's probe; on MRPC's pairs by SentEval's protocol) and unsupervised (cosine on STS14 and SICK), raw and,
where words are summed, weighted by a / (a + p(w)) (SIF's weights), beside TF-IDF, random vectors, an encoder that has
learned nothing, and minilm. What needs no corpus is the same for both: translation (Multi30k), captions of pictures,
minilm, random vectors.

Of MRPC the official test pairs are not here: GLUE's dev pairs stand in for them, and no published figure is of those.

Pictures: Multi30k's are not here. CIFAR-10's by EfficientNet-Lite0 stand in for them, each with a caption that names
its class, where ``UMEKOMI_PICTURES`` names them (``python -m reproductions.shared.pictures``); without, CaptionRep is
left out, which is said.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa

from reproductions.shared.pictures import captioned_pictures
from umekomi.data import load
from umekomi.data.vocabulary import count_tokens, split_words
from umekomi.errors import UmekomiError
from umekomi.files import content_hash
from umekomi.models import load as open_model
from umekomi.models.bags import BagEmbedder
from umekomi.models.entity import EntityEmbedder
from umekomi.models.untrained import RandomEmbedder
from umekomi.parts.words import split_sentences
from umekomi.progress import say
from umekomi.recipes import get
from umekomi.statistics import STATISTICS, Interval, interval
from umekomi.tasks import senteval
from umekomi.tasks.labels import Classification
from umekomi.tasks.pairs import Similarity
from umekomi.verbs.reproduce import Claim, Measurement, cached

SEEDS = (0, 1, 2)
WIDTH, WORDS, VOCABULARY = 300, 100, 8000
SUMMED, READ = 80_000, 12_000
"""Sentences that methods which sum words, and those which read word by word, learn from."""
PAIRS, GLOSSES, CAPTIONS = 29_000, 30_000, 2000
EPOCHS = {"words": 5, "paragraphs": 5, "fastsent": 5, "pairs": 1, "glosses": 1, "captions": 5}
LEARNED, JUDGED, TIMED = 4000, 2000, 2000
"""Rows of MR, CR, SUBJ and MPQA that a classifier learns from and is judged on; sentences that encoding is timed on."""
INFER, RESAMPLES = 10, 300
QUICK = {
    "SEEDS": (0,), "WIDTH": 8, "WORDS": 6, "VOCABULARY": 300, "SUMMED": 400, "READ": 60, "PAIRS": 40, "GLOSSES": 200,
    "CAPTIONS": 20, "EPOCHS": dict.fromkeys(("words", "paragraphs", "fastsent", "pairs", "glosses", "captions"), 1),
    "INFER": 1, "RESAMPLES": 10, "CORPORA": ("english-novels",),
}  # fmt: skip
SUPERVISED = ("mr", "cr", "subj", "mpqa", "trec", "mrpc")
UNSUPERVISED = ("sts14", "sick-r")
CORPORA = ("english-novels", "imdb")
SUMS = ("CBOW", "skip-gram", "FastSent", "FastSent+AE", "DictRep", "CaptionRep", "random word vectors")
"""What sums words, and is weighted too."""
ORDERED = ("FastSent", "FastSent+AE", "skip-thought")
"""What needs sentences in their order."""
ALIKE = ("TF-IDF", "minilm", "random vectors", "NMT En-De", "NMT En-Fr", "CaptionRep", "CaptionRep, recurrent")
"""What no corpus is read for."""
ONCE = ("TF-IDF", "minilm")
"""In which nothing is random."""
ARMS = (
    "TF-IDF", "CBOW", "skip-gram", "PV-DBOW", "PV-DM", "FastSent", "FastSent+AE", "SAE", "SDAE", "SAE+embs",
    "SDAE+embs", "skip-thought", "NMT En-De", "NMT En-Fr", "DictRep", "DictRep, recurrent", "CaptionRep",
    "CaptionRep, recurrent", "random word vectors", "random vectors", "untrained encoder", "minilm",
)  # fmt: skip
PAPER = {  # MR, CR, SUBJ, MPQA, TREC, MRPC: accuracy; STS14, SICK: Spearman. Not of all: those that could be checked
    "TF-IDF": (73.7, 79.2, 90.3, 82.4, 85.0, None, 0.58, 0.52),
    "CBOW": (73.6, 77.3, 89.1, 85.0, 82.2, None, 0.64, 0.60),
    "skip-gram": (73.6, 77.3, 89.2, 85.0, 82.2, None, 0.62, 0.60),
    "PV-DBOW": (60.2, 66.9, 76.3, 70.7, 59.4, None, 0.42, 0.42),
    "PV-DM": (61.5, 68.6, 76.4, 78.1, 55.8, None, None, None),
    "FastSent": (70.8, 78.4, 88.7, 80.6, 76.8, None, 0.63, 0.61),
    "FastSent+AE": (71.8, 76.7, 88.8, 81.5, 80.4, None, 0.62, 0.60),
    "skip-thought": (None, None, None, None, 92.2, None, None, None),
}
WHERE = "Toronto Books, 70M sentences; tables 2 and 3"


# --- corpora ----------------------------------------------------------------------------------------------------------


@cache
def documents(corpus: str, most: int) -> list[list[str]]:
    """The first documents (a book's sentences in one), until they have ``most`` sentences."""
    if corpus == "imdb":
        texts = [
            text.replace("⏎", "\n")
            for name in ("imdb", "imdb-unlabelled")
            for part in load(name).values()
            for text in part["text"].to_pylist()
        ]
        whole = [split_sentences(text) for text in texts]
    else:
        table, books = load(corpus)["train"], {}
        for book, paragraph in zip(table["book"].to_pylist(), table["document"].to_pylist(), strict=True):
            books.setdefault(book, []).extend(paragraph)
        whole = list(books.values())
    out, count = [], 0
    for document in whole:
        if count < most:
            out.append(document[: most - count])
            count += len(out[-1])
    return out


def sentences(corpus: str, most: int) -> list[str]:
    return [sentence for document in documents(corpus, most) for sentence in document]


@cache
def counted(corpus: str) -> Any:
    return count_tokens(split_words(sentences(corpus, SUMMED), "plain"), 5 if SUMMED > 10_000 else 1)


# --- arms -------------------------------------------------------------------------------------------------------------


@cache
def word_vectors(corpus: str, arm: str, seed: int) -> BagEmbedder:
    """CBOW's or skip-gram's, learned from the corpus."""
    from gensim.models import Word2Vec

    found = counted(corpus)
    words = [found.text(i) for i in range(len(found.offsets) - 1)]
    model = Word2Vec(
        words, vector_size=WIDTH, window=5, negative=5, min_count=1, sg=int(arm == "skip-gram"),
        epochs=EPOCHS["words"], workers=1, seed=seed,
    )  # fmt: skip
    return BagEmbedder(found.names, model.wv[found.names].astype(np.float32), name=arm)


def paragraphs(corpus: str, arm: str, seed: int) -> Any:
    """gensim's paragraph vectors."""
    from gensim.models.doc2vec import TaggedDocument

    from umekomi.models.paragraphs import ParagraphEmbedder, ParagraphTable, Settings, gensim_model

    how = Settings(arm == "PV-DM", WIDTH, 5, 5, 1e-4, 0.025, INFER)
    found = counted(corpus)
    model = gensim_model(how, seed=seed, epochs=EPOCHS["paragraphs"])
    tagged = [TaggedDocument(found.text(i), [i]) for i in range(len(found.offsets) - 1)]
    model.build_vocab(tagged)
    model.train(tagged, total_examples=len(tagged), epochs=EPOCHS["paragraphs"])
    names = list(model.wv.index_to_key)
    counts = np.array([model.wv.get_vecattr(name, "count") for name in names], np.int64)
    table = ParagraphTable(how, names, counts, model.wv.vectors.copy(), model.syn1neg.copy())
    return ParagraphEmbedder([table], name=arm)


def reading(kind: str, **more: Any) -> Any:
    """A recipe that reads word by word, at this file's sizes."""
    own = get(kind).small()
    return dataclasses.replace(
        own, dimensions=WIDTH, word_dimensions=WORDS, vocabulary=VOCABULARY, readout=WORDS, tied=True, **more
    )


def start_of(model: BagEmbedder) -> EntityEmbedder:
    return EntityEmbedder(model.names, model.vectors, name=model.name)


@cache
def own_data(arm: str) -> Any:
    """What an arm learns from that is no corpus; None for the others."""
    if arm.startswith("DictRep"):
        return load("wordnet-glosses")["train"].slice(0, GLOSSES)
    if arm.startswith("CaptionRep"):
        texts, vectors = captioned_pictures(CAPTIONS)
        return pa.table({"text": texts, "image": list(vectors)})
    if arm.startswith("NMT"):
        return load(f"multi30k-en-{arm[-2:].lower()}")["train"].slice(0, PAIRS)
    return None


def prepare(arm: str, corpus: str, seed: int) -> None:
    """Read what an arm learns from, and make what it stands on: neither is in its time."""
    own_data(arm)
    if arm not in ALIKE:
        counted(corpus)
        documents(corpus, READ)
    if arm.startswith("DictRep") or arm.endswith("+embs"):
        word_vectors(corpus, "skip-gram", seed)


def learned(arm: str, corpus: str, seed: int) -> Any:
    """The model of an arm."""
    if arm == "minilm":
        return open_model("minilm")
    if arm == "random vectors":
        return RandomEmbedder(WIDTH, seed)
    if arm in ("CBOW", "skip-gram"):
        return word_vectors(corpus, arm, seed)
    if arm == "random word vectors":
        names = counted(corpus).names
        vectors = np.random.default_rng(seed).normal(size=(len(names), WIDTH)).astype(np.float32)
        return BagEmbedder(names, vectors, name=arm)
    if arm.startswith("PV"):
        return paragraphs(corpus, arm, seed)
    if arm.startswith("FastSent"):
        own = get("fastsent")(
            dimensions=WIDTH, min_count=5 if SUMMED > 10_000 else 1, autoencode=arm.endswith("AE"), threads=1,
            epochs=EPOCHS["fastsent"],
        )  # fmt: skip
        return own.fit({"document": documents(corpus, SUMMED)}, seed=seed)
    if arm.startswith("DictRep"):
        own = get("dictrep").small()
        if arm.endswith("recurrent"):
            own = dataclasses.replace(
                get("dictrep").recurrent(), width=WIDTH, dimensions=WORDS, epochs=EPOCHS["glosses"]
            )
        return own.fit(own_data(arm), start=word_vectors(corpus, "skip-gram", seed), seed=seed)
    if arm.startswith("CaptionRep"):
        own = get("captionrep").recurrent() if arm.endswith("recurrent") else get("captionrep")()
        own = dataclasses.replace(own, width=WIDTH, epochs=EPOCHS["captions"], min_count=1)
        return own.fit(own_data(arm), seed=seed)
    if arm.startswith("NMT"):
        return reading("nmt", epochs=EPOCHS["pairs"]).fit(own_data(arm), seed=seed)
    if arm == "skip-thought":
        return reading("skip-thought").fit({"document": documents(corpus, READ)}, seed=seed)
    more: dict[str, Any] = {"noise": 0.0} if arm.startswith("SAE") else {}
    given = start_of(word_vectors(corpus, "skip-gram", seed)) if arm.endswith("+embs") else None
    own = reading("sdae", epochs=0 if arm.startswith("untrained") else 1, **more)
    return own.fit({"text": sentences(corpus, READ)}, start=given, seed=seed)


def weighted(model: Any, corpus: str) -> Any:
    """A sum of words with SIF's weights, a / (a + p(w)) for a = .001."""
    found = counted(corpus)
    share = dict(zip(found.names, found.counts / found.counts.sum(), strict=True))
    weights = np.array([1e-3 / (1e-3 + share.get(str(name), 0.0)) for name in model.names], np.float32)
    return BagEmbedder(model.names, model.vectors * weights[:, None], tokenizer=model.tokenizer, name=model.name)


# --- judging ----------------------------------------------------------------------------------------------------------


@cache
def task(name: str) -> Any:
    if name == "mrpc":
        return senteval.make("senteval:mrpc")
    data = load(name)
    if name not in SUPERVISED:
        return Similarity(data["test"] if "test" in data.splits else data["all"])
    if name == "trec":
        return Classification(data["test"], train=data["train"])
    order = np.random.default_rng(0).permutation(data["all"].num_rows)
    learned = len(order) * LEARNED // (LEARNED + JUDGED) if len(order) < LEARNED + JUDGED else LEARNED
    rows = [np.sort(order[:learned]), np.sort(order[learned : learned + JUDGED])]
    return Classification(data["all"].take(rows[1]), train=data["all"].take(rows[0]))


def judged(make: Callable[[str], Any]) -> list[Any]:
    """The values of every item on every set."""
    return [task(name).evaluate(make(name), batch_size=64).main.values for name in (*SUPERVISED, *UNSUPERVISED)]


def texts_of(name: str) -> list[str]:
    parts = [part for part in (task(name).data, getattr(task(name), "train", None)) if part is not None]
    columns = [column for column in ("text", "sentence1", "sentence2") if column in parts[0].column_names]
    return list(dict.fromkeys(text for part in parts for column in columns for text in part[column].to_pylist()))


def figures(arm: str, corpus: str, seed: int) -> list[Any]:
    """Of every item on every set, in the order of SUPERVISED and UNSUPERVISED; the same with SIF's weights, where words
    are summed; and (seconds of one core to learn, to encode 10,000 sentences, bytes of a vector, numbers learned)."""
    place = "any" if arm in ALIKE else corpus
    pictures = content_hash(captioned_pictures(CAPTIONS)[1].tobytes()) if arm.startswith("CaptionRep") else ""
    sizes = (WIDTH, WORDS, VOCABULARY, SUMMED, READ, PAIRS, GLOSSES, CAPTIONS, sorted(EPOCHS.items()), INFER)

    def measure() -> list[Any]:
        say(f"  {arm}, {place}, seed {seed}")
        if arm == "TF-IDF":
            known = {name: get("tfidf")().fit({"text": texts_of(name)}) for name in (*SUPERVISED, *UNSUPERVISED)}
            return [*judged(known.__getitem__), np.full(4, np.nan)]
        prepare(arm, corpus, seed)
        begun = time.process_time()
        model = learned(arm, corpus, seed)
        took = time.process_time() - begun
        out = judged(lambda name: model)
        if arm in SUMS:
            again = weighted(model, corpus)
            out += judged(lambda name: again)
        sample = texts_of("mr")[:TIMED]
        model.encode(sample[:64])
        begun = time.process_time()
        model.encode(sample)
        encoding = (time.process_time() - begun) * 10_000 / len(sample)
        network = getattr(model, "network", None)
        numbers = sum(p.numel() for p in network.parameters()) if network is not None else 0
        numbers = numbers or getattr(model, "vectors", np.zeros(0)).size
        return [*out, np.array([took, encoding, 4.0 * model.dimension, numbers])]

    return cached(["hill", 4, arm, place, seed, sizes, pictures], measure)


@cache
def runs(arm: str, corpus: str) -> tuple[list[Any], ...]:
    """Of each seed; none where something that the arm needs is not here, which is said."""
    try:
        return tuple(figures(arm, corpus, seed) for seed in (SEEDS[:1] if arm in ONCE else SEEDS))
    except (UmekomiError, ImportError) as error:
        say(f"{arm}: left out: {error}")
        return ()


def there(corpus: str) -> list[str]:
    """The arms that can be measured here."""
    return [arm for arm in ARMS if runs(arm, corpus)]


def statistic(place: int) -> str:
    return "mean" if place < len(SUPERVISED) else "spearman"


COUNT = len(SUPERVISED) + len(UNSUPERVISED)


def novels(progress: bool) -> Iterator[Measurement]:
    """Every arm on every set, raw and weighted."""
    yield from comparison("hill-novels", CORPORA[0], ARMS)


def reviews(progress: bool) -> Iterator[Measurement]:
    """Those that read a corpus, after another one."""
    yield from comparison("hill-imdb", "imdb", tuple(arm for arm in ARMS if arm not in ALIKE))


def comparison(claim: str, corpus: str, arms: tuple[str, ...]) -> Iterator[Measurement]:
    for arm in arms:
        if runs(arm, corpus):
            found = runs(arm, corpus)
            for weights in (0, 1) if arm in SUMS else (0,):
                for place, name in enumerate((*SUPERVISED, *UNSUPERVISED)):
                    each = [
                        interval(run[weights * COUNT + place], statistic(place), resamples=RESAMPLES) for run in found
                    ]
                    value, low, high = (float(np.mean([one[part] for one in each])) for part in range(3))
                    figure = None if weights or arm not in PAPER else PAPER[arm][place]
                    if figure is not None and figure > 1:
                        figure = round(figure / 100, 4)
                    yield Measurement(
                        claim,
                        f"{arm}, SIF-weighted" if weights else arm,
                        f"{name}, after {'no corpus' if arm in ALIKE else corpus}",
                        len(found[0][place]),
                        "accuracy" if statistic(place) == "mean" else "spearman",
                        value,
                        low,
                        high,
                        len(found),
                        "" if figure is None else str(figure),
                        "" if figure is None else WHERE,
                    )


class Resampled:
    """The means of accuracies and of correlations of every arm, of the items themselves and of resampled ones: the same
    items for all arms, so that differences are paired."""

    def __init__(self, corpus: str) -> None:
        self.values: dict[str, list[tuple[Any, ...]]] = {}
        for arm in there(corpus):
            self.values[arm] = [tuple(run[:COUNT]) for run in runs(arm, corpus)]
            if arm in SUMS:
                self.values[f"{arm}, SIF-weighted"] = [tuple(run[COUNT : 2 * COUNT]) for run in runs(arm, corpus)]
        generator = np.random.default_rng(0)
        sizes = [len(values) for values in next(iter(self.values.values()))[0]]
        self.supervised: dict[str, list[float]] = {arm: [] for arm in self.values}
        self.unsupervised: dict[str, list[float]] = {arm: [] for arm in self.values}
        for number in range(RESAMPLES + 1):
            rows = [generator.integers(0, size, size) if number else np.arange(size) for size in sizes]
            for arm, each in self.values.items():
                means = np.mean(
                    [[STATISTICS[statistic(k)](run[k][rows[k]]) for k in range(COUNT)] for run in each], axis=0
                )
                self.supervised[arm].append(float(means[: len(SUPERVISED)].mean()))
                self.unsupervised[arm].append(float(means[len(SUPERVISED) :].mean()))

    def bounds(self, values: list[float]) -> Interval:
        rest = np.array(values[1:])
        rest = rest[np.isfinite(rest)] + values[0] - np.nanmean(rest)
        low, high = np.quantile(rest, [0.025, 0.975])
        return Interval(values[0], min(float(low), values[0]), max(float(high), values[0]))

    def difference(self, use: str, arm: str, other: str) -> Interval:
        side = getattr(self, use)
        return self.bounds([a - b for a, b in zip(side[arm], side[other], strict=True)])


@cache
def resampled(corpus: str) -> Resampled:
    return Resampled(corpus)


FLOORS = ("random vectors", "untrained encoder", "random word vectors", "minilm")
"""What is no method of the paper, as sums of weighted words are not: it stands beside the ranks of those that are."""


def ranks(progress: bool) -> Iterator[Measurement]:
    """Means of both uses, and Kendall's tau between the two rankings of the paper's methods."""
    from scipy.stats import kendalltau

    for corpus in CORPORA:
        found = resampled(corpus)
        for use in ("supervised", "unsupervised"):
            for arm, values in getattr(found, use).items():
                metric = f"{use}, mean of {len(SUPERVISED if use == 'supervised' else UNSUPERVISED)}"
                seeds = len(found.values[arm])
                yield Measurement("hill-ranks", arm, corpus, COUNT, metric, *found.bounds(values), seeds=seeds)
        arms = [arm for arm in found.values if arm not in FLOORS and not arm.endswith("weighted")]
        each = [
            float(
                kendalltau([found.supervised[arm][k] for arm in arms], [found.unsupervised[arm][k] for arm in arms])[0]
            )
            for k in range(RESAMPLES + 1)
        ]
        name = "the paper's methods, supervised against unsupervised"
        yield Measurement("hill-ranks", name, corpus, len(arms), "kendall's tau", *found.bounds(each), seeds=len(SEEDS))


DIFFERENCES = (  # arm, other, use, sign in the paper
    ("skip-thought", "CBOW", "supervised", "+"),
    ("CBOW", "skip-thought", "unsupervised", "+"),
    ("SDAE", "SAE", "supervised", "+"),
    ("SDAE", "SAE", "unsupervised", "+"),
    ("SDAE+embs", "SDAE", "supervised", "+"),
    ("FastSent", "CBOW", "unsupervised", "0"),
    ("FastSent", "SDAE", "unsupervised", "+"),
    ("PV-DBOW", "TF-IDF", "supervised", "-"),
    ("PV-DBOW", "CBOW", "unsupervised", "-"),
    ("NMT En-Fr", "skip-thought", "supervised", "-"),
    ("NMT En-Fr", "SDAE", "supervised", "-"),
    ("NMT En-Fr", "CBOW", "unsupervised", "-"),
    ("SDAE", "untrained encoder", "supervised", ""),
    ("CBOW", "random word vectors", "supervised", ""),
    ("CBOW", "random word vectors", "unsupervised", ""),
    ("CBOW", "TF-IDF", "unsupervised", "+"),
)


def signs(progress: bool) -> Iterator[Measurement]:
    """What the paper concludes, as paired differences of the means."""
    for corpus in CORPORA:
        found = resampled(corpus)
        for arm, other, use, sign in DIFFERENCES:
            if not {arm, other} <= set(found.values):
                continue
            metric = f"{use}, {'accuracy' if use == 'supervised' else 'spearman'}, paired difference"
            value = found.difference(use, arm, other)
            name = f"{arm} − {other}"
            yield Measurement("hill-signs", name, corpus, COUNT, metric, *value, seeds=len(SEEDS), paper=sign)


def resources(progress: bool) -> Iterator[Measurement]:
    """What each arm takes, as it was measured on the way."""
    corpus = CORPORA[0]
    for arm in there(corpus):
        each = np.array([run[-1] for run in runs(arm, corpus)])
        if not np.isfinite(each).all():
            continue
        if arm.startswith("PV"):  # a word's vector and the one that foretells it
            each[:, 3] = 2 * WIDTH * len(counted(corpus).names)
        if arm == "minilm":
            each[:, 3] = sum(weight.numel() for weight in open_model(arm).model.parameters())
        rows = {
            "seconds to learn": each[:, 0],
            "seconds to encode 500,000 sentences": each[:, 1] * 50,
            "bytes of a vector": each[:, 2],
            "numbers in the model, million": each[:, 3] / 1e6,
            "needs sentences in order": np.full(len(each), float(arm in ORDERED)),
        }
        data = "no corpus" if arm in ALIKE else corpus
        count = len(sentences(corpus, SUMMED if arm in SUMS or arm.startswith("PV") else READ))
        for metric, values in rows.items():
            bounds = (float(values.mean()), float(values.min()), float(values.max()))
            yield Measurement("hill-resources", arm, data, count, metric, *bounds, len(values))


CLAIMS = [
    Claim("hill-novels", "hill", "Supervised or not, the best way to learn a sentence's vector is another.",
          "Hill, Cho & Korhonen 2016, tables 2 and 3", "0", novels),
    Claim("hill-imdb", "hill", "And so it is after another corpus.", "Hill, Cho & Korhonen 2016, tables 2 and 3", "0",
          reviews),
    Claim("hill-ranks", "hill", "The ranks of the methods in supervised and in unsupervised use are different ones.",
          "Hill, Cho & Korhonen 2016, section 4", "0", ranks),
    Claim("hill-signs", "hill", "Networks that know order are for supervised use, sums of words for cosine; noise "
          "helps the autoencoder.", "Hill, Cho & Korhonen 2016, section 4", "+", signs),
    Claim("hill-resources", "hill", "Sums of words are learned and encoded in a fraction of the time.",
          "Hill, Cho & Korhonen 2016", "-", resources),
]  # fmt: skip
