"""compact: memory of lost connections comes back, and nothing else changes."""

from __future__ import annotations

import copy
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import nn

import gossamer as gs
from gossamer.errors import ConfigError, GossamerError, StateError
from gossamer.patterns import parse
from gossamer.topology import TopologyChange
from strategies import IN, OPTIMIZERS, dense_weight, differences, everything, make_model, train_step

if TYPE_CHECKING:
    from pathlib import Path

ADAM = pytest.mark.parametrize("optimizer", ["sgd", "nesterov_wd", "adam", "sgdw", "rmsprop"])


def network(home: str = "packed", hidden: int = 24) -> nn.Sequential:
    """Three layers that have every connection, in double precision."""
    torch.manual_seed(0)
    sizes = [IN, hidden, hidden, 16]
    layers = [nn.Linear(a, b) for a, b in pairwise(sizes)]
    model = nn.Sequential(layers[0], nn.ReLU(), layers[1], nn.ReLU(), layers[2]).double()
    drawn = torch.Generator().manual_seed(0)
    gs.sparsify(model, 1.0, gs.Unstructured(), "uniform", home=home, generator=drawn, full="sparse")
    return model


def held(model: nn.Module, optimizer: torch.optim.Optimizer | None = None) -> int:
    """Bytes of the memory behind values, gradients and state of packed layers."""
    total = 0
    for layer in (m for m in model.modules() if isinstance(m, gs.SparseLinear)):
        state = optimizer.state.get(layer.values, {}) if optimizer else {}
        parts = [layer.values, layer.values.grad, *state.values()]
        total += sum(p.untyped_storage().nbytes() for p in parts if isinstance(p, torch.Tensor) and p.dim())
    return total


def pruned(optimizer: str = "adam", share: float = 0.5) -> tuple[nn.Sequential, torch.optim.Optimizer]:
    """Trained a little, then half of the hidden neurons removed."""
    model = network()
    optim = OPTIMIZERS[optimizer](model.parameters())
    for step in range(3):
        train_step(model, optim, step, torch.float64)
    gs.prune_neurons(model, share)
    return model, optim


@ADAM
def test_values_gradients_and_state_get_the_size_of_what_is_left(optimizer: str) -> None:
    """In memory, not only in shape; the parameters are the same objects, and the network computes the same bits."""
    model, optim = pruned(optimizer)
    x = torch.randn(3, IN, dtype=torch.float64)
    y, objects, before = model(x).detach(), list(model.parameters()), held(model, optim)
    momenta = {key: [v.clone() for v in optim.state[key].values() if torch.is_tensor(v)] for key in objects}
    freed = gs.compact(model, optim)
    assert torch.equal(model(x), y)
    assert all(a is b for a, b in zip(objects, model.parameters(), strict=True))
    copies = {"sgd": 2, "adam": 4, "rmsprop": 4}.get(optimizer, 3)
    left = [IN * 12, 12 * 12, 12 * 16]
    assert [model[n].values.numel() for n in (0, 2, 4)] == left
    assert [model[n].capacity for n in (0, 2, 4)] == left
    assert held(model, optim) == 8 * copies * sum(left) == before - freed
    for parameter in objects:
        state = [v for v in optim.state[parameter].values() if torch.is_tensor(v)]
        for old, new in zip(momenta[parameter], state, strict=True):
            assert torch.equal(old.reshape(-1)[: new.numel()], new.reshape(-1))
    assert gs.compact(model, optim) == 0


@pytest.mark.parametrize("text", ["unstructured", "fanin", "fanin:4", "block:4"])
def test_a_layer_that_lost_nine_tenths_takes_the_memory_of_one_born_small(text: str) -> None:
    """Values, gradients, state and index together; without compact it is ten times that."""
    pattern = parse(text)
    small = gs.SparseLinear(64, 80, density=0.1, pattern=pattern)
    large = gs.SparseLinear(64, 80, density=1.0, pattern=pattern)
    sizes = []
    for layer in (small, large):
        optim = torch.optim.Adam(layer.parameters())
        layer(torch.randn(4, 64)).sum().backward()
        optim.step()
        if layer is large:
            states = [layer.values.grad, *(v for v in optim.state[layer.values].values() if v.dim())]
            layer.carry(TopologyChange.between(layer.topology, small.topology), states)
            sizes.append(held(layer, optim))
            gs.compact(layer, optim)
        index = sum(tensor.untyped_storage().nbytes() for tensor in layer.index.values())
        sizes.append(held(layer, optim) + index)
    born, shrunk, compact = sizes
    assert compact <= 1.1 * born
    assert shrunk > 5 * born


