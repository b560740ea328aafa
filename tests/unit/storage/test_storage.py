"""Files that a crash leaves whole and that a hostile author cannot use."""

from __future__ import annotations

import io
import json
import os
import struct
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from gossamer import storage
from gossamer.errors import ConfigError, FormatError

DOCUMENT = {"kind": "thing", "version": 1, "note": "é"}


def write(path: Path) -> None:
    """A small sound file."""
    storage.write(path, {"a": torch.arange(6).view(2, 3), "b": torch.rand(4).to(torch.bfloat16)}, DOCUMENT)


def test_tensors_and_document_come_back(tmp_path: Path) -> None:
    """Any dtype, any strides, shared memory, empty and 0-dim tensors."""
    base = torch.arange(12.0).view(3, 4)
    tensors = {
        "strided": base.T[1:], "shared": base, "scalar": torch.tensor(3), "empty": torch.empty(0, 5),
        "narrow": torch.tensor([65_535]).to(torch.uint16), "mask": torch.tensor([True, False]),
        "half": torch.ones(3).bfloat16(), "grad": torch.ones(2, requires_grad=True),
    }  # fmt: skip
    storage.write(tmp_path / "deep" / "er" / "x", tensors, DOCUMENT)
    back, document = storage.read(tmp_path / "deep" / "er" / "x", "thing", (1,))
    assert document == DOCUMENT
    assert back.keys() == tensors.keys()
    assert all(
        torch.equal(back[k], tensors[k].detach()) and back[k].dtype == tensors[k].dtype for k in tensors
    )


def test_an_error_while_writing_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    """No half-written file, no leftover."""
    path = tmp_path / "x"
    write(path)
    old = path.read_bytes()

    def fail() -> None:
        with storage.atomic(path) as part:
            part.write_bytes(b"half")
            raise RuntimeError("in between")

    with pytest.raises(RuntimeError, match="in between"):
        fail()
    assert path.read_bytes() == old
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_is_on_disk_before_it_takes_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """fsync of the content, then the rename, then fsync of the folder: in this order."""
    events = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda fd: (events.append("fsync"), fsync(fd)))
    monkeypatch.setattr(os, "replace", lambda a, b: (events.append("replace"), replace(a, b)))
    write(tmp_path / "x")
    assert events == ["fsync", "replace", "fsync"]


def test_a_document_json_cannot_hold_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    """NaN is not JSON."""
    with pytest.raises(ValueError, match="JSON"):
        storage.write(tmp_path / "x", {}, {"a": float("nan")})
    assert list(tmp_path.iterdir()) == []


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """The usual error of Python."""
    with pytest.raises(FileNotFoundError, match="nothing"):
        storage.read(tmp_path / "nothing", "thing", (1,))


def test_what_is_no_file_is_refused_in_words(tmp_path: Path) -> None:
    """Reading and writing: no path, a stream, a folder, a device, below a file; nothing is made or replaced."""
    (tmp_path / "file").write_text("mine")
    os.mkfifo(tmp_path / "pipe")
    cases = [
        ("", "got ''"), ("a\0b", "got 'a"), (io.BytesIO(), "got BytesIO"), (3, "got int"), (None, "got NoneType"),
        (tmp_path, "got a folder"), (tmp_path / "pipe", "got a device or a pipe"), ("/dev/null", "got a device"),
    ]  # fmt: skip
    before = sorted(tmp_path.iterdir())
    for path, said in cases:
        with pytest.raises(ConfigError, match=said):
            storage.write(path, {}, DOCUMENT)
        with pytest.raises((ConfigError, FormatError), match=said):
            storage.read(path, "thing", (1,))
    with pytest.raises(ConfigError, match="to be a folder, got a file"):
        storage.write(tmp_path / "file" / "below", {}, DOCUMENT)
    assert sorted(tmp_path.iterdir()) == before
    assert Path("/dev/null").is_char_device()


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    """Its target is written, there or not yet, in another folder or not; a circle of links is an error."""
    (tmp_path / "disk").mkdir()
    for name in ("old", "new"):
        (tmp_path / name).symlink_to(tmp_path / "disk" / name)
    (tmp_path / "disk" / "old").write_text("old")
    for name in ("old", "new"):
        write(tmp_path / name)
        assert (tmp_path / name).is_symlink()
        assert storage.read(tmp_path / "disk" / name, "thing", (1,))[1] == DOCUMENT
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    with pytest.raises(OSError, match="symbolic links"):
        write(tmp_path / "a")
    assert sorted(path.name for path in (tmp_path / "disk").iterdir()) == ["new", "old"]


