"""Which passes growth makes over its tiles of gradient."""

from __future__ import annotations

import torch

from gossamer.kernels import instruction_set
from gossamer.kernels.cpu import GrowthPasses

COMPILED = (torch.float32, torch.float64)


def growth_passes(dtype: torch.dtype) -> GrowthPasses | None:
    """Compiled passes over tiles of gradient rows.

    Args:
        dtype: torch.dtype - of the tiles, which lie on the CPU.
    Returns:
        GrowthPasses of the forced or the best instruction set; None where the definition in torch runs: for
        other dtypes, under ``kernels.use("reference")``, and without a compiled core.
    Cost: O(1).
    Example:
        >>> growth_passes(torch.bfloat16) is None
        True
    """
    isa = instruction_set()
    return None if isa == "reference" or dtype not in COMPILED else GrowthPasses(isa)
