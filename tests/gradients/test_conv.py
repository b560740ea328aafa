"""Derivatives of the sparse convolution, first and second order, and what listens: compilers, transforms, counters."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, jvp, vmap
from torch.utils.flop_counter import FlopCounterMode

import gossamer as gs
from gossamer import ops
from gossamer.kernels import rows, use
from gossamer.kernels.reference import coordinates
from gossamer.ops.conv_growth import add_gradient_tile
from gossamer.ops.conv_operators import integers
from gossamer.ops.dense_conv import padded

PATTERNS = [gs.Unstructured(), gs.FanIn(), gs.FanIn(4), gs.NM(2, 4), gs.Block(4, 4)]
SETTINGS: dict[str, dict[str, Any]] = {
    "plain": {"kernel_size": 3, "padding": 1},
    "all": {"kernel_size": (2, 3), "stride": (1, 2), "padding": (0, 2), "dilation": (2, 1), "groups": 2},
    "circular": {"kernel_size": 2, "padding": 1, "padding_mode": "circular"},
}
ISAS = sorted({row.isa for row in rows() if row.op == "conv"})
each_isa = pytest.mark.parametrize("isa", ISAS)
each_pattern = pytest.mark.parametrize("pattern", PATTERNS, ids=str)
each_setting = pytest.mark.parametrize("setting", SETTINGS)
Params = dict[str, Tensor]


@pytest.fixture(autouse=True)
def seeded() -> Iterator[None]:
    """The same numbers in every test."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def layer_of(pattern: Any, setting: str = "plain", dtype: torch.dtype = torch.float64) -> gs.SparseConv2d:
    """A layer with room for a few values more than it has."""
    layer = gs.SparseConv2d(8, 8, density=0.5, pattern=pattern, dtype=dtype, **SETTINGS[setting])
    with torch.no_grad():
        layer.bias.normal_()
    return layer


def product(layer: gs.SparseConv2d) -> Callable[..., Tensor]:
    """Of input, values and bias."""
    index, dims = layer.operands(), layer.pattern.dims(layer.shape)
    return lambda x, values, bias: ops.conv(
        x, values, index, bias, layer.pattern.layout, dims, layer.geometry
    )


