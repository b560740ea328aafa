"""Importance pruning: who goes, what goes with them, and what stays as it was."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

import gossamer as gs
from gossamer.errors import ConfigError, PatternError
from gossamer.rules import LayerView
from gossamer.topology import Topology
from gossamer.trace.links import links
from strategies import dense_weight


def view(weight: list[list[float]], step: int = 1, **facts: Any) -> LayerView:
    """A layer from its dense weight; zeros are no connections."""
    dense = torch.tensor(weight, dtype=torch.float64)
    positions = dense.reshape(-1).nonzero().squeeze(1)
    topology = Topology(gs.Unstructured(), tuple(dense.shape), positions)
    values = dense.reshape(-1)[positions].unsqueeze(1)
    generator = torch.Generator().manual_seed(0)
    return LayerView(
        "layer", topology, positions.numel(), values, None, generator, step=step, total_steps=10, **facts
    )


WEIGHT = [[1.0, 0, -2], [0.5, 0, 0], [0, 0, 0], [-3.0, 1, 0]]  # importances 3, 0.5, 0, 4


def rows_left(rule: gs.ImportancePruning, layer: LayerView, share: float) -> list[int]:
    """Neurons that still have connections."""
    return torch.unique(rule.update(layer, share) // layer.topology.grid.cols).tolist()


def test_the_weakest_share_of_those_left_goes() -> None:
    """The neuron without connections is not counted; the published code counts it."""
    clean, published = gs.ImportancePruning(every=1), gs.ImportancePruning(every=1, published=True)
    assert rows_left(clean, view(WEIGHT), 0.0) == [0, 3]  # the minimum itself goes: not larger than the cut
    assert rows_left(clean, view(WEIGHT), 0.5) == [3]
    assert rows_left(published, view(WEIGHT), 0.25) == [0, 1, 3]
    assert rows_left(published, view(WEIGHT), 0.34) == [0, 3]


def test_the_strongest_always_stays() -> None:
    """Even where all are equal."""
    for published in (False, True):
        rule = gs.ImportancePruning(every=1, published=published)
        assert rows_left(rule, view(WEIGHT), 1.0) == [3]
        assert rows_left(rule, view([[1.0, 0], [0, 1.0]]), 0.5) == [0, 1]


def test_outputs_and_steps_without_pruning_are_left_alone() -> None:
    """Also before ``begin``."""
    layer = view(WEIGHT)
    for rule, untouched in (
        (gs.ImportancePruning(every=1), view(WEIGHT, is_output=True)),
        (gs.ImportancePruning(every=2), layer),
        (gs.ImportancePruning(every=1, begin=2), layer),
    ):
        assert torch.equal(rule.update(untouched, 0.9), untouched.positions)


def test_inputs_of_removed_neurons_go_too() -> None:
    """Both layers come to the same neurons by themselves."""
    first, second = view(WEIGHT), view([[1.0, 1, 1, 1], [1, 0, 0, 1]], is_output=True)
    rule = gs.ImportancePruning(every=1)
    left = rows_left(rule, replace(first, reader=second), 0.5)
    columns = rule.update(replace(second, source=first), 0.5) % 4
    assert left == [0, 3]
    assert columns.tolist() == [0, 3, 0, 3]


def network(
    second: nn.Module | None = None, **settings: Any
) -> tuple[nn.Sequential, torch.optim.Optimizer, Any]:
    """Two hidden layers of 12 and 10 neurons, removed every second step beside SET."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(16, 12), gs.AllReLU(0.6), nn.Dropout(0.2), nn.Linear(12, 10), nn.Tanh(), nn.Linear(10, 8)
    ).double()
    gs.sparsify(model, 0.5, gs.Unstructured(), "uniform")
    if second is not None:
        model[5] = second
    for parameter in (model[0].bias, model[3].bias):
        nn.init.normal_(parameter)
    optimizer = gs.SGDW(model.parameters(), lr=0.01)
    rule = gs.ImportancePruning(**{"every": 2, "drop": 0.3, "then": gs.SET(every=1), **settings})
    return model, optimizer, gs.attach(model, optimizer, rule, total_steps=20)


def steps(model: nn.Module, optimizer: torch.optim.Optimizer, number: int) -> None:
    """So many training steps."""
    for _ in range(number):
        optimizer.zero_grad()
        model(torch.randn(8, 16, dtype=torch.float64)).square().mean().backward()
        optimizer.step()


def test_removed_neurons_stay_removed_and_have_no_connections_at_all() -> None:
    """SET goes on around them; the number left falls round by round."""
    model, optimizer, engine = network()
    dead = torch.zeros(12, dtype=torch.bool)
    for _ in range(8):
        steps(model, optimizer, 1)
        now = (model[0].topology.fan_in() == 0) & (model[3].topology.fan_out() == 0)
        assert bool((now | ~dead).all())  # once dead, always dead
        dead = now
    active = [row.active for row in engine.history if row.layer == "0"]
    assert active == sorted(active, reverse=True)
    assert int(dead.sum()) == 12 - active[-1] >= 8
    assert min(row.active for row in engine.history if row.layer == "5") > 0
    assert sum(row.grown for row in engine.history) > 0
    assert bool((model[5].topology.fan_out() > 0).eq(model[3].topology.fan_in() > 0).any())


