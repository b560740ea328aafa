"""SET's options: what the published code of truly sparse networks at scale does differently."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import nn

import gossamer as gs
from gossamer.rules import LayerView
from gossamer.topology import Topology, TopologyChange
from strategies import dense_weight, differences, everything

if TYPE_CHECKING:
    from pathlib import Path


def view(values: torch.Tensor, **facts: Any) -> LayerView:
    """One row of connections."""
    topology = Topology(gs.Unstructured(), (1, 2 * values.numel()), torch.arange(values.numel()))
    generator = torch.Generator().manual_seed(0)
    return LayerView("layer", topology, values.numel(), values.unsqueeze(1), None, generator, **facts)


def published(values: list[float], zeta: float) -> list[bool]:
    """The reference's formula, in plain Python."""
    v = sorted(values)
    nearest = min(abs(x) for x in v)
    first = next(i for i, x in enumerate(v) if abs(x) == nearest)
    after = len(v) - next(i for i, x in enumerate(reversed(v)) if abs(x) == nearest)
    low, high = v[int((1 - zeta) * first)], v[min(len(v) - 1, int(after + zeta * (len(v) - after)))]
    return [x < low or x > high for x in values]


@pytest.mark.parametrize("zeta", [0.0, 0.1, 0.3, 0.9])
def test_strict_cuts_are_those_of_the_published_code(zeta: float) -> None:
    """Value by value; zeros and one-sided layers too."""
    noise = torch.randn(200, generator=torch.Generator().manual_seed(1)).double()
    zeros = noise.clone()
    zeros[::10] = 0
    for values in (noise, zeros, noise.abs(), -noise.abs()):
        kept = gs.SET(strict=True).keep(view(values), zeta)
        assert kept.tolist() == published(values.tolist(), zeta)


def test_strict_cuts_remove_two_more() -> None:
    """302 of 1000 Gaussian weights at zeta 0.3; the exact rule removes what was asked for."""
    values = torch.randn(1000, generator=torch.Generator().manual_seed(0)).double()
    assert int((~gs.SET(strict=True).keep(view(values), 0.3)).sum()) == 302
    assert int((~gs.SET().keep(view(values), 0.3)).sum()) in (299, 300)


def test_the_output_layer_can_be_spared() -> None:
    """It stays; hidden layers do not."""
    values = torch.randn(50)
    output = view(values, is_output=True)
    assert torch.equal(gs.SET(spare_output=True).update(output, 0.3), output.positions)
    assert not torch.equal(gs.SET().update(output, 0.3), output.positions)
    assert not torch.equal(gs.SET(spare_output=True).update(view(values), 0.3), output.positions)


# --- fresh values ---------------------------------------------------------------------------------------------


def network(home: str = "packed", dropout: float = 0.1) -> tuple[nn.Sequential, torch.optim.Optimizer, Any]:
    """A small network by the published recipe."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(16, 12), gs.AllReLU(0.6), nn.Dropout(dropout), nn.Linear(12, 8)).double()
    generator = torch.Generator().manual_seed(0)
    gs.sparsify(model, 0.4, gs.Unstructured(), home=home, init="dense", law="he_uniform", generator=generator)
    optimizer = gs.SGDW(model.parameters(), lr=0.01, weight_decay=2e-4)
    rule = gs.SET(every=3, fresh=True, strict=True, spare_output=True)
    return model, optimizer, gs.attach(model, optimizer, rule, total_steps=12)


def step(model: nn.Module, optimizer: torch.optim.Optimizer, number: int) -> None:
    """One step on data of its own."""
    x = torch.randn(8, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(number))
    optimizer.zero_grad()
    (model(x) - x[:, :8]).square().mean().backward()
    optimizer.step()


def test_forgetting_makes_a_returned_unit_new() -> None:
    """Without it a unit that is in both topologies keeps its value."""
    old = Topology(gs.Unstructured(), (1, 6), torch.tensor([0, 2, 4]))
    new = Topology(gs.Unstructured(), (1, 6), torch.tensor([0, 2, 5]))
    change = TopologyChange.between(old, new).forgetting(torch.tensor([True, False, False]))
    assert change.source.tolist() == [0, -1, -1]
    assert (change.grown, change.dropped) == (2, 2)


@pytest.mark.parametrize("home", ["packed", "masked"])
def test_grown_values_follow_the_initial_law_and_their_momentum_is_zero(home: str) -> None:
    """Within the bound of the law, not zero, survivors untouched; the output layer stays."""
    model, optimizer, engine = network(home)
    for number in range(3):
        before = {name: (layer.topology, dense_weight(layer)) for name, layer in engine.layers.items()}
        moved = {name: layer.weights for name, layer in engine.layers.items()}
        step(model, optimizer, number)
    assert {row.layer: row.grown > 0 for row in engine.history} == {"0": True, "3": False}
    layer, (topology, _) = model[0], before["0"]
    grown = layer.topology.mask() & ~topology.mask()
    assert int(grown.sum()) > 0
    values = dense_weight(layer)[grown]
    assert bool((values != 0).all())
    assert float(values.abs().max()) <= (6 / 16) ** 0.5
    state = optimizer.state[moved["0"]]["momentum_buffer"]
    if home == "packed":
        state = topology.pattern.unpack(state[: layer.connections], layer.topology.positions, layer.grid)
    assert int(state[grown].count_nonzero()) == 0
    assert int(state[layer.topology.mask() & topology.mask()].count_nonzero()) > 0


def test_both_homes_draw_the_same_values() -> None:
    """Step by step."""
    runs = [network(home, dropout=0.0) for home in ("packed", "masked")]
    for number in range(12):
        for model, optimizer, _ in runs:
            step(model, optimizer, number)
        for one, other in zip(*(engine.layers.values() for _, _, engine in runs), strict=True):
            torch.testing.assert_close(dense_weight(one), dense_weight(other), rtol=1e-11, atol=1e-13)
    assert runs[0][2].history == runs[1][2].history


def test_resuming_is_no_interruption(tmp_path: Path) -> None:
    """The law's draws depend on the step alone."""
    whole = network()
    for number in range(12):
        if number == 5:
            gs.save_checkpoint(tmp_path / "c", *whole)
        step(*whole[:2], number)
    again = network()
    torch.manual_seed(99)
    gs.load_checkpoint(tmp_path / "c", *again)
    for number in range(5, 12):
        step(*again[:2], number)
    assert differences(everything(*whole[:2]), everything(*again[:2])) == []
