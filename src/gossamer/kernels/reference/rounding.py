"""Inputs in int8 steps: the definition of what layouts that compute in int8 read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gossamer.layouts.rounding import LEAST, STEPS

if TYPE_CHECKING:
    from torch import Tensor


def in_steps(x: Tensor) -> tuple[Tensor, Tensor]:
    """Round every sample to 127 steps of either sign, up to the largest magnitude in it.

    Args:
        x: [batch, n_in], floating.

    Returns:
        (steps [batch, n_in], size of a step [batch]), of x's dtype: x is about steps * size. A step is the nearest
        whole number to ``x * (127 / largest)``, halves to even. A sample with an infinity or
        NaN has steps of 0 and size NaN.

    Cost: O(batch * n_in).

    Source: Jacob et al. 2018, symmetric quantization, here with one scale a sample.

    Example:
        >>> import torch
        >>> steps, size = in_steps(torch.tensor([[1.0, -2.54, 0.25]]))
        >>> steps.tolist(), [round(s, 4) for s in size.tolist()]
        ([[50.0, -127.0, 12.0]], [0.02])
    """
    largest = x.abs().amax(1) if x.shape[1] else x.new_zeros(x.shape[0])
    counts = largest.isfinite() & (largest >= LEAST)
    inverse = (STEPS / largest).where(counts, 0)
    steps = (x * inverse[:, None]).round().clamp(-STEPS, STEPS).where(counts[:, None], 0)
    size = (largest / STEPS).where(counts, 0).where(largest.isfinite(), float("nan"))
    return steps, size
