"""No hidden dense array: a layer of ten thousand million positions trains in a few hundred megabytes."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

# 100,000 x 100,000 with 32 connections a neuron: dense, the weight alone would be 37 GiB.
SCRIPT = """
import json, resource, time
import torch
import gossamer as gs
torch.set_num_threads(1)  # on a busy machine threads wait for each other
gs.SparseLinear, gs.attach, gs.{rule}, torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
bare, n = peak(), 100_000
layer = gs.SparseLinear(n, n, density=32 / n, pattern=gs.{pattern}())
optim = torch.optim.SGD(layer.parameters(), lr=0.1, momentum=0.9)
engine = gs.attach(layer, optim, gs.{rule}(every=1), total_steps=10)
begin = time.perf_counter()
layer(torch.randn(1, n)).square().sum().backward()
optim.step()
row = engine.history[0]
facts = dict(mib=peak() - bare, seconds=time.perf_counter() - begin, grown=row.grown, connections=row.connections)
print(json.dumps(facts))
"""


# A million neurons on 65,536 inputs, one connection for each neuron at either end: a dense mask would be 61 GiB.
DRAW = """
import json, resource
import torch
import gossamer as gs
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
gs.SparseLinear(64, 64, density=0.5, pattern=gs.{pattern}())
bare, n, m = peak(), 65_536, 1_000_000
layer = gs.SparseLinear(n, m, density=(n + m) / (n * m), pattern=gs.{pattern}())
print(json.dumps(dict(each=(peak() - bare) / layer.connections, connections=layer.connections)))
"""


def train(rule: str, pattern: str) -> dict[str, float]:
    """One training step with an update, in a process of its own."""
    return run(SCRIPT.format(rule=rule, pattern=pattern))


def run(script: str) -> dict[str, float]:
    """What a script prints."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, check=False, text=True
    )
    assert done.returncode == 0, done.stderr
    facts: dict[str, float] = json.loads(done.stdout)
    return facts


@pytest.mark.parametrize("pattern", ["FanIn", "Unstructured"])
def test_drawing_a_layer_takes_memory_of_its_connections(pattern: str) -> None:
    """Bytes a connection at the peak, whatever the size of the dense layer."""
    facts = run(DRAW.format(pattern=pattern))
    assert facts["connections"] == {"FanIn": 1_000_000, "Unstructured": 1_065_536}[pattern]
    assert facts["each"] < 200


@pytest.mark.parametrize("pattern", ["FanIn", "Unstructured"])
def test_random_growth_never_looks_at_the_dense_layer(pattern: str) -> None:
    """SET: time and memory of the connections, where a dense pass at a nanosecond a position takes 10 s."""
    facts = train("SET", pattern)
    assert facts["connections"] == 3_200_000
    assert facts["grown"] > 900_000
    assert facts["mib"] < 1024
    assert facts["seconds"] < 10


@pytest.mark.slow
@pytest.mark.parametrize("pattern", ["FanIn", "Unstructured"])
def test_gradient_growth_streams_the_dense_gradient(pattern: str) -> None:
    """RigL: ten thousand million scores pass by, and only the best are ever held."""
    facts = train("RigL", pattern)
    assert facts["connections"] == 3_200_000
    assert facts["grown"] > 500_000
    assert facts["mib"] < 1024
