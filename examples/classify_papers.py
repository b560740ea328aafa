"""Classify the nodes of a graph by diffusion convolution, with a sparse layer behind it.

Run it with ``python examples/classify_papers.py``; it takes seconds. With ``cora.npz`` in a folder of
``GOSSAMER_DATA`` it classifies the papers of Cora, else the nodes of a graph it draws.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

import gossamer as gs
from gossamer import data
from gossamer.errors import DataError
from gossamer.nn import DiffusionConv

EPOCHS, BATCH = 15, 32


def graph() -> tuple[str, Tensor, Tensor, Tensor]:
    """Name, features, edges in both directions, and classes."""
    try:
        return "Cora", *data.load_graph("cora").tensors()
    except DataError:
        return "a drawn graph", *communities()


def communities(nodes: int = 1200, classes: int = 4, features: int = 64) -> tuple[Tensor, Tensor, Tensor]:
    """Nodes that mostly know others of their class, with features that say little."""
    y = torch.arange(nodes) % classes
    start = torch.arange(nodes).repeat(4)
    step = torch.randint(nodes // classes, start.shape) * classes  # to the same class
    end = torch.where(torch.rand(start.shape) < 0.8, start + step, torch.randint(nodes, start.shape)) % nodes
    x = torch.randn(nodes, features) + torch.randn(classes, features)[y] / 5
    return x, torch.stack([torch.cat([start, end]), torch.cat([end, start])]), y


def main() -> None:
    """Prepare the graph once, train in batches of nodes, freeze what follows the convolution."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    name, x, edges, y = graph()
    order = torch.randperm(len(y))
    train, test = order[: len(y) // 3], order[len(y) // 3 :]

    conv = DiffusionConv(x.shape[1], hops=2, threshold_before=0.05)
    head = nn.Sequential(nn.Tanh(), nn.Linear(conv.out_channels, int(y.max()) + 1))
    gs.sparsify(head, density=0.2, pattern=gs.Unstructured())
    prepared = conv.prepare(edges, len(y))
    walked = conv.diffuse(x, prepared)  # features do not change: once is enough
    print(
        f"{name}: {len(y):,} nodes, {prepared.connections[0]:,} steps above the threshold, {prepared.bytes:,} bytes"
    )

    optimizer = torch.optim.Adagrad([*conv.parameters(), *head.parameters()], lr=0.05)
    for _ in range(EPOCHS):
        for nodes in train[torch.randperm(len(train))].split(BATCH):
            optimizer.zero_grad()
            nn.functional.cross_entropy(head(conv.weigh(walked[nodes])), y[nodes]).backward()
            optimizer.step()

    with torch.no_grad():
        frozen = gs.freeze(head, conv.weigh(walked[test]))
        right = frozen(conv(x, prepared, test)).argmax(1) == y[test]
    print(f"{right.double().mean().item():.1%} of {len(test):,} other nodes are right")


if __name__ == "__main__":
    main()
