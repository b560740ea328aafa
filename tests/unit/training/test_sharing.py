"""One weight in two layers of different connections: whoever changes one would scramble the other."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

import gossamer as gs
from gossamer.errors import ConfigError

HOMES = pytest.mark.parametrize("home", ["packed", "masked"])


def two_layers(home: str) -> nn.Sequential:
    """Two layers of one shape with connections of their own."""
    model = nn.Sequential(nn.Linear(16, 16), nn.Linear(16, 16))
    gs.sparsify(model, 0.3, "unstructured", "uniform", home=home)
    return model


def tie(first: Any, second: Any) -> None:
    """Give the second layer the parameter of the first."""
    name = "values" if first.home == "packed" else "weight"
    setattr(second, name, getattr(first, name))


def attached(model: nn.Module, fixed: tuple[str, ...] = ()) -> tuple[Any, Any]:
    """An optimizer that moves nothing, and the engine of a rule that acts at every step."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    return optimizer, gs.attach(model, optimizer, gs.RigL(every=1), total_steps=10, fixed=fixed)


def step(model: nn.Module, optimizer: Any) -> None:
    """One step with gradients."""
    optimizer.zero_grad()
    model(torch.randn(3, 16)).square().sum().backward()
    optimizer.step()


@HOMES
@pytest.mark.parametrize("fixed", [(), ("1",)])
def test_two_layers_with_one_weight_are_refused(home: str, fixed: tuple[str, ...]) -> None:
    """Also where the connections of one of them stay: an update of the other moves its values."""
    model = two_layers(home)
    tie(model[0], model[1])
    with pytest.raises(ConfigError, match="0 and 1, which share"):
        attached(model, fixed)


def test_two_matrices_of_a_recurrent_layer_with_one_weight_are_refused() -> None:
    """They are layers like any others."""
    net = gs.nn.GRU(8, 8, num_layers=2, density=0.5, pattern="block:4")
    net.hh_l1.values = net.hh_l0.values
    with pytest.raises(ConfigError, match="hh_l0 and hh_l1, which share"):
        attached(net)


@HOMES
def test_one_layer_in_two_places_is_right(home: str) -> None:
    """It has one set of connections; with a learning rate of zero those that survive keep their values."""
    layer = two_layers(home)[0]
    model = nn.Sequential(layer, nn.Tanh(), layer)
    before, mask = layer.to_dense().detach().clone(), layer.topology.mask().clone()
    optimizer, engine = attached(model)
    step(model, optimizer)
    survive = mask & layer.topology.mask()
    assert len(engine.history) == 1
    assert survive.sum() < mask.sum()
    assert torch.equal(layer.to_dense()[survive], before[survive])


@HOMES
def test_a_rule_that_changes_nothing_takes_shared_weights(home: str) -> None:
    """Nothing can be scrambled."""
    model = two_layers(home)
    tie(model[0], model[1])
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    assert gs.attach(model, optimizer, gs.Static(), total_steps=10).step == 0


@HOMES
@pytest.mark.parametrize("fixed", [(), ("1",)])
def test_weights_shared_after_attach_are_refused_at_the_step_and_the_update(
    home: str, fixed: tuple[str, ...]
) -> None:
    """Before anything has moved."""
    model = two_layers(home)
    optimizer, engine = attached(model, fixed)
    tie(model[0], model[1])
    before = [layer.to_dense().detach().clone() for layer in model]
    with pytest.raises(ConfigError, match=r"optimizer.step: .*0 and 1, which share"):
        step(model, optimizer)
    with pytest.raises(ConfigError, match=r"topology update: .*0 and 1, which share"):
        engine.update()
    assert engine.step == 0
    assert all(torch.equal(layer.to_dense(), kept) for layer, kept in zip(model, before, strict=True))


@HOMES
def test_weights_shared_by_a_state_that_is_assigned_are_refused(home: str) -> None:
    """torch makes two parameters of one memory then."""
    model = two_layers(home)
    state = model.state_dict()
    name = "values" if home == "packed" else "weight"
    state[f"1.{name}"] = state[f"0.{name}"]
    model.load_state_dict(state, assign=True)
    with pytest.raises(ConfigError, match="0 and 1, which share"):
        attached(model)
