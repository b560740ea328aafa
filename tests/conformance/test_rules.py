"""Every registered rule on every pattern it is defined on, in both homes."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pytest
import torch

import gossamer as gs
from gossamer.errors import PatternError
from gossamer.rules import LayerView, Rule, build, describe, rules
from gossamer.rules.through import Through
from gossamer.topology import TileScores, Topology, TopologyChange
from strategies import (
    OPTIMIZERS,
    TRAINED_ON,
    Case,
    batch,
    brings_values,
    case,
    defined,
    dense_weight,
    differences,
    everything,
    homes_of,
    make_model,
    make_rules,
    pair_id,
    rule_id,
    sparse_layers,
    train_step,
    trained,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from gossamer.patterns import Pattern

DATA = [batch(step, torch.float64) for step in range(100)]
PAIRS = defined(every=5)
IN_BOTH = [pair for pair in defined(every=10) if len(homes_of(pair[0])) == 2]
THOROUGH = os.environ.get("GOSSAMER_HYPOTHESIS") == "thorough"
each_pair = pytest.mark.parametrize("pair", PAIRS, ids=pair_id)
each_rule = pytest.mark.parametrize("rule", make_rules(every=5), ids=rule_id)
HOMES = pytest.mark.parametrize("home", ["packed", "masked"])


@dataclass
class Given:
    """Gradients; an optimizer without momentum."""

    found: torch.Tensor

    def gradients(self) -> torch.Tensor:
        """As given."""
        return self.found

    def moment(self, name: str) -> None:
        """None."""

    def rate(self) -> float:
        """Some."""
        return 0.1


def view(rule: Rule, layer: Case, seed: int = 0, ties: bool = False, **facts: Any) -> LayerView:
    """A layer with random weights and random dense gradient."""
    generator = torch.Generator().manual_seed(seed)
    topology, grid = layer.topology(seed), layer.grid
    values = torch.randn(topology.positions.numel(), grid.members, generator=generator)
    stored = Given(torch.randn(values.shape, generator=generator))
    scores = torch.rand(grid.rows, grid.cols, generator=generator)
    if ties:
        values, scores = values.round(), (scores * 3).floor()
    members = scores.repeat_interleave(grid.h, 0).repeat_interleave(grid.w, 1) / grid.members
    units = members.view(grid.rows, grid.h, grid.cols, grid.w)
    gradient = TileScores(grid, lambda rows, cols: units[rows, :, cols].clone().flatten(2).flatten(0, 1))
    seen = LayerView(
        "layer",
        topology,
        layer.units,
        values,
        gradient,
        generator.manual_seed(seed + 1),
        step=5,
        total_steps=1000,
        stored=stored,
        **facts,
    )
    return replace(seen, state=rule.new_state(seen))


def test_every_registered_rule_is_tested_on_a_pattern() -> None:
    """A new rule joins this suite by existing."""
    assert {rule.name for rule, _ in PAIRS} == set(rules)
    assert {pattern.name for _, pattern in PAIRS} == {pattern.name for pattern in TRAINED_ON}


def flat(state: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested state by joined names."""
    found = {}
    for key, value in state.items():
        found |= flat(value, f"{prefix}{key}/") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return found


# --- one decision -------------------------------------------------------------------------------------------


@each_pair
@pytest.mark.parametrize("ties", [False, True], ids=["distinct", "ties"])
@pytest.mark.parametrize("fraction", [0.0, 0.1, 0.5, 1.0])
def test_an_update_keeps_the_budget_of_every_bucket_exactly(
    pair: tuple[Rule, Pattern], fraction: float, ties: bool
) -> None:
    """No position twice or out of range, the pattern holds, and no bucket wins or loses a connection."""
    rule, pattern = pair
    for seed, shape in enumerate([(16, 32), (8, 48), (40, 16)]):
        layer = view(rule, case(pattern, shape, 0.3), seed, ties)
        grid = layer.topology.grid
        new = rule.update(layer, fraction)
        pattern.validate(new, grid)
        assert new.numel() == len(set(new.tolist()))
        before, after = pattern.count(layer.positions, grid), pattern.count(new, grid)
        assert rule.count in {"kept", "moves", "shrinks"}
        if rule.count == "shrinks":
            assert int(after.sum()) <= int(before.sum())
        elif rule.count == "moves":
            assert int(after.sum()) <= layer.capacity
        else:
            assert torch.equal(before, after)
        if not rule.grows:
            assert torch.isin(new, layer.positions).all()
        if "change" in rule.never:
            assert torch.equal(new, layer.positions)


