"""The benchmark of sizes: what a new process without torch reports of one network."""

from __future__ import annotations

from pathlib import Path

import sizes
import torch
from torch import nn

import gossamer as gs
from gossamer.network.plan_step import PlanStep


def test_a_new_process_answers_without_torch_and_says_what_its_plan_takes(tmp_path: Path) -> None:
    """Memory of the plan as the frozen network here has it; the peak is at least what is held at the end."""
    path = tmp_path / "net.safetensors"
    conv = gs.SparseConv2d(3, 6, 3, density=0.3)
    frozen = gs.freeze(nn.Sequential(conv, nn.ReLU(), nn.MaxPool2d(2)), torch.randn(1, 3, 9, 9), keep="csr")
    gs.save(frozen, path)
    frozen(torch.randn(1, 3, 9, 9))
    (plan,) = [step.run for step in frozen.programs[0].steps if isinstance(step.run, PlanStep)]
    found = sizes.started("runtime", path, "3,9,9")
    seconds, memory = found["seconds"], found["memory"]
    assert set(seconds) == {"import", "load", "first_answer", "call"}
    assert min(seconds.values()) > 0
    assert memory["plan"] == plan.memory > 4 * 3 * 9 * 9
    assert memory["peak"] >= memory["calls"] >= memory["numpy"] > memory["plan"]
