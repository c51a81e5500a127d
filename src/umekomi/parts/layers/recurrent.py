"""LSTM and GRU over sequences of different lengths: masked, packed, in one direction or both, with projection, cell and
projection clip (ELMo's), residual between layers and carried state. What a sequence gives depends on nothing else in
its batch.

Weights stand in torch's own :class:`torch.nn.LSTM` and :class:`torch.nn.GRU`, one a layer. On a CPU the steps are taken
here: one product for the inputs of all steps, a loop over packed steps for the rest, and backward one product for each
weight, where torch's own loop has one a step. Elsewhere torch (cuDNN) does it, unless there are clips, which it does
not know.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional
from torch.nn.utils.rnn import PackedSequence

from umekomi.errors import DataError, WrongUse
from umekomi.parts.kernels.threads import single_threaded_openmp
from umekomi.parts.layers.products import Product

ROWS = 4096
"""Packed rows whose gates are computed at once where no gradient is asked for, so that a long sequence's are not."""
SHARED_NUMBERS, SHARED_PRODUCTS = 1 << 18, 1 << 20
"""A step with a matrix of at most so many numbers and so many products in all is one thread's: two are not faster, and
take tens of times as long where they wait for a core (measured from 32 to 2,048 cells, with 1 to 64 sequences)."""

State = tuple[Tensor, ...]
"""``(h, c)`` of an LSTM, ``(h,)`` of a GRU: ``[layers · directions, batch, width]`` each, as torch has them."""


class Read(NamedTuple):
    """What a recurrent layer made of a batch. ``outputs`` ``[batch, time, dimension]``, zero behind a sequence's end;
    ``last`` ``[batch, dimension]``, the output at the last token that each direction read (zero where there is none);
    ``state`` goes on from there; ``layers``, where asked for, are the outputs of each layer, the last one's among
    them."""

    outputs: Tensor
    last: Tensor
    state: State
    layers: tuple[Tensor, ...]


class ReadPacked(NamedTuple):
    """``outputs`` ``[rows, dimension]`` of the last layer, where ``packing`` says; ``last`` as in :class:`Read`."""

    outputs: Tensor
    packing: Packing
    last: Tensor


