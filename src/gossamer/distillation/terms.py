"""What a student is compared with its teacher by: one settings object a loss."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from math import inf, isfinite
from typing import Any

from torch import Tensor, nn

from gossamer.distillation.losses import logits_loss
from gossamer.errors import ConfigError, ShapeError

OUTPUT = ""  # stands for the output of the whole network among names of layers


@dataclass(frozen=True)
class Seen:
    """What both networks made of a batch.

    Args:
        student, teacher: name of a layer, or OUTPUT -> Tensor.
        targets: what the task compares the output with.
        mask: Tensor or None - 0 where a token is padding.
    """

    student: dict[str, Tensor]
    teacher: dict[str, Tensor]
    targets: Any
    mask: Tensor | None


class Term(ABC):
    """One part of the loss: a weight, pairs of layers that it looks at, and a formula."""

    task_weight = 1.0  # of the task beside it, where nobody says another

    @property
    @abstractmethod
    def pairs(self) -> tuple[tuple[str, str], ...]:
        """(layer of the student, layer of the teacher); OUTPUT for the whole network."""

    @abstractmethod
    def value(self, seen: Seen, learned: Mapping[str, nn.Module]) -> Tensor:
        """The weighted loss of a batch; ``learned`` is what ``learn`` made, by layer of the student."""

    def learn(self, seen: Seen) -> dict[str, nn.Module]:
        """Modules that train with the student, for features of these shapes."""
        return {}


@dataclass(frozen=True, kw_only=True)
class Logits(Term):
    """The teacher's probabilities as soft targets: ``alpha * T^2 * KL``; the task itself gets ``1 - alpha``.

    Args:
        temperature: float > 0 - 4 is common for images.
        alpha: float in [0, 1].
        dim: int or None - where the classes are; None: of logits [batch, classes]. Others have to say it.
        ignore: int - positions with this target do not count, as in torch's cross entropy.
    Source: Hinton et al. 2015.
    Example:
        >>> Logits(temperature=2.0).alpha
        0.9
    """

    temperature: float = 4.0
    alpha: float = 0.9
    dim: int | None = None
    ignore: int = -100

    def __post_init__(self) -> None:
        check_number("Logits", temperature=self.temperature)
        check_number("Logits", low=0.0, high=1.0, alpha=self.alpha)

    @property
    def task_weight(self) -> float:  # type: ignore[override]  # the others have a constant
        """What is left of 1."""
        return 1 - self.alpha

    @property
    def pairs(self) -> tuple[tuple[str, str], ...]:
        """The outputs."""
        return ((OUTPUT, OUTPUT),)

    def value(self, seen: Seen, learned: Mapping[str, nn.Module]) -> Tensor:
        """As the class says."""
        ours, theirs, targets = seen.student[OUTPUT], seen.teacher[OUTPUT], seen.targets
        if self.dim is None and ours.ndim != 2:
            raise ShapeError(
                "Logits",
                expected="logits [batch, classes], or dim= where the classes are",
                got=str(list(ours.shape)),
                hint="Logits(dim=-1) for [batch, tokens, words], Logits(dim=1) for [batch, classes, height, width]",
            )
        dim = 1 if self.dim is None else self.dim
        labels = isinstance(targets, Tensor) and not targets.is_floating_point()
        fits = labels and targets.numel() * ours.shape[dim] == ours.numel()
        keep = (targets != self.ignore).reshape(ours.select(dim, 0).shape) if fits else None
        return self.alpha * logits_loss(ours, theirs, self.temperature, dim, keep)


def check_number(kind: str, low: float | None = None, high: float = inf, **settings: Any) -> None:
    """Refuse what is no number, or outside of a range; without ``low`` it is above 0."""
    for name, value in settings.items():
        number = isinstance(value, (int, float)) and not isinstance(value, bool) and isfinite(value)
        if not number or not (value > 0 if low is None else low <= value <= high):
            span = (
                "above 0"
                if low is None
                else f"of {low:g} or more"
                if high == inf
                else f"from {low:g} to {high:g}"
            )
            raise ConfigError(kind, expected=f"{name}, a number {span}", got=repr(value))
