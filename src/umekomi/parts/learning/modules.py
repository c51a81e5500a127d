"""Plain torch modules, trained by a loop of their own on accelerate: batches, loss, optimiser, learning-rate rule,
clipping, validation and patience; interrupted and gone on with to the same bits."""

from __future__ import annotations

import dataclasses
import os
import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import get_total_norm

from umekomi.errors import DataError, UmekomiError, WrongUse
from umekomi.files import content_hash
from umekomi.parts.learning.checkpoint import Tree, detach_tree, move_tree, read_tree, write_tree
from umekomi.parts.learning.rates import Moment, Rule
from umekomi.progress import say
from umekomi.run import Run

if TYPE_CHECKING:
    from accelerate import Accelerator

SAVE_SECONDS = 20.0
FORMAT = 1
"""Of checkpoints; one of another format is not gone on from."""
CHECKPOINT = "modules.safetensors"
_VALIDATION = 2**32 - 1
"""Stands for the batch's number where a generator is seeded for what comes behind an epoch."""

Batch = TypeVar("Batch")
Module = TypeVar("Module", bound=nn.Module)


@dataclass
class History:
    """What happened: ``losses`` (mean per item) and ``rates`` (the last factor times the optimiser's rate) of each
    whole epoch, ``values`` of each validation; ``best`` is the epoch (from 1) whose weights were kept, ``steps`` the
    optimiser's, ``ended`` why it ended: ``"epochs"``, ``"patience"`` or ``"rate"``."""

    losses: list[float] = field(default_factory=list)
    values: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)
    best: int | None = None
    steps: int = 0
    ended: str = ""

    def described(self, values: str) -> dict[str, Any]:
        """What a card says of it; ``values`` is what validation gave."""
        return {
            "epochs": len(self.losses),
            "best epoch": self.best,
            "loss": [round(loss, 4) for loss in self.losses],
            values: [round(value, 4) for value in self.values],
            "ended": self.ended,
        }