def test_who_may_read_a_file_stays_as_it_was(tmp_path: Path) -> None:
    """A private file stays private when it is replaced."""
    write(tmp_path / "x")
    (tmp_path / "x").chmod(0o600)
    write(tmp_path / "x")
    assert (tmp_path / "x").stat().st_mode & 0o777 == 0o600


def test_a_protected_file_is_not_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Though the folder would allow it."""
    path = tmp_path / "x"
    path.write_text("mine")
    monkeypatch.setattr(os, "access", lambda _path, mode: mode != os.W_OK)
    with pytest.raises(PermissionError, match="x'"):
        write(path)
    assert path.read_text() == "mine"


def test_a_full_disk_is_an_error_of_the_system_and_leaves_the_old_file(tmp_path: Path) -> None:
    """With its number and the name of the file, for tensors and for text; a limit on file sizes stands for the disk."""
    write(tmp_path / "net")
    old = (tmp_path / "net").read_bytes()
    script = (
        "import errno, resource, sys, torch; from gossamer import storage\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        "def tensors(): storage.write('net', {'a': torch.zeros(5000)}, {})\n"
        "def text():\n"
        "    with storage.atomic('net') as part: part.write_text('x' * 5000)\n"
        "for save in (tensors, text):\n"
        "    try: save()\n"
        "    except OSError as error: assert (error.errno, error.filename) == (errno.EFBIG, 'net'), repr(error)\n"
        "    else: sys.exit('saved')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "net").read_bytes() == old
    assert list(tmp_path.iterdir()) == [tmp_path / "net"]


def test_where_folders_cannot_be_opened_files_are_written_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on Windows, and on file systems that do not sync folders."""
    monkeypatch.delattr(os, "O_DIRECTORY")
    write(tmp_path / "x")
    monkeypatch.undo()
    opened = os.open

    def refuse(path: Path, *arguments: int, **named: int) -> int:
        if path == tmp_path:
            raise PermissionError(13, "Permission denied")
        return opened(path, *arguments, **named)

    monkeypatch.setattr(os, "open", refuse)
    write(tmp_path / "y")
    assert storage.read(tmp_path / "x", "thing", (1,))[1] == storage.read(tmp_path / "y", "thing", (1,))[1]


def test_threads_that_write_one_file_leave_a_whole_one(tmp_path: Path) -> None:
    """Each has a temporary file of its own."""
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: write(tmp_path / "x"), range(40)))
    assert storage.read(tmp_path / "x", "thing", (1,))[1] == DOCUMENT
    assert list(tmp_path.iterdir()) == [tmp_path / "x"]


@pytest.mark.parametrize("zipped", [True, False])
def test_a_checkpoint_of_torch_is_recognised(zipped: bool, tmp_path: Path) -> None:
    """As is text, which is just no safetensors file."""
    torch.save({"a": torch.zeros(3)}, tmp_path / "x", _use_new_zipfile_serialization=zipped)
    with pytest.raises(FormatError, match=r"looks like one of (torch\.save|pickle)"):
        storage.read(tmp_path / "x", "thing", (1,))
    (tmp_path / "x").write_text("root:x:0:0\n")
    with pytest.raises(FormatError, match="of another kind"):
        storage.read(tmp_path / "x", "thing", (1,))


