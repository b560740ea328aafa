"""Gradual magnitude pruning, GraNet and AC/DC: the published course, exact counts, what comes back and with what."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import nn

import gossamer as gs
from gossamer.errors import ConfigError, FormatError, PatternError, TrainingWarning
from gossamer.patterns import Grid
from gossamer.rules import LayerView
from gossamer.topology import TileScores, Topology
from strategies import OPTIMIZERS, differences, everything, train_step

if TYPE_CHECKING:
    from pathlib import Path

    from gossamer.patterns import Pattern
    from gossamer.rules import Rule


def view(
    values: list[float],
    shape: tuple[int, int] = (2, 4),
    home: str = "packed",
    name: str = "layer",
    step: int = 5,
) -> LayerView:
    """A layer with all its connections."""
    topology = Topology(gs.Unstructured(), shape, torch.arange(len(values)))
    numbers = torch.tensor(values, dtype=torch.float64).unsqueeze(1)
    about: dict[str, Any] = {"step": step, "total_steps": 100, "home": home}
    return LayerView(name, topology, len(values), numbers, None, torch.Generator(), **about)


def full(home: str, pattern: Pattern | None = None, seed: int = 0) -> nn.Sequential:
    """A network with every connection."""
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(32, 24), nn.ReLU(), nn.Linear(24, 16))
    drawn = torch.Generator().manual_seed(seed)
    gs.sparsify(model, 1.0, pattern or gs.Unstructured(), home=home, full="sparse", generator=drawn)
    return model


def run(
    model: nn.Sequential, rule: Rule, steps: int, total: int, optimizer: str = "adamw"
) -> tuple[Any, Any]:
    """Some steps of a training."""
    optim = OPTIMIZERS[optimizer](model.parameters())
    engine = gs.attach(model, optim, rule, total_steps=total)
    for step in range(steps):
        train_step(model, optim, step)
    return engine, optim


# --- the course ---------------------------------------------------------------------------------------------


def test_the_course_is_the_published_one_and_its_last_update_reaches_the_end() -> None:
    """From 1000 to 10,000 steps; an end that is no multiple of ``every`` is reached at the multiple before it."""
    rule = gs.GradualMagnitude(begin=1000, every=500, until=1.0)
    found = [rule.fraction(step, 10_500) for step in (1000, 2000, 4000, 5500, 8000, 10_000)]
    assert found == pytest.approx([0, 0.267901, 0.633333, 0.7875, 0.890123, 0.9], abs=5e-7)
    for total in (10_500, 10_001, 999):
        odd = gs.GradualMagnitude(every=100, until=0.75, drop=0.8)
        last = max(step for step in range(total) if odd.due(step, total))
        assert odd.fraction(last, total) == 0.8


@pytest.mark.parametrize("pattern", ["unstructured", "fanin", "fanin:4", "block:4"])
@pytest.mark.parametrize("home", ["packed", "masked"])
def test_the_number_left_is_exact_after_every_update(pattern: str, home: str) -> None:
    """N - floor(s * N) units, of every neuron where neurons have quotas."""
    model, rule = full(home, gs.patterns.parse(pattern)), gs.GradualMagnitude(every=2, drop=0.75)
    engine, _ = run(model, rule, 12, 12)
    for row in engine.history:
        grid = engine.layers[row.layer].grid
        left = grid.size - int(rule.fraction(row.step, 12) * grid.size + 1e-9)
        if pattern.startswith("fanin"):
            left = left // grid.rows * grid.rows
        assert row.connections == left * grid.members
    assert [layer.topology.density for layer in engine.layers.values()] == [0.25, 0.25]


def test_ties_go_by_order_and_equal_weights_lose_the_exact_number() -> None:
    """Eight equal weights at a half keep the first four."""
    rule = gs.GradualMagnitude(returns=False)
    assert rule.update(view([1.0] * 8), 0.5).tolist() == [0, 1, 2, 3]
    assert rule.update(view([0.0] * 8), 0.3).tolist() == [0, 1, 2, 3, 4, 5]


def test_all_layers_together_keep_the_largest_of_all_and_one_each() -> None:
    """A layer whose weights are all smaller keeps its largest, with a warning; the total stays exact."""
    rule = gs.GradualMagnitude(scope="global")
    layers = [view([9, 1, 8, 2, 7, 3, 6, 4], name="a"), view([0.1, 0.2, 5, 0.3], (1, 4), name="b")]
    assert {k: v.tolist() for k, v in rule.plan(layers, 0.5).items()} == {"a": [0, 2, 4, 6, 7], "b": [2]}
    with pytest.warns(TrainingWarning, match="b would lose all"):
        found = rule.plan(layers, 0.7)
    assert {k: v.tolist() for k, v in found.items()} == {"a": [0, 2, 4], "b": [2]}
    with pytest.raises(PatternError, match="scope='layer'"):
        rule.check(gs.FanIn())


def test_packed_and_masked_agree_on_all_layers_together() -> None:
    """The same topologies and the same history."""
    for rule in (
        gs.GradualMagnitude(every=2, scope="global", returns=False),
        gs.GraNet(every=2),
        gs.ACDC(every=2),
    ):
        found = [run(full(home), rule, 12, 12, "sgd")[0] for home in ("packed", "masked")]
        assert found[0].history == found[1].history
        for packed, masked in zip(found[0].layers.values(), found[1].layers.values(), strict=True):
            assert torch.equal(packed.topology.positions, masked.topology.positions)


# --- what comes back ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("home", "left"), [("masked", [2, 3, 6, 7]), ("packed", [3, 4, 6, 7])])
def test_what_went_comes_back_with_its_value_in_masked_layers_alone(home: str, left: list[int]) -> None:
    """-3 goes with 1 and 2, and is among the four largest again once 7 has become 0.6."""
    rule = gs.GradualMagnitude()
    first = view([4.0, 1.0, -3.0, 8.0, 7.0, 2.0, 6.0, 5.0], home=home)
    there = rule.update(first, 0.375)
    assert there.tolist() == [0, 3, 4, 6, 7]
    now = torch.tensor([[0.5], [8.0], [0.6], [6.0], [5.0]], dtype=torch.float64)
    topology = Topology(gs.Unstructured(), (2, 4), there)
    second = replace(first, topology=topology, values=now)
    assert rule.update(second, 0.5).tolist() == left
    values = rule.revalued(second, torch.tensor(left))
    assert values is None if home == "packed" else values is not None and values[0] == -3.0


@pytest.mark.parametrize("optimizer", ["adamw", "nesterov_wd"])
def test_weight_decay_moves_nothing_that_went(optimizer: str) -> None:
    """The weight that comes back after forty steps is, bit for bit, the one that went."""
    model = full("masked")
    optim = OPTIMIZERS[optimizer](model.parameters())
    engine = gs.attach(model, optim, gs.GradualMagnitude(every=1, drop=0.5, until=0.9), total_steps=50)
    layer: Any = model[0]
    went: dict[int, float] = {}
    came = 0
    for step in range(50):
        before, there = layer.weight.detach().clone().flatten(), layer.mask.flatten().clone()
        train_step(model, optim, step)
        now, here = layer.weight.detach().flatten(), layer.mask.flatten()
        for place in (here & ~there).nonzero().flatten().tolist():
            came += 1
            assert float(now[place]) == went[place]
        kept = engine.state_dict()["remembered"]["0"]
        for place in (there & ~here).nonzero().flatten().tolist():
            at = int(torch.searchsorted(kept["positions"], place))
            went[place] = float(kept["values"][at])
            assert before[place] != 0
        assert int(now[~here].count_nonzero()) == 0
        if step == 30:
            with torch.no_grad():
                layer.weight[layer.mask] *= 0.01  # so that all that went is larger
    assert came > 50


def test_values_that_went_survive_a_restart(tmp_path: Path) -> None:
    """Killed between updates, the run ends with the same bits, stored values included; a damaged memory is refused."""
    rule = gs.GradualMagnitude(every=2, drop=0.6, until=1.0)

    def start(seed: int) -> tuple[Any, ...]:
        model = full("masked", seed=seed)
        optim = OPTIMIZERS["adamw"](model.parameters())
        return model, optim, gs.attach(model, optim, rule, total_steps=12)

    first = start(0)
    for step in range(12):
        if step == 7:
            gs.save_checkpoint(tmp_path / "run", *first)
        train_step(*first[:2], step)
    again = start(3)
    gs.load_checkpoint(tmp_path / "run", *again)
    for step in range(7, 12):
        train_step(*again[:2], step)
    assert differences(everything(*first[:2]), everything(*again[:2])) == []
    kept, others = (each[2].state_dict()["remembered"]["0"] for each in (first, again))
    assert differences(kept, others) == []
    state = again[2].state_dict()
    state["remembered"]["0"] = {"positions": torch.tensor([3, 1]), "values": torch.zeros(2, 1)}
    with pytest.raises(FormatError, match="ascend"):
        again[2].load_state_dict(state)


# --- GraNet -------------------------------------------------------------------------------------------------


def test_granet_prunes_then_moves_half_of_what_is_left_by_gradient() -> None:
    """Of eight, four stay; the two smallest of them move to where the gradient is largest."""
    scores = torch.tensor([[0.0, 9, 1, 0], [2, 0, 8, 3]], dtype=torch.float64)
    layer = view([8, 1, 7, 2, 6, 3, 4, 5], step=0)
    gradient = TileScores(Grid(2, 4, 1, 1), lambda rows, cols: scores[rows, cols].clone())
    layer = replace(layer, gradient=gradient)
    assert gs.GraNet().plan([layer], 0.5)["layer"].tolist() == [0, 1, 2, 6]
    assert gs.GraNet(regrow=0.0).plan([layer], 0.5)["layer"].tolist() == [0, 2, 4, 7]


def test_granet_ends_at_its_density_and_never_rises() -> None:
    """From half of the connections to a tenth."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(32, 24), nn.ReLU(), nn.Linear(24, 16))
    gs.sparsify(model, 0.5, gs.Unstructured(), "uniform", generator=torch.Generator().manual_seed(0))
    engine, _ = run(model, gs.GraNet(every=2, drop=0.9, initial=0.5), 20, 20)
    totals = [sum(row.connections for row in engine.history if row.step == step) for step in range(2, 15, 2)]
    assert totals == sorted(totals, reverse=True)
    assert totals[-1] == 1152 - int(0.9 * 1152)
    assert all(row.grown > 0 for row in engine.history if row.step < 14)


