"""One optimizer step: what every training loop of the house does between two batches."""

from __future__ import annotations

from collections.abc import Callable
from math import isfinite

from torch import Tensor, nn
from torch.optim import Optimizer

from gossamer.errors import NonFiniteError


def gradients(
    model: Callable[[Tensor], Tensor],
    optimizer: Optimizer,
    x: Tensor,
    y: Tensor,
    loss: Callable[[Tensor, Tensor], Tensor],
) -> tuple[float, Tensor]:
    """Forward and backward: the gradients of one batch and of nothing else.

    Args:
        model: nn.Module, or what computes its output - in training mode.
        optimizer: Optimizer - holds its parameters.
        x: [batch, ...] - samples.
        y: [batch, ...] - what the loss compares the output with.
        loss: (output, y) -> scalar Tensor.
    Returns:
        (loss, output).
    Cost: one pass forward and one backward.
    Example:
        >>> import torch
        >>> model = nn.Linear(2, 1)
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> value, output = gradients(model, optimizer, torch.ones(4, 2), torch.ones(4, 1), nn.functional.mse_loss)
        >>> output.shape, model.weight.grad is not None
        (torch.Size([4, 1]), True)
    """
    optimizer.zero_grad(set_to_none=True)
    output = model(x)
    value = loss(output, y)
    value.backward()
    return value.item(), output


def check_finite(loss: float, number: int) -> None:
    """Refuse a loss that is NaN or infinite before a step is made of it; raises NonFiniteError.

    Args:
        loss: float.
        number: int - of the step, for the message.
    Example:
        >>> check_finite(0.5, 1)
    """
    if not isfinite(loss):
        raise NonFiniteError(
            f"training step {number}",
            expected="a finite loss",
            got=str(loss),
            hint="lower the learning rate, or warm it up",
        )


def train_step(
    model: nn.Module,
    optimizer: Optimizer,
    x: Tensor,
    y: Tensor,
    loss: Callable[[Tensor, Tensor], Tensor],
    number: int,
) -> tuple[float, Tensor]:
    """Forward, backward, and one step of the optimizer, which an attached engine follows.

    Args:
        model: nn.Module - in training mode.
        optimizer: Optimizer - holds its parameters.
        x: [batch, ...] - samples.
        y: [batch, ...] - what the loss compares the output with.
        loss: (output, y) -> scalar Tensor.
        number: int - of this step, for the message of an error.
    Returns:
        (loss, output) before the step.
    Raises:
        NonFiniteError: the loss is NaN or infinite; no step was made.
    Cost: one pass forward and one backward.
    Example:
        >>> import torch
        >>> model = nn.Linear(2, 1)
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> x, y = torch.ones(4, 2), torch.ones(4, 1)
        >>> first, _ = train_step(model, optimizer, x, y, nn.functional.mse_loss, 1)
        >>> train_step(model, optimizer, x, y, nn.functional.mse_loss, 2)[0] < first
        True
    """
    value, output = gradients(model, optimizer, x, y, loss)
    check_finite(value, number)
    optimizer.step()
    return value, output
