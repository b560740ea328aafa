"""The formulas of distillation, on tensors."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from gossamer.errors import ShapeError
from gossamer.registry import check_choice

NORMS = ("mean", "l2")
EPSILON = torch.finfo(torch.bfloat16).eps


def logits_loss(
    student: Tensor, teacher: Tensor, temperature: float, dim: int = 1, keep: Tensor | None = None
) -> Tensor:
    """``T^2 * KL(softmax(teacher / T) || softmax(student / T))``, a mean over samples.

    Args:
        student: logits, classes along ``dim``.
        teacher: logits of the same shape.
        temperature: float > 0.
        dim: int.
        keep: bool, the shape without ``dim``, or None - which positions count; None: all.
    Returns:
        Tensor [].
    Raises:
        ShapeError: shapes that differ, or no position that counts.
    Cost: O(logits).
    Source: Hinton et al. 2015.
    Example:
        >>> z = torch.tensor([[1.0, 2.0, 3.0]])
        >>> round(float(logits_loss(z, z.flip(1), 2.0)), 6)
        1.280627
    """
    check_same("logits", student, teacher)
    ours, theirs = (F.log_softmax(_wide(z) / temperature, dim) for z in (student, teacher))
    each = F.kl_div(ours, theirs, reduction="none", log_target=True).sum(dim)
    if keep is not None:
        if not bool(keep.any()):
            raise ShapeError("logits", expected="at least one target that counts", got="none in this batch")
        each = each[keep]
    return temperature**2 * each.mean()


def attention_map(features: Tensor) -> Tensor:
    """Where a layer answers strongly: the mean over channels of squares, of length 1 for each sample.

    Args:
        features: [batch, channels, ...].
    Returns:
        [batch, positions].
    Cost: O(features).
    Example:
        >>> attention_map(torch.tensor([[[1.0, 1.0], [0.0, 2.0]]])).round(decimals=6)
        tensor([[0.1961, 0.9806]])
    """
    return F.normalize(_wide(features).square().mean(1).flatten(1), dim=1)


def attention_loss(student: Tensor, teacher: Tensor, norm: str = "mean") -> Tensor:
    """How far two attention maps are apart; the larger map is averaged down to the smaller one.

    Two normalisations are in use, which differ by the size of the map and a square root.

    Args:
        student: features [batch, channels, ...].
        teacher: features, of any number of channels.
        norm: "mean" - of the squares over samples and positions, as common benchmark code has it; or "l2" - the length
            of the difference, a mean over samples, as in the paper.
    Returns:
        Tensor [].
    Raises:
        ShapeError: other batches, or maps of another number of dimensions. ConfigError: another norm.
    Cost: O(features).
    Source: Zagoruyko and Komodakis 2017, equation 2 (there with a weight of beta / 2).
    Example:
        >>> ours = torch.tensor([[[1.0, 1.0], [0.0, 2.0]]])
        >>> round(float(attention_loss(ours, ours.flip(2), "l2")), 6)
        1.1094
    """
    check_choice("attention_loss(norm=)", norm, NORMS)
    if student.ndim != teacher.ndim or student.ndim < 3 or len(student) != len(teacher):
        raise ShapeError(
            "attention_loss",
            expected=f"student [{len(teacher)}, channels, positions ...] of {teacher.ndim} dimensions, at least 3",
            got=str(list(student.shape)),
        )
    size = [min(pair) for pair in zip(student.shape[2:], teacher.shape[2:], strict=True)]
    ours, theirs = (attention_map(_pooled(features, size)) for features in (student, teacher))
    apart = ours - theirs
    return apart.square().mean() if norm == "mean" else torch.linalg.vector_norm(apart, dim=1).mean()


def squarehead_loss(
    student: Tensor, teacher: Tensor, mask: Tensor | None = None, epsilon: float = EPSILON
) -> Tensor:
    """``MSE(student, teacher) / (mean of squares of the teacher + epsilon)``, over real tokens only.

    Args:
        student: hidden states [..., width].
        teacher: the same shape.
        mask: bool or integers, [...], or None - 0 where a token is padding; None: all are real.
        epsilon: float - that of bfloat16 by default, as published.
    Returns:
        Tensor [].
    Raises:
        ShapeError: shapes that differ, or no real token.
    Cost: O(hidden states).
    Source: Kurtic et al. 2023, SquareHead.
    Example:
        >>> float(squarehead_loss(torch.tensor([1.0, 2.0]), torch.tensor([2.0, 2.0]), epsilon=0))
        0.125
    """
    check_same("squarehead", student, teacher)
    ours, theirs = _wide(student), _wide(teacher)
    if mask is not None:
        if mask.shape != student.shape[:-1] or not bool(mask.any()):
            raise ShapeError(
                "squarehead",
                expected=f"a mask {list(student.shape[:-1])} with real tokens",
                got=f"{list(mask.shape)} with {int(mask.count_nonzero())} real ones",
            )
        ours, theirs = ours[mask.bool()], theirs[mask.bool()]
    return F.mse_loss(ours, theirs) / (theirs.square().mean() + epsilon)


def check_same(operation: str, student: Tensor, teacher: Tensor) -> None:
    """Refuse shapes that differ; raises ShapeError."""
    if student.shape != teacher.shape:
        raise ShapeError(
            operation, expected=f"the teacher's shape {list(teacher.shape)}", got=str(list(student.shape))
        )


def _wide(tensor: Tensor) -> Tensor:
    """In float32 at least: squares and exponentials of 16-bit numbers lose what the loss is about."""
    return tensor.float() if tensor.dtype.itemsize < 4 else tensor


def _pooled(features: Tensor, size: list[int]) -> Tensor:
    if list(features.shape[2:]) == size:
        return features
    pool: dict[int, Callable[..., Tensor]] = {
        1: F.adaptive_avg_pool1d,
        2: F.adaptive_avg_pool2d,
        3: F.adaptive_avg_pool3d,
    }
    if len(size) not in pool:
        raise ShapeError(
            "attention_loss", expected="maps of the same size, or of up to 3 dimensions", got=str(size)
        )
    return pool[len(size)](features, size)
