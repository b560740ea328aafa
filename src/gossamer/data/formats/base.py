"""What every reader shares: the arrays it returns, the sizes it may read, and bounded reading."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from gossamer.errors import ConfigError, FormatError

CHUNK = 1 << 20
FETCH_AGAIN = "the file is damaged or is not what its name says; delete it and fetch it again"


class Arrays(NamedTuple):
    """The four arrays of a labelled data set, as a file holds them."""

    x_train: NDArray[Any]
    y_train: NDArray[Any]
    x_test: NDArray[Any]
    y_test: NDArray[Any]


@dataclass(frozen=True)
class Spec:
    """The sizes a data set must have; a reader refuses a file before it reads more than these allow.

    Args:
        n_train: int - number of training samples.
        n_test: int - number of test samples.
        shape: tuple of int - shape of one sample as stored: ``(h, w)``, or ``(h, w, c)`` with channels last.
        n_classes: int - labels lie in ``0 .. n_classes - 1``; at most 256, as labels are kept in a byte.

    Raises:
        ConfigError: a size below 1, too many classes, or a shape that is not an image's.

    Example:
        >>> Spec(n_train=60000, n_test=10000, shape=(28, 28), n_classes=10).max_bytes
        55440000
    """

    n_train: int
    n_test: int
    shape: tuple[int, ...]
    n_classes: int

    def __post_init__(self) -> None:
        sizes = (self.n_train, self.n_test, self.n_classes, *self.shape)
        if min(sizes) < 1 or self.n_classes > 256 or len(self.shape) not in (2, 3):
            expected = "sizes of 1 or more, at most 256 classes, a shape (h, w) or (h, w, c)"
            raise ConfigError("Spec", expected=expected, got=str(self))

    @property
    def max_bytes(self) -> int:
        """int, bytes - the most that all arrays together may take (uint8 samples, labels of up to 8 bytes)."""
        return (self.n_train + self.n_test) * (math.prod(self.shape) + 8)


class Readable(Protocol):
    """Anything bytes can be read from: a file, a decompressor, a member of an archive."""

    def read(self, size: int, /) -> bytes:
        """Return up to `size` bytes; none at the end."""


class Format(Protocol):
    """One way in which a folder can hold a data set."""

    def wants(self, name: str) -> str:
        """Say, for an error message, which files would be taken."""

    def find(self, folder: Path, name: str) -> tuple[Path, ...]:
        """Return the files of data set `name` in `folder`; empty if one is missing."""

    def read(self, files: tuple[Path, ...], spec: Spec) -> Arrays:
        """Read what `find` returned; raise FormatError for anything malformed."""


def damaged(where: str, expected: str, got: str, hint: str = FETCH_AGAIN) -> FormatError:
    """Make the FormatError for one file.

    Args:
        where: str - the file, and the array in it if there are several.
        expected: str - what a sound file would hold.
        got: str - what was found.
        hint: str - what to do about it.

    Returns:
        FormatError - to be raised by the caller.

    Example:
        >>> str(damaged("a.npz", "5 bytes", "4 bytes", "fetch it again"))
        'reading a.npz: expected 5 bytes, got 4 bytes; fetch it again'
    """
    return FormatError(f"reading {where}", expected=expected, got=got, hint=hint)


def read_exactly(stream: Readable, n_bytes: int, where: str) -> bytearray:
    """Read exactly `n_bytes`, in pieces, so that a lying header cannot reserve memory ahead of its data.

    Args:
        stream: binary file - where to read from.
        n_bytes: int, bytes - how many.
        where: str - the file's name, for the error.

    Returns:
        bytearray of `n_bytes` bytes.

    Raises:
        FormatError: the stream ended early.

    Cost: O(n_bytes) time; memory grows with what was really read.

    Example:
        >>> import io
        >>> read_exactly(io.BytesIO(b"abcd"), 3, "demo")
        bytearray(b'abc')
    """
    data = bytearray()
    while len(data) < n_bytes:
        piece = stream.read(min(CHUNK, n_bytes - len(data)))
        if not piece:
            raise damaged(where, f"{n_bytes} bytes", f"the end of the file after {len(data)} bytes")
        data += piece
    return data


def expect_end(stream: Readable, where: str) -> None:
    """Refuse bytes after the data (and make a decompressor check its own trailing checksum).

    Args:
        stream: binary file - read up to where its data should end.
        where: str - the file's name, for the error.

    Raises:
        FormatError: something follows.

    Example:
        >>> import io
        >>> expect_end(io.BytesIO(b""), "demo")
    """
    if stream.read(1):
        raise damaged(where, "the file to end after its data", "more bytes")


def sha256_of_file(path: str | Path) -> str:
    """Return the SHA-256 of a file.

    Args:
        path: str or Path - the file.

    Returns:
        str of 64 hex digits.

    Cost: O(size) time, constant memory.

    Example:
        >>> import os
        >>> sha256_of_file(os.devnull)[:16]
        'e3b0c44298fc1c14'
    """
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def frozen(array: NDArray[Any]) -> NDArray[Any]:
    """Return a read-only, C-contiguous view (or copy, if the memory is ordered otherwise).

    Args:
        array: any shape, any dtype.

    Returns:
        The same values, not writeable.

    Example:
        >>> frozen(np.zeros(2)).flags.writeable
        False
    """
    view: NDArray[Any] = np.ascontiguousarray(array).view()
    view.flags.writeable = False
    return view
