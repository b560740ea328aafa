"""Which passes growth makes over its tiles of gradient."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from gossamer.kernels import instruction_set
from gossamer.kernels.cpu import Factors, GrowthPasses, pack_inputs

COMPILED = (torch.float32, torch.float64)


def growth_passes(dtype: torch.dtype) -> GrowthPasses | None:
    """Compiled passes over tiles of gradient rows.

    Args:
        dtype: torch.dtype - of the tiles, which lie on the CPU.
    Returns:
        GrowthPasses of the instruction set that is forced, or the best one; None where the definition in torch runs:
        for other dtypes, under ``kernels.use("reference")``, and without a compiled core.
    Cost: O(1).
    Example:
        >>> growth_passes(torch.bfloat16) is None
        True
    """
    isa = instruction_set()
    return None if isa == "reference" or dtype not in COMPILED else GrowthPasses(isa)


def growth_factors(pairs: Sequence[tuple[Tensor, Tensor]], height: int) -> Callable[[slice], Factors]:
    """Tiles of a dense gradient that compiled passes make themselves, where it is never in memory.

    Args:
        pairs: ([batch, in], [batch, out]) each, all of one dtype of `COMPILED`, on the CPU - inputs, output gradients.
        height: int - rows of a unit, which divide ``out``.
    Returns:
        callable (slice of rows of units) -> Factors.
    Cost: a copy of the inputs, and of the output gradients where there are several pairs.
    Example:
        >>> rows = growth_factors([(torch.ones(2, 3), torch.ones(2, 4))], 2)
        >>> rows(slice(1, 2)).shape
        (2, 3)
    """
    inputs, columns = pack_inputs([x for x, _ in pairs]), pairs[0][0].shape[1]
    outputs = pairs[0][1] if len(pairs) == 1 else torch.cat([dy for _, dy in pairs])
    units = outputs.unflatten(1, (-1, height))
    return lambda part: Factors(units[:, part].flatten(1), inputs, columns)
