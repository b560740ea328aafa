"""Channels of a model that may trade places, and what moves when they do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from gossamer.compress.structured.members import Followed
    from gossamer.layouts.arrays import Array

OUTPUTS, INPUTS = 0, 1  # dimensions of a weight


class Place(NamedTuple):
    """Where units stand in a layer or norm.

    Args:
        name: str - of the module.
        dim: int - of its weight: 0 for what it gives, 1 for what it reads.
        at: [units, often], int64 - the channels of each unit.
    """

    name: str
    dim: int
    at: Tensor


def exchangeable(followed: Followed) -> list[list[Place]]:
    """Sets of units that stand in the same layers and norms equally often: any order of them is as good.

    Args:
        followed: Followed.
    Returns:
        for every set of two units or more, its places.
    Cost: O(channels * log).
    """
    standing: dict[tuple[str, int], dict[int, list[int]]] = {}
    for name, member in followed.members.items():
        for dim, units in ((OUTPUTS, member.outputs), (INPUTS, member.inputs)):
            standing[name, dim] = _channels(units)
    alike: dict[tuple[Any, ...], list[int]] = {}
    for unit in sorted({unit for channels in standing.values() for unit in channels}):
        key = tuple((place, len(found[unit])) for place, found in standing.items() if unit in found)
        alike.setdefault(key, []).append(unit)
    return [
        [
            Place(name, dim, torch.tensor([standing[name, dim][unit] for unit in units]))
            for (name, dim), _ in key
        ]
        for key, units in alike.items()
        if len(units) > 1
    ]


def _channels(units: Array) -> dict[int, list[int]]:
    """Unit -> the channels that it is, in order."""
    found: dict[int, list[int]] = {}
    for channel in np.flatnonzero(units >= 0).tolist():
        found.setdefault(int(units[channel]), []).append(channel)
    return found


class Moves:
    """New orders of channels, layer by layer.

    Args:
        followed: Followed - says how many channels there are.
    """

    def __init__(self, followed: Followed) -> None:
        self.orders = {
            (name, dim): torch.arange(units.size)
            for name, member in followed.members.items()
            for dim, units in ((OUTPUTS, member.outputs), (INPUTS, member.inputs))
        }

    def add(self, places: Iterable[Place], order: Tensor) -> None:
        """Have unit ``order[i]`` of a set stand where unit ``i`` stands now."""
        for place in places:
            held = self.orders[place.name, place.dim]
            held[place.at.flatten()] = held[place.at[order].flatten()]

    @property
    def moved(self) -> dict[str, dict[int, Tensor]]:
        """Name -> dimension -> new order, of the modules in which something moves."""
        found: dict[str, dict[int, Tensor]] = {}
        for (name, dim), order in self.orders.items():
            if not torch.equal(order, torch.arange(order.numel())):
                found.setdefault(name, {})[dim] = order
        return found

    def inverse(self) -> Moves:
        """What undoes it."""
        back = object.__new__(Moves)
        back.orders = {key: order.argsort() for key, order in self.orders.items()}
        return back

    @torch.no_grad()
    def apply(self, model: nn.Module, states: Mapping[int, Iterable[Tensor]] | None = None) -> None:
        """Reorder weights, biases and statistics in place; parameters and buffers stay the same objects.

        Args:
            model: nn.Module.
            states: id of a parameter -> tensors of its shape that follow it.
        """
        for name, orders in self.moved.items():
            for tensor, dims in slots(model.get_submodule(name), orders):
                held = {id(each): each for each in (tensor, *(states or {}).get(id(tensor), ()))}
                for each in held.values():
                    new = each
                    for dim, order in dims.items():
                        new = new.index_select(dim, order)
                    each.copy_(new)


def slots(module: Any, orders: Mapping[int, Tensor]) -> list[tuple[Tensor, dict[int, Tensor]]]:
    """The tensors of a layer or norm that are reordered, each with its orders by dimension."""
    rows = {OUTPUTS: orders[OUTPUTS]} if OUTPUTS in orders else {}
    vectors = [getattr(module, name, None) for name in ("bias", "running_mean", "running_var")]
    found = [(each, rows) for each in vectors if each is not None and rows]
    return found if module.weight is None else [(module.weight, dict(orders)), *found]
