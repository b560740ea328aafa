"""What an engine offers to a rule beside one layer's weights: gradients, memory, all layers, a word before the step."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pytest
import torch

import gossamer as gs
from gossamer.errors import ConfigError, FormatError, TopologyError
from gossamer.rules import LayerView, Rule
from gossamer.topology import Topology
from strategies import dense_weight, differences, everything, make_model, train_step

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from torch import Tensor

HOMES = pytest.mark.parametrize("home", ["packed", "masked"])
PATTERNS = pytest.mark.parametrize(
    "pattern", [gs.Unstructured(), gs.FanIn(4), gs.NM(1, 4), gs.Block(4)], ids=str
)


@dataclass(frozen=True, kw_only=True)
class Look(Rule):
    """Changes nothing and writes down what it sees."""

    name: ClassVar[str] = "look"
    seen: ClassVar[list[LayerView]] = []

    def update(self, layer: LayerView, fraction: float) -> Tensor:
        """The positions as they are."""
        self.seen.append(layer)
        return layer.positions


@dataclass(frozen=True, kw_only=True)
class GroupLasso(Look):
    """A penalty on the norm of every unit: its gradient is the unit over its norm."""

    strength: float = 0.1

    def before_step(self, layer: LayerView, gradients: Tensor) -> Tensor:
        """With the penalty's gradient."""
        norm = layer.values.norm(dim=1, keepdim=True).clamp(min=1e-12)
        return gradients + self.strength * layer.values / norm


@HOMES
@PATTERNS
def test_a_rule_sees_gradient_and_momentum_of_the_step_just_made(home: str, pattern: Any) -> None:
    """In topology order, as autograd and torch's SGD have them for the dense layer."""
    Look.seen.clear()
    model = make_model(home, pattern, torch.float64)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.5)
    engine = gs.attach(model, optimizer, Look(every=2), total_steps=10)
    kept = {name: torch.zeros_like(layer.unit_values()) for name, layer in engine.layers.items()}
    for step in range(2):
        train_step(model, optimizer, step, torch.float64)
        for name, layer in engine.layers.items():
            kept[name] = 0.5 * kept[name] + layer.unit_values(layer.weights.grad)
    for seen in Look.seen:
        layer = engine.layers[seen.name]
        assert torch.equal(seen.gradients, layer.unit_values(layer.weights.grad))
        assert seen.gradients.shape == seen.values.shape
        torch.testing.assert_close(seen.moment("momentum_buffer"), kept[seen.name])
        assert seen.moment("exp_avg") is None
    assert len(Look.seen) == 2


@PATTERNS
def test_a_word_before_the_step_is_the_same_in_both_homes(pattern: Any) -> None:
    """The penalty is in the step: the weights are those of a step by hand."""
    ends = []
    for home in ("packed", "masked"):
        model = make_model(home, pattern, torch.float64)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        gs.attach(model, optimizer, GroupLasso(every=100), total_steps=10)
        before = [layer.unit_values().clone() for layer in (model[0], model[3])]
        plain = make_model(home, pattern, torch.float64)
        train_step(plain, torch.optim.SGD(plain.parameters(), lr=0.1), 0, torch.float64)
        train_step(model, optimizer, 0, torch.float64)
        for layer, other, was in zip((model[0], model[3]), (plain[0], plain[3]), before, strict=True):
            penalty = 0.1 * 0.1 * was / was.norm(dim=1, keepdim=True)
            torch.testing.assert_close(layer.unit_values(), other.unit_values() - penalty)
        ends.append([dense_weight(layer) for layer in (model[0], model[3])])
    torch.testing.assert_close(*ends)


def test_the_hook_before_the_step_is_armed_only_for_rules_that_have_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Others pay nothing; an optimizer that calls its parent's step does not penalize twice."""
    calls: list[str] = []

    def note(self: GroupLasso, layer: LayerView, gradients: Tensor) -> Tensor:
        calls.append(layer.name)
        return gradients

    class Nested(torch.optim.SGD):
        def step(self, closure: Any = None) -> Any:
            return super().step(closure)

    monkeypatch.setattr(GroupLasso, "before_step", note)
    for rule, expected in ((Look(every=3), []), (GroupLasso(every=3), ["0", "3"])):
        model = make_model("packed", gs.FanIn())
        optimizer = Nested(model.parameters(), lr=0.1)
        gs.attach(model, optimizer, rule, total_steps=10)
        train_step(model, optimizer, 0)
        assert calls == expected


