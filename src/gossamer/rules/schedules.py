"""How much, when: a value that moves from ``start`` to ``end`` over a window of steps."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from math import cos, pi
from typing import ClassVar

from gossamer.errors import ConfigError
from gossamer.registry import Registry

schedules: Registry[type[Schedule]] = Registry("schedule")


@dataclass(frozen=True)
class Schedule(ABC):
    """Base of all schedules; a subclass says how much of the way is left at progress u in [0, 1].

    Args:
        start: float in [0, 1] - value at the first step of the window.
        end: float in [0, 1] - value at the last.
    """

    start: float
    end: float = 0.0
    name: ClassVar[str]

    def __post_init__(self) -> None:
        if not (0 <= self.start <= 1 and 0 <= self.end <= 1):
            raise ConfigError(
                type(self).__name__, expected="start and end in [0, 1]", got=f"{self.start}, {self.end}"
            )

    @abstractmethod
    def remaining(self, u: float) -> float:
        """Share of the way from end to start that is left at progress u: 1 at u = 0."""

    def __call__(self, step: float, begin: float, stop: float) -> float:
        """Value at ``step`` of the window ``begin .. stop``; constant outside it."""
        u = min(max((step - begin) / (stop - begin), 0.0), 1.0) if stop > begin else 1.0
        return self.end + (self.start - self.end) * self.remaining(u)


@schedules.register("cosine")
class CosineDecay(Schedule):
    """Half a cosine wave; RigL's default for the drop fraction.

    Source: RigL (Evci et al. 2020): f(t) = alpha / 2 (1 + cos(pi t / T_end)).
    Example:
        >>> round(CosineDecay(0.3)(5000, 0, 25000), 6)
        0.271353
    """

    def remaining(self, u: float) -> float:
        """(1 + cos(pi u)) / 2."""
        return 0.5 * (1.0 + cos(pi * u))


@schedules.register("linear")
class LinearDecay(Schedule):
    """A straight line.

    Source: RigL, appendix G, k = 1.
    Example:
        >>> LinearDecay(0.4)(25, 0, 100)
        0.30000000000000004
    """

    def remaining(self, u: float) -> float:
        """1 - u."""
        return 1.0 - u


@schedules.register("cubic")
class CubicDecay(Schedule):
    """Fast first, slow at the end: a drop fraction (RigL, appendix G, k = 3) or a sparsity ramp.

    Source: Zhu and Gupta 2017: s_t = s_f + (s_i - s_f) (1 - (t - t0) / (t1 - t0))^3.
    Example:
        >>> round(CubicDecay(0.0, 0.9)(13, 10, 25), 4)
        0.4392
    """

    def remaining(self, u: float) -> float:
        """(1 - u) cubed."""
        return (1.0 - u) ** 3


@schedules.register("constant")
class Constant(Schedule):
    """``start``, always; SET's zeta.

    Example:
        >>> Constant(0.3)(99, 0, 100)
        0.3
    """

    def remaining(self, u: float) -> float:
        """1."""
        return 1.0
