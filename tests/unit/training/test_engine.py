"""The engine in the loops people really write: accumulation, AMP, schedulers, shared layers, copies."""

from __future__ import annotations

import copy
import dataclasses
import io
import math
import warnings
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import gossamer as gs
from gossamer.errors import (
    ConfigError,
    GossamerError,
    NonFiniteError,
    StateError,
    TopologyError,
    TrainingWarning,
)
from gossamer.rules import LayerView, Rule
from strategies import (
    OPTIMIZERS,
    batch,
    dense_weight,
    differences,
    everything,
    make_model,
    sparse_layers,
    train_step,
)

HOMES = pytest.mark.parametrize("home", ["packed", "masked"])
RULES = pytest.mark.parametrize("rule", [gs.RigL(every=1), gs.SRigL(every=1)], ids=lambda r: r.name)


def attached(
    home: str = "packed", rule: Any = None, optimizer: str = "sgd", **settings: Any
) -> tuple[Any, Any, Any]:
    """A small model, its optimizer and its engine, in double precision."""
    model = make_model(home, settings.pop("pattern", gs.FanIn()), settings.pop("dtype", torch.float64))
    optim = OPTIMIZERS[optimizer](model.parameters())
    engine = gs.attach(
        model, optim, rule or gs.RigL(every=1), total_steps=settings.pop("steps", 100), **settings
    )
    return model, optim, engine


def loss_of(model: nn.Module, x: Tensor, target: Tensor) -> Tensor:
    """Mean square error."""
    return (model(x) - target).square().mean()


def scores(layer: Any) -> Tensor:
    """The growth scores of a layer as a matrix."""
    scored, grid, none = layer.gradient_scores("layer"), layer.grid, torch.empty(0, dtype=torch.int64)
    found, positions = torch.empty(grid.size, dtype=torch.float64), torch.empty(grid.size, dtype=torch.int64)
    whole = (scored.given or scored.rows)(slice(0, grid.rows), slice(0, grid.cols))
    assert scored.selector.above(whole, grid, none, -0.5, found, positions) == grid.size
    return found.view(grid.rows, grid.cols)


def dense_gradient(layer: Any, x: Tensor, upstream: Tensor) -> Tensor:
    """What autograd says about a dense weight in the layer's place."""
    weight = dense_weight(layer).requires_grad_()
    (torch.nn.functional.linear(x, weight, layer.bias.detach()) * upstream).sum().backward()
    return weight.grad


# --- what growth looks at -----------------------------------------------------------------------------------


@HOMES
@pytest.mark.parametrize("pattern", [gs.Unstructured(), gs.FanIn(), gs.FanIn(4), gs.NM(1, 8)], ids=str)
def test_growth_scores_are_the_unmasked_gradient(home: str, pattern: gs.FanIn) -> None:
    """Every entry of the dense gradient dL/d(m*W), inactive ones included, summed over a unit's members."""
    model, _, _engine = attached(home, pattern=pattern)
    x = torch.randn(5, 7, 32, dtype=torch.float64)
    upstream = torch.randn(5, 7, 24, dtype=torch.float64)
    layer = model[0]
    (layer(x) * upstream).sum().backward()
    expected, grid = dense_gradient(layer, x, upstream).abs(), layer.grid
    expected = expected.view(grid.rows, grid.h, grid.cols, grid.w).sum((1, 3))
    torch.testing.assert_close(scores(layer), expected, rtol=1e-12, atol=1e-12)
    inactive = ~layer.topology.mask()
    assert (
        float(dense_gradient(layer, x, upstream)[inactive].abs().min()) > 0
    )  # the masked gradient would be zero


