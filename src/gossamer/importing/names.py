"""Names of a state under which masks hide, and the weights that are meant."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from gossamer.errors import FormatError
from gossamer.importing.weights import Weights

if TYPE_CHECKING:
    from torch import Tensor

ORIG, MASK = "_orig", "_mask"  # of torch.nn.utils.prune
WITHIN = "parametrizations."  # of torch.nn.utils.parametrize


def unmasked(tensors: dict[str, Tensor], file: str, zeros: float | None = None) -> Weights:
    """A state with the masks of ``torch.nn.utils.prune`` and ``torch.ao.pruning`` multiplied into the weights.

    Args:
        tensors: name -> tensor.
        file: str - for messages.
        zeros: see Weights.

    Returns:
        Weights - with the names that the layers had before.

    Raises:
        FormatError: a mask without its weight, or of another shape; parametrizations other than one mask.

    Cost: O(weights).

    Example:
        >>> held = {"fc.weight_orig": torch.ones(1, 2), "fc.weight_mask": torch.tensor([[0.0, 1.0]])}
        >>> unmasked(held, "a.pt").tensors
        {'fc.weight': tensor([[0., 1.]])}
    """
    made: dict[str, Tensor] = {}
    masked = 0
    for name, tensor in tensors.items():
        if (name.endswith(MASK) and f"{name.removesuffix(MASK)}{ORIG}" in tensors) or _is_mask(name, tensors):
            continue
        found, mask = _paired(name, tensors, file)
        if found in made or (found != name and found in tensors):
            raise FormatError(f"convert {file}", expected="each weight once", got=f"{found!r} twice")
        made[found] = tensor if mask is None else _product(found, tensor, mask, file)
        masked += mask is not None
    notes = (f"{masked} masks multiplied into their weights",) if masked else ()
    return Weights(made, notes, zeros)


def _is_mask(name: str, tensors: dict[str, Tensor]) -> bool:
    """Whether an entry is the mask of a parametrization."""
    return name.endswith(".mask") and f"{name.removesuffix('.mask').rpartition('.')[0]}.original" in tensors


def _paired(name: str, tensors: dict[str, Tensor], file: str) -> tuple[str, Tensor | None]:
    """The name that a layer's weight had, and its mask, if there is one."""
    if name.endswith(ORIG) and (mask := tensors.get(f"{name.removesuffix(ORIG)}{MASK}")) is not None:
        return name.removesuffix(ORIG), mask
    if WITHIN not in name:
        return name, None
    layer, _, rest = name.rpartition(WITHIN)
    parameter, _, last = rest.partition(".")
    mask = tensors.get(f"{layer}{WITHIN}{parameter}.0.mask")
    if last != "original" or mask is None:
        raise FormatError(
            f"convert {file}",
            expected="parametrizations that are one mask, which is in the file",
            got=repr(name),
            hint="torch.ao.pruning does not write its masks: sparsifier.squash_mask() before the model is saved",
        )
    return f"{layer}{parameter}", mask


def _product(name: str, tensor: Tensor, mask: Tensor, file: str) -> Tensor:
    if mask.shape != tensor.shape:
        raise FormatError(
            f"convert {file}",
            expected=f"a mask {tuple(tensor.shape)} for {name!r}",
            got=str(tuple(mask.shape)),
        )
    if not bool(((mask == 0) | (mask == 1)).all()):
        raise FormatError(
            f"convert {file}", expected=f"zeros and ones in the mask of {name!r}", got="other numbers"
        )
    return torch.where(mask != 0, tensor * mask.to(tensor.dtype), torch.zeros((), dtype=tensor.dtype))
