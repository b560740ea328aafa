"""Dead neurons are removed for good, exactly, and only where that is right."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import gossamer as gs
from gossamer.topology import Topology


def unread(layer: nn.Module, columns: list[int]) -> None:
    """Take every connection from some inputs of an unstructured layer."""
    topology = layer.topology
    stays = ~torch.isin(topology.positions % layer.grid.cols, torch.tensor(columns))
    layer.assign(
        Topology(layer.pattern, layer.shape, topology.positions[stays]),
        layer.unit_values()[stays].reshape(-1),
    )


def shapes(frozen) -> list[tuple[int, int]]:
    return [layer.shape for _, layer in frozen.graph.layers()]


@pytest.mark.parametrize("home", ["packed", "masked"])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("pattern", ["unstructured", "fanin"])
def test_neuron_without_inputs_is_folded(mlp, check_same, ablate, pattern, bias, home):
    model = mlp(pattern, 0.4, bias=bias, home=home)
    ablate(model[0], [0, 7, 23])
    frozen = gs.freeze(model, torch.randn(4, 32), keep="csr")
    assert frozen.plan["layers"][0]["constant"] == 3
    assert shapes(frozen)[0] == (21, 32)
    check_same(frozen, model, torch.randn(9, 32))


def test_cascade_forwards_across_three_layers(mlp, check_same, ablate):
    """Neuron 3 of the second layer reads only neuron 5 of the first, which is dead; then it is dead too."""
    model = mlp("unstructured", 0.5)
    ablate(model[0], [5])
    topology = model[2].topology
    row = topology.positions // 24
    stays = (row != 3) | (topology.positions % 24 == 5)
    positions = torch.unique(torch.cat([topology.positions[stays], torch.tensor([3 * 24 + 5])]))
    model[2].assign(Topology(model[2].pattern, (16, 24), positions), torch.randn(positions.numel()))
    frozen = gs.freeze(model, torch.randn(4, 32), keep="csr")
    assert shapes(frozen) == [(23, 32), (15, 23), (8, 15)]
    check_same(frozen, model, torch.randn(9, 32))


def test_cascade_backwards(mlp, check_same):
    """Nothing reads neuron 2 of the second layer, and neuron 4 of the first feeds only that one."""
    model = mlp("unstructured", 0.6)
    unread(model[4], [2])
    topology = model[2].topology
    stays = (topology.positions % 24 != 4) | (topology.positions // 24 == 2)
    model[2].assign(
        Topology(model[2].pattern, (16, 24), topology.positions[stays]),
        model[2].unit_values()[stays].reshape(-1),
    )
    frozen = gs.freeze(model, torch.randn(4, 32), keep="csr")
    assert shapes(frozen) == [(23, 32), (15, 23), (8, 15)]
    assert [row["unread"] for row in frozen.plan["layers"]] == [1, 1, 0]
    check_same(frozen, model, torch.randn(9, 32))


def test_weights_that_cancel_are_not_dead(check_same):
    model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    gs.sparsify(model, 0.5, gs.Unstructured(), "uniform", skip=["2"])
    with torch.no_grad():
        model[0].assign(
            Topology(model[0].pattern, (3, 4), torch.tensor([0, 1, 4, 5, 8, 9])),
            torch.tensor([1.0, -1, 2, -2, 0, 0]),
        )
    frozen = gs.freeze(model, torch.randn(1, 4), keep="csr")
    assert shapes(frozen) == [(3, 4), (2, 3)]
    check_same(frozen, model, torch.randn(5, 4))


def test_everything_dead_leaves_one_neuron(mlp, check_same, ablate):
    model = mlp("fanin")
    ablate(model[0], list(range(24)))
    for keep in ("csr", "dense"):
        frozen = gs.freeze(model, torch.randn(4, 32), keep=keep)
        assert shapes(frozen)[0] == (1, 32)
        check_same(frozen, model, torch.randn(5, 32))


def test_groups_go_as_a_whole(mlp, check_same, ablate):
    model = mlp("fanin:4", 0.3)
    ablate(model[0], [1])
    model[2] = nn.Linear(24, 16)
    with torch.no_grad():
        model[2].weight[:, [0, 8, 9, 10, 11]] = 0  # one neuron of a group, and a whole group
    frozen = gs.freeze(model, torch.randn(4, 32), keep={"0": "fanin"}, candidates=["dense"])
    assert shapes(frozen)[0] == (16, 32)
    assert frozen.graph.layers()[0][1].stored.parameters == {"group": 4}
    check_same(frozen, model, torch.randn(9, 32))


def test_nm_reader_loses_whole_tiles_only(mlp, check_same):
    model = mlp("nm:1:4")
    first = nn.Linear(32, 24)
    with torch.no_grad():
        first.weight[[0, 1, 2, 3, 9]] = 0
    model[0] = first
    frozen = gs.freeze(model, torch.randn(4, 32), keep={"2": "nm", "4": "nm"}, candidates=["dense"])
    assert shapes(frozen) == [(20, 32), (16, 20), (8, 16)]
    check_same(frozen, model, torch.randn(9, 32))


def test_nm_layer_loses_neurons_nobody_reads(mlp, check_same):
    model = mlp("nm:1:4")
    last = nn.Linear(16, 8)
    with torch.no_grad():
        last.weight[:, [3, 4]] = 0
    model[4] = last
    frozen = gs.freeze(model, torch.randn(4, 32), keep={"2": "nm_lanes"}, candidates=["dense"])
    assert shapes(frozen)[1:] == [(14, 24), (8, 14)]
    check_same(frozen, model, torch.randn(9, 32))


def test_fan_in_layout_survives_removed_inputs(mlp, check_same, ablate):
    """Fan-ins become uneven; zeros fill them up, as long as they are few."""
    model = mlp("fanin", 0.5)
    ablate(model[0], [4])
    frozen = gs.freeze(model, torch.randn(4, 32), keep={"2": "fanin"}, candidates=["csr"])
    layer = frozen.graph.layers()[1][1]
    assert layer.shape == (16, 23)
    assert layer.stored.values.size >= frozen.plan["layers"][1]["connections"]
    check_same(frozen, model, torch.randn(9, 32))


def test_outputs_stay(mlp, check_same, ablate):
    model = mlp("fanin", 0.3)
    ablate(model[4], [0, 1])
    for keep in ("csr", "fanin"):
        frozen = gs.freeze(model, torch.randn(4, 32), keep=keep)
        assert shapes(frozen)[-1][0] == 8
        check_same(frozen, model, torch.randn(9, 32))


class Residual(nn.Module):
    """The hidden layer is read twice, and a sum reads what is dead on one side only."""

    def __init__(self) -> None:
        super().__init__()
        self.enter, self.inner, self.leave = nn.Linear(32, 16), nn.Linear(16, 16), nn.Linear(16, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = torch.relu(self.enter(x))
        return self.leave(h + torch.tanh(self.inner(h)))


@pytest.mark.parametrize("keep", ["csr", "dense", "fanin"])
def test_a_neuron_leaves_a_residual_where_it_is_dead_on_both_sides(check_same, ablate, keep):
    model = Residual()
    gs.sparsify(model, 0.4, allocation="uniform")
    for layer, dead in ((model.enter, [2, 3]), (model.inner, [3, 4])):
        nn.init.normal_(layer.bias)
        ablate(layer, dead)
    frozen = gs.freeze(model, torch.randn(4, 32), keep=keep)
    assert frozen.plan["notes"] == []
    assert shapes(frozen) == [(15, 32), (15, 15), (4, 15)]
    check_same(frozen, model, torch.randn(9, 32))


def test_unused_inputs_are_counted_and_a_slice_leaves_them_out(check_same):
    model = nn.Sequential(nn.Linear(32, 8))
    with torch.no_grad():
        model[0].weight[:, 8:] = 0
        model[0].weight[3] = 0
    frozen = gs.freeze(model, torch.randn(4, 32), keep="slice")
    row = frozen.plan["layers"][0]
    assert (row["unused_inputs"], row["connections"], row["bytes"]) == (24, 56, 56 * 4 + (7 + 8) * 2)
    check_same(frozen, model, torch.randn(9, 32))
