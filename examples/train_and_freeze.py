"""The library in one page: make a model sparse, train it with your own loop, freeze it, save it, use it.

Run it with ``python examples/train_and_freeze.py``; it takes seconds.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch
from torch import nn

import gossamer as gs
from gossamer import data

EPOCHS, BATCH = 10, 32


def main() -> None:
    """Train, freeze, save, load."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    x_train, y_train, x_test, y_test = data.load("digits").tensors()

    model = nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 128), nn.ReLU(), nn.Linear(128, 10))
    print(gs.sparsify(model, density=0.1, pattern=gs.FanIn()))

    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    steps = EPOCHS * -(-len(x_train) // BATCH)
    engine = gs.attach(model, optimizer, gs.SRigL(every=30, drop=0.3), total_steps=steps)

    for epoch in range(EPOCHS):
        for x, y in data.batches(x_train, y_train, BATCH, data.epoch_generator(seed=0, epoch=epoch)):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x), y).backward()
            optimizer.step()
    moved = sum(update.grown for update in engine.history)
    print(f"\n{moved:,} connections moved in {len(engine.history)} layer updates")

    frozen = gs.freeze(model, x_test[:1])
    print(frozen.explain())

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "net.safetensors"
        gs.save(frozen, path)
        net = gs.load(path)
        accuracy = (net(x_test).argmax(1) == y_test).double().mean().item()
        print(f"\n{path.name}: {path.stat().st_size:,} bytes, accuracy {accuracy:.2%}")


if __name__ == "__main__":
    main()
