"""What the tests read from run folders."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import torch
from safetensors.torch import load_file

if TYPE_CHECKING:
    from pathlib import Path


def rows(folder: Path, name: str) -> list[dict]:
    """Rows of a journal without their times."""
    parsed = [json.loads(line) for line in (folder / name).read_text().splitlines()]
    return [{key: value for key, value in row.items() if key != "seconds"} for row in parsed]


def contents(folder: Path) -> tuple:
    """Everything in a run folder that must not depend on interruptions."""
    summary = json.loads((folder / "summary.json").read_text())
    summary.pop("seconds")
    return (
        {name: rows(folder, name) for name in ("metrics.jsonl", "topology.jsonl", "pixels.jsonl")},
        summary,
        {path.name: path.read_bytes() for path in (folder / "topologies").glob("*")},
        json.loads((folder / "config.json").read_text()),
    )


def same_bits(one: Path, other: Path) -> bool:
    """Whether two checkpoints hold the same tensors."""
    first, second = load_file(one), load_file(other)
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)