@HOMES
@RULES
def test_a_gradient_at_an_inactive_position_makes_it_grow(home: str, rule: Any) -> None:
    """Only input 9 carries a signal, and no neuron is connected to it; after one update all are."""
    model, optim, _ = attached(home, dataclasses.replace(rule, drop=0.9))  # every neuron drops some
    layer = model[0]
    positions = torch.arange(24 * 32).view(24, 32)[:, :8].reshape(-1)
    topology = gs.topology.Topology(layer.pattern, layer.shape, positions)
    layer.assign(topology, torch.randn(positions.numel()).double() + 3)
    with torch.no_grad():
        layer.bias.fill_(10.0)  # every neuron is awake
    x = torch.zeros(4, 32, dtype=torch.float64)
    x[:, 9] = 1.0
    (model[0](x) * torch.linspace(1, 2, 24).double()).sum().add(model(x).sum()).backward()
    optim.step()
    new = layer.topology
    assert bool(new.mask()[new.fan_in() > 0, 9].all())


@HOMES
@RULES
@pytest.mark.parametrize("cleared", ["none", "zeros"])
def test_accumulating_micro_batches_equals_one_big_batch(home: str, rule: Any, cleared: str) -> None:
    """Growth sees all micro-batches since the gradient was last cleared, not only the last one."""
    big, big_optim, _ = attached(home, rule)
    small, small_optim, _ = attached(home, rule)
    for step in range(6):
        x, target = batch(step, torch.float64, size=32)
        big_optim.zero_grad()
        loss_of(big, x, target).backward()
        big_optim.step()
        small_optim.zero_grad(set_to_none=cleared == "none")
        for part in range(4):
            rows = slice(8 * part, 8 * part + 8)
            (loss_of(small, x[rows], target[rows]) / 4).backward()
        small_optim.step()
        for (_, a), (_, b) in zip(sparse_layers(big), sparse_layers(small), strict=True):
            assert torch.equal(a.topology.positions, b.topology.positions), step
    torch.testing.assert_close(big[0].weights, small[0].weights, rtol=1e-9, atol=1e-12)


@HOMES
def test_a_micro_batch_that_only_matters_to_inactive_positions_counts(home: str) -> None:
    """Its gradient is exactly zero at every connection, so it looks like a cleared gradient, and is not."""
    model, _, _ = attached(home)
    layer = model[0]
    positions = torch.arange(24 * 32).view(24, 32)[:, :8].reshape(-1)
    layer.assign(
        gs.topology.Topology(layer.pattern, layer.shape, positions), torch.ones(positions.numel()).double()
    )
    x = torch.zeros(2, 32, dtype=torch.float64)
    x[0, 9] = x[1, 10] = 1.0
    for part in x:
        layer(part.unsqueeze(0)).sum().backward()
    assert scores(layer)[:, 9].tolist() == [1.0] * 24
    assert scores(layer)[:, 10].tolist() == [1.0] * 24


@HOMES
@pytest.mark.parametrize("order", ["clear, forward", "forward, clear", "forward, zeros", "zeros, forward"])
def test_a_backward_pass_that_was_thrown_away_does_not_count(home: str, order: str) -> None:
    """A skipped step (AMP overflow, a bad batch) leaves nothing behind, wherever zero_grad stands."""
    model, optim, _ = attached(home)
    good, bad = (batch(step, torch.float64)[0] for step in (0, 1))
    model(bad * 1e6).sum().backward()  # and no optimizer.step()
    to_none = "clear" in order
    if order.endswith("forward"):
        optim.zero_grad(set_to_none=to_none)
        model(good).sum().backward()
    else:
        y = model(good)
        optim.zero_grad(set_to_none=to_none)
        y.sum().backward()
    fresh, _, _ = attached(home)
    fresh(good).sum().backward()
    torch.testing.assert_close(scores(model[0]), scores(fresh[0]), rtol=1e-12, atol=1e-12)
    assert len(model[0].tape.pairs) == 1


@HOMES
def test_a_layer_used_twice_in_a_forward_pass_counts_both_uses(home: str) -> None:
    """Weight sharing over time or depth: the gradient is the sum, and so is the score."""
    model, _, _ = attached(home)
    layer, x = model[0], torch.randn(3, 32, dtype=torch.float64)
    a, b = torch.randn(2, 3, 24, dtype=torch.float64)
    ((layer(x) * a).sum() + (layer(2 * x) * b).sum()).backward()
    expected = dense_gradient(layer, x, a) + dense_gradient(layer, 2 * x, b)
    torch.testing.assert_close(scores(layer), expected.abs(), rtol=1e-12, atol=1e-12)


