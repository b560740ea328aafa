"""Which calls of ``optimizer.step()`` count: those that were steps."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import gossamer as gs
from gossamer.errors import ConfigError
from strategies import batch, differences, everything, make_model, train_step

FUSED = {
    "adam": lambda p: torch.optim.Adam(p, lr=1e-2, fused=True),
    "adamw": lambda p: torch.optim.AdamW(p, lr=1e-2, fused=True),
    "sgd": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, fused=True),
    "adagrad": lambda p: torch.optim.Adagrad(p, lr=0.1, fused=True),
}
SKIPPED = (1, 4)


@pytest.mark.parametrize("optimizer", FUSED)
@pytest.mark.parametrize("rule", [gs.RigL(every=2), gs.SRigL(every=2), gs.SET(every=2)], ids=lambda r: r.name)
@pytest.mark.parametrize("home", ["packed", "masked"])
def test_a_step_skipped_inside_a_fused_optimizer_is_no_step(optimizer: str, rule: Any, home: str) -> None:
    """The scaler calls ``step`` and says by an attribute that the gradients are not finite."""
    model = make_model(home, gs.FanIn())
    optim = FUSED[optimizer](model.parameters())
    engine = gs.attach(model, optim, rule, total_steps=20)
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    steps = []
    for step in range(8):
        x, target = batch(step)
        optim.zero_grad()
        loss = (model(x) - target).square().mean()
        scaler.scale(loss * (math.inf if step in SKIPPED else 1.0)).backward()
        before = everything(model)
        scaler.step(optim)
        scaler.update()
        changed = [key for key in differences(before, everything(model)) if key.startswith("model")]
        assert bool(changed) == (step not in SKIPPED)
        steps.append(engine.step)
    assert steps == [1, 1, 2, 3, 3, 4, 5, 6]
    assert {row.step for row in engine.history} == {2, 4, 6}


class Accumulating(torch.optim.SGD):
    """Steps at every second call only."""

    calls = 0

    def step(self, closure: Any = None) -> Any:
        """Nothing, or what SGD does."""
        self.calls += 1
        return None if self.calls % 2 else super().step(closure)


class Legacy(torch.optim.Optimizer):
    """Writes through ``.data``, which torch does not count."""

    def __init__(self, params: Any, lr: float) -> None:
        super().__init__(params, {"lr": lr})

    def step(self, closure: Any = None) -> None:
        """w <- w - lr g."""
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.data.add_(parameter.grad.data, alpha=-group["lr"])


class Tidy(torch.optim.SGD):
    """Clears the gradients at the end of its step."""

    def step(self, closure: Any = None) -> Any:
        """A step of SGD."""
        loss = super().step(closure)
        self.zero_grad()
        return loss


@pytest.mark.parametrize("rule", [gs.RigL(every=2), gs.SET(every=2)], ids=lambda r: r.name)
@pytest.mark.parametrize(("optimizer", "expected"), [(Accumulating, 4), (Legacy, 8), (Tidy, 8)], ids=str)
def test_a_call_that_writes_nothing_is_no_step(optimizer: Any, expected: int, rule: Any) -> None:
    """Whether or not torch can count the writes, and whatever becomes of the gradients."""
    model = make_model("packed", gs.FanIn())
    optim = optimizer(model.parameters(), lr=0.1)
    engine = gs.attach(model, optim, rule, total_steps=20)
    for step in range(8):
        train_step(model, optim, step)
    assert engine.step == expected
    assert {row.step for row in engine.history} == set(range(2, expected + 1, 2))


@pytest.mark.parametrize("rule", [gs.RigL(every=1), gs.SET(every=1)], ids=lambda r: r.name)
def test_a_step_before_any_backward_pass_is_none(rule: Any) -> None:
    """As some loops take one to please a scheduler; the topology rests, and training goes on."""
    model = make_model("packed", gs.FanIn())
    optim = torch.optim.SGD(model.parameters(), lr=0.1)
    engine = gs.attach(model, optim, rule, total_steps=20)
    optim.step()
    assert (engine.step, engine.history) == (0, [])
    train_step(model, optim, 0)
    assert engine.step == 1
    assert {row.layer for row in engine.history} == {"0", "3"}


def test_state_filled_in_with_a_step_of_zeros_is_no_step() -> None:
    """torch.distributed.checkpoint makes missing optimizer state so, with a learning rate of 0."""
    from torch.distributed.checkpoint.state_dict import get_optimizer_state_dict, set_optimizer_state_dict

    model = make_model("packed", gs.FanIn())
    optim = torch.optim.AdamW(model.parameters(), lr=0.1)
    engine = gs.attach(model, optim, gs.SET(every=2), total_steps=20)
    get_optimizer_state_dict(model, optim)
    assert engine.step == 0
    for step in range(3):
        train_step(model, optim, step)
    saved = get_optimizer_state_dict(model, optim)
    again = make_model("packed", gs.FanIn())
    again.load_state_dict(model.state_dict())
    optim2 = torch.optim.AdamW(again.parameters(), lr=0.1)
    engine2 = gs.attach(again, optim2, gs.SET(every=2), total_steps=20)
    set_optimizer_state_dict(again, optim2, saved)
    assert engine2.state_dict() == engine.state_dict()


def test_a_learning_rate_that_warms_up_from_zero_counts_from_the_start() -> None:
    """Its first step moves nothing, and is a step: there was a gradient."""
    model = make_model("packed", gs.FanIn())
    optim = torch.optim.SGD(model.parameters(), lr=0.1)
    schedule = torch.optim.lr_scheduler.LambdaLR(optim, lambda n: n / 4)
    engine = gs.attach(model, optim, gs.SET(every=2), total_steps=20)
    for step in range(3):
        train_step(model, optim, step)
        schedule.step()
    assert engine.step == 3


class Wrapper:
    """As accelerators hand optimizers out: a holder that forwards."""

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self.optimizer = optimizer


def test_a_wrapped_optimizer_is_followed_inside() -> None:
    """Its hooks are those of the optimizer it holds."""
    model = make_model("packed", gs.FanIn())
    optim = torch.optim.SGD(model.parameters(), lr=0.1)
    engine = gs.attach(model, Wrapper(Wrapper(optim)), gs.SET(every=2), total_steps=20)
    train_step(model, optim, 0)
    assert engine.step == 1


class TwoSteps(torch.optim.Optimizer):
    """As sharpness-aware minimisation is published: up, back, and a step of another optimizer inside."""

    def __init__(self, params: Any, lr: float) -> None:
        super().__init__(params, {"lr": lr})
        self.base_optimizer = torch.optim.SGD(self.param_groups, lr=lr, momentum=0.9)
        self.param_groups = self.base_optimizer.param_groups

    def graded(self) -> list[Tensor]:
        """Parameters with a gradient."""
        return [p for group in self.param_groups for p in group["params"] if p.grad is not None]

    @torch.no_grad()
    def first_step(self) -> None:
        """Up the gradient."""
        for parameter in self.graded():
            self.state[parameter]["old"] = parameter.data.clone()
            parameter.add_(parameter.grad, alpha=0.01)
        self.zero_grad()

    @torch.no_grad()
    def second_step(self) -> None:
        """Back, and the step; what was kept is the parameter's own memory from here on."""
        for parameter in self.graded():
            parameter.data = self.state[parameter]["old"]
        self.base_optimizer.step()
        self.zero_grad()

    def step(self, closure: Any = None) -> None:
        """Both."""
        self.first_step()
        with torch.enable_grad():
            closure()
        self.second_step()


