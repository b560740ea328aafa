"""Copies of functions whose ``math`` takes traced values.

torch.fx writes functions of its own into the module ``math``, and into every module that uses it or ``fx.wrap``, while
it traces; all threads of the process see that. Here the model's functions are copied, with globals of their own.
"""

from __future__ import annotations

import builtins
import functools
import math
import sys
from types import FunctionType, ModuleType
from typing import TYPE_CHECKING, Any

from torch import fx
from torch.fx import _symbolic_trace

if TYPE_CHECKING:
    from collections.abc import Callable

MATH = {
    id(value): value for name, value in vars(math).items() if callable(value) and not name.startswith("_")
}
FOREIGN = {*sys.stdlib_module_names, "torch", "numpy", "scipy", "gossamer"}  # never copied


def recorded(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function that becomes one node of the trace where it is called with a traced value."""

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        found: list[fx.Proxy] = []
        fx.node.map_aggregate(
            (args, kwargs), lambda each: found.append(each) if isinstance(each, fx.Proxy) else None
        )
        return (
            found[0].tracer.create_proxy("call_function", function, args, kwargs)
            if found
            else function(*args, **kwargs)
        )

    return call


class _Globals(dict[str, Any]):
    """A module's names as copied functions see them, each made when it is first read."""

    def __init__(self, names: dict[str, Any], value: Callable[[dict[str, Any], str], Any]) -> None:
        super().__init__(__builtins__=names.get("__builtins__", builtins), __name__=names.get("__name__"))
        self.names, self.value = names, value

    def __missing__(self, name: str) -> Any:
        self[name] = self.value(self.names, name)  # a KeyError sends Python to the built-in names
        return self[name]


class _Module:
    """A module as copied functions see it."""

    def __init__(self, seen: _Globals) -> None:
        self._seen = seen

    def __getattr__(self, name: str) -> Any:
        try:
            return self._seen[name]
        except KeyError:
            raise AttributeError(name) from None


class Rebinder:
    """Copies functions, with globals made once for each module.

    Example:
        >>> def half(x): return x / math.sqrt(4)
        >>> Rebinder().function(half)(6.0)
        3.0
    """

    def __init__(self) -> None:
        self.seen: dict[int, _Globals] = {}

    def function(self, function: FunctionType) -> FunctionType:
        """The same code with globals of its own."""
        seen, code = self._globals(function.__globals__), function.__code__
        copied = FunctionType(code, seen, function.__name__, function.__defaults__, function.__closure__)
        copied.__kwdefaults__ = function.__kwdefaults__
        copied.__dict__.update(function.__dict__)
        return copied

    def order(self, cls: type) -> list[type]:
        """The order in which a class is searched, before every class of the model's own a copy of its methods."""
        found: list[type] = []
        for base in cls.__mro__:
            if own(base.__module__):
                found.append(type(base.__name__, (), self._methods(base)))
            found.append(base)
        return found

    def _methods(self, cls: type) -> dict[str, Any]:
        copies: dict[str, Any] = {}
        for name, value in vars(cls).items():
            if isinstance(value, FunctionType) and not name.startswith("__"):
                copies[name] = self.function(value)
            elif isinstance(value, staticmethod) and isinstance(value.__func__, FunctionType):
                copies[name] = staticmethod(self.function(value.__func__))
        return copies

    def _globals(self, names: dict[str, Any]) -> _Globals:
        return self.seen.setdefault(id(names), _Globals(names, self._value))

    def _value(self, names: dict[str, Any], name: str) -> Any:
        """What a copied function sees under a name."""
        value = names[name]
        if id(value) in MATH or (id(names), name) in _symbolic_trace._wrapped_fns_to_patch:  # noqa: SLF001
            return recorded(value)
        if isinstance(value, FunctionType) and own(value.__module__):
            return self.function(value)
        if isinstance(value, ModuleType) and (value is math or own(value.__name__)):
            return _Module(self._globals(vars(value)))
        return value


def own(module: str | None) -> bool:
    """Whether code of a module belongs to the model: not to Python, and to none of the libraries below."""
    return (module or "").partition(".")[0] not in FOREIGN
