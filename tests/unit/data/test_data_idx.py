"""The idx reader: every array survives, every broken file is refused by name."""

from __future__ import annotations

import gzip
import io
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

from gossamer.data.formats import parse_idx, read_idx
from gossamer.errors import FormatError

DTYPES = st.sampled_from([np.dtype(name) for name in ("u1", "i1", "i2", "i4", "f4", "f8")])
ARRAYS = DTYPES.flatmap(lambda dtype: arrays_of.arrays(dtype, arrays_of.array_shapes(max_dims=4, max_side=5)))


def as_idx(array: np.ndarray) -> bytes:
    code = {"u1": 0x08, "i1": 0x09, "i2": 0x0B, "i4": 0x0C, "f4": 0x0D, "f8": 0x0E}[array.dtype.str[1:]]
    sizes = b"".join(int(size).to_bytes(4, "big") for size in array.shape)
    return bytes([0, 0, code, array.ndim]) + sizes + array.astype(array.dtype.newbyteorder(">")).tobytes()


def parse(raw: bytes, max_bytes: int = 1 << 20) -> np.ndarray:
    return parse_idx(io.BytesIO(raw), where="the file", max_bytes=max_bytes)


@given(ARRAYS)
def test_what_is_written_is_read(array: np.ndarray) -> None:
    read = parse(as_idx(array))
    assert read.dtype == array.dtype
    assert read.shape == array.shape
    assert read.tobytes() == array.tobytes()


@given(ARRAYS, st.data())
def test_every_truncation_is_refused(array: np.ndarray, data: st.DataObject) -> None:
    raw = as_idx(array)
    with pytest.raises(FormatError, match="the file"):
        parse(raw[: data.draw(st.integers(0, len(raw) - 1))])


@given(st.binary(max_size=64))
def test_noise_is_refused_or_read_within_bounds(raw: bytes) -> None:
    try:
        array = parse(raw, max_bytes=64)
    except FormatError:
        return
    assert 0 < array.nbytes <= len(raw)


@given(st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=255), st.sampled_from([0x08, 0x0E]))
def test_huge_sizes_reserve_nothing(sizes: list[int], code: int) -> None:
    raw = bytes([0, 0, code, len(sizes)]) + b"".join(size.to_bytes(4, "big") for size in sizes)
    with pytest.raises(FormatError):
        parse(raw)


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"", "4 bytes"),
        (b"\1\0\x08\1\0\0\0\1\0", "magic"),
        (b"\0\0\x0a\1\0\0\0\1\0", "magic"),
        (b"\0\0\x08\0\0", "magic"),
        (b"\0\0\x08\1\0\0\0\0", "between 1 and"),
        (b"\0\0\x08\1\0\0\0\2\7", "2 bytes"),
        (b"\0\0\x08\1\0\0\0\1\7\7", "to end after its data"),
    ],
)
def test_each_defect_has_its_sentence(raw: bytes, expected: str) -> None:
    with pytest.raises(FormatError, match=expected):
        parse(raw)


def test_a_gzip_bomb_is_not_unpacked(tmp_path: Path) -> None:
    bomb = tmp_path / "bomb.gz"
    header = bytes([0, 0, 8, 1]) + (10).to_bytes(4, "big")
    with gzip.open(bomb, "wb") as stream:
        stream.write(header)
        for _ in range(64):
            stream.write(bytes(1 << 20))
    tracemalloc.start()
    with pytest.raises(FormatError, match="to end after its data"):
        read_idx(bomb, max_bytes=1000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 << 20


@pytest.mark.parametrize("cut", [0, 5, 20, -9, -4])
def test_a_truncated_gzip_file_is_refused(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "cut.gz"
    path.write_bytes(gzip.compress(as_idx(np.arange(200, dtype=np.uint8)))[:cut])
    with pytest.raises(FormatError, match=r"cut\.gz"):
        read_idx(path, max_bytes=1000)


@given(st.integers(0, 10_000), st.integers(1, 255))
def test_a_flipped_gzip_byte_never_escapes_as_another_error(at: int, flip: int) -> None:
    import tempfile

    raw = bytearray(gzip.compress(as_idx(np.arange(200, dtype=np.uint8)), mtime=0))
    raw[at % len(raw)] ^= flip
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "flipped.gz")
        path.write_bytes(raw)
        try:
            read = read_idx(path, max_bytes=1000)
        except FormatError:
            return
    assert read.tolist() == list(range(200)), "only a byte of the gzip header that means nothing may change"
