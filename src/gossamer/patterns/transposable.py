"""2:4 masks that are 2:4 in both directions, so that a weight and its transpose can both use sparse products."""

from __future__ import annotations

from functools import cache
from itertools import combinations, product

import torch
from torch import Tensor

from gossamer.errors import PatternError

SIDE, KEPT = 4, 2


@cache
def masks() -> Tensor:
    """[90, 4, 4], bool: all tiles with two connections in every row and in every column, in a fixed order."""
    rows = [[side in kept for side in range(SIDE)] for kept in combinations(range(SIDE), KEPT)]
    tiles = torch.tensor([*product(rows, repeat=SIDE)])
    return tiles[(tiles.sum(1) == KEPT).all(1)]


def check_sides(shape: tuple[int, ...]) -> None:
    """Refuse a matrix that tiles do not fill; raises PatternError."""
    if len(shape) != 2 or shape[0] % SIDE or shape[1] % SIDE:
        raise PatternError(
            "transposable 2:4 mask",
            expected=f"outputs and inputs divisible by {SIDE}",
            got=f"{shape}",
            hint="leave the layer out with fixed= or skip=, or take plain NM(2, 4)",
        )


def transposable(scores: Tensor) -> Tensor:
    """The transposable 2:4 mask that holds the largest total score; of equal ones the first.

    Args:
        scores: [out, in], float - finite and not negative, e.g. absolute weights; both sides divisible by 4.
    Returns:
        [out, in], bool - two of four in every row of a tile and in every column.
    Raises:
        PatternError: other sides.
    Cost: 90 sums for every tile of 16.
    Source: Hubara et al. 2021 for the masks; Hu et al., ICML 2024, for the search over all 90.
    Example:
        >>> transposable(torch.tensor([[9., 1, 8, 2], [7, 3, 6, 4], [5, 9, 1, 2], [3, 4, 8, 7]])).int().tolist()
        [[1, 0, 1, 0], [1, 1, 0, 0], [0, 1, 0, 1], [0, 0, 1, 1]]
    """
    check_sides(tuple(scores.shape))
    out, inputs = scores.shape
    tiles = scores.view(out // SIDE, SIDE, inputs // SIDE, SIDE).transpose(1, 2)
    every = masks().to(scores.device)
    totals = tiles.reshape(-1, SIDE * SIDE) @ every.flatten(1).T.to(scores.dtype)
    best = every[totals.argmax(1)].view(out // SIDE, inputs // SIDE, SIDE, SIDE)
    return best.transpose(1, 2).reshape(out, inputs)
