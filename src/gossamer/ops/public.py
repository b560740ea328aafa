"""The sparse product as the rest of the package calls it: checked, autocast-aware, any leading dimensions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from gossamer.ops import autograd, mixed
from gossamer.ops.check import check_operands

if TYPE_CHECKING:
    from torch import Tensor


def linear(
    x: Tensor, values: Tensor, index: Sequence[Tensor], bias: Tensor | None, layout: str, shape: Sequence[int]
) -> Tensor:
    """Product with a truly sparse matrix: ``y = x W^T + bias``.

    Args:
        x: [..., n_in], float32 or float64 (other floating types run on reference kernels). Batch-major and
            feature-major memory are both read without a copy.
        values: [>= used], dtype of x - the connections, flat; the unused tail gets gradient 0.
        index: integer tensors of the layout, contiguous; scanned once for every write to them.
        bias: [n_out], dtype of x, or None.
        layout: ``"csr"``, ``"fanin"``, ``"nm"``, ``"block"``; forward only: ``"nm_lanes"``, ``"nm_nibbles"``,
            ``"bitmask"``, ``"csr_bands"``, ``"dense"``; those that round x to int8: ``"nm_bytes"``,
            ``"nm_nibble_bytes"``, ``"bitmask_bytes"``, ``"window_bytes"``, ``"fanin_bytes"``, ``"tile_bytes"``,
            ``"shared_tile_bytes"``; to bfloat16: ``"tiles"``, ``"shared_tiles"``; to float16: ``"csr_halves"``.
        shape: ``[n_out, n_in]`` and the layout's own integers (``group``; ``n, m``; ``h, w``).

    Returns:
        [..., n_out] in feature-major memory, which the next sparse layer reads without a copy. Rows without
        connections give their bias, or 0. Under autocast everything is computed and returned in float32; but with
        dtype=torch.bfloat16 blocks of 16 x 32 and fanin in groups of 16 or 32 are computed with rounded factors:
        sums, results and gradients are float32.

    Raises:
        ShapeError: operands that do not fit each other.
        DtypeError: dtypes or devices that do not fit each other.
        TopologyError: an index that describes no topology, or was given one by a write.
        KernelUnavailable: a forced kernel that is not there, or a gradient of a forward-only layout.

    Cost: O(batch * connections) time; memory for y alone, plus O(tile) scratch a thread.

    Example:
        >>> import torch
        >>> ptr, col = torch.tensor([0, 1, 2], dtype=torch.int32), torch.tensor([0, 2]).to(torch.uint16)
        >>> x, values = torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([10.0, 1.0])
        >>> linear(x, values, [ptr, col], None, "csr", [2, 3])
        tensor([[10.,  3.]])
    """
    if not x.is_meta and torch.is_autocast_enabled("cpu" if x.is_cpu else x.device.type):  # meta knows none
        x, values = x.float(), values.float()
        bias = None if bias is None else bias.float()
        if mixed.applies(x, values, layout, shape):
            y = mixed.linear(x.reshape(-1, x.shape[-1]), values, index, bias, layout, shape)
            return y if x.ndim == 2 else y.reshape(*x.shape[:-1], shape[0])
    if x.ndim == 2:
        return autograd.linear(x, values, index, bias, layout, shape)
    check_operands(x, values, index, bias, layout, shape)
    y = autograd.linear(x.reshape(-1, x.shape[-1]), values, index, bias, layout, shape)
    return y.reshape(*x.shape[:-1], shape[0])
