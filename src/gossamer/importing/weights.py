"""What a file describes: weights by name, with zeros where there are no connections."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Weights:
    """Tensors of a file, masks multiplied in and packed forms unpacked: what ``load_state_dict`` takes.

    Args:
        tensors: name -> tensor.
        notes: what there is to know of them.
        zeros: share of zeros that the file itself states for all of its sparse weights, or None.
    """

    tensors: dict[str, Tensor]
    notes: tuple[str, ...] = ()
    zeros: float | None = None
