"""CSR: T. Wen et al., "Beyond Matryoshka: Revisiting Sparse Coding for Adaptive Representation" (ICML 2025, arXiv 2503.01776), and
CSRv2 (ICLR 2026, arXiv 2602.05735): a tied top-k autoencoder on vectors already computed, learned without torch.

a = W (v - b_pre) + b_enc; z_k = relu(top_k(a)); v_k = W^T z_k + b_pre (eq. 2-3).
L = |v - v_k|² + |v - v_4k|² / 8 + β L_aux + γ L_contrast. L_aux lets dead latents explain what v_k leaves (eq. 5).

Where paper and code differ: the contrast of eq. 6 takes raw inner products, the code unit codes and a temperature of 0.2: the
code's form is taken. The paper's L_aux is a plain square, the code divides it by the residual's variance in the batch: the
code's is taken. A latent is dead after 30 forward calls there, of which a step makes three: ``dead_after`` 10 steps here.
Reconstruction is a mean over elements, as in the code. Without labels or positives both views of a text are one, and the contrast
only pushes codes apart.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from umekomi.contracts import Transform
from umekomi.errors import DataError, WrongUse
from umekomi.parts.epochs import learn, order
from umekomi.parts.kernels.threads import cores, over, shards

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]

ADAM = (0.9, 0.999, 6.25e-10)


class SparseCode(Transform):
    """``k`` active of ``width`` latents (0: four times the vectors' width), as scipy CSR float32 ``[n, width]``.

    ``contrast`` weighs the contrastive term (γ), ``auxiliary`` the dead latents' (β), of which ``auxiliary_k`` help at a time.
    ``start_k`` above ``k`` begins with so many active latents and comes down to ``k`` in a straight line over the first
    ``annealing`` of all steps (CSRv2); 0 keeps ``k`` throughout.
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
        for field, value, low in (("k", k, 1), ("width", width, 0), ("epochs", epochs, 1), ("batch_size", batch_size, 2), ("auxiliary_k", auxiliary_k, 1), ("dead_after", dead_after, 1)):  # fmt: skip
            if value < low:
                raise WrongUse(f"{self.name}, {field}: expected {low} or more, found {value}")
        if not temperature > 0 or not learning_rate > 0:
            raise WrongUse(f"{self.name}: expected a temperature and a learning rate above zero, found {temperature} and {learning_rate}")
        if width and width < k:
            raise WrongUse(f"{self.name}: expected at least k = {k} latents, found a width of {width}")
        self.k, self.width = k, width
        self.training = {
            "epochs": epochs, "batch_size": batch_size, "learning_rate": learning_rate, "weight_decay": weight_decay, "contrast": contrast,
            "temperature": temperature, "auxiliary": auxiliary, "auxiliary_k": auxiliary_k, "dead_after": dead_after, "start_k": start_k, "annealing": annealing,
            "seed": seed, "threads": threads,
        }  # fmt: skip

    def dimensions(self, before: int) -> int:
        return self.width or 4 * before

    def item_bytes(self, before: float, dimension: int) -> float:
        """A float32 value and an int32 latent for each active one."""
        return 8 * self.k

    def state(self) -> tuple[dict[str, Any], dict[str, Any]]:
        arrays = {name: self.fitted(name) for name in ("weight_", "inner_", "outer_")}
        return {"k": self.k, "width": self.width} | self.training, arrays

    def fit(
        self, vectors: Floats, *, weights: Any = None, labels: Any = None, positives: Any = None, checkpoint: Any = None, progress: bool = False
    ) -> SparseCode:
        """Learn from vectors float32 ``[n, d]``; ``labels`` ``[n]`` or ``positives`` ``[n, d]`` say what the contrast should keep
        together. ``loss_`` is each epoch's mean loss, ``dead_`` the share of latents that no vector of the last epoch used."""
        import numpy as np

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
                raise WrongUse(f"{self.name}: expected one label for every vector, found {len(labels)} labels and {len(vectors)} vectors")
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
                    vectors[chosen], None if labels is None else labels[chosen], None if positives is None else positives[chosen]
                )
            return total

        learner.steps = int(self.training["epochs"]) * -(-len(vectors) // int(batch))
        self.loss_ = learn(
            learner.arrays, int(self.training["epochs"]), len(vectors), work, who=self.name, unit="vectors", threads=1, begin=begin,
            checkpoint=checkpoint, key=content_hash(self.k, self.width, self.training, vectors.tobytes()), progress=progress, piece=max(int(batch), 65536 // int(batch) * int(batch)),
        )  # fmt: skip
        self.weight_, self.inner_, self.outer_ = (learner.arrays[name].copy() for name in ("weight", "inner", "outer"))
        self.dead_ = float(1 - learner.arrays["used"].mean())
        return self

    def transform(self, vectors: Any) -> Any:
        """scipy CSR float32 ``[n, width]``, at most ``k`` values a row."""
        import numpy as np
        from scipy import sparse

        latents, values = self._active(np.ascontiguousarray(vectors, np.float32), self.k)
        chosen = latents >= 0
        pointers = np.concatenate([[0], np.cumsum(chosen.sum(1))])
        codes = sparse.csr_matrix((values[chosen], latents[chosen], pointers), shape=(len(vectors), len(self.weight_)))
        codes.sort_indices()
        return codes

    def reconstruct(self, codes: Any) -> Floats:
        """The vectors that codes stand for: float32 ``[n, d]``."""
        return codes @ self.fitted("weight_") + self.outer_  # type: ignore[no-any-return]

    def _active(self, vectors: Any, k: int) -> tuple[Any, Any]:
        import numpy as np

        weight = self.fitted("weight_")
        found = [np.empty((len(vectors), k), kind) for kind in (np.int32, np.float32)]
        for start in range(0, len(vectors), 4096):
            block = (vectors[start : start + 4096] - self.outer_) @ weight.T + self.inner_
            most(block, k, np.zeros(0, np.uint8), found[0][start : start + 4096], found[1][start : start + 4096])
        return found[0], found[1]


def most(activations: Any, k: int, allowed: Any, latents: Any, values: Any) -> None:
    """The top ``k`` of every row, over all threads (:func:`umekomi.parts.kernels.codes.top`)."""
    from umekomi.parts.kernels.codes import top

    over(top, [(activations, k, allowed, low, high, latents, values) for low, high in shards(len(activations), cores())])


class Learner:
    """The parameters of a tied autoencoder, their moments, and one step of Adam (Kingma & Ba 2015)."""

    def __init__(self, code: SparseCode, dimension: int) -> None:
        import numpy as np

        self.code, self.settings = code, code.training
        width = code.dimensions(dimension)
        bound = 1 / np.sqrt(dimension)
        weight = np.random.default_rng(int(self.settings["seed"]) & 0xFFFFFFFF).uniform(-bound, bound, (width, dimension)).astype(np.float32)
        parameters = {"weight": weight, "inner": np.zeros(width, np.float32), "outer": np.zeros(dimension, np.float32)}
        self.names = tuple(parameters)
        moments = {f"{name} {which}": np.zeros_like(array) for name, array in parameters.items() for which in ("mean", "square")}
        self.arrays: dict[str, Any] = (
            parameters | moments | {"idle": np.zeros(width, np.int64), "used": np.zeros(width, np.uint8), "step": np.zeros(1, np.int64)}
        )
        self.steps = 1
        self.threads = cores(int(self.settings["threads"]))

    def begin(self, epoch: int) -> None:
        """A new epoch: no latent used yet."""
        self.arrays["used"][:] = 0

    def k(self) -> int:
        """How many are active at this step."""
        first, k = int(self.settings["start_k"]), self.code.k
        done = self.arrays["step"][0] / max(self.steps * self.settings["annealing"], 1)
        return k if first <= k else max(k, round(first + (k - first) * min(float(done), 1.0)))

    def step(self, vectors: Any, labels: Any, positives: Any) -> float:
        """One batch: its loss, before the step."""
        inputs = vectors
        if positives is not None:
            import numpy as np

            inputs = np.concatenate([vectors, positives])
        loss, slopes = self.slopes(inputs, self.k(), labels, len(vectors) if positives is not None else 0)
        self._adam(slopes)
        return loss

    def slopes(self, inputs: Any, k: int, labels: Any = None, pairs: int = 0) -> tuple[float, dict[str, Any]]:
        """(loss, its gradient by parameter) on a batch ``[n, d]``; with ``pairs``, row ``i`` and ``pairs + i`` belong together."""
        import numpy as np

        weight, inner, outer = (self.arrays[name] for name in self.names)
        size = inputs.size
        width = len(weight)
        centred = inputs - outer
        activations = centred @ weight.T
        activations += inner
        wide = min(4 * k, width)
        latents, values = self._top(activations, wide, np.zeros(0, np.uint8))
        order = np.argsort(-values, axis=1, kind="stable")
        latents, values = np.take_along_axis(latents, order, 1), np.take_along_axis(values, order, 1)
        first = (np.ascontiguousarray(latents[:, :k]), np.ascontiguousarray(values[:, :k]))

        residual = inputs - self._decode(*first, outer)
        rest = inputs - self._decode(latents, values, outer)
        loss = float((residual**2).sum() / size + (rest**2).sum() / (8 * size))
        used = np.zeros(width, bool)
        used[first[0][first[1] > 1e-5]] = True
        dead = (self.arrays["idle"] > self.settings["dead_after"]).astype(np.uint8)
        self.arrays["idle"][:] = np.where(used, 0, self.arrays["idle"] + 1)
        self.arrays["used"] |= used.astype(np.uint8)

        out = {"weight": np.zeros_like(weight), "inner": np.zeros_like(inner), "outer": np.zeros_like(outer)}
        groups = [(*first, -2 / size * residual, self._contrast(*first, labels, pairs)), (latents, values, -2 / (8 * size) * rest, None)]
        if groups[0][3] is not None:
            extra, pulled = groups[0][3]
            loss += float(self.settings["contrast"]) * extra
            groups[0] = (*groups[0][:3], np.float32(self.settings["contrast"]) * pulled)
        if dead.any() and self.settings["auxiliary"]:
            helpers = self._top(activations, min(int(self.settings["auxiliary_k"]), int(dead.sum())), dead)
            spread = float(((residual - residual.mean(0)) ** 2).sum() / size)
            if spread > 0:
                missing = self._decode(*helpers, np.zeros_like(outer)) - residual
                loss += float(self.settings["auxiliary"]) * float((missing**2).sum() / size) / spread
                groups.append((*helpers, np.float32(2 * self.settings["auxiliary"] / (size * spread)) * missing, None))
        for number, (chosen, amounts, slope, extra) in enumerate(groups):
            self._back(chosen, amounts, np.ascontiguousarray(slope, np.float32), extra, centred, out)
            if number < 2:
                out["outer"] += slope.sum(0)
        out["outer"] -= out["inner"] @ weight
        return loss, out

    def _top(self, activations: Any, k: int, allowed: Any) -> tuple[Any, Any]:
        import numpy as np

        latents, values = np.empty((len(activations), k), np.int32), np.empty((len(activations), k), np.float32)
        most(activations, k, allowed, latents, values)
        return latents, values

    def _decode(self, latents: Any, values: Any, bias: Any) -> Any:
        import numpy as np

        from umekomi.parts.kernels.codes import decode

        out = np.empty((len(latents), len(bias)), np.float32)
        over(decode, [(latents, values, self.arrays["weight"], bias, low, high, out) for low, high in shards(len(latents), self.threads)])
        return out

    def _back(self, latents: Any, values: Any, slope: Any, extra: Any, centred: Any, out: dict[str, Any]) -> None:
        import numpy as np

        from umekomi.parts.kernels import codes

        weight = self.arrays["weight"]
        inner = np.zeros_like(values) if extra is None else np.ascontiguousarray(extra, np.float32)
        over(codes.pull, [(latents, weight, slope, low, high, inner) for low, high in shards(len(latents), self.threads)])
        offsets, places = codes.lists(latents, len(weight))
        over(
            codes.gather,
            [
                (offsets, places, latents.shape[1], values, slope, inner, centred, low, high, out["weight"], out["inner"])
                for low, high in shards(len(weight), self.threads)
            ],
        )

    def _contrast(self, latents: Any, values: Any, labels: Any, pairs: int) -> Any:
        """(contrastive loss, its gradient by active value): unit codes over the temperature. Positives are the item itself, its
        pair, or all of its label (CSRv2: their sum over the sum of all)."""
        import numpy as np
        from scipy import sparse

        from umekomi.parts.kernels import codes

        if not self.settings["contrast"]:
            return None
        temperature = np.float32(self.settings["temperature"])
        lengths = np.maximum(np.sqrt((values**2).sum(1, keepdims=True)), 1e-12)
        unit = values / lengths
        rows, k = latents.shape
        chosen = latents >= 0
        pointers = np.concatenate([[0], np.cumsum(chosen.sum(1))])
        matrix = sparse.csr_matrix((unit[chosen], latents[chosen], pointers), shape=(rows, len(self.arrays["weight"])))
        a, b = (slice(0, pairs), slice(pairs, rows)) if pairs else (slice(0, rows), slice(0, rows))
        scores = (matrix[a] @ matrix[b].T).toarray() / temperature
        if labels is not None:
            np.fill_diagonal(scores, -np.inf)
        scores -= scores.max(1, keepdims=True)
        weights = np.exp(scores)
        total = weights.sum(1)
        together = labels[:, None] == labels[None] if labels is not None else np.eye(len(scores), dtype=bool)
        good = np.where(together, weights, 0)
        held = good.sum(1)
        counts = held > 0
        with np.errstate(divide="ignore", invalid="ignore"):
            loss = float(-np.log(held / total)[counts].mean()) if counts.any() else 0.0
            slope = np.where(counts[:, None], weights / total[:, None] - good / held[:, None], 0).astype(np.float32) / temperature / max(int(counts.sum()), 1)
        out = np.zeros_like(values)
        for mine, others, part in ((a, b, slope), (b, a, slope.T)):
            offsets, places = codes.lists(np.ascontiguousarray(latents[others]), len(self.arrays["weight"]))
            target, part = np.zeros_like(values[mine]), np.ascontiguousarray(part)
            other, own = np.ascontiguousarray(unit[others]), np.ascontiguousarray(latents[mine])
            over(codes.back_along, [(offsets, places, k, other, part, own, low, high, target) for low, high in shards(len(own), self.threads)])
            out[mine] += target
        return loss, (out - unit * (unit * out).sum(1, keepdims=True)) / lengths

    def _adam(self, slopes: dict[str, Any]) -> None:
        import numpy as np

        first, second, small = ADAM
        self.arrays["step"] += 1
        step = int(self.arrays["step"][0])
        for name in self.names:
            value, mean, square = self.arrays[name], self.arrays[f"{name} mean"], self.arrays[f"{name} square"]
            slope = slopes[name] + np.float32(self.settings["weight_decay"]) * value
            mean += np.float32(1 - first) * (slope - mean)
            square += np.float32(1 - second) * (slope**2 - square)
            value -= (
                np.float32(self.settings["learning_rate"] / (1 - first**step)) * mean / (np.sqrt(square / np.float32(1 - second**step)) + np.float32(small))
            )
