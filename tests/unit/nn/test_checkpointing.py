"""Activation checkpointing: what is computed twice is the same, and growth sees every pass once."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint, checkpoint_sequential

import gossamer as gs


def network() -> nn.Sequential:
    """Three sparse layers."""
    torch.manual_seed(0)
    layers = [nn.Linear(24, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 8)]
    model = nn.Sequential(*layers).double()
    gs.sparsify(model, 0.3, gs.Unstructured())
    return model


@pytest.mark.parametrize("reentrant", [False, True])
def test_gradients_and_gradient_growth_are_the_same(reentrant: bool) -> None:
    """RigL after two steps, with and without; the input needs a gradient for the older kind."""
    runs = []
    for checkpointed in (False, True):
        model = network()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        engine = gs.attach(model, optimizer, gs.RigL(every=2), total_steps=8)
        for step in range(4):
            x = torch.randn(6, 24, dtype=torch.float64, generator=torch.Generator().manual_seed(step))
            x.requires_grad_()
            optimizer.zero_grad()
            y = checkpoint(model, x, use_reentrant=reentrant) if checkpointed else model(x)
            y.square().sum().backward()
            optimizer.step()
        runs.append((model.state_dict(), engine.history))
    assert runs[0][1] == runs[1][1]
    for name, tensor in runs[0][0].items():
        assert torch.equal(tensor, runs[1][0][name]), name


def test_segments_of_a_sequential_too() -> None:
    """torch's own helper."""
    model, x = network(), torch.randn(5, 24, dtype=torch.float64)
    y = checkpoint_sequential(model, 2, x, use_reentrant=False)
    torch.testing.assert_close(y, model(x), rtol=0, atol=0)
    y.sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
