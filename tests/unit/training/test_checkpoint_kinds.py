"""What people put into checkpoints: NumPy numbers, paths, extra state; and loads that fail half-way."""

from __future__ import annotations

import enum
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, safe_open, save_file
from torch import nn

import gossamer as gs
from gossamer.errors import ConfigError, FormatError
from gossamer.training import Extras
from strategies import differences, everything, make_model, train_step


def run(draw: int = 0, **settings: Any) -> tuple[Any, Any, Any]:
    """Model, optimizer and engine, after three steps."""
    model = make_model("packed", gs.FanIn(), seed=draw)
    optim = torch.optim.AdamW(model.parameters(), lr=1e-2)
    engine = gs.attach(model, optim, settings.pop("rule", gs.SET(every=2)), total_steps=20, **settings)
    for step in range(3):
        train_step(model, optim, step)
    return model, optim, engine


class Color(enum.StrEnum):
    """Text of a kind of its own."""

    RED = "red"


VALUES = {
    "int64": np.int64(3), "uint8": np.uint8(255), "float32": np.float32(0.1), "float64": np.float64(0.1),
    "float16": np.float16(0.1), "bool": np.bool_(True), "str": np.str_("a"), "inf": np.float32("inf"),
    "path": Path("runs/a"), "enum": Color.RED, "nested": {"a": [np.int32(1), (Path("x"), np.float64(2))]},
    "keys": {np.int64(3): 1}, "half": torch.tensor(0.5, dtype=torch.float16),
    "byte": torch.tensor(7, dtype=torch.uint8), "bfloat16": torch.tensor(0.1, dtype=torch.bfloat16),
}  # fmt: skip


@pytest.mark.parametrize("name", VALUES)
def test_numbers_and_paths_of_any_maker_come_back_equal(name: str, tmp_path: Path) -> None:
    """As Python's own numbers and text, tensors as tensors."""
    objects = run()
    gs.save_checkpoint(tmp_path / "c", *objects, Extras(progress={"value": VALUES[name]}))
    got = gs.load_checkpoint(tmp_path / "c", *objects)["value"]
    assert got == VALUES[name]
    assert not isinstance(got, (np.generic, enum.Enum))


@pytest.mark.parametrize(
    "value",
    [
        np.complex64(1),
        np.datetime64("2026-01-01"),
        np.zeros(2),
        np.longdouble(1),
        1j,
        torch.zeros(2),
        range(3),
    ],
    ids=lambda v: type(v).__name__,
)
def test_what_has_no_exact_form_is_refused_with_its_place(value: Any, tmp_path: Path) -> None:
    """And no file appears."""
    objects = run()
    with pytest.raises(ConfigError, match=r"progress\.epochs\[1\]"):
        gs.save_checkpoint(tmp_path / "c", *objects, Extras(progress={"epochs": [1, value]}))
    assert list(tmp_path.iterdir()) == []


def test_settings_that_numpy_counted_are_settings(tmp_path: Path) -> None:
    """Of the rule and of attach; a run with Python's own numbers is the same run."""
    model = make_model("packed", gs.FanIn())
    optim = torch.optim.AdamW(model.parameters(), lr=1e-2)
    rule = gs.RigL(every=np.int64(2), drop=np.float64(0.25), until=np.float64(0.5))
    engine = gs.attach(model, optim, rule, total_steps=np.int64(20), seed=np.int64(3))
    train_step(model, optim, 0)
    gs.save_checkpoint(tmp_path / "c", model, optim, engine)
    again = run(rule=gs.RigL(every=2, drop=0.25, until=0.5), seed=3)
    gs.load_checkpoint(tmp_path / "c", *again)
    assert again[2].state_dict() == engine.state_dict() == json.loads(json.dumps(engine.state_dict()))


@pytest.mark.parametrize("steps", [12.5, "20", None, float("inf")])
def test_a_number_of_steps_that_is_none_is_refused_at_once(steps: Any) -> None:
    """Not at the first checkpoint."""
    model = make_model("packed", gs.FanIn())
    with pytest.raises(ConfigError, match="total_steps"):
        gs.attach(model, torch.optim.SGD(model.parameters(), lr=0.1), gs.SET(), total_steps=steps)


