"""CSR: T. Wen et al., "Beyond Matryoshka: Revisiting Sparse Coding for Adaptive Representation" (ICML 2025, arXiv
2503.01776), and CSRv2 (ICLR 2026, arXiv 2602.05735): a tied top-k autoencoder on vectors already computed, learned
without torch.

a = W (v - b_pre) + b_enc; z_k = relu(top_k(a)); v_k = W^T z_k + b_pre (eq. 2-3).
L = |v - v_k|² + |v - v_4k|² / 8 + β L_aux + γ L_contrast. L_aux lets dead latents explain what v_k leaves (eq. 5).

Where paper and code differ: the contrast of eq. 6 takes raw inner products, the code unit codes and a temperature of
0.2: the code's form is taken. The paper's L_aux is a plain square, the code divides it by the residual's variance in
the batch: the code's is taken. There b_pre stands on both sides of it, on one without a gradient, so that the mean of
what is left pulls at b_pre even while no latent is dead; here too. A latent is dead after 30 forward calls there, of
which a step makes three: ``dead_after`` 10 steps here. Reconstruction is a mean over elements, as in the code. Without
labels or positives both views of a text are one, and the contrast only pushes codes apart.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from umekomi.contracts import Transform
from umekomi.errors import DataError, WrongUse
from umekomi.parts.kernels.threads import cores, run_all, shards, single_threaded_blas
from umekomi.parts.learning.arrays import learn, order
from umekomi.run import Run

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from umekomi.contracts import Floats, Labels, Sparse, Weights

ADAM = (0.9, 0.999, 6.25e-10)


class SparseCode(Transform):
    """``k`` active of ``width`` latents, as scipy CSR float32 ``[n, width]``.

    Args:
        k: active latents of a vector.
        width: latents in all; 0: four times the vectors' width.
        epochs: over all vectors.
        batch_size: vectors a step.
        learning_rate: of Adam.
        weight_decay: of Adam.
        contrast: the weight γ of the contrastive term.
        temperature: of the contrastive term.
        auxiliary: the weight β of the dead latents' term.
        auxiliary_k: dead latents that help at a time.
        dead_after: batches without use after which a latent is dead.
        start_k: above ``k``, begins with so many active latents and comes down to ``k`` in a straight line (CSRv2); 0
            keeps ``k`` throughout.
        annealing: the share of all steps in which it comes down.
        seed: of the first weights and the order.
        threads: 0: one a core.
    """

    name: ClassVar[str] = "sparse-code"
    output: ClassVar[str] = "sparse"

    def __init__(
        self,
        k: int = 32,
        width: int = 0,
        *,
        epochs: int = 10,
        batch_size: int = 4096,
        learning_rate: float = 4e-5,
        weight_decay: float = 1e-4,
        contrast: float = 0.1,
        temperature: float = 0.2,
        auxiliary: float = 1 / 32,
        auxiliary_k: int = 512,
        dead_after: int = 10,
        start_k: int = 0,
        annealing: float = 0.7,
        seed: int = 0,
        threads: int = 0,
    ) -> None:
        for field, value, low in (
            ("k", k, 1),
            ("width", width, 0),
            ("epochs", epochs, 1),
            ("batch_size", batch_size, 2),
            ("auxiliary_k", auxiliary_k, 1),
            ("dead_after", dead_after, 1),
        ):
            if value < low:
                raise WrongUse(f"{self.name}, {field}: expected {low} or more, found {value}")
        if not temperature > 0 or not learning_rate > 0:
            raise WrongUse(
                f"{self.name}: expected a temperature and a learning rate above zero, found {temperature} and "
                f"{learning_rate}"
            )
        if width and width < k:
            raise WrongUse(f"{self.name}: expected at least k = {k} latents, found a width of {width}")
        self.k, self.width = k, width
        self.training = {
            "epochs": epochs,
            "batch_size": batch_size,
            "learning_rate": learning_rate,
            "weight_decay": weight_decay,
            "contrast": contrast,
            "temperature": temperature,
            "auxiliary": auxiliary,
            "auxiliary_k": auxiliary_k,
            "dead_after": dead_after,
            "start_k": start_k,
            "annealing": annealing,
            "seed": seed,
            "threads": threads,
        }

    def dimensions(self, before: int) -> int:
        return self.width or 4 * before

    def item_bytes(self, before: float, dimension: int) -> float:
        """A float32 value and an int32 latent for each active one."""
        return 8 * self.k

    def state(self) -> tuple[dict[str, Any], dict[str, Any]]:
        arrays = {name: self.fitted(name) for name in ("weight_", "inner_", "outer_")}
        return {"k": self.k, "width": self.width} | self.training, arrays

    def fit(
        self,
        vectors: Floats,
        *,
        weights: Weights | None = None,
        labels: Labels | None = None,
        positives: Floats | None = None,
        checkpoint: str | Path | None = None,
        progress: bool = False,
    ) -> SparseCode:
        """Learn from vectors float32 ``[n, d]``; ``labels`` ``[n]`` or ``positives`` ``[n, d]`` say what the contrast
        should keep together. ``loss_`` is each epoch's mean loss, ``dead_`` the share of latents that no vector of the
        last epoch used."""
        from umekomi.files import content_hash

        vectors = np.ascontiguousarray(vectors, np.float32)
        if len(vectors) < 2 or not np.isfinite(vectors).all():
            raise DataError(f"{self.name}: expected at least two vectors of finite numbers, found {len(vectors)}")
        if weights is not None:
            raise WrongUse(f"{self.name} takes no weights")
        if labels is not None and positives is not None:
            raise WrongUse(f"{self.name}: expected labels or positives, not both")
        if labels is not None:
            _, labels = np.unique(np.asarray(labels), return_inverse=True)
            if len(labels) != len(vectors):
                raise WrongUse(
                    f"{self.name}: expected one label for every vector, found {len(labels)} labels and {len(vectors)} "
                    "vectors"
                )
        if positives is not None:
            positives = np.ascontiguousarray(positives, np.float32)
            if positives.shape != vectors.shape:
                raise WrongUse(f"{self.name}: expected positives of the shape {vectors.shape}, found {positives.shape}")
        learner = Learner(self, vectors.shape[1])
        batch = self.training["batch_size"]
        rows: Any = np.zeros(0, np.int64)

        def begin(epoch: int) -> None:
            nonlocal rows
            rows = order(len(vectors), int(self.training["seed"]), epoch)
            learner.begin(epoch)

        def work(epoch: int, low: int, high: int, thread: int) -> float:
            total = 0.0
            for start in range(low, high, int(batch)):
                chosen = rows[start : min(start + int(batch), high)]
                total += len(chosen) * learner.step(
                    vectors[chosen],
                    None if labels is None else labels[chosen],
                    None if positives is None else positives[chosen],
                )
            return total

        given = (b"" if part is None else np.ascontiguousarray(part).tobytes() for part in (vectors, labels, positives))
        kept = (self.k, self.width, self.training, *given)
        learner.steps = int(self.training["epochs"]) * -(-len(vectors) // int(batch))
        with single_threaded_blas():
            self.loss_ = learn(
                learner.arrays,
                int(self.training["epochs"]),
                len(vectors),
                work,
                run=Run(self.name, int(self.training["seed"]), Path(checkpoint) if checkpoint else None, progress),
                unit="vectors",
                threads=1,
                begin=begin,
                key=content_hash(*kept) if checkpoint else "",
                piece=max(int(batch), 65536 // int(batch) * int(batch)),
            )
        self.weight_, self.inner_, self.outer_ = (learner.arrays[name].copy() for name in ("weight", "inner", "outer"))
        self.dead_ = float(1 - learner.arrays["used"].mean())
        return self

    def transform(self, vectors: Floats) -> Sparse:
        """scipy CSR float32 ``[n, width]``, at most ``k`` values a row."""
        from scipy import sparse

        latents, values = self._active(np.ascontiguousarray(vectors, np.float32), self.k)
        chosen = latents >= 0
        pointers = np.concatenate([[0], np.cumsum(chosen.sum(1))])
        codes = sparse.csr_matrix((values[chosen], latents[chosen], pointers), shape=(len(vectors), len(self.weight_)))
        codes.sort_indices()
        return codes

    def reconstruct(self, codes: Sparse) -> Floats:
        """The vectors that codes stand for: float32 ``[n, d]``."""
        return codes @ self.fitted("weight_") + self.outer_  # type: ignore[no-any-return]

    def _active(self, vectors: Floats, k: int) -> tuple[NDArray[np.int32], Floats]:
        from umekomi.parts.kernels.codes import top

        weight = self.fitted("weight_")
        latents, values = np.empty((len(vectors), k), np.int32), np.empty((len(vectors), k), np.float32)

        def some(low: int, high: int) -> None:
            for start in range(low, high, 1024):
                end = min(start + 1024, high)
                block = (vectors[start:end] - self.outer_) @ weight.T + self.inner_
                top(block, k, np.zeros(0, np.uint8), 0, end - start, latents[start:end], values[start:end])

        with single_threaded_blas():
            run_all(some, shards(len(vectors), cores()))
        return latents, values


class Learner:
    """The parameters of a tied autoencoder, their moments, and one step of Adam (Kingma & Ba 2015)."""

    def __init__(self, code: SparseCode, dimension: int) -> None:
        self.code, self.settings = code, code.training
        width = code.dimensions(dimension)
        bound = 1 / np.sqrt(dimension)
        weight = (
            np.random.default_rng(int(self.settings["seed"]) & 0xFFFFFFFF)
            .uniform(-bound, bound, (width, dimension))
            .astype(np.float32)
        )
        parameters = {"weight": weight, "inner": np.zeros(width, np.float32), "outer": np.zeros(dimension, np.float32)}
        self.names = tuple(parameters)
        moments = {
            f"{name} {which}": np.zeros_like(array)
            for name, array in parameters.items()
            for which in ("mean", "square")
        }
        self.arrays: dict[str, Any] = (
            parameters
            | moments
            | {"idle": np.zeros(width, np.int64), "used": np.zeros(width, np.uint8), "step": np.zeros(1, np.int64)}
        )
        self.steps = 1
        self._space: Any = None
        self.threads = cores(int(self.settings["threads"]))

    def begin(self, epoch: int) -> None:
        """A new epoch: no latent used yet."""
        self.arrays["used"][:] = 0

    def k(self) -> int:
        """How many are active at this step."""
        first, k = int(self.settings["start_k"]), self.code.k
        done = self.arrays["step"][0] / max(self.steps * self.settings["annealing"], 1)
        return k if first <= k else max(k, round(first + (k - first) * min(float(done), 1.0)))

    def step(self, vectors: Floats, labels: NDArray[np.integer] | None, positives: Floats | None) -> float:
        """One batch: its loss, before the step."""
        inputs = vectors
        if positives is not None:
            inputs = np.concatenate([vectors, positives])
        loss, slopes = self.slopes(inputs, self.k(), labels, len(vectors) if positives is not None else 0)
        self._adam(slopes)
        return loss

    def slopes(
        self, inputs: Floats, k: int, labels: NDArray[np.integer] | None = None, pairs: int = 0
    ) -> tuple[float, dict[str, Any]]:
        """(loss, its gradient by parameter) on a batch ``[n, d]``; with ``pairs``, row ``i`` and ``pairs + i`` belong
        together."""
        weight, inner, outer = (self.arrays[name] for name in self.names)
        size = inputs.size
        width = len(weight)
        centred = inputs - outer
        activations = self._activations(centred)
        latents, values = self._top(activations, k, min(4 * k, width), np.zeros(0, np.uint8))
        first = (np.ascontiguousarray(latents[:, :k]), np.ascontiguousarray(values[:, :k]))

        residual, rest = self._decode(latents, values, k, outer)
        np.subtract(inputs, residual, out=residual)
        np.subtract(inputs, rest, out=rest)
        loss = float(np.vdot(residual, residual) / size + np.vdot(rest, rest) / (8 * size))
        used = np.zeros(width, bool)
        used[first[0][first[1] > 1e-5]] = True
        dead = (self.arrays["idle"] > self.settings["dead_after"]).astype(np.uint8)
        self.arrays["idle"][:] = np.where(used, 0, self.arrays["idle"] + 1)
        self.arrays["used"] |= used.astype(np.uint8)

        out = {"weight": np.zeros_like(weight), "inner": np.zeros_like(inner), "outer": np.zeros_like(outer)}
        inner_slopes = np.zeros_like(values)
        if self.settings["contrast"]:
            extra, pulled = self._contrast(*first, labels, pairs)
            loss += float(self.settings["contrast"]) * extra
            inner_slopes[:, :k] = np.float32(self.settings["contrast"]) * pulled
        helpers, missing = None, None
        if self.settings["auxiliary"]:
            spread = float(((residual - residual.mean(0)) ** 2).sum() / size)
            if spread > 0:
                missing = -residual
                if dead.any():
                    helpers = self._top(activations, 0, min(int(self.settings["auxiliary_k"]), int(dead.sum())), dead)
                    missing += self._decode(*helpers, 0, np.zeros_like(outer))[1]
                loss += float(self.settings["auxiliary"]) * float(np.vdot(missing, missing) / size) / spread
                missing *= np.float32(2 * self.settings["auxiliary"] / (size * spread))
        far = np.multiply(rest, np.float32(-2 / (8 * size)), out=rest)
        near = np.multiply(residual, np.float32(-2 / size), out=residual)
        near += far  # the first k are among the 4k: both errors pull at them
        out["outer"] += near.sum(0)
        if missing is not None:
            out["outer"] += missing.sum(0)
        self._back(latents, values, k, near, far, inner_slopes, centred, out)
        if helpers is not None and missing is not None:
            self._back(*helpers, 0, missing, missing, np.zeros_like(helpers[1]), centred, out)
        out["outer"] -= out["inner"] @ weight
        return loss, out

    def _top(
        self, activations: Floats, first: int, k: int, allowed: NDArray[np.uint8]
    ) -> tuple[NDArray[np.int32], Floats]:
        from umekomi.parts.kernels.codes import top

        latents, values = np.empty((len(activations), k), np.int32), np.empty((len(activations), k), np.float32)
        run_all(
            top,
            [
                (activations, first, allowed, low, high, latents, values)
                for low, high in shards(len(activations), self.threads)
            ],
        )
        return latents, values

    def _activations(self, centred: Floats) -> Floats:
        """a of every row, ``[n, h]``: kept and written over by the next batch."""
        weight, inner = self.arrays["weight"], self.arrays["inner"]
        if self._space is None or self._space.shape != (len(centred), len(weight)):
            self._space = np.empty((len(centred), len(weight)), np.float32)
        space = self._space

        def some(low: int, high: int) -> None:
            np.matmul(centred[low:high], weight.T, out=space[low:high])
            space[low:high] += inner

        run_all(some, shards(len(centred), self.threads))
        return space

    def _decode(self, latents: NDArray[np.int32], values: Floats, first: int, bias: Floats) -> tuple[Floats, Floats]:
        """(what the ``first`` of each row say, what all say)."""
        from umekomi.parts.kernels.codes import decode

        near, far = (np.empty((len(latents), len(bias)), np.float32) for _ in range(2))
        weight = self.arrays["weight"]
        run_all(
            decode,
            [
                (latents, values, first, weight, bias, low, high, near, far)
                for low, high in shards(len(latents), self.threads)
            ],
        )
        return near, far

    def _back(
        self,
        latents: NDArray[np.int32],
        values: Floats,
        first: int,
        near: Floats,
        far: Floats,
        inner: Floats,
        centred: Floats,
        out: dict[str, Floats],
    ) -> None:
        """Add the gradients of weight and inner bias; ``inner`` float32 ``[n, k]`` is what else pulls at the values."""
        from umekomi.parts.kernels import codes

        weight = self.arrays["weight"]
        run_all(
            codes.pull,
            [(latents, first, weight, near, far, low, high, inner) for low, high in shards(len(latents), self.threads)],
        )
        dimension = weight.shape[1]
        pieces = [(begin, min(begin + codes.COLUMNS, dimension)) for begin in range(0, dimension, codes.COLUMNS)]
        run_all(
            codes.spread,
            [
                (latents, values, inner, first, near, far, centred, begin, end, out["weight"], out["inner"])
                for begin, end in pieces
            ],
        )

    def _contrast(
        self, latents: NDArray[np.int32], values: Floats, labels: NDArray[np.integer] | None, pairs: int
    ) -> tuple[float, Floats]:
        """(contrastive loss, its gradient by active value): unit codes over the temperature. Positives are the item
        itself, its pair, or all of its label (CSRv2: their sum over the sum of all)."""
        from umekomi.parts.kernels import codes

        temperature = np.float32(self.settings["temperature"])
        lengths = np.maximum(np.sqrt((values**2).sum(1, keepdims=True)), 1e-12)
        unit = values / lengths
        rows, k = latents.shape
        a, b = (slice(0, pairs), slice(pairs, rows)) if pairs else (slice(0, rows), slice(0, rows))

        def others(part: slice) -> tuple[Any, Any, Any]:
            """Posting lists: (offsets, rows, values)."""
            offsets, places = codes.lists(latents[part], len(self.arrays["weight"]))
            return offsets, (places // k).astype(np.int32), unit[part].ravel()[places]

        def each(
            kernel: Callable[..., None], lists: tuple[Any, Any, Any], inputs: tuple[Any, ...], out: Floats
        ) -> Floats:
            run_all(kernel, [(*lists, *inputs, low, high, out) for low, high in shards(len(out), self.threads)])
            return out

        there = others(b)
        scores = each(
            codes.along, there, (latents[a], unit[a]), np.zeros((len(latents[a]), len(latents[b])), np.float32)
        )
        scores /= temperature
        if labels is None and not pairs:
            # one batch against itself: scores are the same both ways, the largest is an item's own, and both ways'
            # slopes are one sum
            np.exp(scores - 1 / temperature, out=scores)
            own, share = np.diagonal(scores).copy(), 1 / scores.sum(1)
            loss = float(-np.log(own * share).mean())
            scores *= share[:, None] + share
            scores[np.diag_indices(rows)] -= 2
            scores *= np.float32(1 / (temperature * rows))
            out = each(codes.back_along, there, (scores, latents), np.zeros_like(values))
        else:
            loss, slope = _apart(scores, labels)
            slope /= temperature
            out = np.zeros_like(values)
            for mine, lists, part in ((a, there, slope), (b, others(a), np.ascontiguousarray(slope.T))):
                out[mine] += each(codes.back_along, lists, (part, latents[mine]), np.zeros_like(values[mine]))
        return loss, (out - unit * (unit * out).sum(1, keepdims=True)) / lengths

    def _adam(self, slopes: dict[str, Any]) -> None:
        first, second, small = ADAM
        self.arrays["step"] += 1
        step = int(self.arrays["step"][0])
        for name in self.names:
            value, mean, square = self.arrays[name], self.arrays[f"{name} mean"], self.arrays[f"{name} square"]
            slope = slopes[name] + np.float32(self.settings["weight_decay"]) * value
            mean += np.float32(1 - first) * (slope - mean)
            square += np.float32(1 - second) * (slope**2 - square)
            value -= (
                np.float32(self.settings["learning_rate"] / (1 - first**step))
                * mean
                / (np.sqrt(square / np.float32(1 - second**step)) + np.float32(small))
            )


def _apart(scores: Floats, labels: NDArray[np.integer] | None) -> tuple[float, Floats]:
    """(mean of -log of the positives' share of all, its gradient) by row of scores ``[a, b]``. A row's positive is the
    one of its number; with labels all others of its label, and a row without any counts nothing."""
    if labels is not None:
        np.fill_diagonal(scores, -np.inf)
    weights = np.exp(scores - scores.max(1, keepdims=True))
    total = weights.sum(1)
    together = labels[:, None] == labels[None] if labels is not None else np.eye(len(scores), dtype=bool)
    good = np.where(together, weights, 0)
    held = good.sum(1)
    counts = held > 0
    with np.errstate(divide="ignore", invalid="ignore"):
        loss = float(-np.log(held / total)[counts].mean()) if counts.any() else 0.0
        slope = np.where(counts[:, None], weights / total[:, None] - good / held[:, None], 0) / max(
            int(counts.sum()), 1
        )
    return loss, slope.astype(np.float32)
