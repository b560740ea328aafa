"""All-ReLU: parity, derivative, compilers, and freezing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from torch import nn

import gossamer as gs
from gossamer.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

both = pytest.mark.parametrize("layer", [2, 3], ids=["even", "odd"])


def test_slopes_alternate_from_minus_alpha() -> None:
    """The first hidden layer is number 2 and bends up; two neighbours never agree."""
    assert [a.negative_slope for a in gs.all_relus(0.75, 4)] == [-0.75, 0.75, -0.75, 0.75]
    assert gs.AllReLU(0.6).negative_slope == -0.6
    x = torch.linspace(0.1, 5, 50)
    assert torch.equal(gs.AllReLU(0.6, 2)(-x), 0.6 * x)
    assert torch.equal(gs.AllReLU(0.6, 3)(-x), -0.6 * x)


@both
def test_alpha_zero_is_relu(layer: int) -> None:
    """Values and derivatives."""
    x = torch.randn(100, requires_grad=True)
    y, z = x.detach().clone().requires_grad_(), x
    torch.testing.assert_close(gs.AllReLU(0.0, layer)(z), torch.relu(y), rtol=0, atol=0)
    gs.AllReLU(0.0, layer)(z).sum().backward()
    torch.relu(y).sum().backward()
    assert torch.equal(z.grad, y.grad)


@both
def test_derivative_comes_from_the_input(layer: int) -> None:
    """Also where the output has the wrong sign for it; twice differentiable."""
    activation = gs.AllReLU(0.6, layer).double()
    x = torch.randn(4, 5, dtype=torch.float64)
    x = torch.where(x.abs() < 0.05, 0.5, x).requires_grad_()
    assert torch.autograd.gradcheck(activation, (x,))
    assert torch.autograd.gradgradcheck(activation, (x,))


@pytest.mark.parametrize(("alpha", "layer"), [(-0.1, 2), (float("nan"), 2), (0.5, 1)])
def test_settings_out_of_range_are_refused(alpha: float, layer: int) -> None:
    """The input layer has no activation."""
    with pytest.raises(ConfigError, match="AllReLU"):
        gs.AllReLU(alpha, layer)


def network() -> nn.Sequential:
    """Three sparse layers with alternating activations."""
    torch.manual_seed(0)
    first, second = gs.all_relus(0.6, 2)
    model = nn.Sequential(nn.Linear(24, 32), first, nn.Linear(32, 32), second, nn.Linear(32, 8))
    gs.sparsify(model, 0.3, gs.Unstructured())
    return model


def test_compile_export_and_autocast() -> None:
    """One graph, the same numbers, the dtype of the input."""
    model, x = network(), torch.randn(6, 24)
    torch.testing.assert_close(torch.compile(model, fullgraph=True, backend="aot_eager")(x), model(x))
    torch.testing.assert_close(torch.export.export(model, (x,)).module()(x), model(x))
    with torch.autocast("cpu", torch.bfloat16):
        assert gs.AllReLU(0.5)(x.bfloat16()).dtype is torch.bfloat16
        torch.testing.assert_close(model(x), network()(x))


def test_freezing_fuses_both_slopes(tmp_path: Path) -> None:
    """The layer before it applies it; a saved network computes the same."""
    model, x = network().eval(), torch.randn(6, 24)
    frozen = gs.freeze(model, x)
    layers = [body for _, body in frozen.graph.layers()]
    assert [(layer.activation, layer.slope) for layer in layers[:2]] == [
        ("leaky_relu", -0.6),
        ("leaky_relu", 0.6),
    ]
    torch.testing.assert_close(frozen(x), model(x))
    gs.save(frozen, tmp_path / "net.safetensors")
    torch.testing.assert_close(gs.load(tmp_path / "net.safetensors")(x), model(x))
