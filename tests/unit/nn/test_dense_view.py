"""``SparseLinear.weight`` for code that asks for one: read as if it were there, never written to in silence."""

from __future__ import annotations

import copy
import pickle
from typing import TYPE_CHECKING

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import prune

import gossamer as gs
from gossamer.errors import ConfigError, MemoryShortage, SparseEfficiencyWarning, StateError
from strategies import PATTERNS, dense_weight

if TYPE_CHECKING:
    from collections.abc import Callable

reads = pytest.mark.filterwarnings("ignore::gossamer.errors.SparseEfficiencyWarning")


def layer() -> gs.SparseLinear:
    """Small, unstructured."""
    return gs.SparseLinear(16, 8, density=0.5, pattern=gs.Unstructured())


class FeedForward(nn.Module):
    """A block that looks at the weight of its last projection, as T5's does."""

    def __init__(self) -> None:
        super().__init__()
        self.wi, self.wo = nn.Linear(32, 64), nn.Linear(64, 32)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = torch.relu(self.wi(x))
        if isinstance(self.wo.weight, torch.Tensor) and h.dtype != self.wo.weight.dtype:
            h = h.to(self.wo.weight.dtype)
        return self.wo(h)


@pytest.mark.parametrize("home", ["packed", "masked"])
def test_blocks_that_ask_for_the_type_of_a_weight_run(home: str) -> None:
    """Trained, frozen, exported; no dense copy is made for the question, or there would be a warning."""
    model = FeedForward()
    gs.sparsify(model, 0.3, home=home)
    x = torch.randn(2, 5, 32)
    model(x).sum().backward()
    frozen = gs.freeze(model.eval(), x)
    torch.testing.assert_close(frozen(x), model(x))
    torch.testing.assert_close(torch.export.export(model, (x,)).module()(x), model(x))


def test_what_is_known_without_the_numbers() -> None:
    """Also of a layer whose dense weight could never exist."""
    wide = gs.SparseLinear(1 << 22, 1 << 20, density=2e-8, pattern=gs.Unstructured(), dtype=torch.float64)
    weight = wide.weight
    assert isinstance(weight, torch.Tensor)
    assert weight.shape == (1 << 20, 1 << 22)
    assert (weight.dtype, weight.device, weight.ndim) == (torch.float64, torch.device("cpu"), 2)
    assert (weight.size(0), weight.dim(), weight.numel(), len(weight)) == (1 << 20, 2, 1 << 42, 1 << 20)
    assert weight.is_floating_point()
    assert weight.requires_grad
    assert weight.grad is None
    wide.requires_grad_(False)
    assert not wide.weight.requires_grad
    with pytest.raises(MemoryShortage):
        wide.to_dense()


def test_it_is_no_parameter() -> None:
    """Nor is it saved, copied or moved."""
    one = layer()
    assert {name for name, _ in one.named_parameters()} == {"values", "bias"}
    assert "weight" not in one.state_dict()
    other = pickle.loads(pickle.dumps(copy.deepcopy(one)))  # noqa: S301 (made here)
    assert torch.equal(other.to_dense(), one.to_dense())
    assert one.half().weight.dtype == torch.float16


@pytest.mark.parametrize("pattern", PATTERNS, ids=str)
def test_to_dense_is_the_weight(pattern: gs.FanIn) -> None:
    """Of both homes; gradients through it reach the connections, as those of the layer do."""
    one = gs.SparseLinear(56, 16, density=pattern_density(pattern), pattern=pattern)
    other = gs.MaskedLinear(56, 16, density=pattern_density(pattern), pattern=pattern)
    other.assign(one.topology, one.values.detach()[: one.connections])
    assert torch.equal(one.to_dense(), dense_weight(one))
    assert torch.equal(other.to_dense(), one.to_dense())
    x = torch.randn(5, 56)
    one(x).square().sum().backward()
    expected, one.values.grad = one.values.grad, None
    F.linear(x, one.to_dense(), one.bias).square().sum().backward()
    torch.testing.assert_close(one.values.grad, expected)


def pattern_density(pattern: gs.FanIn) -> float:
    """N:M has one of its own."""
    return pattern.n / pattern.m if isinstance(pattern, gs.NM) else 0.5