def images(*size: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """Noise."""
    return torch.randn(*size, dtype=dtype)


@each_isa
@each_pattern
@each_setting
def test_gradcheck_first_and_second_order(pattern: Any, setting: str, isa: str) -> None:
    layer = layer_of(pattern, setting)
    operands = (images(1, 8, 4, 3).requires_grad_(), layer.values, layer.bias)
    with use(isa):
        assert torch.autograd.gradcheck(product(layer), operands, fast_mode=True, check_forward_ad=True)
        assert torch.autograd.gradgradcheck(product(layer), operands, fast_mode=True)


@each_isa
@each_pattern
@pytest.mark.parametrize("setting", ["plain", "all"])
def test_infinite_and_missing_pixels_reach_the_taps_that_read_them_alone(
    pattern: Any, setting: str, isa: str
) -> None:
    """In a corner not every tap reads them: gradients of the others are those of the definition, and finite."""
    layer, x = layer_of(pattern, setting), images(3, 8, 5, 6)
    x[0, :2, 0, -1], x[2, 4:7, -1, 0] = torch.inf, torch.nan
    with use(isa):
        y = product(layer)(x, layer.values, layer.bias)
        upstream = torch.randn_like(y)
        (got,) = torch.autograd.grad(y, layer.values, upstream)
    wanted, g = torch.zeros(layer.shape, dtype=torch.float64), layer.geometry
    rows, columns = map(torch.arange, layer.shape)
    add_gradient_tile(wanted, padded(x, g.padding, g.mode), upstream, rows, columns, g)
    place = coordinates(layer.operands(), layer.pattern.layout, layer.pattern.dims(layer.shape))
    torch.testing.assert_close(got[: layer.connections], wanted[place], equal_nan=True)
    assert 0.5 < float(got.isfinite().double().mean()) < 1


@each_isa
@pytest.mark.parametrize("pattern", [gs.FanIn(4)], ids=str)
@pytest.mark.filterwarnings("ignore:gossamer.*an autograd kernel was not registered:UserWarning")
def test_operators_pass_opcheck(pattern: Any, isa: str) -> None:
    """Schema, fakes and tracing of the three raw operators."""
    layer = layer_of(pattern, "all", torch.float32)
    index, layout, dims = layer.operands(), layer.pattern.layout, layer.pattern.dims(layer.shape)
    x, values, bias = images(2, 8, 5, 4, dtype=torch.float32), layer.values.detach(), layer.bias.detach()
    upstream = torch.randn_like(layer(x)).detach()
    tail, raw = (layout, dims, integers(layer.geometry)), torch.ops.gossamer
    with use(isa):
        torch.library.opcheck(raw.conv.default, (x, values, index, bias, *tail))
        torch.library.opcheck(raw.conv_grad_input.default, (upstream, values, index, *tail, [5, 4]))
        torch.library.opcheck(raw.conv_grad_values.default, (upstream, x, values, index, *tail))


def test_only_wanted_gradients_are_computed() -> None:
    layer, called = layer_of(gs.FanIn()), []
    x = images(2, 8, 4, 4)

    class Heard(torch.utils._python_dispatch.TorchDispatchMode):
        """Remembers our operators."""

        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            called.extend([str(func)] if "gossamer" in str(func) else [])
            return func(*args, **(kwargs or {}))

    with Heard():
        layer(x).sum().backward()
        layer.requires_grad_(False)
        layer(x.requires_grad_()).sum().backward()
    expected = ["conv", "conv_grad_values", "conv", "conv_grad_input"]
    assert called == [f"gossamer.{name}.default" for name in expected]
    with torch.no_grad():
        assert layer(x).grad_fn is None


def test_compiles_whole_forward_and_backward() -> None:
    layer = layer_of(gs.FanIn(4), "circular", torch.float32)
    net = nn.Sequential(layer, nn.ReLU())
    compiled = torch.compile(net, fullgraph=True, backend="aot_eager")
    x, grads = images(2, 8, 5, 4, dtype=torch.float32), []
    for run in (net, compiled):
        net.zero_grad()
        leaf = x.clone().requires_grad_()
        run(leaf).square().sum().backward()
        grads.append([leaf.grad, layer.values.grad.clone(), layer.bias.grad.clone()])
    for eager, traced in zip(*grads, strict=True):
        torch.testing.assert_close(eager, traced)


def test_exports_with_a_dynamic_batch_and_plane() -> None:
    layer = layer_of(gs.FanIn(), dtype=torch.float32)
    sizes = {0: torch.export.Dim("batch", min=1, max=100), 2: torch.export.Dim("height", min=4, max=100)}
    program = torch.export.export(
        layer, (images(4, 8, 5, 6, dtype=torch.float32),), dynamic_shapes={"x": sizes}
    )
    assert "gossamer.conv" in str(program.graph)
    x = images(7, 8, 9, 6, dtype=torch.float32)
    assert torch.equal(program.module()(x), layer(x))


class Pair:
    """A layer, and the same with a dense weight, as functions of parameters."""

    def __init__(self, pattern: Any) -> None:
        self.layer = layer_of(pattern, "all")
        self.params = {name: p.detach() for name, p in self.layer.named_parameters()}
        dims = self.layer.pattern.dims(self.layer.shape)
        self.place = coordinates(self.layer.operands(), self.layer.pattern.layout, dims)

    def packed(self, params: Params, x: Tensor) -> Tensor:
        return torch.tanh(functional_call(self.layer, params, x))

    def dense(self, params: Params, x: Tensor) -> Tensor:
        layer = self.layer
        matrix = torch.zeros(layer.shape, dtype=x.dtype)
        matrix = matrix.index_put(self.place, params["values"][: layer.connections])
        weight = matrix.view(8, 2, 3, 4).permute(0, 3, 1, 2)
        around = (layer.stride, layer.padding, layer.dilation, layer.groups)
        return torch.tanh(nn.functional.conv2d(x, weight, params["bias"], *around))


def loss_of(run: Callable[[Params, Tensor], Tensor]) -> Callable[..., Tensor]:
    return lambda params, x: run(params, x).square().sum()


def ensemble(run: Any, params: Params, x: Tensor) -> Any:
    many = {name: torch.stack([tensor, 2 * tensor], -1) for name, tensor in params.items()}
    return vmap(grad(loss_of(run)), in_dims=(-1, None))(many, x)


def hessian_product(run: Any, params: Params, x: Tensor) -> Any:
    ones = {name: torch.ones_like(tensor) for name, tensor in params.items()}
    return jvp(lambda p: grad(loss_of(run))(p, x), (params,), (ones,))


TRANSFORMS: dict[str, Callable[..., Any]] = {
    "per-sample gradients": lambda run, params, x: vmap(grad(loss_of(run)), in_dims=(None, 0))(params, x),
    "vmap over samples": lambda run, params, x: vmap(run, in_dims=(None, 1))(params, x[:, None]),
    "gradient of the input": lambda run, params, x: grad(loss_of(run), argnums=1)(params, x),
    "gradients of an ensemble": ensemble,
    "hessian-vector product": hessian_product,
}


@each_pattern
@pytest.mark.parametrize("name", TRANSFORMS)
def test_transforms_of_packed_layers_are_those_of_dense_ones(pattern: Any, name: str) -> None:
    pair, x = Pair(pattern), images(2, 8, 5, 4)
    mine, wanted = (TRANSFORMS[name](run, pair.params, x) for run in (pair.packed, pair.dense))
    torch.testing.assert_close(mine, wanted)


@each_pattern
def test_operations_are_counted(pattern: Any) -> None:
    """Two a connection, position of the output, sample and product."""
    layer = layer_of(pattern, "all", torch.float32)
    with FlopCounterMode(display=False) as counter:
        y = layer(images(3, 8, 5, 4, dtype=torch.float32).requires_grad_())
        y.sum().backward()
    assert counter.get_total_flops() == 3 * 2 * layer.connections * 3 * y.shape[2] * y.shape[3]


def test_shapes_alone_are_enough_on_meta() -> None:
    layer = layer_of(gs.FanIn(), "all").to("meta")
    assert layer(torch.empty(2, 8, 5, 4, dtype=torch.float64, device="meta")).shape == (2, 8, 3, 3)


def test_half_precision_and_autocast() -> None:
    """bfloat16 layers run on the reference kernels; under autocast the output is float32."""
    layer = layer_of(gs.FanIn(), dtype=torch.float32)
    x = images(2, 8, 5, 4, dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(layer(x.bfloat16()), layer(x.bfloat16().float()))
    y = layer.bfloat16()(x.bfloat16())
    assert y.dtype == torch.bfloat16
    torch.testing.assert_close(y.float(), layer.float()(x), atol=0.05, rtol=0.05)
