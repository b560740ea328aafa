"""MEST and SNFS on layers of eight weights worked out by hand, and what they share: gradients, memory, all layers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

import gossamer as gs
from gossamer.errors import ConfigError, NonFiniteError, PatternError, StateError
from gossamer.rules import LayerView, Rule
from gossamer.rules.snfs import shared_out
from gossamer.topology import TileScores, Topology
from strategies import make_model, train_step


class Given:
    """Gradient and optimizer state as a test wants them."""

    def __init__(self, gradients: list[float] | None = None, **moments: list[float]) -> None:
        self._gradients, self._moments = gradients, moments

    def gradients(self) -> torch.Tensor | None:
        """[units, 1]."""
        return None if self._gradients is None else torch.tensor(self._gradients).unsqueeze(1)

    def moment(self, name: str) -> torch.Tensor | None:
        """[units, 1]."""
        return torch.tensor(self._moments[name]).unsqueeze(1) if name in self._moments else None


def view(
    rule: Rule, positions: list[int], values: list[float], stored: Given, dense: Any = None, **facts: Any
) -> LayerView:
    """A layer of 2 x 8 positions."""
    topology = Topology(gs.Unstructured(), (2, 8), torch.tensor(positions))
    scores = None if dense is None else TileScores(topology.grid, lambda r, c: dense[r, c].clone())
    weights = torch.tensor(values).unsqueeze(1)
    settings = {"name": "layer", "capacity": len(positions), **facts}
    seen = LayerView(
        topology=topology,
        values=weights,
        gradient=scores,
        generator=torch.Generator().manual_seed(0),
        stored=stored,
        **settings,
    )
    return replace(seen, state=rule.new_state(seen))


WEIGHTS = [0.1, -0.2, 0.3, -0.4, 0.5, -0.6, 0.7, -0.8]
PLACES = [0, 1, 2, 3, 8, 9, 10, 11]


# --- MEST ---------------------------------------------------------------------------------------------------


def test_mest_drops_what_is_small_in_weight_and_gradient() -> None:
    """Scores with lam 2: .1 + .9, .2, .3 + .1, .4, .5, .6, .7, .8: the second is the smallest, not the first."""
    stored = Given([-0.45, 0.0, 0.05, 0.0, 0.0, 0.0, 0.0, 0.0])
    rule = gs.MEST(lam=2.0)
    kept = rule.keep(view(rule, PLACES, WEIGHTS, stored), 0.125)
    assert kept.tolist() == [True, False, True, True, True, True, True, True]
    assert (
        gs.MEST(lam=0.0).keep(view(rule, PLACES, WEIGHTS, stored), 0.25).tolist() == [False] * 2 + [True] * 6
    )


def test_mest_grows_at_random_and_keeps_the_count() -> None:
    """As many as before, the survivors among them."""
    rule = gs.MEST()
    layer = view(rule, PLACES, WEIGHTS, Given([0.0] * 8))
    new = rule.update(layer, 0.5)
    assert new.numel() == 8
    assert set(PLACES[4:]) <= set(new.tolist())


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_gradient_that_is_not_finite_is_refused(bad: float) -> None:
    """Before anything is decided."""
    rule = gs.MEST()
    with pytest.raises(NonFiniteError, match="gradients in layer"):
        rule.keep(view(rule, PLACES, WEIGHTS, Given([bad] + [0.0] * 7)), 0.5)


def test_no_gradient_is_said() -> None:
    """And not taken for zeros."""
    with pytest.raises(StateError, match="gradient of the step just made"):
        _ = view(gs.MEST(), PLACES, WEIGHTS, Given()).gradients


@pytest.mark.parametrize("lam", [-1, float("nan"), float("inf"), 1e308, "1", True])
def test_settings_of_mest_are_checked(lam: Any) -> None:
    """One number, not negative."""
    with pytest.raises(ConfigError, match="lam"):
        gs.MEST(lam=lam)


# --- SNFS ---------------------------------------------------------------------------------------------------


def test_snfs_grows_where_the_smoothed_gradient_is_largest() -> None:
    """beta 0.5. First update: gradients 4 and 3 at 4 and 5. Second: they are 0 and -4, and 6 has 2: .5*1.5 - 2 wins."""
    rule = gs.SNFS(beta=0.5, spare=0.0)
    dense = torch.zeros(2, 8)
    dense[0, 4], dense[0, 5] = 4.0, 3.0
    layer = view(rule, PLACES, WEIGHTS, Given([1.0] * 8), dense)
    new = rule.update(layer, 0.125)
    assert new.tolist() == [1, 2, 3, 4, 8, 9, 10, 11]
    remembered = dict(
        zip(layer.state["positions"].tolist(), layer.state["smoothed"].view(-1).tolist(), strict=True)
    )
    assert (remembered[4], remembered[5]) == (2.0, 1.5)
    later = torch.zeros(2, 8)
    later[0, 5], later[0, 6] = 4.0, -2.0
    again = view(rule, new.tolist(), WEIGHTS, Given([1.0] * 8), later)
    again = replace(again, state=dict(layer.state))
    assert 5 in rule.update(again, 0.125).tolist()
    smoothed = dict(
        zip(again.state["positions"].tolist(), again.state["smoothed"].view(-1).tolist(), strict=True)
    )
    assert (smoothed[5], smoothed[6]) == (0.5 * 1.5 + 0.5 * 4, -1.0)


def test_snfs_moves_connections_to_the_layer_with_more_momentum() -> None:
    """Both drop 4 of 8 and give up 2; of the 4 that are grown, three quarters go to the second layer."""
    rule = gs.SNFS(beta=0.0, spare=0.25)
    dense = torch.arange(16.0).view(2, 8)
    layers = [
        view(rule, PLACES, WEIGHTS, Given(momentum_buffer=[m] * 8), dense, name=name)
        for name, m in (("a", 1.0), ("b", -3.0))
    ]
    new = rule.plan(layers, 0.5)
    assert {name: found.numel() for name, found in new.items()} == {"a": 4 + 1, "b": 4 + 3}
    assert [layer.state["surplus"] for layer in layers] == [0, 0]


def test_snfs_reads_the_momentum_that_the_optimizer_keeps() -> None:
    """Adam's step direction before the learning rate; without state, the gradient."""
    from gossamer.rules.snfs import _mean_momentum

    rule = gs.SNFS()
    adam = Given([9.0] * 8, exp_avg=[1.0] * 8, exp_avg_sq=[4.0] * 8)
    assert _mean_momentum(view(rule, PLACES, WEIGHTS, adam)) == pytest.approx(0.5)
    assert _mean_momentum(view(rule, PLACES, WEIGHTS, Given([-2.0] * 8))) == 2.0


