"""Named datasets: each knows its public home, licence, citation and checksums, is read from the folder that
``UMEKOMI_DATA`` names where it is set, and otherwise fetched from its home and cached.

Which split goes into which is fixed here; the overlaps between sets are declared in :data:`OVERLAPS`.
"""

from __future__ import annotations

import hashlib
import json
import lzma
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from umekomi.data.columns import Dataset, RetrievalData, Split
from umekomi.data.readers import read, retrieval
from umekomi.data.readers.parsing import tsv_columns
from umekomi.data.sets import sentences
from umekomi.errors import MissingExtra, WrongUse, unknown_name
from umekomi.files import file_hash
from umekomi.parts.words import sentence_spans
from umekomi.progress import say

Splits = dict[str, Split]


@dataclass(frozen=True)
class NamedSet:
    """One entry: how it is built from the offline folder, and where its public home is.

    ``hub`` is a dataset on the Hugging Face hub that ``datasets`` loads without running code; ``fetch`` turns it into
    the same splits. Where a public home exists but no such copy of it is known, ``hub`` is empty and the error says
    what to put where.
    """

    name: str
    shape: str
    language: str
    licence: str
    citation: str
    home: str
    build: Callable[[Path], Mapping[str, Split]]
    files: tuple[str, ...] = ()
    hub: str = ""
    fetch: Callable[[str], Splits] | None = None
    notes: tuple[str, ...] = field(default=())


def offline_root() -> Path | None:
    """The folder that ``UMEKOMI_DATA`` names, or None; a name that leads nowhere is an error."""
    value = os.environ.get("UMEKOMI_DATA")
    if not value:
        return None
    root = Path(value).expanduser()
    if not root.is_dir():
        raise WrongUse(f"UMEKOMI_DATA={value}: expected a folder, found none there")
    return root


def load(name: str) -> Dataset:
    """The dataset of this name, all splits. Its first use in a process says its licence where that forbids uses."""
    known = catalogue()
    if name not in known:
        raise unknown_name("dataset", name, known)
    entry = known[name]
    if not entry.files:
        built = entry.build(Path())
        return built if isinstance(built, Dataset) else Dataset(name, built, entry.licence, entry.notes)
    root = offline_root()
    if root is not None and all((root / file).exists() for file in entry.files):
        for file in entry.files:
            _verify(root, file)
        return Dataset(name, entry.build(root), entry.licence, entry.notes)
    if entry.fetch is None:
        place = f"{root}/" if root else "a folder that UMEKOMI_DATA names, as "
        raise WrongUse(
            f"{name}: its home {entry.home} offers no copy that can be fetched without a person; put it at "
            f"{place}{entry.files[0]}"
        )
    return Dataset(name, _fetched(entry), entry.licence, entry.notes)


def quiet_hub() -> None:
    """The hub's client says every retry; one line at the end is enough."""
    import logging

    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)


def _fetched(entry: NamedSet) -> Splits:
    try:
        import datasets
    except ImportError:
        raise MissingExtra("datasets", "neural", f"fetching {entry.name} from {entry.home}") from None
    assert entry.fetch is not None
    quiet_hub()
    say(f"fetching {entry.name} from {entry.home}")
    try:
        return entry.fetch(entry.hub)
    except (OSError, datasets.exceptions.DatasetsError) as error:
        raise WrongUse(
            f"{entry.name}: not under UMEKOMI_DATA ({os.environ.get('UMEKOMI_DATA') or 'not set'}), and its home "
            f"{entry.home} "
            f"cannot be reached ({type(error).__name__})"
        ) from None


@cache
def _checksums() -> dict[str, str]:
    return json.loads((Path(__file__).parent / "checksums.json").read_text())


@cache
def _verify(root: Path, file: str) -> None:
    """Say so, once, where a file is not the one that the measured figures were taken on."""
    expected = _checksums().get(file)
    if expected and file_hash(root / file) != expected:
        say(f"note: {root / file} differs from the copy that the figures in results/ were measured on (SHA-256)")


def checksums(root: Path) -> dict[str, str]:
    """What ``checksums.json`` holds: SHA-256 by file for every named set under ``root``."""
    files = sorted({file for entry in catalogue().values() for file in entry.files})
    return {file: file_hash(root / file) for file in files if (root / file).is_file()}


OVERLAPS: Mapping[frozenset[str], str] = {
    frozenset(
        {"stsb", year}
    ): "stsb was drawn from sts12 to sts16 (pair matches: train 4749/5749, dev 1125/1500, test 1004/1379)"
    for year in ("sts12", "sts13", "sts14", "sts15", "sts16")
} | {frozenset({"jaquad", "jaquad-articles"}): "the same questions, of paragraphs and of whole articles"}


def overlap(a: str, b: str) -> str | None:
    """What two sets share, where training on one spoils a figure on the other; None when nothing is known.

    >>> overlap("sts12", "stsb")[:20]
    'stsb was drawn from '
    """
    return OVERLAPS.get(frozenset({a, b}))


