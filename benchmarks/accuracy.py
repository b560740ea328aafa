"""What a speed is worth: how far results are from those in float64, of the weights as they were before any rounding."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from layer_calls import Call
from layer_timing import Elsewhere
from torch import Tensor

from gossamer.layouts import Encoded, layout
from gossamer.trace.tensors import tensor_of

Ours = Mapping[str, tuple[int, Encoded]]


def as_tensor(got: Any) -> Tensor:
    """An output, whatever it is wrapped in, in float64."""
    while not isinstance(got, (Tensor, np.ndarray)):
        got = next(iter(got.values())) if hasattr(got, "values") else got[0]
    return torch.as_tensor(got).double()


def relative_error(got: Any, exact: Tensor) -> float:
    """Norm of the difference over the norm of what is exact; SparseLab's output is turned."""
    y = as_tensor(got)
    y = y if y.shape == exact.shape else y.T
    return float(f"{float((y - exact).norm() / exact.norm()):.2e}")


def exact_of(ours: Ours, w: Tensor, x: Tensor) -> dict[str, Tensor]:
    """Pattern, or "" for the rivals -> the product in float64."""
    wide = x.double()
    found = {"": wide @ w.double().T}
    for name in dict.fromkeys(name.split()[0] for name in ours):
        form = ours[name][1]
        found[name] = wide @ tensor_of(layout(form.layout).decode(form).dense()).double().T
    return found


def with_errors(
    row: dict[str, Any], calls: Mapping[str, Call], exact: Mapping[str, Tensor]
) -> dict[str, Any]:
    """Adds ``error`` to all contenders of a case but those of another process, whose output stays there."""
    for kind in ("ours", "rivals"):
        for name, got in row[kind].items():
            if not isinstance(calls[name], Elsewhere):
                got["error"] = relative_error(calls[name](), exact[name.split()[0] if kind == "ours" else ""])
    return row
