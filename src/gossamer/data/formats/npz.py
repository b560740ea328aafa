"""NumPy's .npz archives, read without pickle and never beyond the sizes they declare."""

from __future__ import annotations

import math
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from gossamer.data.formats.base import Arrays, Spec, damaged
from gossamer.errors import FormatError

_HEADER_BYTES = 4096
_MALFORMED = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    tokenize.TokenError,
    ValueError,
    TypeError,
    SyntaxError,
    RecursionError,
    OverflowError,
    MemoryError,
    EOFError,
    OSError,
    NotImplementedError,  # what zipfile raises for a compression method or version it does not know
)


def read_npz(path: str | Path, names: Sequence[str], *, max_bytes: int) -> dict[str, NDArray[Any]]:
    """Read integer arrays from an .npz file, refusing pickles, zip bombs and headers that do not match their data.

    Args:
        path: str or Path - the file.
        names: sequence of str - the arrays to read; others in the file are left alone.
        max_bytes: int, bytes - the most that the arrays together may declare.

    Returns:
        dict, name to array - of the shape and integer dtype the file declares.

    Raises:
        FormatError: not a zip file, an array is missing, too large, not of integers, truncated, or altered.

    Cost: O(max_bytes) time and memory at most; declared sizes are checked before anything is decompressed.

    Source: the npy format, https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html.

    Example:
        >>> import pathlib, tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = pathlib.Path(folder, "demo.npz")
        ...     np.savez(path, y=np.arange(3, dtype=np.uint8))
        ...     read_npz(path, ["y"], max_bytes=100)
        {'y': array([0, 1, 2], dtype=uint8)}
    """
    with Path(path).open("rb") as raw:
        try:
            with zipfile.ZipFile(raw) as archive:
                return _read_members(archive, names, max_bytes, str(path))
        except FormatError:
            raise
        except _MALFORMED as error:
            got = f"{type(error).__name__}: {error}"
            raise damaged(str(path), "a sound .npz file of plain arrays", got) from error


def _read_members(
    archive: zipfile.ZipFile, names: Sequence[str], max_bytes: int, where: str
) -> dict[str, NDArray[Any]]:
    members = [_member(archive, name, where) for name in names]
    declared = sum(member.file_size for member in members)
    if declared > max_bytes + _HEADER_BYTES * len(members):
        raise damaged(where, f"at most {max_bytes} bytes of arrays", f"{declared} bytes declared")
    return {name: _read_member(archive, member, where) for name, member in zip(names, members, strict=True)}


def _member(archive: zipfile.ZipFile, name: str, where: str) -> zipfile.ZipInfo:
    found = [entry for entry in archive.infolist() if entry.filename == f"{name}.npy"]
    if len(found) != 1:
        present = ", ".join(entry.filename for entry in archive.infolist()[:8]) or "nothing"
        raise damaged(where, f"one array {name}", f"{len(found)} of that name among {present}")
    if found[0].flag_bits & 1:
        raise damaged(where, f"array {name} not to be encrypted", "an encrypted one")
    if found[0].compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise damaged(
            where, "members stored or deflated, as NumPy writes them", f"method {found[0].compress_type}"
        )
    return found[0]


def _read_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo, path: str) -> NDArray[Any]:
    where = f"{path}, array {member.filename.removesuffix('.npy')}"
    with archive.open(member) as stream:
        shape, fortran, dtype = _read_header(stream, where)
        if dtype.kind not in "iu":
            raise damaged(
                where, "integers", f"dtype {dtype}", "store samples as uint8 and labels as integers"
            )
        n_bytes, left = math.prod(shape) * dtype.itemsize, member.file_size - stream.tell()
        if min(shape, default=1) < 1 or n_bytes != left:
            raise damaged(where, f"a header that accounts for {left} bytes", f"shape {shape} of {dtype}")
        values = np.frombuffer(bytearray(stream.read()), dtype)
        if values.nbytes != n_bytes:
            raise damaged(where, f"{n_bytes} bytes", f"{values.nbytes} bytes")
    return np.ascontiguousarray(values.reshape(shape, order="F" if fortran else "C"))


def _read_header(stream: IO[bytes], where: str) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    version = np.lib.format.read_magic(stream)
    if version == (1, 0):
        return np.lib.format.read_array_header_1_0(stream, max_header_size=_HEADER_BYTES)
    if version == (2, 0):
        return np.lib.format.read_array_header_2_0(stream, max_header_size=_HEADER_BYTES)
    raise damaged(where, "npy format 1.0 or 2.0", f"version {version}")


@dataclass(frozen=True)
class Npz:
    """One file ``<name>.npz`` with the arrays x_train, y_train, x_test, y_test.

    Example:
        >>> Npz().wants("fashion-mnist")
        'fashion-mnist.npz'
    """

    def wants(self, name: str) -> str:
        """Say which file would be taken."""
        return f"{name}.npz"

    def find(self, folder: Path, name: str) -> tuple[Path, ...]:
        """Return the file, also under its name with underscores for hyphens, or nothing."""
        tried = (folder / f"{name}.npz", folder / f"{name.replace('-', '_')}.npz")
        return tuple(path for path in tried if path.is_file())[:1]

    def read(self, files: tuple[Path, ...], spec: Spec) -> Arrays:
        """Read the four arrays."""
        return Arrays(**read_npz(files[0], Arrays._fields, max_bytes=spec.max_bytes))