# --- how each set is built ------------------------------------------------------------------------------------------


def _pick(table: pa.Table, **columns: str) -> pa.Table:
    """Columns by their new name: ``_pick(table, label="coarse")`` keeps ``coarse`` as ``label``."""
    return table.select(list(columns.values())).rename_columns(list(columns))


def _scored(table: pa.Table, score: str = "score") -> pa.Table:
    values = [None if value in ("", None) else float(value) for value in table[score].to_pylist()]
    kept = [index for index, value in enumerate(values) if value is not None]
    out = _pick(table, sentence1="sentence1", sentence2="sentence2").append_column(
        "score", pa.array(values, pa.float64())
    )
    return out.take(kept)


def _stsb(root: Path) -> Splits:
    return {split: _scored(read(root / "stsb" / f"{split}.tsv.gz")) for split in ("train", "dev", "test")}


def _sts(year: str) -> Callable[[Path], Mapping[str, Split]]:
    """Pairs with their gold score, and in ``subset`` which collection each is from."""

    def build(root: Path) -> Splits:
        table = _raw_tsv(root / "sts12-16" / "sts12-16.tsv.gz")
        table = table.filter(pc.and_(pc.equal(table["year"], f"20{year}"), pc.not_equal(table["score"], "")))
        names = ["score", "sentence1", "sentence2", "source"]
        splits = {}
        for split in sorted(set(table["split"].to_pylist())):
            part = table.filter(pc.equal(table["split"], split)).select(names)
            if year == "12":
                part = pa.concat_tables([part, sentences.msrvid(root, split).select(names)])
            splits[split] = _scored(part).append_column("subset", part["source"])
        return splits

    return build


def _raw_tsv(path: Path) -> pa.Table:
    """A TSV whose scores may be empty, all as strings."""
    return pa.table(tsv_columns(path))


def _sick(root: Path) -> Splits:
    table = _raw_tsv(root / "sick" / "sick.tsv.gz")
    parts = {"train": "train", "dev": "trial", "test": "test"}
    return {
        ours: _scored(table.filter(pc.equal(table["split"], theirs)), "relatedness") for ours, theirs in parts.items()
    }


def _entailment(parts: Mapping[str, str]) -> Callable[[Path], Mapping[str, Split]]:
    names = ("sentence1", "sentence2", "label")
    return lambda root: {ours: _raw_tsv(root / "nli" / file).select(names) for ours, file in parts.items()}


def _fetch_snli(hub: str) -> Splits:
    """Rows without a gold label (-1) are left out, as in the literature."""
    out = {}
    for ours, theirs in (("train", "train"), ("dev", "validation"), ("test", "test")):
        table = _hub_table(hub, theirs)
        table = table.filter(pc.greater_equal(table["label"], 0))
        label = pa.array([("entailment", "neutral", "contradiction")[number] for number in table["label"].to_pylist()])
        out[ours] = _pick(table, sentence1="premise", sentence2="hypothesis").append_column("label", label)
    return out


def _scifact(root: Path) -> Splits:
    folder = root / "scifact"
    queries, corpus = read(folder / "queries.jsonl.gz"), read(folder / "corpus.jsonl.gz")
    return {
        split: retrieval(queries, corpus, _raw_tsv(folder / "qrels" / f"{split}.tsv.gz")) for split in ("train", "test")
    }


def _cranfield(root: Path) -> Splits:
    """Grades from Cleverdon's codes: 1 (complete answer) to 4 (minimal interest) become 4 to 1; 5 and -1 become 0. The
    text already begins with the title."""
    folder = root / "cranfield"
    judged = _raw_tsv(folder / "qrels.tsv.gz")
    grades = [5 - int(code) if code in ("1", "2", "3", "4") else 0 for code in judged["relevance_code"].to_pylist()]
    qrels = judged.select(["query-id", "corpus-id"]).append_column("score", pa.array(grades, pa.float64()))
    rows = [json.loads(line) for line in _lines_of(folder / "corpus.jsonl.gz")]
    rows = [row for row in rows if row["text"].strip()]
    known = {row["_id"] for row in rows}
    kept = [index for index, value in enumerate(qrels["corpus-id"].to_pylist()) if value in known]
    corpus = pa.table({"id": [row["_id"] for row in rows], "text": [row["text"] for row in rows]})
    return {"test": retrieval(read(folder / "queries.jsonl.gz"), corpus, qrels.take(kept))}


def _lines_of(path: Path) -> list[str]:
    import gzip

    return gzip.decompress(path.read_bytes()).decode("utf-8").splitlines()


