"""2:4 layers as torch's semi-structured tensors want them, which some GPUs compute faster."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gossamer.errors import DtypeError, PatternError, ShapeError
from gossamer.nn.sparse import SparseModule

MULTIPLES = {
    torch.float16: (32, 64),
    torch.bfloat16: (32, 64),
    torch.int8: (32, 128),
}  # rows, columns: of all of torch's backends
GROUP, KEPT = 4, 2


def semi_structured_weight(layer: Any, dtype: torch.dtype = torch.float16) -> Tensor:
    """A dense copy of a 2:4 weight, checked for all that ``torch.sparse.to_sparse_semi_structured`` asks of it.

    That function needs a GPU; this one does not: ``to_sparse_semi_structured(semi_structured_weight(layer).cuda())``
    is the parameter of an ``nn.Linear``. Torch does not check by itself that a weight is 2:4.

    Args:
        layer: SparseModule - a linear layer of either home, on any device; with NM(2, 4), or with a pattern that
            happens to leave two of four.
        dtype: torch.float16, torch.bfloat16, or torch.int8 for a layer of whole numbers.
    Returns:
        [out, in], contiguous - of every four neighbours at most two are not zero.
    Raises:
        PatternError: no sparse linear layer, or one with more than two of four.
        ShapeError: sides that are no multiples of what the tensor units take.
        DtypeError: another dtype, or numbers that are not finite in it.
    Cost: O(dense size).
    Example:
        >>> from gossamer.nn import SparseLinear
        >>> weight = semi_structured_weight(SparseLinear(64, 32, density=0.5, pattern="nm:2:4"))
        >>> weight.shape, weight.dtype, int(weight.count_nonzero())
        (torch.Size([32, 64]), torch.float16, 1024)
    """
    operation = "semi_structured_weight"
    if not isinstance(layer, SparseModule) or len(layer.dense_size) != 2:
        raise PatternError(operation, expected="a sparse linear layer", got=type(layer).__name__)
    if dtype not in MULTIPLES:
        raise DtypeError(operation, expected=", ".join(map(str, MULTIPLES)), got=str(dtype))
    rows, columns = MULTIPLES[dtype]
    out, inputs = layer.shape
    if out % rows or inputs % columns:
        raise ShapeError(
            operation,
            expected=f"outputs in multiples of {rows} and inputs in multiples of {columns} for {dtype}",
            got=f"{out} x {inputs}",
            hint="leave the layer dense, or widen it",
        )
    weight = layer.to_dense().detach()
    most = int((weight.reshape(-1, GROUP) != 0).sum(1).max())
    if most > KEPT:
        raise PatternError(
            operation,
            expected=f"{KEPT} of every {GROUP} neighbouring inputs",
            got=f"{most} of {GROUP}, under pattern {layer.pattern}",
            hint="prune or train the layer with NM(2, 4)",
        )
    narrow = weight.to(dtype).contiguous()
    if not bool(torch.isfinite(narrow).all()) or (
        dtype == torch.int8 and not torch.equal(narrow.to(weight), weight)
    ):
        raise DtypeError(operation, expected=f"numbers that {dtype} holds", got="some that it does not")
    return narrow
