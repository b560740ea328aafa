"""Which connections of a layer score highest, and what a ranking over all layers gives each of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from gossamer.compress.matrices import matrix_of, weights_from
from gossamer.errors import DensityError, NonFiniteError, PatternError, ShapeError
from gossamer.nn import SparseModule
from gossamer.nn.candidates import effective_weight
from gossamer.nn.kinds import matrix_shape
from gossamer.nn.twin import check_fit
from gossamer.patterns import Pattern
from gossamer.patterns.base import whole
from gossamer.topology import Edit, top_mask, top_mask_in_buckets


def prepared(name: str, layer: Any, scores: Tensor, weights: Tensor, pattern: Pattern) -> Tensor:
    """Scores that can be ranked: finite, on the CPU, and lowest where a weight is gone already.

    Args:
        name: str - for errors.
        layer: nn.Module - dense or sparse.
        scores: of the shape of ``weights``.
        weights: as the next pass of the layer uses them.
        pattern: Pattern - of dense layers.
    Returns:
        [out, in] for a dense layer, and the shape of its weights for a sparse one.
    Raises:
        ShapeError, NonFiniteError, PatternError: with the name of the layer.
    Cost: O(weights).
    """
    if scores.shape != weights.shape:
        raise ShapeError(
            f"scores of {name}", expected=f"shape {tuple(weights.shape)}", got=f"{tuple(scores.shape)}"
        )
    if not bool(torch.isfinite(scores).all()):
        raise NonFiniteError(f"scores of {name}", expected="finite scores", got="NaN or infinity")
    scores, weights = scores.detach().cpu(), weights.detach().cpu()
    if isinstance(layer, SparseModule):
        return scores
    matrix, alive = (matrix_of(layer, tensor) for tensor in (scores, weights != 0))
    try:
        grid = pattern.grid(matrix_shape(layer))
    except PatternError as error:
        raise error.within(f"prune {name}") from None
    gone = ~pattern.units(alive, grid).any(1)
    if not bool(gone.any()):
        return matrix
    lowest = pattern.units(matrix, grid).sum(1).min() - 1
    each = pattern.unpack(gone.repeat_interleave(grid.members), torch.arange(grid.size), grid)
    return torch.where(each, lowest / grid.members, matrix)


def unit_scores(layer: Any, scores: Tensor, pattern: Pattern) -> Tensor:
    """[units]: the sum of a unit's prepared scores; all units of a dense layer, those that exist of a sparse one."""
    if isinstance(layer, SparseModule):
        return layer.unit_values(scores).sum(1)
    return pattern.units(scores, pattern.grid(matrix_shape(layer))).sum(1)


def global_densities(
    layers: Mapping[str, Any], scores: Mapping[str, Tensor], pattern: Pattern, density: float
) -> dict[str, float]:
    """Density of each layer where the units of all layers are ranked together; equal ones in the order of the layers.

    Args:
        layers: name -> layer, dense or sparse.
        scores: name -> prepared scores.
        pattern: Pattern - of the dense ones.
        density: float in (0, 1] - of all layers together.
    Raises:
        DensityError: a layer would lose everything.
    Cost: O(weights).
    """
    units = {name: unit_scores(layer, scores[name], pattern) for name, layer in layers.items()}
    sizes = {name: _pattern(layer, pattern).grid(matrix_shape(layer)).size for name, layer in layers.items()}
    total = sum(sizes.values())
    left = min(total - whole((1 - density) * total), sum(each.numel() for each in units.values()))
    kept = top_mask(torch.cat(list(units.values())), left).split([each.numel() for each in units.values()])
    counts = {name: int(part.sum()) for name, part in zip(units, kept, strict=True)}
    if lost := [name for name, count in counts.items() if not count]:
        raise DensityError(
            f"prune {', '.join(lost)}",
            expected="at least one connection in every layer",
            got="none: all of its scores are below those of other layers",
            hint="take allocation='uniform' or 'erk', score='lamp', a higher density, or leave it out with skip=",
        )
    return {name: count / sizes[name] for name, count in counts.items()}


def kept(name: str, layer: Any, scores: Tensor, density: float, pattern: Pattern) -> Tensor:
    """Which weights pruning keeps: bool, in the shape of the layer's weights, on the CPU.

    Args:
        name: str - for errors.
        layer: nn.Module - dense or sparse.
        scores: prepared.
        density: float in (0, 1].
        pattern: Pattern - of a dense layer.
    Raises:
        DensityError, PatternError: the pattern does not allow the density, or fit the layer.
    Cost: a sort of the weights.
    """
    if isinstance(layer, SparseModule):
        edit, like = thinned(name, layer, scores, density), layer.weights.detach().cpu()
        if edit is None:
            return torch.ones_like(like, dtype=torch.bool)
        found = torch.zeros_like(like)
        layer.place(found, edit.kept.unsqueeze(1).expand(-1, layer.grid.members))
        return found.bool()
    like = effective_weight(layer).detach().cpu()
    if density == 1:
        return torch.ones_like(like, dtype=torch.bool)
    check_fit(name, layer, density, pattern, "prune")
    shape = matrix_shape(layer)
    grid = pattern.grid(shape)
    positions = pattern.project(scores, pattern.budget(density, shape), grid)
    members = torch.ones(positions.numel() * grid.members, dtype=torch.bool)
    return weights_from(layer, pattern.unpack(members, positions, grid), like)


def thinned(name: str, layer: SparseModule, scores: Tensor, density: float) -> Edit | None:
    """The connections of a sparse layer that stay at a lower density; None where all do.

    Args:
        name: str.
        layer: SparseModule.
        scores: of the shape of its weights, prepared.
        density: float in (0, 1].
    Raises:
        DensityError, PatternError: the pattern does not allow it.
    Cost: O(connections log connections).
    """
    try:
        units = layer.pattern.budget(density, layer.shape)
    except DensityError as error:
        raise error.within(f"prune {name}") from None
    positions, grid = layer.topology.positions, layer.grid
    bucket = positions // layer.pattern.bucket(grid)
    best = top_mask_in_buckets(
        unit_scores(layer, scores, layer.pattern), bucket, layer.pattern.quotas(units, grid)
    )
    return None if bool(best.all()) else Edit(best, torch.empty(0, dtype=torch.int64))


def _pattern(layer: Any, pattern: Pattern) -> Pattern:
    return layer.pattern if isinstance(layer, SparseModule) else pattern
