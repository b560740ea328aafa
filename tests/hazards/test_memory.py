"""No hidden dense array: a layer of thousands of millions of positions trains in a few hundred megabytes."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

# Square, with 32 connections a neuron: dense, the weight alone would be 37 GiB for 100,000 neurons, 2.3 GiB for 25,000.
SCRIPT = """
import json, resource, time
import torch
import gossamer as gs
torch.set_num_threads(1)  # on a busy machine threads wait for each other
gs.SparseLinear, gs.attach, gs.{rule}, torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
bare, n = peak(), {n}
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

# 300 neurons on 400,000 inputs: a dense array of one layer would be 460 MiB in float32.
COMPARE = """
import json, resource
import torch
from gossamer.patterns import FanIn
from gossamer.topology import Topology, nnstd
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
pattern, shape = FanIn(), (300, 400_000)
drawn = lambda: Topology(pattern, shape, pattern.sample(9_600, pattern.grid(shape)))
nnstd(Topology(pattern, (2, 4), torch.tensor([0, 5])), Topology(pattern, (2, 4), torch.tensor([1, 5])))
bare = peak()
measured = lambda way: [nnstd(drawn(), drawn(), matching=way).value, peak() - bare]
print(json.dumps({way: measured(way) for way in ("greedy", "hungarian")}))
"""


def train(rule: str, pattern: str, n: int) -> dict[str, float]:
    """One training step with an update, in a process of its own."""
    return run(SCRIPT.format(rule=rule, pattern=pattern, n=n))


def run(script: str, **settings: str) -> dict[str, float]:
    """What a script prints."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **settings}
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
    facts = train("SET", pattern, 100_000)
    assert facts["connections"] == 3_200_000
    assert facts["grown"] > 900_000
    assert facts["mib"] < 1024
    assert facts["seconds"] < 10


@pytest.mark.slow
@pytest.mark.parametrize("pattern", ["FanIn", "Unstructured"])
def test_gradient_growth_streams_the_dense_gradient(pattern: str) -> None:
    """RigL: 625 million scores pass by, and only the best are ever held."""
    facts = train("RigL", pattern, 25_000)
    assert facts["connections"] == 800_000
    assert facts["grown"] > 125_000
    assert facts["mib"] < 256


# Dense, the gradient would be 122 MiB; weights and index of 960,000 connections are 7.3 MiB. Drawing the layer takes
# more than an update, so that the peak is set back before it, which Linux can do.
WIDE = """
import json
import torch
import gossamer as gs
torch.set_num_threads(1)
def memory(entry):
    lines = [line.split() for line in open("/proc/self/status")]
    return next(int(line[1]) for line in lines if line[0] == entry) * 1024
n_in, n_out = 500_000, 64
layer = gs.SparseLinear(n_in, n_out, density=15_000 / n_in, pattern=gs.{pattern}, dtype=torch.{dtype})
x = torch.zeros(4, n_in, dtype=torch.{dtype})
x[:, ::{every}] = torch.randn(4, n_in, dtype=torch.{dtype})[:, ::{every}]
x = x.to_sparse_csr() if {every} > 1 else x
optim = torch.optim.SGD(layer.parameters(), lr=0.1, momentum=0.9)
engine = gs.attach(layer, optim, gs.RigL(every=2), total_steps=10)
for _ in range(2):
    optim.zero_grad()
    layer(x).square().sum().backward()
    open("/proc/self/clear_refs", "w").write("5")
    before = memory("VmRSS:")
    optim.step()
own = sum(tensor.numel() * tensor.itemsize for tensor in [layer.values, *layer.index.values()])
print(json.dumps(dict(times=(memory("VmHWM:") - before) / own, grown=engine.history[0].grown)))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux sets a process's peak memory back")
@pytest.mark.parametrize("every", [1, 50], ids=["dense_batch", "sparse_batch"])
@pytest.mark.parametrize(
    ("pattern", "dtype"),
    [("Unstructured()", "float32"), ("FanIn()", "float32"), ("Block(4)", "float64")],
)
def test_growth_in_long_rows_takes_at_most_three_times_the_layer(
    pattern: str, dtype: str, every: int
) -> None:
    """Rows of half a million inputs are looked at in stripes; a sparse batch is not made dense.

    The layer is its weights and its index: gradient and momentum, which are there as well, do not count.
    """
    exact = {
        "MALLOC_MMAP_THRESHOLD_": "65536"
    }  # what is freed is given back: no heap in splinters is measured
    facts = run(WIDE.format(pattern=pattern, dtype=dtype, every=every), **exact)
    assert facts["grown"] > 100_000
    assert facts["times"] < 3


# 2048 -> 2048 channels, 3 x 3: dense, the weight is 144 MiB, and so is its gradient; the images are 0.25 MiB.
IMAGES = """
import json, resource
import torch
import gossamer as gs
torch.set_num_threads(1)
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
small = gs.SparseConv2d(8, 8, 3, density=0.5)
small(torch.randn(1, 8, 4, 4)).sum().backward()
gs.attach(small, torch.optim.SGD(small.parameters(), lr=1.0), gs.RigL(every=5), total_steps=10)
bare = peak()
layer = gs.SparseConv2d(2048, 2048, 3, padding=1, density=0.001)
optim = torch.optim.SGD(layer.parameters(), lr=0.1, momentum=0.9)
engine = gs.attach(layer, optim, gs.RigL(every=1), total_steps=10)
layer(torch.randn(2, 2048, 4, 4)).square().sum().backward()
optim.step()
row = engine.history[0]
print(json.dumps(dict(mib=peak() - bare, grown=row.grown, connections=row.connections)))
"""


def test_a_convolution_trains_in_memory_of_its_connections_and_images() -> None:
    """Drawing, the three products, and growth by a gradient of which only tiles exist."""
    facts = run(IMAGES)
    assert facts["connections"] == 18 * 2048
    assert facts["grown"] > 5_000
    assert facts["mib"] < 64


def test_two_topologies_are_compared_without_neurons_times_inputs() -> None:
    """The table of some neurons takes 32 MiB, twice while one is replaced by the next."""
    for value, mib in run(COMPARE).values():
        assert 0.9 < value < 1
        assert mib < 200