@HOMES
@pytest.mark.parametrize("reentrant", [True, False])
def test_activation_checkpointing_counts_each_pass_once(home: str, reentrant: bool) -> None:
    """Recomputing a forward pass inside backward is no new pass, and clears nothing."""
    plain, _, _ = attached(home)
    model, _, _ = attached(home)
    layer = model[0]
    x = torch.randn(3, 32, dtype=torch.float64, requires_grad=True)
    a, b = torch.randn(2, 3, 24, dtype=torch.float64)
    for _ in range(2):  # the second time as a micro-batch
        ((plain[0](x) * a).sum() + (plain[0](2 * x) * b).sum()).backward()
        y = checkpoint(layer, x, use_reentrant=reentrant)
        z = checkpoint(layer, 2 * x, use_reentrant=reentrant)
        ((y * a).sum() + (z * b).sum()).backward()
    torch.testing.assert_close(scores(layer), scores(plain[0]), rtol=1e-12, atol=1e-12)
    assert len(layer.tape.pairs) == 4


@HOMES
def test_in_place_activations_do_not_disturb_the_record(home: str) -> None:
    """ReLU(inplace=True) right after a sparse layer."""
    model, _, _ = attached(home)
    x = torch.randn(3, 32, dtype=torch.float64)
    torch.relu_(model[0](x)).square().sum().backward()
    upstream = 2 * torch.relu(model[0](x)).detach()
    torch.testing.assert_close(scores(model[0]), dense_gradient(model[0], x, upstream).abs())


@HOMES
def test_nothing_is_recorded_outside_growth_steps(home: str) -> None:
    """No memory is held at ordinary steps, nor in evaluation."""
    model, optim, _ = attached(home, gs.RigL(every=5))
    for step in range(9):
        model(batch(step, torch.float64)[0]).sum().backward()
        assert len(model[0].tape.pairs) == (1 if step == 4 else 0)
        with torch.no_grad():
            model(batch(step, torch.float64)[0])
        optim.step()
        assert model[0].tape.pairs == []


def test_a_rule_without_gradient_records_nothing() -> None:
    """SET never looks at a dense gradient."""
    model, _, _ = attached(rule=gs.SET(every=1))
    model(batch(0, torch.float64)[0]).sum().backward()
    assert model[0].tape.pairs == []


@HOMES
def test_a_layer_that_is_not_used_in_the_loss_rests(home: str) -> None:
    """The others go on; asked for by hand, an update names the layer and changes nothing."""
    model, optim, engine = attached(home)
    model(batch(0, torch.float64)[0])
    model[0](batch(0, torch.float64)[0]).sum().backward()
    topologies = [layer.topology.positions for _, layer in sparse_layers(model)]
    with pytest.raises(TopologyError, match="grow in 3"):
        engine.update()
    assert all(map(torch.equal, topologies, [layer.topology.positions for _, layer in sparse_layers(model)]))
    optim.step()
    changed = [
        not torch.equal(a, b.topology.positions)
        for a, (_, b) in zip(topologies, sparse_layers(model), strict=True)
    ]
    assert changed == [True, False]
    assert engine.resting == {"3": "no gradient in this step"}
    assert [row.layer for row in engine.history] == ["0"]


# --- AMP ----------------------------------------------------------------------------------------------------


@HOMES
@pytest.mark.parametrize("first", ["sparse", "dense"])
def test_autocast_on_the_cpu(home: str, first: str) -> None:
    """Inputs in either dtype, weights in float32; packed layers compute in float32, masked ones do not."""
    model, optim, engine = attached(home, gs.SRigL(every=2), "adam", dtype=torch.float32, steps=12)
    if first == "dense":
        model.insert(0, nn.Linear(32, 32))
    for step in range(12):
        x, target = batch(step)
        optim.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            y = model(x)
        assert y.dtype == (torch.bfloat16 if home == "masked" else torch.float32)
        (y.float() - target).square().mean().backward()
        optim.step()
    assert {row.step for row in engine.history} == {2, 4, 6, 8}
    assert all(layer.weights.dtype == torch.float32 for _, layer in sparse_layers(model))


