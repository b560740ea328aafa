"""torch.func and forward mode through packed layers: what they give for masked ones."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses import FakeTensorMode
from torch.autograd import forward_ad
from torch.func import functional_call, grad, hessian, jacfwd, jacrev, jvp, stack_module_state, vjp, vmap
from torch.fx.experimental.proxy_tensor import make_fx
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

import gossamer as gs
from gossamer.errors import TopologyError
from gossamer.kernels import use
from gossamer.kernels.reference import coordinates

PATTERNS = [gs.Unstructured(), gs.FanIn(), gs.FanIn(4), gs.NM(2, 4), gs.Block(4, 4)]
each_pattern = pytest.mark.parametrize("pattern", PATTERNS, ids=str)
Params = dict[str, Tensor]


class Pair:
    """The same net twice; values of the packed one from a dense weight, so that gradients compare."""

    def __init__(self, pattern: Any, seed: int = 0) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.layer = gs.SparseLinear(
            8, 12, density=0.5, pattern=pattern, generator=generator, dtype=torch.float64
        )
        self.used = self.layer.connections
        dims = self.layer.pattern.dims(self.layer.shape)
        self.place = coordinates(self.layer.operands(), self.layer.pattern.layout, dims)
        self.tail = nn.Linear(12, 3, dtype=torch.float64)

    def packed(self, params: Params, x: Tensor) -> Tensor:
        y = functional_call(self.layer, {"values": params["values"], "bias": params["bias"]}, x)
        return self.tail(torch.tanh(y))

    def dense(self, params: Params, x: Tensor) -> Tensor:
        weight = torch.zeros(12, 8, dtype=torch.float64).index_put(self.place, params["values"][: self.used])
        return self.tail(torch.tanh(nn.functional.linear(x, weight, params["bias"])))

    @property
    def params(self) -> Params:
        return {name: tensor.detach() for name, tensor in self.layer.named_parameters()}


def loss_of(run: Callable[[Params, Tensor], Tensor]) -> Callable[..., Tensor]:
    return lambda params, x: run(params, x[None] if x.dim() == 1 else x).square().sum()


def per_sample(run: Any, params: Params, x: Tensor) -> Any:
    return vmap(grad(loss_of(run)), in_dims=(None, 0))(params, x)


def ensemble(run: Any, params: Params, x: Tensor) -> Any:
    many = {name: torch.stack([tensor, 2 * tensor, -tensor]) for name, tensor in params.items()}
    return vmap(run, in_dims=(0, None))(many, x)


def ensemble_of_gradients(run: Any, params: Params, x: Tensor) -> Any:
    many = {name: torch.stack([tensor, 2 * tensor], -1) for name, tensor in params.items()}
    return vmap(grad(loss_of(run)), in_dims=(-1, None))(many, x)


def pushed(run: Any, params: Params, x: Tensor) -> Any:
    tangents = {name: torch.linspace(-1, 1, len(tensor), dtype=x.dtype) for name, tensor in params.items()}
    return jvp(run, (params, x), (tangents, x.cos()))


def dual_numbers(run: Any, params: Params, x: Tensor) -> Any:
    with forward_ad.dual_level():
        y = run(params, forward_ad.make_dual(x, x.sin()))
        return forward_ad.unpack_dual(y).tangent


def gradient_pushed(run: Any, params: Params, x: Tensor) -> Any:
    """Forward over reverse: a product with the Hessian."""
    tangents = {name: torch.ones_like(tensor) for name, tensor in params.items()}
    return jvp(lambda p: grad(loss_of(run))(p, x), (params,), (tangents,))


TRANSFORMS: dict[str, Callable[..., Any]] = {
    "grad": lambda run, params, x: grad(loss_of(run))(params, x),
    "gradient of the input": lambda run, params, x: grad(loss_of(run), argnums=1)(params, x),
    "vmap over samples": lambda run, params, x: vmap(run, in_dims=(None, 1))(params, x[:, None]),
    "per-sample gradients": per_sample,
    "vjp": lambda run, params, x: vjp(run, params, x)[1](torch.ones(len(x), 3, dtype=x.dtype)),
    "jacrev": lambda run, params, x: jacrev(run)(params, x),
    "jacfwd": lambda run, params, x: jacfwd(run)(params, x),
    "jvp": pushed,
    "dual numbers": dual_numbers,
    "hessian": lambda run, params, x: hessian(loss_of(run), argnums=1)(params, x[:2]),
    "hessian-vector product": gradient_pushed,
    "ensemble": ensemble,
    "gradients of an ensemble": ensemble_of_gradients,
    "grad of grad": lambda run, params, x: grad(
        lambda p: sum(g.square().sum() for g in grad(loss_of(run))(p, x).values())
    )(params),
}


@each_pattern
@pytest.mark.parametrize("name", TRANSFORMS)
def test_transforms_of_packed_layers_are_those_of_dense_ones(pattern: Any, name: str) -> None:
    torch.manual_seed(0)
    pair, x = Pair(pattern), torch.randn(4, 8, dtype=torch.float64)
    mine = TRANSFORMS[name](pair.packed, pair.params, x)
    wanted = TRANSFORMS[name](pair.dense, pair.params, x)
    torch.testing.assert_close(mine, wanted)


def test_transforms_run_on_the_reference_kernels() -> None:
    pair, x = Pair(gs.FanIn()), torch.randn(4, 8, dtype=torch.float64)
    with use("reference"):
        torch.testing.assert_close(
            per_sample(pair.packed, pair.params, x), per_sample(pair.dense, pair.params, x)
        )


def test_models_of_one_topology_are_stacked() -> None:
    """torch's recipe for ensembles; models of several topologies are refused, for their index is no buffer."""
    models = [
        gs.SparseLinear(8, 12, density=0.5, generator=torch.Generator().manual_seed(0)) for _ in range(3)
    ]
    for number, model in enumerate(models):
        model.bias.data.fill_(number)
        model.values.data.mul_(number + 1)
    params, buffers = stack_module_state(models)
    x = torch.randn(4, 8)

    def call(params: Params, buffers: Params) -> Tensor:
        return functional_call(models[0], (params, buffers), x)

    torch.testing.assert_close(vmap(call)(params, buffers), torch.stack([model(x) for model in models]))
    other = gs.SparseLinear(8, 12, density=0.5, generator=torch.Generator().manual_seed(1))
    with pytest.raises(TopologyError):
        vmap(call)(*stack_module_state([models[0], other]))


