"""AC/DC: phases with few connections and phases with all of them, in turn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from gossamer.errors import ConfigError
from gossamer.patterns.base import merge
from gossamer.rules.base import rules
from gossamer.rules.gradual import Gradual
from gossamer.rules.schedules import Constant, Schedule
from gossamer.rules.strongest import strongest
from gossamer.rules.view import LayerView


@rules.register("acdc")
@dataclass(frozen=True, kw_only=True)
class ACDC(Gradual):
    """Alternating compressed and decompressed training: the smallest weights go, and come back at zero, in turn.

    Until ``begin`` all connections train. Then phases of ``every`` steps follow: in a compressed one the largest
    weights at its start train alone, at the start of a decompressed one the others come back at zero and the optimizer
    begins anew with these layers. The last update always compresses, and what it leaves trains to the end.

    Decompressed, a layer has the connections with which training began: ``sparsify(..., density=1.0, full="sparse")``
    makes layers that have all. They need the memory of all of them to the end, so do not call ``compact`` before it.

    Deviations from the published code: the state of the optimizer for biases and norms stays; layers that are to stay
    dense are named in ``attach(fixed=)``, or by ``skip=`` of ``sparsify``.

    Args:
        every: int - steps of a phase; 5 epochs as published.
        begin: int - steps of the warm-up; 10 epochs as published, of 100.
        drop: float in (0, 1) - share of the units that is gone in compressed phases.
        until: float in (0, 1] - share of the training steps after which phases end; 0.85 as published.
        scope: "global", as published, or "layer", which FanIn needs.
        initial: not used: leave it at 0.
    Cost: O(connections) an update, and memory for the positions of all.
    Source: Peste et al., NeurIPS 2021, "AC/DC: Alternating Compressed/DeCompressed Training of Deep Neural Networks".
    Example:
        >>> rule = ACDC(begin=10, every=5)
        >>> [step for step in range(101) if rule.due(step, 100) and rule.compresses(step, 100)]
        [10, 20, 30, 40, 50, 60, 70, 80]
    """

    every: int = 1000
    until: float = 0.85
    scope: str = "global"
    count: ClassVar[str] = "moves"
    from_full: ClassVar[bool] = True
    variants: ClassVar[tuple[dict[str, Any], ...]] = ({"drop": 0.85, "scope": "layer"},)

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.drop, Schedule) or not self.drop > 0 or self.initial:
            raise ConfigError(
                "ACDC",
                expected="a number drop above 0 and initial=0: the share is the same in every compressed phase",
                got=f"drop={self.drop!r}, initial={self.initial!r}",
            )

    def schedule(self) -> Schedule:
        """A float is the share in every compressed phase."""
        return self.drop if isinstance(self.drop, Schedule) else Constant(float(self.drop))

    def compresses(self, step: int, total_steps: int) -> bool:
        """Whether the update at a step begins a compressed phase: every other one does, and the last."""
        first = max(self.begin, 1)
        number = step // self.every - (first - 1) // self.every  # of the updates so far
        return number % 2 == 1 or step >= self.last(total_steps)

    def plan(self, layers: Sequence[LayerView], fraction: float) -> dict[str, Tensor]:
        """The largest, or all."""
        if not self.compresses(layers[0].step, layers[0].total_steps):
            return {layer.name: _all(layer) for layer in layers}
        for layer in layers:
            layer.state["positions"] = _all(layer)
        return strongest([self.candidates(layer) for layer in layers], fraction, self.scope)

    def forgets(self, layer: LayerView) -> bool:
        """The optimizer begins anew where a decompressed phase does."""
        return not self.compresses(layer.step, layer.total_steps)

    def wrong_in(self, state: Mapping[str, Any]) -> str:
        """Ascending positions."""
        positions = state.get("positions")
        if not isinstance(positions, Tensor) or positions.dim() != 1 or positions.dtype != torch.int64:
            return f"only {', '.join(state) or 'nothing'}, for positions"
        return "" if bool((positions.diff() > 0).all()) else "positions that do not ascend"


def _all(layer: LayerView) -> Tensor:
    """[n], int64: positions of a decompressed layer."""
    before = layer.state.get("positions", layer.positions[:0])
    return merge(layer.positions, before[~torch.isin(before, layer.positions)])
