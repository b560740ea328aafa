"""The trace follows what torch.fx follows, and leaves no mark on anything that other threads see."""

from __future__ import annotations

import abc
import copy
import math
import threading
from math import sqrt
from typing import ClassVar

import pytest
import torch
from torch import fx, nn

import gossamer as gs
from gossamer.network.operators import operators
from gossamer.trace import reader
from gossamer.trace.calling import Example
from gossamer.trace.rebind import MATH
from gossamer.trace.tracer import Tracer

HOME = math  # a module under another name


def helper(x: torch.Tensor) -> torch.Tensor:
    return x / sqrt(x.size(-1))


@fx.wrap
def whole(x: torch.Tensor) -> torch.Tensor:
    return x * 2 if float(x.sum()) < 1e9 else x


class Base(nn.Module):
    made: ClassVar[list[str]] = []

    def __init_subclass__(cls, **more: object) -> None:
        super().__init_subclass__(**more)
        Base.made.append(cls.__name__)

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(16, 16), nn.Linear(16, 4)


class Module(Base):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.b(self.a(x) / math.sqrt(x.size(-1)) + HOME.log(x.shape[-1]))


class Function(Base):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.b(helper(self.scaled(self.a(x))))

    @staticmethod
    def scaled(x: torch.Tensor) -> torch.Tensor:
        return x / sqrt(x.size(-1))


class Wrapped(Base):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.b(whole(self.a(x)))


class Listed(Base):
    """Submodules in a plain list, used beside the registered ones, and a parameter used directly."""

    def __init__(self) -> None:
        super().__init__()
        self.plain = [self.a, self.b]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.plain:
            x = layer(x)
        return x + self.b.bias if isinstance(self.a, nn.Module) and type(self).__name__ == "Listed" else x


class Nested(Base):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.ModuleList([Module(), Function()])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return sum(each(x) for each in self.inner)


class Abstract(abc.ABC):
    @abc.abstractmethod
    def forward(self, x: torch.Tensor) -> torch.Tensor: ...


class Concrete(Base, Abstract):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.b(self.a(x)) + torch.arange(4)


class Extended(Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x + self.constant())

    def constant(self) -> torch.Tensor:
        return torch.ones(16)


KINDS = (Module, Function, Wrapped, Listed, Nested, Concrete, Extended)


@pytest.mark.parametrize("kind", KINDS)
def test_what_fx_follows_is_followed(check_same, kind):
    model = kind()
    before = list(Base.made)
    if kind is not Listed:  # its list would keep the dense layers
        gs.sparsify(model, 0.5, allocation="uniform")
    frozen = gs.freeze(model, torch.randn(4, 16), keep="csr")
    assert "layer by layer" not in frozen.explain()
    assert Base.made == before
    assert type(model) is kind
    check_same(frozen, model, torch.randn(3, 16))


def test_the_nodes_are_those_of_torch():
    for kind in KINDS:
        model = kind().eval()
        twin = copy.deepcopy(model)
        ours = Tracer(twin, set()).follow(Example.of(twin, torch.randn(2, 16)))
        theirs = fx.Tracer().trace(copy.deepcopy(model))
        assert [(node.op, str(node.target)) for node in ours.nodes] == [
            (node.op, str(node.target)) for node in theirs.nodes
        ]


def test_nothing_that_others_see_changes_while_a_model_is_traced():
    seen = []

    class Spy(Base):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            seen.append(
                (
                    nn.Module.__call__,
                    nn.Module.__getattr__,
                    id(math.sqrt),
                    id(helper),
                    fx._symbolic_trace._is_fx_tracing_flag,
                )
            )
            return self.b(self.a(x) / math.sqrt(x.size(-1)))

    before = (nn.Module.__call__, nn.Module.__getattr__)
    model = Spy()
    graph = Tracer(model, set()).follow(Example.of(model, torch.randn(2, 16)))
    assert seen[0][:2] == before
    assert id(math.sqrt) in MATH
    assert not seen[0][-1]
    assert type(model) is Spy
    assert any(node.target is math.sqrt for node in graph.nodes)


def test_classes_come_back_after_an_error():
    class Fails(Base):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.a(x) if x.sum() > 0 else x

    model = Fails()
    with pytest.raises(fx.proxy.TraceError):
        Tracer(model, set()).follow(Example.of(model, torch.randn(2, 16)))
    assert [type(module) for module in model.modules()] == [Fails, nn.Linear, nn.Linear]


