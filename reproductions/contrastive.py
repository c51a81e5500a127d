"""What the parts of contrastive training are worth, each against the others at the same steps, rates and seeds, on
networks of four layers of 128 pre-trained here (novels, news, captions, docstrings): the claims of SimCSE, NV-Embed,
Gemini Embedding and Qwen3-Embedding that two cores can test. Absolute figures are those of tiny networks; differences
are what is asked."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa

from umekomi.data import Dataset, load
from umekomi.data.contrast import contrastive_rows
from umekomi.files import content_hash
from umekomi.models import load as load_model
from umekomi.models.scratch import untrained_transformer
from umekomi.progress import say
from umekomi.recipes import get
from umekomi.run import Run
from umekomi.statistics import STATISTICS, Interval, interval, paired_interval
from umekomi.tasks import make
from umekomi.verbs.reproduce import Claim, Measurement, cached, cached_folder

SEEDS = (0, 1, 2)
STEPS, BATCH, LENGTH = 500, 16, 128
SHAPE: dict[str, Any] = {"layers": 4, "width": 128, "heads": 4, "vocabulary": 4000, "max_length": 256}
RATE = 5e-4
"""Of all fine-tuning here: small networks take larger steps."""
QUICK = {
    "SEEDS": (0,),
    "STEPS": 2,
    "LENGTH": 32,
    "SHAPE": {"layers": 2, "width": 32, "heads": 4, "vocabulary": 400, "max_length": 48},
}


@cache
def corpus() -> list[str]:
    """Texts to pre-train on: novels, news, captions (SNLI's development set) and docstrings; no test split of what is
    judged."""
    novels = [" ".join(sentences) for sentences in load("english-novels", "train")["document"].to_pylist()[:12_000]]
    news = load("agnews", "train")["text"].to_pylist()
    captions = list(
        dict.fromkeys(load("snli", "dev")["sentence1"].to_pylist() + load("snli", "dev")["sentence2"].to_pylist())
    )
    return [*novels, *news, *captions, *load("pydocs", "train").corpus["text"].to_pylist()]


def backbone(kind: str, seed: int = 0) -> Any:
    """A network pre-trained here: ``"decoder"`` (Qwen3's shape, next token) or ``"encoder"`` (BERT's, masked tokens);
    kept beside the other arms."""
    from umekomi.parts.learning.language import pretrain

    folder = cached_folder() / f"{kind}-{content_hash(SHAPE, STEPS, BATCH, LENGTH, seed, kind)}"
    if not folder.is_dir():
        say(f"  pre-training the {kind}, seed {seed}")
        made = untrained_transformer("qwen3" if kind == "decoder" else "bert", corpus(), seed=seed, **SHAPE)
        texts = [corpus()[i] for i in np.random.default_rng(seed).permutation(len(corpus()))]
        losses = pretrain(
            made.model,
            made.tokenizer,
            texts,
            objective="causal" if kind == "decoder" else "masked",
            length=LENGTH,
            steps=STEPS,
            batch_size=BATCH,
            run=Run(kind, seed),
        )
        made.card |= {"losses": losses}
        say(f"  loss {losses[0]:.2f} -> {losses[-1]:.2f} nats a token")
        made.save(folder)
    return load_model(folder)


@cache
def task_of(name: str) -> Any:
    """A task by name; AG News in a smaller cut (2,000 rows to learn a probe from, 1,500 to judge), since its whole
    takes most of the time."""
    if not name.startswith("agnews"):
        return make(name)
    whole = load("agnews")
    cut = {
        split: whole[split].take(np.sort(np.random.default_rng(0).permutation(whole[split].num_rows)[:most]))
        for split, most in (("train", 2000), ("test", 1500))
    }
    return make(
        "clustering" if name.endswith("clustering") else "classification", Dataset("agnews", cut, whole.licence)
    )


def scores(embedder: Any, tasks: Sequence[str]) -> list[Any]:
    """The values of every item, and the statistic that makes a figure of them, as (values, name) flattened: what
    :func:`cached` can hold."""
    out: list[Any] = []
    for task in tasks:
        main = task_of(task).evaluate(embedder, batch_size=128).main
        out += [main.values, np.array(main.statistic)]
    return out


def tuned(
    start: Any,
    tables: dict[str, Any],
    seed: int,
    *,
    batch: int = 32,
    epochs: float = 1,
    rate: float = RATE,
    max_length: int = 48,
    **options: Any,
) -> Any:
    """``start`` (an embedder) fine-tuned by InfoNCE on rows of the contrast."""
    from umekomi.models.text import TextEmbedder
    from umekomi.parts.learning.sentences import Stage, fine_tune
    from umekomi.parts.losses.contrastive import InfoNCE

    def plan(model: Any) -> list[Any]:
        loss = InfoNCE(model, **options)
        return [Stage(tables, dict.fromkeys(tables, loss), epochs, batch, rate, 0.1, "shuffle")]

    return TextEmbedder(fine_tune(start.model, plan, run=Run("tuned", seed), max_length=max_length), "tuned")


class Arms:
    """Figures of several arms over seeds and tasks, and their differences. The interval of a figure holds the seeds'
    figures and the first seed's interval over items; that of a difference holds every seed's paired interval: narrow
    ones are settled by items and seeds alike."""

    def __init__(
        self,
        claim: str,
        tasks: Sequence[str],
        make_arm: Callable[[str, int], Any],
        seeds: Sequence[int] = (),
        about: tuple[Any, ...] = (),
    ) -> None:
        self.claim, self.tasks, self.make_arm, self.seeds, self.about = (
            claim,
            tuple(tasks),
            make_arm,
            tuple(seeds) or SEEDS,
            about,
        )

    @cache  # noqa: B019 - one object a claim
    def of(self, arm: str, seed: int) -> list[tuple[Any, str]]:
        def measure() -> list[Any]:
            say(f"  {self.claim}: {arm}, seed {seed}")
            return scores(self.make_arm(arm, seed), self.tasks)

        found = cached([self.claim, self.tasks, arm, seed, SHAPE, STEPS, RATE, *self.about], measure)
        return [(found[i], str(found[i + 1])) for i in range(0, len(found), 2)]

    def figures(self, arm: str, seeds: Sequence[int] | None = None) -> Iterator[Measurement]:
        runs = [self.of(arm, seed) for seed in seeds or self.seeds]
        for place, task in enumerate(self.tasks):
            values, statistic = runs[0][place]
            each = [STATISTICS[statistic](run[place][0]) for run in runs]
            inside = interval(values, statistic)
            yield Measurement(
                self.claim,
                arm,
                task,
                len(values),
                metric(statistic, task),
                float(np.mean(each)),
                min([inside.low, *each]),
                max([inside.high, *each]),
                len(runs),
            )

    def differences(self, arm: str, other: str, paper: str, source: str = "") -> Iterator[Measurement]:
        gains = []
        for place, task in enumerate(self.tasks):
            each = [
                paired_interval(a[place][0], b[place][0], a[place][1])
                for a, b in ((self.of(arm, seed), self.of(other, seed)) for seed in self.seeds)
            ]
            gains.append(each)
            yield self._difference(
                f"{arm} − {other}",
                task,
                len(self.of(arm, self.seeds[0])[place][0]),
                each,
                metric(self.of(arm, self.seeds[0])[place][1], task),
                paper,
                source,
            )
        if len(self.tasks) > 1:
            means = [
                float(np.mean([gains[place][number].value for place in range(len(self.tasks))]))
                for number in range(len(self.seeds))
            ]
            spread = Interval(float(np.mean(means)), min(means), max(means))
            yield Measurement(
                self.claim,
                f"{arm} − {other}",
                "mean of the tasks",
                len(self.tasks),
                "difference, range of seeds",
                *spread,
                len(self.seeds),
                paper,
                source,
            )

    def _difference(
        self, arm: str, task: str, items: int, each: list[Interval], what: str, paper: str, source: str
    ) -> Measurement:
        value = float(np.mean([one.value for one in each]))
        return Measurement(
            self.claim,
            arm,
            task,
            items,
            f"{what}, difference",
            value,
            min(one.low for one in each),
            max(one.high for one in each),
            len(each),
            paper,
            source,
        )


def metric(statistic: str, task: str) -> str:
    """The name of what a task measures."""
    return {"spearman": "spearman", "v_measure": "v-measure"}.get(statistic) or (
        "ndcg@10" if task in ("pydocs", "scifact", "cranfield", "jaquad") else "accuracy"
    )


# --- SimCSE -----------------------------------------------------------------------------------------------------------


SIMCSE: dict[str, Any] = {"learning_rate": 3e-4, "pooling": "mean", "epochs": 2}
"""The mean of tokens, not [CLS]: after some minutes of pre-training [CLS] holds nothing, and every arm fell below its
start."""


def simcse(progress: bool) -> Iterator[Measurement]:
    claim = "simcse-views"
    tasks = ("stsb", "sick-r", "sts14")
    texts = [text for text in corpus() if 20 <= len(text) <= 160]
    chosen = [texts[i] for i in np.random.default_rng(0).permutation(len(texts))[:4000]]
    arms = {
        "two masks": {},
        "one mask for both": {"views": "same"},
        "no dropout": {"views": "none"},
        "temperature .001": {"temperature": 0.001},
        "temperature 1": {"temperature": 1.0},
    }

    def make_arm(arm: str, seed: int) -> Any:
        start = backbone("encoder", 0)
        if arm == "not trained on pairs":
            return start.embedder("mean")
        if arm == "tf-idf":
            return get("tfidf")().fit({"text": chosen})
        recipe = replace(get("simcse")(), **SIMCSE, **arms[arm])
        return recipe.fit({"text": chosen}, start=start, seed=seed)

    found = Arms(claim, tasks, make_arm, about=(SIMCSE,))
    for arm in ("tf-idf", "not trained on pairs"):
        yield from found.figures(arm, (0,))
    for arm in arms:
        yield from found.figures(arm)
    paper = {
        "one mask for both": "82.5 − 43.6 (STS-B dev)",
        "no dropout": "82.5 − 71.1",
        "temperature .001": "86.2 − 84.9",
        "temperature 1": "86.2 − 64.0",
    }
    for arm, source in paper.items():
        yield from found.differences("two masks", arm, "+", source)


# --- duplicates in the batch ------------------------------------------------------------------------------------------


def duplicates(progress: bool) -> Iterator[Measurement]:
    """Questions and the names of their classes (TREC, six of them): in a batch of 64 a dozen rows have the same
    positive."""
    from umekomi.parts.learning.batches import InstructedCollator
    from umekomi.parts.losses.contrastive import Candidates, InfoNCE

    claim = "duplicate-masking"
    names = {
        "ABBR": "abbreviation",
        "DESC": "description",
        "ENTY": "entity",
        "HUM": "human being",
        "LOC": "location",
        "NUM": "number",
    }

    def named(split: str) -> Any:
        table = load("trec", split)
        return pa.table(
            {
                "text": table["text"],
                "label": [names.get(str(label).upper(), str(label)) for label in table["label"].to_pylist()],
            }
        )

    train, test = (
        contrastive_rows(named(split), claim, in_batch=True, labels="label", negatives=1) for split in ("train", "test")
    )
    train, test = (table.drop_columns(["negative_1"]) for table in (train, test))
    arms = {"duplicates left out": True, "duplicates as negatives": False}
    batch = 64
    labels = named("train")["label"].to_pylist()
    shares = {label: labels.count(label) / len(labels) for label in set(labels)}
    from scipy.stats import binom

    floor = sum(
        share * sum(binom.pmf(count, batch - 1, share) * np.log1p(count) for count in range(batch))
        for share in shares.values()
    )
    yield Measurement(
        claim,
        "rows with the same positive in a batch of 64, predicted from class shares",
        "trec",
        len(labels),
        "share of the others",
        *3 * (float(sum(s**2 for s in shares.values())),),
        1,
    )
    yield Measurement(
        claim,
        "least loss where duplicates are negatives, predicted from class shares",
        "trec",
        len(labels),
        "nats",
        *3 * (float(floor),),
        1,
    )

    def measure(arm: str, seed: int) -> list[Any]:
        def learn() -> list[Any]:
            say(f"  {claim}: {arm}, seed {seed}")
            choice = Candidates(duplicates=arms[arm])
            model = tuned(
                backbone("encoder").embedder("mean"),
                {"all": train},
                seed,
                batch=batch,
                temperature=0.05,
                candidates=choice,
            )
            right = model.similarity(model.encode(test["anchor"].to_pylist()), model.encode(sorted(shares))).argmax(1)
            hits = np.array(
                [sorted(shares)[i] == wanted for i, wanted in zip(right, test["positive"].to_pylist(), strict=True)],
                float,
            )
            probe = task_of("trec").evaluate(model, batch_size=128).main.values
            order = np.random.default_rng(seed).permutation(train.num_rows)[: 20 * batch]
            loss, collator = (
                InfoNCE(model.model, temperature=0.05, candidates=choice),
                InstructedCollator(preprocess_fn=model.model.preprocess, model=model.model),
            )
            import torch

            losses, same = [], []
            for start in range(0, len(order), batch):
                some = train.take(np.sort(order[start : start + batch])).to_pylist()
                made = collator(some)
                columns = [
                    {
                        key[len(name) + 1 :]: value
                        for key, value in made.items()
                        if key.startswith(f"{name}_") and hasattr(value, "to")
                    }
                    for name in ("anchor", "positive")
                ]
                with torch.no_grad():
                    losses.append(float(loss(columns, made["label"])))
                groups = made["label"][:, 1].numpy()
                same.append(((groups[:, None] == groups[None]).sum() - batch) / (batch * (batch - 1)))
            return [hits, probe, np.array(losses), np.array(same)]

        return cached([claim, arm, seed, SHAPE, STEPS, RATE, batch], learn)

    runs = {arm: [measure(arm, seed) for seed in SEEDS] for arm in arms}
    for place, what, name in (
        (0, "nearest class name", "accuracy"),
        (1, "linear probe", "accuracy"),
        (2, "loss behind training, batches of 64", "nats"),
        (3, "rows with the same positive, counted", "share of the others"),
    ):
        for arm in arms:
            each = [float(run[place].mean()) for run in runs[arm]]
            inside = interval(runs[arm][0][place])
            yield Measurement(
                claim,
                f"{arm}: {what}",
                "trec",
                len(runs[arm][0][place]),
                name,
                float(np.mean(each)),
                min([inside.low, *each]),
                max([inside.high, *each]),
                len(SEEDS),
            )
    for place, what in ((0, "nearest class name"), (1, "linear probe")):
        each = [paired_interval(a[place], b[place]) for a, b in zip(*runs.values(), strict=True)]
        yield Measurement(
            claim,
            f"duplicates left out − as negatives: {what}",
            "trec",
            len(runs["duplicates left out"][0][place]),
            "accuracy, difference",
            float(np.mean([one.value for one in each])),
            min(one.low for one in each),
            max(one.high for one in each),
            len(SEEDS),
            "+",
        )


# --- labelled data: in-batch negatives, positives, order of stages ----------------------------------------------------

CLASSES = ("trec", "agnews", "trec:clustering", "agnews:clustering")


def labelled(progress: bool) -> Iterator[Measurement]:
    claim = "in-batch-on-classes"
    arms = ("no in-batch negatives", "in-batch negatives", "in-batch negatives but of one's own class")

    def make_arm(arm: str, seed: int) -> Any:
        tables = {}
        for name in ("trec", "agnews"):
            table = load(name, "train")
            made = contrastive_rows(
                table.take(np.sort(np.random.default_rng(0).permutation(table.num_rows)[:1200])),
                claim,
                in_batch=arm != arms[0],
                negatives=1,
                seed=seed,
            )
            if arm == arms[1]:
                made = made.set_column(
                    made.column_names.index("label"),
                    "label",
                    pa.array([[policy[0], -1, policy[2]] for policy in made["label"].to_pylist()]),
                )
            tables[name] = made
        if arm == "not trained on pairs":
            return backbone("encoder").embedder("mean")
        return tuned(backbone("encoder").embedder("mean"), tables, seed, temperature=0.05)

    found = Arms(claim, CLASSES, make_arm)
    yield from found.figures("not trained on pairs", (0,))
    for arm in arms:
        yield from found.figures(arm)
    yield from found.differences(arms[0], arms[1], "+", "71.94 − 70.83 (MTEB, single stage)")
    yield from found.differences(arms[2], arms[1], "?")
    yield from found.differences(arms[0], arms[2], "?")


def training_sets() -> dict[str, Any]:
    """Questions, two classed sets and scored pairs: NV-Embed's mixture in small."""
    some = {}
    for name in ("trec", "agnews", "stsb"):
        table = load(name, "train")
        some[name] = table.take(np.sort(np.random.default_rng(0).permutation(table.num_rows)[:1000]))
    return {"pydocs": load("pydocs", "train"), **some}


def small_nv(hard_negatives: int = 1, **options: Any) -> Any:
    return replace(
        get("nv-embed").small(),
        pooling="mean",
        learning_rates=(RATE, RATE),
        max_length=48,
        temperature=0.05,
        max_rows=700,
        hard_negatives=hard_negatives,
        **options,
    )


def stages(progress: bool) -> Iterator[Measurement]:
    claim = "stage-order"
    orders = ("two-stage", "reversed", "single", "single-in-batch")
    found = Arms(
        claim,
        ("pydocs", "trec", "agnews", "stsb"),
        lambda arm, seed: small_nv(order=arm).fit(training_sets(), start=backbone("decoder"), seed=seed),
    )
    for arm in orders:
        yield from found.figures(arm)
    for other, source in (
        ("reversed", "72.31 − 71.85"),
        ("single", "72.31 − 71.94"),
        ("single-in-batch", "72.31 − 70.83"),
    ):
        yield from found.differences("two-stage", other, "+", source)


def examples(progress: bool) -> Iterator[Measurement]:
    claim = "examples-or-labels"
    data = {name: table for name, table in training_sets().items() if name in ("trec", "agnews")}
    found = Arms(claim, CLASSES, lambda arm, seed: small_nv(labels=arm).fit(data, start=backbone("decoder"), seed=seed))
    for arm in ("example", "label"):
        yield from found.figures(arm)
    yield from found.differences("example", "label", "+", "69.27 − 64.80 (16 MTEB tasks)")


# --- hard negatives ---------------------------------------------------------------------------------------------------


@cache
def planted() -> tuple[Any, dict[str, str]]:
    """(pairs of pydocs, each planted false negative's positive): every answer has a near-copy in the corpus that is an
    answer too."""
    from umekomi.data.augment import damaged

    table = load("pydocs", "train").pairs()
    return table, {damaged(text, 7, 0.1): text for text in table["positive"].to_pylist()}


def mining(progress: bool) -> Iterator[Measurement]:
    from umekomi.tasks.negatives import hard_negatives

    claim = "mining-margin"
    table, copies = planted()
    arms = {
        "the nearest": {},
        "the nearest below 95 % of the positive": {"relative_margin": 0.05},
        "no mined negatives": None,
    }

    @cache
    def mined(arm: str) -> Any:
        options = {"relative_margin": None, "duplicate": None} | (arms[arm] or {})
        say(f"  {claim}: mining, {arm}")
        return hard_negatives(
            load_model("minilm"), table, list(copies), negatives=2, keep_short=True, batch_size=64, **options
        ).table  # type: ignore[arg-type]

    def false_share(arm: str) -> Any:
        def count() -> list[Any]:
            some = mined(arm).to_pylist()
            return [
                np.array(
                    [
                        float(copies.get(row[name]) == row["positive"])
                        for row in some
                        for name in ("negative_1", "negative_2")
                    ]
                )
            ]

        return cached([claim, arm, "planted", len(copies)], count)[0]

    for arm in ("the nearest", "the nearest below 95 % of the positive"):
        share = false_share(arm)
        yield Measurement(
            claim,
            f"{arm}: mined negatives that are copies of the answer",
            "pydocs with planted copies",
            len(share),
            "share",
            *interval(share),
            1,
        )

    def make_arm(arm: str, seed: int) -> Any:
        made = contrastive_rows(table if arms[arm] is None else mined(arm), claim, seed=seed)
        return tuned(backbone("encoder").embedder("mean"), {"all": made}, seed, temperature=0.05)

    found = Arms(claim, ("pydocs",), make_arm)
    for arm in arms:
        yield from found.figures(arm)
    yield from found.differences(
        "the nearest below 95 % of the positive", "the nearest", "+", "NV-Embed: mined negatives, 71.83 − 70.73"
    )
    yield from found.differences("the nearest below 95 % of the positive", "no mined negatives", "+")


# --- direction and pooling --------------------------------------------------------------------------------------------


def poolings(progress: bool) -> Iterator[Measurement]:
    claim = "direction-and-pooling"
    names = {
        "last token": "lasttoken",
        "mean": "mean",
        "latent attention": "latent",
        "MLP of as many parameters, mean": "latent-control",
    }
    triples = load("snli-cad", "train")

    def make_arm(arm: str, seed: int) -> Any:
        direction, _, pooling = arm.partition(", ")
        import torch

        with torch.random.fork_rng():
            torch.manual_seed(seed)
            start = backbone("decoder").embedder(
                names[pooling], bidirectional=direction == "bidirectional", latents=32, heads=4
            )
        tables = {
            "questions": contrastive_rows(load("pydocs", "train"), claim),
            "entailment": contrastive_rows(triples.slice(0, 3000), claim),
        }
        return tuned(start, tables, seed, temperature=0.05)

    found = Arms(claim, ("pydocs", "stsb", "sick-r"), make_arm)
    for direction in ("causal", "bidirectional"):
        for pooling in names:
            yield from found.figures(f"{direction}, {pooling}")
    for pooling, source in (
        ("last token", "71.63 − 70.85"),
        ("mean", "71.71 − 71.38"),
        ("latent attention", "72.31 − 71.61"),
    ):
        yield from found.differences(f"bidirectional, {pooling}", f"causal, {pooling}", "+", source)
    yield from found.differences("bidirectional, mean", "bidirectional, last token", "+", "71.71 − 71.63")
    yield from found.differences("bidirectional, latent attention", "bidirectional, mean", "+", "72.31 − 71.71")
    yield from found.differences(
        "bidirectional, latent attention", "bidirectional, MLP of as many parameters, mean", "?"
    )


# --- merging ----------------------------------------------------------------------------------------------------------


def merges(progress: bool) -> Iterator[Measurement]:
    """Three fine-tunings of one start, on three mixtures; judged on what they learned and on what none of them saw."""
    claim = "merging"
    tasks = ("pydocs", "trec", "stsb", "sick-r", "cranfield", "agnews")
    mixtures = (("pydocs", "trec"), ("pydocs", "stsb"), ("trec", "stsb"))

    @cache
    def ingredient(number: int, seed: int) -> Any:
        data = {name: table for name, table in training_sets().items() if name in mixtures[number]}
        return small_nv(order="single-in-batch").fit(data, start=backbone("decoder"), seed=10 * seed + number)

    def make_arm(arm: str, seed: int) -> Any:
        if arm.startswith("mixture"):
            return ingredient(int(arm[-1]), seed)
        from umekomi.models.text import TextEmbedder
        from umekomi.parts import merging

        states = [ingredient(number, seed).model.state_dict() for number in range(3)]

        merged = merging.soup(states) if arm == "soup" else merging.slerp_all(states)
        return TextEmbedder(merging.load_into(ingredient(0, seed).model, merged), arm)

    found = Arms(claim, tasks, make_arm)
    singles = [f"mixture {number}" for number in range(3)]
    for arm in (*singles, "soup", "slerp"):
        yield from found.figures(arm)

    def value(arm: str, seed: int) -> float:
        return float(np.mean([STATISTICS[statistic](values) for values, statistic in found.of(arm, seed)]))

    for arm in ("soup", "slerp"):
        for what, over in (("mean of its ingredients", np.mean), ("best of its ingredients", np.max)):
            each = [value(arm, seed) - float(over([value(single, seed) for single in singles])) for seed in SEEDS]
            yield Measurement(
                claim,
                f"{arm} − {what}",
                "mean of the tasks",
                len(tasks),
                "difference, range of seeds",
                float(np.mean(each)),
                min(each),
                max(each),
                len(SEEDS),
                "+",
                "Qwen3-Embedding: +2.5 over no merge",
            )
    yield from found.differences("slerp", "soup", "?")


# --- layers -----------------------------------------------------------------------------------------------------------


def layers(progress: bool) -> Iterator[Measurement]:
    """Every layer on three tasks, the last, a fixed depth and the metrics' choices beside them: minilm, and decoders
    pre-trained here."""
    from umekomi.verbs.inspect import inspect

    claim = "layer-sweep"
    models: dict[str, list[Callable[[], Any]]] = {
        "minilm": [lambda: load_model("minilm")],
        "decoder pre-trained here": [lambda seed=seed: backbone("decoder", seed).embedder("mean") for seed in SEEDS],  # type: ignore[misc]
    }
    for name, made in models.items():
        for data in ("stsb", "trec"):
            runs = []
            for number, build in enumerate(made):

                def look(
                    build: Callable[[], Any] = build, number: int = number, data: str = data, name: str = name
                ) -> list[Any]:
                    say(f"  {claim}: {name}, {data}, seed {number}")
                    done = inspect(build(), data, most=200, views=2, batch_size=64)
                    chosen = {choice.rule: choice.value for choice in done.choices}
                    rules = [
                        "last layer",
                        "a layer at random (mean)",
                        "two thirds of the depth",
                        "oracle (the best on this data)",
                        "lowest DiME",
                        "lowest InfoNCE",
                        "lowest dataset entropy",
                        "lowest prompt entropy",
                    ]
                    best = max(done.layers, key=lambda row: row.value)
                    return [
                        np.array([row.value for row in done.layers]),
                        np.array([chosen[rule] for rule in rules]),
                        np.array([best.layer, *best.difference]),
                        np.array(rules),
                    ]

                runs.append(cached([claim, name, data, number, SHAPE, STEPS], look))
            values = np.stack([run[0] for run in runs])
            for layer in range(values.shape[1]):
                yield Measurement(
                    claim,
                    f"{name}, layer {layer}",
                    data,
                    1,
                    "quality",
                    float(values[:, layer].mean()),
                    float(values[:, layer].min()),
                    float(values[:, layer].max()),
                    len(runs),
                )
            best = np.stack([run[2] for run in runs])
            yield Measurement(
                claim,
                f"{name}, best layer − last layer",
                data,
                1,
                "quality, difference",
                float(best[:, 1].mean()),
                float(best[:, 2].min()),
                float(best[:, 3].max()),
                len(runs),
                "+",
                "2 to 16 points over 32 MTEB tasks",
            )
            rules = np.stack([run[1] for run in runs])
            for place, rule in enumerate(runs[0][3]):
                yield Measurement(
                    claim,
                    f"{name}, {rule}",
                    data,
                    1,
                    "quality",
                    float(rules[:, place].mean()),
                    float(rules[:, place].min()),
                    float(rules[:, place].max()),
                    len(runs),
                )
            for place in range(4, rules.shape[1]):
                gap = rules[:, place] - rules[:, 2]
                yield Measurement(
                    claim,
                    f"{name}, {runs[0][3][place]} − two thirds of the depth",
                    data,
                    1,
                    "quality, gap (no interval over items)",
                    float(gap.mean()),
                    float(gap.min()),
                    float(gap.max()),
                    len(runs),
                    "+",
                )


CLAIMS = [
    Claim(
        "simcse-views",
        "simcse",
        "Two dropout masks are better than one for both and than none; a temperature of .05 than .001 and 1.",
        "Gao et al. 2021, tables 2, D.1 and section 4.1",
        "+",
        simcse,
    ),
    Claim(
        "duplicate-masking",
        "gemini-embedding",
        "Rows with an equal positive must not be each other's negatives; what they cost can be foretold from class "
        "shares.",
        "Lee et al. 2025, eq. 2",
        "+",
        duplicates,
    ),
    Claim(
        "in-batch-on-classes",
        "nv-embed",
        "On labelled data in-batch negatives do harm, being of one's own class.",
        "Lee et al. 2025 (NV-Embed), section 3.3, table 4",
        "+",
        labelled,
    ),
    Claim(
        "stage-order",
        "nv-embed",
        "Retrieval first and everything then is better than the reverse and than one stage.",
        "Lee et al. 2025 (NV-Embed), table 4",
        "+",
        stages,
    ),
    Claim(
        "examples-or-labels",
        "nv-embed",
        "Texts of the class are better positives than its name.",
        "Lee et al. 2025 (NV-Embed), table 5",
        "+",
        examples,
    ),
    Claim(
        "mining-margin",
        "nv-embed",
        "A margin relative to the positive keeps unmarked answers out of the mined negatives.",
        "Lee et al. 2025 (NV-Embed), section 4.1.1",
        "+",
        mining,
    ),
    Claim(
        "direction-and-pooling",
        "nv-embed",
        "A decoder embeds better without its causal mask, and latent attention better than mean and last token.",
        "Lee et al. 2025 (NV-Embed), table 3",
        "+",
        poolings,
    ),
    Claim(
        "merging",
        "qwen3-embedding",
        "Merged checkpoints are better than their ingredients.",
        "Zhang et al. 2025, table 5",
        "+",
        merges,
    ),
    Claim(
        "layer-sweep",
        "inspect",
        "Some middle layer is better than the last, and metrics without labels find it.",
        "Skean et al. 2025, figures 1 and 6",
        "+",
        layers,
    ),
]
