"""Training gives the same bits from run to run, and the same numbers under torch.compile."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import gossamer as gs
from gossamer.patterns import Pattern
from strategies import OPTIMIZERS, TRAINED_ON, batch, dense_weight, density_near, make_model, sparse_layers


def train(rule: gs.RigL, pattern: gs.FanIn, compiled: bool) -> tuple[list[float], list[torch.Tensor], list]:
    """Twelve steps with updates."""
    torch.compiler.reset()
    model = make_model("packed", pattern, torch.float64)
    optim = OPTIMIZERS["adam"](model.parameters())
    engine = gs.attach(model, optim, rule, total_steps=14)
    forward = torch.compile(model, backend="aot_eager") if compiled else model
    losses = []
    for step in range(12):
        x, target = batch(step, torch.float64)
        optim.zero_grad()
        loss = (forward(x) - target).square().mean()
        loss.backward()
        optim.step()
        losses.append(float(loss.detach()))
    return losses, [dense_weight(layer) for _, layer in sparse_layers(model)], engine.history


# torch looks at gradients of graph inputs after a graph break, and keeps the warning to itself by default
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
@pytest.mark.parametrize(
    "rule", [gs.SET(every=4), gs.RigL(every=4), gs.SRigL(every=4, gamma=0.9)], ids=lambda r: r.name
)
def test_a_compiled_model_trains_and_rewires_like_an_eager_one(rule: gs.RigL) -> None:
    """Index tensors change content, and with ablation size, under a compiled graph: it must notice."""
    eager, compiled = (train(rule, gs.FanIn(), how) for how in (False, True))
    assert compiled[0] == pytest.approx(eager[0], rel=1e-9)
    for ours, theirs in zip(compiled[1], eager[1], strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-12)
    assert compiled[2] == eager[2]
    assert {row.step for row in compiled[2]} == {4, 8} | ({12} if rule.name == "set" else set())


@pytest.mark.parametrize("pattern", TRAINED_ON, ids=str)
def test_sizes_may_be_symbols_of_a_compiler(pattern: Pattern) -> None:
    """As torch makes them by itself once an index has come in two lengths: of every layer, linear or not."""
    torch.compiler.reset()
    model, (x, _) = make_model("packed", pattern), batch(0, torch.float32)
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True, dynamic=True)
    torch.testing.assert_close(compiled(x), model(x), rtol=0, atol=0)
    torch.compiler.reset()
    conv = torch.nn.Sequential(torch.nn.Conv2d(8, 16, 3, padding=1))
    gs.sparsify(conv, density_near(pattern, 0.5, (16, 72)), pattern)
    images = torch.randn(2, 8, 5, 6)
    compiled = torch.compile(conv, backend="aot_eager", fullgraph=True, dynamic=True)
    torch.testing.assert_close(compiled(images), conv(images), rtol=0, atol=0)


@pytest.mark.parametrize("pattern", [gs.Unstructured(), gs.FanIn(), gs.NM(1, 8)], ids=str)
def test_ten_runs_give_the_same_bits(pattern: gs.FanIn) -> None:
    """Same seed, same machine, same threads: nothing depends on the state of a pool or a cache."""
    runs = [train(gs.RigL(every=3), pattern, compiled=False) for _ in range(10)]
    assert all(run[0] == runs[0][0] for run in runs)
    assert all(torch.equal(a, b) for run in runs for a, b in zip(run[1], runs[0][1], strict=True))


class Nested(torch.optim.SGD):
    """torch wraps the step of both classes, and runs the hooks twice."""

    def step(self, closure: Any = None) -> Any:
        """That of SGD."""
        return super().step(closure)


# torch looks at gradients of graph inputs after a graph break, and keeps the warning to itself by default
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
@pytest.mark.filterwarnings("ignore:Dynamo detected a call to a `functools.lru_cache`")
@pytest.mark.parametrize(
    ("what", "kind", "rule"),
    [
        ("step", torch.optim.Adam, gs.SET(every=2)),
        ("step", Nested, gs.RigL(every=2)),
        ("whole", torch.optim.SGD, gs.RigL(every=2)),
    ],
    ids=["adam", "nested", "whole"],
)
def test_a_compiled_optimizer_steps_as_an_uncompiled_one(what: str, kind: Any, rule: Any) -> None:
    """The update is not traced: its code is nothing for a graph, and would be traced anew at every one."""

    def run(compiled: bool) -> tuple[Any, list[torch.Tensor]]:
        torch.compiler.reset()
        torch.optim.SGD([torch.zeros(1)], lr=0.1)  # from here on the parent's step is wrapped too
        model = make_model("packed", gs.FanIn(), torch.float64)
        optim = kind(model.parameters(), lr=1e-2)
        engine = gs.attach(model, optim, rule, total_steps=20)

        def learn(x: torch.Tensor, target: torch.Tensor) -> None:
            optim.zero_grad()
            (model(x) - target).square().mean().backward()
            step()

        step = torch.compile(optim.step, backend="eager") if compiled and what == "step" else optim.step
        loop = torch.compile(learn, backend="eager") if compiled and what == "whole" else learn
        for number in range(6):
            loop(*batch(number, torch.float64))
        assert engine.step == 6
        return engine.history, [dense_weight(layer) for _, layer in sparse_layers(model)]

    eager, compiled = run(compiled=False), run(compiled=True)
    assert compiled[0] == eager[0]
    assert {row.step for row in eager[0]} == {2, 4, 6}
    for ours, theirs in zip(
        compiled[1], eager[1], strict=True
    ):  # a compiled Adam counts its steps in float32
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-5)
    codes = [reference() for reference in torch._dynamo.convert_frame.input_codes.seen]
    assert [code for code in codes if code and "gossamer/training" in code.co_filename] == []