@HOMES
@pytest.mark.parametrize("late", [False, True], ids=["zero_grad-first", "zero_grad-late"])
def test_a_step_skipped_by_the_gradient_scaler_is_no_step(home: str, late: bool) -> None:
    """Overflow: optimizer and engine do not step, and the stale record does not poison the next update."""
    model, optim, engine = attached(home, gs.RigL(every=2), dtype=torch.float32)
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    steps = []
    for step in range(8):
        x, target = batch(step)
        if not late:
            optim.zero_grad()
        loss = loss_of(model, x, target)
        if late:
            optim.zero_grad()
        scaler.scale(loss * (math.inf if step in (1, 4) else 1.0)).backward()
        before = everything(model)
        scaler.step(optim)
        scaler.update()
        if step in (1, 4):
            assert [key for key in differences(before, everything(model)) if key.startswith("model")] == []
        steps.append(engine.step)
    assert steps == [1, 1, 2, 3, 3, 4, 5, 6]
    assert {row.step for row in engine.history} == {2, 4, 6}


# --- optimizers and loops -----------------------------------------------------------------------------------


@HOMES
def test_schedulers_parameter_groups_and_weight_decay(home: str) -> None:
    """Two groups with settings of their own; the learning rate decays; nothing grows outside the topology."""
    model = make_model(home, gs.FanIn())
    optim = torch.optim.AdamW(
        [
            {"params": [model[0].weights, model[3].weights], "weight_decay": 0.3, "lr": 1e-2},
            {"params": [model[0].bias, model[3].bias], "weight_decay": 0.0},
        ],
        lr=1e-3,
    )
    scheduler = torch.optim.lr_scheduler.SequentialLR(
        optim,
        [
            torch.optim.lr_scheduler.LinearLR(optim, 0.1, total_iters=3),
            torch.optim.lr_scheduler.CosineAnnealingLR(optim, 9),
        ],
        [3],
    )
    engine = gs.attach(model, optim, gs.RigL(every=3), total_steps=12)
    for step in range(12):
        train_step(model, optim, step)
        scheduler.step()
        for _, layer in sparse_layers(model):
            tail = layer.weights[layer.connections :] if home == "packed" else layer.weights[~layer.mask]
            assert int(tail.count_nonzero()) == 0
    assert engine.step == 12
    assert optim.param_groups[0]["lr"] < 1e-4


def test_a_closure_is_evaluated_before_the_update() -> None:
    """optimizer.step(closure) for optimizers that call it once."""
    model, optim, engine = attached()
    x, target = batch(0, torch.float64)

    def closure() -> Tensor:
        optim.zero_grad()
        loss = loss_of(model, x, target)
        loss.backward()
        return loss

    optim.step(closure)
    assert engine.step == 1
    assert len(engine.history) == 2


class Odd(torch.optim.SGD):
    """An optimizer that keeps state of a shape of its own."""

    kind: Any = None

    def step(self, closure: Any = None) -> Any:
        """SGD, and something odd."""
        loss = super().step(closure)
        for group in self.param_groups:
            for parameter in group["params"]:
                self.state[parameter]["odd"] = self.kind(parameter)
        return loss


ODD_STATE = {
    "vector": lambda p: torch.zeros(p.numel() + 1),
    "matrix": lambda p: torch.zeros(2, p.numel()),
    "list": lambda p: [torch.zeros_like(p)],
    "dict": lambda p: {"a": torch.zeros_like(p)},
}


