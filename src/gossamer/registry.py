"""A table of things by name; the only place where strings become objects."""

from __future__ import annotations

import difflib
import functools
import importlib
import inspect
import pkgutil
import re
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import Generic, ParamSpec, TypeVar, cast

from gossamer import plugins
from gossamer.errors import ConfigError, PluginError, PluginWarning

T = TypeVar("T")
P = ParamSpec("P")
R = TypeVar("R")
Class = TypeVar("Class", bound=type)

ZEROS = (
    "sparsity",
    "amount",
    "ratio",
    "pruning_ratio",
)  # what others call the share of connections that are gone


class Registry(Generic[T]):
    """Things of one kind by name, classes or others; a second one of the same name is an error.

    Args:
        kind: str - what is registered, used in messages ("rule", "pattern").
        package: str - a package of ours whose modules register themselves, imported when a name is first asked for;
            empty where importing the room has done so.
        group: str - the entry points by which installed packages add to it, see `gossamer.plugins`; empty for none. A
            package is imported when a name is asked for that is not ours, or when all are listed.

    Example:
        >>> colours: Registry[type] = Registry("colour")
        >>> @colours.register("red")
        ... class Red: pass
        >>> colours["red"].__name__, list(colours), "blue" in colours
        ('Red', ['red'], False)
    """

    def __init__(self, kind: str, package: str = "", group: str = "") -> None:
        self.kind, self._package, self._group = kind, package, group
        self._entries: dict[str, T] = {}
        self._asked: dict[str, PluginError | None] = {}  # plug-ins by name, and what was wrong with them

    def register(self, name: str) -> Callable[[Class], Class]:
        """Decorate a class so that it can be found under ``name``, which becomes its attribute."""

        def decorate(cls: Class) -> Class:
            self.add(name, cast("T", cls))
            cls.name = name  # type: ignore[attr-defined]
            return cls

        return decorate

    def add(self, name: str, entry: T) -> None:
        """Add an entry; raises ConfigError where the name is taken."""
        self._discover()
        if name in self._entries:
            raise ConfigError(
                f"register {self.kind}",
                expected="a name that is not taken",
                got=repr(name),
                hint="choose another name",
            )
        self._entries[name] = entry
        plugins.on_failure(lambda: self._entries.pop(name, None))

    def remove(self, name: str) -> None:
        """Take an entry out again (for tests and notebooks); raises ConfigError where there is none."""
        del self._entries[self._known(name)]

    def __getitem__(self, name: str) -> T:
        if name in self._entries:  # looked up at every call of a frozen network, by operators
            return self._entries[name]
        return self._entries[self._known(name)]

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self._find(name)

    def __iter__(self) -> Iterator[str]:
        self._discover()
        self._load_all()
        return iter(sorted(self._entries))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def values(self) -> list[T]:
        """All entries, by name."""
        return [self._entries[name] for name in self]

    def items(self) -> list[tuple[str, T]]:
        """All names and entries, by name."""
        return [(name, self._entries[name]) for name in self]

    def _known(self, name: str) -> str:
        """The name; raises ConfigError where it is none, PluginError where its plug-in is broken."""
        if not self._find(name):
            check_choice(f"{self.kind} by name", name, self)
        return name

    def _find(self, name: str) -> bool:
        """Whether there is such an entry, by whomever; raises PluginError where its plug-in is broken."""
        self._discover()
        if name not in self._entries and name in plugins.points(self._group):
            self._load(name)
        if name not in self._entries:
            self._load_all()  # a package may register more than its entry points say
        return name in self._entries

    def _discover(self) -> None:
        """Import what is ours; nothing the second time."""
        if self._package:
            package = importlib.import_module(self._package)
            discover(self._package, list(package.__path__))
            self._package = ""

    def _load(self, name: str) -> None:
        """Import the package that says it registers a name; raises PluginError, the same one every time."""
        if name not in self._asked:
            try:
                self._import(name)
            except PluginError as error:
                self._asked[name] = error
            else:  # not before: another thread that asks meanwhile waits for the import, too
                self._asked[name] = None
        if (broken := self._asked[name]) is not None:
            raise broken.with_traceback(None)

    def _import(self, name: str) -> None:
        plugins.load_point(plugins.points(self._group)[name])
        if name not in self._entries:
            got = "nothing of it registered"
            raise PluginError(f"plug-in {name!r}", expected=f"a {self.kind} of this name", got=got)

    def _load_all(self) -> None:
        """Import every package that adds to this registry; those that cannot be are named in a warning, once."""
        for name in plugins.points(self._group).keys() - self._asked.keys():
            try:
                self._load(name)
            except PluginError as error:
                warnings.warn(f"{error}; the others work", PluginWarning, stacklevel=2)


