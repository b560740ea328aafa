"""A format of files: how it is recognised, and what reads it. Nothing in a file is executed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from gossamer.importing.network import Network
from gossamer.importing.weights import Weights
from gossamer.registry import Registry


@dataclass(frozen=True)
class FileFormat:
    """One entry.

    Args:
        name: str - for people.
        fits: (path, first 16 bytes) -> bool - whether a file is of this format, or pretends to be.
        read: path -> Network, or Weights. It raises FormatError for anything malformed, before memory is taken.
    """

    name: str
    fits: Callable[[Path, bytes], bool]
    read: Callable[[Path], Network | Weights]


formats: Registry[FileFormat] = Registry("file format")


def file_format(entry: FileFormat) -> FileFormat:
    """Add an entry; a second one of the same name is an error.

    Example:
        >>> from gossamer.importing.formats import formats
        >>> file_format(formats["tflite"])
        Traceback (most recent call last):
        ...
        gossamer.errors.ConfigError: register file format: expected a name that is not taken, got 'tflite'; ...
    """
    formats.add(entry.name, entry)
    return entry
