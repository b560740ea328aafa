"""Equal accuracy, different networks: how far the topologies of two trainings are apart, and how one travels.

Two sparse networks start from different random topologies and are trained by SET; a dense one is trained beside them.
Run it with ``python examples/topology_distance.py --data fashion-mnist`` as in the paper: it takes a few minutes, and
the images are downloaded where they are not at hand. Without ``--data`` it takes seconds, on the small digits of
scikit-learn. ``benchmarks/topology_travel.py`` is the long version.
"""

from __future__ import annotations

import argparse
from itertools import pairwise

import torch
from torch import nn

import gossamer as gs
from gossamer import data
from gossamer.nn import topologies
from gossamer.topology import Topology, effective, exploration, nnstd, null_model

WIDTH, BATCH, DENSITY = 784, 128, 0.05


def network(inputs: int, classes: int, seed: int) -> nn.Sequential:
    """Three hidden layers, as in the paper."""
    torch.manual_seed(seed)
    sizes = [inputs, WIDTH, WIDTH, WIDTH]
    layers: list[nn.Module] = []
    for read, neurons in pairwise(sizes):
        layers += [nn.Linear(read, neurons), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(WIDTH, classes))


def trained(
    samples: tuple[torch.Tensor, ...], seed: int, epochs: int, *, sparse: bool
) -> tuple[float, list[dict[str, Topology]]]:
    """Accuracy on the test set, and the topologies at the start and after every epoch."""
    x, y, x_test, y_test = samples
    model = network(x.shape[1], int(y.max()) + 1, seed)
    if sparse:
        generator = torch.Generator().manual_seed(seed)
        gs.sparsify(model, DENSITY, gs.Unstructured(), "uniform", skip=["6"], generator=generator)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9)
    if sparse:
        steps = -(-len(x) // BATCH)
        gs.attach(model, optimizer, gs.SET(every=steps, drop=0.3), total_steps=epochs * steps, seed=seed)
    kept = [topologies(model)]
    for epoch in range(epochs):
        for part, labels in data.batches(x, y, BATCH, data.epoch_generator(seed, epoch)):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(part), labels).backward()
            optimizer.step()
        kept.append(topologies(model))
    with torch.no_grad():
        return (model(x_test).argmax(1) == y_test).double().mean().item(), kept


def main() -> None:
    """Train three networks and compare them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default="digits")
    parser.add_argument("--epochs", type=int, default=10)
    options = parser.parse_args()
    samples = data.load(options.data).tensors()

    dense, _ = trained(samples, 0, options.epochs, sparse=False)
    found = [trained(samples, seed, options.epochs, sparse=True) for seed in (0, 1)]
    print(f"dense: {dense:.2%}; sparse, {DENSITY:.0%}: " + ", ".join(f"{right:.2%}" for right, _ in found))

    (_, way), (_, other) = found
    start, end = nnstd(way[0], other[0]), nnstd(way[-1], other[-1])
    chance = nnstd(null_model(way[-1]), null_model(other[-1]))
    print(f"\nthe two from each other: {start.value:.3f} at the start, {end.value:.3f} at the end")
    print(f"two random networks:     {chance.value:.3f}; neurons as numbered, trained: {end.unmatched:.3f}")

    print("\nepoch, distance from the start, explored, on a way from an input to an output")
    for epoch, (topology, explored) in enumerate(zip(way, exploration(way), strict=True)):
        travelled = nnstd(way[0], topology).value
        print(f"{epoch:5}  {travelled:.3f}  {explored:7.2%}  {effective(topology).density:7.2%}")


if __name__ == "__main__":
    main()
