"""sparsify(init="keep"): what was pruned stays pruned, and the report says what was kept."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.utils import prune

import gossamer as gs


@pytest.mark.parametrize("home", ["packed", "masked"])
def test_what_torch_pruned_stays_pruned(home: str) -> None:
    """Its mask decides the topology, whatever the optimizer did to the weight below since; nothing of it is left."""
    model = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 8))
    prune.l1_unstructured(model[0], "weight", 0.9)
    with torch.no_grad():
        model[0].weight_orig += 1.0
    mask, values = model[0].weight_mask.bool(), model[0].weight_orig.detach().clone()
    report = gs.sparsify(model, 0.1, "unstructured", "uniform", home=home, init="keep", skip=["2"])
    layer = model[0]
    assert torch.equal(layer.topology.mask(), mask)
    assert torch.equal(layer.to_dense(), values * mask)
    assert "205 of 205" in report.layers[0].note
    assert not layer._forward_pre_hooks
    assert not [name for name in layer.state_dict() if "orig" in name or name.endswith("weight_mask")]
    assert layer(torch.randn(2, 64)).shape == (2, 32)


@pytest.mark.parametrize("pattern", ["unstructured", "fanin", "fanin:4", "nm:1:8", "block:4"])
def test_of_a_layer_with_zeros_the_largest_weights_are_kept(pattern: str) -> None:
    """As the pattern allows; zeros are taken only where there is room, and then at random."""
    model = nn.Sequential(nn.Linear(64, 32))
    with torch.no_grad():
        model[0].weight.masked_fill_(torch.rand(32, 64) < 0.5, 0.0)
    dense, best = model[0].weight.detach().clone(), gs.patterns.parse(pattern)
    grid = best.grid((32, 64))
    positions = best.project(dense.abs(), best.budget(0.125, (32, 64)), grid)
    gs.sparsify(model, 0.125, pattern, "uniform", init="keep")
    assert torch.equal(model[0].to_dense(), best.unpack(best.pack(dense, positions, grid), positions, grid))

    rows = torch.zeros(32, 64)
    rows[0, 0], rows[0, 5] = 1.0, -2.0
    for other in ("unstructured", "fanin"):
        model = nn.Sequential(nn.Linear(64, 32))
        model[0].weight.data.copy_(rows)
        gs.sparsify(model, 0.25, other, "uniform", init="keep", generator=torch.Generator().manual_seed(0))
        held = model[0].topology.mask()
        assert held[0, 0]
        assert held[0, 5]
        assert 0.3 < float(held[:, 32:].sum() / held.sum()) < 0.7, "zeros of the first columns alone"


def test_the_report_says_what_keeping_kept() -> None:
    """A tenth of a trained layer, at random: no pruning."""
    with pytest.warns(gs.errors.TrainingWarning, match=r"drawn at random in 0: .* gossamer\.prune"):
        report = gs.sparsify(nn.Sequential(nn.Linear(100, 50)), 0.1, allocation="uniform", init="keep")
    assert report.layers[0].note == "keeps 500 of 5,000 values, drawn at random"
    zeros = nn.Sequential(nn.Linear(100, 50))
    nn.init.zeros_(zeros[0].weight)
    assert "all of them" in gs.sparsify(zeros, 0.1, allocation="uniform", init="keep").layers[0].note


def test_a_pruned_layer_with_nan_changes_nothing() -> None:
    """The first layer is not replaced either."""
    model = nn.Sequential(nn.Linear(16, 16), nn.Linear(16, 16))
    with torch.no_grad():
        model[1].weight[0, 0], model[1].weight[1] = float("nan"), 0.0
    first = model[0]
    with pytest.raises(gs.errors.NonFiniteError, match="1"):
        gs.sparsify(model, 0.5, init="keep")
    assert model[0] is first