@ADAM
@pytest.mark.parametrize("kept_alive", [False, True])
def test_training_goes_on_as_in_the_masked_home(optimizer: str, kept_alive: bool) -> None:
    """A dense start, importance pruning, and compact after every pruning, also while an old graph is alive."""
    weights, losses = {}, {}
    for home in ("packed", "masked"):
        model, graphs = network(home), []
        optim = OPTIMIZERS[optimizer](model.parameters())
        engine = gs.attach(model, optim, gs.ImportancePruning(every=3, drop=0.3), total_steps=12)
        losses[home] = []
        for step in range(12):
            x = torch.randn(8, IN, dtype=torch.float64, generator=torch.Generator().manual_seed(step))
            optim.zero_grad()
            loss = (model(x) - x[:, :16]).square().mean()
            loss.backward()
            optim.step()
            losses[home].append(float(loss.detach()))
            graphs += [loss] if kept_alive else []
            if home == "packed" and step % 3 == 2:
                gs.compact(model, optim)
        assert len({row.connections for row in engine.history if row.layer == "2"}) > 2
        weights[home] = [dense_weight(model[n]) for n in (0, 2, 4)]
        if home == "packed":
            assert all(model[n].values.numel() == model[n].connections for n in (0, 2, 4))
    assert losses["packed"] == pytest.approx(losses["masked"], rel=1e-9)
    for ours, theirs in zip(weights["packed"], weights["masked"], strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("rule", [gs.SET(every=2), gs.RigL(every=2)], ids=lambda r: r.name)
def test_a_rule_goes_on_within_what_is_left(rule: gs.RigL) -> None:
    """Between backward and step of a growing step too."""
    model, optim = pruned()
    engine = gs.attach(model, optim, rule, total_steps=20)
    for step in range(8):
        x = torch.randn(8, IN, dtype=torch.float64)
        optim.zero_grad()
        (model(x) - x[:, :16]).square().mean().backward()
        gs.compact(model, optim)
        optim.step()
        assert step < 1 or model[0].connections == model[0].values.numel() == IN * 12
    assert sum(row.grown for row in engine.history) > 0


def test_ablated_neurons_give_their_memory_back() -> None:
    """Constant fan-in, whose budget does not divide by the neurons that are left."""
    model = make_model("packed", gs.FanIn())
    optim = OPTIMIZERS["adam"](model.parameters())
    gs.attach(model, optim, gs.SRigL(every=2, gamma=0.9, drop=0.6), total_steps=20)
    for step in range(10):
        train_step(model, optim, step)
        if step == 5:
            gs.compact(model, optim)
            assert model[0].values.numel() == model[0].connections
    assert model[0].connections <= model[0].values.numel()


# --- states -----------------------------------------------------------------------------------------------------


def test_a_fresh_model_takes_a_compact_state() -> None:
    """By copy and by assignment; then it trains, and has the smaller budget."""
    model, optim = pruned()
    gs.compact(model, optim)
    x = torch.randn(3, IN, dtype=torch.float64)
    for assign in (False, True):
        fresh = network()
        fresh.load_state_dict(copy.deepcopy(model.state_dict()), assign=assign)
        assert torch.equal(fresh(x), model(x))
        assert (fresh[0].capacity, fresh[0].values.numel()) == (model[0].capacity, model[0].values.numel())
        train_step(fresh, OPTIMIZERS["adam"](fresh.parameters()), 0, torch.float64)


def test_a_state_of_before_gives_the_layer_its_size_back() -> None:
    """Up to what it was built with, and no further; so a load that fails can be undone."""
    model, optim = pruned()
    large = copy.deepcopy(network().state_dict())
    gs.compact(model, optim)
    before = everything(model, optim)
    with pytest.raises(GossamerError, match="shape"):
        model.load_state_dict({**large, "0.values": torch.cat([large["0.values"]] * 2)})
    assert differences(before, everything(model, optim)) == []
    model.load_state_dict(large)
    assert model[0].capacity == model[0].values.numel() == IN * 24
    fresh = network()
    fresh.load_state_dict(large)
    x = torch.randn(3, IN, dtype=torch.float64)
    assert torch.equal(model(x), fresh(x))
    model(x).sum().backward()


def test_a_checkpoint_after_compact_resumes_with_the_same_bits(tmp_path: Path) -> None:
    """Into a run that was built as the first one was, before anything was lost."""

    def run() -> tuple[Any, ...]:
        model = network()
        optim = OPTIMIZERS["adam"](model.parameters())
        return model, optim, gs.attach(model, optim, gs.ImportancePruning(every=3, drop=0.3), total_steps=12)

    whole = run()
    for step in range(7):
        train_step(*whole[:2], step, torch.float64)
        if step == 5:
            gs.compact(*whole[:2])
    gs.save_checkpoint(tmp_path / "c", *whole)
    again = run()
    train_step(*again[:2], 99, torch.float64)
    gs.load_checkpoint(tmp_path / "c", *again)
    for objects in (whole, again):
        for step in range(7, 11):
            train_step(*objects[:2], step, torch.float64)
    assert differences(everything(*whole[:2]), everything(*again[:2])) == []


def test_copies_and_pickles_keep_the_smaller_size() -> None:
    model, optim = pruned()
    gs.compact(model, optim)
    x = torch.randn(3, IN, dtype=torch.float64)
    twin = copy.deepcopy(model)
    assert torch.equal(twin(x), model(x))
    assert twin[0].values.untyped_storage().nbytes() == 8 * twin[0].connections


# --- refused ----------------------------------------------------------------------------------------------------


def test_an_optimizer_that_was_forgotten_is_named() -> None:
    """Its state would keep the old size, and its next step would fail."""
    model, optim = pruned()
    before = everything(model, optim)
    with pytest.raises(
        StateError, match=r"Adam that was not given; call gossamer.compact\(model, optimizer\)"
    ):
        gs.compact(model)
    assert differences(before, everything(model, optim)) == []


def test_an_optimizer_that_is_gone_is_not_missed() -> None:
    model, optim = pruned()
    optim.itself = optim  # waits for the collector
    del optim
    assert gs.compact(model) > 0


def test_state_that_does_not_follow_is_refused_with_nothing_changed() -> None:
    model, _ = pruned()
    optim = torch.optim.LBFGS(model.parameters())
    x = torch.randn(4, IN, dtype=torch.float64)

    def closure() -> torch.Tensor:
        optim.zero_grad()
        loss = model(x).square().mean()
        loss.backward()
        return loss

    optim.step(closure)
    before = everything(model)
    with pytest.raises(StateError, match="LBFGS"):
        gs.compact(model, optim)
    assert differences(before, everything(model)) == []


def test_a_masked_model_has_nothing_to_free() -> None:
    with pytest.raises(ConfigError, match='home="packed"'):
        gs.compact(network("masked"))


def test_a_compiled_step_says_where_to_call_it() -> None:
    """As an error of ours, or in torch's own where no break of the graph is allowed; nothing is changed."""
    model, _ = pruned()
    model.zero_grad()
    before, x = everything(model), torch.randn(2, IN, dtype=torch.float64)

    def step() -> torch.Tensor:
        gs.compact(model)
        return model(x)

    for full in (False, True):
        torch.compiler.reset()
        with pytest.raises(Exception, match=r"outside of the compiled function"):
            torch.compile(step, backend="eager", fullgraph=full)()
    assert differences(before, everything(model)) == []


def test_a_compiled_model_is_compiled_again() -> None:
    """Its graphs look at the sizes of parameters."""
    torch.compiler.reset()
    model, optim = pruned()
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    twin = copy.deepcopy(model)
    other = OPTIMIZERS["adam"](twin.parameters())
    other.load_state_dict(copy.deepcopy(optim.state_dict()))
    for step in range(4):
        ours, theirs = (
            train_step(compiled, optim, step, torch.float64),
            train_step(twin, other, step, torch.float64),
        )
        assert ours == pytest.approx(theirs, rel=1e-12)
        if step == 1:
            assert gs.compact(model, optim) > 0


def test_a_state_of_a_model_that_lost_more_after_compact_loads_into_a_fresh_one() -> None:
    """Its values are fewer than the fresh layer's and more than its connections; the rest of them are zero."""
    model, optim = pruned()
    gs.compact(model, optim)
    gs.prune_neurons(model, 0.5)
    fresh = network()
    fresh.load_state_dict(model.state_dict())
    x = torch.randn(3, IN, dtype=torch.float64)
    assert torch.equal(fresh(x), model(x))
    layer = fresh[0]
    assert layer.connections < layer.values.numel() == layer.capacity < IN * 24
    state = model.state_dict()
    for size in (layer.connections - 1, IN * 24 + 1):
        with pytest.raises(GossamerError, match=r"load 0\.values"):
            network().load_state_dict({**state, "0.values": torch.zeros(size, dtype=torch.float64)})