def test_sharing_out_fills_rooms_and_loses_nothing() -> None:
    """Overflow goes to those with room; without momentum all get the same."""
    assert shared_out(10, [1.0, 0.0], [3, 20]) == [3, 7]
    assert shared_out(5, [0.0, 0.0, 0.0], [9, 9, 9]) in ([2, 2, 1], [1, 2, 2])
    assert shared_out(50, [1.0, 2.0], [3, 4]) == [3, 4]
    assert shared_out(0, [1.0], [3]) == [0]


def test_patterns_with_fixed_counts_are_refused() -> None:
    """With what to use instead."""
    for pattern in (gs.FanIn(), gs.NM(1, 4)):
        with pytest.raises(PatternError, match="use Unstructured"):
            gs.SNFS().check(pattern)
    gs.SNFS().check(gs.Block(4))


@pytest.mark.parametrize("settings", [{"beta": 1.0}, {"beta": -0.1}, {"spare": 1.0}, {"spare": "a"}])
def test_settings_of_snfs_are_checked(settings: dict[str, Any]) -> None:
    """Shares below one."""
    with pytest.raises(ConfigError, match=next(iter(settings))):
        gs.SNFS(**settings)


@pytest.mark.parametrize("home", ["packed", "masked"])
def test_the_total_is_kept_exactly_while_layers_exchange(home: str) -> None:
    """After the first update the sum over layers is one number; single layers change; none exceeds its capacity."""
    model = make_model(home, gs.Unstructured())
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    engine = gs.attach(model, optimizer, gs.SNFS(every=2), total_steps=24)
    for step in range(20):
        train_step(model, optimizer, step)
    by_step: dict[int, list[int]] = {}
    for row in engine.history:
        by_step.setdefault(row.step, []).append(row.connections)
    capacities = [layer.capacity for layer in engine.layers.values()]
    assert {sum(counts) for counts in by_step.values()} == {sum(c - int(0.2 * c) for c in capacities)}
    assert len({tuple(counts) for counts in by_step.values()}) > 1
    assert all(n <= c for counts in by_step.values() for n, c in zip(counts, capacities, strict=True))
