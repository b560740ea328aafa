"""Activations and softmax of a frozen network by the core, and the operator that stands for them in a trace."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import torch
from torch import Tensor
from torch.compiler import is_compiling

from gossamer.errors import FormatError
from gossamer.freezing.onlookers import onlookers
from gossamer.kernels.cpu import library
from gossamer.kernels.dispatch import forced_set
from gossamer.network.graph import Call, unfused
from gossamer.network.operators import operators
from gossamer.network.schema import parse

if TYPE_CHECKING:
    from collections.abc import Callable

    from gossamer.network.chain_step import Step

COMPILED: Final = (torch.float32, torch.float64)

LIBRARY = torch.library.Library("gossamer", "FRAGMENT")
LIBRARY.define("call(Tensor x, str operator, str settings) -> Tensor")


class CoreCall:
    """One operator that the core computes; torch's own where x is of another type or device, or the core is missing.

    Example:
        >>> CoreCall(Call("relu"))(torch.tensor([-1.0, 2.0]))
        tensor([0., 2.])
    """

    def __init__(self, body: Call) -> None:
        entry = operators[body.op]
        compute, settings, held = entry.tensors, body.settings, body.tensors
        self.by_torch: Step = lambda x: compute(torch, (x,), settings, held)
        self.by_core = entry.by_core(settings) or self.by_torch
        self.name, self.settings = body.op, settings.model_dump_json()

    def __call__(self, x: Tensor) -> Tensor:
        """What it computes."""
        made: Tensor = self.by_core(x) if _in_core(x) else self.by_torch(x)
        return made

    def recorded(self, x: Tensor) -> Tensor:
        """The same as one operator that tracers see."""
        made: Tensor = torch.ops.gossamer.call(x, self.name, self.settings) if _fits(x) else self.by_torch(x)
        return made


def behind(activation: str | None, slope: float) -> Callable[[Tensor], Tensor]:
    """What follows the sums of a frozen layer where those were not added up in the core.

    Example:
        >>> behind("leaky_relu", 0.5)(torch.tensor([-1.0, 2.0]))
        tensor([-0.5000,  2.0000])
    """
    if activation is None:
        return lambda y: y
    call = CoreCall(unfused(activation, slope))
    return lambda y: call.recorded(y) if is_compiling() or onlookers() else call(y)


def _fits(x: Any) -> bool:
    """Whether the core computes with numbers like these."""
    return isinstance(x, Tensor) and x.dtype in COMPILED and x.is_cpu and x.layout is torch.strided


def _in_core(x: Any) -> bool:
    """Whether it computes with them here and now."""
    return _fits(x) and library.find() is not None and forced_set() != "reference"


def _call(x: Tensor, operator: str, settings: str) -> Tensor:
    if operator not in operators or not operators[operator].in_core:
        raise FormatError("gossamer::call", expected="an operator of the core", got=repr(operator))
    try:
        data = json.loads(settings)
    except (ValueError, RecursionError) as error:
        raise FormatError("gossamer::call", expected="settings as JSON", got=str(error)) from None
    return CoreCall(Call(operator, parse(operators[operator].settings, data, "gossamer::call")))(x)


def _call_fake(x: Tensor, operator: str, settings: str) -> Tensor:
    del operator, settings
    return torch.empty_like(x)


def _call_vmap(info: Any, dims: Any, x: Tensor, operator: str, settings: str) -> tuple[Tensor, int]:
    """One sample of the outer batch after the other."""
    del info
    return torch.stack([torch.ops.gossamer.call(one, operator, settings) for one in x.unbind(dims[0])]), 0


LIBRARY.impl("call", _call, "CPU")
torch.library.register_fake("gossamer::call", _call_fake, lib=LIBRARY)
torch.library.register_vmap("gossamer::call", _call_vmap, lib=LIBRARY)
