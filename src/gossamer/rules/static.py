"""Static sparsity: the topology drawn at the start stays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from gossamer.rules.base import Rule, rules
from gossamer.rules.view import LayerView


@rules.register("static")
@dataclass(frozen=True, kw_only=True)
class Static(Rule):
    """No update ever; the baseline every other rule has to beat.

    Cost: none.
    Example:
        >>> Static().due(100, 1000)
        False
    """

    grows: ClassVar[bool] = False
    never: ClassVar[frozenset[str]] = frozenset({"change"})

    def due(self, step: int, total_steps: int) -> bool:
        """Never."""
        return False

    def keep(self, layer: LayerView, fraction: float) -> Tensor:
        """Everything survives, also where an update is asked for by hand."""
        return torch.ones_like(layer.positions, dtype=torch.bool)
