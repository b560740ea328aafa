"""Small data sets made on the spot, and an environment without any of the machine's own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from gossamer import data
from gossamer.data.formats import Idx, Npz

SPEC = data.Spec(n_train=6, n_test=3, shape=(4, 5), n_classes=3)


@pytest.fixture
def arrays() -> data.Arrays:
    """Return a sound toy data set, different in every entry that matters."""
    rng = np.random.default_rng(0)
    return data.Arrays(
        rng.integers(0, 256, (6, 4, 5), dtype=np.uint8),
        np.array([0, 1, 2, 0, 1, 2], np.uint8),
        rng.integers(0, 256, (3, 4, 5), dtype=np.uint8),
        np.array([2, 1, 0], np.uint8),
    )


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Hide the machine's data folders and caches."""
    monkeypatch.delenv("GOSSAMER_DATA", raising=False)
    monkeypatch.setenv("GOSSAMER_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def toy(alone: None) -> Iterator[data.Recipe]:
    """Register the toy data set for one test."""
    recipe = data.Recipe(
        name="toy-set", spec=SPEC, classes=("a", "b", "c"), licence="CC0", formats=(Npz(), Idx()), system=()
    )
    data.register(lambda: recipe)
    yield recipe
    data.unregister("toy-set")


@pytest.fixture
def idx_folder(tmp_path: Path, arrays: data.Arrays) -> Path:
    """Return a folder that holds the toy data set as idx files."""
    home = tmp_path / "idx" / "toy-set"
    home.mkdir(parents=True)
    stems = ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")
    for stem, array in zip(stems, arrays, strict=True):
        sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
        (home / f"{stem}-ubyte").write_bytes(bytes([0, 0, 8, array.ndim]) + sizes + array.tobytes())
    return home.parent