def test_an_optimizer_that_calls_its_parents_step_makes_one_step() -> None:
    """torch wraps the step of both classes and would run the hooks twice."""
    model = make_model("packed", gs.FanIn())
    torch.optim.SGD(model.parameters(), lr=0.1)  # from here on the parent's step is wrapped too
    optim = type("Twice", (Odd,), {"kind": staticmethod(lambda p: 1)})(model.parameters(), lr=0.1)
    engine = gs.attach(model, optim, gs.RigL(every=2), total_steps=10)
    for step in range(5):
        train_step(model, optim, step)
    assert engine.step == 5
    assert sorted({row.step for row in engine.history}) == [2, 4]


def test_a_step_that_fails_is_no_step() -> None:
    """And the next one counts."""
    model, optim, engine = attached()

    def closure() -> Tensor:
        raise KeyError

    with pytest.raises(KeyError):
        optim.step(closure)
    train_step(model, optim, 0, torch.float64)
    assert engine.step == 1


@HOMES
@pytest.mark.parametrize("kind", ODD_STATE)
def test_state_of_another_shape_is_refused_with_nothing_changed(home: str, kind: str) -> None:
    """It cannot be carried through an update; the message names optimizer and entry."""
    model = make_model(home, gs.FanIn())
    optim = type("Odd", (Odd,), {"kind": staticmethod(ODD_STATE[kind])})(model.parameters(), lr=0.1)
    gs.attach(model, optim, gs.RigL(every=1), total_steps=10)
    loss_of(model, *batch(0)).backward()
    topologies = [layer.topology.positions for _, layer in sparse_layers(model)]
    with pytest.raises(StateError, match=r"Odd state 'odd'"):
        optim.step()
    assert all(map(torch.equal, topologies, [layer.topology.positions for _, layer in sparse_layers(model)]))


@HOMES
def test_lbfgs_is_refused_with_the_topology_unchanged(home: str) -> None:
    """Its state mixes all parameters in flat vectors, filed under the first of them."""
    model = make_model(home, gs.FanIn())
    optim = torch.optim.LBFGS(model.parameters(), max_iter=2)
    gs.attach(model, optim, gs.RigL(every=1), total_steps=10)
    x, target = batch(0)

    def closure() -> Tensor:
        optim.zero_grad()
        loss = loss_of(model, x, target)
        loss.backward()
        return loss

    topologies = [layer.topology.positions for _, layer in sparse_layers(model)]
    with pytest.raises(StateError, match="LBFGS"):
        optim.step(closure)
    assert all(map(torch.equal, topologies, [layer.topology.positions for _, layer in sparse_layers(model)]))


@pytest.mark.parametrize(
    "make",
    [
        torch.optim.Adagrad, torch.optim.Adadelta, torch.optim.Adamax, torch.optim.NAdam, torch.optim.RAdam,
        torch.optim.ASGD, torch.optim.Rprop,
        lambda p: torch.optim.Adam(p, amsgrad=True), lambda p: torch.optim.Adam(p, fused=True),
        lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.9, foreach=True),
        lambda p: torch.optim.RMSprop(p, centered=True, momentum=0.9),
    ],
    ids=[
        "adagrad", "adadelta", "adamax", "nadam", "radam", "asgd", "rprop", "amsgrad", "fused", "foreach",
        "centered",
    ],
)  # fmt: skip
def test_every_elementwise_optimizer_of_torch_is_carried(make: Any) -> None:
    """No ladder over optimizer classes: state follows by shape, in both homes alike."""
    ends = []
    for home in ("packed", "masked"):
        model = make_model(home, gs.FanIn(), torch.float64)
        optim = make(model.parameters())
        gs.attach(model, optim, gs.RigL(every=3), total_steps=16)
        for step in range(12):
            train_step(model, optim, step, torch.float64)
        ends.append([dense_weight(layer) for _, layer in sparse_layers(model)])
    for packed, masked in zip(*ends, strict=True):
        torch.testing.assert_close(packed, masked, rtol=1e-7, atol=1e-9)


