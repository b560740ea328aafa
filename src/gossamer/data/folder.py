"""Images in folders: ``train/<class>/*`` and ``val/<class>/*``, listed and checked before one of them is read."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from gossamer.errors import DataError

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
TRAIN, VALIDATION = "train", "val"


@dataclass(frozen=True, eq=False)
class ImageFolder:
    """The images of one split, by class.

    Args:
        root: Path - the folder of the split.
        classes: tuple of str - names of its sub-folders, sorted.
        files: tuple of str - below the root, sorted by class and name.
        labels: tuple of int - of each file, an index into `classes`.
        sha256: str, 64 hex digits - of names and sizes, not of contents.
    """

    root: Path
    classes: tuple[str, ...]
    files: tuple[str, ...]
    labels: tuple[int, ...]
    sha256: str


def image_folders(root: str | Path) -> tuple[ImageFolder, ImageFolder]:
    """List the images for training and for validation.

    Files whose names do not end like those of images are left alone.

    Args:
        root: str or Path - holds ``train`` and ``val``, each with one sub-folder a class.

    Returns:
        (train, val) with the same classes.

    Raises:
        DataError: a folder is missing, there is one class or none, a class has no image, an image has no class, the two
            splits have different classes, a class holds folders or things that are no files, or a link leads nowhere or
            out of the split's folder.

    Cost: one look at every name and size; nothing is read.

    Example:
        >>> image_folders("no/such/place")
        Traceback (most recent call last):
        ...
        gossamer.errors.DataError: image folder no/such/place: expected folders train and val in it, got no such folder
    """
    root = Path(root).expanduser()
    if not holds_splits(root):
        got = "no such folder" if not root.is_dir() else f"a folder without {_missing(root)}"
        raise DataError(f"image folder {root}", expected=f"folders {TRAIN} and {VALIDATION} in it", got=got)
    train, validation = (image_folder(root / split) for split in (TRAIN, VALIDATION))
    if differing := sorted(set(train.classes) ^ set(validation.classes)):
        raise DataError(
            f"image folder {root}",
            expected=f"the same classes in {TRAIN} and {VALIDATION}",
            got=f"{', '.join(map(repr, differing[:5]))} in one of them only",
        )
    return train, validation


def image_folder(root: str | Path) -> ImageFolder:
    """List the images of one split: sub-folders are the classes.

    Args:
        root: str or Path - holds one sub-folder a class.

    Returns:
        ImageFolder.

    Raises:
        DataError: as ``image_folders``.

    Cost: as ``image_folders``.

    Example:
        >>> import tempfile
        >>> image_folder(tempfile.mkdtemp())  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        ...
        gossamer.errors.DataError: image folder ...: expected a sub-folder for each of at least two classes, got none
    """
    root = Path(root)
    inside = root.resolve()
    with os.scandir(root) as entries:
        classes = sorted(entry.name for entry in entries if _is_folder(entry, inside))
    if len(classes) < 2:
        raise DataError(
            f"image folder {root}",
            expected="a sub-folder for each of at least two classes",
            got=f"one, {classes[0]!r}" if classes else "none",
        )
    digest = hashlib.sha256()
    files: list[str] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        with os.scandir(root / name) as entries:
            found = sorted(_images(entries, root / name, inside))
        if not found:
            raise DataError(
                f"image folder {root / name}",
                expected="at least one image",
                got="none",
                hint=f"images end in {', '.join(SUFFIXES)}",
            )
        for file, size in found:
            files.append(f"{name}/{file}")
            labels.append(label)
            digest.update(f"{name}/{file}\0{size}\0".encode("utf-8", "surrogateescape"))
    return ImageFolder(root, tuple(classes), tuple(files), tuple(labels), digest.hexdigest())


def holds_splits(root: str | Path) -> bool:
    """Whether there are folders ``train`` and ``val`` in a folder.

    Args:
        root: str or Path.

    Example:
        >>> holds_splits("no/such/place")
        False
    """
    root = Path(root).expanduser()
    return (root / TRAIN).is_dir() and (root / VALIDATION).is_dir()


def _missing(root: Path) -> str:
    return " and ".join(split for split in (TRAIN, VALIDATION) if not (root / split).is_dir())


def _is_folder(entry: os.DirEntry[str], inside: Path) -> bool:
    """Whether an entry is a class; one that is hidden is none."""
    _check_link(entry, inside)
    if entry.name.lower().endswith(SUFFIXES) and entry.is_file():
        expected = "images in a sub-folder for each class"
        raise DataError(f"image {entry.path}", expected=expected, got="one beside the sub-folders")
    return entry.is_dir() and not entry.name.startswith(".")


def _images(entries: Iterable[os.DirEntry[str]], folder: Path, inside: Path) -> Iterator[tuple[str, int]]:
    """Name and size of every image of a class."""
    for entry in entries:
        if entry.name.startswith("."):
            continue
        _check_link(entry, inside)
        if entry.is_dir():
            raise DataError(
                f"image folder {folder}", expected="images", got=f"a folder in a class, {entry.name!r}"
            )
        if not entry.name.lower().endswith(SUFFIXES):
            continue
        if not entry.is_file():
            raise DataError(f"image {entry.path}", expected="a file", got="something else")
        yield entry.name, entry.stat().st_size


def _check_link(entry: os.DirEntry[str], inside: Path) -> None:
    """Refuse a link that leads nowhere or out of the folder; raises DataError."""
    if not entry.is_symlink():
        return
    try:
        target = Path(os.path.realpath(entry.path, strict=True))
    except OSError as error:
        expected, got = "a file or a folder behind the link", str(error.strerror)
        raise DataError(f"image {entry.path}", expected=expected, got=got) from None
    if not target.is_relative_to(inside):
        raise DataError(
            f"image {entry.path}",
            expected=f"links that stay in {inside}",
            got=f"one to {target}",
            hint="copy the images into the folder, or link the whole folder",
        )