def _crowdflower(root: Path) -> Splits:
    """Query to product, split by query (the published folds cut across queries, so that both sides would share them):
    three of five queries train, two test. A split's corpus holds the products judged for its queries; the same title
    and description is one product. Grades 1 to 4 become 0 to 3."""
    table = _raw_tsv(root / "crowdflower-search" / "pairs.tsv.gz")
    parts: dict[str, dict[str, Any]] = {
        split: {"queries": {}, "corpus": {}, "judged": {}} for split in ("train", "test")
    }
    names = ("query", "product_title", "product_description", "median_relevance")
    for query, title, description, grade in zip(*(table[name].to_pylist() for name in names), strict=True):
        digest = hashlib.blake2b(query.encode(), digest_size=4).digest()
        part = parts["train" if int.from_bytes(digest, "little") % 5 < 3 else "test"]
        query_id = part["queries"].setdefault(query, f"q{len(part['queries'])}")
        document_id = part["corpus"].setdefault(f"{title} {description}".strip(), f"p{len(part['corpus'])}")
        previous = part["judged"].get((query_id, document_id), 0)
        part["judged"][query_id, document_id] = max(previous, int(grade) - 1)
    out = {}
    for split, part in parts.items():
        judged = list(part["judged"].items())
        out[split] = retrieval(
            pa.table({"id": list(part["queries"].values()), "text": list(part["queries"])}),
            pa.table({"id": list(part["corpus"].values()), "text": list(part["corpus"])}),
            pa.table(
                {
                    "query_id": [query for (query, _), _ in judged],
                    "corpus_id": [document for (_, document), _ in judged],
                    "score": [float(grade) for _, grade in judged],
                }
            ),
        )
    return out


def _labels(folder: str, parts: Mapping[str, str], label: str = "label") -> Callable[[Path], Mapping[str, Split]]:
    def build(root: Path) -> Splits:
        return {split: _pick(read(root / folder / file), text="text", label=label) for split, file in parts.items()}

    return build


def _agnews(root: Path) -> Splits:
    test = _raw_tsv(root / "agnews" / "test.tsv.gz")
    texts = [
        f"{title} {text}"
        for title, text in zip(test["title"].to_pylist(), test["description"].to_pylist(), strict=True)
    ]
    train = _pick(_raw_tsv(root / "agnews" / "train_subset.tsv.gz"), text="text", label="label")
    return {"train": train, "test": pa.table({"text": texts, "label": test["label"]})}


def _jsts(root: Path) -> Splits:
    parts = {"train": "train", "dev": "valid", "test": "test"}
    return {ours: _scored(read(root / "jglue" / f"jsts_{theirs}.tsv.gz")) for ours, theirs in parts.items()}


def _question_answering(questions: Path, contexts: Path, key: str, text: str, question: str) -> RetrievalData:
    """Question → its paragraph; a paragraph that occurs twice is one document."""
    documents: dict[str, str] = {}
    ids: dict[str, str] = {}
    for line in _lines_of(contexts):
        row = json.loads(line)
        body = row[text].split(" [SEP] ")[-1]
        ids[str(row[key])] = documents.setdefault(body, str(row[key]))
    rows = [json.loads(line) for line in _lines_of(questions)]
    query_ids = [str(row.get("_id", row.get("id"))) for row in rows]
    return retrieval(
        pa.table({"id": query_ids, "text": [row[question] for row in rows]}),
        pa.table({"id": list(documents.values()), "text": list(documents)}),
        pa.table(
            {
                "query_id": query_ids,
                "corpus_id": [ids[str(row["context_id"])] for row in rows],
                "score": [1.0] * len(rows),
            }
        ),
    )


def _jaquad(root: Path) -> Splits:
    folder = root / "jaquad"
    return {
        ours: _question_answering(
            folder / f"{theirs}_questions.jsonl.gz", folder / f"{theirs}_contexts.jsonl.gz", "_id", "text", "text"
        )
        for ours, theirs in (("train", "train"), ("test", "dev"))
    }


def _jaquad_articles(root: Path) -> Splits:
    """Question → its article, and the sentence that holds the answer as evidence."""
    splits: dict[str, Any] = {}
    for ours, theirs in (("train", "train"), ("test", "dev")):
        contexts = map(json.loads, _lines_of(root / "jaquad" / f"{theirs}_contexts.jsonl.gz"))
        paragraphs = {row["_id"]: row for row in contexts}
        spans = {name: sentence_spans(row["text"]) for name, row in paragraphs.items()}
        articles: dict[str, list[str]] = {}
        for row in paragraphs.values():
            articles.setdefault(row["title"], []).append(row["text"])
        rows = []
        for row in map(json.loads, _lines_of(root / "jaquad" / f"{theirs}_questions.jsonl.gz")):
            paragraph, at = paragraphs[row["context_id"]], row["answers"][0][1]
            end = at + len(row["answers"][0][0])
            low, high = next(((a, b) for a, b in spans[row["context_id"]] if a <= at < b), (at, end))
            told = paragraph["text"][low:high].strip()
            rows.append({"id": row["_id"], "text": row["text"], "evidence": told, "article": paragraph["title"]})
        splits[ours] = retrieval(
            pa.Table.from_pylist([{name: row[name] for name in ("id", "text", "evidence")} for row in rows]),
            pa.table({"id": list(articles), "text": ["\n\n".join(parts) for parts in articles.values()]}),
            pa.Table.from_pylist([{"query_id": row["id"], "corpus_id": row["article"], "score": 1.0} for row in rows]),
        )
    return splits


