"""TFLite: a whole network, its sparse tensors as they are."""

from __future__ import annotations

from pathlib import Path

from gossamer.importing.formats.base import FileFormat, file_format
from gossamer.importing.network import Network
from gossamer.importing.tflite import MAGIC, File, build


def _read(path: Path) -> Network:
    return build(File(path.name, path.read_bytes()))


file_format(FileFormat("tflite", lambda _, head: head[4:8] == MAGIC, _read))