class Extra(nn.Module):
    """A module that keeps something beside its tensors."""

    def __init__(self, kept: Any, home: str = "packed") -> None:
        super().__init__()
        self.fc, self.kept, self.fails = nn.Linear(16, 16), kept, False
        gs.sparsify(self, 0.5, home=home)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The layer."""
        return self.fc(x)

    def get_extra_state(self) -> Any:
        """What it keeps."""
        return self.kept

    def set_extra_state(self, state: Any) -> None:
        """Take it, or fail."""
        if self.fails:
            raise KeyError("seen")
        self.kept = state


def extra(kept: Any) -> tuple[Any, Any, Any]:
    """Such a model, its optimizer and engine."""
    model = Extra(kept)
    optim = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    engine = gs.attach(model, optim, gs.SET(every=1), total_steps=9)
    model(torch.randn(4, 16)).square().mean().backward()
    optim.step()
    return model, optim, engine


@pytest.mark.parametrize(
    "kept",
    [
        {"seen": 1, "names": ("a", "b")},
        {"mean": torch.arange(3.0), "deep": [torch.eye(2)]},
        torch.arange(5),
        7,
    ],
    ids=["plain", "tensors", "a tensor", "a number"],
)
def test_extra_state_of_modules_comes_back(kept: Any, tmp_path: Path) -> None:
    """Numbers, text, and tensors in any nesting; a tensor may have another size."""
    objects = extra(kept)
    gs.save_checkpoint(tmp_path / "c", *objects)
    again = extra(torch.zeros(2))
    gs.load_checkpoint(tmp_path / "c", *again)
    assert repr(again[0].kept) == repr(kept)


def test_extra_state_that_has_no_exact_form_is_refused_by_name(tmp_path: Path) -> None:
    """No pickle."""
    with pytest.raises(ConfigError, match=r"extra/_extra_state\.seen"):
        gs.save_checkpoint(tmp_path / "c", *extra({"seen": {1, 2}}))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "buffer", [torch.zeros(2, dtype=torch.complex128), torch.eye(2).to_sparse()], ids=["complex", "sparse"]
)
def test_a_buffer_that_the_file_has_no_place_for_is_refused_by_name(buffer: Any, tmp_path: Path) -> None:
    """Before anything is written."""
    model, optim, engine = run()
    model.register_buffer("odd", buffer)
    with pytest.raises(ConfigError, match="model/odd"):
        gs.save_checkpoint(tmp_path / "c", model, optim, engine)
    assert list(tmp_path.iterdir()) == []


def test_optimizer_state_of_no_parameter_is_refused_when_it_is_saved(tmp_path: Path) -> None:
    """It could not be put back an epoch later."""
    model, optim, engine = run()
    optim.state["all"] = {"n": 1}
    with pytest.raises(ConfigError, match=r"AdamW.*'all'"):
        gs.save_checkpoint(tmp_path / "c", model, optim, engine)


# --- nothing is changed by a load that fails ----------------------------------------------------------------


def facts(model: Any, optim: Any, engine: Any) -> dict[str, Any]:
    """All that a load could change, extra state aside."""
    groups = [{k: v for k, v in group.items() if k != "params"} for group in optim.param_groups]
    rest = {"engine": engine.state_dict(), "groups": repr(groups), "random": torch.get_rng_state()}
    return everything(getattr(model, "fc", model), optim) | rest


def rewritten(path: Path, name: str, listed: bool) -> None:
    """The file without a tensor, and without its name in the list of tensors."""
    with safe_open(path, framework="pt") as file:
        document = json.loads(file.metadata()["gossamer"])
    tensors = load_file(path)
    del tensors[name]
    if not listed:
        document["tensors"].remove(name)
    save_file(tensors, path, metadata={"gossamer": json.dumps(document)})


@pytest.mark.parametrize(
    ("entry", "listed", "fresh"),
    [
        ("step", True, True), ("exp_avg", True, True), ("step", False, True),  # torch itself looks for "step"
        ("step", True, False), ("exp_avg", True, False), ("step", False, False), ("exp_avg", False, False),
    ],
)  # fmt: skip
def test_a_missing_entry_of_the_optimizers_state_changes_nothing(
    entry: str, listed: bool, fresh: bool, tmp_path: Path
) -> None:
    """Lost from the file, or left out by whoever made it; in a run that has stepped, and in one that has not."""
    saved = run()
    gs.save_checkpoint(tmp_path / "c", *saved)
    rewritten(tmp_path / "c", f"optimizer/0/{entry}", listed)
    mine = run(draw=4)
    if fresh:
        mine[1].state.clear()
    before = facts(*mine)
    with pytest.raises(FormatError):
        gs.load_checkpoint(tmp_path / "c", *mine)
    assert differences(before, facts(*mine)) == []
    train_step(*mine[:2], 3)
    assert mine[2].step == 4


class Picky:
    """A scheduler that fails once it has begun to load."""

    def __init__(self, last: int) -> None:
        self.last, self.broken = last, False

    def state_dict(self) -> dict[str, Any]:
        """Its step."""
        return {"last": self.last}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Half of it."""
        self.last = state["last"]
        if self.last == 5:
            raise ZeroDivisionError


@pytest.mark.parametrize("part", ["model", "optimizer", "scheduler"])
def test_a_part_that_fails_while_it_loads_is_put_back_with_all_others(
    part: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the checks cannot know: code of the user's, and of torch."""
    objects, scheduler = extra({"seen": 1}), Picky(5 if part == "scheduler" else 4)
    gs.save_checkpoint(tmp_path / "c", *objects, Extras(scheduler))
    torch.manual_seed(77)
    mine, schedule = extra({"seen": 2}), Picky(3)
    before = facts(*mine)
    if part == "model":
        calls = []

        def fail_once(state: Any) -> None:
            calls.append(state)
            if len(calls) == 1:
                raise KeyError("seen")
            mine[0].kept = state

        monkeypatch.setattr(Extra, "set_extra_state", lambda _, state: fail_once(state))
    if part == "optimizer":
        inner = torch.optim.Optimizer.load_state_dict
        calls = []

        def load(self: Any, state: Any) -> None:
            inner(self, state)
            calls.append(state)
            if len(calls) == 1:
                raise RuntimeError("no room")

        monkeypatch.setattr(torch.optim.Optimizer, "load_state_dict", load)
    with pytest.raises(FormatError, match=f"{part}.*nothing was changed"):
        gs.load_checkpoint(tmp_path / "c", *mine, schedule)
    assert differences(before, facts(*mine)) == []
    assert (mine[0].kept, schedule.last) == ({"seen": 2}, 3)