@HOMES
def test_a_word_after_the_step_comes_before_its_update_and_only_where_a_layer_trained(home: str) -> None:
    """The rule sees the weights that it changed; an optimizer that calls its parent's step changes them once."""

    @dataclass(frozen=True, kw_only=True)
    class Halved(Look):
        def after_step(self, layer: LayerView, values: Tensor) -> Tensor:
            return values * 0.5

    class Nested(torch.optim.SGD):
        def step(self, closure: Any = None) -> Any:
            return super().step(closure)

    Look.seen.clear()
    ends = []
    for rule in (Halved(every=1), Look(every=1)):
        model = make_model(home, gs.Block(4), torch.float64)
        model[3].weights.requires_grad_(False)
        optimizer = Nested(model.parameters(), lr=0.1)
        gs.attach(model, optimizer, rule, total_steps=10)
        train_step(model, optimizer, 0, torch.float64)
        ends.append([model[0].unit_values(), model[3].unit_values()])
    assert torch.equal(ends[0][0], ends[1][0] * 0.5)
    assert torch.equal(ends[0][1], ends[1][1])
    assert torch.equal(Look.seen[0].values, ends[0][0])


SLIPS: list[tuple[dict[str, Any], str]] = [
    ({"before_step": lambda *_: None}, r"before_step for 0: .*shape \(\d+, 1\).*got NoneType"),
    (
        {"before_step": lambda _, layer, gradients: gradients[:1]},
        r"before_step for 0: .*got a tensor \(1, 1\)",
    ),
    ({"before_step": lambda _, layer, gradients: gradients.numpy()}, "before_step for 0: .*ndarray"),
    ({"after_step": lambda *_: None}, r"after_step for 0: .*shape \(\d+, 1\).*got NoneType"),
    ({"after_step": lambda _, layer, values: values.long()}, "after_step for 0: .*int64"),
    ({"plan": lambda *_: None}, "plan: expected positions for 0, got NoneType"),
    (
        {"plan": lambda _, layers, share: {layers[0].name: [1, 2]}},
        "plan for 0: .*tensor of positions, got list",
    ),
    ({"new_state": lambda *_: ["a"]}, "remembers of 0: .*by name, got list"),
    ({"new_state": lambda *_: {"a": "text"}}, "remembers of 0: .*got str under 'a'"),
    ({"new_state": lambda *_: {3: 1.0}}, "remembers of 0: .*got the key 3"),
]


@pytest.mark.parametrize(("slip", "words"), SLIPS, ids=[words[:22] for _, words in SLIPS])
def test_a_slip_in_a_rule_is_refused_in_words_and_changes_nothing(slip: dict[str, Any], words: str) -> None:
    """Before a gradient is written in part, or a checkpoint is written that could not be loaded."""
    rule = dataclass(frozen=True, kw_only=True)(type("Slip", (gs.SET,), slip))(every=1)
    model = make_model("packed", gs.Unstructured())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    engine = gs.attach(model, optimizer, rule, total_steps=10)
    before = model[0].topology.positions
    with pytest.raises(ConfigError, match=words):
        train_step(model, optimizer, 0)
    assert torch.equal(model[0].topology.positions, before)
    assert engine.state_dict().get("remembered") is None


def test_numbers_of_numpy_are_remembered_as_pythons_own() -> None:
    """So that the optimizer's state, in which they ride, loads without pickled objects."""
    kept = {"n": np.int64(2), "x": np.float32(0.5), "yes": True}
    rule = dataclass(frozen=True, kw_only=True)(
        type("Counts", (gs.SET,), {"new_state": lambda *_: dict(kept)})
    )
    model = make_model("packed", gs.Unstructured())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    gs.attach(model, optimizer, rule(every=1), total_steps=10)
    train_step(model, optimizer, 0)
    torch.save(optimizer.state_dict(), box := io.BytesIO())
    box.seek(0)
    state = torch.load(box, weights_only=True)["param_groups"][0]["gossamer"][0]
    assert state["remembered"]["0"] == {"n": 2, "x": 0.5, "yes": 1}


@pytest.mark.parametrize("damage", ["short", "flipped", "nan", "missing"])
def test_a_damaged_memory_is_refused_when_it_is_loaded(damage: str) -> None:
    """Not at the next update, in torch's words."""
    _, _, engine = trained(4)
    kept = engine.state_dict()["remembered"]["0"]
    wrong = {
        "short": {**kept, "positions": kept["positions"][:-1]},
        "flipped": {**kept, "positions": kept["positions"].flip(0)},
        "nan": {**kept, "smoothed": kept["smoothed"] * float("nan")},
        "missing": {"positions": kept["positions"]},
    }[damage]
    state = engine.state_dict()
    state["remembered"] = {**state["remembered"], "0": wrong}
    with pytest.raises(FormatError, match="snfs remembers of 0"):
        engine.load_state_dict(state)
    engine.load_state_dict(engine.state_dict())


