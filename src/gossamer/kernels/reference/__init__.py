"""The executable definition of every kernel, in plain torch; also what runs where nothing is compiled."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch

from gossamer.kernels.reference import conv, products
from gossamer.kernels.reference.coordinates import coordinates

if TYPE_CHECKING:
    from gossamer.kernels.spec import KernelSpec

__all__ = ["bind", "coordinates"]


def bind(spec: KernelSpec) -> Callable[..., Any]:
    """The callable of one row of the kernel table; like a compiled kernel, it records no graph."""
    room = conv if spec.op.startswith("conv") else products
    made: Callable[..., Any] = torch.no_grad()(getattr(room, spec.op)(spec.layout))
    return made
