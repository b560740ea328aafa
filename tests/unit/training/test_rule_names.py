"""``attach`` takes a rule, or the name of one, and refuses the rest in words."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

import gossamer as gs
from gossamer.errors import ConfigError
from gossamer.rules import rule_of


def attached(rule: Any) -> Any:
    """An engine on two sparse layers."""
    model = nn.Sequential(nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 16))
    gs.sparsify(model, 0.5)
    return gs.attach(model, torch.optim.SGD(model.parameters(), lr=0.1), rule, total_steps=200)


@pytest.mark.parametrize("name", ["static", "set", "rigl", " SRigL "])
def test_a_name_is_the_rule_with_its_defaults(name: str) -> None:
    """As estimators and the command line take it."""
    expected = {"static": gs.Static(), "set": gs.SET(), "rigl": gs.RigL(), "srigl": gs.SRigL()}
    assert attached(name).rule == rule_of(name) == expected[name.strip().lower()]


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ("rigel", "did you mean 'rigl'"),
        (gs.RigL, r"RigL\(\)"),
        (None, "None"),
        (0.3, "0.3"),
        ({"name": "set"}, "set"),
    ],
)
def test_what_is_no_rule_is_refused_in_words(rule: Any, words: str) -> None:
    """A class without its settings too."""
    with pytest.raises(ConfigError, match=words):
        attached(rule)
