"""A leaky ReLU with dropout behind it: one pass over memory each way, and cheap random bits."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.nn import functional as F

from gossamer.errors import ConfigError, DtypeError, ShapeError
from gossamer.kernels import instruction_set
from gossamer.kernels.cpu import dropout as compiled
from gossamer.kernels.reference import dropout as reference
from gossamer.ops.autograd import DUAL, record, transformed, wanted
from gossamer.ops.batched import register
from gossamer.ops.direct import direct
from gossamer.ops.schemas import LIBRARY

COMPILED = (torch.float32, torch.float64)

LIBRARY.define("leaky_dropout(Tensor x, Tensor seed, float slope, float p) -> (Tensor, Tensor)")
LIBRARY.define("leaky_dropout_backward(Tensor grad, Tensor kept, float slope, float p) -> Tensor")


def _check(x: Tensor, p: float) -> None:
    """Numbers, dense, and a probability."""
    if not x.is_floating_point() or x.layout != torch.strided:
        raise DtypeError(
            "leaky_dropout", expected="a dense tensor of a floating type", got=f"{x.dtype}, {x.layout}"
        )
    if not 0 <= p <= 1:
        raise ConfigError("leaky_dropout", expected="p from 0 to 1", got=str(p))


def _forward(x: Tensor, seed: Tensor, slope: float, p: float) -> tuple[Tensor, Tensor]:
    _check(x, p)
    if seed.dtype != torch.int64 or seed.numel() != 1 or int(seed) < 0:
        raise DtypeError("leaky_dropout", expected="a seed of one int64 >= 0", got=f"{seed}")
    isa = instruction_set()
    if isa == "reference" or x.dtype not in COMPILED:
        return reference.forward(x, int(seed), slope, p)
    return compiled.forward(x, int(seed), slope, p, isa)


def _backward(grad: Tensor, kept: Tensor, slope: float, p: float) -> Tensor:
    _check(grad, p)
    if kept.dtype != torch.uint8 or kept.layout != torch.strided:
        raise DtypeError("leaky_dropout_backward", expected="kept of torch.uint8", got=f"{kept.dtype}")
    if kept.shape != grad.shape or kept.device != grad.device:
        got = f"{tuple(kept.shape)} on {kept.device}"
        expected = f"kept {tuple(grad.shape)} on {grad.device}, as the gradient"
        raise ShapeError("leaky_dropout_backward", expected=expected, got=got)
    isa = instruction_set()
    if isa == "reference" or grad.dtype not in COMPILED:
        return reference.backward(grad, kept, slope, p)
    return compiled.backward(grad, kept, slope, p, isa)


def _forward_fake(x: Tensor, seed: Tensor, slope: float, p: float) -> tuple[Tensor, Tensor]:
    del seed, slope, p
    y = torch.empty_like(x)
    return y, torch.empty_like(y, dtype=torch.uint8)


def _backward_fake(grad: Tensor, kept: Tensor, slope: float, p: float) -> Tensor:
    del slope, p
    return torch.empty_like(kept, dtype=grad.dtype)


LIBRARY.impl("leaky_dropout", _forward, "CPU")
LIBRARY.impl("leaky_dropout_backward", _backward, "CPU")
torch.library.register_fake("gossamer::leaky_dropout", _forward_fake, lib=LIBRARY)
torch.library.register_fake("gossamer::leaky_dropout_backward", _backward_fake, lib=LIBRARY)

_forward_op = torch.ops.gossamer.leaky_dropout.default
_backward_op = torch.ops.gossamer.leaky_dropout_backward.default


register((), ("leaky_dropout", "leaky_dropout_backward"))


class _Dropout(Function):
    """Operands: x, seed, slope, p, whether to run at once. Results: y, and what became of each number."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, seed: Tensor, slope: float, p: float, now: bool) -> tuple[Tensor, Tensor]:
        made: tuple[Tensor, Tensor] = (_forward if now else _forward_op)(x, seed, slope, p)
        return made

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        _, _, ctx.slope, ctx.p, _ = inputs
        ctx.mark_non_differentiable(output[1])
        ctx.save_for_backward(output[1])

    @staticmethod
    def backward(ctx: Any, grad: Tensor, _: Any) -> tuple[Any, ...]:
        (kept,) = ctx.saved_tensors
        return _scaled(grad, kept, ctx.slope, ctx.p), None, None, None, None


