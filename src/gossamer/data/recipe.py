"""A recipe: everything needed to find, fetch and check one data set, as data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gossamer.data.formats import Arrays, Format, Npz, Spec
from gossamer.errors import ConfigError


@dataclass(frozen=True)
class Remote:
    """One file that may be downloaded.

    Args:
        filename: str - its name in the cache.
        urls: tuple of str - https addresses of the same file, tried in order.
        sha256: str, 64 hex digits - its checksum.
        size: int, bytes - its exact size.

    Raises:
        ConfigError: an address that is not http(s), or a filename with a folder in it.

    Example:
        >>> Remote("a.gz", ("https://example.org/a.gz",), sha256="0" * 64, size=10).size
        10
    """

    filename: str
    urls: tuple[str, ...]
    sha256: str
    size: int

    def __post_init__(self) -> None:
        if "/" in self.filename or "\\" in self.filename:
            raise ConfigError("Remote", expected="a bare file name", got=repr(self.filename))
        for url in self.urls:
            if not url.startswith(("https://", "http://")):
                raise ConfigError("Remote", expected="an http(s) address", got=repr(url))


@dataclass(frozen=True)
class Embedded:
    """A data set that an installed package carries.

    Args:
        location: str - the package, for the provenance.
        read: function without arguments - returns the arrays; raises DataError if the package is missing.

    Example:
        >>> import numpy as np
        >>> zero = np.zeros(1, np.uint8)
        >>> Embedded("demo", lambda: Arrays(zero, zero, zero, zero)).location
        'demo'
    """

    location: str
    read: Callable[[], Arrays]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How one data set is found and checked.

    Args:
        name: str - its name in the registry; files are looked for under this name.
        spec: Spec - sizes that any copy must have.
        classes: tuple of str - names of the classes, ``spec.n_classes`` of them.
        licence: str - the terms as the authors state them.
        sha256: str or None - `sha256_of_arrays` of the published content; None if there is no published one.
        formats: tuple of Format - how a folder may hold it, in order of preference.
        system: tuple of str - folders where operating systems install it.
        embedded: Embedded or None - a package that carries it.
        remotes: tuple of Remote - files to download; one of the formats must recognise them in a folder named `name`.

    Raises:
        ConfigError: the number of class names differs from ``spec.n_classes``.

    Example:
        >>> spec = Spec(n_train=4, n_test=2, shape=(2, 2), n_classes=2)
        >>> Recipe(name="toy", spec=spec, classes=("no", "yes"), licence="CC0").formats
        (Npz(),)
    """

    name: str
    spec: Spec
    classes: tuple[str, ...]
    licence: str
    sha256: str | None = None
    formats: tuple[Format, ...] = (Npz(),)
    system: tuple[str, ...] = ()
    embedded: Embedded | None = None
    remotes: tuple[Remote, ...] = ()

    def __post_init__(self) -> None:
        if len(self.classes) != self.spec.n_classes:
            raise ConfigError(
                "Recipe", expected=f"{self.spec.n_classes} class names", got=f"{len(self.classes)}"
            )