def _jsquad(root: Path) -> Splits:
    folder = root / "jglue"
    return {
        ours: _question_answering(
            folder / f"jsquad_{theirs}_questions.jsonl.gz",
            folder / f"jsquad_{theirs}_contexts.jsonl.gz",
            "context_id",
            "context",
            "question",
        )
        for ours, theirs in (("dev", "valid"), ("test", "test"))
    }


def _jnli(root: Path) -> Splits:
    return {
        ours: _pick(
            _raw_tsv(root / "jglue" / f"jnli_{theirs}.tsv.gz"),
            sentence1="sentence1",
            sentence2="sentence2",
            label="label",
        )
        for ours, theirs in (("dev", "valid"), ("test", "test"))
    }


def _jcommonsenseqa(root: Path) -> Splits:
    """Question → its answer among the answers that all questions of the split offer."""
    out: Splits = {}
    for ours, theirs in (("train", "train"), ("dev", "valid"), ("test", "test")):
        table = _raw_tsv(root / "jglue" / f"jcommonsenseqa_{theirs}.tsv.gz")
        rows = table.to_pylist()
        answers = list(dict.fromkeys(row[f"choice{number}"] for row in rows for number in range(5)))
        places = {answer: f"a{number}" for number, answer in enumerate(answers)}
        asked = [str(row["q_id"]) for row in rows]
        right = [places[row[f"choice{row['label']}"]] for row in rows]
        out[ours] = retrieval(
            pa.table({"id": asked, "text": [row["question"] for row in rows]}),
            pa.table({"id": list(places.values()), "text": answers}),
            pa.table({"query_id": asked, "corpus_id": right, "score": [1.0] * len(rows)}),
        )
    return out


def _novels(root: Path) -> Splits:
    """One row a paragraph: a list of sentences in order. Split by book: every tenth is held out."""
    text = lzma.decompress((root / "english-novels" / "novels_sentences.txt.xz").read_bytes()).decode("utf-8")
    books: list[tuple[str, list[list[str]]]] = []
    for line in text.splitlines():
        if line.startswith("# "):
            books.append((line[2:], [[]]))
        elif line.strip():
            books[-1][1][-1].append(line)
        elif books[-1][1][-1]:
            books[-1][1].append([])
    splits: Splits = {}
    for split in ("train", "test"):
        chosen = [book for index, book in enumerate(books) if (index % 10 == 9) == (split == "test")]
        rows = [(name, paragraph) for name, paragraphs in chosen for paragraph in paragraphs if paragraph]
        splits[split] = pa.table({"book": [name for name, _ in rows], "document": [paragraph for _, paragraph in rows]})
    return splits


def _brown(root: Path) -> Splits:
    """One row a document of the corpus: its sentences in order; every tenth document is held out."""
    table = _raw_tsv(root / "brown" / "brown.tsv.gz")
    documents: dict[str, tuple[str, list[str]]] = {}
    for name, category, sentence in zip(
        *(table[column].to_pylist() for column in ("doc", "category", "sentence")), strict=True
    ):
        documents.setdefault(name, (category, []))[1].append(sentence)
    splits: Splits = {}
    for split in ("train", "test"):
        rows = [item for index, item in enumerate(documents.items()) if (index % 10 == 9) == (split == "test")]
        splits[split] = pa.table(
            {
                "id": [name for name, _ in rows],
                "category": [kind for _, (kind, _) in rows],
                "document": [sentences for _, (_, sentences) in rows],
            }
        )
    return splits


@cache  # the running Python's library is the same at every look, and long to read
def _pydocs(_: Path) -> Dataset:
    from umekomi.data import pydocs

    return pydocs.load()


def _wordnet(_: Path) -> Dataset:
    from umekomi.data import wordnet

    return wordnet.load()


def _glosses(_: Path) -> Dataset:
    from umekomi.data import wordnet

    return wordnet.glosses()


def _topics(_: Path) -> Dataset:
    from umekomi.data import wordnet

    return wordnet.topics()


def _mammals(_: Path) -> Dataset:
    from umekomi.data import wordnet

    return wordnet.descendants("mammal.n.01")


def _hyperlex(root: Path) -> Splits:
    table = _raw_tsv(root / "word-similarity" / "hyperlex_nouns.tsv.gz")
    score = pa.array([float(value) for value in table["score"].to_pylist()])
    return {"test": _pick(table, child="word1", parent="word2").append_column("score", score)}


def _triples(root: Path) -> Splits:
    return {
        ours: _raw_tsv(root / "fb15k-237" / f"{theirs}.tsv.gz")
        for ours, theirs in (("train", "train"), ("dev", "valid"), ("test", "test"))
    }


def _graph(file: str) -> Callable[[Path], Mapping[str, Split]]:
    return lambda root: {"train": _pick(_raw_tsv(root / "graphs" / file), source="u", target="v")}


