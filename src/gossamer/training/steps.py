"""Which calls of ``optimizer.step()`` were steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.optim import Optimizer


def closure_then(
    args: tuple[Any, ...], kwargs: dict[str, Any], before: Callable[[], None], then: Callable[[], None]
) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
    """Arguments of ``optimizer.step`` whose closure is followed by a call, None where there is no closure.

    Args:
        args: tuple - the optimizer first, as torch's hooks see it.
        kwargs: dict.
        before: () -> None - called before each evaluation of the closure.
        then: () -> None - called after it, when gradients are there and no step is made yet.
    """
    closure = kwargs["closure"] if "closure" in kwargs else next(iter(args[1:]), None)
    if closure is None:
        return None

    def extended() -> Any:
        before()
        loss = closure()
        then()
        return loss

    if "closure" in kwargs:
        return args, {**kwargs, "closure": extended}
    return (args[0], extended, *args[2:]), kwargs


class Steps:
    """Tells after a call of ``step`` whether it was one, and which parameters had a gradient in it.

    A call is no step where the gradient scaler told a fused optimizer to skip, where nothing had a gradient though
    something waits for one, or where the optimizer wrote to no parameter (one that accumulates, for example). torch
    counts the writes to a tensor, except those through ``.data``: until it has counted one, values are compared.

    Args:
        optimizer: Optimizer.
    Cost: O(number of parameters) a step; a copy of the parameters as long as torch has counted no write.
    """

    def __init__(self, optimizer: Optimizer) -> None:
        self._optimizer = optimizer
        self._writes_count = False
        self._before: list[tuple[Tensor, int, Tensor | None]] = []
        self.graded: set[int] = set()  # ids of parameters that had a gradient before the call or after it

    def begin(self) -> None:
        """Look at the parameters before the call."""
        self._before = [
            (parameter, _version(parameter), None if self._writes_count else parameter.detach().clone())
            for parameter in self._parameters()
        ]
        self.graded = self._with_gradient()

    def made(self) -> bool:
        """Whether the call that just ended was a step."""
        self.graded |= self._with_gradient()
        before, self._before = self._before, []
        if bool(getattr(self._optimizer, "found_inf", None)):  # of torch.amp.GradScaler, for fused optimizers
            return False
        if not self.graded:
            return not any(parameter.requires_grad for parameter in self._parameters())
        if self._idle():
            return False
        written = any(_version(parameter) != version for parameter, version, _ in before)
        self._writes_count |= written
        return written or any(copy is not None and not parameter.equal(copy) for parameter, _, copy in before)

    def _idle(self) -> bool:
        """Whether there was nothing but zeros to step with: so torch.distributed.checkpoint fills in missing state."""
        return all(float(group.get("lr", 1)) == 0 for group in self._optimizer.param_groups) and not any(
            bool(parameter.grad.any()) for parameter in self._parameters() if parameter.grad is not None
        )

    def _parameters(self) -> list[Any]:
        return [parameter for group in self._optimizer.param_groups for parameter in group["params"]]

    def _with_gradient(self) -> set[int]:
        return {id(parameter) for parameter in self._parameters() if parameter.grad is not None}


def _version(tensor: Tensor) -> int:
    """How often torch has seen a tensor written to."""
    return tensor._version  # noqa: SLF001 (torch's own count)