@each_pair
@pytest.mark.parametrize("fraction", [0.0, 0.013, 0.3, 0.999])
def test_the_number_dropped_is_the_floor_of_the_fraction(pair: tuple[Rule, Pattern], fraction: float) -> None:
    """``floor(f * n)``, or one less where a rule makes two cuts; one that rounds to nothing leaves the layer alone."""
    rule, pattern = pair
    layer = view(rule, case(pattern, (16, 32), 0.3))
    units = layer.positions.numel()
    dropped = units - int(rule.keep(layer, fraction).sum())
    if "change" in rule.never:
        assert dropped == 0
    elif rule.count != "shrinks":  # those that do may drop whole neurons
        assert math.floor(fraction * units) - 1 <= dropped <= math.floor(fraction * units)
    if dropped == 0 and rule.count == "kept" and not isinstance(rule, Through):  # these look at all weights
        assert torch.equal(rule.update(layer, fraction), layer.positions)


@each_pair
def test_survivors_are_the_largest_weights(pair: tuple[Rule, Pattern]) -> None:
    """What survives is at least as large as what does not, unless the rule decides survival itself."""
    rule, pattern = pair
    if type(rule).keep is not Rule.keep:
        pytest.skip(f"{rule.name} has a drop criterion of its own; its unit test says which")
    layer = view(rule, case(pattern, (16, 32), 0.3))
    kept, size = rule.keep(layer, 0.4), layer.values.abs().sum(1)
    assert float(size[kept].min()) >= float(size[~kept].max())


@each_pair
def test_decisions_change_nothing_they_are_given(pair: tuple[Rule, Pattern]) -> None:
    """A rule reads a layer; only the engine writes."""
    rule, pattern = pair
    layer = view(rule, case(pattern, (16, 32), 0.3))
    positions, values = layer.positions.clone(), layer.values.clone()
    rule.update(layer, 0.5)
    assert torch.equal(layer.positions, positions)
    assert torch.equal(layer.values, values)


@each_pair
def test_same_seed_same_decision(pair: tuple[Rule, Pattern]) -> None:
    """Randomness comes from the layer's generator and from nowhere else."""
    rule, pattern = pair
    updates = []
    for noise in (1, 2):
        torch.manual_seed(noise)
        updates.append(rule.update(view(rule, case(pattern, (16, 32), 0.3)), 0.5))
    assert torch.equal(*updates)


@each_rule
def test_undefined_patterns_are_refused_with_a_reason(rule: Rule) -> None:
    """A sentence that says why and what to use instead, before anything is touched."""
    refused = [pattern for pattern in TRAINED_ON if rule.undefined_on(pattern)]
    for pattern in refused:
        model = make_model("masked", pattern)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        with pytest.raises(PatternError) as error:
            gs.attach(model, optimizer, rule, total_steps=10)
        assert str(pattern) in str(error.value)
        assert len(error.value.hint.split()) > 5
        assert "use" in error.value.hint
        assert not any(layer.tape.followed for _, layer in sparse_layers(model))


@each_rule
def test_a_rule_is_plain_data(rule: Rule) -> None:
    """``describe`` and ``build`` are inverses through JSON; rules are values."""
    import json

    assert build(json.loads(json.dumps(describe(rule)))) == rule
    with pytest.raises(AttributeError):
        rule.every = 3  # type: ignore[misc]


