"""What the tests of frozen networks share."""

from __future__ import annotations

import copy
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
import torch
from torch import Tensor, nn

import gossamer as gs
from gossamer.patterns import parse
from gossamer.topology import Topology

if TYPE_CHECKING:
    from collections.abc import Callable

    from gossamer.freezing import Frozen

WIDTHS = (32, 24, 16, 8)


def budget(model: nn.Module, x: Tensor) -> tuple[Tensor, float]:
    """The float64 reference, and the error allowed: four times plain torch's, plus the output's rounding."""
    with torch.no_grad():
        reference = copy.deepcopy(model).eval().double()(x.double())
        own = (
            (copy.deepcopy(model).eval()(x).double() - reference).abs().max()
            if x.numel()
            else torch.zeros(())
        )
    largest = reference.abs().max() if reference.numel() else torch.zeros(())
    return reference, 4 * float(own) + 16 * torch.finfo(torch.float32).eps * float(largest + 1)


def same(frozen: Frozen, model: nn.Module, x: Tensor) -> None:
    """Assert that a frozen network computes what its model does."""
    reference, allowed = budget(model, x)
    got = frozen(x)
    assert got.shape == reference.shape
    assert got.dtype == x.dtype
    assert not got.requires_grad
    if got.numel():
        assert float((got.double() - reference).abs().max()) <= allowed


@pytest.fixture
def check_same() -> Callable[[Frozen, nn.Module, Tensor], None]:
    return same


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture
def mlp() -> Callable[..., nn.Sequential]:
    """Build an MLP with biases that are not zero, sparse under a pattern by its short name, or dense."""

    def build(
        pattern: str | None = "unstructured",
        density: float = 0.2,
        widths: tuple[int, ...] = WIDTHS,
        activation: Callable[[], nn.Module] = nn.ReLU,
        home: str = "packed",
        bias: bool = True,
    ) -> nn.Sequential:
        layers: list[nn.Module] = []
        for fan_in, fan_out in pairwise(widths):
            layers += [nn.Linear(fan_in, fan_out, bias=bias), activation()]
        model = nn.Sequential(*layers[:-1])
        if pattern is not None:
            chosen = parse(pattern)
            gs.sparsify(model, None if isinstance(chosen, gs.NM) else density, chosen, "uniform", home=home)
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                nn.init.normal_(parameter)
        return model

    return build


@pytest.fixture
def ablate() -> Callable[[nn.Module, list[int]], None]:
    """Take all inputs from some neurons (rows of units) of a sparse layer; the others keep theirs."""

    def act(layer: nn.Module, rows: list[int]) -> None:
        topology = layer.topology
        stays = ~torch.isin(topology.positions // layer.grid.cols, torch.tensor(rows))
        values = layer.unit_values()[stays].reshape(-1)
        layer.assign(Topology(layer.pattern, layer.shape, topology.positions[stays]), values)

    return act
