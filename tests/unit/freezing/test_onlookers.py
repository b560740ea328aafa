"""Whoever looks on while a frozen network runs sees what it computes, or is refused; nobody gets a constant."""

from __future__ import annotations

import io

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils._python_dispatch import TorchDispatchMode

import gossamer as gs
from gossamer.errors import GossamerError, StateError


class Mixed(nn.Module):
    """A convolution, a normalisation, a residual, and a module that stays torch."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.last = nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.LayerNorm(24)
        self.a, self.b = nn.Linear(4 * 4 * 6, 24), nn.Linear(24, 24)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.a(torch.relu(self.norm(self.conv(x.view(-1, 1, 6, 8)))).flatten(1))
        return self.last(torch.relu(self.b(h) + h))


class Branches(Mixed):
    """Cannot be traced."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if isinstance(x, torch.fx.Proxy):
            raise TypeError("no symbolic values, please")
        return super().forward(x)


def plain(*keep: str) -> nn.Module:
    model = nn.Sequential(nn.Linear(48, 32), nn.ReLU(), nn.Linear(32, 24), nn.Tanh(), nn.Linear(24, 8))
    gs.sparsify(model, 0.3, allocation="uniform")
    return gs.freeze(model, torch.randn(8, 48), keep=dict(zip("024", keep, strict=True)))


def built(kind: str) -> nn.Module:
    x = torch.randn(8, 48)
    if kind in ("mixed", "in place"):
        model = Mixed() if kind == "mixed" else Branches()
        gs.sparsify(model, 0.3, allocation="uniform")
        return gs.freeze(model, x, keep="csr")
    if kind == "rounded":
        model = nn.Sequential(nn.Linear(48, 32), nn.ReLU(), nn.Linear(32, 8))
        gs.sparsify(model, pattern=gs.NM(1, 8))
        return gs.freeze(model, x, keep="nm_bytes", values="int8", compute="int8")
    return plain(*{"core": ("csr",) * 3, "torch": ("dense",) * 3, "both": ("csr", "dense", "csr")}[kind])


KINDS = ("core", "torch", "both", "rounded", "mixed", "in place")


@pytest.fixture(scope="module", params=KINDS)
def frozen(request: pytest.FixtureRequest) -> nn.Module:
    torch.manual_seed(0)
    return built(request.param)


def exported(net: nn.Module, x: torch.Tensor) -> nn.Module:
    return torch.export.export(net, (x,)).module()


def compiled(net: nn.Module, _x: torch.Tensor) -> nn.Module:
    torch._dynamo.reset()
    return torch.compile(net, fullgraph=True, backend="aot_eager")


WAYS = {
    "jit.trace": lambda net, x: torch.jit.trace(net, (x,), check_trace=False),
    "make_fx": lambda net, x: make_fx(net)(x),
    "export": exported,
    "compile": compiled,
    "jit.trace of a parent": lambda net, x: torch.jit.trace(nn.Sequential(net, nn.Identity()), (x,)),
}


@pytest.mark.parametrize("way", sorted(WAYS))
def test_a_trace_computes_the_same_bits_for_other_inputs(frozen, way):
    x, z = torch.randn(8, 48), torch.randn(8, 48)
    seen = WAYS[way](frozen, x)
    assert torch.equal(seen(z), frozen(z))
    assert torch.equal(seen(x), frozen(x))


def test_an_export_takes_other_batch_sizes_and_travels(frozen):
    batch = torch.export.Dim("batch", min=2, max=64)
    program = torch.export.export(frozen, (torch.randn(8, 48),), dynamic_shapes=({0: batch},))
    file = io.BytesIO()
    torch.export.save(program, file)
    file.seek(0)
    again, z = torch.export.load(file).module(), torch.randn(5, 48)
    assert torch.equal(again(z), frozen(z))


def test_a_network_measured_at_several_sizes_is_traced():
    frozen = gs.freeze(nn.Sequential(nn.Linear(48, 8)), torch.randn(1, 48), batch_sizes=(1, 64))
    for x in (torch.randn(1, 48), torch.randn(50, 48)):
        for way in WAYS.values():
            torch.testing.assert_close(way(frozen, x)(x), frozen(x))


def test_vmap_gives_each_sample_what_it_gets_alone(frozen):
    x = torch.randn(3, 4, 48)
    expected = torch.stack([frozen(each) for each in x])
    for dim in (0, 1):
        got = torch.func.vmap(frozen, in_dims=dim)(x.movedim(0, dim))
        torch.testing.assert_close(got, expected)


def test_gradients_are_refused(frozen):
    x = torch.randn(4, 48)
    for ask in (
        lambda: torch.func.grad(lambda each: frozen(each).sum())(x),
        lambda: torch.func.jvp(frozen, (x,), (x,)),
        lambda: torch.func.jacrev(frozen)(x),
        lambda: torch.func.vmap(torch.func.grad(lambda each: frozen(each[None]).sum()))(x),
    ):
        with pytest.raises(StateError, match=r"no gradient; use the model"):
            ask()


def test_fake_tensors_are_refused_or_give_shapes(frozen):
    with FakeTensorMode() as mode, pytest.raises(StateError, match="allow_non_fake_inputs=True"):
        frozen(mode.from_tensor(torch.randn(4, 48)))
    with pytest.raises(StateError, match=r"torch\.export"):
        make_fx(frozen, tracing_mode="fake")(torch.randn(4, 48))
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        got = frozen(mode.from_tensor(torch.randn(4, 48)))
    assert got.shape == frozen(torch.randn(4, 48)).shape
    assert type(got).__name__ == "FakeTensor"


class Watching(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.seen.append(str(func))
        return func(*args, **(kwargs or {}))


def test_a_mode_sees_the_layers_as_operators():
    model = nn.Sequential(nn.Linear(48, 32), nn.Tanh(), nn.Linear(32, 24), nn.Softmax(1), nn.Linear(24, 8))
    frozen, x = gs.freeze(model, torch.randn(8, 48), keep="csr"), torch.randn(4, 48)
    with Watching() as mode:
        got = frozen(x)
    assert [name for name in mode.seen if name.startswith("gossamer")] == [
        "gossamer.chain.default",  # two layers and the tanh between them
        "gossamer.call.default",
        "gossamer.chain.default",
    ]
    assert torch.equal(got, frozen(x))
    assert torch.equal(torch.func.vmap(frozen)(x[None].clone())[0], frozen(x))


def test_torchscript_and_symbolic_traces_are_refused():
    frozen = plain("csr", "csr", "csr")
    with pytest.raises(GossamerError, match=r"torch\.jit\.trace, torch\.export"):
        torch.jit.script(frozen)
    with pytest.raises(GossamerError, match="leaf of the tracer"):
        torch.fx.symbolic_trace(nn.Sequential(frozen))


def test_the_operator_keeps_torchs_rules():
    net = built("mixed").programs[0]
    step = next(step.run for step in net.steps if hasattr(step.run, "held") and len(step.reads) == 2)
    x, residual = torch.randn(3, step.n_in), torch.randn(3, step.n_out)
    torch.library.opcheck(torch.ops.gossamer.chain.default, (x, residual, step.held, step.written))
    step = plain("csr", "csr", "csr").programs[0].steps[0][0]
    torch.library.opcheck(
        torch.ops.gossamer.chain.default, (torch.randn(3, 48), None, step.held, step.written)
    )