@each_pair
def test_a_neuron_without_connections_stays_so_where_a_rule_never_revives(pair: tuple[Rule, Pattern]) -> None:
    """Nothing grows at it again."""
    rule, pattern = pair
    if "revive" not in rule.never:
        pytest.skip(f"{rule.name} may revive neurons")
    layer = view(rule, case(pattern, (16, 32), 0.3))
    emptied = layer.positions // layer.topology.grid.cols != 3
    topology = replace(layer.topology, positions=layer.positions[emptied])
    stored = Given(layer.gradients[emptied])
    layer = replace(layer, topology=topology, values=layer.values[emptied], stored=stored)
    new = rule.update(layer, 0.5)
    assert int((new // layer.topology.grid.cols == 3).sum()) == 0


# --- training -----------------------------------------------------------------------------------------------


def trains_absent(rule: Rule) -> bool:
    """Whether the optimizer trains connections that do not exist."""
    return isinstance(rule, Through) and rule.trained


def check_nothing_outside_the_topology(
    model: torch.nn.Module, optimizer: torch.optim.Optimizer, rule: Rule
) -> None:
    """Weights and optimizer state are exactly zero wherever there is no connection; packed spares too."""
    for _, layer in sparse_layers(model):
        tensors = [
            layer.weights.detach(),
            *(
                state
                for state in optimizer.state.get(layer.weights, {}).values()
                if isinstance(state, torch.Tensor) and state.shape == layer.weights.shape
            ),
        ][: 1 if trains_absent(rule) else None]
        for tensor in tensors:
            outside = tensor[layer.connections :] if layer.home == "packed" else tensor[~layer.mask]
            assert int(outside.count_nonzero()) == 0


class Watch:
    """Compares every layer just before and just after each update of an engine."""

    def __init__(self, engine: Any, optimizer: torch.optim.Optimizer) -> None:
        self.seen, self.engine, self.optimizer, self.inner = 0, engine, optimizer, engine.update
        self.forgets = type(engine.rule).forgets is not Rule.forgets
        self.brings, self.dense = brings_values(engine.rule), trains_absent(engine.rule)
        engine.update = self.update

    def snapshot(self, layer: Any) -> tuple[Topology, list[torch.Tensor]]:
        """Topology, and weight and state as dense matrices."""
        topology = layer.topology
        states = [
            layer.weights.detach(),
            *(
                state
                for state in self.optimizer.state.get(layer.weights, {}).values()
                if isinstance(state, torch.Tensor) and state.shape == layer.weights.shape
            ),
        ]
        if layer.home == "masked":
            return topology, [state.clone() for state in states]
        count = topology.connections
        return topology, [
            topology.pattern.unpack(s[:count].clone(), topology.positions, topology.grid) for s in states
        ]

    def update(self) -> None:
        """Update, then check."""
        before = {name: self.snapshot(layer) for name, layer in self.engine.layers.items()}
        self.inner()
        for name, layer in self.engine.layers.items():
            old, olds = before[name]
            new, news = self.snapshot(layer)
            stays = old.mask() & new.mask()
            if self.dense:  # nothing of the optimizer moves
                stays = torch.ones_like(stays)
            assert len(olds) == len(news) or (self.forgets and len(news) == 1)
            pairs = zip(olds, news, strict=not self.forgets)
            for was, now in [*pairs][1 if self.brings else 0 :]:
                assert torch.equal(now, torch.where(stays, was, 0.0))
            change = TopologyChange.between(old, new)
            row = next(r for r in reversed(self.engine.history) if r.layer == name)
            assert (row.dropped, row.grown) == (change.dropped, change.grown)
            assert row.grown == int((new.mask() & ~old.mask()).sum())
            assert row.dropped == int((old.mask() & ~new.mask()).sum())
            assert row.connections == int(new.mask().sum())
            self.seen += 1


def in_either_home() -> list[tuple[tuple[Rule, Pattern], str, str]]:
    """Every pair with three optimizers, the homes in turn: every two of pair, optimizer and home meet."""
    names = ["nesterov_wd", "adamw", "rmsprop"]
    homes = [homes_of(rule) for rule, _ in PAIRS]
    return [
        (p, o, homes[n][(n + m) % len(homes[n])]) for n, p in enumerate(PAIRS) for m, o in enumerate(names)
    ]


@pytest.mark.parametrize(("pair", "optimizer", "home"), in_either_home(), ids=pair_id)
def test_grown_connections_and_their_state_start_at_zero_and_the_rest_is_kept(
    pair: tuple[Rule, Pattern], optimizer: str, home: str
) -> None:
    """Dropped-and-regrown keeps value and state; grown ones are exactly zero; nothing lives outside."""
    rule, pattern = pair
    model = make_model(home, pattern)
    optim = OPTIMIZERS[optimizer](model.parameters())
    engine = gs.attach(model, optim, rule, total_steps=16)
    watch = Watch(engine, optim)
    for step in range(12):
        train_step(model, optim, step)
        check_nothing_outside_the_topology(model, optim, rule)
    assert watch.seen == (0 if "change" in rule.never else 4)
    for _, layer in sparse_layers(model):
        assert layer.topology.positions.numel() <= layer.capacity


@HOMES
@each_pair
def test_growth_alone_does_not_change_the_loss(pair: tuple[Rule, Pattern], home: str) -> None:
    """After an update the model computes what the old one does with its dropped connections at zero."""
    rule, pattern = pair
    if home not in homes_of(rule) or brings_values(rule):
        pytest.skip(f"{rule.name} is not defined there, or says itself what grown connections begin with")
    model = make_model(home, pattern, torch.float64)
    optim = OPTIMIZERS["sgd"](model.parameters())
    engine = gs.attach(model, optim, rule, total_steps=1000)
    for step in range(4):
        train_step(model, optim, step, torch.float64)
    x = torch.randn(8, 32, dtype=torch.float64)
    for moment in (5, 10):
        old = {name: dense_weight(layer) for name, layer in engine.layers.items()}
        topologies = {name: layer.topology for name, layer in engine.layers.items()}
        engine.step = moment
        model(x).square().sum().backward()  # gradients to grow by
        engine.update()
        dropped = make_model("masked", pattern, torch.float64)
        for name, layer in sparse_layers(dropped):
            kept = torch.where(engine.layers[name].topology.mask(), old[name], 0.0)
            layer.assign(topologies[name], pattern.pack(kept, topologies[name].positions, layer.grid))
            with torch.no_grad():
                layer.bias.copy_(engine.layers[name].bias)
        torch.testing.assert_close(model(x), dropped(x), rtol=1e-12, atol=1e-12)
    assert any(row.grown for row in engine.history) == rule.grows


@each_pair
def test_training_twice_gives_the_same_bits(pair: tuple[Rule, Pattern]) -> None:
    """Same seed, same machine, same threads: same bits."""
    rule, pattern = pair
    runs = [trained(homes_of(rule)[0], pattern, rule, steps=14) for _ in range(2)]
    assert differences(everything(*runs[0][:2]), everything(*runs[1][:2])) == []
    assert runs[0][3] == runs[1][3]
    assert runs[0][2].history == runs[1][2].history


def test_another_seed_gives_another_random_growth() -> None:
    """The engine's seed reaches the rule, and every layer and step draws afresh."""
    grown = []
    for seed in (0, 1):
        model = make_model("packed", TRAINED_ON[0])
        optim = OPTIMIZERS["sgd"](model.parameters())
        gs.attach(model, optim, gs.SET(every=1), total_steps=10, seed=seed)
        train_step(model, optim, 0)
        grown.append(model[0].topology.positions)
    assert not torch.equal(*grown)


@each_pair
def test_no_update_after_its_share_of_the_training(pair: tuple[Rule, Pattern]) -> None:
    """Updates at multiples of ``every``, strictly before ``until * total``; Static never."""
    rule, pattern = pair
    _, _, engine, _ = trained(homes_of(rule)[0], pattern, rule, "sgd", steps=20)
    expected = [step for step in (5, 10, 15, 20) if step < rule.until * 20]
    assert sorted({row.step for row in engine.history}) == ([] if "change" in rule.never else expected)
    assert engine.step == 20


@HOMES
def test_static_never_changes(home: str) -> None:
    """The baseline: the first topology is the last one."""
    for pattern in TRAINED_ON:
        start = {name: layer.topology.positions for name, layer in sparse_layers(make_model(home, pattern))}
        model, *_ = trained(home, pattern, gs.Static(every=1), steps=12)
        for name, layer in sparse_layers(model):
            assert torch.equal(layer.topology.positions, start[name])


# --- interruption -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pair", "optimizer"),
    [(p, "adam") for p in PAIRS] + [(p, "nesterov_wd") for p in PAIRS if str(p[1]) == "fanin"],
    ids=pair_id,
)
def test_resuming_from_a_checkpoint_is_no_interruption(
    pair: tuple[Rule, Pattern], optimizer: str, tmp_path: Path
) -> None:
    """Killed just before an update, just after it or in between, the run ends with the same bits."""
    rule, pattern = pair
    steps, kills = 18, (4, 5, 6, 10) if optimizer == "adam" else (1, 9, 14)

    def start(seed: int) -> tuple[Any, ...]:
        model = make_model(homes_of(rule)[0], pattern, seed=seed, dropout=0.2)
        optim = OPTIMIZERS[optimizer](model.parameters())
        scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optim, steps)
        return model, optim, gs.attach(model, optim, rule, total_steps=steps), scheduler

    model, optim, engine, scheduler = start(0)
    torch.manual_seed(77)  # dropout draws from torch's own state
    losses = []
    for step in range(steps):
        if step in kills:
            extras = gs.training.Extras(scheduler, {"step": step})
            gs.save_checkpoint(tmp_path / f"{step}", model, optim, engine, extras)
        losses.append(train_step(model, optim, step))
        scheduler.step()
    for kill in kills:
        again, optim2, engine2, scheduler2 = start(5)
        torch.manual_seed(123)
        progress = gs.load_checkpoint(tmp_path / f"{kill}", again, optim2, engine2, scheduler2)
        tail = []
        for step in range(progress["step"], steps):
            tail.append(train_step(again, optim2, step))
            scheduler2.step()
        assert tail == losses[kill:], f"killed after {kill}"
        assert differences(everything(model, optim), everything(again, optim2)) == []
        assert differences(flat(engine.state_dict()), flat(engine2.state_dict())) == []


