"""The npz reader: pickles, bombs, lies and damage are refused by name."""

from __future__ import annotations

import io
import pickle
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gossamer.data.formats import read_npz
from gossamer.errors import FormatError


def npy(array: np.ndarray, **header: Any) -> bytes:
    stream = io.BytesIO()
    fields = {"descr": array.dtype.str, "fortran_order": False, "shape": array.shape} | header
    np.lib.format.write_array_header_1_0(stream, fields)
    return stream.getvalue() + array.tobytes()


def npz(path: Path, compression: int = zipfile.ZIP_STORED, **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, raw in members.items():
            archive.writestr(f"{name}.npy", raw)
    return path


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("order", ["C", "F"])
def test_what_numpy_writes_is_read(tmp_path: Path, save: Any, order: Any) -> None:
    x, y = np.asarray(np.arange(24, dtype=np.uint8).reshape(2, 3, 4), order=order), np.arange(3)
    save(tmp_path / "a.npz", x=x, y=y, unread=np.array([object()]))
    read = read_npz(tmp_path / "a.npz", ["x", "y"], max_bytes=100)
    np.testing.assert_array_equal(read["x"], x)
    np.testing.assert_array_equal(read["y"], y)
    assert read["x"].flags.c_contiguous


def test_a_pickle_is_never_run(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (tmp_path / "sprung",)

    np.savez(tmp_path / "trap.npz", y=np.array([Trap()], dtype=object))
    with pytest.raises(FormatError, match="integers, got dtype object"):
        read_npz(tmp_path / "trap.npz", ["y"], max_bytes=10_000)
    raw = npz(tmp_path / "raw.npz", y=pickle.dumps(Trap()))
    with pytest.raises(FormatError, match=r"raw\.npz"):
        read_npz(raw, ["y"], max_bytes=10_000)
    assert not (tmp_path / "sprung").exists()


def test_a_zip_bomb_is_not_unpacked(tmp_path: Path) -> None:
    bomb = npz(tmp_path / "bomb.npz", zipfile.ZIP_DEFLATED, y=npy(np.zeros(32 << 20, np.uint8)))
    tracemalloc.start()
    with pytest.raises(FormatError, match="at most 1000 bytes"):
        read_npz(bomb, ["y"], max_bytes=1000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 20


def test_a_member_longer_than_it_declares_is_cut_off(tmp_path: Path) -> None:
    path = npz(tmp_path / "liar.npz", zipfile.ZIP_DEFLATED, y=npy(np.zeros(1 << 20, np.uint8)))
    true, lie = ((1 << 20) + 128).to_bytes(4, "little"), (228).to_bytes(4, "little")
    raw = path.read_bytes()
    assert raw.count(true) == 2
    path.write_bytes(raw.replace(true, lie))
    with pytest.raises(FormatError, match=r"liar\.npz"):
        read_npz(path, ["y"], max_bytes=1000)


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ({"shape": (10**15,)}, "accounts for 5 bytes"),
        ({"shape": (2**62, 4, 5)}, "accounts for 5 bytes"),
        ({"shape": (-5,)}, "accounts for 5 bytes"),
        ({"shape": (0, 5)}, "accounts for 5 bytes"),
        ({"shape": (4,)}, "accounts for 5 bytes"),
        ({"descr": "<f4"}, "integers"),
        ({"descr": "|V5"}, "integers"),
        ({"descr": "|O"}, "integers"),
        ({"descr": "nonsense"}, "sound"),
    ],
)
def test_a_header_that_lies_is_refused(tmp_path: Path, header: dict[str, Any], expected: str) -> None:
    path = npz(tmp_path / "lie.npz", y=npy(np.zeros(5, np.uint8), **header))
    with pytest.raises(FormatError, match=expected):
        read_npz(path, ["y"], max_bytes=1000)


@pytest.mark.parametrize("text", ["(" * 3000, "[" * 900 + "]" * 900, "{'a': '''", "\0\0", "-" * 3000 + "1"])
def test_a_header_that_chokes_the_parser_is_refused(tmp_path: Path, text: str) -> None:
    raw = b"\x93NUMPY\1\0" + len(text).to_bytes(2, "little") + text.encode()
    with pytest.raises(FormatError, match=r"deep\.npz"):
        read_npz(npz(tmp_path / "deep.npz", y=raw), ["y"], max_bytes=10_000)


def test_missing_doubled_and_encrypted_members_are_refused(tmp_path: Path) -> None:
    path = npz(tmp_path / "x.npz", x=npy(np.zeros(5, np.uint8)))
    with pytest.raises(FormatError, match=r"one array y, got 0 of that name among x\.npy"):
        read_npz(path, ["y"], max_bytes=1000)
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("x.npy", npy(np.ones(5, np.uint8)))
    with pytest.raises(FormatError, match="got 2 of that name"):
        read_npz(path, ["x"], max_bytes=1000)
    locked = npz(tmp_path / "locked.npz", x=npy(np.zeros(5, np.uint8)))
    raw = bytearray(locked.read_bytes())
    raw[raw.index(b"PK\1\2") + 8] |= 1
    locked.write_bytes(raw)
    with pytest.raises(FormatError, match="encrypted"):
        read_npz(locked, ["x"], max_bytes=1000)


@pytest.mark.parametrize("raw", [b"", b"PK", b"not a zip file at all", b"PK\5\6" + bytes(18)])
def test_what_is_no_archive_is_refused(tmp_path: Path, raw: bytes) -> None:
    (tmp_path / "no.npz").write_bytes(raw)
    with pytest.raises(FormatError, match=r"no\.npz"):
        read_npz(tmp_path / "no.npz", ["x"], max_bytes=1000)


@settings(max_examples=200)
@given(st.integers(0, 100_000), st.integers(1, 255), st.booleans())
def test_a_flipped_byte_is_refused_or_harmless(at: int, flip: int, compressed: bool) -> None:
    import tempfile

    y = np.arange(100, dtype=np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        method = zipfile.ZIP_DEFLATED if compressed else zipfile.ZIP_STORED
        path = npz(Path(folder, "flip.npz"), method, y=npy(y))
        raw = bytearray(path.read_bytes())
        raw[at % len(raw)] ^= flip
        path.write_bytes(raw)
        try:
            read = read_npz(path, ["y"], max_bytes=1000)["y"]
        except FormatError:
            return
    np.testing.assert_array_equal(read, y)
