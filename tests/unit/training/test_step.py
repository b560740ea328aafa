"""One step, and optimizers by name: what the loops of the house share."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from gossamer.errors import ConfigError, NonFiniteError
from gossamer.training import OPTIMIZERS, Note, answers, named_optimizer, train_step


def test_a_step_is_what_one_writes_by_hand():
    model = nn.Linear(3, 2)
    twin = nn.Linear(3, 2)
    twin.load_state_dict(model.state_dict())
    x, y = torch.randn(5, 3), torch.tensor([0, 1, 1, 0, 1])
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    note = train_step(model, optimizer, x, y, F.cross_entropy, 1, right=answers)
    by_hand = torch.optim.SGD(twin.parameters(), lr=0.5)
    loss = F.cross_entropy(twin(x), y)
    right = int((twin(x).argmax(1) == y).sum())
    loss.backward()
    by_hand.step()
    assert note == (loss.item() * 5, right, 5)
    assert torch.equal(model.weight, twin.weight)


def test_a_step_may_be_shared_and_used_by_another() -> None:
    """The loss of all is looked at, and the optimizer is left alone."""
    model = nn.Linear(2, 1)
    before, taken = model.weight.clone(), []
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    x, y = torch.ones(4, 2), torch.ones(4, 1)
    all_of_us = Note(float("inf"), 0, 8)
    with pytest.raises(NonFiniteError, match="got inf"):
        train_step(model, optimizer, x, y, F.mse_loss, 1, shared=lambda _: all_of_us, advance=taken.append)
    assert taken == []
    note = train_step(model, optimizer, x, y, F.mse_loss, 1, shared=lambda n: n.plus(n), advance=taken.append)
    assert taken == [note]
    assert note.samples == 8
    assert torch.equal(model.weight, before)
    assert model.weight.grad is not None


def test_a_loss_that_is_no_number_stops_before_the_step():
    model = nn.Linear(2, 1)
    before = model.weight.clone()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(NonFiniteError, match="training step 7: expected a finite loss, got nan"):
        train_step(model, optimizer, torch.full((1, 2), float("nan")), torch.zeros(1, 1), F.mse_loss, 7)
    assert torch.equal(model.weight, before)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizers_by_name_take_their_settings(name):
    made = named_optimizer(name, [torch.zeros(1)], lr=0.2, weight_decay=0.1)
    group = made.param_groups[0]
    assert type(made) is OPTIMIZERS[name]
    assert (group["lr"], group["weight_decay"]) == (0.2, 0.1)
    assert group.get("momentum") == {"sgd": 0.9, "sgdw": 0.9, "rmsprop": 0.0}.get(name)


def test_momentum_is_for_those_that_have_it():
    parameter = [torch.zeros(1)]
    assert named_optimizer("sgd", parameter, lr=0.1, momentum=0.5, nesterov=True).param_groups[0]["nesterov"]
    assert named_optimizer("rmsprop", parameter, lr=0.1, momentum=0.5).param_groups[0]["momentum"] == 0.5
    with pytest.raises(ConfigError, match="expected one of sgd, sgdw, adam, adamw, rmsprop, got 'lion'"):
        named_optimizer("lion", parameter, lr=0.1)