@pytest.mark.parametrize("error", [AttributeError, KeyError, TypeError, RuntimeError, ValueError])
def test_a_mistake_of_our_own_reader_is_raised(mlp, monkeypatch, error):
    def broken(*_args):
        raise error("ours")

    model, x = mlp("fanin"), torch.randn(4, 32)
    monkeypatch.setattr(reader.Reader, "_module", broken)
    with pytest.raises(error, match="ours"):
        gs.freeze(model, x, keep="csr")


def test_a_mistake_in_an_operator_is_raised(monkeypatch):
    def broken(_module):
        return _module.no_such_attribute

    monkeypatch.setitem(operators["tanh"].modules, "torch.nn.Tanh", broken)
    with pytest.raises(AttributeError, match="no_such_attribute"):
        gs.freeze(nn.Sequential(nn.Linear(4, 4), nn.Tanh()), torch.randn(2, 4), keep="csr")


@pytest.mark.parametrize("message", ["IndexError", "AssertionError", "ZeroDivisionError", "KeyError"])
def test_what_a_models_own_code_raises_on_traced_values_is_said(check_same, message):
    class Asks(Base):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if isinstance(x, fx.Proxy):
                raise {"IndexError": IndexError, "AssertionError": AssertionError}.get(message, LookupError)(
                    message
                )
            return self.b(self.a(x))

    model = Asks()
    frozen = gs.freeze(model, torch.randn(4, 16), keep="csr")
    assert "torch.fx cannot trace it" in frozen.explain()
    assert message in frozen.explain()
    check_same(frozen, model, torch.randn(3, 16))


def test_a_trace_that_fails_on_the_example_is_frozen_layer_by_layer(check_same):
    class Other(Base):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if not isinstance(x, torch.Tensor):
                return self.b(x.no_such_method())
            return self.b(self.a(x))

    model = Other()
    frozen = gs.freeze(model, torch.randn(4, 16), keep="csr")
    assert "its trace fails" in frozen.explain()
    assert len(frozen.plan["layers"]) == 2
    check_same(frozen, model, torch.randn(3, 16))


def test_a_model_that_returns_numbers_of_classes_is_frozen():
    class Best(Base):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.b(self.a(x)).argmax(1)

    model = Best()
    x = torch.randn(5, 16)
    assert torch.equal(gs.freeze(model, x, keep="csr")(x), model(x))


def test_threads_freeze_train_and_serve_at_once(mlp):
    """Nobody gets an error, and everybody the bits that they get alone."""
    x = torch.randn(16, 32)
    served, frozen = mlp("fanin").eval(), gs.freeze(mlp("fanin"), x, keep="fanin")
    mine = [mlp(pattern) for pattern in ("unstructured", "fanin", "nm:1:4", "unstructured")]
    errors: list[BaseException] = []
    barrier = threading.Barrier(16)

    def freezing(number: int) -> torch.Tensor:
        return torch.stack([gs.freeze(mine[number], x, keep="csr")(x) for _ in range(2)])

    def training(number: int) -> torch.Tensor:
        generator = torch.Generator().manual_seed(number)
        model = nn.Sequential(nn.Linear(32, 24), nn.ReLU(), nn.Linear(24, 8))
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=generator))
        gs.prune(model, 0.4, "fanin")
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
        gs.attach(model, optimizer, gs.RigL(every=3), total_steps=15)
        for _ in range(15):
            optimizer.zero_grad()
            model(x).square().mean().backward()
            optimizer.step()
        return model(x).detach()

    def serving(number: int) -> torch.Tensor:
        net = served if number % 2 else frozen
        with torch.no_grad():
            return torch.stack([net(x) for _ in range(100)])

    jobs = (
        [(freezing, n) for n in range(4)]
        + [(training, n) for n in range(4)]
        + [(serving, n) for n in range(8)]
    )
    alone = [job(number) for job, number in jobs]
    got: list[torch.Tensor | None] = [None] * len(jobs)

    def run(place: int) -> None:
        barrier.wait()
        job, number = jobs[place]
        try:
            got[place] = job(number)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(place,)) for place in range(len(jobs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert all(torch.equal(a, b) for a, b in zip(alone, got, strict=True))
