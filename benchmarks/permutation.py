"""What a better order of channels wins for patterns with groups: share of the magnitude kept, and accuracy.

ResNet-20 and ResNet-56, trained on CIFAR-10, the 3x3 convolutions behind the first one. "Free" orders suit each layer
by itself, as if nothing were added to its outputs; "folded" is what ``prune(permute=)`` does: layers whose outputs are
added share an order. Nothing is trained: accuracy is that of 1000 test images, as pruned and after batch norms were
recalibrated on training images as they are.
"""

from __future__ import annotations

import math
import time
from typing import Any

import numpy as np
import torch
from harness import Row, arguments, gather, record, shared_file
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn

import gossamer as gs
from gossamer import models
from gossamer.compress.permuting.demand import Demand, demand
from gossamer.compress.permuting.exchange import OUTPUTS
from gossamer.compress.permuting.reordering import reorder
from gossamer.compress.permuting.search import search
from gossamer.patterns import NM, parse

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
PATTERNS = (("fanin:4", 0.2), ("fanin:8", 0.1), ("block:4", 0.2), ("nm:2:4", 0.5), ("nm:1:8", 0.125))
PRUNED = (("unstructured", 0.1), ("fanin", 0.2), ("fanin", 0.1), *PATTERNS)


def network(name: str) -> nn.Module:
    """A trained network."""
    path = shared_file(f"models/{name}_cifar10.th")
    state = torch.load(path, weights_only=True, map_location="cpu")["state_dict"]
    model = models.build({"name": name}, channels=3, classes=10)
    model.load_state_dict({key.removeprefix("module."): value for key, value in state.items()})
    return model.eval()


