"""Importance pruning: neurons whose incoming connections are weak are removed, beside another rule or alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from gossamer.errors import ConfigError
from gossamer.patterns import Pattern, Unstructured
from gossamer.rules.base import Rule, rules
from gossamer.rules.schedules import Constant, Schedule
from gossamer.rules.set import SET
from gossamer.rules.static import Static
from gossamer.rules.view import LayerView
from gossamer.topology import Topology


@dataclass(frozen=True, eq=False)
class _Part:
    """What is left of a layer after a pruning, as a smaller layer that the other rule works on."""

    view: LayerView
    stays: Tensor  # [units], bool: connections of the whole layer that are in the part
    rows: Tensor  # neurons of the whole layer that may have connections
    cols: Tensor  # its inputs that may

    def whole(self, positions: Tensor, cols: int) -> Tensor:
        """Positions of the part in the whole layer."""
        width = self.cols.numel()
        return self.rows[positions // width] * cols + self.cols[positions % width]


@rules.register("importance")
@dataclass(frozen=True, kw_only=True)
class ImportancePruning(Rule):
    """Every so often remove the share ``drop`` of a layer's neurons, those with the least ``sum |incoming weight|``.

    A removed neuron stays removed: it loses its incoming connections, and where an ``nn.Sequential`` shows which sparse
    layer reads it, its outgoing ones; the constant it would still give, f(bias), moves into the reader's bias, and
    nothing is grown at it again. Read by a dense layer it goes on giving that constant. Output neurons are never
    removed, and at least one neuron of every layer stays.

    Args:
        every, begin, until: see Rule; the published periods are 10 or 20 epochs, from epoch 200 to the end.
        drop: float or Schedule - share of the neurons that are left, removed at a pruning; a float is constant.
        then: Rule - one that grows without gradients, e.g. SET; it goes on at its own steps, after the pruning.
        published: bool - what the published code does instead: only incoming connections go, bias and outgoing ones
            stay, emptied neurons may grow again, and the share is of all neurons, empty ones included.
    Cost: O(connections) an update, and the other rule's.
    Source: Curci et al. 2021, "Truly Sparse Neural Networks at Scale".
    Example:
        >>> from gossamer.rules import SET
        >>> rule = ImportancePruning(every=1000, begin=2000, drop=0.1, then=SET(every=100))
        >>> rule.due(100, 5000), rule.prunes(100, 5000), rule.prunes(3000, 5000)
        (True, False, True)
    """

    drop: float | Schedule = 0.1
    until: float = 1.0
    then: Rule = field(default_factory=Static)
    published: bool = False
    count: ClassVar[str] = "shrinks"
    variants: ClassVar[tuple[dict[str, Any], ...]] = (
        {"then": SET(every=5)},
        {"then": SET(every=5), "published": True},
    )

    @property
    def never(self) -> frozenset[str]:  # type: ignore[override]
        """What is removed stays removed, except in the published code."""
        return frozenset() if self.published else frozenset({"revive"})

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.then, Rule) or self.then.needs_gradient or self.then.name == self.name:
            raise ConfigError(
                "ImportancePruning(then=)",
                expected="a rule that grows without gradients",
                got=repr(self.then),
                hint="use SET or Static",
            )

    def schedule(self) -> Schedule:
        """A float means a constant share."""
        return self.drop if isinstance(self.drop, Schedule) else Constant(float(self.drop))

    def prunes(self, step: int, total_steps: int) -> bool:
        """Whether neurons are removed after a step."""
        return super().due(step, total_steps)

    def due(self, step: int, total_steps: int) -> bool:
        """Where neurons are removed, and where the other rule is due."""
        return self.prunes(step, total_steps) or self.then.due(step, total_steps)

    def idle(self, total_steps: int, topologies: Sequence[Topology] = ()) -> str:
        """Where it, or the other rule, does nothing."""
        if reason := self.then.idle(total_steps, topologies):
            return f"{self.name}: {reason}"
        return Rule.idle(replace(self, then=Static()), total_steps)

    def draws_values(self) -> bool:
        """As the other rule."""
        return self.then.draws_values()

    def folds(self) -> bool:
        """Unless the published code's behaviour was asked for."""
        return not self.published

    def undefined_on(self, pattern: Pattern) -> str:
        """Only Unstructured lets whole inputs go."""
        if type(pattern) is not Unstructured:  # a Block is one, of larger units
            return f"{pattern} cannot lose any one input: use Unstructured(), or FanIn() with SRigL, which ablates"
        return self.then.undefined_on(pattern)

    def keep(self, layer: LayerView, fraction: float) -> Tensor:
        """[units], bool: what neither the pruning nor the other rule drops."""
        part = self._part(layer, fraction)
        kept = part.stays.clone()
        if self.then.due(layer.step, layer.total_steps):
            kept[part.stays] = self.then.keep(part.view, self._then_fraction(layer))
        return kept

    def update(self, layer: LayerView, fraction: float) -> Tensor:
        """Prune where that is due; what is left is updated by the other rule where that is."""
        part = self._part(layer, fraction)
        positions = part.view.positions
        if self.then.due(layer.step, layer.total_steps):
            positions = self.then.update(part.view, self._then_fraction(layer))
        return part.whole(positions, layer.topology.grid.cols)

    def _then_fraction(self, layer: LayerView) -> float:
        return self.then.fraction(layer.step, layer.total_steps)

    def _part(self, layer: LayerView, fraction: float) -> _Part:
        """The layer without removed neurons and without inputs that were."""
        grid = layer.topology.grid
        row, col = layer.positions // grid.cols, layer.positions % grid.cols
        every_row, every_col = (
            torch.ones(grid.rows, dtype=torch.bool),
            torch.ones(grid.cols, dtype=torch.bool),
        )
        if self.published:
            stays = self._alive(layer, None, fraction)[row]
            rows, cols = every_row, every_col
        else:
            rows = self._alive(layer, layer.reader, fraction)
            cols = every_col if layer.source is None else self._alive(layer.source, layer, fraction)
            stays = rows[row] & cols[col]
        shape = (int(rows.sum()), int(cols.sum()))
        at = (rows.cumsum(0) - 1)[row[stays]] * shape[1] + (cols.cumsum(0) - 1)[col[stays]]
        topology = Topology(layer.pattern, shape, at)
        view = replace(layer, topology=topology, values=layer.values[stays], source=None, reader=None)
        return _Part(view, stays, rows.nonzero().squeeze(1), cols.nonzero().squeeze(1))

    def _alive(self, layer: LayerView, reader: LayerView | None, fraction: float) -> Tensor:
        """[neurons], bool: those that stay; both layers a neuron concerns come to the same answer."""
        rows = layer.topology.grid.rows
        alive = torch.ones(rows, dtype=torch.bool)
        if layer.is_output or layer.step < self.begin:
            return alive
        if not self.published:
            alive = layer.topology.fan_in() > 0
            if reader is not None:
                alive |= reader.topology.fan_out() > 0
        if self.prunes(layer.step, layer.total_steps):
            importance = torch.zeros(rows, dtype=torch.float64)
            row = layer.positions // layer.topology.grid.cols
            importance.index_add_(0, row, layer.magnitude().double())
            left = importance[alive]
            if left.numel():
                cut = torch.quantile(left, min(max(fraction, 0.0), 1.0))
                alive &= (importance > cut) | (importance == left.max())
        return alive
