"""A layer that lost nine tenths of its connections beside one that was born that small: time of a step, and memory.

Three ways with the same connections: ``born`` small; ``shrunk``: born with all and cut by an update; ``compact``:
the same, and gossamer.compact has freed what the lost ones held. They run in turns; times are lower quartiles.
"""

from __future__ import annotations

import time
from itertools import pairwise

import torch
from harness import Row, arguments, pin, record
from torch import nn

import gossamer as gs
from gossamer.patterns import Pattern, parse
from gossamer.topology import Topology, TopologyChange

STEP = ("forward", "backward", "optimizer")


class Trained:
    """A layer, its optimizer, and the parts of a training step."""

    def __init__(self, layer: gs.SparseLinear, batch: int) -> None:
        self.layer, self.optimizer = layer, torch.optim.Adam(layer.parameters(), foreach=True)
        self.x = torch.randn(batch, layer.in_features, requires_grad=True)
        self.step()

    def forward(self) -> None:
        """The product, recorded for backward."""
        self.y = self.layer(self.x)

    def backward(self) -> None:
        """Gradients of values, bias and input."""
        self.y.backward(self.y.detach())

    def step(self) -> None:
        """All parts of a step."""
        self.optimizer.zero_grad()
        self.forward()
        self.backward()
        self.optimizer.step()

    def seconds(self) -> list[float]:
        """Time of each part of one step."""
        self.optimizer.zero_grad()
        marks = [time.perf_counter()]
        for part in (self.forward, self.backward, self.optimizer.step):
            part()
            marks.append(time.perf_counter())
        return [end - begin for begin, end in pairwise(marks)]

    def memory(self) -> int:
        """Bytes behind values, gradients, optimizer state and index."""
        held = [*self.layer.parameters(), *self.layer.index.values()]
        held += [p.grad for p in self.layer.parameters() if p.grad is not None]
        held += [v for state in self.optimizer.state.values() for v in state.values() if v.dim()]
        return sum(tensor.untyped_storage().nbytes() for tensor in held)


def connections(pattern: Pattern, shape: tuple[int, int], density: float) -> Topology:
    """A random topology."""
    units = pattern.sample(
        pattern.budget(density, shape), pattern.grid(shape), torch.Generator().manual_seed(0)
    )
    return Topology(pattern, shape, units)


def layer_with(pattern: Pattern, shape: tuple[int, int], density: float) -> gs.SparseLinear:
    """A layer with room for this density."""
    return gs.SparseLinear(shape[1], shape[0], density=density, pattern=pattern)


def cut(trained: Trained, small: Topology) -> None:
    """Leave only these connections, as an update does."""
    layer, optimizer = trained.layer, trained.optimizer
    states = [v for v in optimizer.state[layer.values].values() if v.dim()]
    change = TopologyChange.between(layer.topology, small)
    layer.carry(change, [*states, *([] if layer.values.grad is None else [layer.values.grad])])


def ways(
    pattern: Pattern, shape: tuple[int, int], born: float, left: float, batch: int
) -> dict[str, Trained]:
    """The same connections, arrived at in three ways."""
    small = connections(pattern, shape, left)
    found = {"born": Trained(layer_with(pattern, shape, left), batch)}
    found["born"].layer.assign(small, torch.randn(small.connections))
    for name in ("shrunk", "compact"):
        found[name] = Trained(layer_with(pattern, shape, born), batch)
        cut(found[name], small)
    gs.compact(nn.Sequential(found["compact"].layer), found["compact"].optimizer)
    return found


def measure(found: dict[str, Trained], seconds: float) -> Row:
    """Microseconds of the parts of a step and bytes, of every way."""
    samples: dict[str, list[list[float]]] = {name: [] for name in found}
    stop = time.perf_counter() + seconds
    while time.perf_counter() < stop or len(samples["born"]) < 8:
        for name, trained in found.items():
            trained.step()  # what the layer before it left in the caches is not its own
            samples[name].append(trained.seconds())
    rows = {}
    for name, times in samples.items():
        parts = [sorted(part)[len(part) // 4] for part in zip(*times, strict=True)]
        rows[name] = {part: round(1e6 * value, 1) for part, value in zip(STEP, parts, strict=True)}
        rows[name]["bytes"] = found[name].memory()
    return rows


def main() -> None:
    """Every pattern, shape and batch of the options."""
    options = arguments(
        __doc__,
        patterns="unstructured,fanin,fanin:4,block:4",
        shapes="512x512,1024x1024,3072x768",  # inputs x outputs
        batches="1,16,256",
        born=1.0,
        left=0.1,
        seconds=1.0,
        cores="0",
    )
    torch.set_num_threads(pin(options.cores))
    rows = []
    for text in options.patterns.split(","):
        for size in options.shapes.split(","):
            inputs, outputs = map(int, size.split("x"))
            for batch in map(int, options.batches.split(",")):
                torch.manual_seed(0)
                found = ways(parse(text), (outputs, inputs), options.born, options.left, batch)
                case = {"pattern": text, "inputs": inputs, "outputs": outputs, "batch": batch}
                rows.append({**case, **measure(found, options.seconds)})
                print(rows[-1], flush=True)
    record("shrunk_layer", {"born": options.born, "left": options.left, "rows": rows})


if __name__ == "__main__":
    main()