@pytest.mark.parametrize("closure", [False, True], ids=["two calls", "closure"])
@pytest.mark.parametrize("rule", [gs.RigL(every=2), gs.SET(every=2)], ids=lambda r: r.name)
def test_an_optimizer_around_another_counts_its_steps_and_carries_the_state_of_both(
    rule: Any, closure: bool
) -> None:
    """Whether its own step is called or not; packed as masked, and resumed from either state."""

    def run(home: str, steps: int) -> tuple[nn.Module, TwoSteps, gs.Engine]:
        model = make_model(home, gs.Unstructured(), dtype=torch.float64)
        optim = TwoSteps(model.parameters(), lr=0.1)
        engine = gs.attach(model, optim, rule, total_steps=20)
        for step in range(steps):
            x, y = batch(step, torch.float64)

            def loss(x: Tensor = x, y: Tensor = y) -> None:
                (model(x) - y).square().mean().backward()

            loss()
            if closure:
                optim.step(loss)
            else:
                optim.first_step()
                loss()
                optim.second_step()
        return model, optim, engine

    packed, masked = (run(home, 7) for home in ("packed", "masked"))
    assert packed[2].step == 7
    assert {row.step for row in packed[2].history} == {2, 4, 6}
    x = batch(9, torch.float64)[0]
    torch.testing.assert_close(packed[0](x), masked[0](x))
    for number in (0, 1):
        fresh = run("packed", 0)
        both = [(each, each.base_optimizer) for each in (fresh[1], packed[1])]
        both[0][number].load_state_dict(both[1][number].state_dict())
        assert fresh[2].step == 7