class Recurrent(nn.Module):
    """Layers of LSTM or GRU. Biases and order of gates are torch's.

    Args:
        inputs: numbers of each vector that is read.
        width: of the layers.
        cell: ``"lstm"`` or ``"gru"``.
        layers: one on another.
        directions: ``"forward"``, ``"backward"`` (from a sequence's own last token to its first), or ``"both"``, whose
            outputs stand side by side and are both read by the next layer.
        projection: an LSTM's output is a linear map of it to this width (Sak+ 2014).
        cell_clip: bounds the cell before the output is taken from it, to ± so much.
        projection_clip: bounds the projected output, to ± so much.
        residual: adds a layer's input to its output, from the second layer on.
        dropout: before each layer but the first (and before what its residual adds).
        condition: a vector of so many numbers, one a sequence, has a say in every gate of the first layer at every
            step (Cho+ 2014, appendix A): its products with the gates' weights are made once for all steps.
    """

    def __init__(
        self,
        inputs: int,
        width: int,
        *,
        cell: Literal["lstm", "gru"] = "lstm",
        layers: int = 1,
        directions: Literal["forward", "backward", "both"] = "forward",
        projection: int | None = None,
        cell_clip: float | None = None,
        projection_clip: float | None = None,
        residual: bool = False,
        dropout: float = 0.0,
        condition: int | None = None,
    ) -> None:
        super().__init__()
        if cell not in ("lstm", "gru"):
            raise WrongUse(f"recurrent layer, cell: expected lstm or gru, found {cell!r}")
        if directions not in ("forward", "backward", "both"):
            raise WrongUse(f"recurrent layer, directions: expected forward, backward or both, found {directions!r}")
        sizes = {"inputs": inputs, "width": width, "layers": layers, "projection": projection, "condition": condition}
        for name, value in sizes.items():
            if value is not None and value < 1:
                raise WrongUse(f"recurrent layer, {name}: expected 1 or more, found {value}")
        for name, bound in (("cell_clip", cell_clip), ("projection_clip", projection_clip)):
            if bound is not None and not bound > 0:
                raise WrongUse(f"recurrent layer, {name}: expected a number above 0, found {bound}")
        if cell == "gru" and (projection or cell_clip or projection_clip):
            raise WrongUse("recurrent layer: expected an lstm where there is a projection or a clip, found gru")
        if projection_clip and not projection:
            raise WrongUse("recurrent layer, projection_clip: expected a projection, found none")
        if projection and projection >= width:
            raise WrongUse(f"recurrent layer, projection: expected less than the width {width}, found {projection}")
        if condition and directions == "both":
            raise WrongUse("recurrent layer, condition: expected one direction, found both")
        self.cell, self.width, self.directions, self.residual = cell, width, directions, residual
        self.cell_clip, self.projection_clip, self.dropout = cell_clip, projection_clip, dropout
        both = directions == "both"
        self.step_width = projection or width
        self.dimension = self.step_width * (2 if both else 1)
        more = {"proj_size": projection or 0} if cell == "lstm" else {}
        make = nn.LSTM if cell == "lstm" else nn.GRU
        self.cells = nn.ModuleList(
            make(self.dimension if layer else inputs, width, bidirectional=both, **more) for layer in range(layers)
        )
        gates = (4 if cell == "lstm" else 3) * width
        self.condition = nn.Linear(condition, gates, bias=False) if condition else None

    def forward(
        self,
        vectors: Tensor,
        lengths: Tensor,
        state: State | None = None,
        *,
        all_layers: bool = False,
        said: Tensor | None = None,
    ) -> Read:
        """``vectors`` ``[batch, time, inputs]``, ``lengths`` ``[batch]`` of 0 to ``time`` tokens from the left;
        ``state`` to begin from, zero where there is none; ``said`` from :meth:`said_by` where the layer has a
        condition."""
        self._check_condition(said)
        if torch.onnx.is_in_onnx_export():
            return self._traced(vectors, lengths)
        batch, time, _ = vectors.shape
        packing = self._packing(vectors, lengths)
        layers, end = self._read(packing.pack(vectors), packing, batch, state, said=said, all_layers=all_layers)
        kept = [packing.unpack(data, batch, time) for data in layers]
        return Read(kept[-1], self._last(kept[-1], lengths), end, tuple(kept) if all_layers else ())

    def packed(self, vectors: Tensor, lengths: Tensor, places: Tensor | None = None) -> ReadPacked:
        """The same where the last layer's outputs are wanted packed, without the copies that pad them, and without a
        gradient. With ``places`` int64 ``[batch, time]``, ``vectors`` are rows ``[n, inputs]``, of which these stand
        there: what the first layer makes of a row for itself is then computed once, however often it stands there. A
        layer with a condition is read by :meth:`forward`."""
        self._check_condition(None)
        packing = self._packing(vectors if places is None else places.unsqueeze(2), lengths)
        if places is None:
            data = packing.pack(vectors)
        else:
            data, places = vectors, packing.pack(places.unsqueeze(2)).squeeze(1)
            if data.device.type != "cpu" or len(data) > min(ROWS, packing.rows // 2):
                data, places = data.index_select(0, places), None
        layers, _ = self._read(data, packing, len(lengths), None, places)
        data = layers[-1]
        first, final = data[: len(packing.order)], data.index_select(0, packing.ends)
        if self.directions == "both":
            final = torch.cat([final[:, : self.step_width], first[:, self.step_width :]], 1)
        last = data.new_zeros(len(lengths), self.dimension)
        return ReadPacked(
            data, packing, last.index_copy(0, packing.order, first if self.directions == "backward" else final)
        )

    def _packing(self, vectors: Tensor, lengths: Tensor) -> Packing:
        batch, time, _ = vectors.shape
        if lengths.shape != (batch,):
            raise WrongUse(f"recurrent layer: expected {batch} lengths, found shape {tuple(lengths.shape)}")
        return Packing(lengths, time, vectors.device)

    def _read(
        self,
        data: Tensor,
        packing: Packing,
        batch: int,
        state: State | None,
        places: Tensor | None = None,
        *,
        said: Tensor | None = None,
        all_layers: bool = False,
    ) -> tuple[list[Tensor], State]:
        """(the packed outputs of each layer, or of the last alone, the state behind them)."""
        per = 2 if self.directions == "both" else 1
        begin = self.zero_state(data, batch)
        if state is not None:
            shapes = [tuple(part.shape) for part in begin]
            if [tuple(part.shape) for part in state] != shapes:
                raise WrongUse(
                    f"recurrent layer, state: expected shapes {shapes}, found {[tuple(part.shape) for part in state]}"
                )
            begin = state
        order = packing.order
        layers, ends = [], []
        for number, cell in enumerate(self.cells):
            if number:
                data = functional.dropout(data, self.dropout, self.training)
            own = tuple(part[per * number : per * (number + 1)] for part in begin)
            if packing.rows:
                start = tuple(part.index_select(1, order) for part in own)
                extra = None if number or said is None else said.index_select(0, order)
                read, after = self._layer(cell, data, start, packing, None if number else places, extra)
                ends.append(tuple(old.index_copy(1, order, new) for old, new in zip(own, after, strict=True)))
            else:
                read = data.new_zeros(0, self.dimension)
                ends.append(own)
            data = read + data if self.residual and number else read
            if all_layers or number + 1 == len(self.cells):
                layers.append(data)
        return layers, tuple(torch.cat(parts) for parts in zip(*ends, strict=True))

    def said_by(self, condition: Tensor | None) -> Tensor | None:
        """What a condition ``[batch, condition]`` adds to every step's gates, ``[batch, gates · width]``."""
        self._check_condition(condition)
        return None if self.condition is None else self.condition(condition)

    def _check_condition(self, given: Tensor | None) -> None:
        if (given is None) != (self.condition is None):
            expected, found = ("a", "none") if given is None else ("no", "one")
            raise WrongUse(f"recurrent layer: expected {expected} condition, found {found}")

    def step(self, vectors: Tensor, state: State, said: Tensor | None = None) -> tuple[Tensor, State]:
        """One step of a forward reading in evaluation: ``vectors`` ``[batch, inputs]`` from ``state`` (as
        :meth:`forward` gives it), ``said`` from :meth:`said_by`. Gives the last layer's outputs ``[batch, dimension]``
        and the state behind it."""
        if self.directions != "forward":
            raise WrongUse(f"recurrent layer: expected forward where it takes single steps, found {self.directions}")
        ends: list[State] = []
        data = vectors
        for number, cell in enumerate(self.cells):
            own = tuple(part[number] for part in state)
            if self.cell == "lstm":
                after = self._lstm_step(cell, data, own[0], own[1], said if number == 0 else None)
            else:
                after = self._gru_step(cell, data, own[0], said if number == 0 else None)
            data = after[0] + data if self.residual and number else after[0]
            ends.append(after)
        return data, tuple(torch.stack(parts) for parts in zip(*ends, strict=True))

    def _lstm_step(self, cell: Any, data: Tensor, h: Tensor, c: Tensor, said: Tensor | None) -> State:
        gates = functional.linear(data, cell.weight_ih_l0, cell.bias_ih_l0 + cell.bias_hh_l0)
        gates = gates + functional.linear(h, cell.weight_hh_l0)
        i, f, g, o = (gates if said is None else gates + said).chunk(4, 1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        if self.cell_clip is not None:
            c = c.clamp(-self.cell_clip, self.cell_clip)
        h = torch.sigmoid(o) * torch.tanh(c)
        if self.step_width != self.width:
            h = functional.linear(h, cell.weight_hr_l0)
        return (h if self.projection_clip is None else h.clamp(-self.projection_clip, self.projection_clip)), c

    def _gru_step(self, cell: Any, data: Tensor, h: Tensor, said: Tensor | None) -> State:
        given = functional.linear(data, cell.weight_ih_l0, cell.bias_ih_l0)
        r, z, n = (given if said is None else given + said).chunk(3, 1)
        of_h = functional.linear(h, cell.weight_hh_l0, cell.bias_hh_l0).chunk(3, 1)
        n = torch.tanh(n + torch.sigmoid(r + of_h[0]) * of_h[2])
        z = torch.sigmoid(z + of_h[1])
        return ((h - n) * z + n,)

    def _traced(self, vectors: Tensor, lengths: Tensor) -> Read:
        """By torch's own layers, which have a counterpart in ONNX: padded in, with lengths of 1 or more."""
        plain = self.cell_clip is None and self.step_width == self.width and self.condition is None
        if self.directions == "backward" or not plain:
            raise WrongUse(
                "recurrent layer: ONNX has none with clips, a projection or a condition, nor a backward direction alone"
            )
        data = vectors
        for number, cell in enumerate(self.cells):
            packed = nn.utils.rnn.pack_padded_sequence(data, lengths, batch_first=True, enforce_sorted=False)
            read, _ = cell(packed)
            read, _ = nn.utils.rnn.pad_packed_sequence(read, batch_first=True)
            data = read + data if self.residual and number else read
        ends = (lengths - 1).clamp(min=0).reshape(-1, 1, 1).expand(-1, 1, data.shape[2])
        last = data.gather(1, ends).squeeze(1)
        if self.directions == "both":
            last = torch.cat([last[:, : self.step_width], data[:, 0, self.step_width :]], 1)
        return Read(data, last, (), ())

    def zero_state(self, like: Tensor, batch: int) -> State:
        """The state that a sequence begins from where no other is given."""
        count = len(self.cells) * (2 if self.directions == "both" else 1)
        widths = (self.step_width, self.width) if self.cell == "lstm" else (self.width,)
        return tuple(like.new_zeros(count, batch, width) for width in widths)

    def extra_repr(self) -> str:
        """For ``print``."""
        return f"directions={self.directions}, residual={self.residual}, dropout={self.dropout}"

    def _last(self, outputs: Tensor, lengths: Tensor) -> Tensor:
        if not outputs.shape[1]:
            return outputs.new_zeros(len(outputs), self.dimension)
        ends = (lengths.to(outputs.device).long() - 1).clamp(min=0)
        at_end = outputs[torch.arange(len(outputs), device=outputs.device), ends]
        if self.directions == "forward":
            return at_end
        if self.directions == "backward":
            return outputs[:, 0]
        return torch.cat([at_end[:, : self.step_width], outputs[:, 0, self.step_width :]], 1)

    def _layer(
        self,
        cell: nn.Module,
        data: Tensor,
        begin: State,
        packing: Packing,
        places: Tensor | None,
        extra: Tensor | None,
    ) -> tuple[Tensor, State]:
        plain = self.cell_clip is None and self.projection_clip is None and extra is None
        if data.device.type != "cpu" and plain:
            return self._by_torch(cell, data, begin, packing)
        outputs, ends, count = [], [], len(self._suffixes)
        joined = None if torch.is_grad_enabled() else begin[0].new_empty(packing.rows, self.dimension)
        sides = [None] * count if joined is None else joined.chunk(count, 1)
        for number, (suffix, side) in enumerate(zip(self._suffixes, sides, strict=True)):
            own = tuple(part[number] for part in begin)
            read, after = self._direction(cell, suffix, data, own, packing, places=places, into=side, extra=extra)
            outputs.append(read)
            ends.append(after)
        if joined is None:
            joined = outputs[0] if count == 1 else torch.cat(outputs, 1)
        return joined, tuple(torch.stack(parts) for parts in zip(*ends, strict=True))

    @property
    def _suffixes(self) -> tuple[str, ...]:
        return ("", "_reverse") if self.directions == "both" else ("",)

    def _direction(
        self,
        cell: nn.Module,
        suffix: str,
        data: Tensor,
        begin: State,
        packing: Packing,
        places: Tensor | None = None,
        into: Tensor | None = None,
        extra: Tensor | None = None,
    ) -> tuple[Tensor, State]:
        """One direction of a layer over packed rows, from a state ``[sequences, width]``; ``extra`` of each sequence is
        added to its gates."""
        backward = self.directions == "backward" or bool(suffix)
        steps = Steps(packing, backward, self.cell_clip, self.projection_clip, places, into)
        names = ["weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"]
        weights = [getattr(cell, name + suffix) for name in names]
        with torch.autocast(data.device.type, enabled=False):
            data = data.to(weights[0].dtype)
            if self.cell == "gru":
                read, *after = _run(_Gru, data, *begin, *weights, extra, steps)
            else:
                mapped = getattr(cell, f"weight_hr_l0{suffix}", None)
                bias = weights[2] + weights[3]
                read, *after = _run(_Lstm, data, *begin, weights[0], weights[1], bias, mapped, extra, steps)
        return read, tuple(after)

    def pieces(self, vectors: Tensor, size: int) -> Iterator[Tensor]:
        """What a layer alone gives for one sequence ``[time, inputs]``: ``[at most size, dimension]`` after another,
        without gradient, in memory that does not grow with its outputs. A direction from the end is read twice: once to
        know what each piece begins from."""
        if len(self.cells) > 1:
            raise WrongUse(f"recurrent layer: expected one layer to read in pieces, found {len(self.cells)}")
        bounds = [(low, min(low + size, len(vectors))) for low in range(0, len(vectors), size)]
        with torch.no_grad():
            entering: list[State] = []  # what each piece begins from, read from the end: the last piece's first
            state = self._begin(vectors)
            for low, high in reversed(bounds) if self.directions != "forward" else ():
                entering.append(state)
                state = self._read_piece(vectors[low:high], self._suffixes[-1], state)[1]
            state = self._begin(vectors)
            for low, high in bounds:
                sides = []
                if self.directions != "backward":
                    side, state = self._read_piece(vectors[low:high], "", state)
                    sides.append(side)
                if self.directions != "forward":
                    sides.append(self._read_piece(vectors[low:high], self._suffixes[-1], entering.pop())[0])
                yield sides[0] if len(sides) == 1 else torch.cat(sides, 1)

    def last_of_pieces(self, vectors: Tensor, size: int) -> Tensor:
        """``[dimension]``: what :attr:`Read.last` is of that sequence."""
        lasts = []
        with torch.no_grad():
            for suffix in self._suffixes:
                parts = [vectors[low : low + size] for low in range(0, len(vectors), size)]
                state = self._begin(vectors)
                for part in reversed(parts) if suffix or self.directions == "backward" else parts:
                    state = self._read_piece(part, suffix, state)[1]
                lasts.append(state[0][0])
        return torch.cat(lasts)

    def _begin(self, like: Tensor) -> State:
        """One direction's state for one sequence, before its first word."""
        widths = (self.step_width, self.width) if self.cell == "lstm" else (self.width,)
        return tuple(like.new_zeros(1, width) for width in widths)

    def _read_piece(self, piece: Tensor, suffix: str, state: State) -> tuple[Tensor, State]:
        packing = Packing(torch.tensor([len(piece)]), len(piece), piece.device)
        return self._direction(self.cells[0], suffix, piece, state, packing)

    def _by_torch(self, cell: nn.Module, data: Tensor, begin: State, packing: Packing) -> tuple[Tensor, State]:
        """The layer by torch's own kernels; a backward direction alone reads each sequence turned round."""
        turned = packing.turned if self.directions == "backward" else None
        given = data if turned is None else data[turned]
        start = begin if self.cell == "lstm" else begin[0]
        read, after = cell(PackedSequence(given, torch.tensor(packing.sizes), None, None), start)
        outputs = read.data if turned is None else read.data[turned]
        return outputs, after if isinstance(after, tuple) else (after,)


def threads_of_steps(small: bool, like: Tensor) -> AbstractContextManager[None]:
    """Around a loop of steps: where they are small, and ``like`` is on a CPU, they are one thread's."""
    return single_threaded_openmp() if small and like.device.type == "cpu" else nullcontext()


def lengths_of(mask: Tensor) -> Tensor:
    """int64 ``[batch]``: how many tokens a mask ``[batch, time]`` lets through, which must stand at the left."""
    mask = mask.bool()
    lengths = mask.sum(1)
    if not torch.equal(mask, torch.arange(mask.shape[1], device=mask.device) < lengths[:, None]):
        raise DataError("recurrent layer: expected padding behind each sequence, found some before or within one")
    return lengths


class Packing:
    """Where the tokens of a padded batch stand when packed: step by step, in each the sequences that are so long, the
    longest first. Sequences without a token are left out."""

    def __init__(self, lengths: Tensor, time: int, device: torch.device) -> None:
        found: NDArray[np.int64] = lengths.detach().cpu().numpy().astype(np.int64)
        if len(found) and not (found.min() >= 0 and found.max() <= time):
            raise DataError(f"recurrent layer: expected lengths of 0 to {time}, found {found.min()} to {found.max()}")
        order = np.argsort(-found, kind="stable")
        order = order[: np.count_nonzero(found)]
        ranked = found[order]
        counts = np.bincount(ranked, minlength=1)
        sizes = len(order) - np.cumsum(counts)[: ranked[0] if len(ranked) else 0]
        self.sizes: list[int] = sizes.tolist()
        self._starts: NDArray[np.int64] = np.append(np.int64(0), np.cumsum(sizes))
        self.starts: list[int] = self._starts.tolist()
        self.rows = self.starts[-1]
        self._lengths, self._sizes, self._device = ranked, sizes, device
        self._step = np.repeat(np.arange(len(sizes)), sizes)
        self._place = np.arange(self.rows) - np.repeat(self._starts[:-1], sizes)
        self._from = self._there(order[self._place] * time + self._step)
        self.order = self._there(order)

    def _there(self, numbers: NDArray[np.int64]) -> Tensor:
        return torch.from_numpy(numbers).to(self._device)

    def pack(self, padded: Tensor) -> Tensor:
        """``[batch, time, dim]`` in, ``[rows, dim]`` out."""
        return padded.reshape(-1, padded.shape[-1]).index_select(0, self._from)

    def unpack(self, data: Tensor, batch: int, time: int) -> Tensor:
        """``[rows, dim]`` in, ``[batch, time, dim]`` out, zero where no token is."""
        flat = data.new_zeros(batch * time, data.shape[1])
        return flat.index_copy(0, self._from, data).view(batch, time, data.shape[1])

    @cached_property
    def ends(self) -> Tensor:
        """The row of each sequence's last token, the longest sequence first."""
        return self._there(self._starts[self._lengths - 1] + np.arange(len(self._lengths)))

    @cached_property
    def turned(self) -> Tensor:
        """The rows with each sequence turned round; turned again they are as before."""
        opposite = self._lengths[self._place] - 1 - self._step
        return self._there(self._starts[opposite] + self._place)

    def sums(self, data: Tensor, sequences: int) -> Tensor:
        """``[sequences, dim]``: each sequence's sum of packed rows, in the order of the packing."""
        return data.new_zeros(sequences, data.shape[1]).index_add_(0, self._there(self._place), data)

    def before(self, backward: bool) -> Tensor:
        """Which row each row is read behind; behind the rows stand the states to begin from, one a sequence."""
        last = len(self.sizes) - 1
        step = self._step + (1 if backward else -1)
        there = (step >= 0) & (step <= last)
        safe = np.clip(step, 0, max(last, 0))
        there &= self._place < self._sizes[safe]
        return self._there(np.where(there, self._starts[safe] + self._place, self.rows + self._place))


class Steps(NamedTuple):
    """How the packed steps are taken."""

    packing: Packing
    backward: bool
    cell_clip: float | None
    projection_clip: float | None
    places: Tensor | None = None
    """Which row of the data each packed row is; None: it is itself."""
    into: Tensor | None = None
    """Where the outputs go, where no gradient is asked for."""

    def outputs(self, like: Tensor, width: int) -> Tensor:
        """``[rows, width]``, to be filled."""
        return like.new_empty(self.packing.rows, width) if self.into is None else self.into

    def threads(self, weight: Tensor) -> AbstractContextManager[None]:
        """Around the loop over the steps, of which each is a product with ``weight`` and less."""
        numbers = weight.numel()
        small = numbers <= SHARED_NUMBERS and numbers * max(self.packing.sizes, default=0) <= SHARED_PRODUCTS
        return threads_of_steps(small, weight)

    def order(self) -> range:
        """The steps in the order that they are read in."""
        count = len(self.packing.sizes)
        return range(count - 1, -1, -1) if self.backward else range(count)

    def pieces(self, most: int) -> Iterator[tuple[range, int, int]]:
        """The same in pieces of at most so many rows, or one step: (its steps, its first row, the row behind it)."""
        starts, order = self.packing.starts, self.order()
        begin, rows = 0, 0
        for at, step in enumerate(order):
            size = self.packing.sizes[step]
            if at > begin and rows + size > most:
                yield self._piece(order[begin:at], starts)
                begin, rows = at, 0
            rows += size
        yield self._piece(order[begin:], starts)

    def _piece(self, steps: range, starts: list[int]) -> tuple[range, int, int]:
        first, last = min(steps[0], steps[-1]), max(steps[0], steps[-1])
        return steps, starts[first], starts[last + 1]


def _run(function: type[torch.autograd.Function], *given: Any) -> tuple[Tensor, ...]:
    """With its graph where one is asked for, else in pieces that take little memory."""
    asked = torch.is_grad_enabled() and any(isinstance(one, Tensor) and one.requires_grad for one in given)
    return function.apply(*given) if asked else function.take(*given, keep=False)[:-1]  # type: ignore[attr-defined, no-any-return, no-untyped-call]


class _Lstm(torch.autograd.Function):
    """``data`` ``[rows, inputs]``, ``h`` ``[sequences, out]``, ``c`` ``[sequences, width]``; weights as torch's, the
    sum of its two biases, the projection or None, and what is added to a sequence's gates or None. Gives the outputs
    ``[rows, out]`` and the last h and c."""

    @staticmethod
    def take(
        data: Tensor, h: Tensor, c: Tensor, of_input: Tensor, of_h: Tensor, bias: Tensor, mapped: Tensor | None,
        extra: Tensor | None, steps: Steps, *, keep: bool,
    ) -> tuple[Tensor, Tensor, Tensor, tuple[Tensor, Tensor] | None]:  # fmt: skip
        width, places = len(bias) // 4, steps.places
        rows, sizes, starts = steps.packing.rows, steps.packing.sizes, steps.packing.starts
        outputs = steps.outputs(data, of_h.shape[1])
        cells = data.new_empty(rows, width) if keep else None
        h, c = h.clone(), c.clone()
        from_input, from_h = Product(of_input, len(data)), Product(of_h, rows)
        project = None if mapped is None else Product(mapped, rows)
        squashed = data.new_empty(len(h), width)
        gates = data.new_empty(0) if places is None else from_input.of(data, bias)
        for piece, low, high in steps.pieces(rows if keep else ROWS):
            if places is None:
                gates = from_input.of(data[low:high], bias)
            with steps.threads(of_h):
                for step in piece:
                    size, start, stop = sizes[step], starts[step], starts[step + 1]
                    h_now, c_now, tanh_c = h[:size], c[:size], squashed[:size]
                    now = gates[start - low : stop - low] if places is None else gates[places[start:stop]]
                    if extra is not None:
                        now.add_(extra[:size])
                    from_h.add(h_now, now)
                    i, f, g, o = now.unsafe_chunk(4, 1)
                    now[:, : 2 * width].sigmoid_()
                    g.tanh_()
                    o.sigmoid_()
                    c_now.mul_(f).addcmul_(i, g)
                    if steps.cell_clip is not None:
                        c_now.clamp_(-steps.cell_clip, steps.cell_clip)
                    if cells is not None:
                        cells[start:stop] = c_now
                    torch.tanh(c_now, out=tanh_c)
                    if project is None:
                        torch.mul(tanh_c, o, out=h_now)
                    else:
                        project.put(tanh_c.mul_(o), h_now)
                        if steps.projection_clip is not None:
                            h_now.clamp_(-steps.projection_clip, steps.projection_clip)
                    outputs[start:stop] = h_now
        return outputs, h, c, None if cells is None else (gates, cells)

    @staticmethod
    def forward(ctx: Any, *given: Any) -> tuple[Tensor, Tensor, Tensor]:
        data, h, c, of_input, of_h, _, mapped, _, steps = given
        outputs, last_h, last_c, kept = _Lstm.take(*given, keep=True)
        assert kept is not None
        ctx.save_for_backward(data, h, c, of_input, of_h, mapped, outputs, *kept)
        ctx.steps = steps
        return outputs, last_h, last_c

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, of_outputs: Tensor, of_last_h: Tensor, of_last_c: Tensor) -> tuple[Tensor | None, ...]:
        data, h, c, of_input, of_h, mapped, outputs, gates, cells = ctx.saved_tensors
        steps: Steps = ctx.steps
        width = cells.shape[1]
        sizes, starts = steps.packing.sizes, steps.packing.starts
        before = steps.packing.before(steps.backward)
        i, f, g, o = gates.chunk(4, 1)
        tanh_c = torch.tanh(cells)
        # what each gate's gradient is a multiple of, for all steps at once
        slopes = torch.empty_like(gates)
        of_i, of_f, of_g, of_o = slopes.chunk(4, 1)
        torch.addcmul(i, i, i, value=-1, out=of_i).mul_(g)
        torch.addcmul(f, f, f, value=-1, out=of_f).mul_(torch.cat([cells, c]).index_select(0, before))
        torch.mul(g, g, out=of_g).neg_().add_(1).mul_(i)
        torch.addcmul(o, o, o, value=-1, out=of_o).mul_(tanh_c)
        of_cell = (tanh_c * tanh_c).neg_().add_(1).mul_(o)
        free = None if steps.cell_clip is None else (cells.abs() < steps.cell_clip).to(cells.dtype)
        if free is not None:
            of_cell.mul_(free)
        to_h, to_c = of_last_h.clone(), of_last_c.clone()
        projected = None if mapped is None else torch.empty_like(outputs)
        to_state = Product(of_h.t(), len(outputs))
        to_mapped = None if mapped is None else Product(mapped.t(), len(outputs))
        from_mapped = tanh_c.new_empty(0 if mapped is None else len(to_h), width)
        with steps.threads(of_h):
            for step in reversed(steps.order()):
                size, start, stop = sizes[step], starts[step], starts[step + 1]
                h_now, c_now, now = to_h[:size], to_c[:size], slopes[start:stop]
                h_now.add_(of_outputs[start:stop])
                from_h = h_now
                if projected is not None and to_mapped is not None:
                    if steps.projection_clip is not None:
                        h_now.mul_(outputs[start:stop].abs() < steps.projection_clip)
                    projected[start:stop] = h_now
                    from_h = from_mapped[:size]
                    to_mapped.put(h_now, from_h)
                if free is not None:
                    c_now.mul_(free[start:stop])
                c_now.addcmul_(from_h, of_cell[start:stop])
                now[:, : 3 * width].view(size, 3, width).mul_(c_now.unsqueeze(1))
                now[:, 3 * width :].mul_(from_h)
                c_now.mul_(f[start:stop])
                to_state.put(now, h_now)
        needs = ctx.needs_input_grad
        turned = slopes.t()
        of_mapped = projected.t() @ tanh_c.mul_(o) if projected is not None and needs[6] else None
        return (
            slopes @ of_input if needs[0] else None,
            to_h,
            to_c,
            turned @ data if needs[3] else None,
            turned @ torch.cat([outputs, h]).index_select(0, before) if needs[4] else None,
            slopes.sum(0) if needs[5] else None,
            of_mapped,
            steps.packing.sums(slopes, len(h)) if needs[7] else None,
            None,
        )


class _Gru(torch.autograd.Function):
    """``data`` ``[rows, inputs]``, ``h`` ``[sequences, width]``; weights and biases as torch's, and what is added to a
    sequence's gates or None. Gives the outputs ``[rows, width]`` and the last h."""

    @staticmethod
    def take(
        data: Tensor, h: Tensor, of_input: Tensor, of_h: Tensor, input_bias: Tensor, h_bias: Tensor,
        extra: Tensor | None, steps: Steps, *, keep: bool,
    ) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor] | None]:  # fmt: skip
        width, places = len(h_bias) // 3, steps.places
        rows, sizes, starts = steps.packing.rows, steps.packing.sizes, steps.packing.starts
        outputs = steps.outputs(data, width)
        inner = data.new_empty(rows, width) if keep else None  # what the reset gate is multiplied with
        h = h.clone()
        from_input = Product(of_input, len(data))
        first = 2 * width  # the reset and the update gate are sums of both sides, the third is not
        gates_from_h, new_from_h = Product(of_h[:first], rows), Product(of_h[first:], rows)
        new_bias = h_bias[first:]
        bias = torch.cat([input_bias[:first] + h_bias[:first], input_bias[first:]])
        from_h = data.new_empty(len(h), width)
        gates = data.new_empty(0) if places is None else from_input.of(data, bias)
        for piece, low, high in steps.pieces(rows if keep else ROWS):
            if places is None:
                gates = from_input.of(data[low:high], bias)
            with steps.threads(of_h):
                for step in piece:
                    size, start, stop = sizes[step], starts[step], starts[step + 1]
                    h_now = h[:size]
                    now = gates[start - low : stop - low] if places is None else gates[places[start:stop]]
                    if extra is not None:
                        now.add_(extra[:size])
                    r, z, n = now.unsafe_chunk(3, 1)
                    gates_from_h.add(h_now, now[:, :first])
                    now[:, :first].sigmoid_()
                    other = from_h[:size] if inner is None else inner[start:stop]
                    new_from_h.put(h_now, other, new_bias)
                    n.addcmul_(r, other).tanh_()
                    h_now.sub_(n).mul_(z).add_(n)
                    outputs[start:stop] = h_now
        return outputs, h, None if inner is None else (gates, inner)

    @staticmethod
    def forward(ctx: Any, *given: Any) -> tuple[Tensor, Tensor]:
        data, h, of_input, of_h, _, _, _, steps = given
        outputs, last, kept = _Gru.take(*given, keep=True)
        assert kept is not None
        ctx.save_for_backward(data, h, of_input, of_h, outputs, *kept)
        ctx.steps = steps
        return outputs, last

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, of_outputs: Tensor, of_last: Tensor) -> tuple[Tensor | None, ...]:
        data, h, of_input, of_h, outputs, gates, inner = ctx.saved_tensors
        steps: Steps = ctx.steps
        width = outputs.shape[1]
        sizes, starts = steps.packing.sizes, steps.packing.starts
        previous = torch.cat([outputs, h]).index_select(0, steps.packing.before(steps.backward))
        r, z, n = gates.chunk(3, 1)
        # the gradients of the gates, as multiples of that of the output: (n's goes on to r)
        slopes = torch.empty_like(gates)
        of_r, of_z, of_n = slopes.chunk(3, 1)
        torch.mul(n, n, out=of_n).neg_().add_(1).mul_(1 - z)
        torch.addcmul(z, z, z, value=-1, out=of_z).mul_(previous - n)
        torch.addcmul(r, r, r, value=-1, out=of_r).mul_(inner).mul_(of_n)
        from_h = slopes.clone()
        from_h[:, 2 * width :].mul_(r)
        to_h, to_state = of_last.clone(), Product(of_h.t(), len(outputs))
        with steps.threads(of_h):
            for step in reversed(steps.order()):
                size, start, stop = sizes[step], starts[step], starts[step + 1]
                h_now, now = to_h[:size], from_h[start:stop]
                h_now.add_(of_outputs[start:stop])
                slopes[start:stop].view(size, 3, width).mul_(h_now.unsqueeze(1))
                now.view(size, 3, width).mul_(h_now.unsqueeze(1))
                to_state.add(now, h_now.mul_(z[start:stop]))
        needs = ctx.needs_input_grad
        return (
            slopes @ of_input if needs[0] else None,
            to_h,
            slopes.t() @ data if needs[2] else None,
            from_h.t() @ previous if needs[3] else None,
            slopes.sum(0) if needs[4] else None,
            from_h.sum(0) if needs[5] else None,
            steps.packing.sums(slopes, len(h)) if needs[6] else None,
            None,
        )
