"""What a recurrent layer is called with: padded, packed and single sequences, and the state before the first step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from gossamer.errors import ConfigError, ShapeError

if TYPE_CHECKING:
    from gossamer.nn.recurrent import Recurrent

State = tuple[Tensor, Tensor | None]


@dataclass(frozen=True)
class Given:
    """Sequences in the order of the core, and the way back.

    Args:
        x: [columns, inputs] - by time, in a time by sequence, longest sequence first.
        first: (h, c) of every layer and direction, [sequences, hidden] each; c of an LSTM alone.
        active: int64 [times] - sequences that have each time; None: all have all.
        packed: PackedSequence or None - what came, where it was one.
        shape: dimensions of what came, where it was not packed.
        batch_first: bool.
    """

    x: Tensor
    first: list[State]
    active: Tensor | None
    packed: PackedSequence | None
    shape: tuple[int, ...]
    batch_first: bool

    def output(self, y: Tensor) -> Any:
        """[columns, features] as the input came: packed, or with its dimensions."""
        if self.packed is not None:
            return PackedSequence(y, *self.packed[1:])
        if len(self.shape) == 2:
            return y
        times, width = self.shape[:2] if not self.batch_first else self.shape[1::-1]
        y = y.unflatten(0, (times, width))
        return y.transpose(0, 1) if self.batch_first else y

    def state(self, h: Sequence[Tensor], c: Sequence[Tensor | None]) -> Any:
        """The last states as torch returns them."""
        parts = [torch.stack(list(part)) for part in (h, c) if part[0] is not None]  # type: ignore[arg-type]
        if self.packed is not None and self.packed.unsorted_indices is not None:
            parts = [part.index_select(1, self.packed.unsorted_indices) for part in parts]
        if len(self.shape) == 2:
            parts = [part.squeeze(1) for part in parts]
        return (parts[0], parts[1]) if len(parts) > 1 else parts[0]


def given(layer: Recurrent, x: Any, hx: Any) -> Given:
    """Read the arguments of a call.

    Args:
        layer: Recurrent - that is called.
        x: PackedSequence, or Tensor - [times, batch, inputs], or [times, inputs]; ``batch_first``: [batch, times, ..].
        hx: None, h, or (h, c) for an LSTM - each [layers * directions, batch, hidden], without batch for one sequence.
    Returns:
        Given.
    Raises:
        ShapeError: something else, no times, other inputs, or states of another shape.
    """
    title = type(layer).__name__
    packed = x if isinstance(x, PackedSequence) else None
    shape: tuple[int, ...] = ()
    if packed is not None:
        rows, active, width = packed.data, packed.batch_sizes, int(packed.batch_sizes[0])
    else:
        rows, width, shape = _rows(title, x, layer.batch_first)
        active = None
    if rows.shape[-1] != layer.input_size:
        got = f"{rows.shape[-1]} in {tuple(shape) or 'packed data'}"
        raise ShapeError(title, expected=f"{layer.input_size} inputs", got=got)
    return Given(
        rows, _first(layer, hx, rows, width, packed, len(shape)), active, packed, shape, layer.batch_first
    )


def _rows(title: str, x: Any, batch_first: bool) -> tuple[Tensor, int, tuple[int, ...]]:
    """[times * sequences, inputs], sequences, and the shape of what came."""
    if not isinstance(x, Tensor) or x.ndim not in (2, 3):
        wanted = "[batch, times, inputs]" if batch_first else "[times, batch, inputs]"
        got = f"shape {tuple(x.shape)}" if isinstance(x, Tensor) else type(x).__name__
        raise ShapeError(title, expected=f"{wanted}, [times, inputs] or a PackedSequence", got=got)
    shape = tuple(x.shape)
    by_time = x.unsqueeze(1) if x.ndim == 2 else x.transpose(0, 1) if batch_first else x
    if not by_time.shape[0]:
        raise ShapeError(title, expected="sequences of at least one time", got=f"shape {shape}")
    return by_time.reshape(-1, shape[-1]), by_time.shape[1], shape


def _first(
    layer: Recurrent, hx: Any, x: Tensor, width: int, packed: PackedSequence | None, dims: int
) -> list[State]:
    """The state before the first step, layer by layer, in the order of the sequences."""
    title, lstm = type(layer).__name__, layer.cell == "lstm"
    count = layer.num_layers * len(layer.directions)
    if hx is None:
        zeros = x.new_zeros(width, layer.hidden_size)
        return [(zeros, zeros if lstm else None)] * count
    states = list(hx) if lstm and isinstance(hx, (tuple, list)) else [hx]
    size = (count, layer.hidden_size) if dims == 2 else (count, width, layer.hidden_size)
    names = "(h, c)" if lstm else "h"
    if len(states) != 1 + lstm or any(
        not isinstance(each, Tensor) or tuple(each.shape) != size for each in states
    ):
        got = ", ".join(
            str(tuple(each.shape)) if isinstance(each, Tensor) else type(each).__name__ for each in states
        )
        raise ShapeError(title, expected=f"a state {names}, {size} each", got=got)
    if packed is not None and packed.sorted_indices is not None:
        states = [each.index_select(1, packed.sorted_indices) for each in states]
    states = [each.unsqueeze(1) if dims == 2 else each for each in states]
    return [(states[0][k], states[1][k] if lstm else None) for k in range(count)]


def check_settings(title: str, input_size: Any, hidden_size: Any, num_layers: Any, dropout: Any) -> None:
    """Refuse sizes and a dropout that torch refuses; raises ConfigError."""
    for name, value in (("input_size", input_size), ("hidden_size", hidden_size), ("num_layers", num_layers)):
        least = 0 if name == "input_size" else 1
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ConfigError(title, expected=f"{name}, an integer from {least}", got=repr(value))
    if isinstance(dropout, bool) or not isinstance(dropout, (int, float)) or not 0 <= dropout <= 1:
        raise ConfigError(title, expected="dropout in [0, 1]", got=repr(dropout))
