"""Where data sets are looked for, in which order, and what is said when there is none."""

from __future__ import annotations

import dataclasses
import gzip
import os
from pathlib import Path

import numpy as np
import pytest

from gossamer import data
from gossamer.errors import ConfigError, DataError, FormatError


def save(folder: Path, arrays: data.Arrays, **changes: np.ndarray) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "toy-set.npz"
    np.savez(path, **(arrays._asdict() | changes))
    return path


def test_root_comes_before_the_environment(
    toy: data.Recipe, arrays: data.Arrays, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(tmp_path / "first", arrays)
    save(tmp_path / "second", arrays)
    monkeypatch.setenv("GOSSAMER_DATA", os.pathsep.join([str(tmp_path / "none"), str(tmp_path / "second")]))
    assert data.load("toy-set", root=tmp_path / "first").provenance.kind == "root"
    found = data.load("toy-set")
    assert found.provenance.kind == "GOSSAMER_DATA"
    assert found.provenance.location == str(tmp_path / "second" / "toy-set.npz")
    assert not found.provenance.verified
    np.testing.assert_array_equal(found.x_test, arrays.x_test)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("folder_name", ["toy-set", "ToySet", "toy_set/raw"])
def test_idx_files_give_the_same_as_npz(
    toy: data.Recipe, arrays: data.Arrays, idx_folder: Path, tmp_path: Path, packed: bool, folder_name: str
) -> None:
    home = tmp_path / "elsewhere" / folder_name
    home.mkdir(parents=True)
    for file in (idx_folder / "toy-set").iterdir():
        raw = file.read_bytes()
        (home / f"{file.name}.gz").write_bytes(gzip.compress(raw)) if packed else (
            home / file.name
        ).write_bytes(raw)
    from_idx = data.load("toy-set", root=tmp_path / "elsewhere")
    from_npz = data.load("toy-set", root=save(tmp_path / "npz", arrays).parent)
    assert from_idx.provenance.sha256 == from_npz.provenance.sha256


def test_idx_files_of_another_data_set_are_left_alone(toy: data.Recipe, idx_folder: Path) -> None:
    (idx_folder / "toy-set").rename(idx_folder / "other-set")
    with pytest.raises(DataError, match="loading toy-set"):
        data.load("toy-set", root=idx_folder, download=False)


def test_a_failure_lists_every_place(
    toy: data.Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.setenv("GOSSAMER_DATA", f"{tmp_path / 'gone'}{os.pathsep}{tmp_path / 'here'}")
    with pytest.raises(DataError) as raised:
        data.load("toy-set", root=tmp_path)
    message = str(raised.value)
    for part in (
        "root",
        "gone (no such folder)",
        "here (toy-set.npz, toy-set/{train",
        "cache",
        "no download",
        "root=",
    ):
        assert part in message


def test_a_root_that_is_not_there_is_an_error(toy: data.Recipe, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="root to be a folder"):
        data.load("toy-set", root=tmp_path / "typo")


def test_a_damaged_file_is_an_error_not_a_reason_to_look_elsewhere(
    toy: data.Recipe, arrays: data.Arrays, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(tmp_path / "good", arrays)
    (tmp_path / "toy-set.npz").write_bytes(b"junk")
    monkeypatch.setenv("GOSSAMER_DATA", str(tmp_path / "good"))
    with pytest.raises(FormatError, match=r"toy-set\.npz"):
        data.load("toy-set", root=tmp_path)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"x_train": np.zeros((6, 4, 5), np.int16)}, "x_train: expected uint8"),
        ({"x_train": np.zeros((5, 4, 5), np.uint8)}, "x_train: expected uint8 of shape"),
        ({"x_test": np.zeros((3, 20), np.uint8)}, "x_test: expected uint8 of shape"),
        ({"y_train": np.zeros(5, np.uint8)}, "y_train: expected 6 integer labels"),
        ({"y_train": np.zeros((6, 1), np.uint8)}, "y_train: expected 6 integer labels"),
        ({"y_test": np.zeros(3)}, "y_test: expected integers"),
        ({"y_test": np.array([0, 1, 3])}, "labels 0 to 2, got labels 0 to 3"),
        ({"y_test": np.array([0, 1, -1])}, "labels 0 to 2, got labels -1 to 1"),
        ({"y_test": np.array([0, 1, 256])}, "got labels 0 to 256"),
        ({"x_train": np.zeros((60, 40, 50), np.uint8)}, "at most"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(
    toy: data.Recipe, arrays: data.Arrays, tmp_path: Path, changes: dict[str, np.ndarray], expected: str
) -> None:
    save(tmp_path, arrays, **changes)
    with pytest.raises(FormatError, match=expected):
        data.load("toy-set", root=tmp_path)


def test_the_published_content_is_the_only_one_taken(alone: None, tmp_path: Path) -> None:
    blank = np.zeros((60000, 28, 28), np.uint8)
    labels = np.zeros(60000, np.uint8)
    np.savez(
        tmp_path / "mnist.npz", x_train=blank, y_train=labels, x_test=blank[:10000], y_test=labels[:10000]
    )
    with pytest.raises(DataError, match="published data set"):
        data.load("mnist", root=tmp_path, download=False)


def test_cifar10_is_never_the_small_one(alone: None, tmp_path: Path) -> None:
    x, y = np.zeros((5000, 32, 32, 3), np.uint8), np.zeros(5000, np.uint8)
    np.savez(tmp_path / "cifar10-small.npz", x_train=x, y_train=y, x_test=x[:1000], y_test=y[:1000])
    assert data.load("cifar10-small", root=tmp_path).shape == (32, 32, 3)
    with pytest.raises(DataError, match="loading cifar10"):
        data.load("cifar10", root=tmp_path, download=False)


def test_best_available_falls_back_to_digits_without_a_network(
    alone: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gossamer.data.search.fetch", lambda *_: pytest.fail("touched the network"))
    monkeypatch.setattr(Path, "is_dir", lambda _: False)
    assert data.best_available().name == "digits"


def test_names_are_unique_and_unknown_ones_are_answered_with_the_list(toy: data.Recipe) -> None:
    assert {"mnist", "fashion-mnist", "cifar10", "cifar10-small", "digits", "toy-set"} <= set(data.names())
    with pytest.raises(
        ConfigError, match="register data set: expected a name that is not taken, got 'toy-set'"
    ):
        data.register(lambda: toy)
    with pytest.raises(ConfigError, match="one of cifar10, cifar10-small, digits"):
        data.load("imagenet")


@pytest.mark.parametrize(
    ("name", "better"),
    [
        ("Toy", "toy"),
        ("toy_set_2", "toy-set-2"),
        ("toy set", "toy-set"),
        ("toy--set", "toy-set"),
        ("-toy", "toy"),
    ],
)
def test_names_are_spelt_one_way(toy: data.Recipe, name: str, better: str) -> None:
    """Small letters and digits, hyphens between words; and nothing is registered else."""
    with pytest.raises(ConfigError, match=f"call it '{better}'"):
        data.register(lambda: dataclasses.replace(toy, name=name))
    assert name not in data.names()


def test_other_spellings_are_answered_and_not_taken() -> None:
    """A data set has one name, in files and on the command line too."""
    for name, meant in (("fashion_mnist", "fashion-mnist"), ("MNIST", "mnist"), ("cifar-10", "cifar10")):
        with pytest.raises(ConfigError, match=f"did you mean '{meant}'"):
            data.load(name)


def test_a_file_may_have_underscores_for_hyphens(alone: None, tmp_path: Path) -> None:
    x, y = np.zeros((5000, 32, 32, 3), np.uint8), np.zeros(5000, np.uint8)
    np.savez(tmp_path / "cifar10_small.npz", x_train=x, y_train=y, x_test=x[:1000], y_test=y[:1000])
    assert data.load("cifar10-small", root=tmp_path).name == "cifar10-small"


def test_a_recipe_is_checked() -> None:
    for wrong in ({"n_test": 0}, {"shape": (3,)}, {"shape": (3, 0)}, {"n_classes": 257}):
        with pytest.raises(ConfigError, match="Spec"):
            data.Spec(**({"n_train": 1, "n_test": 1, "shape": (1, 1), "n_classes": 2} | wrong))
    spec = data.Spec(n_train=1, n_test=1, shape=(1, 1), n_classes=2)
    with pytest.raises(ConfigError, match="2 class names"):
        data.Recipe(name="odd", spec=spec, classes=("one",), licence="")
    with pytest.raises(ConfigError, match="bare file name"):
        data.Remote("../up", (), sha256="", size=1)
    with pytest.raises(ConfigError, match="http"):
        data.Remote("a", ("file:///etc/passwd",), sha256="", size=1)
