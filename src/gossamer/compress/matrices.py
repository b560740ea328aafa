"""A layer's weights as the matrix that its pattern sees, and back."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor

from gossamer.nn import SparseModule
from gossamer.nn.kinds import Kind, dense_kind


def matrix_of(layer: Any, tensor: Tensor) -> Tensor:
    """[out, in] of a tensor in the shape of a layer's weights; zeros where a sparse layer has no connection.

    Args:
        layer: nn.Module - dense or sparse.
        tensor: of the shape of its dense weight, or of what a packed layer stores.
    Returns:
        [out, in] - on the CPU for a sparse layer.
    Cost: O(dense size).
    Example:
        >>> from torch import nn
        >>> conv = nn.Conv1d(2, 1, 2, bias=False)
        >>> matrix_of(conv, torch.tensor([[[1.0, 2.0], [3.0, 4.0]]])).tolist()
        [[1.0, 3.0, 2.0, 4.0]]
    """
    if isinstance(layer, SparseModule):
        values = layer.unit_values(tensor).reshape(-1)
        return layer.pattern.unpack(values, layer.topology.positions, layer.grid)
    return cast("Kind", dense_kind(layer)).masked.to_matrix(tensor)


def weights_from(layer: Any, matrix: Tensor, like: Tensor) -> Tensor:
    """The inverse: a tensor in the shape and place of ``like``; what a sparse layer does not store is left out.

    Args:
        layer: nn.Module - dense or sparse.
        matrix: [out, in].
        like: of the shape of the layer's weights.
    Returns:
        Tensor - new memory, dtype of the matrix.
    Cost: O(dense size).
    Example:
        >>> from torch import nn
        >>> conv = nn.Conv1d(2, 1, 2, bias=False)
        >>> weights_from(conv, torch.tensor([[1.0, 3.0, 2.0, 4.0]]), conv.weight.detach()).tolist()
        [[[1.0, 2.0], [3.0, 4.0]]]
    """
    if isinstance(layer, SparseModule):
        found = torch.zeros_like(like, dtype=matrix.dtype)
        values = layer.pattern.pack(matrix.cpu(), layer.topology.positions, layer.grid)
        layer.place(found, values.view(-1, layer.grid.members))
        return found
    order = matrix_of(layer, torch.arange(like.numel(), device=like.device).view(like.shape)).flatten()
    flat = torch.empty(like.numel(), dtype=matrix.dtype, device=like.device)
    flat[order] = matrix.flatten().to(like.device)
    return flat.view(like.shape)