# --- two homes ----------------------------------------------------------------------------------------------


def side_by_side(
    pair: tuple[Rule, Pattern], optimizer: str, dtype: torch.dtype, steps: int, hidden_only: bool
) -> Iterator[tuple[int, dict[str, Any], dict[str, float]]]:
    """Train the same network in both homes on the same data; yields (step, engines, losses)."""
    rule, pattern = pair
    engines, losses, passes = {}, {}, {}
    for home in ("packed", "masked"):
        model = make_model(home, pattern, dtype)
        if hidden_only:  # one sparse layer and a fixed read-out
            read_out = torch.randn(24, 16, generator=torch.Generator().manual_seed(1)).to(dtype)
            model = torch.nn.Sequential(*model[:2])
        optim = OPTIMIZERS[optimizer](model.parameters())
        outputs = [] if hidden_only else None
        engines[home] = gs.attach(model, optim, rule, total_steps=steps, outputs=outputs)
        passes[home] = (model, optim)
    for step in range(steps):
        x, target = DATA[step]
        for home, (model, optim) in passes.items():
            optim.zero_grad()
            y = model(x.to(dtype)) @ read_out if hidden_only else model(x.to(dtype))
            loss = (y - target.to(dtype)).square().mean()
            loss.backward()
            optim.step()
            losses[home] = float(loss.detach())
        yield step + 1, engines, dict(losses)


