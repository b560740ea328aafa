"""torch.fx goes through our layers as through torch's own: one call, which follows the layer."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch import fx, nn
from torch.fx.passes.shape_prop import ShapeProp

import gossamer as gs


def network(home: str) -> nn.Sequential:
    """Every kind of layer of ours."""
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3),
        gs.AllReLU(0.5, 3, 0.5),
        nn.Flatten(),
        nn.Linear(72, 32),
        gs.Dropout(0.5),
        nn.Linear(32, 16),
        nn.Linear(16, 8),
    )
    gs.sparsify(model, {"0": 0.5, "3": 0.3, "5": 1.0, "6": 0.5}, home=home)
    return model


@pytest.mark.parametrize("home", ["packed", "masked"])
@pytest.mark.parametrize("training", [True, False])
def test_a_traced_network_computes_what_the_network_does(home: str, training: bool) -> None:
    """And its copies, its pickle, its trace, its transformation."""
    model, x = network(home).train(training), torch.randn(2, 3, 5, 5)
    traced = fx.symbolic_trace(model)
    traced.graph.lint()
    model.eval()
    traced.eval()
    again = fx.symbolic_trace(traced)
    for other in (traced, again, copy.deepcopy(traced), pickle.loads(pickle.dumps(traced))):  # noqa: S301 (made here)
        assert torch.equal(other(x), model(x))
    assert torch.equal(fx.Transformer(traced).transform()(x), model(x))
    ShapeProp(traced).propagate(x)
    assert [n.meta["tensor_meta"].shape[1] for n in traced.graph.nodes if n.target == "forward"][-1] == 8


@pytest.mark.parametrize("home", ["packed", "masked"])
def test_a_traced_network_follows_topology_mode_and_training(home: str) -> None:
    """It holds the layers themselves."""
    model, x = network(home), torch.randn(2, 3, 5, 5)
    traced = fx.symbolic_trace(model)
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    gs.attach(model, optimizer, gs.SET(every=1, drop=0.5), total_steps=4)
    before = [model[i].topology.positions for i in (0, 3, 6)]
    for _ in range(2):
        optimizer.zero_grad()
        traced(x).square().mean().backward()
        optimizer.step()
    after = [model[i].topology.positions for i in (0, 3, 6)]
    assert not any(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    torch.manual_seed(0)
    first = traced.train()(x)
    assert not torch.equal(first, traced(x)), "dropout draws"
    assert torch.equal(traced.eval()(x), model.eval()(x))


def test_hooks_run_once() -> None:
    """Here those that act on values: they are part of the trace."""
    model, x = nn.Sequential(nn.Linear(8, 8)), torch.randn(2, 8)
    model[0].register_forward_hook(lambda _m, _i, y: y + 1)
    gs.sparsify(model, 0.5)
    assert torch.equal(fx.symbolic_trace(model)(x), model(x))
