"""The real files, where this machine has them."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from gossamer import data
from gossamer.errors import DataError


@pytest.mark.parametrize(
    ("name", "mean"),
    [
        ("mnist", [0.1307]),
        ("fashion-mnist", [0.2860]),
        ("cifar10", [0.4914, 0.4822, 0.4465]),
        ("cifar10-small", None),
    ],
)
def test_a_real_data_set_is_the_published_one(name: str, mean: list[float] | None) -> None:
    try:
        found = data.load(name, download=False)
    except DataError as error:
        if not error.operation.startswith("loading"):
            raise
        pytest.skip(f"set GOSSAMER_DATA to a folder with {name}: {error}")
    recipe = data.recipe_of(name)
    assert found.provenance.verified == (recipe.sha256 is not None)
    assert len(np.unique(found.y_train)) == 10
    if mean is not None:
        np.testing.assert_allclose(found.moments()[0] / 255, mean, atol=1e-4)


def test_every_named_folder_exists() -> None:
    named = [entry for entry in os.environ.get("GOSSAMER_DATA", "").split(os.pathsep) if entry]
    if not named:
        pytest.skip("GOSSAMER_DATA is not set")
    assert all(Path(entry).is_dir() for entry in named)
