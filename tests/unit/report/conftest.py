"""Run folders made by hand, with hostile names."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytest.importorskip("matplotlib")
pytest.importorskip("pydantic")

HOSTILE = "<script>alert(1)<,script>&\"'$x_{\\frac"


def _write_run(folder: Path, layer: str = "fc1", image: bool = True) -> Path:
    """A small run folder: two layers, three epochs, two updates."""
    folder.mkdir(parents=True)
    config = {"pattern": HOSTILE, "rule": {"name": "<b>", "every": 1}, "density": None}
    data = {"name": HOSTILE, "shape": [4, 4] if image else [16], "classes": 3, "sha256": "0"}
    (folder / "config.json").write_text(json.dumps({"version": 1, "config": config, "data": data}))
    base = {"train_loss": 1.0, "train_accuracy": 0.5, "test_loss": 1.0, "lr": 0.1, "seconds": 1.0}
    metrics = [{"epoch": e, "step": 5 * e, "test_accuracy": 0.3 * e, **base} for e in (1, 2, 3)]
    change = {"dropped": 3, "grown": 3, "connections": 32, "active": 7, "fan_in": 5}
    changes = [{"step": step, "layer": name, **change} for step in (5, 10) for name in (layer, "fc2")]
    pixels = [{"step": step, "fan_out": [step % 7] * 15 + [4]} for step in (0, 5, 10, 15)]
    for name, found in (("metrics", metrics), ("topology", changes), ("pixels", pixels)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in found))
    shared = {
        "kind": "SparseLinear",
        "bytes": {"values": 128, "indices": 64, "bias": 32},
        "flops": 64,
        "active": 7,
    }
    layers = [
        {"name": layer, "shape": [8, 16], "connections": 32, "fan_in": {"0": 1, "4": 3, "5": 4}, **shared},
        {"name": "fc2", "shape": [3, 8], "connections": 12, "fan_in": {"4": 3}, **shared},
    ]
    summary = {
        "accuracy": 0.9,
        "best": {"epoch": 3, "accuracy": 0.9},
        "epochs": 3,
        "steps": 15,
        "seconds": 2.0,
    }
    (folder / "summary.json").write_text(json.dumps({**summary, "layers": layers}))
    speed = {"bytes": 300, "seconds": {"1": 1e-5, "256": 1e-3}, "dense_seconds": {"1": 2e-5, "256": 3e-3}}
    (folder / "speed.json").write_text(json.dumps({**speed, "threads": 1, "machine": "<i>cpu</i>"}))
    return folder


@pytest.fixture(scope="session")
def write_run() -> Callable[..., Path]:
    """Write a run folder at a path."""
    return _write_run


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., Path]:
    """Make a run folder of a given name."""
    return lambda name="run", **settings: _write_run(tmp_path / name, **settings)