@HOMES
@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("where", ["weight", "gradient"])
@pytest.mark.parametrize("layer", ["0", "3"])
def test_non_finite_numbers_at_an_update_change_nothing(
    home: str, bad: float, where: str, layer: str
) -> None:
    """An error that names the layer; every tensor is as the optimizer left it."""
    model, optim, engine = attached(home, gs.RigL(every=2), "adam", dtype=torch.float32)
    train_step(model, optim, 0)
    loss_of(model, *batch(1)).backward()
    target = dict(sparse_layers(model))[layer]
    with torch.no_grad():
        if where == "weight":
            spot = 0 if home == "packed" else target.mask.view(-1).nonzero()[0, 0]
            target.weights.view(-1)[spot] = bad
        else:
            x, dy = target.tape.pairs[-1]
            target.tape.pairs[-1] = (x, torch.full_like(dy, bad))
    twin = copy.deepcopy((model, optim))  # takes the same step without an engine
    for mine, its in zip(model.parameters(), twin[0].parameters(), strict=True):
        its.grad = mine.grad.clone()
    with pytest.raises(NonFiniteError, match=rf"finite (weights in|gradient of) {layer}"):
        optim.step()
    twin[1].step()
    assert differences(everything(model, optim), everything(*twin)) == []
    assert engine.history == []
    assert target.tape.pairs == []  # no memory is held by the failed update


def test_an_optimizer_made_before_sparsify_is_refused() -> None:
    """It holds the dense layers that are gone; the message says what to do."""
    model = nn.Sequential(nn.Linear(16, 16), nn.Linear(16, 8))
    optim = torch.optim.SGD(model.parameters(), lr=0.1)
    gs.sparsify(model, 0.5)
    with pytest.raises(ConfigError, match="after sparsify"):
        gs.attach(model, optim, gs.RigL(), total_steps=10)
    assert not model[0].tape.followed


def test_attaching_twice_is_refused_until_detached() -> None:
    """Two engines would update the same layer twice."""
    model, optim, engine = attached()
    with pytest.raises(ConfigError, match="detach"):
        gs.attach(model, optim, gs.RigL(), total_steps=10)
    engine.detach()
    again = gs.attach(model, optim, gs.RigL(every=1), total_steps=10)
    train_step(model, optim, 0, torch.float64)
    assert (engine.step, again.step) == (0, 1)


def test_detaching_twice_leaves_the_next_engine_its_layers() -> None:
    """An engine lets go of what it holds, not of what another holds by now."""
    model, optim, engine = attached()
    engine.detach()
    again = gs.attach(model, optim, gs.RigL(every=1), total_steps=10)
    engine.detach()
    with pytest.raises(ConfigError, match="no other engine"):
        gs.attach(model, optim, gs.RigL(), total_steps=10)
    train_step(model, optim, 0, torch.float64)
    assert (again.step, len(again.history) > 0) == (1, True)


def test_layers_of_an_engine_that_is_gone_can_be_attached_again() -> None:
    """Two phases of training, each in a function that keeps its optimizer to itself."""
    model = make_model("packed", gs.FanIn())

    def phase() -> int:
        optim = torch.optim.SGD(model.parameters(), lr=0.1)
        engine = gs.attach(model, optim, gs.SET(every=1), total_steps=10)
        train_step(model, optim, 0)
        return engine.step

    assert [phase(), phase()] == [1, 1]


def test_a_detached_engine_does_nothing_any_more() -> None:
    """The topology stays, nothing is recorded, the optimizer goes on."""
    model, optim, engine = attached()
    train_step(model, optim, 0, torch.float64)
    engine.detach()
    before = model[0].topology.positions
    for step in range(3):
        train_step(model, optim, step, torch.float64)
    assert torch.equal(model[0].topology.positions, before)
    assert (engine.step, model[0].tape.pairs) == (1, [])


@pytest.mark.parametrize("steps", [0, -5])
def test_attach_refuses_a_training_without_steps(steps: int) -> None:
    """There would be no schedule."""
    model = make_model("packed", gs.FanIn())
    with pytest.raises(ConfigError, match="total_steps"):
        gs.attach(model, torch.optim.SGD(model.parameters(), lr=0.1), gs.RigL(), total_steps=steps)


