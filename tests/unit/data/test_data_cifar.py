"""The CIFAR binary reader: channel order, sizes, and the archive behind its checksum."""

from __future__ import annotations

import hashlib
import tarfile
from pathlib import Path

import numpy as np
import pytest

from gossamer.data import Spec
from gossamer.data.formats import CifarArchive, CifarBinary
from gossamer.errors import FormatError

SPEC = Spec(n_train=10, n_test=3, shape=(2, 2, 3), n_classes=10)
BATCHES = [f"data_batch_{number}.bin" for number in range(1, 6)]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Write the six files: image i, channel c, pixel p has the value 20 i + 4 c + p."""
    folder = tmp_path / "cifar-10-batches-bin"
    folder.mkdir()
    records = [bytes([i % 10]) + bytes(20 * i % 240 + at for at in range(12)) for i in range(13)]
    for number, name in enumerate(BATCHES):
        (folder / name).write_bytes(b"".join(records[2 * number : 2 * number + 2]))
    (folder / "test_batch.bin").write_bytes(b"".join(records[10:]))
    return folder


def test_channels_move_last(home: Path) -> None:
    binary = CifarBinary()
    arrays = binary.read(binary.find(home.parent, "cifar10"), SPEC)
    assert arrays.x_train.shape == (10, 2, 2, 3)
    assert arrays.x_train[1].tolist() == [[[20, 24, 28], [21, 25, 29]], [[22, 26, 30], [23, 27, 31]]]
    assert arrays.y_train.tolist() == list(range(10))
    assert arrays.y_test.tolist() == [0, 1, 2]


def test_the_folder_itself_may_be_named(home: Path) -> None:
    assert CifarBinary().find(home, "cifar10") == CifarBinary().find(home.parent, "cifar10")


@pytest.mark.parametrize(
    ("change", "expected"), [(b"", "25 bytes|26 bytes"), (b"ab", "to end after its data")]
)
def test_a_batch_of_the_wrong_size_is_refused(home: Path, change: bytes, expected: str) -> None:
    path = home / "data_batch_3.bin"
    path.write_bytes(path.read_bytes() + change if change else path.read_bytes()[:-1])
    with pytest.raises(FormatError, match=rf"data_batch_3\.bin: expected .*({expected})"):
        CifarBinary().read(CifarBinary().find(home.parent, "cifar10"), SPEC)


def test_a_missing_batch_means_not_here(home: Path) -> None:
    (home / "data_batch_4.bin").unlink()
    assert CifarBinary().find(home.parent, "cifar10") == ()


def test_the_pickled_version_is_not_touched(tmp_path: Path) -> None:
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    (folder / "data_batch_1").write_bytes(b"cos\nabort\n(tR.")
    assert CifarBinary().find(tmp_path, "cifar10") == ()


def test_an_archive_is_read_only_with_its_checksum(home: Path) -> None:
    path = home.parent / "cifar-10-binary.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        archive.add(home, arcname="cifar-10-batches-bin")
    sound = CifarArchive(sha256=hashlib.sha256(path.read_bytes()).hexdigest())
    arrays = sound.read(sound.find(home.parent, "cifar10"), SPEC)
    unpacked = CifarBinary().read(CifarBinary().find(home.parent, "cifar10"), SPEC)
    assert all(np.array_equal(a, b) for a, b in zip(arrays, unpacked, strict=True))
    with pytest.raises(FormatError, match="expected sha256 0000"):
        CifarArchive(sha256="0" * 64).read((path,), SPEC)
