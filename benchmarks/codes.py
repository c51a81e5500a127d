"""CSR on 200,000 stored vectors: vectors a second of training, what a code leaves unexplained, dead latents, and how
many of the true neighbours it keeps, beside sentence-transformers' SparseAutoEncoder and CSR losses on the same vectors
in the same batches."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from benchmarks.run import figure, rate, timed
from benchmarks.search import million, recall
from umekomi.indexes.kinds import Sparse
from umekomi.indexes.scans import Part
from umekomi.parts.kernels.threads import cores
from umekomi.parts.similarity import normalise
from umekomi.transforms import Pca, SparseCode
from umekomi.verbs.reproduce import Measurement

CLAIM = "speed-codes"
DATA = "static(minilm), 256 dimensions"
K, BATCH, EPOCHS, RATE = 32, 4096, 3, 1e-3
SEEDS = (0, 1, 2)


def quality(arm: str, held: Any, each: list[tuple[Any, Any, Any]], rows: int) -> Iterator[Measurement]:
    """``each``: (codes of the first 300 held-out vectors as CSR, of the rest, their reconstruction) by seed."""
    queries, documents = held[:300], held[300:]
    true = np.argsort(-(queries @ documents.T), 1)[:, :10]
    spread = ((documents - documents.mean(0)) ** 2).sum()
    kept, left = [], []
    for asked, stored, rebuilt in each:
        scores = normalise(asked) @ normalise(stored).T
        scores = scores.toarray() if hasattr(scores, "toarray") else scores
        kept.append(recall(np.argsort(-scores, 1)[:, :10], true))
        left.append(float(((documents - rebuilt) ** 2).sum() / spread))
    yield figure(CLAIM, arm, DATA, rows, "recall@10 of the exact neighbours", kept)
    yield figure(CLAIM, arm, DATA, rows, "share of variance left", left)


def measure() -> Iterator[Measurement]:
    vectors = million()
    vectors = np.ascontiguousarray(normalise(vectors[:220_000]))
    held, vectors = vectors[:20_000], vectors[20_000:]
    rows = len(vectors)
    for contrast in (0.0, 0.1):
        # the contrast compares all of a batch with all: smaller batches, and one seed, or it takes an hour
        size, seeds = (BATCH, SEEDS) if not contrast else (1024, SEEDS[:1])
        said = f"{'reconstruction alone' if not contrast else 'with the contrast (γ 0.1)'}, batches of {size:,}"
        ours, seconds, dead = [], [], []
        for seed in seeds:
            settings = {
                "epochs": EPOCHS,
                "batch_size": size,
                "learning_rate": RATE,
                "weight_decay": 0.0,
                "contrast": contrast,
                "seed": seed,
            }
            SparseCode(K, epochs=1, batch_size=size, contrast=contrast).fit(vectors[: 2 * size])
            begun = time.perf_counter()
            code = SparseCode(K, **settings).fit(vectors)  # type: ignore[arg-type]
            seconds.append((time.perf_counter() - begun) / EPOCHS)
            codes = code.transform(held)
            ours.append((codes[:300], codes[300:], code.reconstruct(codes[300:])))
            dead.append(code.dead_)
        yield rate(
            CLAIM,
            f"umekomi, {said}",
            DATA,
            rows,
            "vectors/s",
            rows,
            (float(np.median(seconds)), min(seconds), max(seconds)),
        )
        yield from quality(f"umekomi, {said}", held, ours, rows)
        yield figure(CLAIM, f"umekomi, {said}", DATA, rows, "share of dead latents", dead)
        yield from peer(vectors, held, contrast, said, size, seeds)
    yield from lists()
    for width in (K, 2 * K):
        fitted = Pca(width).fit(vectors)
        short = fitted.transform(held)
        raw = (held[300:] - fitted.mean_) @ fitted.directions_ @ fitted.directions_.T + fitted.mean_
        yield from quality(
            f"PCA, {width} dimensions ({4 * width} bytes; a code of {K} takes {8 * K})",
            held,
            [(short[:300], short[300:], raw)],
            rows,
        )


def lists() -> Iterator[Measurement]:
    """Searching codes: our inverted lists, scipy's product with the ten best of every row, faiss's flat scan of as many
    bytes."""
    whole = million()
    whole = normalise(whole)
    queries, whole = whole[:512], whole[1000:]
    for k in (8, 32):
        settings = {"epochs": 3, "batch_size": BATCH, "learning_rate": RATE, "weight_decay": 0.0, "contrast": 0.0}
        code = SparseCode(k, **settings).fit(whole[:200_000])  # type: ignore[arg-type]
        asked, every = normalise(code.transform(queries)), normalise(code.transform(whole))
        for rows in (200_000, len(whole)):
            stored, data = every[:rows], f"codes of {DATA}, k {k}, {every.shape[1]} latents"
            columns = stored.tocsc()
            counts = np.diff(columns.indptr)
            candidates = float(
                np.mean(
                    [counts[asked.indices[a:b]].sum() for a, b in zip(asked.indptr, asked.indptr[1:], strict=False)]
                )
            )
            yield figure(CLAIM, "postings met a query", data, rows, "postings", [candidates])
            yield figure(
                CLAIM,
                "the fullest latent's share of all postings, times the latents",
                data,
                rows,
                "ratio to even",
                [float(counts.max() / counts.mean())],
            )
            part = Part(stored, Sparse().derive(stored), np.zeros(0, np.uint8), rows)
            found = Sparse().search(part, asked, 10, None)[1]
            slow = _scipy(asked, columns)
            assert np.allclose(np.sort(found, 1), np.sort(slow, 1), atol=1e-5)
            arms = {
                "umekomi, inverted lists": lambda some, part=part: Sparse().search(part, some, 10, None),
                "scipy, CSR times CSR and the ten best": lambda some, columns=columns: _scipy(some, columns),
            }
            for arm, ask in arms.items():
                for what, batch, count in (("one by one", 1, 64), ("256 at once", 256, 512)):
                    parts = [asked[i : i + batch] for i in range(0, count, batch)]
                    median, least, most = timed(lambda ask=ask, parts=parts: [ask(part) for part in parts])  # type: ignore[misc]
                    yield Measurement(
                        CLAIM,
                        arm,
                        data,
                        rows,
                        f"ms/query, {what}",
                        1000 * median / count,
                        1000 * least / count,
                        1000 * most / count,
                        seeds=1,
                    )
            yield from _flat(whole[:rows], queries, 2 * k, data)


def _scipy(asked: Any, columns: Any) -> Any:
    scores = (asked @ columns.T).tocsr()
    out = np.full((asked.shape[0], 10), -np.inf, np.float32)
    for row in range(asked.shape[0]):
        values = scores.data[scores.indptr[row] : scores.indptr[row + 1]]
        best = np.partition(values, len(values) - 10)[-10:] if len(values) > 10 else values
        out[row, : len(best)] = np.sort(best)[::-1]
    return out


def _flat(stored: Any, queries: Any, width: int, data: str) -> Iterator[Measurement]:
    try:
        import faiss
    except ImportError:
        return
    faiss.omp_set_num_threads(cores())
    flat = faiss.IndexFlatIP(width)
    flat.add(np.ascontiguousarray(stored[:, :width]))
    some = np.ascontiguousarray(queries[:, :width])
    for what, batch, count in (("one by one", 1, 64), ("256 at once", 256, 512)):
        median, least, most = timed(
            lambda batch=batch, count=count: [flat.search(some[i : i + batch], 10) for i in range(0, count, batch)]
        )  # type: ignore[misc]
        yield Measurement(
            CLAIM,
            f"faiss IndexFlatIP of as many bytes ({width} dimensions)",
            data,
            len(stored),
            f"ms/query, {what}",
            1000 * median / count,
            1000 * least / count,
            1000 * most / count,
            seeds=1,
        )


def peer(
    vectors: Any, held: Any, contrast: float, said: str, size: int, seeds: tuple[int, ...]
) -> Iterator[Measurement]:
    import torch
    from scipy import sparse
    from sentence_transformers.sparse_encoder.losses import SparseMultipleNegativesRankingLoss
    from sentence_transformers.sparse_encoder.losses.csr import CSRReconstructionLoss
    from sentence_transformers.sparse_encoder.modules import SparseAutoEncoder

    rows = len(vectors)
    stored, found, seconds, dead = torch.from_numpy(vectors), [], [], []
    for seed in seeds:
        torch.manual_seed(seed)
        layer = SparseAutoEncoder(vectors.shape[1], 4 * vectors.shape[1], k=K, k_aux=512)
        again = CSRReconstructionLoss(None, beta=1 / 32)  # type: ignore[arg-type]
        push = SparseMultipleNegativesRankingLoss(None, scale=1 / 0.2, similarity_fct=_cosine)  # type: ignore[arg-type]
        optimizer = torch.optim.Adam(layer.parameters(), lr=RATE, eps=6.25e-10)
        begun = time.perf_counter()
        for _ in range(EPOCHS):
            used = torch.zeros(4 * vectors.shape[1], dtype=torch.bool)
            for batch in torch.randperm(rows).split(size):
                out = layer({"sentence_embedding": stored[batch]})
                loss = sum(again.compute_loss_from_embeddings([out]).values())
                if contrast:
                    codes = out["sentence_embedding"]
                    loss = loss + contrast * push.compute_loss_from_embeddings([codes, codes], None)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                used |= (out["sentence_embedding"] > 1e-5).any(0)
        seconds.append((time.perf_counter() - begun) / EPOCHS)
        dead.append(float((~used).float().mean()))
        with torch.no_grad():
            out = layer({"sentence_embedding": torch.from_numpy(held)})
        codes = sparse.csr_matrix(out["sentence_embedding"].numpy())
        found.append((codes[:300], codes[300:], out["decoded_embedding_k"].numpy()[300:]))
    arm = f"sentence-transformers, {said}"
    yield rate(CLAIM, arm, DATA, rows, "vectors/s", rows, (float(np.median(seconds)), min(seconds), max(seconds)))
    yield from quality(arm, held, found, rows)
    yield figure(CLAIM, arm, DATA, rows, "share of dead latents", dead)


def _cosine(a: Any, b: Any) -> Any:
    import torch

    return torch.nn.functional.normalize(a, dim=1) @ torch.nn.functional.normalize(b, dim=1).T
