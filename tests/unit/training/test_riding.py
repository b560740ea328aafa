"""The engine resumes with the optimizer, in the order in which trainers save and restore; a mismatch is an error."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import gossamer as gs
from gossamer.errors import ConfigError, FormatError
from strategies import differences, everything, make_model, train_step

RULES = pytest.mark.parametrize(
    "rule", [gs.RigL(every=2), gs.SRigL(every=2, gamma=0.9), gs.SET(every=2)], ids=lambda r: r.name
)


def optimizer_of(model: nn.Module) -> torch.optim.Optimizer:
    """Two groups, as many trainers make them."""
    weights = [p for name, p in model.named_parameters() if "bias" not in name]
    biases = [p for name, p in model.named_parameters() if "bias" in name]
    return torch.optim.AdamW([{"params": weights}, {"params": biases, "weight_decay": 0.0}], lr=1e-2)


class Trainer:
    """What Lightning and Hugging Face do around a training loop, in their order."""

    def __init__(self, rule: Any, seed: int = 0, total_steps: int = 20) -> None:
        self.model = make_model("packed", gs.FanIn(), seed=seed)
        self.rule, self.total_steps, self.step = rule, total_steps, 0

    def configure(self) -> None:
        """The user's hook: make the optimizer, attach the rule."""
        self.optimizer = optimizer_of(self.model)
        self.engine = gs.attach(self.model, self.optimizer, self.rule, total_steps=self.total_steps)

    def prepare(self) -> None:
        """As accelerators do: the optimizer's own state is moved to the device and loaded again."""
        self.optimizer.load_state_dict(self.optimizer.state_dict())

    def train(self, last: int) -> None:
        """Up to a step."""
        for step in range(self.step, last):
            train_step(self.model, self.optimizer, step)
        self.step = last

    def save(self, folder: Path) -> None:
        """Two files, and nothing of ours."""
        torch.save(self.model.state_dict(), folder / "model.pt")
        torch.save({"step": self.step, "optimizer": self.optimizer.state_dict()}, folder / "trainer.pt")

    def restore(self, folder: Path) -> None:
        """The model first, then the optimizer; data only, no code."""
        self.model.load_state_dict(torch.load(folder / "model.pt", weights_only=True))
        saved = torch.load(folder / "trainer.pt", weights_only=True)
        self.optimizer.load_state_dict(saved["optimizer"])
        self.step = saved["step"]


@RULES
@pytest.mark.parametrize("kill", [5, 6])
@pytest.mark.parametrize("prepared", [False, True])
def test_a_trainer_that_knows_nothing_of_engines_resumes_them(
    rule: Any, kill: int, prepared: bool, tmp_path: Path
) -> None:
    """Same bits, same history as a run that was never stopped."""
    whole = Trainer(rule)
    whole.configure()
    whole.train(kill)
    whole.save(tmp_path)
    whole.train(14)
    again = Trainer(rule, seed=7)
    again.configure()
    if prepared:
        again.prepare()
    again.restore(tmp_path)
    again.train(14)
    assert again.engine.state_dict() == whole.engine.state_dict()
    assert again.engine.step == 14
    assert (
        differences(everything(whole.model, whole.optimizer), everything(again.model, again.optimizer)) == []
    )
    assert all("gossamer" not in group for group in again.optimizer.param_groups)


@RULES
def test_a_rule_attached_after_the_optimizer_was_loaded_finds_its_state(rule: Any, tmp_path: Path) -> None:
    """It lies in the first parameter group until then."""
    whole = Trainer(rule)
    whole.configure()
    whole.train(5)
    whole.save(tmp_path)
    again = Trainer(rule, seed=7)
    again.optimizer = optimizer_of(again.model)
    again.restore(tmp_path)
    again.engine = gs.attach(again.model, again.optimizer, rule, total_steps=20)
    assert again.engine.step == 5
    assert again.engine.history == whole.engine.history
    whole.train(12)
    again.train(12)
    assert again.engine.state_dict() == whole.engine.state_dict()
    assert (
        differences(everything(whole.model, whole.optimizer), everything(again.model, again.optimizer)) == []
    )


class Unhooked(torch.optim.SGD):
    """Loads by itself, past torch's hooks, as some fused optimizers do."""

    def load_state_dict(self, state_dict: Any) -> None:
        """Settings only."""
        for group, saved in zip(self.param_groups, state_dict["param_groups"], strict=True):
            group.update({key: value for key, value in saved.items() if key != "params"})


def test_an_optimizer_that_loads_past_the_hooks_resumes_at_its_next_step() -> None:
    """The state is found in its parameter group."""
    model = make_model("packed", gs.FanIn())
    optim = Unhooked(model.parameters(), lr=0.1)
    engine = gs.attach(model, optim, gs.SET(every=2), total_steps=20)
    state = {**optim.state_dict()}
    state["param_groups"][0]["gossamer"][0]["step"] = 7
    optim.load_state_dict(state)
    train_step(model, optim, 0)
    assert engine.step == 8
    assert {row.step for row in engine.history} == {8}


OTHERS = {
    "rule": {"rule": gs.RigL(every=3)},
    "total_steps": {"total_steps": 30},
    "seed": {"seed": 1},
    "layers": {"fixed": ["0"]},
    "outputs": {"outputs": ["0"]},
}