def _adult(root: Path) -> Splits:
    """Every field's blanks cut off; ``?`` is no value."""
    import pyarrow as pa

    numbers = ("age", "fnlwgt", "education_num", "capital_gain", "capital_loss", "hours_per_week")
    out: Splits = {}
    for split in ("train", "test"):
        table = _raw_tsv(root / "adult" / f"adult_{split}.tsv.gz")
        columns = {}
        for name in table.column_names:
            texts = [None if value in (None, "", "?") else value.strip() for value in table[name].to_pylist()]
            values = [None if text is None else int(text) for text in texts] if name in numbers else texts
            columns["target" if name == "income" else name] = pa.array(values)
        out[split] = pa.table(columns)
    return out


def _bundled(name: str) -> Callable[[Path], Splits]:
    """One of the sets of rows that come with scikit-learn."""

    def build(_: Path) -> Splits:
        import pyarrow as pa
        from sklearn import datasets

        bunch = getattr(datasets, f"load_{name}")(**({"scaled": False} if name == "diabetes" else {}))
        columns = {str(each).replace(" ", "_"): bunch.data[:, place] for place, each in enumerate(bunch.feature_names)}
        named = getattr(bunch, "target_names", None)
        target = bunch.target if named is None else [str(named[number]) for number in bunch.target]
        return {"all": pa.table(columns | {"target": target})}

    return build


# --- how a set is fetched from the hub --------------------------------------------------------------------------------


def _hub_table(hub: str, split: str, config: str | None = None) -> pa.Table:
    import datasets

    table: pa.Table = datasets.load_dataset(hub, config, split=split).data.table
    return table


def _fetch_scored(parts: Mapping[str, str]) -> Callable[[str], Splits]:
    return lambda hub: {ours: _scored(_hub_table(hub, theirs)) for ours, theirs in parts.items()}


def _fetch_labels(parts: Mapping[str, str], text: str = "text", label: str = "label") -> Callable[[str], Splits]:
    return lambda hub: {ours: _pick(_hub_table(hub, theirs), text=text, label=label) for ours, theirs in parts.items()}


def _fetch_retrieval(parts: Mapping[str, str]) -> Callable[[str], Splits]:
    def fetch(hub: str) -> Splits:
        queries, corpus = _hub_table(hub, "queries", "queries"), _hub_table(hub, "corpus", "corpus")
        return {ours: retrieval(queries, corpus, _hub_table(hub, theirs, "default")) for ours, theirs in parts.items()}

    return fetch