def test_published_neurons_keep_what_leaves_them_and_may_return() -> None:
    """Only incoming connections go."""
    model, optimizer, _ = network(published=True, then=gs.SET(every=3))
    before = model[3].topology.fan_out()
    bias = model[3].bias.detach().clone()
    steps(model, optimizer, 2)
    empty = model[0].topology.fan_in() == 0
    after = model[3].topology.fan_out()
    assert int(after.sum()) > int(0.6 * before.sum())
    assert int(empty.sum()) > 0
    steps(model, optimizer, 1)  # SET alone
    assert int((model[0].topology.fan_in()[empty] > 0).sum()) > 0
    assert not torch.equal(bias, model[3].bias)


@pytest.mark.parametrize("activation", [gs.AllReLU(0.6), gs.AllReLU(0.6, 3), nn.Tanh(), nn.Sigmoid()])
def test_removing_neurons_that_were_constant_changes_no_output(activation: nn.Module) -> None:
    """Their constant moves into the next bias, through the activation between."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(16, 12), activation, nn.Dropout(0.5), nn.Linear(12, 8)).double()
    gs.sparsify(model, 0.5, gs.Unstructured(), "uniform")
    nn.init.normal_(model[0].bias)
    constant = torch.arange(12) < 4
    with torch.no_grad():
        model[0].values[constant[model[0].topology.positions // 16]] = 0
    x = torch.randn(5, 16, dtype=torch.float64)
    before = model.eval()(x)
    rows = gs.prune_neurons(model, 0.3)
    assert [row.active for row in rows] == [8, 8]
    assert int(model[3].topology.fan_out()[constant].sum()) == 0
    torch.testing.assert_close(model(x), before, rtol=1e-12, atol=1e-13)


def test_a_dense_reader_keeps_its_weights() -> None:
    """The neurons give their constant; freezing folds it."""
    model, optimizer, _ = network(nn.Linear(10, 8).double())
    steps(model, optimizer, 6)
    assert int((model[3].topology.fan_in() == 0).sum()) >= 5
    assert isinstance(model[5], nn.Linear)
    x = torch.randn(3, 16, dtype=torch.float64)
    frozen = gs.freeze(model.eval(), x)
    torch.testing.assert_close(frozen(x), model(x))


def test_frozen_networks_are_smaller() -> None:
    """What was removed is not stored."""
    model, _, engine = network()
    engine.detach()
    gs.prune_neurons(model, 0.5)
    frozen = gs.freeze(model.float().eval(), torch.randn(3, 16))
    assert [body.shape for _, body in frozen.graph.layers()] == [(6, 16), (5, 6), (8, 5)]


def test_connections_fall_and_optimizer_state_stays_zero_behind_them() -> None:
    """The flat vectors keep their size; the spare end is zero."""
    model, optimizer, _ = network()
    steps(model, optimizer, 4)
    layer = model[0]
    assert layer.connections < layer.values.numel()
    state = optimizer.state[layer.values]["momentum_buffer"]
    assert (
        int(layer.values[layer.connections :].count_nonzero() + state[layer.connections :].count_nonzero())
        == 0
    )
    assert int(dense_weight(layer).count_nonzero()) <= layer.connections


# --- refusals, and who reads whom -------------------------------------------------------------------------------


def test_what_cannot_be_pruned_is_refused() -> None:
    """Gradient growth beside it, patterns with fixed fan-ins, readers without a bias, shares out of range."""
    with pytest.raises(ConfigError, match="without gradients"):
        gs.ImportancePruning(then=gs.RigL())
    with pytest.raises(ConfigError, match="without gradients"):
        gs.ImportancePruning(then=gs.ImportancePruning())
    model = nn.Sequential(nn.Linear(16, 12), nn.ReLU(), nn.Linear(12, 8, bias=False))
    gs.sparsify(model, 0.5, gs.Unstructured())
    with pytest.raises(ConfigError, match="biases"):
        gs.prune_neurons(model, 0.1)
    gs.prune_neurons(model, 0.1, published=True)
    for wrong in (1.5, -1, float("nan"), "0.3", None, True, [0.1, 0.2], 10**400):
        with pytest.raises(ConfigError, match="share"):
            gs.prune_neurons(model, wrong)
    other = nn.Sequential(nn.Linear(16, 12), nn.ReLU(), nn.Linear(12, 8))
    gs.sparsify(other, 0.5, gs.FanIn())
    with pytest.raises(PatternError, match="fanin"):
        gs.prune_neurons(other, 0.1)
    followed, _optimizer, _engine = network()
    with pytest.raises(ConfigError, match="no other engine"):
        gs.prune_neurons(followed, 0.1)


def sparse(inputs: int = 8, outputs: int = 8) -> gs.SparseLinear:
    """A layer."""
    return gs.SparseLinear(inputs, outputs, density=0.5, pattern=gs.Unstructured())


def test_links_are_found_in_sequentials_only_and_never_through_the_unknown() -> None:
    """Nested ones are opened; a softmax, a dense layer or a second use breaks the chain."""
    shared = sparse()
    cases = [
        (nn.Sequential(sparse(), nn.Dropout(), nn.ReLU(), sparse()), [("0", "3")]),
        (nn.Sequential(nn.Sequential(sparse(), nn.ReLU()), nn.Sequential(sparse())), [("0.0", "1.0")]),
        (nn.Sequential(sparse(), nn.Softmax(1), sparse(), sparse()), [("2", "3")]),
        (nn.Sequential(sparse(), nn.Linear(8, 8), sparse()), []),
        (nn.Sequential(shared, nn.ReLU(), shared, sparse()), []),
        (nn.ModuleList([sparse(), sparse()]), []),
        (nn.ModuleDict({"body": nn.Sequential(sparse(), sparse())}), [("body.0", "body.1")]),
    ]
    for model, expected in cases:
        assert [(link.source, link.reader) for link in links(model)] == expected
