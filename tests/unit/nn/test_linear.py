"""Sparse linear layers: both homes against torch's own product, and what they refuse."""

from __future__ import annotations

import copy

import pytest
import torch
from torch.nn import functional as F

import gossamer as gs
from gossamer.errors import ConfigError, DensityError, DtypeError, GossamerError, ShapeError
from gossamer.topology import Topology
from strategies import PATTERNS, case, dense_weight

KINDS = pytest.mark.parametrize("kind", [gs.SparseLinear, gs.MaskedLinear])
LAYERS = pytest.mark.parametrize("pattern", PATTERNS, ids=str)


def make(
    kind: type, pattern: gs.FanIn, shape: tuple[int, int] = (16, 28), bias: bool = True
) -> gs.SparseLinear:
    """A layer in double precision."""
    fitting = case(pattern, shape, 0.3)
    return kind(
        fitting.shape[1],
        fitting.shape[0],
        bias,
        density=fitting.density,
        pattern=pattern,
        dtype=torch.float64,
    )


@KINDS
@LAYERS
@pytest.mark.parametrize("leading", [(), (5,), (2, 3), (0,), (2, 0, 3)], ids=str)
@pytest.mark.parametrize("bias", [True, False])
def test_output_and_gradients_equal_the_dense_product(
    kind: type, pattern: gs.FanIn, leading: tuple[int, ...], bias: bool
) -> None:
    """Any leading dimensions, an empty batch too; gradients of input, values and bias."""
    layer = make(kind, pattern, bias=bias)
    x = torch.randn(*leading, layer.in_features, dtype=torch.float64, requires_grad=True)
    other = x.detach().clone().requires_grad_()
    weight = dense_weight(layer).requires_grad_()
    own_bias = None if layer.bias is None else layer.bias.detach().clone().requires_grad_()
    ours, theirs = layer(x), F.linear(other, weight, own_bias)
    torch.testing.assert_close(ours, theirs)
    upstream = torch.randn_like(theirs)
    (ours * upstream).sum().backward()
    (theirs * upstream).sum().backward()
    torch.testing.assert_close(x.grad, other.grad)
    if bias:
        torch.testing.assert_close(layer.bias.grad, own_bias.grad)
    mask, grad = layer.topology.mask(), weight.grad
    if kind is gs.MaskedLinear:
        torch.testing.assert_close(layer.weight.grad, torch.where(mask, grad, 0.0))
    else:
        positions, grid = layer.topology.positions, layer.grid
        packed = pattern.pack(grad, positions, grid)
        torch.testing.assert_close(layer.values.grad[: packed.numel()], packed)
        assert int(layer.values.grad[packed.numel() :].count_nonzero()) == 0


@KINDS
def test_an_ablated_neuron_outputs_its_bias(kind: type) -> None:
    """It is still an output of the layer."""
    layer = make(kind, gs.FanIn(), (4, 6))
    with torch.no_grad():
        layer.bias.copy_(torch.arange(4.0))
    layer.assign(Topology(gs.FanIn(), (4, 6), torch.tensor([0, 3, 13, 14])), torch.ones(4).double())
    y = layer(torch.randn(3, 6, dtype=torch.float64))
    assert y[:, [1, 3]].tolist() == [[1.0, 3.0]] * 3
    assert layer.topology.fan_in().tolist() == [2, 0, 2, 0]


@KINDS
def test_a_connection_that_happens_to_be_zero_is_a_connection(kind: type) -> None:
    """The topology is not read off the weights: a just-grown zero keeps its place and gets a gradient."""
    layer = make(kind, gs.FanIn())
    with torch.no_grad():
        layer.weights.zero_()
    before = layer.connections
    layer(torch.ones(2, layer.in_features, dtype=torch.float64)).sum().backward()
    assert layer.connections == before
    assert int(layer.weights.grad.count_nonzero()) == before


def test_a_packed_layer_holds_nothing_of_dense_size() -> None:
    """Values and indices are of the connections' size."""
    layer = gs.SparseLinear(4096, 4096, density=0.01)
    sizes = {name: t.numel() for name, t in [*layer.named_parameters(), *layer.named_buffers()]}
    assert max(sizes.values()) <= 0.01 * 4096 * 4096
    assert layer.col.dtype == torch.uint16
    assert layer.connections == layer.topology.connections == 4096 * 40


def test_more_values_than_the_budget_are_refused_with_nothing_changed() -> None:
    """assign checks first."""
    layer = make(gs.SparseLinear, gs.FanIn(), (4, 6))
    before = copy.deepcopy(layer.state_dict())
    for positions, count in ((torch.arange(24), 24), (torch.tensor([0, 6]), 3)):
        with pytest.raises(ShapeError):
            layer.assign(Topology(gs.FanIn(), (4, 6), positions), torch.ones(count))
    assert all(torch.equal(layer.state_dict()[k], before[k]) for k in before)


