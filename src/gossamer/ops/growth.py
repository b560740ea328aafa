"""What chooses, when layers grow, among tiles of their gradient."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from gossamer.kernels import instruction_set
from gossamer.kernels.cpu import CompiledSelector, Factors, pack_inputs

COMPILED = (torch.float32, torch.float64)


def compiled_selector(dtype: torch.dtype) -> CompiledSelector | None:
    """The compiled selection over tiles of gradient rows.

    Args:
        dtype: torch.dtype - of the tiles, which lie on the CPU.
    Returns:
        CompiledSelector of the instruction set that is forced, or the best one; None where the definition in torch
        runs: for other dtypes, under ``kernels.use("reference")``, and without a compiled core.
    Cost: O(1).
    Example:
        >>> compiled_selector(torch.bfloat16) is None
        True
    """
    isa = instruction_set()
    return None if isa == "reference" or dtype not in COMPILED else CompiledSelector(isa)


def growth_factors(pairs: Sequence[tuple[Tensor, Tensor]], grid: Sequence[int]) -> Callable[..., Factors]:
    """Tiles of a dense gradient that the compiled selector makes itself, where it is never in memory.

    Args:
        pairs: ([batch, in], [batch, out]) each, all of one dtype of `COMPILED`, on the CPU - inputs, output gradients.
        grid: (rows, columns, h, w) - the layer in units.
    Returns:
        callable (slice of rows of units, slice of columns of units) -> Factors.
    Cost: a copy of the inputs of the columns asked for last, and of the output gradients where there are several pairs.
    Example:
        >>> tile = growth_factors([(torch.ones(2, 3), torch.ones(2, 4))], (2, 3, 2, 1))
        >>> tile(slice(1, 2), slice(0, 3)).shape
        (2, 3)
    """
    _, cols, h, w = grid
    inputs = [x.unflatten(1, (cols, w)) for x, _ in pairs]
    outputs = pairs[0][1] if len(pairs) == 1 else torch.cat([dy for _, dy in pairs])
    units = outputs.unflatten(1, (-1, h))
    last: tuple[slice, Tensor] | None = None

    def tile(rows: slice, columns: slice) -> Factors:
        nonlocal last
        if last is None or last[0] != columns:  # a stripe is asked for from top to bottom
            last = None
            last = columns, pack_inputs([x[:, columns].flatten(1) for x in inputs])
        return Factors(units[:, rows].flatten(1), last[1], len(range(*columns.indices(cols))) * w)

    return tile
