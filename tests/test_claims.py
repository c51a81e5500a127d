"""Every claim of every reproduction at its quick size: its arms, data and metrics must be those on record, so that none
of it rots between two measurements. The figures mean nothing here, and none goes to ``results/``."""

from __future__ import annotations

import csv
import math
import re
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path

import pytest
from conftest import needs_data

from umekomi.errors import UmekomiError
from umekomi.verbs import reproduce as verb

pytestmark = needs_data
RESULTS = Path(__file__).resolve().parent.parent / "results"
WORDNET = {
    "csr-codes",
    "fastsent-comparison",
    "hill-imdb",
    "hill-novels",
    "hill-ranks",
    "hill-resources",
    "hill-signs",
    "matryoshka-adaptive",
    "matryoshka-widths",
    "poincare-dimensions",
    "poincare-links",
    "poincare-nouns",
    "poincare-nouns-10",
}
"""What needs WordNet's database, which no Python package brings."""
ALTERNATIVES = (
    "layer #", "(the authors' package)", "(4 bits)", "(6 bits)", "all-mpnet", "CaptionRep", "order gap",
    "Tree-LSTM −", "RNTN −", "RNN −",
)  # fmt: skip
"""In arms and metrics that a small run has fewer of: a small network has fewer layers and writes no two sentences, a
peer may not be installed, nor pictures' vectors be there, and cut sets of trees and sentences hold other sentences."""


def recorded() -> dict[str, list[dict[str, str]]]:
    """The rows on record by claim; those of benchmarks are none of a claim's."""
    by_claim: dict[str, list[dict[str, str]]] = {}
    for file in sorted(RESULTS.glob("*.csv")):
        with file.open(newline="", encoding="utf-8") as stream:
            for row in csv.DictReader(stream):
                if file.stem != "benchmarks":
                    assert row["recipe"] == file.stem
                    by_claim.setdefault(row["claim"], []).append(row)
    return by_claim


RECORDED = recorded()


def arm(row) -> tuple[str, ...]:
    """What a row is about: arm, data, metric, the paper's figure and on what."""
    return (
        re.sub(r"layer \d+", "layer #", row["arm"]),
        *(row[key] for key in ("data", "metric", "paper", "paper_data")),
    )


@pytest.fixture(scope="module")
def claims():
    """All claims, small, in a small world."""
    pytest.importorskip("sentence_transformers")
    from reproductions.shared.quick import small_world

    with small_world():
        yield verb.claims(quick=True)


UNMEASURED = {
    "documents-vectors",
    "documents-written-again",
}
"""Claims whose command is there and whose measurement, hours long, is not yet: one that is on record leaves this set."""

UNMEASURED_ARMS: dict[str, tuple[str, ...]] = {"sentiment-paragraphs": ("paragraphs both, mlp, inferred",)}
"""What arms of a claim on record begin with that joined it since: measured again, it leaves this table."""


def test_every_claim_is_on_record_and_every_record_has_its_claim(claims):
    assert set(claims) - UNMEASURED == set(RECORDED)
    assert set(claims) >= UNMEASURED and not UNMEASURED & set(RECORDED)
    measured = {claim.recipe for claim in claims.values() if claim.name not in UNMEASURED}
    assert measured == {rows[0]["recipe"] for rows in RECORDED.values()}


def needs(name):
    """Skip a claim whose data or tagger no package of the development environment brings."""
    if name in WORDNET:
        from umekomi.data.wordnet import folder

        try:
            folder()
        except UmekomiError as error:
            pytest.skip(str(error))
    if name == "elmo-tags" and find_spec("denckring_en_pos") is None:
        pytest.skip("the tagger's package denckring-en-pos is not installed")


@pytest.mark.parametrize("name", sorted(UNMEASURED))
def test_a_claim_that_is_not_measured_yet_runs(name, claims):
    needs(name)
    rows = claims[name].measure(False)
    assert rows and all(row.claim == name and math.isfinite(row.value) for row in rows)


@pytest.mark.parametrize("name", sorted(RECORDED))
def test_a_claim_has_the_rows_on_record(name, claims):
    needs(name)
    rows = [asdict(row) for row in claims[name].measure(False)]
    assert rows
    for row in rows:
        assert row["claim"] == name
        assert math.isfinite(row["value"]), row
        assert row["low"] <= row["high"], row
        assert row["rows"] >= 1
        assert row["seeds"] >= 1
    measured, known = [arm(row) for row in rows], {arm(row) for row in RECORDED[name]}
    several = [each for each in measured if measured.count(each) > 1 and "layer #" not in each[0]]
    assert not several, "two rows of one arm"
    data = {each[1] for each in measured}
    assert {each for each in measured if not each[0].startswith(UNMEASURED_ARMS.get(name, ("\0",)))} <= known
    assert not any(each[0].startswith(UNMEASURED_ARMS.get(name, ("\0",))) for each in known), "it is measured"
    wanted = {
        each for each in known if each[1] in data and not any(part in f"{each[0]} {each[2]}" for part in ALTERNATIVES)
    }
    assert wanted <= set(measured)


def test_quick_rows_have_the_columns_on_record_and_are_never_written(claims):
    def state():
        return {file: file.stat().st_mtime_ns for file in RESULTS.rglob("*")}

    before = state()
    (row, *_) = verb.reproduce("in-batch-on-classes", quick=True)
    assert list(row) == list(verb.COLUMNS) == list(RECORDED["in-batch-on-classes"][0])
    assert state() == before
