"""Every error Gossamer raises, under one root.

A message has four parts: the operation that refused, what it expected, what it got, and what to do about it.
"""

from __future__ import annotations

from typing import Self


class GossamerError(Exception):
    """Root of all errors raised by this package.

    Args:
        operation: str - the call that refused, e.g. ``"FanIn.budget"``.
        expected: str - what would have been accepted.
        got: str - what was given instead.
        hint: str - what to do about it; may be empty.

    Example:
        >>> raise GossamerError("demo", expected="a cat", got="a dog", hint="feed it")
        Traceback (most recent call last):
        ...
        gossamer.errors.GossamerError: demo: expected a cat, got a dog; feed it
    """

    def __init__(self, operation: str, *, expected: str, got: str, hint: str = "") -> None:
        self.operation, self.expected, self.got, self.hint = operation, expected, got, hint
        super().__init__(f"{operation}: expected {expected}, got {got}" + (f"; {hint}" if hint else ""))

    def within(self, operation: str) -> Self:
        """The same complaint as part of a larger operation."""
        return type(self)(
            f"{operation}: {self.operation}", expected=self.expected, got=self.got, hint=self.hint
        )


class ShapeError(GossamerError, ValueError):
    """A tensor or layer has the wrong shape, stride or size."""


class DtypeError(GossamerError, TypeError):
    """A tensor has a dtype or lives on a device that the operation does not take."""


class PatternError(GossamerError, ValueError):
    """A pattern does not fit a layer, or a rule is not defined on a pattern."""


class DensityError(GossamerError, ValueError):
    """A density that cannot be met; the message says which ones can."""


class TopologyError(GossamerError, ValueError):
    """Index tensors that do not describe a valid topology."""


class NonFiniteError(GossamerError, ValueError):
    """NaN or infinity where a decision would have been taken on it."""


class StateError(GossamerError, RuntimeError):
    """Optimizer or engine state that cannot be carried through a topology update."""


class RankError(GossamerError, RuntimeError):
    """Another process of a parallel training died, is silent, or stopped with an error of its own."""


class FormatError(GossamerError, ValueError):
    """A file that is damaged, hostile, or of a version this package does not know."""


class DataError(GossamerError, FileNotFoundError):
    """A data set that could not be found or did not pass its check."""


class ConfigError(GossamerError, ValueError):
    """A setting outside its range."""


class MemoryShortage(GossamerError, MemoryError):
    """More memory would be needed than there is; nothing was taken."""


class KernelUnavailable(GossamerError, RuntimeError):
    """A kernel, instruction set or compiled part that was asked for by name and is not there."""


class SparseEfficiencyWarning(UserWarning):
    """Legal, but slower than it has to be."""
