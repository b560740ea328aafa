"""The sparse layer that takes a dense one's place, made beside it; the dense one is only read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from gossamer.errors import DensityError, NonFiniteError, PatternError
from gossamer.nn.candidates import effective_weight
from gossamer.nn.carry import mark_parameters
from gossamer.nn.kinds import Dense, Kind, dense_kind, matrix_shape
from gossamer.nn.sparse import SparseModule
from gossamer.patterns import Pattern
from gossamer.topology import Topology

RANDOM = "drawn at random"


@dataclass(frozen=True)
class Wanted:
    """What all sparse layers of a model have in common; see ``sparsify``."""

    pattern: Pattern
    home: str
    init: str
    law: str
    generator: torch.Generator | None
    device: torch.device | None


def unlike_others() -> torch.Generator:
    """Draws that no other layer has: what is drawn is replaced at once, but layers look for others of one topology."""
    generator = torch.Generator()
    generator.seed()
    return generator


def check_fit(name: str, layer: Dense, density: float, pattern: Pattern, operation: str = "sparsify") -> None:
    """Refuse a density that a layer cannot have under the pattern; raises the pattern's error, with the name."""
    try:
        pattern.budget(density, matrix_shape(layer))
        cast("Kind", dense_kind(layer)).fits(layer, pattern)
    except (PatternError, DensityError) as error:
        raise error.within(f"{operation} {name}") from None


def least_bytes(layer: Dense, density: float, home: str) -> int:
    """Bytes of a sparse layer at least: values and 16-bit indices, or a dense weight and its mask."""
    positions, size = layer.weight.numel(), layer.weight.element_size()
    return positions * (size + 1) if home == "masked" else int(density * positions) * (size + 2)


def twin(name: str, dense: Dense, density: float, wanted: Wanted) -> tuple[SparseModule, str]:
    """The sparse layer, and what there is to say of its values.

    Args:
        name: str - of the layer, for errors.
        dense: nn.Module - of a dense class of the table of kinds.
        density: float in (0, 1].
        wanted: Wanted.
    Returns:
        (SparseModule, str).
    Raises:
        NonFiniteError: init="keep" and weights with zeros and NaN.
    Cost: O(connections); O(dense size) for init="keep".
    """
    layer = _drawn(dense, density, wanted)
    said = _keep_values(layer, dense, name, wanted.generator) if wanted.init == "keep" else ""
    mark_parameters(dense, layer)
    return layer, said


def twin_of_best(
    name: str, dense: Dense, density: float, scores: Tensor, weight: Tensor, wanted: Wanted
) -> tuple[SparseModule, str]:
    """The sparse layer with the connections that score highest, and what there is to say of it.

    Args:
        name: str - of the layer, for errors.
        dense: nn.Module - of a dense class of the table of kinds.
        density: float in (0, 1].
        scores: [out, in], finite.
        weight: of the dense weight's shape - values of the connections that stay.
        wanted: Wanted.
    Returns:
        (SparseModule, str).
    Raises:
        NonFiniteError: a score that is no number.
    Cost: a sort of the dense weight.
    """
    layer = _drawn(dense, density, wanted)
    matrix = layer.to_matrix(weight.detach()).cpu()
    positions = _best(layer, scores, f"prune {name}")
    _take(layer, dense, Topology(layer.pattern, layer.shape, positions), matrix)
    mark_parameters(dense, layer)
    held = (layer.unit_values(), effective_weight(dense))
    left, whole = (float(tensor.detach().abs().double().sum()) for tensor in held)
    return layer, f"keeps {left / whole:.1%} of the magnitude" if whole else ""


def twin_at(dense: Dense, topology: Topology, wanted: Wanted) -> tuple[SparseModule, str]:
    """The sparse layer with all of the dense one's values that are at a topology, and what there is to say of it.

    Args:
        dense: nn.Module - of a dense class of the table of kinds; its kind takes the pattern, see ``check_fit``.
        topology: Topology - of its weight as a matrix, in the pattern that is wanted.
        wanted: Wanted.
    Returns:
        (SparseModule, str).
    Cost: O(dense size).
    """
    layer = _drawn(dense, topology.density, wanted)
    kept = _take(layer, dense, topology, layer.to_matrix(effective_weight(dense).detach()).cpu())
    mark_parameters(dense, layer)
    zeros = topology.connections - kept
    return layer, f"keeps all {kept:,} values" + (f", and {zeros:,} zeros as connections" if zeros else "")


def _drawn(dense: Dense, density: float, wanted: Wanted) -> SparseModule:
    """A sparse layer in the shape of a dense one, with new values at a drawn topology."""
    return (
        cast("Kind", dense_kind(dense))
        .home(wanted.home)
        .of(
            dense,
            wanted.device,
            density=density,
            pattern=wanted.pattern,
            generator=wanted.generator,
            fan_in="dense" if wanted.init == "dense" else "sparse",
            law=wanted.law,
        )
    )


def _keep_values(layer: SparseModule, dense: Dense, name: str, generator: torch.Generator | None) -> str:
    """Take the dense layer's bias, and its values at the drawn topology or, where some are zero, the largest."""
    matrix = layer.to_matrix(effective_weight(dense).detach()).cpu()
    alive, topology = int(matrix.count_nonzero()), layer.topology
    if pruned := 0 < alive < matrix.numel():
        topology = _largest(layer, matrix, name, generator)
    kept = _take(layer, dense, topology, matrix)
    drawn = RANDOM if kept < alive else "all of them"
    how = "the largest, since some were zero" if pruned else drawn
    return f"keeps {kept:,} of {alive:,} values, {how}"


def _take(layer: SparseModule, dense: Dense, topology: Topology, matrix: Tensor) -> int:
    """Take the dense layer's bias, and values of a matrix at a topology; how many of them are not zero."""
    values = layer.pattern.pack(matrix, topology.positions, layer.grid)
    layer.assign(topology, values)
    if layer.bias is not None and dense.bias is not None:
        with torch.no_grad():
            layer.bias.copy_(dense.bias)
    return int(values.count_nonzero())


def _best(layer: SparseModule, scores: Tensor, operation: str) -> Tensor:
    """Positions of the layer's budget that score highest."""
    try:
        return layer.pattern.project(scores, layer.capacity, layer.grid)
    except NonFiniteError as error:
        raise error.within(operation) from None


def _largest(layer: SparseModule, matrix: Tensor, name: str, generator: torch.Generator | None) -> Topology:
    """The topology of the layer's budget that holds the largest weights, and some of the zeros if there is room."""
    scores = matrix.abs().double()
    least = scores[scores > 0].min() / (
        2 * layer.grid.members
    )  # the zeros of a unit together weigh less than a weight
    draws = torch.rand(scores.shape, generator=generator, dtype=scores.dtype)
    positions = _best(layer, torch.where(scores == 0, draws * least, scores), f"sparsify {name}")
    return Topology(layer.pattern, layer.shape, positions)
