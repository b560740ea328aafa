"""Weight decay by the number of dimensions: values are flat, and would be left out without a word."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from torch import nn

import gossamer as gs
from gossamer.errors import TrainingWarning


def network(dense: bool, home: str = "packed") -> nn.Module:
    """With or without a dense layer."""
    model = nn.Sequential(nn.Linear(16, 16), nn.LayerNorm(16), nn.Linear(16, 16), nn.Linear(16, 4))
    gs.sparsify(model, 0.5, skip=["3"] if dense else [], home=home)
    return model


def groups(model: nn.Module, decays: Any) -> Any:
    """AdamW with two groups."""
    named = list(model.named_parameters())
    return torch.optim.AdamW(
        [
            {"params": [p for name, p in named if decays(name, p)], "weight_decay": 0.1},
            {"params": [p for name, p in named if not decays(name, p)], "weight_decay": 0.0},
        ]
    )


@pytest.mark.parametrize("dense", [True, False], ids=["with a dense layer", "all sparse"])
def test_groups_by_dimension_are_warned_of(dense: bool) -> None:
    """Every sparse layer would train without decay."""
    model = network(dense)
    optim = groups(model, lambda name, p: p.dim() >= 2)
    with pytest.warns(TrainingWarning, match=r"weight decay reaches no sparse layer \(0, 2"):
        gs.attach(model, optim, gs.SET(), total_steps=200)


@pytest.mark.parametrize(
    ("home", "decays"),
    [
        ("packed", lambda name, p: "bias" not in name),
        ("packed", lambda name, p: name == "0.values" or p.dim() >= 2),
        ("packed", lambda name, p: "norm" in name or name == "1.weight"),  # vectors only, by intent
        ("packed", lambda name, p: True),
        ("masked", lambda name, p: p.dim() >= 2),  # masked weights are matrices
    ],
    ids=["by name", "one of them", "vectors only", "all", "masked"],
)
def test_groups_that_reach_sparse_layers_are_fine(home: str, decays: Any) -> None:
    """No warning."""
    model = network(True, home)
    optim = groups(model, decays)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        gs.attach(model, optim, gs.SET(), total_steps=200)


def test_no_decay_at_all_is_fine() -> None:
    """Two groups with other differences."""
    model = network(True)
    optim = groups(model, lambda name, p: p.dim() >= 2)
    optim.param_groups[0]["weight_decay"] = 0.0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        gs.attach(model, optim, gs.SET(), total_steps=200)