def images(part: str) -> tuple[Tensor, Tensor]:
    """Images as the networks were trained on, and their classes."""
    with np.load(shared_file("cifar10_small.npz")) as file:
        x, y = torch.from_numpy(file[f"x_{part}"]), torch.from_numpy(file[f"y_{part}"]).long()
    scaled = (x.permute(0, 3, 1, 2).float() / 255 - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(
        STD
    ).view(3, 1, 1)
    return scaled.contiguous(), y


def demands(model: nn.Module, pattern: str, density: float) -> dict[str, Demand]:
    """What every 3x3 convolution behind the first is asked for."""
    layers = {
        name: each for name, each in model.named_modules() if isinstance(each, nn.Conv2d) and name != "conv1"
    }
    return {
        name: demand(
            parse(pattern), each.weight.detach().movedim(1, -1).flatten(1).abs(), each.in_channels, density
        )
        for name, each in layers.items()
    }


def greedy(one: Demand) -> None:
    """Groups one after the other: the strongest item that is left, then whatever adds most beyond its own best."""
    side = one.side(OUTPUTS, torch.arange(one.scores.shape[0]))
    worth = side.worth
    left, order = side.values.sum(1).argsort(descending=True).tolist(), []
    while left:
        group = [left.pop(0)]
        while len(group) < side.size:
            others = side.values[left]
            best = (worth(side.values[group].sum(0) + others) - worth(others)).argmax()
            group.append(left.pop(int(best)))
        order += group
    one.reordered(OUTPUTS, torch.tensor(order))


def assigned(one: Demand) -> None:
    """As k-means: masks of the groups, then the best assignment of items to masks, as long as more is kept."""
    while True:
        before, matrix = one.kept(), one.scores.clone()
        positions = one.pattern.project(matrix, one.units, one.grid)
        mask = one.pattern.unpack(
            torch.ones(positions.numel() * one.grid.members, dtype=matrix.dtype), positions, one.grid
        )
        item, place = linear_sum_assignment((matrix @ mask.T).numpy(), maximize=True)
        one.reordered(OUTPUTS, torch.from_numpy(item[place.argsort()]))
        if one.kept() <= before:
            one.scores.copy_(matrix)
            return


def swapped(one: Demand) -> None:
    """The search of the library, for this layer alone; blocks once a side."""
    for dim in sorted(one.dims):
        count = one.scores.shape[0] if dim == OUTPUTS else one.channels
        side = one.side(dim, torch.arange(count))
        one.reordered(dim, search([side], torch.Generator().manual_seed(0)))


def annealed(one: Demand, steps: int) -> None:
    """Simulated annealing over swaps, from the greedy order on; the best order that was met is taken."""
    greedy(one)
    draw, count = torch.Generator().manual_seed(0), one.scores.shape[0]
    side, order = one.side(OUTPUTS, torch.arange(count)), torch.arange(count)
    warm = 0.02 * float(side.now().mean())
    sum_now, best, found = 0.0, 0.0, order.clone()
    for step in range(steps):
        a, b = torch.randint(count, (2,), generator=draw).tolist()
        gain = side.gain(a, b)
        temperature = warm * 200 ** (-step / steps)
        if gain > 0 or math.exp(gain / temperature) > float(torch.rand((), generator=draw)):
            side.swap(a, b)
            order[[a, b]] = order[[b, a]]
            sum_now += gain
            if sum_now > best:
                best, found = sum_now, order.clone()
    one.reordered(OUTPUTS, found)


WAYS = {"greedy": greedy, "assigned": assigned, "swaps": swapped, "annealed": annealed}


def kept(case: Row) -> Row:
    """Share of the magnitude that is kept, over all layers together."""
    model = network(case["network"])
    asked = demands(model, case["pattern"], case["density"])
    total = sum(float(one.scores.sum()) for one in asked.values())
    started = time.process_time()
    if case["way"] == "folded":
        reorder(model, images("test")[0][:2], asked)
    for number, one in enumerate(asked.values()):
        if case["way"] == "annealed":
            annealed(one, case["steps"])
        elif case["way"] in WAYS:
            WAYS[case["way"]](one)
        if case["way"] == "annealed":
            print(f"annealed {number + 1} of {len(asked)}", flush=True)
    seconds = time.process_time() - started
    value = [one.bound() if case["way"] == "bound" else one.kept() for one in asked.values()]
    return {"kept": sum(value) / total, "seconds": seconds}


def accuracy(model: nn.Module) -> float:
    """Percent of the test images."""
    x, y = images("test")
    with torch.no_grad():
        return 100 * float((model.eval()(x).argmax(1) == y).double().mean())


def pruned(case: Row) -> Row:
    """Accuracy at once, and with recalibrated norms."""
    model, x = network(case["network"]), images("test")[0]
    density = None if isinstance(parse(case["pattern"]), NM) else case["density"]
    example = x[:2] if case["permuted"] else None
    gs.prune(
        model,
        density,
        case["pattern"],
        allocation="uniform",
        skip=["linear"],
        dense_first=True,
        permute=example,
        home="masked",
    )
    at_once = accuracy(model)
    gs.compress.recalibrate(model, list(images("train")[0][: case["images"]].split(250)))
    return {"accuracy": at_once, "recalibrated": accuracy(model)}


def cases(networks: list[str], steps: int) -> list[Row]:
    """Every way for patterns of outputs; of the others, those of the library."""
    found: list[Row] = []
    for name in networks:
        for pattern, density in PATTERNS:
            ways = ["none", "swaps", "folded", "bound"]
            if pattern.startswith("fanin"):
                ways += ["greedy", "assigned"] + (["annealed"] if name == "resnet20" and steps else [])
            found += [
                {
                    "network": name,
                    "pattern": pattern,
                    "density": density,
                    "way": way,
                    "steps": steps if way == "annealed" else 0,
                }
                for way in ways
            ]
    return found


def main() -> None:
    """Measure and record."""
    given = arguments(__doc__ or "", networks="resnet20,resnet56", steps=20000, images=5000, fresh=False)
    networks = given.networks.split(",")
    orders = [
        {
            "network": name,
            "pattern": pattern,
            "density": density,
            "permuted": permuted,
            "images": given.images,
        }
        for name in networks
        for pattern, density in PRUNED
        for permuted in ([False] if (pattern, density) in PRUNED[:3] else [False, True])
    ]
    result: dict[str, Any] = {
        "kept": gather("permutation_kept", cases(networks, given.steps), kept, fresh=given.fresh),
        "accuracy": gather("permutation_accuracy", orders, pruned, fresh=given.fresh),
    }
    result["images"] = given.images
    result["dense"] = {name: accuracy(network(name)) for name in networks}
    record("permutation", result)


if __name__ == "__main__":
    main()
