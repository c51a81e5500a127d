"""FastSent beside gensim's skip-gram on english-novels: words a second of the whole fit and of the loop, one thread and
all."""

from __future__ import annotations

import time
from collections.abc import Iterator

from benchmarks.run import rate, spread, timed
from umekomi.data import load
from umekomi.data.vocabulary import count_tokens, split_words
from umekomi.parts.kernels.threads import cores
from umekomi.parts.learning import arrays as epochs
from umekomi.progress import say
from umekomi.recipes import get
from umekomi.verbs.reproduce import Measurement

CLAIM = "speed-fastsent"


def measure() -> Iterator[Measurement]:
    novels = load("english-novels")["train"]
    sentences = [sentence for document in novels["document"].to_pylist() for sentence in document]
    found = count_tokens(split_words(sentences, "plain"), 5)
    words = len(found.ids)
    loop: list[float] = []
    real = epochs.learn

    def clocked(*args: object, **options: object) -> object:
        begun = time.perf_counter()
        out = real(*args, **options)  # type: ignore[arg-type]
        loop.append(time.perf_counter() - begun)
        return out

    import umekomi.recipes.fastsent as module

    module.learn = clocked  # type: ignore[assignment]
    try:
        for autoencode in (False, True):
            name = "umekomi FastSent" + "+AE" * autoencode
            for threads in dict.fromkeys((1, cores())):
                recipe = get("fastsent")(epochs=2, min_count=5, autoencode=autoencode, threads=threads)
                recipe.fit(novels.slice(0, 2000))
                loop.clear()
                whole = timed(lambda recipe=recipe: recipe.fit(novels))
                arm = f"{name}, {threads} thread{'s' * (threads > 1)}"
                yield rate(CLAIM, arm, "english-novels", len(sentences), "words/s, the loop", 2 * words, spread(loop))
                yield rate(CLAIM, arm, "english-novels", len(sentences), "words/s, the whole fit", 2 * words, whole)
    finally:
        module.learn = real
    try:
        from gensim.models import Word2Vec
    except ImportError:
        say("gensim is not installed: its arms are left out")
        return
    cut = split_words(sentences, "plain").to_pylist()
    for kind, sg in (("skip-gram", 1), ("CBOW", 0)):
        for workers in dict.fromkeys((1, cores())):
            model = Word2Vec(
                vector_size=100, window=5, negative=5, min_count=5, sample=0, sg=sg, workers=workers, seed=0
            )
            model.build_vocab(cut)
            took = timed(lambda model=model: model.train(cut, total_examples=len(cut), epochs=1), repeats=1)
            yield rate(
                CLAIM,
                f"gensim {kind}, {workers} thread{'s' * (workers > 1)}",
                "english-novels",
                len(sentences),
                "words/s, the loop",
                words,
                took,
            )
