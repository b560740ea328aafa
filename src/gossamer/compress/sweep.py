"""One sweep over the columns of a matrix: prune, and let the columns to the right make up for it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gossamer.errors import ConfigError, PatternError
from gossamer.layouts.grid import Grid
from gossamer.patterns import Pattern


def factor_of(products: Tensor, damping: float) -> tuple[Tensor, Tensor]:
    """The upper Cholesky factor U of the inverse of a damped H = X^T X = (U^T U)^-1, and the inputs that are dead.

    Args:
        products: [groups, columns, columns] - is not changed.
        damping: float >= 0 - share of the mean of the diagonal that is added to it.
    Returns:
        ([groups, columns, columns], [groups, columns] bool).
    Raises:
        ConfigError: H cannot be inverted.
    Cost: columns^3 operations for each group.
    Example:
        >>> factor, dead = factor_of(torch.tensor([[[4.0, 0.0], [0.0, 0.0]]]), 0.0)
        >>> factor.abs().tolist(), dead.tolist()
        ([[[0.5, 0.0], [0.0, 1.0]]], [[False, True]])
    """
    matrix = products.clone()
    diagonal = matrix.diagonal(dim1=1, dim2=2)
    dead = diagonal == 0
    diagonal[dead] = 1
    diagonal += damping * diagonal.mean(1, keepdim=True)
    lower, failed = torch.linalg.cholesky_ex(matrix)
    if not bool(failed.any()):
        lower, failed = torch.linalg.cholesky_ex(torch.cholesky_inverse(lower), upper=True)
    if bool(failed.any()) or not bool(torch.isfinite(lower).all()):
        raise ConfigError(
            "SparseGPT(damping=)",
            expected="a share with which X^T X can be inverted",
            got=str(damping),
            hint="raise it, or give more data: there are fewer samples than inputs, or inputs that depend on others",
        )
    return lower, dead


@dataclass(frozen=True)
class Chooser:
    """Which units of a window of columns stay, so that over all windows every bucket keeps its quota exactly.

    Args:
        pattern: Pattern.
        grid: Grid - of the layer.
        units: int - budget.
        alive: [rows, cols], bool - units that exist.
    """

    pattern: Pattern
    grid: Grid
    units: int
    alive: Tensor

    def __post_init__(self) -> None:
        bucket, cols = self.pattern.bucket(self.grid), self.grid.cols
        if cols % bucket and bucket % cols:
            raise PatternError(
                f"prune(score='sparsegpt') under {self.pattern}",
                expected="buckets of whole rows, or that divide a row",
                got=f"{bucket} positions in rows of {cols}",
            )

    @property
    def window(self) -> int | None:
        """Columns that are decided together; None where the pattern leaves that open."""
        bucket = self.pattern.bucket(self.grid)
        return bucket if bucket < self.grid.cols else None

    def choose(self, scores: Tensor, start: int) -> Tensor:
        """[out, width], bool: the connections that stay; among equal ones the first.

        Args:
            scores: [out, width] - at least 0.
            start: int - first column.
        """
        grid, begin = self.grid, start // self.grid.w
        units = scores.view(grid.rows, grid.h, -1, grid.w).sum((1, 3))
        end = begin + units.shape[1]
        alive, quotas = self.alive[:, begin:end], self._left(begin, end)
        ranked = torch.where(alive, units, -1.0).view(len(quotas), -1)
        order = ranked.argsort(stable=True, dim=1, descending=True)
        keep = torch.zeros_like(ranked, dtype=torch.bool)
        keep.scatter_(1, order, torch.arange(ranked.shape[1]) < quotas.unsqueeze(1))
        keep = keep.view(units.shape) & alive
        return keep.repeat_interleave(grid.h, 0).repeat_interleave(grid.w, 1)

    def _left(self, begin: int, end: int) -> Tensor:
        """[buckets], int64: units that stay between two columns; what is lost is spread evenly over those alive."""
        quotas = self.pattern.quotas(self.units, self.grid)
        if self.window is not None:
            return quotas.view(self.grid.rows, -1)[:, begin // self.window]
        there = self.alive.view(len(quotas), -1, self.grid.cols).sum(1).cumsum(1)
        before = there[:, begin - 1] if begin else torch.zeros_like(quotas)
        until, total = there[:, end - 1], there[:, -1].clamp(min=1)
        lost = (there[:, -1] - quotas).clamp(min=0)
        return (until - lost * until // total) - (before - lost * before // total)


def swept(matrix: Tensor, factor: Tensor, chooser: Chooser, block: int) -> tuple[Tensor, Tensor]:
    """Weights after one sweep, and which of them stay.

    Args:
        matrix: [out, columns] - is not changed.
        factor: [groups, columns, columns] - U of ``factor_of``, dtype of the matrix.
        chooser: Chooser.
        block: int >= 1 - columns after which the rest of the matrix is brought up to date.
    Returns:
        ([out, columns], [out, columns] bool).
    Cost: out * columns^2 operations.
    Source: Frantar and Alistarh 2023, algorithm 1.
    """
    groups, columns, _ = factor.shape
    weights = matrix.clone().view(groups, -1, columns)
    keep = torch.zeros(weights.shape, dtype=torch.bool)
    unit = chooser.window or chooser.grid.w
    step = max(block // unit, 1) * unit
    window = chooser.window or step
    for start in range(0, columns, step):
        end = min(start + step, columns)
        errors = torch.zeros_like(weights[:, :, start:end])
        for i in range(start, end):
            if (i - start) % window == 0:
                until = min(i + window, end)
                salience = weights[:, :, i:until] / factor.diagonal(dim1=1, dim2=2)[:, None, i:until]
                chosen = chooser.choose(salience.square().flatten(0, 1), i)
                keep[:, :, i:until] = chosen.view(groups, -1, until - i)
            column, row = weights[:, :, i], factor[:, None, i, i:]
            error = torch.where(keep[:, :, i], 0, column) / row[:, :, 0]
            errors[:, :, i - start] = error
            weights[:, :, i + 1 : end] -= error.unsqueeze(2) * row[:, :, 1 : end - i]
            column *= keep[:, :, i]
        weights[:, :, end:] -= errors @ factor[:, start:end, end:]
    return weights.flatten(0, 1), keep.flatten(0, 1)
