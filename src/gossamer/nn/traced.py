"""Layers as torch.fx sees them: one call, like the layers of torch."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.fx import Proxy


def is_traced(x: Any) -> bool:
    """Whether an input is torch.fx's stand-in for a tensor."""
    return isinstance(x, Proxy)


def as_one_call(module: nn.Module, *x: Any) -> Tensor:
    """Record ``module.forward(*x)`` in the graph that is being traced, and nothing of what is inside.

    The graph holds the module itself, so what it computes follows the module: values, topology updates, mode. A tracer
    that takes the module for a leaf never comes here.

    Args:
        module: nn.Module - part of the model that is traced.
        x: torch.fx.Proxy - its inputs; the first is one.
    Returns:
        torch.fx.Proxy - in the place of the output.
    Cost: two nodes.
    """
    tracer = x[0].tracer
    held = tracer.create_proxy("get_attr", tracer.path_of_module(module), (), {})
    output: Tensor = tracer.create_proxy("call_method", "forward", (held, *x), {})  # it stands for one
    return output
