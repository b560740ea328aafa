"""The idx format of MNIST and its relatives, plain or gzipped."""

from __future__ import annotations

import gzip
import math
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gossamer.data.formats.base import Arrays, Readable, Spec, damaged, expect_end, read_exactly

_DTYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_STEMS = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)


def parse_idx(stream: Readable, *, where: str, max_bytes: int) -> NDArray[Any]:
    """Read one idx array from an open stream that holds nothing else.

    Args:
        stream: binary file - positioned at the magic number.
        where: str - the file's name, for errors.
        max_bytes: int, bytes - refuse a header that announces more data than this.

    Returns:
        Array of the announced shape (every dimension at least 1), in the machine's byte order.

    Raises:
        FormatError: wrong magic, unknown type code, a zero dimension, too large, truncated, or trailing bytes.

    Cost: O(size) time; one copy of the data, two for types wider than a byte.

    Source: the idx format, http://yann.lecun.com/exdb/mnist/ ("The IDX file format").

    Example:
        >>> import io
        >>> parse_idx(io.BytesIO(bytes([0, 0, 8, 1, 0, 0, 0, 3, 7, 8, 9])), where="demo", max_bytes=100)
        array([7, 8, 9], dtype=uint8)
    """
    magic = read_exactly(stream, 4, where)
    if magic[:2] != b"\0\0" or magic[2] not in _DTYPES or magic[3] == 0:
        raise damaged(where, "an idx magic number (0, 0, type code, number of dimensions)", magic.hex(" "))
    dtype, n_dims = np.dtype(_DTYPES[magic[2]]), magic[3]
    header = read_exactly(stream, 4 * n_dims, where)
    shape = tuple(int.from_bytes(header[at : at + 4], "big") for at in range(0, 4 * n_dims, 4))
    n_bytes = math.prod(shape) * dtype.itemsize
    if not 0 < n_bytes <= max_bytes or n_dims > 32:
        raise damaged(where, f"between 1 and {max_bytes} bytes in at most 32 dimensions", f"shape {shape}")
    values = np.frombuffer(read_exactly(stream, n_bytes, where), dtype)
    expect_end(stream, where)
    return values.astype(dtype.newbyteorder("="), copy=False).reshape(shape)


def read_idx(path: str | Path, *, max_bytes: int) -> NDArray[Any]:
    """Read an idx file; a name that ends in ``.gz`` is decompressed, never beyond what its header announces.

    Args:
        path: str or Path - the file.
        max_bytes: int, bytes - refuse a header that announces more data than this.

    Returns:
        Array of the announced shape, in the machine's byte order.

    Raises:
        FormatError: as `parse_idx`, or a damaged gzip stream.

    Cost: O(size) time, and one copy of the data.

    Example:
        >>> import pathlib, tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = pathlib.Path(folder, "labels")
        ...     _ = path.write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 2, 4, 5]))
        ...     read_idx(path, max_bytes=100)
        array([4, 5], dtype=uint8)
    """
    path = Path(path)
    with path.open("rb") as raw:
        if path.suffix != ".gz":
            return parse_idx(raw, where=str(path), max_bytes=max_bytes)
        try:
            with gzip.GzipFile(fileobj=raw) as stream:
                return parse_idx(stream, where=str(path), max_bytes=max_bytes)
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise damaged(str(path), "a whole gzip stream", str(error)) from error


@dataclass(frozen=True)
class Idx:
    """Four idx files in a folder named like the data set (or its subfolder ``raw``).

    The folder's name matters because MNIST and its relatives all use the same four file names.

    Example:
        >>> Idx().find(Path("/nonexistent/mnist"), "mnist")
        ()
    """

    def wants(self, name: str) -> str:
        """Say which files would be taken."""
        return f"{name}/{{train,t10k}}-{{images-idx3,labels-idx1}}-ubyte[.gz]"

    def find(self, folder: Path, name: str) -> tuple[Path, ...]:
        """Return the four files, gzipped or not, or nothing."""
        for home in _homes(folder, name):
            found = [_first_file(home / stem, home / f"{stem}.gz") for stem in _STEMS]
            files = tuple(path for path in found if path is not None)
            if len(files) == len(_STEMS):
                return files
        return ()

    def read(self, files: tuple[Path, ...], spec: Spec) -> Arrays:
        """Read the four files."""
        x_train, y_train, x_test, y_test = (read_idx(path, max_bytes=spec.max_bytes) for path in files)
        return Arrays(x_train, y_train, x_test, y_test)


def _plain(name: str) -> str:
    return "".join(letter for letter in name.lower() if letter.isalnum())


def _homes(folder: Path, name: str) -> list[Path]:
    inside = sorted(folder.iterdir()) if folder.is_dir() else []
    named = [path for path in (folder, *inside) if _plain(path.name) == _plain(name) and path.is_dir()]
    return [home for path in named for home in (path, path / "raw")]


def _first_file(*paths: Path) -> Path | None:
    return next((path for path in paths if path.is_file()), None)
