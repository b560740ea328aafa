"""SGDW: the law, number by number, and its state on sparse layers."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import gossamer as gs
from gossamer.errors import ConfigError


def test_the_law_by_hand() -> None:
    """Momentum holds scaled steps; the decay takes its share of the old weight and ignores the rate."""
    w = nn.Parameter(torch.tensor([2.0], dtype=torch.float64))
    optimizer = gs.SGDW([w], lr=0.1, momentum=0.5, weight_decay=0.01)
    momentum, weight = 0.0, 2.0
    for step, gradient in enumerate([1.0, -3.0, 0.5, 0.0]):
        optimizer.param_groups[0]["lr"] = rate = 0.1 / (step + 1)
        w.grad = torch.tensor([gradient], dtype=torch.float64)
        optimizer.step()
        momentum = 0.5 * momentum - rate * gradient
        weight = weight + momentum - 0.01 * weight
        assert w.item() == pytest.approx(weight, rel=1e-14)


def test_without_decay_it_is_torch_sgd() -> None:
    """At a constant rate."""
    nets = []
    for kind in (gs.SGDW, torch.optim.SGD):
        torch.manual_seed(0)
        net = nn.Linear(4, 3).double()
        optimizer = kind(net.parameters(), lr=0.05, momentum=0.9)
        for _ in range(10):
            optimizer.zero_grad()
            net(torch.randn(8, 4, dtype=torch.float64)).square().mean().backward()
            optimizer.step()
        nets.append(net.weight)
    torch.testing.assert_close(*nets, rtol=1e-12, atol=1e-14)


def test_a_closure_gives_the_loss() -> None:
    """As every optimizer of torch."""
    w = nn.Parameter(torch.ones(1))
    optimizer = gs.SGDW([w], lr=0.5)

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = w.square().sum()
        loss.backward()
        return loss

    assert optimizer.step(closure).item() == 1.0
    assert w.item() == 0.0


@pytest.mark.parametrize(
    "wrong", [{"lr": 0.0}, {"lr": 0.1, "momentum": 1.0}, {"lr": 0.1, "weight_decay": -1e-3}]
)
def test_settings_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    """Before anything is built."""
    with pytest.raises(ConfigError, match="SGDW"):
        gs.SGDW([nn.Parameter(torch.ones(1))], **wrong)


def test_state_follows_the_topology() -> None:
    """It has the size of the connections and moves with them."""
    layer = gs.SparseLinear(20, 10, density=0.2, pattern=gs.Unstructured())
    optimizer = gs.SGDW(layer.parameters(), lr=0.1)
    engine = gs.attach(layer, optimizer, gs.SET(every=1), total_steps=3, outputs=[])
    for _ in range(2):
        optimizer.zero_grad()
        layer(torch.randn(4, 20)).square().sum().backward()
        optimizer.step()
    buffer = optimizer.state[layer.values]["momentum_buffer"]
    assert buffer.shape == layer.values.shape == (40,)
    assert engine.history[-1].grown > 0
    assert int((buffer == 0).sum()) >= engine.history[-1].grown