def test_gradients_of_samples_are_those_of_the_batch() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 4))
    gs.sparsify(model, density=0.3)
    x, y = torch.randn(5, 16), torch.randint(4, (5,))

    def loss(p: Params, a: Tensor, b: Tensor) -> Tensor:
        return nn.functional.cross_entropy(functional_call(model, p, (a[None],)), b[None])

    each = vmap(grad(loss), in_dims=(None, 0, 0))(dict(model.named_parameters()), x, y)
    nn.functional.cross_entropy(model(x), y).backward()
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(each[name].mean(0), parameter.grad)


@pytest.mark.parametrize("randomness", ["same", "different"])
def test_dropout_under_transforms(randomness: str) -> None:
    """Every slice a mask of its own, or all the same one; derivatives are those of what was kept."""
    drop = gs.AllReLU(0.5, layer=3, dropout=0.5)
    x = torch.randn(4, 400, dtype=torch.float64)
    x[:] = x[0]
    each = vmap(grad(lambda row: drop(row).sum()), randomness=randomness)(x)
    assert set(each.unique().tolist()) == {0.0, 1.0, 2.0}
    assert bool((each == each[0]).all()) == (randomness == "same")
    torch.manual_seed(1)
    y, pushed_forward = jvp(drop, (x,), (torch.ones_like(x),))
    torch.manual_seed(1)
    (pulled_back,) = vjp(drop, x)[1](torch.ones_like(x))
    torch.testing.assert_close(pushed_forward, pulled_back)
    torch.testing.assert_close(y, x * pulled_back)


def test_everything_that_listens_hears_the_operators() -> None:
    """Skipping the dispatcher is for plain calls alone."""
    layer, x = gs.SparseLinear(8, 12, density=0.5), torch.randn(3, 8)

    def step(given: Tensor) -> Tensor:
        return torch.autograd.grad(layer(given).sum(), layer.values)[0]

    products = {"gossamer.linear.default", "gossamer.linear_grad_values.default"}
    traced = make_fx(step)(x).graph
    assert products <= {str(node.target) for node in traced.nodes}
    traced = make_fx(step, pre_dispatch=True)(x).graph
    assert "gossamer.linear.default" in {str(node.target) for node in traced.nodes}
    with Heard() as heard:
        step(x)
    assert products <= heard.names
    with HeardFunctions() as functions:
        layer(x.detach())
    assert "gossamer.linear.default" in functions.names
    with torch.profiler.profile() as profile:
        step(x)
    assert {"gossamer::linear", "gossamer::linear_grad_values"} <= {event.name for event in profile.events()}
    with FakeTensorMode(allow_non_fake_inputs=True):
        assert layer(torch.ones(5, 8)).shape == (5, 12)
    with torch.inference_mode(), Heard() as heard:
        layer(x)
    assert "gossamer.linear.default" in heard.names


class Heard(TorchDispatchMode):
    """Remembers what comes by."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.add(str(func))
        return func(*args, **(kwargs or {}))


class HeardFunctions(TorchFunctionMode):
    """Remembers what is called."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.add(str(func))
        return func(*args, **(kwargs or {}))


def test_sixteen_threads_call_one_layer() -> None:
    """Forward and backward, batch sizes mixed: nothing of a call is shared with another."""
    layer = gs.SparseLinear(64, 64, density=0.2, dtype=torch.float64)
    inputs = [torch.randn(batch, 64, dtype=torch.float64) for batch in (1, 3, 32, 70)]

    def work(x: Tensor) -> tuple[Tensor, ...]:
        y = layer(x)
        return y.detach(), *torch.autograd.grad(y.square().sum(), [layer.values, layer.bias])

    wanted = [work(x) for x in inputs]
    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(lambda n: work(inputs[n % 4]), range(320)))
    for n, mine in enumerate(found):
        assert all(map(torch.equal, mine, wanted[n % 4]))


@pytest.mark.parametrize("pattern", PATTERNS, ids=str)
def test_operations_are_counted(pattern: Any) -> None:
    """Two a connection, sample and product."""
    layer = gs.SparseLinear(8, 12, density=0.5, pattern=pattern)
    x = torch.randn(5, 8, requires_grad=True)
    with FlopCounterMode(display=False) as counter:
        layer(x).sum().backward()
    assert counter.get_total_flops() == 3 * 2 * 5 * layer.connections