def test_own_files_say_what_they_are(tmp_path: Path) -> None:
    """Others do not, whatever is in them."""
    write(tmp_path / "own")
    save_file({}, tmp_path / "foreign", metadata={"format": "pt"})
    save_file({}, tmp_path / "odd", metadata={"gossamer": "[]"})
    save_file({}, tmp_path / "broken", metadata={"gossamer": "["})
    (tmp_path / "text").write_text("mine")
    found = [storage.kind_of(tmp_path / name) for name in ("own", "foreign", "odd", "broken", "text")]
    assert found == ["thing", None, None, None, None]


@pytest.mark.parametrize(
    "metadata",
    [
        None, {}, {"gossamer": ""}, {"gossamer": "{"}, {"gossamer": "[]"}, {"gossamer": "3"},
        {"gossamer": "null"}, {"gossamer": "[" * 50_000}, {"gossamer": "9" * 5_000},
        {"gossamer": '{"kind": "other", "version": 1}'},
        {"gossamer": '{"kind": "thing"}'}, {"gossamer": '{"kind": "thing", "version": 2}'},
        {"gossamer": '{"kind": "thing", "version": "1"}'}, {"gossamer": '{"kind": "thing", "version": [1]}'},
        {"gossamer": '{"kind": ["thing"], "version": 1}'},
    ],
    ids=lambda m: str(m)[:50],
)  # fmt: skip
def test_foreign_metadata_is_refused(metadata: dict | None, tmp_path: Path) -> None:
    """Missing, malformed, endless, of another kind or of a version from the future."""
    save_file({"a": torch.zeros(1)}, tmp_path / "x", metadata=metadata)
    with pytest.raises(FormatError):
        storage.read(tmp_path / "x", "thing", (1,))


def test_a_version_from_the_future_says_upgrade(tmp_path: Path) -> None:
    """Not just "invalid"."""
    save_file({}, tmp_path / "x", metadata={"gossamer": json.dumps({"kind": "thing", "version": 7})})
    with pytest.raises(FormatError, match=r"version 1 or 2.*version 7.*upgrade"):
        storage.read(tmp_path / "x", "thing", (1, 2))


def test_every_truncation_is_refused(tmp_path: Path) -> None:
    """Cut at every byte."""
    path = tmp_path / "x"
    write(path)
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(FormatError):
            storage.read(path, "thing", (1,))


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(spot=st.floats(0, 1, exclude_max=True), byte=st.integers(0, 255))
def test_a_flipped_byte_is_refused_or_harmless(tmp_path: Path, spot: float, byte: int) -> None:
    """Anywhere in the file: an error of ours, or tensors of some shape; never a crash or another error."""
    path = tmp_path / "x"
    write(path)
    data = bytearray(path.read_bytes())
    data[int(spot * len(data))] = byte
    path.write_bytes(bytes(data))
    try:
        tensors, document = storage.read(path, "thing", (1,))
    except FormatError:
        return
    assert document["kind"] == "thing"
    assert all(isinstance(tensor, torch.Tensor) for tensor in tensors.values())


@pytest.mark.parametrize(
    "header",
    [
        {"a": {"dtype": "F32", "shape": [1 << 60], "data_offsets": [0, 4]}},
        {"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 1 << 60]}},
        {"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 0]}},
        {"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}},
        {"a": {"dtype": "X99", "shape": [1], "data_offsets": [0, 4]}},
        {"a": {"dtype": "F8_E8M0", "shape": [4], "data_offsets": [0, 4]}},
        {"a": {"dtype": "F4", "shape": [8], "data_offsets": [0, 4]}},
        {"a": {"dtype": "C64", "shape": [], "data_offsets": [0, 4]}},
        {"a": 3},
    ],
    ids=str,
)
def test_hostile_headers_are_refused_or_harmless(header: dict, tmp_path: Path) -> None:
    """Sizes that overflow, offsets out of the file, dtypes nobody knows."""
    text = json.dumps({"__metadata__": {"gossamer": json.dumps(DOCUMENT)}, **header}).encode()
    (tmp_path / "x").write_bytes(struct.pack("<Q", len(text)) + text + b"\0" * 4)
    try:
        tensors, _ = storage.read(tmp_path / "x", "thing", (1,))
    except FormatError:
        return
    assert all(tensor.numel() * tensor.element_size() <= 4 for tensor in tensors.values())
