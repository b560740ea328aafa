"""Every error Gossamer raises, under one root.

A message has four parts: the operation that refused, what it expected, what it got, and what to do about it.
"""

from __future__ import annotations

import pickle
from copy import copy
from typing import Any, Self


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
        super().__init__(self._sentence())

    def _sentence(self) -> str:
        """The four parts as one; names of files that are no UTF-8 are spelled so that it can be printed."""
        hint = f"; {self.hint}" if self.hint else ""
        sentence = f"{self.operation}: expected {self.expected}, got {self.got}{hint}"
        return sentence.encode("utf-8", "backslashreplace").decode("utf-8")

    def within(self, operation: str) -> Self:
        """The same complaint as part of a larger operation."""
        larger = copy(self)
        larger.operation = f"{operation}: {self.operation}"
        larger.args = (larger._sentence(),)  # noqa: SLF001 (another object of this class)
        return larger

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel to another process without a call of ``__init__``, whose arguments are keywords.

        An exception alone would lose its cause on the way. A cause that cannot travel itself becomes a note.
        """
        state = dict(self.__dict__)
        if self.__cause__ is not None:
            if _travels(self.__cause__):
                state["__cause__"] = self.__cause__
            else:
                note = f"caused by {type(self.__cause__).__name__}: {self.__cause__}"
                state["__notes__"] = [*state.get("__notes__", []), note]
        state["__suppress_context__"] = self.__suppress_context__  # after the cause, which sets it
        return _arrived, (type(self), self.args), state


def _arrived(kind: type[GossamerError], args: tuple[Any, ...]) -> GossamerError:
    """An error that comes out of a pickle; its attributes follow."""
    built_in: Any = kind
    while built_in.__module__ != "builtins":  # ``kind.__new__`` itself is refused below MemoryError
        built_in = built_in.__base__
    error: GossamerError = built_in.__new__(kind)
    error.args = args
    return error


def _travels(error: BaseException) -> bool:
    """Whether an error of any origin comes out of a pickle: many with arguments of their own do not."""
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301 (our own bytes)
    except (
        pickle.PickleError,
        ArithmeticError,
        AttributeError,
        ImportError,
        LookupError,
        RuntimeError,
        TypeError,
        ValueError,
    ):
        return False
    return True


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


class MissingPackage(GossamerError, ModuleNotFoundError):
    """A package of someone else that this one needs for what was asked, and that is not installed."""

    @classmethod
    def behind(cls, error: ModuleNotFoundError) -> Self:
        """The same as a sentence that says what to install; a module of ours that is missing raises as it is."""
        if isinstance(error, cls):
            return error
        name = (error.name or "").partition(".")[0]
        if not name or name == "gossamer":
            raise error
        return cls("import", expected=f"the package {name}", got="none", hint="pip install 'gossamer[train]'")


class PluginError(GossamerError, ImportError):
    """Code of someone else that was to register something here, and did not."""


class PluginWarning(UserWarning):
    """A plug-in that is installed and cannot be used; the others can."""


class SparseEfficiencyWarning(UserWarning):
    """Legal, but slower than it has to be."""


class TrainingWarning(UserWarning):
    """Legal, but probably not what was meant with a training."""