def layers_of(engines: dict[str, Any]) -> Iterator[tuple[Any, Any]]:
    """The same layer in both homes."""
    return zip(engines["packed"].layers.values(), engines["masked"].layers.values(), strict=True)


def matrix() -> list[tuple[tuple[Rule, Pattern], str]]:
    """Every pair with two optimizers in rotation, so that each meets every rule; thorough runs take all."""
    names, pairs = list(OPTIMIZERS), [pair for pair in PAIRS if len(homes_of(pair[0])) == 2]
    both = [(names[n % len(names)], names[(n + 2) % len(names)]) for n in range(len(pairs))]
    chosen = [names] * len(pairs) if THOROUGH else both
    return [(pair, optimizer) for pair, few in zip(pairs, chosen, strict=True) for optimizer in few]


@pytest.mark.parametrize(("pair", "optimizer"), matrix(), ids=pair_id)
def test_packed_and_masked_training_agree_at_every_update(pair: tuple[Rule, Pattern], optimizer: str) -> None:
    """100 steps in float64: the same topology after every update, the same values to rounding."""
    rule = pair[0]
    for step, engines, losses in side_by_side(pair, optimizer, torch.float64, 100, hidden_only=True):
        assert losses["packed"] == pytest.approx(losses["masked"], rel=1e-7), step
        if rule.due(step, 100):
            for packed, masked in layers_of(engines):
                assert torch.equal(packed.topology.positions, masked.topology.positions), step
    for packed, masked in layers_of(engines):
        torch.testing.assert_close(dense_weight(packed), dense_weight(masked), rtol=1e-7, atol=1e-9)
        torch.testing.assert_close(packed.bias, masked.bias, rtol=1e-7, atol=1e-9)
    assert engines["packed"].history == engines["masked"].history
    grown = sum(row.grown for row in engines["packed"].history)
    assert grown > 25 if rule.grows else grown == 0


@pytest.mark.parametrize("pair", IN_BOTH, ids=pair_id)
def test_two_sparse_layers_agree_in_both_homes(pair: tuple[Rule, Pattern]) -> None:
    """Gradients also flow through a packed layer into another one; the output layer is never ablated."""
    run = list(side_by_side(pair, "adam", torch.float64, 32, hidden_only=False))
    engines = run[-1][1]
    for _, _, losses in run:
        assert losses["packed"] == pytest.approx(losses["masked"], rel=1e-7)
    for packed, masked in layers_of(engines):
        assert torch.equal(packed.topology.positions, masked.topology.positions)
    if "ablate outputs" in pair[0].never:
        assert int(engines["packed"].layers["3"].topology.fan_in().min()) > 0


@pytest.mark.parametrize("pair", IN_BOTH, ids=pair_id)
def test_the_homes_agree_in_float32_to_rounding(pair: tuple[Rule, Pattern]) -> None:
    """Single precision may break a near-tie differently; it may not train differently."""
    run = list(side_by_side(pair, "nesterov_wd", torch.float32, 32, hidden_only=False))
    engines = run[-1][1]
    for _, _, losses in run:
        assert losses["packed"] == pytest.approx(losses["masked"], rel=2e-3)
    for packed, masked in layers_of(engines):
        both = set(packed.topology.positions.tolist()) & set(masked.topology.positions.tolist())
        assert len(both) >= 0.97 * masked.topology.positions.numel()