@KINDS
def test_an_input_of_the_wrong_width_is_refused(kind: type) -> None:
    """By us or by torch, never read out of bounds."""
    layer = make(kind, gs.FanIn())
    with pytest.raises((GossamerError, RuntimeError)):
        layer(torch.randn(2, layer.in_features - 1, dtype=torch.float64))


@KINDS
def test_unknown_initialisation_is_refused(kind: type) -> None:
    """With the choices."""
    with pytest.raises(GossamerError, match="one of sparse, dense"):
        kind(8, 8, density=0.5, fan_in="both")


@KINDS
def test_a_layer_says_what_it_is(kind: type) -> None:
    """repr names shape, pattern, connections and home."""
    text = repr(kind(16, 8, density=0.25))
    for word in ("16 -> 8", "pattern=fanin", "connections=32", f"home={kind.home}"):
        assert word in text


@LAYERS
def test_torch_compile_computes_the_same(pattern: gs.FanIn) -> None:
    """Traced without a graph break for inference and training (the eager backend needs no compiler)."""
    torch.compiler.reset()
    layer = make(gs.SparseLinear, pattern)
    x = torch.randn(3, layer.in_features, dtype=torch.float64)
    compiled = torch.compile(layer, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(x), layer(x))
    compiled(x).square().sum().backward()
    ours = layer.values.grad.clone()
    layer.values.grad = None
    layer(x).square().sum().backward()
    torch.testing.assert_close(ours, layer.values.grad)


@pytest.mark.parametrize("fan_in", ["sparse", "dense"])
def test_initial_laws_have_their_bounds_and_spread(fan_in: str) -> None:
    """Uniform ones fill their interval; the plain normal one ignores the fan-in."""
    made = {
        law: gs.SparseLinear(400, 300, density=0.1, fan_in=fan_in, law=law, pattern=gs.FanIn())
        for law in ("he_uniform", "normal")
    }
    inputs = 40 if fan_in == "sparse" else 400
    largest = float(made["he_uniform"].values.detach().abs().max())
    assert 0.99 * (6 / inputs) ** 0.5 < largest <= (6 / inputs) ** 0.5
    assert abs(float(made["normal"].values.detach().std()) - 0.1) < 0.005
    xavier = gs.SparseLinear(
        400, 300, density=0.1, fan_in=fan_in, law="xavier_uniform", pattern=gs.Unstructured()
    )
    topology = xavier.topology
    fans = topology.fan_in()[topology.positions // 400] + topology.fan_out()[topology.positions % 400]
    bound = (6 / (fans if fan_in == "sparse" else torch.tensor(700))) ** 0.5
    share = xavier.values.detach().abs() / bound
    assert float(share.max()) <= 1 + 1e-6
    assert abs(float(share.mean()) - 0.5) < 0.02


def test_an_unknown_law_is_refused() -> None:
    """With the ones there are."""
    with pytest.raises(ConfigError, match="he_uniform"):
        gs.SparseLinear(8, 8, density=0.5, law="orthogonal")


@pytest.mark.parametrize("kind", [gs.SparseLinear, gs.MaskedLinear])
def test_a_layer_takes_its_pattern_by_name_and_refuses_what_is_no_setting(kind: type) -> None:
    """As sparsify does; an own tensor may be assigned, which changes nothing."""
    layer = kind(8, 8, density=0.5, pattern="nm:2:4")
    assert str(layer.pattern) == "nm:2:4"
    before = layer.to_dense().clone()
    values = layer.unit_values().reshape(-1) if kind is gs.MaskedLinear else layer.values[: layer.connections]
    layer.assign(layer.topology, values)
    assert torch.equal(layer.to_dense(), before)
    wrong = [
        ({"density": "0.5"}, DensityError, "without quotes"),
        ({"density": None}, DensityError, "got None"),
        ({"pattern": "fan"}, ConfigError, "fanin"),
        ({"pattern": ""}, ConfigError, r"pattern"),
        ({"pattern": gs.FanIn}, ConfigError, "the class FanIn"),
        ({"pattern": 3}, ConfigError, "got 3"),
        ({"dtype": torch.int32}, DtypeError, "torch.int32"),
        ({"dtype": torch.complex64}, DtypeError, "complex64"),
    ]
    for settings, error, words in wrong:
        with pytest.raises(error, match=f"{kind.__name__}.*{words}"):
            kind(8, 8, **{"density": 0.5, **settings})
