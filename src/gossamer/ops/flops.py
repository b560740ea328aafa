"""The operators for ``torch.utils.flop_counter``: two operations a connection and sample, in every product."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.utils.flop_counter import register_flop_formula

from gossamer.kernels.operands import known

Shape = Sequence[int]


def connections(index: Sequence[Shape], layout: str, shape: Shape) -> int:
    """From the shapes of index tensors: the last has an entry a connection, or for each that share it.

    Example:
        >>> connections([[2], [2, 5]], "fanin", [8, 9, 4]), connections([[3], [7]], "block", [4, 4, 2, 2])
        (40, 28)
    """
    return known("ops.flops", layout).used(index, shape)


def _register(op: str, samples: int, index: int, layout: int) -> None:
    """By the places of an operand with a row a sample, of the index, and of the layout, which the shape follows."""

    @register_flop_formula(getattr(torch.ops.gossamer, op))
    def operations(*operands: Any, **_: Any) -> int:
        stored = connections(operands[index], operands[layout], operands[layout + 1])
        rows: int = operands[samples][0]
        return 2 * rows * stored


_register("linear", samples=0, index=2, layout=4)
_register("linear_grad_input", samples=0, index=2, layout=3)
_register("linear_grad_values", samples=0, index=3, layout=4)


def register_recurrent() -> None:
    """The same for recurrent layers, whose recurrent matrix meets every column once."""
    _register("recurrent", samples=0, index=2, layout=8)
    _register("recurrent_backward", samples=3, index=6, layout=10)


def register_conv() -> None:
    """The same for convolutions, of which a sample is a position of an output."""
    for op, index in (("conv", 2), ("conv_grad_input", 2), ("conv_grad_values", 3)):
        _register_conv(op, index)


def _register_conv(op: str, index: int) -> None:
    @register_flop_formula(getattr(torch.ops.gossamer, op))
    def operations(*operands: Any, out_shape: Any, **_: Any) -> int:
        layout = index + 1 if op != "conv" else index + 2
        stored = connections(operands[index], operands[layout], operands[layout + 1])
        images = out_shape if op == "conv" else operands[0]
        positions: int = images[0] * images[2] * images[3]
        return 2 * positions * stored
