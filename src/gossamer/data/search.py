"""Finding a data set: local folders, the system's, an installed package, the cache, and last the network."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from gossamer.data.checks import check_published, checked, sha256_of_arrays
from gossamer.data.dataset import Dataset, Provenance
from gossamer.data.download import cache_folder, fetch, is_intact
from gossamer.data.formats import Arrays
from gossamer.data.recipe import Recipe
from gossamer.data.registry import recipe_of
from gossamer.errors import DataError

_PREFERENCE = ("mnist", "fashion-mnist", "digits")


def load(name: str, root: str | Path | None = None, download: bool = True) -> Dataset:
    """Find, read and check a data set.

    The first hit wins, in this order: `root`; the folders in ``GOSSAMER_DATA`` (separated as in ``PATH``); where the
    operating system installs it; the installed package that carries it; earlier downloads in ``GOSSAMER_CACHE`` (or
    ``~/.cache/gossamer``); the network. A file that is found but damaged is an error, never a reason to look elsewhere.

    Args:
        name: str - one of `names()`.
        root: str, Path or None - a folder to look into first; it must exist.
        download: bool - False: never touch the network.

    Returns:
        Dataset - its `provenance` says where it was found.

    Raises:
        ConfigError: no data set of that name.
        FormatError: a file is malformed or hostile; the message names it.
        DataError: not found (the message lists every place tried), or not the published content.

    Cost: O(size) time: one read, one checksum; memory of the arrays, and once more for a moment while a file is read.

    Example:
        >>> load("digits")  # doctest: +ELLIPSIS
        Dataset(name='digits', classes=('0', '1', ...), provenance=Provenance(kind='embedded', ...))
    """
    recipe = recipe_of(name)
    tried: list[str] = []
    found = _find(recipe, root, tried)
    if found is None and download and recipe.remotes:
        found = _download(recipe, tried)
    if found is None:
        raise _not_found(recipe, download, tried)
    return found


def best_available(root: str | Path | None = None) -> Dataset:
    """Return the most telling data set at hand, without a download: mnist, else fashion-mnist, else digits.

    Args:
        root: str, Path or None - as for `load`.

    Returns:
        Dataset.

    Raises:
        FormatError: one is there but damaged.
        DataError: one is there with the wrong content, or not even scikit-learn is installed.

    Cost: as `load`.

    Example:
        >>> best_available().name in ("mnist", "fashion-mnist", "digits")
        True
    """
    tried: list[str] = []
    for name in _PREFERENCE:
        found = _find(recipe_of(name), root, tried)
        if found is not None:
            return found
    raise _not_found(recipe_of(_PREFERENCE[-1]), False, tried)


def _find(recipe: Recipe, root: str | Path | None, tried: list[str]) -> Dataset | None:
    for kind, folder in folders(recipe.name, root, recipe.system):
        found = _in_folder(recipe, folder, kind)
        if found is not None:
            return found
        wanted = ", ".join(form.wants(recipe.name) for form in recipe.formats) or "nothing is kept in files"
        tried.append(f"{kind} {folder} ({wanted if folder.is_dir() else 'no such folder'})")
    if recipe.embedded is not None:
        return _dataset(recipe, recipe.embedded.read(), "embedded", recipe.embedded.location)
    cache = cache_folder() / recipe.name
    if recipe.remotes and all(is_intact(remote, cache) for remote in recipe.remotes):
        return _in_folder(recipe, cache, "cache")
    tried.append(f"cache {cache} (no intact copy)")
    return None


def folders(name: str, root: str | Path | None, system: Sequence[str] = ()) -> Iterator[tuple[str, Path]]:
    """Where data sets are looked for, in order, and what each place is called; raises DataError without the root."""
    if root is not None:
        folder = Path(root).expanduser()
        if not folder.is_dir():
            raise DataError(
                f"loading {name}", expected="root to be a folder", got=f"{folder}, which is not one"
            )
        yield "root", folder
    for entry in os.environ.get("GOSSAMER_DATA", "").split(os.pathsep):
        if entry:
            yield "GOSSAMER_DATA", Path(entry).expanduser()
    for place in system:
        yield "system", Path(place)


def _in_folder(recipe: Recipe, folder: Path, kind: str) -> Dataset | None:
    for form in recipe.formats:
        files = form.find(folder, recipe.name)
        if files:
            where = str(files[0] if len(files) == 1 else files[0].parent)
            return _dataset(recipe, form.read(files, recipe.spec), kind, where)
    return None


def _dataset(recipe: Recipe, arrays: Arrays, kind: str, where: str) -> Dataset:
    sound = checked(arrays, recipe.spec, where)
    sha256 = sha256_of_arrays(sound)
    if recipe.sha256 is not None:
        check_published(sha256, recipe.sha256, where)
    provenance = Provenance(kind, where, sha256, recipe.sha256 is not None, recipe.licence)
    return Dataset(recipe.name, *sound, classes=recipe.classes, provenance=provenance)


def _download(recipe: Recipe, tried: list[str]) -> Dataset | None:
    cache = cache_folder() / recipe.name
    try:
        for remote in recipe.remotes:
            fetch(remote, cache)
    except DataError as error:
        tried.append(f"download ({error})")
        return None
    return _in_folder(recipe, cache, "download")


def _not_found(recipe: Recipe, download: bool, tried: list[str]) -> DataError:
    if not recipe.remotes:
        tried.append("download (this data set has no download)")
    elif not download:
        tried.append("download (turned off)")
    return DataError(
        f"loading {recipe.name}",
        expected="the data set in a folder that GOSSAMER_DATA or root= names",
        got="it in none of the places searched: " + "; ".join(tried),
    )
