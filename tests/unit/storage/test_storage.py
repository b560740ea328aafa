"""Files that a crash leaves whole and that a hostile author cannot use."""

from __future__ import annotations

import json
import os
import struct
from typing import TYPE_CHECKING

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from gossamer import storage
from gossamer.errors import FormatError

if TYPE_CHECKING:
    from pathlib import Path

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
    """The usual error of Python; a folder is no file."""
    for path in (tmp_path / "nothing", tmp_path):
        with pytest.raises(FileNotFoundError, match=path.name):
            storage.read(path, "thing", (1,))


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
