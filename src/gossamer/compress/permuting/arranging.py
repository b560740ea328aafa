"""Set after set of exchangeable channels is searched, and only what keeps more is taken."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from gossamer.compress.permuting.exchange import Moves, Place, exchangeable
from gossamer.compress.permuting.search import SMALL, search

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gossamer.compress.permuting.demand import Demand
    from gossamer.compress.permuting.sides import Side
    from gossamer.compress.structured.members import Followed

SWEEPS = 3  # what one set does best depends on the others only where blocks have more than one row and column


def arranged(followed: Followed, demands: Mapping[str, Demand], generator: torch.Generator) -> Moves:
    """Orders of channels with which the layers keep more of their scores than before, all together.

    Args:
        followed: Followed.
        demands: name -> Demand of a layer that is to be pruned; its scores are reordered.
        generator: torch.Generator.
    Returns:
        Moves.
    Cost: a search for every set of channels.
    """
    moves, sets = Moves(followed), exchangeable(followed)
    for _ in range(SWEEPS):
        better = [_improved(moves, places, demands, generator) for places in sets]
        if not any(better) or not any(min(each.pattern.unit) > 1 for each in demands.values()):
            break
    return moves


def _improved(
    moves: Moves, places: list[Place], demands: Mapping[str, Demand], generator: torch.Generator
) -> bool:
    """Search one set; whether an order was found and taken."""
    mine = [place for place in places if place.name in demands]
    sides = [side for place in mine if (side := _side(demands[place.name], place)) is not None]
    if not sides:
        return False
    touched = {place.name: demands[place.name] for place in mine}
    before = sum(each.kept() for each in touched.values())
    order = search(sides, generator)
    _reorder(mine, demands, order)
    if sum(each.kept() for each in touched.values()) <= before + SMALL * abs(before):
        _reorder(mine, demands, order.argsort())
        return False
    moves.add(places, order)
    return True


def _side(demand: Demand, place: Place) -> Side | None:
    """What the search sees; units of several channels move, and are checked afterwards."""
    return demand.side(place.dim, place.at[:, 0]) if place.at.shape[1] == 1 else None


def _reorder(places: list[Place], demands: Mapping[str, Demand], order: torch.Tensor) -> None:
    for place in places:
        each = demands[place.name]
        moved = torch.arange(each.scores.shape[0] if place.dim == 0 else each.channels)
        moved[place.at.flatten()] = place.at[order].flatten()
        each.reordered(place.dim, moved)