@cache
def catalogue() -> Mapping[str, NamedSet]:
    """All named datasets by name. Hub ids are those of mteb 2.26's task metadata, or the home's own."""
    three = {"train": "train", "dev": "validation", "test": "test"}
    entries = [
        NamedSet(
            "pydocs",
            "retrieval",
            "en",
            "PSF-2.0",
            "docstrings of the running Python's standard library",
            "https://docs.python.org/3/library/",
            _pydocs,
        ),
        NamedSet(
            "stsb",
            "scored pairs",
            "en",
            "mixed, per source",
            "Cer et al. 2017, SemEval-2017 task 1",
            "https://huggingface.co/datasets/mteb/stsbenchmark-sts",
            _stsb,
            tuple(f"stsb/{s}.tsv.gz" for s in ("train", "dev", "test")),
            "mteb/stsbenchmark-sts",
            _fetch_scored(three),
        ),
        *(
            NamedSet(
                f"sts{year}",
                "scored pairs",
                "en",
                "per source",
                citation,
                f"https://huggingface.co/datasets/mteb/sts{year}-sts",
                _sts(year),
                ("sts12-16/sts12-16.tsv.gz", *((f"stsb/{s}.tsv.gz" for s in sentences.STSB) if year == "12" else ())),
                f"mteb/sts{year}-sts",
                _fetch_scored({"test": "test"}),
                {
                    "12": ("MSRvid is taken from STS-B, which has all of it",),
                    "13": ("without SMT, whose licence keeps it out of the collection, as in SentEval",),
                }.get(year, ("pairs without a published score are left out",) if year in ("15", "16") else ()),
            )
            for year, citation in (
                ("12", "Agirre et al. 2012, SemEval-2012 task 6"),
                ("13", "Agirre et al. 2013, *SEM 2013"),
                ("14", "Agirre et al. 2014, SemEval-2014 task 10"),
                ("15", "Agirre et al. 2015, SemEval-2015 task 2"),
                ("16", "Agirre et al. 2016, SemEval-2016 task 1"),
            )
        ),
        NamedSet(
            "sick-r",
            "scored pairs",
            "en",
            "CC BY-NC-SA 3.0",
            "Marelli et al. 2014, SemEval-2014 task 1",
            "https://huggingface.co/datasets/mteb/sickr-sts",
            _sick,
            ("sick/sick.tsv.gz",),
            "mteb/sickr-sts",
            _fetch_scored({"test": "test"}),
        ),
        NamedSet(
            "snli",
            "labelled pairs",
            "en",
            "CC BY-SA 4.0",
            "Bowman et al. 2015, EMNLP",
            "https://huggingface.co/datasets/stanfordnlp/snli",
            _entailment({"dev": "snli_dev.tsv.gz", "test": "snli_test.tsv.gz"}),
            ("nli/snli_dev.tsv.gz", "nli/snli_test.tsv.gz"),
            "stanfordnlp/snli",
            _fetch_snli,
            ("offline: no training split, lower-cased and without punctuation",),
        ),
        NamedSet(
            "snli-cad",
            "labelled pairs",
            "en",
            "Apache-2.0",
            "Kaushik, Hovy & Lipton 2020, ICLR",
            "https://github.com/acmi-lab/counterfactually-augmented-data",
            _entailment({split: f"snli_cad_{split}.tsv.gz" for split in ("train", "dev", "test")}),
            tuple(f"nli/snli_cad_{split}.tsv.gz" for split in ("train", "dev", "test")),
            notes=("dev and test hold original pairs of SNLI's dev and test splits",),
        ),
        NamedSet(
            "scifact",
            "retrieval",
            "en",
            "CC BY 4.0 / ODC-By",
            "Wadden et al. 2020; Thakur et al. 2021 (BEIR)",
            "https://huggingface.co/datasets/mteb/scifact",
            _scifact,
            (
                "scifact/corpus.jsonl.gz",
                "scifact/queries.jsonl.gz",
                "scifact/qrels/train.tsv.gz",
                "scifact/qrels/test.tsv.gz",
            ),
            "mteb/scifact",
            _fetch_retrieval({"train": "train", "test": "test"}),
        ),
        NamedSet(
            "cranfield",
            "retrieval",
            "en",
            "not stated",
            "Cleverdon 1967",
            "https://ir.dcs.gla.ac.uk/resources/test_collections/cran/",
            _cranfield,
            ("cranfield/corpus.jsonl.gz", "cranfield/queries.jsonl.gz", "cranfield/qrels.tsv.gz"),
        ),
        NamedSet(
            "crowdflower-search",
            "retrieval",
            "en",
            "not stated (Kaggle)",
            "CrowdFlower Search Results Relevance, Kaggle 2015",
            "https://www.kaggle.com/c/crowdflower-search-relevance",
            _crowdflower,
            ("crowdflower-search/pairs.tsv.gz",),
            notes=("split by query, 3:2; the same title and description is one product",),
        ),
        NamedSet(
            "agnews",
            "labelled texts",
            "en",
            "not stated",
            "Zhang, Zhao & LeCun 2015",
            "https://huggingface.co/datasets/fancyzhx/ag_news",
            _agnews,
            ("agnews/test.tsv.gz", "agnews/train_subset.tsv.gz"),
            "fancyzhx/ag_news",
            _fetch_labels({"train": "train", "test": "test"}),
            ("offline: the training split is a tokenised subset of 8,842 descriptions",),
        ),
        NamedSet(
            "trec",
            "labelled texts",
            "en",
            "not stated",
            "Li & Roth 2002",
            "https://huggingface.co/datasets/CogComp/trec",
            _labels("senteval-cls", {"train": "trec_train.tsv.gz", "test": "trec_test.tsv.gz"}, "coarse"),
            ("senteval-cls/trec_train.tsv.gz", "senteval-cls/trec_test.tsv.gz"),
        ),
        *(
            NamedSet(
                name,
                "labelled texts",
                "en",
                "not stated",
                citation,
                home,
                _labels("senteval-cls", {"all": f"{name}.tsv.gz"}),
                (f"senteval-cls/{name}.tsv.gz",),
                notes=("no official split: ten-fold cross-validation in the literature; one split named 'all'",),
            )
            for name, citation, home in (
                ("mr", "Pang & Lee 2005", "https://www.cs.cornell.edu/people/pabo/movie-review-data/"),
                ("cr", "Hu & Liu 2004", "https://www.cs.uic.edu/~liub/FBS/sentiment-analysis.html"),
                ("subj", "Pang & Lee 2004", "https://www.cs.cornell.edu/people/pabo/movie-review-data/"),
                ("mpqa", "Wiebe, Wilson & Cardie 2005", "https://mpqa.cs.pitt.edu/"),
            )
        ),
        NamedSet(
            "sst2",
            "labelled texts",
            "en",
            "not stated",
            "Socher et al. 2013",
            "https://huggingface.co/datasets/SetFit/sst2",
            _labels(
                "senteval-cls",
                {"train": "sst_binary_train.tsv.gz", "dev": "sst_binary_dev.tsv.gz", "test": "sst_binary_test.tsv.gz"},
            ),
            tuple(f"senteval-cls/sst_binary_{s}.tsv.gz" for s in ("train", "dev", "test")),
            "SetFit/sst2",
            _fetch_labels(three),
        ),
        NamedSet(
            "sst5",
            "labelled texts",
            "en",
            "not stated",
            "Socher et al. 2013",
            "https://huggingface.co/datasets/SetFit/sst5",
            _labels(
                "senteval-cls",
                {"train": "sst_fine_train.tsv.gz", "dev": "sst_fine_dev.tsv.gz", "test": "sst_fine_test.tsv.gz"},
            ),
            tuple(f"senteval-cls/sst_fine_{s}.tsv.gz" for s in ("train", "dev", "test")),
            "SetFit/sst5",
            _fetch_labels(three),
        ),
        NamedSet(
            "sst-trees",
            "trees",
            "en",
            "not stated",
            "Socher et al. 2013",
            "https://nlp.stanford.edu/sentiment/",
            sentences.sst_trees,
            tuple(f"senteval-cls/sst_trees/{s}.txt.gz" for s in sentences.STSB),
        ),
        NamedSet(
            "sick-e",
            "labelled pairs",
            "en",
            "CC BY-NC-SA 3.0",
            "Marelli et al. 2014, SemEval-2014 task 1",
            "https://zenodo.org/records/2787612",
            sentences.sick_entailment,
            ("sick/sick.tsv.gz",),
        ),
        NamedSet(
            "mrpc",
            "labelled pairs",
            "en",
            "not stated",
            "Dolan, Quirk & Brockett 2004",
            "https://huggingface.co/datasets/nyu-mll/glue",
            sentences.mrpc,
            ("nli/mrpc_train.tsv.gz", "nli/mrpc_validation.tsv.gz"),
            "nyu-mll/glue",
            sentences.fetch_mrpc,
            ("offline: without the official test split",),
        ),
        NamedSet(
            "imdb",
            "labelled texts",
            "en",
            "not stated",
            "Maas et al. 2011",
            "https://huggingface.co/datasets/stanfordnlp/imdb",
            sentences.imdb,
            ("imdb/train.tsv.gz", "imdb/test.tsv.gz"),
            "stanfordnlp/imdb",
            _fetch_labels({"train": "train", "test": "test"}),
            ("offline: 10,000 of 25,000 training and 5,000 of 25,000 test reviews",),
        ),
        NamedSet(
            "imdb-unlabelled",
            "texts",
            "en",
            "not stated",
            "Maas et al. 2011",
            "https://huggingface.co/datasets/stanfordnlp/imdb",
            sentences.imdb_unlabelled,
            ("imdb/unsup.tsv.gz",),
            "stanfordnlp/imdb",
            sentences.fetch_imdb_unlabelled,
            ("offline: 5,000 of 50,000 reviews",),
        ),
        NamedSet(
            "jsts",
            "scored pairs",
            "ja",
            "CC BY-SA 4.0",
            "Kurihara, Kawahara & Shibata 2022 (JGLUE)",
            "https://github.com/yahoojapan/JGLUE",
            _jsts,
            tuple(f"jglue/jsts_{s}.tsv.gz" for s in ("train", "valid", "test")),
            "mteb/JSTS",
            _fetch_scored({"dev": "validation"}),
        ),
        NamedSet(
            "jsquad",
            "retrieval",
            "ja",
            "CC BY-SA 4.0",
            "Kurihara, Kawahara & Shibata 2022 (JGLUE)",
            "https://github.com/yahoojapan/JGLUE",
            _jsquad,
            tuple(f"jglue/jsquad_{s}_{k}.jsonl.gz" for s in ("valid", "test") for k in ("questions", "contexts")),
            notes=("question → its paragraph; the training split is not in the offline pack",),
        ),
        NamedSet(
            "jnli",
            "labelled pairs",
            "ja",
            "CC BY-SA 4.0",
            "Kurihara, Kawahara & Shibata 2022 (JGLUE)",
            "https://github.com/yahoojapan/JGLUE",
            _jnli,
            tuple(f"jglue/jnli_{s}.tsv.gz" for s in ("valid", "test")),
            notes=("the training split is not in the offline pack",),
        ),
        NamedSet(
            "jcommonsenseqa",
            "retrieval",
            "ja",
            "CC BY-SA 4.0",
            "Kurihara, Kawahara & Shibata 2022 (JGLUE)",
            "https://github.com/yahoojapan/JGLUE",
            _jcommonsenseqa,
            tuple(f"jglue/jcommonsenseqa_{s}.tsv.gz" for s in ("train", "valid", "test")),
            notes=("question → its answer among all that the split's questions offer",),
        ),
        NamedSet(
            "jaquad",
            "retrieval",
            "ja",
            "CC BY-SA 3.0",
            "So et al. 2022, arXiv 2202.01764",
            "https://github.com/SkelterLabsInc/JaQuAD",
            _jaquad,
            tuple(f"jaquad/{s}_{k}.jsonl.gz" for s in ("train", "dev") for k in ("questions", "contexts")),
            notes=("question → its paragraph; the published dev split is our test",),
        ),
        NamedSet(
            "jaquad-articles",
            "retrieval",
            "ja",
            "CC BY-SA 3.0",
            "So et al. 2022, arXiv 2202.01764",
            "https://github.com/SkelterLabsInc/JaQuAD",
            _jaquad_articles,
            tuple(f"jaquad/{s}_{k}.jsonl.gz" for s in ("train", "dev") for k in ("questions", "contexts")),
            notes=(
                "question → its article, paragraphs joined; evidence: the sentence that holds the answer; the "
                "published dev split is our test",
            ),
        ),
        NamedSet(
            "wordnet-nouns",
            "hierarchy",
            "en",
            "WordNet",
            "Miller 1995; Nickel & Kiela 2017 for the closure",
            "https://wordnet.princeton.edu/",
            _wordnet,
        ),
        NamedSet(
            "wordnet-glosses",
            "pairs",
            "en",
            "WordNet",
            "Miller 1995; Hill et al. 2016 for dictionaries as training data",
            "https://wordnet.princeton.edu/",
            _glosses,
        ),
        NamedSet(
            "wordnet-topics",
            "labelled texts",
            "en",
            "WordNet",
            "Miller 1995 (lexicographer files)",
            "https://wordnet.princeton.edu/",
            _topics,
        ),
        NamedSet(
            "hyperlex",
            "hierarchy",
            "en",
            "not stated",
            "Vulić et al. 2017, Computational Linguistics 43(4)",
            "https://github.com/cambridgeltl/hyperlex",
            _hyperlex,
            ("word-similarity/hyperlex_nouns.tsv.gz",),
            notes=("the noun pairs; score 0 to 10",),
        ),
        NamedSet(
            "fb15k-237",
            "triples",
            "en",
            "not stated",
            "Toutanova & Chen 2015",
            "https://www.microsoft.com/en-us/download/details.aspx?id=52312",
            _triples,
            tuple(f"fb15k-237/{split}.tsv.gz" for split in ("train", "valid", "test")),
        ),
        *(
            NamedSet(
                name,
                "graph",
                "-",
                "not stated",
                citation,
                home,
                _graph(f"{name}_edges.tsv.gz"),
                (f"graphs/{name}_edges.tsv.gz",),
                notes=("undirected, each edge once",),
            )
            for name, citation, home in (
                ("cora", "Sen et al. 2008", "https://github.com/tkipf/gcn"),
                ("citeseer", "Sen et al. 2008", "https://github.com/tkipf/gcn"),
                ("pubmed", "Sen et al. 2008", "https://github.com/tkipf/gcn"),
                ("blogcatalog", "Tang & Liu 2009", "https://github.com/phanein/deepwalk"),
                ("karate", "Zachary 1977", "https://github.com/phanein/deepwalk"),
            )
        ),
        NamedSet(
            "wordnet-mammals",
            "hierarchy",
            "en",
            "WordNet",
            "Miller 1995; Nickel & Kiela 2017 for the closure",
            "https://wordnet.princeton.edu/",
            _mammals,
        ),
        NamedSet(
            "adult",
            "rows",
            "en",
            "CC BY 4.0",
            "Becker & Kohavi 1996, UCI",
            "https://archive.ics.uci.edu/dataset/2/adult",
            _adult,
            ("adult/adult_train.tsv.gz", "adult/adult_test.tsv.gz"),
        ),
        *(
            NamedSet(name, "rows", "en", licence, citation, home, _bundled(name.replace("-", "_")), notes=notes)
            for name, licence, citation, home, notes in (
                (
                    "breast-cancer",
                    "CC BY 4.0",
                    "Wolberg, Mangasarian, Street & Street 1993, UCI",
                    "https://archive.ics.uci.edu/dataset/17/breast+cancer+wisconsin+diagnostic",
                    (),
                ),
                (
                    "wine",
                    "CC BY 4.0",
                    "Aeberhard & Forina 1992, UCI",
                    "https://archive.ics.uci.edu/dataset/109/wine",
                    (),
                ),
                (
                    "diabetes",
                    "not stated",
                    "Efron, Hastie, Johnstone & Tibshirani 2004",
                    "https://www4.stat.ncsu.edu/~boos/var.select/diabetes.html",
                    ("the target is a number: the disease's progression in a year",),
                ),
            )
        ),
        NamedSet(
            "english-novels",
            "documents",
            "en",
            "public domain",
            "100 English novels, Computational Stylistics Group",
            "https://github.com/computationalstylistics/100_english_novels",
            _novels,
            ("english-novels/novels_sentences.txt.xz",),
        ),
        *(
            NamedSet(
                f"multi30k-en-{language}",
                "pairs",
                f"en, {language}",
                "not stated (captions of Flickr30k)",
                citation,
                "https://github.com/multi30k/dataset",
                partial(sentences.multi30k, other=language),
                tuple(f"multi30k/{part}.tsv.gz" for part in ("train", "val", "test_2016_flickr")),
                notes=("test: 2016's",),
            )
            for language, citation in (("de", "Elliott et al. 2016, VL"), ("fr", "Elliott et al. 2017, WMT"))
        ),
        NamedSet(
            "brown",
            "documents",
            "en",
            "non-commercial",
            "Francis & Kučera 1979",
            "https://www.nltk.org/nltk_data/",
            _brown,
            ("brown/brown.tsv.gz",),
        ),
    ]
    return {entry.name: entry for entry in entries}
