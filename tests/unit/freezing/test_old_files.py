"""Files of every kind, written before the code was moved into other folders, still load and compute the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import gossamer as gs
from gossamer.layouts import layout, layouts

FOLDER = Path(__file__).parents[2] / "data" / "artifacts"
EXPECTED: dict[str, dict[str, Any]] = json.loads((FOLDER / "expected.json").read_text())


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_an_old_file_computes_what_it_computed(name: str) -> None:
    """The outputs stand beside the files, to seven digits."""
    row = EXPECTED[name]
    dtype = torch.float64 if name == "float64" else torch.float32
    x = torch.linspace(-1, 1, torch.Size(row["input"]).numel()).view(row["input"]).to(dtype)
    y = gs.load(FOLDER / f"{name}.safetensors")(x)
    expected = torch.tensor(row["output"], dtype=dtype).view(row["shape"])
    assert y.dtype == dtype
    assert torch.allclose(y, expected, rtol=1e-5, atol=1e-5)


def test_every_layout_has_a_file() -> None:
    """A layout that no file is stored in would not be held to what it wrote."""
    stored = {
        node["layout"]
        for path in FOLDER.glob("*.safetensors")
        for node in json.loads(_document(path))["nodes"]
        if node["op"] == "linear"
    }
    assert stored == {name for name in layouts if layout(name).exact}


def _document(path: Path) -> str:
    from safetensors import safe_open

    with safe_open(path, framework="np") as file:
        return str(file.metadata()["gossamer"])