def test_layers_without_any_connection_left_are_saved_and_resumed(tmp_path: Path) -> None:
    """Pruning takes them all, sometimes; their topology has no bytes."""
    model = make_model("packed", gs.Unstructured())
    for layer in (model[0], model[3]):
        none = Topology(layer.pattern, layer.shape, layer.topology.positions[:0])
        layer.assign(none, layer.values[:0])
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    engine = gs.attach(model, optimizer, gs.SET(every=1), total_steps=10)
    train_step(model, optimizer, 0)
    gs.save_checkpoint(tmp_path / "a.safetensors", model, optimizer, engine)
    again = make_model("packed", gs.Unstructured(), seed=1)
    optimizer2 = torch.optim.SGD(again.parameters(), lr=0.1, momentum=0.9)
    engine2 = gs.attach(again, optimizer2, gs.SET(every=1), total_steps=10)
    gs.load_checkpoint(tmp_path / "a.safetensors", again, optimizer2, engine2)
    for m, o in ((model, optimizer), (again, optimizer2)):
        train_step(m, o, 1)
    assert differences(everything(model, optimizer), everything(again, optimizer2)) == []
    assert engine2.state_dict() == engine.state_dict()
    assert again[0].connections == 0


def trained(steps: int, resume: Path | None = None, how: str = "checkpoint") -> tuple[Any, Any, Any]:
    """A run of a rule that remembers; or one that goes on from a file."""
    model = make_model("packed", gs.Unstructured(), seed=0 if resume is None else 3)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    engine = gs.attach(model, optimizer, gs.SNFS(every=3), total_steps=40)
    if resume is not None and how == "checkpoint":
        gs.load_checkpoint(resume, model, optimizer, engine)
    elif resume is not None:
        state = torch.load(resume, weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
    for step in range(engine.step, steps):
        train_step(model, optimizer, step)
    return model, optimizer, engine


@pytest.mark.parametrize("how", ["checkpoint", "torch.save"])
def test_what_a_rule_remembers_survives_a_kill(how: str, tmp_path: Path) -> None:
    """In a checkpoint of ours and in the state of the optimizer that any trainer saves: same bits."""
    whole = trained(20)
    model, optimizer, engine = trained(10)
    assert engine.state_dict()["remembered"]["0"]["positions"].numel() > 0
    file = tmp_path / "state"
    if how == "checkpoint":
        gs.save_checkpoint(file, model, optimizer, engine)
    else:
        torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, file)
    again = trained(20, file, how)
    assert differences(everything(*whole[:2]), everything(*again[:2])) == []
    for name, kept in whole[2].state_dict()["remembered"].items():
        assert differences(kept, again[2].state_dict()["remembered"][name]) == []


@pytest.mark.parametrize(
    "damaged", [[], {"nobody": {}}, {"0": 3}, {"0": {"positions": "text"}}, {"0": {1: 2}}]
)
def test_damaged_memory_is_refused_and_nothing_changes(damaged: Any) -> None:
    """Whatever a file says."""
    _, _, engine = trained(4)
    state = engine.state_dict()
    before = state["remembered"]
    with pytest.raises(FormatError, match="the state of the rule"):
        engine.load_state_dict({**state, "step": 9, "remembered": damaged})
    assert engine.step == 4
    assert engine.state_dict()["remembered"] == before or all(
        differences(before[name], engine.state_dict()["remembered"][name]) == [] for name in before
    )


@dataclass(frozen=True, kw_only=True)
class Whole(Look):
    """Decides about all layers at once, as it is told."""

    together: ClassVar[bool] = True
    answer: ClassVar[Any] = None

    def plan(self, layers: Sequence[LayerView], fraction: float) -> dict[str, Tensor]:
        """Whatever the test wants."""
        self.seen.extend(layers)
        found: dict[str, Tensor] = type(self).answer(layers)
        return found


def test_a_plan_over_all_layers_is_checked_before_anything_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    """All layers are there at once; none may be missing or exceed its capacity."""
    model = make_model("packed", gs.Unstructured())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    engine = gs.attach(model, optimizer, Whole(every=100), total_steps=200)
    train_step(model, optimizer, 0)
    before = everything(model, optimizer)
    Look.seen.clear()
    wrong = [
        (ConfigError, "plan", lambda layers: {layers[0].name: layers[0].positions}),
        (TopologyError, "capacity", lambda layers: {v.name: torch.arange(v.capacity + 1) for v in layers}),
        (TopologyError, "ascending", lambda layers: {v.name: v.positions.flip(0) for v in layers}),
    ]
    for error, words, answer in wrong:
        monkeypatch.setattr(Whole, "answer", staticmethod(answer))
        with pytest.raises(error, match=words):
            engine.update()
        assert differences(before, everything(model, optimizer)) == []
    assert [layer.name for layer in Look.seen[:2]] == ["0", "3"]
