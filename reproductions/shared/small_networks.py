"""What the claims of contrastive training share: networks of four layers of 128, pre-trained here (novels, news,
captions, docstrings), fine-tuned at the same steps, rates and seeds, and judged arm against arm. Absolute figures are
those of tiny networks; differences are what is asked."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np

from umekomi.data import Dataset, load
from umekomi.files import content_hash
from umekomi.models import load as load_model
from umekomi.models.scratch import untrained_transformer
from umekomi.progress import say
from umekomi.recipes import get
from umekomi.run import Run
from umekomi.statistics import STATISTICS, Interval, interval, paired_interval
from umekomi.tasks import make
from umekomi.verbs.reproduce import Measurement, cached, cached_folder

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


def backbone(kind: str, seed: int = 0, texts: Callable[[], list[str]] = corpus) -> Any:
    """A network pre-trained here on these texts: ``"decoder"`` (Qwen3's shape, next token) or ``"encoder"`` (BERT's,
    masked tokens); kept beside the other arms."""
    from umekomi.parts.learning.language import pretrain

    label = kind if texts is corpus else f"{kind}-{texts.__name__}"
    folder = cached_folder() / f"{label}-{content_hash(SHAPE, STEPS, BATCH, LENGTH, seed, label)}"
    if not folder.is_dir():
        say(f"  pre-training the {label}, seed {seed}")
        made = untrained_transformer("qwen3" if kind == "decoder" else "bert", texts(), seed=seed, **SHAPE)
        shuffled = [texts()[i] for i in np.random.default_rng(seed).permutation(len(texts()))]
        losses = pretrain(
            made.model,
            made.tokenizer,
            shuffled,
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


def fine_tune(
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
    from umekomi.parts.learning import sentences
    from umekomi.parts.losses.contrastive import InfoNCE

    def plan(model: Any) -> list[Any]:
        loss = InfoNCE(model, **options)
        return [sentences.Stage(tables, dict.fromkeys(tables, loss), epochs, batch, rate, 0.1, "shuffle")]

    return TextEmbedder(sentences.fine_tune(start.model, plan, run=Run("tuned", seed), max_length=max_length), "tuned")


def training_sets() -> dict[str, Any]:
    """Questions, two classed sets and scored pairs: NV-Embed's mixture in small."""
    some = {}
    for name in ("trec", "agnews", "stsb"):
        table = load(name, "train")
        some[name] = table.take(np.sort(np.random.default_rng(0).permutation(table.num_rows)[:1000]))
    return {"pydocs": load("pydocs", "train"), **some}


def nv_embed(hard_negatives: int = 1, **options: Any) -> Any:
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
        kept_as: str = "",
    ) -> None:
        """Values are kept by ``kept_as`` (the claim, if it is empty), tasks, arm, seed and what small networks are."""
        self.claim, self.tasks, self.make_arm, self.seeds, self.about, self.kept_as = (
            claim,
            tuple(tasks),
            make_arm,
            tuple(seeds) or SEEDS,
            about,
            kept_as or claim,
        )

    @cache  # noqa: B019 - one object a claim
    def of(self, arm: str, seed: int) -> list[tuple[Any, str]]:
        def measure() -> list[Any]:
            say(f"  {self.claim}: {arm}, seed {seed}")
            return scores(self.make_arm(arm, seed), self.tasks)

        found = cached([self.kept_as, self.tasks, arm, seed, SHAPE, STEPS, RATE, *self.about], measure)
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
        "ndcg@10" if task in ("pydocs", "scifact", "cranfield", "jaquad", "jsquad") else "accuracy"
    )