@pytest.mark.parametrize("what", OTHERS)
@pytest.mark.parametrize("late", [False, True], ids=["attached", "attached-after"])
def test_a_state_of_another_run_is_refused_with_nothing_changed(what: str, late: bool) -> None:
    """The message names the difference, whether the rule was attached before the load or is after it."""
    model = make_model("packed", gs.FanIn())
    optim = optimizer_of(model)
    settings: dict[str, Any] = {"rule": gs.RigL(every=2), "total_steps": 20}
    engine = gs.attach(model, optim, **settings)
    train_step(model, optim, 0)
    state = optim.state_dict()
    assert engine.step == 1
    again = make_model("packed", gs.FanIn())
    optim2 = optimizer_of(again)
    if late:
        optim2.load_state_dict(state)
        with pytest.raises(ConfigError, match=what):
            gs.attach(again, optim2, **settings | OTHERS[what])
        assert not any(layer.tape.followed for layer in (again[0], again[3]))
        assert gs.attach(again, optim2, **settings).step == 1
        return
    mine = gs.attach(again, optim2, **settings | OTHERS[what])
    with pytest.raises(ConfigError, match=what):
        optim2.load_state_dict(state)
    assert (mine.step, optim2.state_dict()["state"]) == (0, {})


def test_a_state_without_an_engine_is_refused_where_one_is_attached() -> None:
    """Of a dense run, or of an older one: the schedule would start again without a word."""
    model = make_model("packed", gs.FanIn())
    plain = optimizer_of(model).state_dict()
    optim = optimizer_of(model)
    engine = gs.attach(model, optim, gs.SET(every=2), total_steps=20)
    train_step(model, optim, 0)
    with pytest.raises(ConfigError, match="one without; to begin at step 0"):
        optim.load_state_dict(plain)
    assert engine.step == 1
    assert len(optim.state) == 4
    engine.detach()
    optim.load_state_dict(plain)
    assert "gossamer" not in optim.state_dict()["param_groups"][0]


@pytest.mark.parametrize("damage", [3, [], ["x"], [{"step": 1}], {"step": 1}], ids=repr)
def test_a_damaged_state_is_refused_with_nothing_changed(damage: Any) -> None:
    """Whatever stands in the place of the engine's."""
    model = make_model("packed", gs.FanIn())
    optim = optimizer_of(model)
    engine = gs.attach(model, optim, gs.SET(every=2), total_steps=20)
    state = optim.state_dict()
    state["param_groups"][0]["gossamer"] = damage
    train_step(model, optim, 0)
    before = everything(model, optim)
    with pytest.raises((ConfigError, FormatError)):
        optim.load_state_dict(state)
    assert differences(before, everything(model, optim)) == []
    assert engine.step == 1


def test_a_model_whose_connections_are_not_those_of_the_state_is_refused_at_the_next_step() -> None:
    """Model and optimizer may be loaded in either order; by the next step both have to be there."""
    model = make_model("packed", gs.FanIn())
    optim = optimizer_of(model)
    gs.attach(model, optim, gs.SET(every=2), total_steps=20)
    for step in range(3):
        train_step(model, optim, step)
    again = make_model("packed", gs.FanIn(), seed=5)
    optim2 = optimizer_of(again)
    engine = gs.attach(again, optim2, gs.SET(every=2), total_steps=20)
    optim2.load_state_dict(optim.state_dict())
    before = everything(again)
    for _ in range(2):  # every time, until it is mended
        with pytest.raises(ConfigError, match="others in 0, 3; load the model"):
            train_step(again, optim2, 3)
        assert [k for k in differences(before, everything(again)) if k.startswith("model")] == []
    again.load_state_dict(model.state_dict())
    train_step(again, optim2, 3)
    assert engine.step == 4


def test_two_engines_on_one_optimizer_resume_each_its_own(tmp_path: Path) -> None:
    """Parts of a model under different rules, through torch's files and through ours."""

    def build(seed: int) -> tuple[Any, ...]:
        model = make_model("packed", gs.FanIn(), seed=seed)
        optim = optimizer_of(model)
        first = gs.attach(model, optim, gs.RigL(every=2), total_steps=20, fixed=["3"])
        return model, optim, first, gs.attach(model, optim, gs.SET(every=3), total_steps=20, fixed=["0"])

    model, optim, *engines = build(0)
    for step in range(7):
        train_step(model, optim, step)
    gs.save_checkpoint(tmp_path / "c", model, optim, engines[0])
    state = optim.state_dict()
    for ours in (False, True):
        again, optim2, *engines2 = build(3)
        if ours:
            gs.load_checkpoint(tmp_path / "c", again, optim2, engines2[0])
        else:
            again.load_state_dict(model.state_dict())
            optim2.load_state_dict(state)
        assert [engine.state_dict() for engine in engines2] == [engine.state_dict() for engine in engines]


def test_our_own_checkpoint_resumes_an_engine_that_rides_along(tmp_path: Path) -> None:
    """It need not be named, and is stored once."""
    whole = Trainer(gs.RigL(every=2))
    whole.configure()
    whole.train(5)
    gs.save_checkpoint(tmp_path / "c", whole.model, whole.optimizer)
    assert (tmp_path / "c").read_bytes().count(b'\\"history\\"') == 1
    again = Trainer(gs.RigL(every=2), seed=3)
    again.configure()
    gs.load_checkpoint(tmp_path / "c", again.model, again.optimizer)
    assert again.engine.state_dict() == whole.engine.state_dict()
    bare = Trainer(gs.RigL(every=2), seed=3)  # without an engine it is left out
    gs.load_checkpoint(tmp_path / "c", bare.model, optimizer := optimizer_of(bare.model))
    assert "gossamer" not in optimizer.param_groups[0]
