"""The same layers in both homes: packed (truly sparse) and masked (dense times mask) agree step by step.

Run it with ``python examples/two_homes.py``.
"""

from __future__ import annotations

import torch
from torch import nn

import gossamer as gs

STEPS = 60


def train(home: str) -> list[float]:
    """Losses of a small regression, trained in one home."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 8))
    gs.sparsify(
        model, density=0.2, pattern=gs.Unstructured(), home=home, generator=torch.Generator().manual_seed(0)
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    gs.attach(model, optimizer, gs.RigL(every=10, drop=0.3), total_steps=STEPS)
    x, target = torch.randn(256, 64), torch.randn(256, 8)
    losses = []
    for _ in range(STEPS):
        optimizer.zero_grad()
        loss = (model(x) - target).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def main() -> None:
    """Compare the two homes."""
    packed, masked = train("packed"), train("masked")
    apart = max(abs(a - b) / b for a, b in zip(packed, masked, strict=True))
    said = f"{packed[-1]:.4f} packed, {masked[-1]:.4f} masked; {apart:.1e} apart at most"
    print(f"loss {packed[0]:.4f} -> {said}")


if __name__ == "__main__":
    main()