def learn(
    module: Module,
    batches: Callable[[int, np.random.Generator], Iterable[Batch]],
    loss: Callable[..., Any],
    *,
    run: Run,
    key: str,
    epochs: int,
    optimiser: Callable[[list[nn.Parameter]], torch.optim.Optimizer],
    schedule: Rule | None = None,
    clip: float | None = None,
    clip_value: float | None = None,
    carry: bool = False,
    accumulate: int = 1,
    validate: Callable[[Module], float] | None = None,
    better: Literal["higher", "lower"] = "higher",
    patience: int | None = None,
    best: bool = True,
    after_step: Callable[[Module], None] | None = None,
    watch: Callable[[Module, int], None] | None = None,
    watch_every: int | None = None,
    size: Callable[[Batch], int] | None = None,
    unit: str = "items",
    precision: Literal["no", "bf16"] = "no",
    hint: str = "a smaller learning rate, or clipping the gradient, usually mends this",
    save_seconds: float = SAVE_SECONDS,
) -> History:
    """Train ``module`` in place, and leave it in evaluation mode where it was.

    Random numbers: torch's, NumPy's and Python's global generators are seeded for each batch from the run's seed, the
    epoch and the batch's number, and put back at the end. So nothing that came before has an influence on them.

    With a checkpoint folder in ``run``, everything is kept there as it goes and at the end: an interrupted run goes on
    behind its last kept step, a finished one is not run again. The initial weights, the seed and all settings are in
    its key beside ``key``. A checkpoint of anything else is left out, and that is said.

    Loss, gradient or weights that are not finite raise :class:`UmekomiError` with the epoch, the batch (both from 1)
    and ``hint``. Started by ``accelerate launch`` or ``torchrun``, processes share the batches of a step, and the
    checkpoint folder must be one that all see.

    Args:
        module: the network.
        batches: ``batches(epoch, generator)`` gives the batches of an epoch, the same for the same generator; a
            sequence (:mod:`.samplers`) is entered anywhere, anything else is made again up to where it was left.
        loss: ``loss(module, batch)`` is a scalar, the mean per item; it may be a module with weights of its own, which
            are trained too.
        run: who, seed, checkpoint, progress.
        key: names the data and what the functions do (:func:`umekomi.files.content_hash`).
        epochs: at most so many.
        optimiser: ``optimiser(parameters)`` makes it; ``functools.partial(torch.optim.SGD, lr=0.1)`` for one.
        schedule: a rule of :mod:`.rates`.
        clip: bounds the global norm of the gradient.
        clip_value: bounds each of the gradient's numbers.
        carry: the loss is ``loss(module, batch, state) -> (scalar, state)``: the state (tensors in tuples, lists and
            dictionaries; None where an epoch begins) is handed on from batch to batch without its graph.
        accumulate: batches that a step reads in each process, weighted by their ``size``.
        validate: ``validate(module)`` gives a number after each epoch; it sees the module in evaluation mode, without
            gradients, and changes no random number of the training.
        better: which numbers are: ``"higher"`` or ``"lower"``.
        patience: so many epochs in a row that are not better than the best before them end the training.
        best: keeps the weights of the best epoch.
        after_step: ``after_step(module)`` may change weights, without gradient (a bound on norms, a moving average).
        watch: ``watch(module, step)`` looks at it before the first step and behind the last, and between, as
            ``validate`` does.
        watch_every: steps between two looks; None: an epoch.
        size: how many items a batch has; None: its first dimension, or its length.
        unit: what the items are, for the bar.
        precision: ``"bf16"`` computes in bfloat16 where it is safe.
        hint: what mends numbers that are not finite.
        save_seconds: between two checkpoints; 0: after each step; seldomer where writing takes long.
    """
    _check(run, epochs, clip, clip_value, accumulate, validate, better, patience)
    accelerator = _accelerator(run, precision)
    world, rank = accelerator.num_processes, accelerator.process_index
    lanes = int(getattr(batches, "lanes", 1))
    if carry and lanes % world:
        raise WrongUse(
            f"{run.who}: expected streams in a multiple of {world} lanes, one for each process, found {lanes}"
        )
    device = next((weight.device for weight in module.parameters()), torch.device("cpu"))
    objective = _Objective(module, loss, carry)
    with _fork(accelerator.device), torch.enable_grad():
        whole = accelerator.prepare_model(objective)
        weights = [weight for weight in objective.parameters() if weight.requires_grad]
        if not weights:
            raise WrongUse(f"{run.who}: expected weights to train, found none")
        made = optimiser(weights)
        rates = [float(group["lr"]) for group in made.param_groups]
        work = _Training(run, accelerator, whole, objective, made, weights, lanes, size or items_in, hint)
        work.clip, work.clip_value, work.wait = clip, clip_value, save_seconds
        history = work.history
        if work.file is not None:
            groups = [
                {name: str(value) for name, value in group.items() if name != "params"} for group in made.param_groups
            ]
            numbers = (epochs, clip, clip_value, carry, accumulate, world, lanes, better, patience, best, precision)
            called = (_name(schedule), type(made).__qualname__, validate is None, after_step is None)
            work.resume(content_hash(FORMAT, key, run.seed, _hash(objective), groups, *numbers, *called))

        def look() -> None:
            if watch is not None:
                with work.quiet():
                    watch(module, history.steps)

        def values() -> list[float]:
            return [-value for value in history.values] if better == "lower" else history.values

        if not history.steps:
            look()
        objective.train()
        together, count = world * accumulate, _items(batches)
        shown = dataclasses.replace(run, progress=run.progress and accelerator.is_main_process)
        with shown.bar(None if count is None else epochs * count, unit, work.seen) as bar:
            while not history.ended and work.epoch < epochs:
                plan = batches(work.epoch, run.generator(work.epoch))
                steps = -(-len(plan) // together) if isinstance(plan, Sequence) else None
                for mine, some in _steps(plan, work.step * together, together, rank, world):
                    factor = 1.0
                    if schedule is not None:
                        found = schedule(Moment(work.epoch, epochs, work.step, steps, rates[0], values()))
                        if found is None:
                            history.ended = "rate"
                            break
                        factor = found
                    for group, rate in zip(made.param_groups, rates, strict=True):
                        group["lr"] = rate * factor
                    bar.advance(work.take(mine, some))
                    if after_step is not None:
                        with torch.no_grad():
                            after_step(module)
                    work.step += 1
                    history.steps += 1
                    if watch_every and history.steps % watch_every == 0:
                        look()
                    work.save_now_and_then()
                if history.ended:
                    break
                if not work.step:
                    raise DataError(f"{run.who}: epoch {work.epoch + 1}: expected one batch or more, found none")
                work.finite()
                history.losses.append(work.total / work.items)
                history.rates.append(float(made.param_groups[0]["lr"]))
                if validate is not None:
                    with work.quiet():
                        history.values.append(work.agreed(validate, module))
                    if values()[-1] > max(values()[:-1], default=-np.inf):
                        history.best = work.epoch + 1
                        if best:
                            work.best = {name: value.clone() for name, value in objective.state_dict().items()}
                    if patience is not None and work.epoch + 1 - (history.best or 0) >= patience:
                        history.ended = "patience"
                if not watch_every:
                    look()
                work.next_epoch()
                work.save_now_and_then()
        if not work.finished:
            history.ended = history.ended or "epochs"
            if watch_every and history.steps % watch_every:
                look()
            if work.best is not None:
                objective.load_state_dict(work.best)
            work.finished, work.best = True, None
            work.save()
    objective.to(device).eval()
    return history


def items_in(batch: Sized) -> int:
    """How many items a batch has: the first dimension of its first tensor or array, or its length.

    >>> items_in({"ids": torch.zeros(3, 7)}), items_in((np.zeros((4, 2)), None)), items_in(["a", "b"])
    (3, 4, 2)
    """
    if isinstance(batch, (Tensor, np.ndarray)):
        return len(batch) if batch.ndim else 1
    inner = next(iter(batch.values())) if isinstance(batch, Mapping) else batch
    if isinstance(inner, tuple):
        inner = inner[0]
    return items_in(inner) if inner is not batch else len(batch)


@contextmanager
def seed_globals(seed: int, *keys: int) -> Iterator[None]:
    """Torch's, NumPy's and Python's global generators seeded within, and as they were behind it: for first weights.

    >>> with seed_globals(3): a = torch.rand(1)
    >>> with seed_globals(3): print(bool(a == torch.rand(1)))
    True
    """
    with _fork(torch.device("cpu")):
        _seed(seed, *keys)
        yield


@contextmanager
def _fork(device: torch.device) -> Iterator[None]:
    kept = np.random.get_state(), random.getstate()
    devices = [device.index or 0] if device.type == "cuda" else []
    try:
        with torch.random.fork_rng(devices):
            yield
    finally:
        np.random.set_state(kept[0])
        random.setstate(kept[1])


def _seed(seed: int, *keys: int) -> None:
    words = np.random.SeedSequence([seed & 0xFFFFFFFF, *keys]).generate_state(3).tolist()
    torch.manual_seed(words[0] << 31 | words[1] >> 1)
    np.random.seed(words[2])
    random.seed(words[0] << 32 | words[2])


class _Objective(nn.Module):
    """The module and its loss as one, so that several processes see every weight and every call within the loss."""

    def __init__(self, module: nn.Module, loss: Callable[..., Any], carry: bool) -> None:
        super().__init__()
        self.module, self.loss, self.carry = module, loss, carry

    def forward(self, batch: object, state: Tree) -> tuple[Tensor, Tree]:
        if not self.carry:
            return self.loss(self.module, batch), None
        value, state = self.loss(self.module, batch, state)
        return value, detach_tree(state)


@dataclass
class _Training:
    """A run's state, what is done with it in one step, and how it is kept."""

    run: Run
    accelerator: Accelerator
    whole: nn.Module
    objective: _Objective
    optimiser: torch.optim.Optimizer
    weights: list[nn.Parameter]
    lanes: int
    size: Callable[[Any], int]
    hint: str
    clip: float | None = None
    clip_value: float | None = None
    wait: float = SAVE_SECONDS
    key: str = ""
    history: History = field(default_factory=History)
    epoch: int = 0
    step: int = 0
    seen: int = 0
    items: int = 0
    total: float = 0.0
    states: dict[int, Tree] = field(default_factory=dict)
    best: dict[str, Tensor] | None = None
    finished: bool = False
    saved: float = field(default_factory=time.monotonic)
    took: float = 0.0

    @property
    def file(self) -> Path | None:
        """Where it is kept."""
        return None if self.run.checkpoint is None else Path(self.run.checkpoint) / CHECKPOINT

    @property
    def several(self) -> bool:
        """More processes than this one?"""
        return self.accelerator.num_processes > 1

    def take(self, numbers: list[int], some: list[Any]) -> int:
        """One step of the optimiser over the batches ``some``; the items that all processes read in it."""
        sizes = [self.size(batch) if numbers else 0 for batch in some]
        items = round(self.summed(float(sum(sizes))))
        if not items:
            raise DataError(f"{self.place}: expected one item or more in a batch, found none")
        total = 0.0
        self.optimiser.zero_grad(set_to_none=True)
        for at, (batch, count) in enumerate(zip(some, sizes, strict=True)):
            number = numbers[at] if numbers else 0
            _seed(self.run.seed, self.epoch, number)
            with nullcontext() if at == len(some) - 1 else self.accelerator.no_sync(self.whole):
                state = self.states.get(number % self.lanes) if numbers else None
                value, state = self.whole(move_tree(batch, self.accelerator.device), state)
                if not isinstance(value, Tensor) or value.ndim or not value.requires_grad:
                    raise WrongUse(
                        f"{self.run.who}: expected a loss that is a scalar tensor and depends on the weights"
                    )
                share = count * self.accelerator.num_processes / items
                (value if share == 1 else value * share).backward()
            if numbers:
                total += float(value.detach()) * count
                self.states[number % self.lanes] = state
        total = self.summed(total)
        if not np.isfinite(total):
            raise UmekomiError(f"{self.place}: expected a finite loss, found {total / items}; {self.hint}")
        gradients = self._gradients()
        norm = get_total_norm(gradients)
        if not torch.isfinite(norm):
            found = f"{float(norm)}{self._where(gradient=True)}"
            raise UmekomiError(f"{self.place}: expected a finite gradient, found {found}; {self.hint}")
        if self.clip_value is not None:
            for gradient in gradients:
                gradient.clamp_(-self.clip_value, self.clip_value)
            norm = get_total_norm(gradients)
        if self.clip is not None:
            factor = (self.clip / (norm + 1e-6)).clamp(max=1.0)
            for gradient in gradients:
                gradient.mul_(factor.to(gradient.device))
        self.optimiser.step()
        self.total += total
        self.items += items
        self.seen += items
        return items

    def _gradients(self) -> list[Tensor]:
        """The numbers of every gradient, of a sparse one those that are there; changing them changes it."""
        gradients = []
        for weight in self.weights:
            if weight.grad is not None and weight.grad.is_sparse:
                weight.grad = weight.grad.coalesce()
                gradients.append(weight.grad._values())
            elif weight.grad is not None:
                gradients.append(weight.grad)
        return gradients

    @property
    def place(self) -> str:
        """Who, epoch and batch, from 1."""
        return f"{self.run.who}: epoch {self.epoch + 1}, batch {self.step + 1}"

    def _where(self, *, gradient: bool) -> str:
        for name, weight in self.objective.named_parameters():
            found = weight.grad if gradient else weight
            if found is not None and found.is_sparse:
                found = found._values()
            if found is not None and not torch.isfinite(found).all():
                return f" in {name.removeprefix('module.')!r}"
        return ""

    def finite(self) -> None:
        """An error where a weight is not, named with the last batch that changed it."""
        where = self._where(gradient=False)
        if where:
            place = f"{self.run.who}: epoch {self.epoch + 1}, batch {self.step}"
            raise UmekomiError(f"{place}: expected finite weights, found NaN or infinity{where}; {self.hint}")

    def next_epoch(self) -> None:
        """Nothing of an epoch's is carried into the next."""
        self.epoch, self.step, self.items, self.total = self.epoch + 1, 0, 0, 0.0
        self.states = {}

    @contextmanager
    def quiet(self) -> Iterator[None]:
        """Evaluation, without gradients; its random numbers are those of this place, and no others."""
        _seed(self.run.seed, self.epoch, _VALIDATION, self.step)
        self.objective.eval()
        with torch.no_grad():
            yield
        self.objective.train()

    def agreed(self, validate: Callable[[Any], float], module: nn.Module) -> float:
        """The first process's value, in all of them, so that all end in the same epoch."""
        value = self.summed(float(validate(module)) if self.accelerator.is_main_process else 0.0)
        if not np.isfinite(value):
            place = f"{self.run.who}: epoch {self.epoch + 1}"
            raise UmekomiError(f"{place}: expected a finite value of validation, found {value}; {self.hint}")
        return value

    def summed(self, value: float) -> float:
        """Over all processes."""
        if not self.several:
            return value
        tensor = torch.tensor([value], dtype=torch.float64, device=self.accelerator.device)
        return float(self.accelerator.reduce(tensor, "sum"))

    def save_now_and_then(self) -> None:
        """Save where the last time is long enough ago; all processes do, or none."""
        if self.file is not None:
            due = not self.wait or time.monotonic() - self.saved > max(self.wait, 10 * self.took)
            if self.summed(float(due and self.accelerator.is_main_process)):
                self.save()

    def save(self) -> None:
        """Keep everything, whole; weights that are not finite are an error instead."""
        if self.file is None:
            return
        begun = time.monotonic()
        self.finite()
        states = self.states
        if self.several and states:
            from accelerate.utils import gather_object

            gathered = gather_object([move_tree(states, torch.device("cpu"))])
            states = {lane: state for some in gathered for lane, state in some.items()}
        if self.accelerator.is_main_process:
            tree = {
                "key": self.key,
                "position": (self.epoch, self.step, self.seen, self.items, self.total),
                "history": dataclasses.asdict(self.history),
                "finished": self.finished,
                "weights": self.objective.state_dict(),
                "best": self.best,
                "optimiser": None if self.finished else self.optimiser.state_dict(),
                "states": states,
            }
            write_tree(self.file, tree)
        self.accelerator.wait_for_everyone()
        self.saved = time.monotonic()
        self.took = self.saved - begun

    def resume(self, key: str) -> None:
        """Go on from what was kept under ``key``, and keep under it."""
        self.key = key
        if self.file is not None and self.accelerator.is_main_process:
            for half in self.file.parent.glob(f".{self.file.name}.*"):  # what a kill cut off while it was written
                half.unlink(missing_ok=True)
        kept = read_tree(self.file) if self.file is not None and self.file.is_file() else None
        ours = kept is not None and kept.get("key") == key
        if self.summed(float(ours)) not in (0, self.accelerator.num_processes):
            raise WrongUse(
                f"{self.run.who}: {self.file}: expected a folder that all processes see, found one that only some do"
            )
        if kept is None:
            return
        if not ours:
            if self.accelerator.is_main_process:
                say(f"note: {self.file} belongs to other data or settings: {self.run.who} starts anew")
            return
        self.epoch, self.step, self.seen, self.items, self.total = kept["position"]
        for name, value in kept["history"].items():
            setattr(self.history, name, value)
        self.finished = kept["finished"]
        self.objective.load_state_dict(kept["weights"])
        self.best = move_tree(kept["best"], self.accelerator.device)
        if not self.finished:
            self.optimiser.load_state_dict(kept["optimiser"])
        self.states = move_tree(kept["states"], self.accelerator.device)


def _steps(
    plan: Iterable[Batch], first: int, together: int, rank: int, world: int
) -> Iterator[tuple[list[int], list[Batch]]]:
    """The batches of each step from batch ``first`` on: (the numbers of this process's, themselves). A process that has
    none in the last step gets another's, with no number."""
    if isinstance(plan, Sequence):
        for start in range(first, len(plan), together):
            mine = list(range(start, min(start + together, len(plan))))[rank::world]
            yield mine, [plan[number] for number in mine or [start]]
        return
    some = islice(plan, first, None)
    while group := list(islice(some, together)):
        mine = list(range(first, first + len(group)))[rank::world]
        yield mine, group[rank::world] or group[:1]
        first += len(group)


def _items(batches: object) -> int | None:
    count = getattr(batches, "items", None)
    return count if isinstance(count, int) else None


def _name(rule: Rule | None) -> str:
    """Of a rule, the same in every process: a record shows its numbers, a function has its name."""
    return (
        repr(rule)
        if rule is None or dataclasses.is_dataclass(rule)
        else getattr(rule, "__qualname__", type(rule).__name__)
    )


def _hash(module: nn.Module) -> str:
    parts: list[Any] = []
    for name, value in module.state_dict().items():
        if not isinstance(value, Tensor):
            raise WrongUse(
                f"module, {name}: expected weights and buffers that are tensors, found {type(value).__name__}"
            )
        bits = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
        parts.append([name, str(value.dtype), list(value.shape), content_hash(bits.tobytes())])
    return content_hash(parts, [weight.requires_grad for weight in module.parameters()])


def _accelerator(run: Run, precision: str) -> Accelerator:
    """Accelerate on this process's device, in the process group that a launcher made, whatever was set up before."""
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState
    from accelerate.utils import DistributedDataParallelKwargs

    processes = int(os.environ.get("WORLD_SIZE", 1))
    cpu = processes > 1 and not torch.accelerator.is_available()
    # another trainer of this process may have left its own precision behind, which accelerate refuses to change
    AcceleratorState._reset_state(reset_partial_state=True)
    accelerator = Accelerator(
        mixed_precision=precision,
        cpu=cpu,
        kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)],
    )
    if accelerator.distributed_type.value in ("FSDP", "DEEPSPEED", "MEGATRON_LM"):
        raise WrongUse(
            f"{run.who}: expected processes with all weights each, found {accelerator.distributed_type.value}"
        )
    if accelerator.num_processes != processes:
        raise WrongUse(
            f"{run.who}: expected {processes} processes as launched, accelerate found {accelerator.num_processes}"
        )
    return accelerator


def _check(
    run: Run,
    epochs: int,
    clip: float | None,
    clip_value: float | None,
    accumulate: int,
    validate: object,
    better: str,
    patience: int | None,
) -> None:
    for name, value in (("epochs", epochs), ("accumulate", accumulate), ("patience", patience)):
        if value is not None and value < 1:
            raise WrongUse(f"{run.who}, {name}: expected 1 or more, found {value}")
    for name, bound in (("clip", clip), ("clip_value", clip_value)):
        if bound is not None and not bound > 0:
            raise WrongUse(f"{run.who}, {name}: expected a number above 0, found {bound}")
    if better not in ("higher", "lower"):
        raise WrongUse(f"{run.who}, better: expected higher or lower, found {better!r}")
    if patience is not None and validate is None:
        raise WrongUse(f"{run.who}, patience: expected a validation to be patient with, found none")