# --- AC/DC --------------------------------------------------------------------------------------------------


def test_phases_take_turns_and_the_last_one_is_compressed() -> None:
    """Steps 4, 6, 8 of 12: few, all, few; with an even number of updates the last one changes nothing."""
    for until, counts in ((0.75, [192, 768, 192]), (0.9, [192, 768, 192, 192])):
        model = full("packed")
        engine, _ = run(model, gs.ACDC(every=2, begin=4, drop=0.75, until=until, scope="layer"), 12, 12)
        assert [row.connections for row in engine.history if row.layer == "0"] == counts
        assert [row.step for row in engine.history if row.layer == "0"] == [4, 6, 8, 10][: len(counts)]


@pytest.mark.parametrize("home", ["packed", "masked"])
def test_a_decompressed_phase_begins_at_zero_and_without_momentum(home: str) -> None:
    """What comes back is zero, what stayed is as it was, and Adam has no state of the layer until its next step."""
    model = full(home)
    optim = OPTIMIZERS["adam"](model.parameters())
    engine = gs.attach(model, optim, gs.ACDC(every=2, drop=0.75, until=0.9), total_steps=9)
    layer: Any = model[0]
    for step in range(4):
        few = layer.topology.mask()
        train_step(model, optim, step)
    weight = layer.to_dense().detach()
    assert layer.connections == 768
    assert int(weight[~few].count_nonzero()) == 0
    assert int(weight[few].count_nonzero()) == int(few.sum())
    assert not optim.state.get(layer.weights)
    assert optim.state[layer.bias]["step"] == 4
    train_step(model, optim, 4)
    assert optim.state[layer.weights]["step"] == 1
    assert engine.history[-1].grown > 0


