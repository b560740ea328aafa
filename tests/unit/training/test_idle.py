"""A rule that would do nothing in the training that was announced is said when it is attached."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from torch import nn

import gossamer as gs
from gossamer.errors import TrainingWarning
from gossamer.rules import ImportancePruning, Rule

STEPS = 40


def attached(rule: Any, density: float = 1.0, home: str = "packed") -> list[str]:
    """What is said where a rule is attached to two layers."""
    model = nn.Sequential(nn.Linear(20, 20), nn.Linear(20, 20))
    gs.sparsify(model, density, "unstructured", "uniform", full="sparse", home=home)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        gs.attach(model, optimizer, rule, total_steps=STEPS)
    assert all(issubclass(each.category, TrainingWarning) for each in caught)
    assert all(each.filename == __file__ for each in caught)
    return [str(each.message) for each in caught]


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        (gs.RampPruning(begin=100), "attach: ramp will not change a connection in 40 steps"),
        (gs.RampPruning(every=1000), "ramp will not change"),
        (gs.RigL(begin=100), "rigl will not change"),
        (gs.RigL(every=30, until=0.75), "rigl will not change"),
        (gs.GroupLasso(begin=100), "grouplasso: neither the penalty nor an update"),
        (gs.GroupLasso(lam=0.0, every=50), "grouplasso: neither the penalty nor an update"),
        (gs.GroupLasso(ramp=gs.RampPruning(every=50)), "grouplasso: ramp will not change"),
        (ImportancePruning(every=50, then=gs.SET(every=5)), "importance will not change"),
        (ImportancePruning(every=5, then=gs.SET(every=50)), "importance: set will not change"),
        (gs.RampPruning(every=5, ramp=0.6, until=0.5), "ramp=0.6, behind until=0.5"),
    ],
    ids=str,
)
def test_a_rule_that_does_nothing_is_said_once(rule: Rule, words: str) -> None:
    """With its name, the reason and what to change."""
    (said,) = attached(rule)
    assert words in said
    assert "choose" in said


@pytest.mark.parametrize(
    "rule",
    [
        gs.Static(),
        gs.RigL(every=29, until=0.75),
        gs.RampPruning(every=19),
        gs.RampPruning(every=5, ramp=0.5, until=0.5),
        gs.GroupLasso(every=1000),
        gs.GroupLasso(lam=0.0, every=39),
        ImportancePruning(every=5),
    ],
    ids=str,
)
def test_a_rule_that_acts_is_not(rule: Rule) -> None:
    """The last step at which an update is due counts, and a penalty acts without one."""
    assert not attached(rule)


@pytest.mark.parametrize("home", ["packed", "masked"])
@pytest.mark.parametrize(("drop", "told"), [(0.5, True), (0.69, True), (0.7, False), (0.9, False)])
def test_a_share_that_is_gone_already_is_said(home: str, drop: float, told: bool) -> None:
    """Layers of density 0.3 have lost 0.7 of their connections; to ask for the same is what a resumed run does."""
    said = attached(gs.RampPruning(every=5, drop=drop), 0.3, home)
    assert [f"drop={drop} asks for less than is gone" in each for each in said] == [True] * told


def test_one_layer_that_has_something_to_lose_is_enough() -> None:
    """The rule acts there."""
    model = nn.Sequential(gs.SparseLinear(20, 20, density=0.3, pattern="unstructured"), nn.Linear(20, 20))
    gs.sparsify(model, 1.0, "unstructured", full="sparse")
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    engine = gs.attach(model, optimizer, gs.RampPruning(every=5, drop=0.5), total_steps=STEPS)
    assert len(engine.layers) == 2
