"""Sizes of chunks as candidates: the same queries, the same evidence, each model on each size."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from umekomi.comparison.plan import Plan
from umekomi.data import Dataset, RetrievalData
from umekomi.errors import WrongUse
from umekomi.files import whole_file
from umekomi.tasks.chunks import Chunks, check_size, chunked, evidence_of, is_whole, joined
from umekomi.tasks.retrieval import RetrievalTask


def whole_documents(dataset: Dataset) -> Dataset:
    """Data whose rows are pages or sections of files as data of whole files, which is what is cut."""
    import pyarrow as pa

    splits = {}
    for name, split in dataset.splits.items():
        if isinstance(split, RetrievalData) or "file" not in split.column_names:
            splits[name] = split
        else:
            rows = [{"document": file, "text": text} for file, text in
                    zip(*(split[column].to_pylist() for column in ("file", "text")), strict=True)]  # fmt: skip
            splits[name] = pa.Table.from_pylist(joined(rows))
    return dataclasses.replace(dataset, splits=splits)


def plans(planned: Plan, sizes: Sequence[int], by: str, overlap: float) -> list[tuple[int, Plan]]:
    """(size, what is judged on) of every size of which something can be learned; the others are noted."""
    import pyarrow as pa

    if not isinstance(planned.task, RetrievalTask):
        raise WrongUse(f"chunks are searched; the task is {planned.task.kind}", parameter="chunks")
    data = _with_evidence(planned.task.data)
    notes = [*planned.notes, f"chunks of {', '.join(map(str, sizes))} tokens, by {by}" +
             (f", {overlap:.0%} of each repeated" if overlap else "")]  # fmt: skip
    if data.queries.num_rows < planned.task.data.queries.num_rows:
        notes.append(f"judged on the {data.queries.num_rows} queries whose evidence is one place in a document")
    if not any("evidence" in (name, "") for name in data.queries.column_names):
        notes.append("no column 'evidence' in the queries: the whole of each relevant document counts as evidence")
    out: list[tuple[int, Plan]] = []
    for size in sorted(set(sizes)):
        check_size(data, size)
        spans = chunked(data, size, by=by, overlap=overlap)
        whole = is_whole(data, spans)
        if whole:
            notes.append(
                f"no document is longer than {size} tokens: its chunks are the documents, and nothing can be learned "
                "of this size and larger ones"
            )
        task = Chunks(data, tuple(spans), planned.task.name)
        texts = pa.table({"id": [f"c{n}" for n in range(len(spans))], "text": task.texts()})
        out.append((size, dataclasses.replace(planned, task=task, own_texts=data._replace(corpus=texts))))
        if whole:
            break
    return [(size, dataclasses.replace(part, notes=tuple(notes))) for size, part in out]


def _with_evidence(data: RetrievalData) -> RetrievalData:
    """The queries that name their evidence, where some do."""
    import pyarrow.compute as pc

    if "evidence" not in data.queries.column_names:
        return data
    named = pc.greater(pc.utf8_length(pc.fill_null(data.queries["evidence"], "")), 0)
    if not pc.any(named).as_py():
        return data._replace(queries=data.queries.drop_columns(["evidence"]))
    queries = data.queries.filter(named)
    known, _ = evidence_of(data._replace(queries=queries, qrels=_of(data, queries)))
    queries = queries.filter(pc.is_in(queries["id"], value_set=_array(known)))
    return data._replace(queries=queries, qrels=_of(data, queries))


def _of(data: RetrievalData, queries: object) -> object:
    import pyarrow.compute as pc

    return data.qrels.filter(pc.is_in(data.qrels["query_id"], queries["id"].combine_chunks()))  # type: ignore[index]


def _array(names: Mapping[str, object]) -> object:
    import pyarrow as pa

    return pa.array(list(names), pa.string())


def write_chunks(folder: Path, size: int, task: Chunks) -> None:
    """``chunks-SIZE.jsonl``, as ``umekomi index`` takes it."""
    ids = task.data.corpus["id"].to_pylist()
    with whole_file(folder / f"chunks-{size}.jsonl") as temporary, temporary.open("w", encoding="utf-8") as stream:
        for number, (span, text) in enumerate(zip(task.spans, task.texts(), strict=True)):
            row = {"id": f"{ids[span.document]}#{number}", "document": ids[span.document], "start": span.start,
                   "end": span.end, "text": text}  # fmt: skip
            stream.write(json.dumps(row, ensure_ascii=False) + "\n")
