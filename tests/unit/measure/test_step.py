"""The predicted memory of a step: exact where it can be, near the measured peak where it cannot."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
import torch
from torch import nn

import gossamer as gs
from gossamer.errors import GossamerError, MemoryShortage
from gossamer.measure import available_memory, memory, require_memory

SCRIPT = """
import json
from pathlib import Path
import torch
from torch import nn
import gossamer as gs
from gossamer.measure import memory

def status(key):
    line = next(l for l in Path("/proc/self/status").read_text().splitlines() if l.startswith(key))
    return int(line.split()[1]) * 1024

def network(width, wanted):
    sizes = [(width, width), (width, width), (width, 100)]
    layers = [gs.SparseLinear(i, o, density=wanted / i / o, pattern=gs.{pattern}()) for i, o in sizes]
    return nn.Sequential(layers[0], gs.AllReLU(0.6), nn.Dropout(0.3), layers[1], nn.ReLU(), layers[2])

def step(model, batch):
    optimizer = {optimizer}
    y = model(torch.randn(batch))
    y.square().mean().backward()
    optimizer.step()

torch.set_num_threads(1)
small = network(256, 2560)
memory(small, torch.empty(64, 256))  # loads what it needs
step(small, (64, 256))
bare = status("VmRSS:")
model = network(20_000, 1_900_000)
optimizer = {optimizer}
predicted = memory(model, torch.empty({batch}, 20_000, device="meta"), optimizer).total
Path("/proc/self/clear_refs").write_text("5")
step(model, ({batch}, 20_000))
print(json.dumps(dict(predicted=predicted, measured=status("VmHWM:") - bare)))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the peak of a process can be reset on Linux only")
@pytest.mark.parametrize(
    ("optimizer", "pattern", "batch"),  # every two of them meet
    [
        ("gs.SGDW(model.parameters(), lr=0.1)", "FanIn", 64),
        ("gs.SGDW(model.parameters(), lr=0.1)", "Unstructured", 512),
        ("torch.optim.Adam(model.parameters())", "FanIn", 512),
        ("torch.optim.Adam(model.parameters())", "Unstructured", 64),
    ],
    ids=["sgdw-FanIn-64", "sgdw-Unstructured-512", "adam-FanIn-512", "adam-Unstructured-64"],
)
def test_the_prediction_is_near_the_measured_peak(optimizer: str, pattern: str, batch: int) -> None:
    """An upper estimate, and not half as much again; freed memory is given back at once, which malloc may put off."""
    script = SCRIPT.format(optimizer=optimizer, pattern=pattern, batch=batch)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "MALLOC_MMAP_THRESHOLD_": "100000"}
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, check=False, text=True
    )
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    assert facts["measured"] < facts["predicted"] < 1.5 * facts["measured"], facts


def test_every_part_is_counted_exactly() -> None:
    """One sparse layer behind another, by hand; nothing in the model changes."""
    model = nn.Sequential(
        gs.SparseLinear(100, 50, density=0.1, pattern=gs.Unstructured()),
        nn.ReLU(),
        gs.SparseLinear(50, 10, density=0.1, pattern=gs.Unstructured()),
    )
    optimizer = gs.SGDW(model.parameters(), lr=0.1)
    engine = gs.attach(model, optimizer, gs.SET(every=1), total_steps=10)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    needed = memory(model, torch.empty(64, 100), optimizer)
    assert needed.values == needed.gradients == needed.optimizer == 4 * (500 + 50 + 50 + 10)
    assert needed.index == 2 * 550 + 4 * (51 + 11) + 2 * 256  # columns, row pointers, fingerprints
    assert needed.transposed == int(6.5 * 50)
    assert needed.activations == 4 * 64 * (100 + 50 + 10)  # input, ReLU's output, output
    assert (engine.step, len(optimizer.state)) == (0, 0)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert memory(model, torch.empty(8, 100), optimizer).transposed == 0  # such batches scatter
    assert needed.fits()
    needed.require()
    assert "total" in str(needed)


@pytest.mark.parametrize(
    ("make", "copies"),
    [
        (lambda p: torch.optim.SGD(p, lr=0.1), 0),
        (lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9), 1),
        (torch.optim.AdamW, 2),
        (lambda p: torch.optim.Adam(p, amsgrad=True), 3),
        (torch.optim.RMSprop, 1),
    ],
    ids=["sgd", "momentum", "adamw", "amsgrad", "rmsprop"],
)
def test_optimizer_state_is_seen_and_not_looked_up(make: object, copies: int) -> None:
    """By a step on a parameter of its own; frozen parameters have none."""
    model = nn.Sequential(nn.Linear(30, 20), nn.Linear(20, 5).requires_grad_(False))
    needed = memory(model, torch.empty(2, 30), make(model.parameters()))
    assert needed.optimizer == copies * 4 * (600 + 20)


def test_what_cannot_fit_is_refused_before_it_is_built() -> None:
    """One sentence, and it is a MemoryError."""
    free = available_memory()
    require_memory("small", 1 << 20)
    with pytest.raises(MemoryError, match=r"expected at most .* GB of memory, got a need of"):
        require_memory("large", 2 * free)
    with pytest.raises(MemoryShortage, match="packed layer"):
        gs.SparseLinear(1 << 24, 1 << 24, density=0.5)
    with pytest.raises(MemoryShortage, match='home="packed"'):
        gs.MaskedLinear(1 << 20, 1 << 20, density=1e-5)
    wide = memory(nn.Linear(10, 10), torch.empty(1 << 40, 10, device="meta"))
    assert not wide.fits()
    with pytest.raises(GossamerError, match="smaller batches"):
        wide.require()
