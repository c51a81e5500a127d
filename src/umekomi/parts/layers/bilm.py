"""ELMo's network: two stacks of LSTM, one reading forwards and one backwards, over words that are read by their
characters; what each layer gives, and their mix (Peters+ 2018, equations 1 to 3)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from umekomi.errors import WrongUse
from umekomi.fields import Above, AtLeast, Within
from umekomi.parts.characters import BEGIN, END, marker_characters
from umekomi.parts.layers.characters import CharacterEncoder
from umekomi.parts.layers.recurrent import Recurrent, State
from umekomi.parts.layers.sentence import EncodedBatch, Size, mask_of

PIECE = 4096
"""Words of a long text that are read at once."""


class Layers(NamedTuple):
    """``layers``: of words, then of each LSTM, ``[batch, time, 2 · projection]``, forwards beside backwards, zero
    behind a text's end, without the marks around it. ``state`` of both stacks goes on from there."""

    layers: tuple[Tensor, ...]
    state: tuple[State, State]


class BiLanguageModel(nn.Module):
    """Words by their characters, and a stack of LSTM in each direction, over one encoder of words. The bias of the
    forget gate, which begins at 1, is in the weights.

    Args:
        filters: of the convolutions: how many characters wide, and how many.
        projection: numbers of a word's vector, and of each direction's output.
        width: cells of each LSTM.
        layers: of LSTM.
        characters: numbers of a character's vector.
        highway: layers behind the convolutions.
        longest: characters of a word that are read, the marks around it among them.
        activation: of the convolutions: relu or tanh.
        cell_clip: bound of the cells; None: none.
        projection_clip: bound of the outputs; None: none.
        residual: whether a layer's input is added to its output, from the second on.
        dropout: before each layer but the first.
    """

    marks: Tensor

    def __init__(
        self,
        *,
        filters: Sequence[Sequence[int]],
        projection: Size,
        width: Size,
        layers: Annotated[int, Within(1, 64, "[]")] = 2,
        characters: Size = 16,
        highway: Annotated[int, Within(0, 64, "[]")] = 2,
        longest: Annotated[int, Within(3, 10_000, "[]")] = 50,
        activation: Literal["relu", "tanh"] = "relu",
        cell_clip: Annotated[float, Above(0)] | None = 3.0,
        projection_clip: Annotated[float, Above(0)] | None = 3.0,
        residual: bool = True,
        dropout: Annotated[float, Within(0, 1)] = 0.0,
    ) -> None:
        super().__init__()
        pairs = [(int(width), int(count)) for width, count in filters]
        self.sizes: dict[str, Any] = {
            "filters": [list(pair) for pair in pairs],
            "projection": projection,
            "width": width,
            "layers": layers,
            "characters": characters,
            "highway": highway,
            "longest": longest,
            "activation": activation,
            "cell_clip": cell_clip,
            "projection_clip": projection_clip,
            "residual": residual,
            "dropout": dropout,
        }
        self.words = CharacterEncoder(
            pairs, projection, characters=characters, highway=highway, longest=longest, activation=activation
        )
        own = {"layers": layers, "projection": projection, "cell_clip": cell_clip, "projection_clip": projection_clip}
        own |= {"residual": residual, "dropout": dropout}
        self.forwards = Recurrent(projection, width, directions="forward", **own)  # type: ignore[arg-type]
        self.backwards = Recurrent(projection, width, directions="backward", **own)  # type: ignore[arg-type]
        self.dropout = nn.Dropout(dropout)
        for name, bias in [*self.forwards.named_parameters(), *self.backwards.named_parameters()]:
            if "bias" in name:
                with torch.no_grad():
                    bias.zero_()
                    if "bias_ih" in name:
                        bias[width : 2 * width] = 1.0
                bias.requires_grad_("bias_ih" in name)  # the paper's LSTM has one bias
        marks = np.stack([marker_characters(mark, longest) for mark in (BEGIN, END)])
        self.register_buffer("marks", torch.from_numpy(marks), persistent=False)

    @property
    def projection(self) -> int:
        """Width of one direction."""
        return int(self.sizes["projection"])

    def read_words(self, characters: Tensor) -> Tensor:
        """``[..., longest]`` in, ``[..., projection]`` out; words that stand several times are read once."""
        flat = characters.flatten(0, -2)
        rows = np.ascontiguousarray(flat.cpu().numpy().astype(np.uint16))
        _, first, places = np.unique(
            rows.view(np.dtype((np.void, rows.shape[1] * 2))).ravel(), return_index=True, return_inverse=True
        )
        where = flat.device
        vectors = self.words(flat[torch.from_numpy(first).to(where)])
        return vectors[torch.from_numpy(places.ravel()).to(where)].unflatten(0, characters.shape[:-1])

    def marked(self, characters: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """The words with the marks of begin and end around each text, ``[batch, time + 2, longest]``."""
        batch, time, longest = characters.shape
        out = characters.new_zeros(batch, time + 2, longest)
        out[:, 0] = self.marks[0]
        out[:, 1:-1] = characters
        out.scatter_(1, (lengths + 1).view(-1, 1, 1).expand(-1, 1, longest), self.marks[1].expand(batch, 1, longest))
        there = mask_of(lengths + 2, time + 2)
        return out * there.unsqueeze(2), lengths + 2

    def forward(
        self, characters: Tensor, lengths: Tensor, state: tuple[State | None, State | None] = (None, None)
    ) -> Layers:
        """Texts of ``lengths`` words ``[batch, time, longest]``; ``state`` of an earlier batch to go on from."""
        given, whole = self.marked(characters, lengths)
        words = self.read_words(given)
        ahead = self.forwards(words, whole, state[0], all_layers=True)
        back = self.backwards(words, whole, state[1], all_layers=True)
        sides = [(words, words), *zip(ahead.layers, back.layers, strict=True)]
        there = mask_of(lengths, characters.shape[1]).unsqueeze(2)
        layers = tuple(torch.cat(pair, 2)[:, 1:-1] * there for pair in sides)
        return Layers(layers, (ahead.state, back.state))

    def sums_of_long(self, characters: Tensor) -> Tensor:
        """``[layers + 1, 2 · projection]``: each layer's sum over the words of one long text ``[time, longest]``, in
        memory that does not grow with it. Both stacks go through it piece by piece, each from its own end."""
        time = len(characters)
        given = self.marked(characters.unsqueeze(0), torch.tensor([time], device=characters.device))[0][0]
        total = given.new_zeros(len(self.forwards.cells) + 1, 2 * self.projection, dtype=torch.float64)
        bounds = [(low, min(low + PIECE, len(given))) for low in range(0, len(given), PIECE)]
        for side, stack in enumerate((self.forwards, self.backwards)):
            half = slice(side * self.projection, (side + 1) * self.projection)
            state: State | None = None
            for low, high in bounds if side == 0 else reversed(bounds):
                words = self.read_words(given[low:high]).unsqueeze(0)
                read = stack(words, torch.tensor([high - low], device=given.device), state, all_layers=True)
                state = read.state
                inner = slice(1 if low == 0 else 0, high - low - (1 if high == len(given) else 0))
                for number, layer in enumerate((words, *read.layers)):
                    total[number, half] += layer[0, inner].double().sum(0)
        return total.float()


def _places(state: Tensor, batch: int) -> Tensor:
    """The state ``[layers, places, width]`` of the first ``batch`` places, zero where there was none."""
    more = batch - state.shape[1]
    return state[:, :batch] if more <= 0 else torch.cat([state, state.new_zeros(len(state), more, state.shape[2])], 1)


class ElmoNetwork(nn.Module):
    """The layers of :class:`BiLanguageModel` mixed to one vector a word, γ · Σ softmax(w)_j · h_j (equation 1), and the
    mean of these for a text. ``layer``: one layer instead, 0 the words' own; None: the mix, which begins as the mean.

    ``stateful``: the state at a text's end is where the next text in its place of the batch begins, as in the released
    programs; a vector then depends on what was read before. ``warmup`` of the first texts are read once more before, to
    come to a state that is not zero.
    """

    kind: ClassVar[str] = "elmo"
    padding: ClassVar[str] = "masked"

    def __init__(
        self,
        model: BiLanguageModel,
        *,
        layer: Annotated[int, AtLeast(0)] | None = None,
        stateful: bool = False,
        warmup: Annotated[int, AtLeast(0)] = 0,
    ) -> None:
        super().__init__()
        count = len(model.forwards.cells) + 1
        if layer is not None and not 0 <= layer < count:
            raise WrongUse(f"elmo, layer: expected 0 to {count - 1}, found {layer}")
        if warmup < 0 or (warmup and not stateful):
            raise WrongUse(f"elmo, warmup: expected 0, or texts to read before where stateful, found {warmup}")
        self.model, self.layer, self.stateful, self.warmup = model, layer, stateful, warmup
        self.mix, self.gamma = nn.Parameter(torch.zeros(count)), nn.Parameter(torch.ones(1))
        self.state: tuple[State | None, State | None] = (None, None)

    @property
    def dimension(self) -> int:
        """Both directions' projections."""
        return 2 * self.model.projection

    @property
    def token_width(self) -> int:
        """Of a word's vector."""
        return self.dimension

    def settings(self) -> dict[str, Any]:
        """What makes another one like it."""
        reading = {"layer": self.layer, "stateful": self.stateful, "warmup": self.warmup}
        return {"model": self.model.sizes, "reading": reading}

    def shares(self) -> Tensor:
        """``[layers + 1]``: what each layer counts for, γ within."""
        if self.layer is not None:
            return torch.eye(len(self.mix), device=self.mix.device)[self.layer]
        return self.gamma * torch.softmax(self.mix, 0)

    def forward(self, characters: Tensor, lengths: Tensor) -> EncodedBatch:
        """``characters`` int64 ``[batch, time, longest]``."""
        layers = self.read(characters, lengths)
        tokens = sum(share * layer for share, layer in zip(self.shares(), layers, strict=True))
        assert isinstance(tokens, Tensor)
        vectors = tokens.sum(1) / lengths.clamp(min=1).unsqueeze(1)
        return EncodedBatch(vectors, tokens, lengths)

    def encode(self, characters: Tensor, lengths: Tensor) -> Tensor:
        """The vectors alone."""
        return self(characters, lengths).vectors  # type: ignore[no-any-return]

    def read(self, characters: Tensor, lengths: Tensor) -> tuple[Tensor, ...]:
        """All layers of the words; where stateful, from the state that the batch before left in these places."""
        if not self.stateful:
            return self.model(characters, lengths).layers  # type: ignore[no-any-return]
        batch, begin = len(lengths), self.state
        if begin[0] is not None:
            begin = tuple(tuple(_places(part, batch) for part in side or ()) for side in begin)  # type: ignore[assignment]
        after = self.model(characters, lengths, begin)
        if self.state[0] is None or self.state[0][0].shape[1] <= batch:
            self.state = after.state
        else:  # places that this batch did not fill keep theirs
            self.state = tuple(  # type: ignore[assignment]
                tuple(torch.cat([new, old[:, batch:]], 1) for new, old in zip(side, before or (), strict=True))
                for side, before in zip(after.state, self.state, strict=True)
            )
        return after.layers  # type: ignore[no-any-return]

    def forget(self) -> None:
        """Begin from no state."""
        self.state = (None, None)

    def encode_long(self, characters: Tensor) -> Tensor:
        """``[dimension]`` of one text of many words ``[time, longest]``."""
        return self.shares() @ self.model.sums_of_long(characters) / len(characters)
