"""Which features can go: those that nothing reads, or that are constants every reader can be told of."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gossamer.network.graph import Linear
from gossamer.trace.features import feature_of, foldable
from gossamer.trace.held import Features

if TYPE_CHECKING:
    from gossamer.layouts.arrays import Array
    from gossamer.network.graph import Graph


def read_by(body: Linear, features: int) -> Array:
    """[features], bool: those of its input that a layer reads."""
    return np.bincount(feature_of(body), minlength=features) > 0


def alive(graph: Graph, found: Features) -> Array:
    """Which fates stay.

    Args:
        graph: Graph - that ``found`` was made from.
        found: Features.

    Returns:
        [fates], bool; of each layer at least one stays.

    Cost: O(connections), and a few passes over the fates.
    """
    label = found.labels()
    stays = np.zeros(found.total, bool)
    for fates, _ in found.pinned:
        stays[label[fates]] = True
    for node, body in graph.linears():
        x = found.held.get(node.inputs[0])
        if x is not None and (x.fates.size, len(node.inputs)) == (_features(body), 1):
            stays[label[x.fates[read_by(body, x.fates.size) & ~foldable(body, x)]]] = True
    parts = [label[part] for part in found.together]
    _settle(stays, parts)
    for node, _ in graph.linears():
        mine = found.held.get(node.name)
        if mine is not None and not stays[label[mine.fates]].any():
            stays[label[mine.fates[0]]] = True
            _settle(stays, parts)
    kept: Array = stays[label]
    return kept


def _features(body: Linear) -> int:
    """Of the input of a layer."""
    return body.connections.shape[1] if body.geometry is None else body.geometry.channels


def _settle(stays: Array, parts: list[Array]) -> None:
    """What must go together stays together."""
    before = -1
    while before != (before := int(stays.sum())):
        for part in parts:
            stays[part[stays[part].any(axis=1)]] = True
