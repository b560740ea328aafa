"""What the estimators train with: network, optimizer and engine, and when to stop."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import inf
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from gossamer.errors import NonFiniteError
from gossamer.nn import Dropout, SparseModule
from gossamer.rules import Rule
from gossamer.training import Note, join, train_step
from gossamer.training.riding import KEY

Loss = Callable[[Tensor, Tensor], Tensor]


class Training:
    """One training of a network; a context manager that lets go of the layers at its end.

    Nothing but its state outlives it, as plain tensors and numbers: an estimator can be copied and pickled at any time.

    Args:
        network: nn.Module.
        optimizer: Optimizer - over its parameters.
        rule: Rule - for its sparse layers, if there are any.
        total_steps: int - optimizer steps of the whole training.
        seed: int - of the rule's random choices.
        loss: (output, target) -> scalar.
    """

    def __init__(
        self, network: nn.Module, optimizer: Optimizer, rule: Rule, total_steps: int, seed: int, loss: Loss
    ) -> None:
        self.network, self.optimizer, self.loss = network, optimizer, loss
        self.step = 0
        sparse = any(isinstance(layer, SparseModule) for layer in network.modules())
        self.engine = join(network, optimizer, rule, total_steps=total_steps, seed=seed) if sparse else None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        if self.engine:
            self.engine.detach()

    def epoch(self, batches: Iterable[tuple[Tensor, Tensor]], seed: int) -> float:
        """Go once through batches of (samples, target); returns the mean loss of a sample.

        Args:
            batches: pairs of tensors.
            seed: int - of what dropout draws; torch's global generator, which other threads may use, is left alone.

        Raises:
            NonFiniteError: the loss is NaN or infinite.
        """
        self.network.train()
        draw = torch.Generator(next(self.network.parameters()).device).manual_seed(seed)
        dropouts = [module for module in self.network.modules() if isinstance(module, Dropout)]
        try:
            for module in dropouts:
                module.generator = draw
            return self._epoch(batches)
        except NonFiniteError as error:
            hint = "lower the learning rate, or scale features and targets"
            raise NonFiniteError(error.operation, expected=error.expected, got=error.got, hint=hint) from None
        finally:
            for module in dropouts:
                module.generator = None  # which could not be pickled

    def _epoch(self, batches: Iterable[tuple[Tensor, Tensor]]) -> float:
        device = next(self.network.parameters()).device
        total = Note()
        for x, y in batches:
            pair = x.to(device), y.to(device)
            total = total.plus(train_step(self.network, self.optimizer, *pair, self.loss, self.step + 1))
            self.step += 1
        return total.mean

    def state(self) -> dict[str, Any]:
        """Where it stands beside its network: references to tensors, and numbers."""
        return {"step": self.step, "optimizer": self.optimizer.state_dict()}

    def restore(self, state: dict[str, Any]) -> None:
        """Stand where a state of the same rule was taken; the network has to be as it was then.

        Learning rate and weight decay are those of now; the engine's state is saved with the optimizer's.
        """
        self.step = state["step"]
        saved, now = state["optimizer"], self.optimizer.state_dict()["param_groups"]
        if KEY in saved["param_groups"][0]:
            now[0][KEY] = saved["param_groups"][0][KEY]
        self.optimizer.load_state_dict({**saved, "param_groups": now})


@dataclass
class Patience:
    """When to stop: after more than ``rounds`` values in a row that do not exceed the best by more than ``tol``.

    Example:
        >>> patience = Patience(rounds=1, tol=0.1)
        >>> [(patience.better(value), patience.over) for value in (0.5, 0.55, 0.52)]
        [(True, False), (True, False), (False, True)]
    """

    rounds: int
    tol: float
    best: float = -inf
    waited: int = 0

    def better(self, value: float) -> bool:
        """Whether a value is the best so far."""
        self.waited = 0 if value > self.best + self.tol else self.waited + 1
        improved = value > self.best
        self.best = max(self.best, value)
        return improved

    @property
    def over(self) -> bool:
        """Whether to stop."""
        return self.waited > self.rounds
