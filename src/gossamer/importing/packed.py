"""Weights as compressed-tensors stores them: the non-zeros, and one bit for every place."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

import numpy as np
import torch

from gossamer.errors import FormatError

if TYPE_CHECKING:
    from torch import Tensor

PARTS = ("compressed", "bitmask", "shape", "row_offsets")
LARGEST_DENSE = (
    64  # bytes of the dense weights, against those of the bitmask: eight places a byte, eight bytes each
)


def unpacked(tensors: dict[str, Tensor], file: str, *, pairs: bool) -> dict[str, Tensor]:
    """A state with dense weights in the place of their parts.

    Args:
        tensors: name -> tensor; parts are ``P.compressed``, ``P.bitmask``, ``P.shape`` and ``P.row_offsets``.
        file: str - for messages.
        pairs: bool - two numbers of every four are stored, some of them zeros; P is then the layer, without ".weight".

    Returns:
        name -> tensor.

    Raises:
        FormatError: parts that are missing or do not fit each other; before the dense weight is made.

    Cost: O(dense size).

    Source: compressed-tensors 0.9, formats ``sparse-bitmask`` and ``sparse-24-bitmask``.

    Example:
        >>> held = {"w.compressed": torch.tensor([1., 2.]), "w.bitmask": torch.tensor([[10]], dtype=torch.uint8)}
        >>> held |= {"w.shape": torch.tensor([1, 4]), "w.row_offsets": torch.tensor([0])}
        >>> unpacked(held, "a", pairs=False)["w"]
        tensor([[0., 1., 0., 2.]])
    """
    made = {}
    for name, tensor in tensors.items():
        prefix, _, part = name.rpartition(".")
        if part not in PARTS or f"{prefix}.bitmask" not in tensors:
            made[name] = tensor
        elif part == "bitmask":
            weight = prefix if prefix.endswith("weight") or not pairs else f"{prefix}.weight"
            if weight in tensors:
                raise FormatError(f"convert {file}", expected="each weight once", got=f"{weight!r} twice")
            made[weight] = _dense(prefix, tensors, file, pairs=pairs)
    return made


def _dense(prefix: str, tensors: dict[str, Tensor], file: str, *, pairs: bool) -> Tensor:
    """One weight; every count is checked first."""

    def wrong(expected: str, got: str) -> FormatError:
        return FormatError(
            f"convert {file}", expected=f"{expected} for {prefix!r}", got=got, hint="it is damaged"
        )

    wanted = [part for part in PARTS if part != "row_offsets" or not pairs]
    if missing := [part for part in wanted if f"{prefix}.{part}" not in tensors]:
        raise wrong(f"{', '.join(wanted)}", f"no {missing[0]}")
    values, bits, shape = (tensors[f"{prefix}.{part}"] for part in PARTS[:3])
    sizes = shape.flatten().tolist()
    rows, cols = (int(size) for size in sizes) if len(sizes) == 2 else (0, 0)
    if rows < 1 or cols < 1 or tuple(bits.shape) != (rows, -(-cols // 8)) or bits.dtype != torch.uint8:
        raise wrong("a bit for each place of two sizes", f"{tuple(bits.shape)} for {sizes[:4]}")
    mask = np.unpackbits(bits.numpy(), axis=1, count=cols, bitorder="little").astype(bool)
    counts = mask.sum(1)
    if values.numel() != int(counts.sum()) or prod(values.shape) != values.numel():
        raise wrong("a value for each bit", f"{values.numel()} for {int(counts.sum())}")
    if pairs and (cols % 4 or not bool((mask.reshape(rows, -1, 4).sum(2) == 2).all())):
        raise wrong("two bits of every four", "others")
    starts = tensors.get(f"{prefix}.row_offsets")
    if (
        not pairs
        and starts is not None
        and starts.flatten().tolist() != [0, *np.cumsum(counts)[:-1].tolist()]
    ):
        raise wrong("the start of each row", "others")
    dense = torch.zeros(rows, cols, dtype=values.dtype)
    wide = dense.view(torch.int8) if values.element_size() == 1 else dense  # 8-bit floats know no masks
    held = values.flatten().view(torch.int8) if values.element_size() == 1 else values.flatten()
    wide[torch.from_numpy(mask)] = held
    return dense