class _DualDropout(_Dropout):
    """With ``jvp``; see `ops.forward_mode`."""

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        _Dropout.setup_context(ctx, inputs, output)
        ctx.save_for_forward(output[1])

    @staticmethod
    def jvp(ctx: Any, dx: Tensor, *_: Any) -> tuple[Tensor, None]:
        (kept,) = ctx.saved_tensors
        return _scaled(dx, kept, ctx.slope, ctx.p), None


class _Scaled(Function):
    """What happens to a gradient: linear in it, so its own derivative is itself."""

    generate_vmap_rule = True

    @staticmethod
    def forward(grad: Tensor, kept: Tensor, slope: float, p: float, now: bool) -> Tensor:
        dx: Tensor = (_backward if now else _backward_op)(grad, kept, slope, p)
        return dx

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        del output
        _, kept, ctx.slope, ctx.p, _ = inputs
        ctx.save_for_backward(kept)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
        (kept,) = ctx.saved_tensors
        return _scaled(grad, kept, ctx.slope, ctx.p), None, None, None, None


class _DualScaled(_Scaled):
    """With ``jvp``; see `ops.forward_mode`."""

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        _Scaled.setup_context(ctx, inputs, output)
        ctx.save_for_forward(inputs[1])

    @staticmethod
    def jvp(ctx: Any, dg: Tensor, *_: Any) -> Tensor:
        (kept,) = ctx.saved_tensors
        return _scaled(dg, kept, ctx.slope, ctx.p)


DUAL.update({_Dropout: _DualDropout, _Scaled: _DualScaled})


def _scaled(grad: Tensor, kept: Tensor, slope: float, p: float) -> Tensor:
    """Records a graph only where a second derivative is wanted."""
    now = direct(grad, kept)
    if wanted(grad) or (not now and transformed()):
        recorded: Tensor = record(_Scaled, now, grad, kept, slope, p, now)
        return recorded
    dx: Tensor = (_backward if now else _backward_op)(grad, kept, slope, p)
    return dx


def leaky_dropout(x: Tensor, slope: float, p: float, generator: torch.Generator | None = None) -> Tensor:
    """A leaky ReLU, then dropout: each result becomes 0 with probability p, else it is divided by 1 - p.

    On the CPU 16 random bits decide on a number: p is rounded to a 65,536th, and what is kept is scaled for that p. The
    compiled core draws them by Philox4x32-10 from one seed of torch's global generator and the number's place in
    memory, so they do not depend on threads; other dtypes, and the reference kernels, draw others. On other devices
    torch's own dropout runs.

    Args:
        x: any shape and floating type.
        slope: float - of numbers that are not positive; 1.0 gives dropout alone.
        p: float in [0, 1].
        generator: torch.Generator or None - of x's device, in place of torch's global one.

    Returns:
        Tensor like x, in the same order in memory.

    Cost: reading x and writing the result, float32 and float64; backward keeps one byte a number.

    Source: Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3".

    Example:
        >>> _ = torch.manual_seed(0)
        >>> leaky_dropout(torch.ones(8), 0.5, 0.5).unique().tolist()
        [0.0, 2.0]
    """
    if x.device.type != "cpu":
        return _elsewhere(F.leaky_relu(x, slope), p, generator)
    seed = torch.randint(2**63 - 1, (1,), generator=generator)
    now = direct(x, seed)
    if wanted(x) or (not now and transformed()):
        recorded: Tensor = record(_Dropout, now, x, seed, slope, p, now)[0]
        return recorded
    y: Tensor = (_forward if now else _forward_op)(x, seed, slope, p)[0]
    return y


def _elsewhere(y: Tensor, p: float, generator: torch.Generator | None) -> Tensor:
    """Dropout as torch has it, which takes no generator."""
    if generator is None:
        return F.dropout(y, p)
    kept = torch.rand(y.shape, device=y.device, generator=generator) >= p
    return y * kept / (1 - p) if p < 1 else y * 0