# --- refusals -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "settings"),
    [
        (gs.GradualMagnitude, {"drop": 1.0}),
        (gs.GradualMagnitude, {"drop": 0.3, "initial": 0.5}),
        (gs.GradualMagnitude, {"scope": "row"}),
        (gs.GraNet, {"regrow": 1.5}),
        (gs.ACDC, {"initial": 0.5}),
    ],
)
def test_settings_out_of_range_are_refused(rule: type[Rule], settings: dict[str, Any]) -> None:
    """Before anything is attached."""
    with pytest.raises(ConfigError):
        rule(**settings)


def test_a_rule_that_would_do_nothing_says_so() -> None:
    """A layer that has fewer connections than shall stay; neurons that cannot lose so many."""
    few = [Topology(gs.Unstructured(), (4, 4), torch.arange(1))]
    assert "gone before" in gs.GradualMagnitude(every=1).idle(100, few)
    thin = [Topology(gs.FanIn(), (4, 4), torch.arange(16))]
    assert "keep one" in gs.GradualMagnitude(every=1).idle(100, thin)
    assert gs.GradualMagnitude(every=1, drop=0.5).idle(100, thin) == ""
    with pytest.raises(PatternError, match="SRSTE"):
        gs.GradualMagnitude().check(gs.NM(2, 4))