def test_attach_refuses_a_model_without_sparse_layers_and_unknown_outputs() -> None:
    """With what to do."""
    model = nn.Linear(4, 4)
    with pytest.raises(ConfigError, match="sparsify first"):
        gs.attach(model, torch.optim.SGD(model.parameters(), lr=0.1), gs.RigL(), total_steps=5)
    model = make_model("packed", gs.FanIn())
    with pytest.raises(ConfigError, match="layers among 0, 3"):
        gs.attach(model, torch.optim.SGD(model.parameters(), lr=0.1), gs.RigL(), total_steps=5, outputs=["4"])


def test_frozen_layers_are_left_alone() -> None:
    """A layer that does not train keeps its topology."""
    model = make_model("packed", gs.FanIn())
    model[0].requires_grad_(False)
    optim = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    engine = gs.attach(model, optim, gs.RigL(every=1), total_steps=10)
    assert list(engine.layers) == ["3"]
    before = model[0].topology.positions
    train_step(model, optim, 0)
    assert torch.equal(model[0].topology.positions, before)


@pytest.mark.parametrize("last", [nn.Linear(16, 4), nn.Identity()])
def test_the_last_weight_layer_is_the_output(last: nn.Module) -> None:
    """A dense head protects itself; a sparse last layer is protected."""
    model = nn.Sequential(nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 16), last)
    gs.sparsify(model, 0.5, skip=["3"] if isinstance(last, nn.Linear) else ())
    optim = torch.optim.SGD(model.parameters(), lr=0.1)
    engine = gs.attach(model, optim, gs.SRigL(every=5), total_steps=10)
    assert engine.outputs == ({"3"} if isinstance(last, nn.Linear) else {"2"})


@dataclasses.dataclass(frozen=True, kw_only=True)
class Probe(Rule):
    """Writes down what each layer could draw, and changes nothing."""

    seen: list = dataclasses.field(default_factory=list, compare=False)

    def update(self, layer: LayerView, fraction: float) -> Tensor:
        """Nothing."""
        self.seen.append(torch.rand(1, generator=layer.generator).item())
        return layer.positions


def test_every_layer_step_and_seed_draws_its_own_random_numbers() -> None:
    """And the same ones each time, whatever else has used randomness."""
    draws = []
    for seed in (0, 1, 0):
        probe = Probe(every=1, until=1.0)
        model, optim, _ = attached(rule=probe, seed=seed)
        for step in range(4):
            torch.rand(seed + 1)
            train_step(model, optim, step, torch.float64)
        draws.append(probe.seen)
    assert len(set(draws[0] + draws[1])) == 16
    assert draws[0] == draws[2]


# --- copies -------------------------------------------------------------------------------------------------


@HOMES
def test_a_copy_computes_the_same_and_is_a_copy(home: str) -> None:
    """For moving averages and best-so-far snapshots: shares nothing, holds no recorded passes."""
    model, optim, _ = attached(home)
    model(batch(0, torch.float64)[0]).sum().backward()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        twin = copy.deepcopy(model)
        with torch.no_grad():
            assert torch.equal(twin(batch(1, torch.float64)[0]), model(batch(1, torch.float64)[0]))
    assert twin[0].tape.pairs == []
    before = everything(twin)
    optim.step()
    assert [key for key in differences(before, everything(twin)) if key.startswith("model")] == []
    assert differences(before, everything(model)) != []


@HOMES
def test_training_a_copy_without_an_engine_warns_once(home: str) -> None:
    """Hooks do not survive a copy, so its topology would silently stay."""
    model, _, _ = attached(home)
    twin = copy.deepcopy(copy.deepcopy(model))
    with pytest.warns(UserWarning, match="attach on the copied model") as caught:
        twin(batch(0, torch.float64)[0]).sum().backward()
    assert len(caught) == 2  # one a layer
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        twin(batch(0, torch.float64)[0]).sum().backward()


