"""Models that torch does not copy, or whose weights hooks compute, are frozen or refused in words."""

from __future__ import annotations

import threading
import warnings

import pytest
import torch
from torch import nn
from torch.nn.utils import prune

import gossamer as gs
from gossamer.errors import StateError


def test_a_pruned_model_is_frozen_with_its_zeros_gone(mlp):
    model = mlp(None)
    prune.l1_unstructured(model[0], "weight", 0.9)
    prune.random_unstructured(model[2], "weight", 0.5)
    prune.l1_unstructured(model[2], "weight", 0.5)  # a container of two
    prune.l1_unstructured(model[2], "bias", 2)
    model(torch.randn(4, 32)).sum().backward()
    frozen = gs.freeze(model, torch.randn(4, 32), keep="csr")
    rows = {row["name"]: row["connections"] for row in frozen.plan["layers"]}
    assert rows["0"] <= 0.1 * 32 * 24 + 1
    assert rows["2"] <= 0.25 * 24 * 16 + 1
    assert hasattr(model[0], "weight_mask")
    x = torch.randn(5, 32)
    torch.testing.assert_close(frozen(x), model(x).detach())


def test_weight_norm_of_either_kind_is_frozen(mlp):
    model = mlp(None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        nn.utils.weight_norm(model[0])
    nn.utils.parametrizations.weight_norm(model[2])
    gs.sparsify(model, 0.5, allocation="uniform", skip="0")
    x = torch.randn(4, 32)
    model(x).sum().backward()
    frozen = gs.freeze(model, x, keep="csr")
    assert {"0", "4"} <= {row["name"] for row in frozen.plan["layers"]}
    torch.testing.assert_close(frozen(x), model(x).detach())


class Keeps(nn.Module):
    """Keeps activations on itself, in plain sight and in containers."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(32, 16), nn.Linear(16, 4)
        self.kept: dict[str, list[torch.Tensor]] = {"all": []}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.last = torch.relu(self.a(x))
        self.kept["all"] = [self.last]
        return self.b(self.last)


def test_a_model_that_keeps_its_activations_is_frozen():
    model, x = Keeps(), torch.randn(4, 32)
    gs.sparsify(model, 0.5, allocation="uniform")
    expected = model(x)
    frozen = gs.freeze(model, x, keep="csr")
    torch.testing.assert_close(frozen(x), expected.detach())
    assert model.last.requires_grad


class Locked(Keeps):
    def __init__(self) -> None:
        super().__init__()
        self.lock = threading.Lock()


class Alone(Keeps):
    def __deepcopy__(self, memo: object) -> Alone:
        return self


@pytest.mark.parametrize(("kind", "message"), [(Locked, "lock"), (Alone, "shares modules")])
def test_a_model_that_cannot_be_copied_is_refused(kind, message):
    model = kind().train()
    with pytest.raises(StateError, match=message):
        gs.freeze(model, torch.randn(4, 32))
    assert model.training
    assert all(parameter.requires_grad for parameter in model.parameters())
