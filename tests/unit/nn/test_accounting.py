"""Counted, not estimated: connections, bytes with their indices, operations with their positions."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import gossamer as gs
from gossamer.nn import count


def test_packed_layer_by_hand():
    layer = gs.SparseLinear(300, 20, density=0.1)
    (row,) = count(nn.Sequential(layer))
    assert (row.name, row.kind, row.shape, row.connections) == ("0", "SparseLinear", (20, 300), 600)
    assert (row.value_bytes, row.index_bytes, row.bias_bytes) == (600 * 4, 600 * 2 + 20 * 2, 20 * 4)
    assert row.bytes == 2400 + 1240 + 80
    assert (row.flops, row.dense_flops, row.density) == (1200, 12000, 0.1)
    assert (row.fan_in, row.active) == ({30: 20}, 20)


def test_index_bytes_of_every_pattern():
    for pattern, index in (
        (gs.Unstructured(), 4 * 9 + 2 * 64),
        (gs.FanIn(4), 2 * 2 + 2 * 16),
        (gs.NM(1, 4), 64),
    ):
        (row,) = count(gs.SparseLinear(32, 8, density=0.25, pattern=pattern))
        assert (row.connections, row.index_bytes) == (64, index)


def test_masked_layer_saves_nothing():
    (row,) = count(gs.MaskedLinear(32, 8, density=0.25, bias=False))
    assert (row.connections, row.value_bytes, row.index_bytes, row.bias_bytes) == (64, 1024, 256, 0)


def test_convolution_needs_an_example_for_its_operations():
    model = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.Flatten(), nn.Linear(8 * 25, 4))
    gs.sparsify(model, 0.5, allocation="uniform", skip=["2"])
    rows = count(model)
    assert (rows[0].flops, rows[0].dense_flops) == (None, None)
    assert rows[1].flops == 2 * 800
    conv, linear = count(model, torch.randn(2, 3, 5, 5))
    assert (conv.kind, conv.shape, conv.connections) == ("SparseConv2d", (8, 27), 104)
    assert (conv.flops, conv.dense_flops) == (2 * 104 * 25, 2 * 216 * 25)
    assert linear.flops == 2 * 800


def test_sequences_and_shared_layers_count_every_use_once():
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(6, 6)
            self.same = self.fc

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.same(self.fc(x))

    (row,) = count(Twice(), torch.randn(4, 5, 6))
    assert row.connections == 36
    assert row.flops == 2 * 36 * 5 * 2


def test_counting_leaves_the_model_alone():
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4)).train()
    mean = model[1].running_mean.clone()
    count(model, torch.randn(8, 4))
    assert model.training
    assert torch.equal(mean, model[1].running_mean)
    assert not model[0]._forward_hooks


def test_ablated_neurons_are_not_active():
    layer = gs.SparseLinear(8, 4, density=0.5)
    topology = layer.topology
    stays = topology.positions // 8 != 1
    layer.assign(
        gs.topology.Topology(layer.pattern, (4, 8), topology.positions[stays]),
        layer.unit_values()[stays].reshape(-1),
    )
    (row,) = count(layer)
    assert (row.connections, row.active, row.fan_in) == (12, 3, {0: 1, 4: 3})


def test_model_without_layers():
    assert count(nn.ReLU(), torch.ones(1)) == []
    with pytest.raises(AttributeError):
        count("model")
