"""Tables of a FlatBuffers file, read where they are; every offset and length is checked before it is followed."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from gossamer.errors import FormatError, MissingPackage
from gossamer.layouts.arrays import Array

T = TypeVar("T")
WORD = 4  # bytes of an offset


def root(data: bytes) -> Record:
    """The table that a file begins with; raises FormatError, MissingPackage.

    Args:
        data: bytes - of the whole file.
    """
    return Record(_table()(data, 0)).followed(0)


def nothing() -> Record:
    """A table without fields."""
    return root(struct.pack("<IHHi", 8, 4, 4, 4))


def _table() -> Any:
    try:
        from flatbuffers.table import Table
    except ModuleNotFoundError:
        hint = "pip install 'gossamer[convert]'"
        raise MissingPackage(
            "read TFLite", expected="the package flatbuffers", got="none", hint=hint
        ) from None
    return Table


class Record:
    """One table, whose fields are known by number. A field that is not there is None, empty, or the default.

    Args:
        table: flatbuffers.table.Table.
    """

    def __init__(self, table: Any) -> None:
        self.table, self.data = table, table.Bytes

    def number(self, field: int, kind: str, default: float = 0) -> int:
        """A number of a NumPy type such as "int32"."""

        def get(at: int) -> int:
            return int(np.frombuffer(self.data, np.dtype(kind).newbyteorder("<"), 1, at)[0])

        return self._field(field, get, int(default))

    def real(self, field: int) -> float:
        """A number of float32; 0.0 by default."""
        return self._field(field, lambda at: float(np.frombuffer(self.data, "<f4", 1, at)[0]), 0.0)

    def record(self, field: int) -> Record | None:
        """A table in a field."""
        return self._field(field, self.followed, None)

    def numbers(self, field: int, kind: str) -> Array:
        """A vector of numbers, not copied."""
        dtype = np.dtype(kind).newbyteorder("<")

        def get(at: int) -> Array:
            start, length = self._vector(at, dtype.itemsize)
            return np.frombuffer(self.data, dtype, length, start)

        return self._field(field, get, np.empty(0, dtype))

    def records(self, field: int) -> list[Record]:
        """A vector of tables."""

        def get(at: int) -> list[Record]:
            start, length = self._vector(at, WORD)
            return [self.followed(start + WORD * number) for number in range(length)]

        return self._field(field, get, [])

    def text(self, field: int) -> str:
        """A string, of 200 characters at most."""
        return self.numbers(field, "uint8").tobytes().decode("utf-8", "replace")[:200]

    def followed(self, at: int) -> Record:
        """The table that an offset at a place leads to."""
        return _checked(
            lambda: Record(type(self.table)(self.data, _inside(self.data, self.table.Indirect(at))))
        )

    def _vector(self, at: int, item: int) -> tuple[int, int]:
        """First byte and length of a vector, which lies in the file whole."""
        start = _inside(self.data, self.table.Indirect(at))
        length = int(np.frombuffer(self.data, "<u4", 1, start)[0])
        if start + WORD + length * item > len(self.data):
            raise ValueError(f"a vector of {length} items of {item} bytes")
        return start + WORD, length

    def _field(self, field: int, get: Callable[[int], T], default: T) -> T:
        def read() -> T:
            offset = self.table.Offset(WORD + 2 * field)
            return get(_inside(self.data, self.table.Pos + offset)) if offset else default

        return _checked(read)


def _inside(data: bytes, at: int) -> int:
    """A place in a file; raises ValueError."""
    if not 0 <= at < len(data):
        raise ValueError(f"byte {at} of {len(data)}")
    return at


def _checked(read: Callable[[], T]) -> T:
    """What a read gives; raises FormatError where it would leave the file."""
    try:
        return read()
    except FormatError:
        raise
    except (struct.error, ValueError, TypeError, IndexError, OverflowError) as error:
        raise FormatError(
            "read TFLite",
            expected="offsets that stay in the file",
            got=str(error),
            hint="the file is damaged",
        ) from None
