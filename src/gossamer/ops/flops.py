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