def test_code_that_multiplies_with_the_weight_trains_it() -> None:
    """As some attention blocks do; slower than calling the layer, and said."""
    one, x = layer(), torch.randn(3, 16)
    one(x).square().sum().backward()
    expected, one.values.grad = one.values.grad.clone(), None
    with pytest.warns(SparseEfficiencyWarning, match="dense copy"):
        F.linear(x, weight=one.weight, bias=one.bias).square().sum().backward()
    torch.testing.assert_close(one.values.grad, expected)
    dense = one.weight.grad
    assert dense is not None
    mask = one.topology.mask()
    assert torch.equal(dense[mask], one.values.grad[: one.connections])
    assert not dense[~mask].any()


@reads
def test_numbers_are_read_as_from_any_tensor() -> None:
    """Sums, products, views, comparisons, text."""
    one = layer()
    dense, x = one.to_dense().detach(), torch.randn(3, 16)
    weight = one.weight
    assert torch.equal(x @ weight.t(), x @ dense.t())
    assert torch.equal(weight[2], dense[2])
    assert weight.abs().sum().item() == dense.abs().sum().item()
    assert torch.equal(weight.detach().cpu().clone(), dense)
    assert weight.tolist() == dense.tolist()
    assert (weight.detach().numpy() == dense.numpy()).all()
    assert torch.equal(torch.zeros(8, 16).copy_(weight), dense)
    assert "tensor" in repr(weight)
    mine = copy.deepcopy(weight)
    mine.zero_()
    assert torch.equal(one.to_dense(), dense)


def ones() -> torch.Tensor:
    """Another weight."""
    return torch.ones(8, 16)


WRITES: dict[str, Callable[[gs.SparseLinear], object]] = {
    "xavier": lambda m: nn.init.xavier_uniform_(m.weight),
    "kaiming": lambda m: nn.init.kaiming_normal_(m.weight),
    "kaiming by name": lambda m: nn.init.kaiming_uniform_(tensor=m.weight),
    "truncated": lambda m: nn.init.trunc_normal_(m.weight, std=0.02),
    "orthogonal": lambda m: nn.init.orthogonal_(m.weight),
    "constant": lambda m: nn.init.constant_(m.weight, 0.0),
    "data": lambda m: m.weight.data.normal_(),
    "copy": lambda m: m.weight.copy_(ones()),
    "in place": lambda m: m.weight.mul_(2),
    "item": lambda m: m.weight.__setitem__((0, 0), 1.0),
    "row": lambda m: m.weight[0].zero_(),
    "view": lambda m: m.weight.view(-1)[:3].fill_(1.0),
    "transposed": lambda m: m.weight.t().zero_(),
    "detached": lambda m: m.weight.detach().zero_(),
    "the same type": lambda m: m.weight.float().zero_(),
    "each row": lambda m: [row.zero_() for row in m.weight],
    "chunk": lambda m: m.weight.chunk(2)[1].zero_(),
    "out": lambda m: torch.add(ones(), 1, out=m.weight),
    "several": lambda m: torch._foreach_add_([m.weight], 1.0),
    "activation in place": lambda m: F.relu(m.weight, inplace=True),
    "set data": lambda m: setattr(m.weight, "data", ones()),
    "set grad": lambda m: setattr(m.weight, "grad", ones()),
    "set requires_grad": lambda m: setattr(m.weight, "requires_grad", False),
    "requires_grad_": lambda m: m.weight.requires_grad_(False),
    "attribute": lambda m: setattr(m.weight, "rate", 0.1),
    "hook": lambda m: m.weight.register_hook(lambda grad: grad),
    "memory": lambda m: m.weight.data_ptr(),
    "parameter of it": lambda m: nn.Parameter(m.weight),
    "vector": lambda m: nn.utils.vector_to_parameters(torch.ones(128), [m.weight]),
    "pruned": lambda m: prune.l1_unstructured(m, "weight", 0.5),
    "pruned by rows": lambda m: prune.ln_structured(m, "weight", 0.5, 2, 0),
    "pruned with others": lambda m: prune.global_unstructured(
        [(m, "weight"), (nn.Linear(4, 4), "weight")], pruning_method=prune.L1Unstructured, amount=0.5
    ),
    "registered": lambda m: m.register_parameter("weight", nn.Parameter(ones())),
    "assigned parameter": lambda m: setattr(m, "weight", nn.Parameter(ones())),
    "assigned tensor": lambda m: setattr(m, "weight", ones()),
    "assigned nothing": lambda m: setattr(m, "weight", None),
}


