"""Layer by Layer (Skean et al. 2025) on minilm and small networks: is the last layer the best, and do measures
without labels find the best?"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from reproductions.shared import small_networks as small
from umekomi.models import load as load_model
from umekomi.progress import say
from umekomi.verbs.reproduce import Claim, Measurement, cached

QUICK: dict[str, Any] = {}
"""What is small here is small in ``shared/small_networks.py``."""


def layers(progress: bool) -> Iterator[Measurement]:
    """Every layer on three tasks, the last, a fixed depth and the metrics' choices beside them: minilm, and decoders
    pre-trained here."""
    from umekomi.verbs.inspect import inspect

    claim = "layer-sweep"
    models: dict[str, list[Callable[[], Any]]] = {
        "minilm": [lambda: load_model("minilm")],
        "decoder pre-trained here": [
            lambda seed=seed: small.backbone("decoder", seed).embedder("mean") for seed in small.SEEDS
        ],
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

                runs.append(cached([claim, name, data, number, small.SHAPE, small.STEPS], look))
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
        "layer-sweep",
        "inspect",
        "Some middle layer is better than the last, and metrics without labels find it.",
        "Skean et al. 2025, figures 1 and 6",
        "+",
        layers,
    ),
]
