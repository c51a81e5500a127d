"""How the sets of labelled and graded sentences that SentEval judges on are built, where :mod:`umekomi.data.sets` has
not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from umekomi.data.readers.parsing import tsv_columns
from umekomi.data.trees import read_trees

Splits = dict[str, Any]
STSB = ("train", "dev", "test")


def msrvid(root: Path, split: str) -> pa.Table:
    """The pairs of STS 2012's MSRvid, whose licence keeps them out of the collection: STS-B has all of them."""
    parts = [pa.table(tsv_columns(root / "stsb" / f"{name}.tsv.gz")) for name in STSB]
    table = pa.concat_tables(parts)
    rows = table.filter(pc.and_(pc.equal(table["file"], "MSRvid"), pc.equal(table["year"], f"2012{split}")))
    return rows.select(["score", "sentence1", "sentence2"]).append_column(
        "source", pa.array(["MSRvid"] * rows.num_rows, pa.string())
    )


def sick_entailment(root: Path) -> Splits:
    """SICK's pairs with the label ``entailment``, ``neutral`` or ``contradiction``."""
    table = pa.table(tsv_columns(root / "sick" / "sick.tsv.gz"))
    out = {}
    for ours, theirs in (("train", "train"), ("dev", "trial"), ("test", "test")):
        part = table.filter(pc.equal(table["split"], theirs))
        out[ours] = part.select(["sentence1", "sentence2"]).append_column("label", pc.utf8_lower(part["entailment"]))
    return out


def mrpc(root: Path) -> Splits:
    """GLUE's division of the official training pairs; the official test pairs are not in the offline pack."""
    names = ["sentence1", "sentence2", "label"]
    parts = {"train": "train", "dev": "validation"}
    return {
        ours: pa.table(tsv_columns(root / "nli" / f"mrpc_{theirs}.tsv.gz")).select(names)
        for ours, theirs in parts.items()
    }


def imdb(root: Path) -> Splits:
    """Reviews and whether they are positive."""
    return {
        split: pa.table(tsv_columns(root / "imdb" / f"{split}.tsv.gz")).select(["text", "label"])
        for split in ("train", "test")
    }


def imdb_unlabelled(root: Path) -> Splits:
    """Reviews without a label."""
    return {"train": pa.table(tsv_columns(root / "imdb" / "unsup.tsv.gz")).select(["text"])}


def fetch_imdb_unlabelled(hub: str) -> Splits:
    """The 50,000 reviews of the original's ``unsup``."""
    import datasets

    return {"train": datasets.load_dataset(hub, split="unsupervised").data.table.select(["text"])}


def fetch_mrpc(hub: str) -> Splits:
    """GLUE's copy, which has the official test pairs with their labels."""
    import datasets

    names = ["sentence1", "sentence2", "label"]
    parts = {"train": "train", "dev": "validation", "test": "test"}
    return {
        ours: datasets.load_dataset(hub, "mrpc", split=theirs).data.table.select(names)
        for ours, theirs in parts.items()
    }


def sst_trees(root: Path) -> Splits:
    """Sentences in brackets, a label 0 to 4 at every node."""
    return {split: read_trees(root / "senteval-cls" / "sst_trees" / f"{split}.txt.gz") for split in STSB}


def multi30k(root: Path, other: str) -> Splits:
    """Captions of pictures in English and their translations: ``anchor`` and ``positive``."""
    out = {}
    for ours, theirs in (("train", "train"), ("dev", "val"), ("test", "test_2016_flickr")):
        table = tsv_columns(root / "multi30k" / f"{theirs}.tsv.gz")
        out[ours] = pa.table({"anchor": table["en"], "positive": table[other]})
    return out
