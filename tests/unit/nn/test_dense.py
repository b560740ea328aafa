"""DenseLinear: as torch.nn.Linear in either order of memory, and where sparsify puts it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

import gossamer as gs
from gossamer.nn import DenseLinear

SHAPES = [(5, 7), (1, 7), (2, 3, 7), (7,)]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_values_and_gradients_are_those_of_linear(shape: tuple[int, ...], bias: bool) -> None:
    """Of both orders of memory; the gradient of the input lies as the input does."""
    plain = nn.Linear(7, 4, bias).double()
    layer = DenseLinear.of(plain)
    assert layer.weight is plain.weight
    x = torch.randn(shape, dtype=torch.float64)
    for given in (x, x.transpose(0, -1).contiguous().transpose(0, -1)):
        mine, theirs = (given.clone().requires_grad_() for _ in range(2))
        results = []
        for module, inputs in ((layer, mine), (plain, theirs)):
            plain.zero_grad()
            module(inputs).square().sum().backward()
            results.append([inputs.grad, *(p.grad for p in plain.parameters())])
        torch.testing.assert_close(*results)
    assert torch.autograd.gradgradcheck(layer, (mine,))


def test_feature_major_in_feature_major_out() -> None:
    """No copy is made on the way."""
    layer, x = DenseLinear(40, 10), torch.randn(40, 16).t().requires_grad_()
    y = layer(x)
    (grad,) = torch.autograd.grad(y, x, torch.ones_like(y))
    assert x.stride() == grad.stride() == (1, 16)
    assert y.stride() == (1, 16)


def test_compiles_and_exports() -> None:
    """In one graph."""
    layer, x = DenseLinear(40, 10), torch.randn(40, 16).t()
    torch.testing.assert_close(torch.compile(layer, fullgraph=True, backend="aot_eager")(x), layer(x))
    torch.testing.assert_close(torch.export.export(layer, (x,)).module()(x), layer(x))


def test_sparsify_puts_it_where_every_connection_stays() -> None:
    """With the same parameters, also where it freezes; masked models and layers left out keep torch's."""
    model = nn.Sequential(nn.Linear(24, 32), nn.ReLU(), nn.Linear(32, 8), nn.Linear(8, 8))
    weight = model[2].weight
    report = gs.sparsify(model, {"0": 0.3, "2": 1.0}, gs.Unstructured(), skip=("3",))
    assert type(model[2]) is DenseLinear
    assert model[2].weight is weight
    assert type(model[3]) is nn.Linear
    assert [layer.home for layer in report.layers] == ["packed", "dense", "dense"]
    x = torch.randn(6, 24)
    frozen = gs.freeze(model.eval(), x)
    torch.testing.assert_close(frozen(x), model(x))
    masked = nn.Sequential(nn.Linear(24, 32), nn.Linear(32, 8))
    gs.sparsify(masked, {"0": 0.3, "1": 1.0}, gs.Unstructured(), home="masked")
    assert type(masked[1]) is nn.Linear


def test_a_frozen_network_with_one_can_be_saved(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(16, 12), nn.ReLU(), nn.Linear(12, 2))
    gs.sparsify(model, {"0": 0.25, "2": 1.0}, gs.Unstructured())
    assert isinstance(model[2], DenseLinear)
    x = torch.randn(5, 16)
    gs.save(gs.freeze(model.eval(), x), tmp_path / "net.safetensors")
    torch.testing.assert_close(gs.load(tmp_path / "net.safetensors")(x), model(x))