def did_you_mean(given: object, names: Iterable[str]) -> str:
    """A hint with the name that was probably meant, or an empty string.

    Case, spaces, hyphens and underscores make no difference to what is close.

    Args:
        given: object - what was given, of any type.
        names: those there are.

    Example:
        >>> did_you_mean("rigel", ["set", "rigl", "srigl"]), did_you_mean("magic", ["set"])
        ("did you mean 'rigl'?", '')
        >>> did_you_mean("CIFAR_10", ["cifar10", "cifar10-small"])
        "did you mean 'cifar10'?"
    """
    plain = {_plain(name): name for name in names}
    close = difflib.get_close_matches(_plain(str(given)), list(plain), n=1)
    return f"did you mean {plain[close[0]]!r}?" if close else ""


def _plain(name: str) -> str:
    """A name without what is often spelt otherwise."""
    return re.sub(r"[\s_-]", "", name.lower())


def check_choice(operation: str, given: object, known: Iterable[str]) -> None:
    """Refuse a word that is not among those known.

    Args:
        operation: str - named in the error, e.g. "sparsify(home=)".
        given: object - what was given, of any type.
        known: the words there are.

    Raises:
        ConfigError: with the list, and the word that was probably meant.

    Example:
        >>> check_choice("freeze(prefer=)", "Size", ("speed", "size"))
        Traceback (most recent call last):
        ...
        gossamer.errors.ConfigError: freeze(prefer=): expected one of speed, size, got 'Size'; did you mean 'size'?
    """
    known = list(known)
    if not (isinstance(given, str) and given in known):
        raise ConfigError(
            operation,
            expected=f"one of {', '.join(known)}",
            got=repr(given)[:80],
            hint=did_you_mean(given, known),
        )


def check_names(operation: str, given: Iterable[object], of: str, known: Iterable[str]) -> None:
    """Refuse the names that are not among those known.

    Args:
        operation: str - named in the error.
        given: what was given.
        of: str - what they are names of, e.g. "layers".
        known: the names there are.

    Raises:
        ConfigError: with both lists, and the name that was probably meant by the first wrong one.

    Example:
        >>> check_names("attach(fixed=)", ["fc_1"], "layers", ["fc1", "fc2"])
        Traceback (most recent call last):
        ...
        gossamer.errors.ConfigError: attach(fixed=): expected layers among fc1, fc2, got 'fc_1'; did you mean 'fc1'?
    """
    known = list(known)
    if unknown := [name for name in given if not (isinstance(name, str) and name in known)]:
        raise ConfigError(
            operation,
            expected=f"{of} among {', '.join(known)}",
            got=", ".join(repr(name) for name in unknown),
            hint=did_you_mean(unknown[0], known),
        )


def setting_meant(name: str, value: object, known: Iterable[str]) -> str:
    """A hint with the setting that was probably meant by one that there is not, or an empty string.

    Args:
        name: str - of the setting.
        value: object - what it was to be.
        known: the settings there are.

    Example:
        >>> setting_meant("sparsity", 0.9, ["density", "pattern"])
        'density is the share of connections that exist, 1 - sparsity: pass density=0.1'
        >>> setting_meant("patern", "fanin", ["density", "pattern"])
        "did you mean 'pattern'?"
    """
    known = list(known)
    if name not in ZEROS:
        return did_you_mean(name, known)
    share = isinstance(value, (int, float)) and 0 <= value < 1
    example = f"density={1 - float(value):g}" if share else "density=0.1 for 90 % zeros"  # type: ignore[arg-type]
    where = "" if "density" in known else " where layers are made sparse"
    return f"density is the share of connections that exist, 1 - sparsity: pass {example}{where}"


def answers_unknown(function: Callable[P, R]) -> Callable[P, R]:
    """Have a function refuse keyword arguments that it does not have, in the words of those that it has.

    Args:
        function: callable - takes no ``**arguments``; of an ``__init__`` the object is named.

    Returns:
        The function, which raises ConfigError in place of TypeError.

    Example:
        >>> @answers_unknown
        ... def prune(density): pass
        >>> prune(densty=0.2)
        Traceback (most recent call last):
        ...
        gossamer.errors.ConfigError: prune: expected arguments among density, got densty=; did you mean 'density'?
    """
    known = [name for name in inspect.signature(function).parameters if name != "self"]

    @functools.wraps(function)
    def answering(*args: P.args, **given: P.kwargs) -> R:
        for name, value in given.items():
            if name not in known:
                raise ConfigError(
                    type(args[0]).__name__ if function.__name__ == "__init__" else function.__name__,
                    expected=f"arguments among {', '.join(known)}",
                    got=f"{name}=",
                    hint=setting_meant(name, value, known),
                )
        return function(*args, **given)

    return answering


def discover(package: str, path: list[str]) -> None:
    """Import every module of a package, so that a new file registers itself by existing.

    Args:
        package: str - its name.
        path: folders it consists of, its ``__path__``.
    Cost: that of the modules.
    """
    for module in pkgutil.iter_modules(path):
        importlib.import_module(f"{package}.{module.name}")
