"""torch.func and forward mode through packed layers: what they give for masked ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.func import functional_call, grad, hessian, jacfwd, jacrev, jvp, stack_module_state, vjp, vmap

import gossamer as gs
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
    """torch's recipe for ensembles: parameters and buffers stacked, index tensors as well."""
    models = [
        gs.SparseLinear(8, 12, density=0.5, generator=torch.Generator().manual_seed(n)) for n in range(3)
    ]
    params, buffers = stack_module_state(models)
    x = torch.randn(4, 8)
    ys = vmap(lambda p, b: functional_call(models[0], (p, b), x))(params, buffers)
    torch.testing.assert_close(ys, torch.stack([model(x) for model in models]))


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
