"""CIFAR-10's official binary version: records of one label byte and one image, channels first.

The better known Python version is pickle, which runs code when read; it is never opened here.
"""

from __future__ import annotations

import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gossamer.data.formats.base import (
    Arrays,
    Readable,
    Spec,
    damaged,
    expect_end,
    read_exactly,
    sha256_of_file,
)

_FOLDER = "cifar-10-batches-bin"
_TRAIN = tuple(f"data_batch_{number}.bin" for number in range(1, 6))
_TEST = "test_batch.bin"


def _records(stream: Readable, n: int, spec: Spec, where: str) -> tuple[NDArray[Any], NDArray[Any]]:
    height, width, channels = spec.shape
    record = 1 + height * width * channels
    table = np.frombuffer(read_exactly(stream, n * record, where), np.uint8).reshape(n, record)
    expect_end(stream, where)
    images = table[:, 1:].reshape(n, channels, height, width).transpose(0, 2, 3, 1)
    return np.ascontiguousarray(images), table[:, 0].copy()


def _joined(parts: list[tuple[NDArray[Any], NDArray[Any]]]) -> Arrays:
    images, labels = zip(*parts, strict=True)
    return Arrays(np.concatenate(images[:-1]), np.concatenate(labels[:-1]), images[-1], labels[-1])


def _counts(spec: Spec) -> list[int]:
    return [spec.n_train // len(_TRAIN)] * len(_TRAIN) + [spec.n_test]


@dataclass(frozen=True)
class CifarBinary:
    """The unpacked folder ``cifar-10-batches-bin`` with five training batches and a test batch.

    Example:
        >>> CifarBinary().wants("cifar10")
        'cifar-10-batches-bin/{data_batch_1..5,test_batch}.bin'
    """

    def wants(self, name: str) -> str:
        """Say which files would be taken."""
        return f"{_FOLDER}/{{data_batch_1..5,test_batch}}.bin"

    def find(self, folder: Path, name: str) -> tuple[Path, ...]:
        """Return the six files, from the folder itself if that is its name, or nothing."""
        home = folder if folder.name == _FOLDER else folder / _FOLDER
        files = tuple(home / file for file in (*_TRAIN, _TEST))
        return files if all(path.is_file() for path in files) else ()

    def read(self, files: tuple[Path, ...], spec: Spec) -> Arrays:
        """Read the six files; each must have exactly the size its number of records needs."""
        parts = []
        for path, n in zip(files, _counts(spec), strict=True):
            with path.open("rb") as stream:
                parts.append(_records(stream, n, spec, str(path)))
        return _joined(parts)


@dataclass(frozen=True)
class CifarArchive:
    """The official archive ``cifar-10-binary.tar.gz``, opened only if its checksum is the published one.

    Args:
        sha256: str, 64 hex digits - checksum of the archive.

    Example:
        >>> CifarArchive(sha256="0" * 64).wants("cifar10")
        'cifar-10-binary.tar.gz'
    """

    sha256: str

    def wants(self, name: str) -> str:
        """Say which file would be taken."""
        return "cifar-10-binary.tar.gz"

    def find(self, folder: Path, name: str) -> tuple[Path, ...]:
        """Return the archive or nothing."""
        path = folder / self.wants(name)
        return (path,) if path.is_file() else ()

    def read(self, files: tuple[Path, ...], spec: Spec) -> Arrays:
        """Check the archive's checksum, then read the six members without unpacking anything to disk."""
        path = files[0]
        found = sha256_of_file(path)
        if found != self.sha256:
            raise damaged(str(path), f"sha256 {self.sha256}", f"sha256 {found}")
        with tarfile.open(path, "r:gz") as archive:
            return _joined(
                [
                    _member_records(archive, f"{_FOLDER}/{file}", n, spec, str(path))
                    for file, n in zip((*_TRAIN, _TEST), _counts(spec), strict=True)
                ]
            )


def _member_records(
    archive: tarfile.TarFile, name: str, n: int, spec: Spec, where: str
) -> tuple[NDArray[Any], NDArray[Any]]:
    member = archive.extractfile(name)
    if member is None:
        raise damaged(where, f"a regular file {name}", "something else of that name")
    with member as stream:
        return _records(stream, n, spec, f"{where}, {name}")