@pytest.mark.parametrize("given", [None, "sgd", nn.Linear(2, 2)], ids=["none", "text", "module"])
def test_what_is_no_optimizer_is_refused(given: Any) -> None:
    """By its type."""
    with pytest.raises(ConfigError, match="Optimizer"):
        gs.attach(make_model("packed", gs.FanIn()), given, gs.SET(), total_steps=20)


@pytest.mark.parametrize("reuse", ["zero", "data", "numpy"])
@pytest.mark.parametrize("home", ["packed", "masked"])
def test_memory_that_is_used_again_does_not_change_what_grows(reuse: str, home: str) -> None:
    """Batches in one buffer, written over before the step, in ways that torch counts and that it cannot see."""

    def grown(reused: bool) -> list[Tensor]:
        model = make_model(home, gs.FanIn())
        optim = torch.optim.SGD(model.parameters(), lr=0.1)
        gs.attach(model, optim, gs.RigL(every=2), total_steps=40)
        array = torch.zeros(16, 32).numpy()
        buffer = torch.from_numpy(array)
        for step in range(4):
            optim.zero_grad()
            for part in range(2):
                x, target = batch(2 * step + part)
                array[:] = x.numpy()
                (model(buffer) - target).square().mean().backward()
                if reused:
                    {"zero": buffer.zero_, "data": buffer.data.zero_, "numpy": lambda: array.fill(0)}[reuse]()
            optim.step()
        return [model[0].topology.positions, model[3].topology.positions]

    assert all(map(torch.equal, grown(reused=True), grown(reused=False)))


def test_a_parameter_that_takes_over_the_output_gradient_does_not_change_what_grows() -> None:
    """Autograd gives the gradient's memory to an added parameter of the same shape, and clipping scales it there."""

    def scores(scaled: bool) -> Tensor:
        layer = gs.SparseLinear(8, 4, density=0.5, generator=torch.Generator().manual_seed(0))
        offset = nn.Parameter(torch.zeros(3, 4))
        optim = torch.optim.SGD([*layer.parameters(), offset], lr=0.1)
        gs.attach(layer, optim, gs.RigL(every=1), total_steps=9)
        x = torch.randn(3, 8, generator=torch.Generator().manual_seed(1))
        (layer(x) + offset).backward(torch.ones(3, 4))
        if scaled:
            offset.grad.mul_(0)
        return layer.tape.pairs[0][1]

    assert torch.equal(scores(scaled=True), scores(scaled=False))
    assert torch.equal(scores(scaled=True), torch.ones(3, 4))