@HOMES
def test_a_copy_with_an_engine_of_its_own_trains_without_warning(home: str) -> None:
    """Attaching settles it."""
    model, _, _ = attached(home)
    twin = copy.deepcopy(model)
    optim = torch.optim.SGD(twin.parameters(), lr=0.1)
    gs.attach(twin, optim, gs.RigL(every=1), total_steps=10)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        train_step(twin, optim, 0, torch.float64)


@HOMES
def test_a_pickled_model_is_a_copy_too(home: str) -> None:
    """torch.save of a whole model: it can be attached again, and holds no recorded passes."""
    model, _, _ = attached(home)
    model(batch(0, torch.float64)[0]).sum().backward()
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    twin = torch.load(file, weights_only=False)
    assert twin[0].tape.pairs == []
    optim = torch.optim.SGD(twin.parameters(), lr=0.1)
    gs.attach(twin, optim, gs.RigL(every=1), total_steps=10)
    train_step(twin, optim, 0, torch.float64)


# --- engine state -------------------------------------------------------------------------------------------


def test_engine_state_of_another_run_is_refused_with_nothing_changed() -> None:
    """Settings are compared one by one, and the differing ones are named."""
    _, _, engine = attached(rule=gs.RigL(every=7))
    for other in (gs.RigL(every=8), gs.SET(every=7)):
        _, _, mine = attached(rule=other)
        with pytest.raises(ConfigError, match="rule="):
            mine.load_state_dict({**engine.state_dict(), "step": 5})
        assert mine.step == 0
    _, _, mine = attached(rule=gs.RigL(every=7), outputs=["0"])
    with pytest.raises(ConfigError, match="outputs="):
        mine.load_state_dict(engine.state_dict())
    _, _, mine = attached(rule=gs.RigL(every=7), seed=3)
    with pytest.raises(ConfigError, match="seed=3"):
        mine.load_state_dict(engine.state_dict())


@pytest.mark.parametrize(
    "damage",
    [
        {"step": "soon"}, {"step": -1}, {"step": 2.5}, {"step": None}, {"history": 3},
        {"history": [{"step": 1}]}, {"history": [[1, 2]]},
        {"history": [{"step": 1, "layer": "0", "evil": 1}]},
    ],
    ids=str,
)  # fmt: skip
def test_damaged_engine_state_is_refused_with_nothing_changed(damage: dict) -> None:
    """Whatever the JSON says."""
    _, _, engine = attached()
    before = engine.state_dict()
    with pytest.raises(GossamerError):
        engine.load_state_dict({**before, "step": 3, **damage})
    assert engine.state_dict() == before


def test_a_rule_sees_the_neighbours_of_a_layer_whether_it_folds_or_not() -> None:
    seen: dict[str, tuple[str | None, str | None]] = {}

    @dataclasses.dataclass(frozen=True)
    class Looks(gs.SET):
        def update(self, layer: LayerView, fraction: float) -> Tensor:
            seen[layer.name] = tuple(view and view.name for view in (layer.source, layer.reader))
            return super().update(layer, fraction)

    model = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 4))
    gs.sparsify(model, 0.5, gs.Unstructured())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    gs.attach(model, optimizer, Looks(every=1), total_steps=9)
    model(torch.ones(2, 8)).sum().backward()
    optimizer.step()
    assert seen == {"0": (None, "2"), "2": ("0", "4"), "4": ("2", None)}


@pytest.mark.parametrize(
    ("rule", "coming"),
    [
        (gs.SET(every=4), "next update at 4"),
        (gs.RigL(), "no update is due"),
        (gs.Static(), "no update is due"),
    ],
)
def test_an_engine_says_what_it_will_do(rule: Rule, coming: str) -> None:
    """Ten steps are too few for a rule of every hundredth one."""
    idle = isinstance(rule, gs.RigL)
    with pytest.warns(TrainingWarning, match="will not change") if idle else nullcontext():
        *_, engine = attached(rule=rule, steps=10)
    assert repr(engine) == f"Engine({rule}, 2 layers, step 0 of 10, {coming})"
