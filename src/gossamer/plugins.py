"""Code of others: entry points of installed packages, and files that the user names in this call.

A plug-in registers rules, patterns or data sets when it is imported. Nothing is loaded because a file names it: no
artifact, run folder or configuration says where a plug-in is.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from hashlib import sha256
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from gossamer.errors import ConfigError, PluginError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

_undo: ContextVar[list[Callable[[], object]] | None] = ContextVar("undo", default=None)
_allowed: ContextVar[bool] = ContextVar("allowed", default=True)
_files: dict[Path, ModuleType] = {}


def load_file(path: str | Path) -> None:
    """Run a Python file that registers rules, patterns or data sets; once, however often it is named.

    Args:
        path: str or Path - of the file, typed by the user.

    Raises:
        ConfigError: no Python file. PluginError: it cannot be imported, or registers a name that is taken; nothing of
            it is registered then.
    Cost: that of the file.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "broken.py"
        >>> _ = file.write_text("import no_such_package")
        >>> load_file(file)  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        ...
        gossamer.errors.PluginError: plug-in ...broken.py: expected ..., got ModuleNotFoundError: No module ...
    """
    file = Path(path).resolve()
    if file in _files:
        return
    if file.suffix != ".py":
        raise ConfigError("plug-in", expected="a Python file, its name ending in .py", got=str(path))
    if not file.is_file():
        got = f"{path}, a folder" if file.is_dir() else f"{path}, which does not exist"
        raise ConfigError("plug-in", expected="a Python file", got=got)
    module = ModuleType(f"gossamer_plugin_{sha256(str(file).encode()).hexdigest()[:8]}_{file.stem}")
    module.__file__ = str(file)
    sys.modules[module.__name__] = module  # dataclasses look their module up
    try:
        with loading(str(path)):
            # Compiled here and not by the import system, which would leave a folder of its own beside the file.
            exec(compile(file.read_bytes(), str(file), "exec", dont_inherit=True), module.__dict__)  # noqa: S102
    except PluginError:
        del sys.modules[module.__name__]
        raise
    _files[file] = module


def files() -> list[str]:
    """The files loaded in this process, for processes that go on with its work.

    Example:
        >>> isinstance(files(), list)
        True
    """
    return [str(file) for file in _files]


@functools.cache
def _installed(group: str) -> dict[str, list[EntryPoint]]:
    from importlib.metadata import entry_points

    found: dict[str, list[EntryPoint]] = {}
    for point in entry_points(group=group):
        found.setdefault(point.name, []).append(point)
    return found


def points(group: str) -> dict[str, list[EntryPoint]]:
    """What installed packages register, by name; nothing of it is imported.

    Args:
        group: str - of entry points, such as ``"gossamer.rules"``; an empty one has none.

    Cost: a look at every installed package, the first time.

    Example:
        >>> points("gossamer.no_such_group")
        {}
    """
    return _installed(group) if group and _allowed.get() else {}


def load_point(named: list[EntryPoint]) -> None:
    """Import what the entry point of a name stands for.

    Args:
        named: the entry points of one name, as ``points`` gives them.

    Raises:
        PluginError: it cannot be imported, or several packages have the name; they are named with their versions.
    Cost: that of the package.
    """
    owners = [f"{point.dist.name} {point.dist.version}" if point.dist else "a folder" for point in named]
    point = named[0]
    if len(named) > 1:
        got = " and ".join(owners)
        raise PluginError(f"plug-in {point.name!r}", expected="one package that registers it", got=got)
    with loading(f"{point.name!r}, {point.value} of {owners[0]}"):
        point.load()


@contextmanager
def off() -> Iterator[None]:
    """Load no plug-in inside of the block, whatever name is asked for.

    Example:
        >>> with off(): allowed()
        False
    """
    token = _allowed.set(False)
    try:
        yield
    finally:
        _allowed.reset(token)


def allowed() -> bool:
    """Whether a name may be looked for in installed packages.

    Example:
        >>> allowed()
        True
    """
    return _allowed.get()


def on_failure(undo: Callable[[], object]) -> None:
    """Remember how to take back what a plug-in does, for the case that it fails later; elsewhere do nothing.

    Args:
        undo: callable.

    Example:
        >>> from contextlib import suppress
        >>> table = {}
        >>> with suppress(PluginError), loading("mine.py"):
        ...     table["a"] = 1
        ...     on_failure(table.clear)
        ...     raise SystemExit
        >>> table
        {}
    """
    done = _undo.get()
    if done is not None:
        done.append(undo)


class loading:  # noqa: N801 (read as a verb: with loading(...))
    """Foreign code runs inside: whatever it raises is named as a PluginError, and what it did before is taken back.

    Args:
        plugin: str - what it is, for messages.

    Example:
        >>> with loading("mine.py"): raise SystemExit(3)
        Traceback (most recent call last):
        ...
        gossamer.errors.PluginError: plug-in mine.py: expected code that can be imported, got SystemExit: 3
    """

    def __init__(self, plugin: str) -> None:
        self._plugin = plugin

    def __enter__(self) -> None:
        self._done: list[Callable[[], object]] = []
        self._token = _undo.set(self._done)

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        _undo.reset(self._token)
        if error is None:
            return
        for undo in reversed(self._done):
            undo()
        if not isinstance(error, KeyboardInterrupt):
            said = " ".join(f"{type(error).__name__}: {error}".split())
            raise PluginError(
                f"plug-in {self._plugin}", expected="code that can be imported", got=said
            ) from error
