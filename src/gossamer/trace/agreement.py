"""Whether two runs gave the same, up to rounding."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from typing import Any

import torch
from torch import Tensor


def agree(expected: Tensor, got: Tensor) -> bool:
    """Whether tensors of one shape differ by rounding only: up to 1e-3 of the largest number in single precision."""
    expected, got = expected.detach(), got.detach()
    if not (expected.is_floating_point() or expected.is_complex()):
        return torch.equal(expected, got)
    single = expected.dtype in (torch.float32, torch.complex64)
    scale = 1e-3 if single else max(1e-9, 8 * torch.finfo(expected.dtype).eps)
    finite = expected.isfinite()
    largest = float(expected[finite].abs().max()) if bool(finite.any()) else 0.0
    return torch.allclose(expected, got, rtol=scale, atol=scale * max(largest, 1e-6), equal_nan=True)


def same(expected: Any, got: Any) -> bool:
    """Whether two results of any kind hold tensors, as many, and the same up to rounding.

    Example:
        >>> one = {"loss": None, "logits": [torch.ones(2)]}
        >>> same(one, {"loss": None, "logits": [torch.ones(2)]}), same(one, {"loss": None, "logits": []}), same(1, 1)
        (True, False, False)
    """
    left, right = _tensors(expected), _tensors(got)
    return bool(left) and left.keys() == right.keys() and all(_one(left[way], right[way]) for way in left)


def _one(expected: Tensor, got: Tensor) -> bool:
    alike = expected.shape == got.shape and expected.dtype == got.dtype and expected.layout == got.layout
    return alike and agree(expected.to_dense(), got.to_dense())


def _tensors(result: Any, way: tuple[Any, ...] = ()) -> dict[tuple[Any, ...], Tensor]:
    """Every tensor of a result and the way to it, through dicts, lists, tuples and dataclasses."""
    if isinstance(result, Tensor):
        return {way: result}
    parts: Any = ()
    if isinstance(result, dict):
        parts = result.items()
    elif isinstance(result, (list, tuple)):
        parts = enumerate(result)
    elif is_dataclass(result) and not isinstance(result, type):
        parts = ((field.name, getattr(result, field.name)) for field in fields(result))
    return {place: each for key, part in parts for place, each in _tensors(part, (*way, key)).items()}
