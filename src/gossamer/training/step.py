"""One optimizer step: what every training loop of the house does between two batches."""

from __future__ import annotations

from collections.abc import Callable
from math import isfinite

from torch import Tensor, nn
from torch.optim import Optimizer

from gossamer.errors import NonFiniteError


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
    optimizer.zero_grad(set_to_none=True)
    output = model(x)
    value = loss(output, y)
    value.backward()
    found = value.item()
    if not isfinite(found):
        raise NonFiniteError(
            f"training step {number}",
            expected="a finite loss",
            got=str(found),
            hint="lower the learning rate, or warm it up",
        )
    optimizer.step()
    return found, output
