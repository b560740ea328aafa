"""Images in int8 steps: what convolutions that compute in int8 read, and what becomes of their sums; on arrays."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from gossamer.layouts import Encoded, layout
from gossamer.layouts.rounding import LEAST, STEPS

if TYPE_CHECKING:
    from gossamer.network.chain_step import Operands


def in_steps(x: Any) -> tuple[Any, Any]:
    """Round every image to 127 steps of either sign, up to the largest magnitude in it; see ``kernels.reference``.

    Args:
        x: [n, channels, height, width], float32.

    Returns:
        (steps, float64 and whole, shape of x; size of a step [n], float32). An image with an infinity or NaN has steps
        of 0 and size NaN.

    Example:
        >>> steps, size = in_steps(np.float32([[[[1.0, -2.54, 0.25]]]]))
        >>> steps.tolist(), size.round(4).tolist()
        ([[[[50.0, -127.0, 12.0]]]], [0.019999999552965164])
    """
    largest = np.abs(x).max(axis=(1, 2, 3), initial=0)
    counts = np.isfinite(largest) & (largest >= LEAST)
    with np.errstate(all="ignore"):
        inverse = np.where(counts, np.float32(STEPS) / largest, 0).astype(np.float32)[:, None, None, None]
        steps = np.where(counts[:, None, None, None], np.rint(x * inverse), 0)
    size = np.where(counts, largest / np.float32(STEPS), np.where(np.isfinite(largest), 0, np.nan))
    return steps.clip(-STEPS, STEPS).astype(np.float64), size.astype(np.float32)


def whole(operands: Operands) -> Operands:
    """The product of steps with int8 values: sums of whole numbers, which float64 holds exactly in any order."""
    connections = layout(operands.form.layout).decode(operands.form)
    values = connections.values.astype(np.float64)
    exact: Encoded = layout("csr").encode(
        replace(connections, values=values, scale=None, reads=None, trained=None), {}
    )
    return operands._replace(form=exact, bias=None, activation=None)
