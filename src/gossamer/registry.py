"""A name-to-class table; the only place where strings become objects."""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from collections.abc import Callable, Iterable, Iterator
from typing import Generic, TypeVar

from gossamer.errors import ConfigError

T = TypeVar("T")


class Registry(Generic[T]):
    """Classes of one kind by name; a second class of the same name is an error.

    Args:
        kind: str - what is registered, used in messages ("rule", "pattern").

    Example:
        >>> colours = Registry("colour")
        >>> @colours.register("red")
        ... class Red: pass
        >>> colours["red"].__name__, list(colours)
        ('Red', ['red'])
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._classes: dict[str, type[T]] = {}

    def register(self, name: str) -> Callable[[type[T]], type[T]]:
        """Decorate a class so that it can be found under ``name``."""

        def add(cls: type[T]) -> type[T]:
            if name in self._classes:
                raise ConfigError(
                    f"register {self.kind}", expected="a new name", got=repr(name), hint="choose another name"
                )
            self._classes[name] = cls
            cls.name = name  # type: ignore[attr-defined]
            return cls

        return add

    def __getitem__(self, name: str) -> type[T]:
        if name not in self._classes:
            raise ConfigError(
                f"{self.kind} by name",
                expected=f"one of {', '.join(self)}",
                got=repr(name),
                hint=did_you_mean(name, self),
            )
        return self._classes[name]

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._classes))

    def __len__(self) -> int:
        return len(self._classes)


def did_you_mean(given: object, names: Iterable[str]) -> str:
    """A hint with the name that was probably meant, or an empty string.

    Args:
        given: object - what was given, of any type.
        names: those there are.

    Example:
        >>> did_you_mean("rigel", ["set", "rigl", "srigl"]), did_you_mean("magic", ["set"])
        ("did you mean 'rigl'?", '')
    """
    close = difflib.get_close_matches(str(given).lower(), list(names), n=1)
    return f"did you mean {close[0]!r}?" if close else ""


def discover(package: str, path: list[str]) -> None:
    """Import every module of a package, so that a new file registers itself by existing."""
    for module in pkgutil.iter_modules(path):
        importlib.import_module(f"{package}.{module.name}")
