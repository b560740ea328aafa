"""Derivatives of the sparse product, first and second order, every kernel; compiling and exporting."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from gossamer import ops
from gossamer.errors import KernelUnavailable
from gossamer.kernels import transposing, use
from gossamer.kernels.cpu import available_isas
from gossamer.ops import autograd
from kernel_cases import Case, cases

SMALL = [c for c in cases() if max(c.used, *c.shape) <= 60 and c.layout in {"csr", "fanin", "nm", "block"}]
FROZEN = [c for c in cases() if c.layout in {"nm_lanes", "dense"}]
TRACED = [c for c in SMALL if c.name in {"csr-empty-and-full-rows", "fanin-four", "nm-2-4", "block-1-4"}]
CHECKED = [*TRACED, *(c for c in SMALL if c.name == "fanin-all-ablated")]
each_case = pytest.mark.parametrize("case", SMALL, ids=lambda c: c.name)
each_mode = pytest.mark.parametrize("mode", ["never", "always"])
ISAS = [*available_isas(), "reference"]
each_kernel = pytest.mark.parametrize("isa", ISAS)
# The sets differ in the function that is called alone: with wanted gradients one of them stands for all.
WANTED = [(isa, False) for isa in ISAS] + [(isa, True) for isa in dict.fromkeys([ISAS[0], "reference"])]


def _operands(
    case: Case, batch: int = 3, dtype: torch.dtype = torch.float64, tail: int = 2
) -> tuple[Tensor, Tensor, Tensor]:
    x, values, bias = (
        torch.randn(batch, case.shape[1]),
        torch.randn(case.used + tail),
        torch.randn(case.shape[0]),
    )
    return tuple(t.to(dtype).requires_grad_() for t in (x, values, bias))  # type: ignore[return-value]


def _product(case: Case) -> Callable[..., Tensor]:
    return lambda x, values, bias: ops.linear(x, values, case.index, bias, case.layout, case.shape)


@each_kernel
@each_case
@each_mode
def test_gradcheck_first_and_second_order(case: Case, isa: str, mode: str) -> None:
    with use(isa), transposing(mode):
        assert torch.autograd.gradcheck(_product(case), _operands(case))
        if case.used <= 20:
            assert torch.autograd.gradgradcheck(_product(case), _operands(case))


@each_case
def test_gradients_agree_with_the_dense_product(case: Case) -> None:
    x, values, bias = _operands(case, batch=33)
    _product(case)(x, values, bias).sin().sum().backward()
    ours = [t.grad for t in (x, values, bias)]
    x2, values2, bias2 = (t.detach().requires_grad_() for t in (x, values, bias))
    w = torch.zeros(case.shape[:2], dtype=torch.float64).index_put(
        (case.row, case.column), values2[: case.used]
    )
    (x2 @ w.t() + bias2).sin().sum().backward()
    for mine, dense in zip(ours, (x2.grad, values2.grad, bias2.grad), strict=True):
        torch.testing.assert_close(mine, dense, rtol=1e-12, atol=1e-12)


def test_only_wanted_gradients_are_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    called = []
    for name in ("_linear_grad_input", "_linear_grad_values"):
        real = getattr(autograd, name)
        monkeypatch.setattr(autograd, name, lambda *a, real=real, name=name: called.append(name) or real(*a))
    case = SMALL[0]
    x, values, bias = _operands(case)
    _product(case)(x.detach(), values, bias).sum().backward()
    assert called == ["_linear_grad_values"]
    called.clear()
    _product(case)(x, values.detach(), None).sum().backward()
    assert called == ["_linear_grad_input"]


def test_no_graph_is_recorded_where_no_gradient_is_wanted() -> None:
    case = SMALL[0]
    x, values, bias = _operands(case)
    with torch.no_grad():
        assert _product(case)(x, values, bias).grad_fn is None
    assert _product(case)(x.detach(), values.detach(), bias.detach()).grad_fn is None
    assert _product(case)(x, values, bias).grad_fn is not None


def test_gradients_stay_feature_major() -> None:
    """What the next and the previous sparse layer read without a copy."""
    case = SMALL[0]
    x, values, bias = _operands(case, batch=5)
    x = x.detach().t().contiguous().t().requires_grad_()
    y = _product(case)(x, values, bias)
    y.backward(torch.ones_like(y))
    assert y.stride() == (1, 5)
    assert x.grad is not None
    assert x.grad.stride() == (1, 5)


@pytest.mark.parametrize("case", FROZEN, ids=lambda c: c.name)
def test_forward_only_layouts_refuse_gradients(case: Case) -> None:
    x, values, bias = _operands(case, dtype=torch.float32)
    y = _product(case)(x, values, bias)
    with pytest.raises(KernelUnavailable, match="forward only"):
        y.sum().backward()


@pytest.mark.parametrize("case", CHECKED, ids=lambda c: c.name)
@pytest.mark.filterwarnings("ignore:gossamer.*an autograd kernel was not registered:UserWarning")
@pytest.mark.parametrize(
    ("isa", "wanted"),
    WANTED,
    ids=[f"{isa}-{'requires-grad' if wanted else 'plain'}" for isa, wanted in WANTED],
)
def test_operators_pass_opcheck(case: Case, isa: str, wanted: bool) -> None:
    """The raw operators carry no autograd (ops.linear adds it); torch warns where they are differentiated."""
    x, values, bias = (t.detach().requires_grad_(wanted) for t in _operands(case, dtype=torch.float32))
    grad = torch.randn(x.shape[0], case.shape[0], requires_grad=wanted)
    index, shape = list(case.index), list(case.shape)
    raw = torch.ops.gossamer
    with use(isa):
        torch.library.opcheck(raw.linear.default, (x, values, index, bias, case.layout, shape))
        torch.library.opcheck(raw.linear_grad_values.default, (grad, x, values, index, case.layout, shape))
        for mode in ("never", "always"):
            with transposing(mode):
                torch.library.opcheck(
                    raw.linear_grad_input.default, (grad, values, index, case.layout, shape)
                )


class _Net(torch.nn.Module):
    def __init__(self, case: Case) -> None:
        super().__init__()
        self.case = case
        self.values = torch.nn.Parameter(torch.randn(case.used + 2))
        self.bias = torch.nn.Parameter(torch.randn(case.shape[0]))
        for i, tensor in enumerate(case.index):
            self.register_buffer(f"index{i}", tensor)

    def forward(self, x: Tensor) -> Tensor:
        index = [getattr(self, f"index{i}") for i in range(len(self.case.index))]
        return torch.relu(ops.linear(x, self.values, index, self.bias, self.case.layout, self.case.shape))


@pytest.mark.parametrize("case", TRACED, ids=lambda c: c.name)
@each_mode
def test_compiles_whole_forward_and_backward(case: Case, mode: str) -> None:
    net = _Net(case)
    x = torch.randn(4, case.shape[1])
    compiled = torch.compile(net, fullgraph=True, backend="aot_eager")
    grads = []
    for run in (net, compiled):
        net.zero_grad()
        leaf = x.clone().requires_grad_()
        with transposing(mode):
            run(leaf).sum().backward()
        grads.append([leaf.grad, net.values.grad.clone(), net.bias.grad.clone()])
    for eager, traced in zip(*grads, strict=True):
        assert torch.equal(eager, traced)


@pytest.mark.slow
def test_compiles_with_the_default_backend() -> None:
    case = TRACED[0]
    net = _Net(case)
    x = torch.randn(4, case.shape[1])
    y = torch.compile(net, fullgraph=True)(x)
    y.sum().backward()
    torch.testing.assert_close(y, net(x))
    assert net.values.grad is not None


@pytest.mark.parametrize("case", TRACED, ids=lambda c: c.name)
def test_exports_with_a_dynamic_batch(case: Case) -> None:
    net = _Net(case)
    batch = torch.export.Dim("batch", min=1, max=1000)
    program = torch.export.export(net, (torch.randn(4, case.shape[1]),), dynamic_shapes={"x": {0: batch}})
    x = torch.randn(17, case.shape[1])
    assert "gossamer.linear" in str(program.graph)
    assert torch.equal(program.module()(x), net(x))
