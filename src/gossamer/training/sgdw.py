"""Momentum SGD whose weight decay does not depend on the learning rate."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from gossamer.errors import ConfigError


class SGDW(Optimizer):
    """SGD with decoupled weight decay: ``M <- momentum * M - lr * g``, then ``W <- W + M - weight_decay * W``.

    The decay is a share of the weight a step, whatever the learning rate: 2e-4 at lr 0.01 pulls as hard as an ordinary
    L2 coefficient of 0.02 (``torch.optim.SGD`` multiplies its own by lr). Biases decay too where they are in the group.

    Args:
        params: parameters or groups, as every optimizer takes them.
        lr: float > 0 - learning rate; the momentum holds steps already scaled by it.
        momentum: float in [0, 1).
        weight_decay: float in [0, 1) - share of each weight lost a step.
    Cost: O(parameters) a step; state of the size of the parameters, so of the connections.
    Source: Loshchilov and Hutter 2019, algorithm 1, with a schedule multiplier of 1; used in Curci et al. 2021.
    Example:
        >>> w = torch.nn.Parameter(torch.ones(1)); optimizer = SGDW([w], lr=0.5, weight_decay=0.1)
        >>> w.grad = torch.ones(1); _ = optimizer.step(); round(w.item(), 6)
        0.4
    """

    def __init__(
        self, params: Iterable[Any], lr: float, momentum: float = 0.9, weight_decay: float = 0.0
    ) -> None:
        if not (lr > 0 and 0 <= momentum < 1 and 0 <= weight_decay < 1):
            raise ConfigError(
                "SGDW",
                expected="lr > 0, momentum and weight_decay in [0, 1)",
                got=f"lr={lr}, momentum={momentum}, weight_decay={weight_decay}",
            )
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step; the closure, where given, recomputes the loss and its gradients first."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            self._move(group)
        return loss

    def _move(self, group: dict[str, Any]) -> None:
        """Both lines of the law, in place, for all parameters at once."""
        moving: list[tuple[Tensor, Tensor]] = [(p, p.grad) for p in group["params"] if p.grad is not None]
        if not moving:
            return
        parameters, gradients = map(list, zip(*moving, strict=True))
        for parameter in parameters:
            if "momentum_buffer" not in self.state[parameter]:
                self.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
        moved = [self.state[parameter]["momentum_buffer"] for parameter in parameters]
        torch._foreach_mul_(moved, group["momentum"])
        torch._foreach_add_(moved, gradients, alpha=-group["lr"])
        if group["weight_decay"]:
            torch._foreach_mul_(parameters, 1 - group["weight_decay"])
        torch._foreach_add_(parameters, moved)
