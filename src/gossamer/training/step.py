"""One optimizer step: what every training loop of this package does between two batches."""

from __future__ import annotations

from collections.abc import Callable
from math import isfinite
from typing import NamedTuple

from torch import Tensor
from torch.optim import Optimizer

from gossamer.errors import NonFiniteError


class Note(NamedTuple):
    """What one step came to, or several of them.

    Args:
        loss: float - sum over samples.
        right: float - how many answers were right, where that is counted.
        samples: float - how many there were.

    Example:
        >>> Note(3.0, 1, 2).plus(Note(1.0, 2, 2)).mean
        1.0
    """

    loss: float = 0.0
    right: float = 0
    samples: float = 0

    def plus(self, other: Note) -> Note:
        """Both together."""
        return Note(self.loss + other.loss, self.right + other.right, self.samples + other.samples)

    @property
    def mean(self) -> float:
        """Loss of a sample."""
        return self.loss / self.samples


def answers(output: Tensor, y: Tensor) -> int:
    """How many samples of a batch have the largest output at their class.

    Args:
        output: [batch, classes].
        y: [batch], int64.

    Example:
        >>> import torch
        >>> answers(torch.eye(3), torch.tensor([0, 1, 1]))
        2
    """
    return int((output.argmax(1) == y).sum())


def train_step(
    model: Callable[[Tensor], Tensor],
    optimizer: Optimizer,
    x: Tensor,
    y: Tensor,
    loss: Callable[[Tensor, Tensor], Tensor],
    number: int,
    *,
    right: Callable[[Tensor, Tensor], int] = lambda _output, _y: 0,
    shared: Callable[[Note], Note] = lambda note: note,
    advance: Callable[[Note], None] | None = None,
) -> Note:
    """Forward, backward, and one step of the optimizer, which an attached engine follows.

    Args:
        model: nn.Module, or what computes its output - in training mode.
        optimizer: Optimizer - holds its parameters.
        x: [batch, ...] - samples.
        y: [batch, ...] - what the loss compares the output with.
        loss: (output, y) -> scalar Tensor, a mean over samples.
        number: int - of this step, for the message of an error.
        right: (output, y) -> int - counts the right answers.
        shared: note -> note - of all processes, where several make the step together.
        advance: note -> None, or None - what uses the gradients in the place of ``optimizer.step``.
    Returns:
        Note - before the step.
    Raises:
        NonFiniteError: the loss is NaN or infinite; no step was made.
    Cost: one pass forward and one backward.
    Example:
        >>> import torch
        >>> from torch import nn
        >>> model = nn.Linear(2, 1)
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> x, y = torch.ones(4, 2), torch.ones(4, 1)
        >>> first = train_step(model, optimizer, x, y, nn.functional.mse_loss, 1)
        >>> train_step(model, optimizer, x, y, nn.functional.mse_loss, 2).mean < first.mean
        True
    """
    optimizer.zero_grad(set_to_none=True)
    output = model(x)
    value = loss(output, y)
    value.backward()
    note = shared(Note(value.item() * len(y), right(output, y), len(y)))
    if not isfinite(note.mean):
        raise NonFiniteError(
            f"training step {number}",
            expected="a finite loss",
            got=str(note.mean),
            hint="lower the learning rate, or warm it up",
        )
    if advance is None:
        optimizer.step()
    else:
        advance(note)
    return note
