"""The formats of files that are read: one file each, found by existing."""

from gossamer.importing.formats.base import FileFormat, file_format, formats
from gossamer.registry import discover

discover(__name__, __path__)

__all__ = ["FileFormat", "file_format", "formats"]
