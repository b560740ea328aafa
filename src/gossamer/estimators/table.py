"""Rows of a table as tensors: a sparse table is made dense batch by batch, never as a whole."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import issparse
from torch import Tensor

from gossamer import data

PREDICTED_ROWS, PREDICTED_NUMBERS = 256, 1 << 24  # at a time, at most


def dense_rows(table: Any, rows: Tensor) -> Tensor:
    """[rows, features], float32: some rows of a NumPy array or of a SciPy matrix in CSR.

    Cost: the rows.

    Example:
        >>> from scipy.sparse import csr_array
        >>> dense_rows(csr_array(np.eye(3)), torch.tensor([2, 0])).tolist()
        [[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]
    """
    part = table[rows.numpy()]
    return torch.from_numpy(np.asarray(part.toarray() if issparse(part) else part, dtype=np.float32))


def shuffled(
    table: Any, rows: Tensor, target: Tensor, size: int, order: torch.Generator
) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches of (samples, target) in a random order.

    Args:
        table: [n, features] - array or CSR matrix.
        rows: [k], int64 - the rows of the table to go through.
        target: [n, ...] - one a row of the table.
        size: int - rows in a batch.
        order: torch.Generator.

    Cost: a permutation of the rows; a batch costs its copy.
    """
    for picked, wanted in data.batches(rows, target[rows], size, order):
        yield dense_rows(table, picked), wanted


@torch.no_grad()
def outputs(network: torch.nn.Module, table: Any, rows: Tensor | None = None) -> NDArray[Any]:
    """[rows, outputs], of the network's dtype: what it says of rows of a table, all where none are named.

    Cost: one pass forward; at most a few hundred rows, and some million numbers, are dense at a time.
    """
    chosen = torch.arange(table.shape[0]) if rows is None else rows
    size = max(1, min(PREDICTED_ROWS, PREDICTED_NUMBERS // table.shape[1]))
    like = next(network.parameters())
    network.eval()
    parts = [network(dense_rows(table, part).to(like)).cpu() for part in chosen.split(size)]
    return np.asarray(torch.cat(parts).numpy())