@reads
@pytest.mark.parametrize("how", WRITES)
def test_what_would_be_written_to_a_copy_is_refused(how: str) -> None:
    """With what to do instead; the layer stays as it is."""
    one = layer()
    before = copy.deepcopy(one.state_dict())
    with pytest.raises(StateError, match="to_dense"):
        WRITES[how](one)
    assert all(torch.equal(before[name], tensor) for name, tensor in one.state_dict().items())
    assert one.values.requires_grad


@reads
@pytest.mark.parametrize(
    "how", [nn.utils.parametrizations.weight_norm, nn.utils.parametrizations.spectral_norm]
)
def test_a_weight_that_is_not_stored_is_not_parametrized(how: Callable[[nn.Module], object]) -> None:
    """In torch's words; the values, which are stored, can be."""
    one, x = layer(), torch.randn(3, 16)
    before, y = copy.deepcopy(one.state_dict()), one(x)
    with pytest.raises(ValueError, match="'weight'"):
        how(one)
    assert before.keys() == one.state_dict().keys()
    assert torch.equal(one(x), y)


@pytest.mark.parametrize("home", ["linear", "convolution"])
def test_a_masked_weight_is_a_parameter_that_torch_prunes(home: str) -> None:
    """What is written outside of the mask is never computed with, nor in ``to_dense``."""
    one = gs.MaskedLinear(16, 8, density=0.5)
    one = gs.MaskedConv2d(8, 8, 3, density=0.5) if home == "convolution" else one
    x = torch.randn(2, 16) if home == "linear" else torch.randn(2, 8, 5, 5)
    nn.init.constant_(one.weight, 2.0)
    assert torch.equal(one.to_dense(), 2.0 * one.mask)
    dense = nn.Linear(16, 8) if home == "linear" else nn.Conv2d(8, 8, 3)
    dense.load_state_dict({"weight": one.to_dense().detach(), "bias": one.bias.detach()})
    torch.testing.assert_close(one(x), dense(x))
    one.to_dense().sum().backward()
    assert torch.equal(one.weight.grad, one.mask.float())
    connections = one.connections
    prune.random_unstructured(one, "weight", 0.5)
    assert int((one.to_dense() != 0).sum()) < connections == one.connections
    assert torch.equal(one.to_dense(), one.weight * one.mask)
    optimizer = torch.optim.SGD(one.parameters(), lr=0.1)
    with pytest.raises(ConfigError, match="holds the values"):
        gs.attach(nn.Sequential(one), optimizer, "static", total_steps=2)


@reads
def test_arrays_of_it_are_read_only_too() -> None:
    """NumPy knows arrays that cannot be written to."""
    with pytest.raises(ValueError, match="read-only"):
        layer().weight.detach().numpy()[:] = 1


@pytest.mark.filterwarnings(
    "ignore:The .grad attribute", "ignore:Dynamo does not know"
)  # where the graph breaks
@pytest.mark.parametrize("pattern", [gs.FanIn(), gs.Unstructured(), gs.NM(1, 4), gs.Block(2)])
def test_a_dense_copy_is_made_inside_of_a_compiled_function(pattern):
    """The graph breaks there; the numbers, and the gradient through it, are the same."""
    layer = gs.SparseLinear(8, 8, density=0.25 if isinstance(pattern, gs.NM) else 0.5, pattern=pattern)
    x = torch.randn(3, 8)
    y = torch.compile(lambda x: x @ layer.to_dense().T, backend="eager")(x)
    assert torch.equal(y, x @ layer.to_dense().T)
    y.sum().backward()
    taken, layer.values.grad = layer.values.grad.clone(), None
    (x @ layer.to_dense().T).sum().backward()
    assert torch.equal(taken, layer.values.grad)
