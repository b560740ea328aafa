"""Checkpoints: everything comes back, schedulers included; a damaged or foreign file changes nothing."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import load_file, safe_open, save_file
from torch import nn

import gossamer as gs
from gossamer.errors import ConfigError, GossamerError
from gossamer.training import Extras
from strategies import OPTIMIZERS, differences, everything, make_model, sparse_layers, train_step

if TYPE_CHECKING:
    from pathlib import Path

SCHEDULERS = {
    "multistep": lambda o: torch.optim.lr_scheduler.MultiStepLR(o, [3, 6, 6, 9], gamma=0.5),
    "plateau": lambda o: torch.optim.lr_scheduler.ReduceLROnPlateau(o, patience=0, factor=0.7),
    "cosine": lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, 12),
    "one_cycle": lambda o: torch.optim.lr_scheduler.OneCycleLR(o, 0.1, total_steps=20),
    "lambda": lambda o: torch.optim.lr_scheduler.LambdaLR(o, lambda n: 0.9**n),
    "sequential": lambda o: torch.optim.lr_scheduler.SequentialLR(
        o,
        [torch.optim.lr_scheduler.LinearLR(o, 0.1, total_iters=4), torch.optim.lr_scheduler.StepLR(o, 2)],
        milestones=[4],
    ),
    "restarts": lambda o: torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(o, 3, 2),
    "cyclic": lambda o: torch.optim.lr_scheduler.CyclicLR(
        o, 0.001, 0.1, step_size_up=3, cycle_momentum=False
    ),
}


def run(
    home: str = "packed", optimizer: str = "adam", schedule: str = "cosine", seed: int = 0, rule: Any = None
) -> Any:
    """Model, optimizer, engine and scheduler of a run."""
    model = make_model(home, gs.FanIn(), seed=seed)
    optim = OPTIMIZERS[optimizer](model.parameters())
    engine = gs.attach(model, optim, rule or gs.SRigL(every=2, gamma=0.9), total_steps=20)
    return model, optim, engine, SCHEDULERS[schedule](optim)


def advance(objects: Any, steps: range) -> list[float]:
    """Train, with whatever argument the scheduler wants."""
    model, optim, _, scheduler = objects
    losses = []
    for step in steps:
        losses.append(train_step(model, optim, step))
        if isinstance(scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau):
            scheduler.step(losses[-1] * 0 + 1.0)
        else:
            scheduler.step()
    return losses


@pytest.mark.parametrize("schedule", SCHEDULERS)
@pytest.mark.parametrize("kill", [0, 5])
def test_every_scheduler_of_torch_resumes_exactly(schedule: str, kill: int, tmp_path: Path) -> None:
    """Milestones with integer keys, an infinite best value, nested schedulers: rates go on as they were."""
    whole = run(schedule=schedule)
    advance(whole, range(kill))
    gs.save_checkpoint(tmp_path / "c", *whole[:3], Extras(whole[3], {"best": math.inf, "worst": -math.inf}))
    rest = advance(whole, range(kill, 12))
    again = run(schedule=schedule, seed=9)
    progress = gs.load_checkpoint(tmp_path / "c", *again)
    assert progress == {"best": math.inf, "worst": -math.inf}
    assert advance(again, range(kill, 12)) == rest
    assert [g["lr"] for g in again[1].param_groups] == [g["lr"] for g in whole[1].param_groups]
    assert differences(everything(*whole[:2]), everything(*again[:2])) == []
    ours, theirs = (dict(o[3].state_dict()) for o in (again, whole))
    for key in ("lr_lambdas", "_schedulers"):
        ours.pop(key, None), theirs.pop(key, None)
    assert ours == theirs


def test_ablated_layers_come_back_with_their_own_size(tmp_path: Path) -> None:
    """Index tensors change size with the number of neurons; a fresh model takes the size that was saved."""
    model, optim, engine, _ = saved = run(rule=gs.SRigL(every=2, gamma=0.9, drop=0.6))
    advance(saved, range(8))
    active = int(model[0].topology.fan_in().count_nonzero())
    assert active < 24, "the test needs ablated neurons"
    gs.save_checkpoint(tmp_path / "c", model, optim, engine)
    again = run(rule=gs.SRigL(every=2, gamma=0.9, drop=0.6), seed=4)
    gs.load_checkpoint(tmp_path / "c", *again[:3])
    assert again[0][0].rows.numel() == active
    x = torch.randn(3, 32)
    assert torch.equal(again[0](x), model(x))
    fresh = make_model("packed", gs.FanIn(), seed=6)
    fresh.load_state_dict(model.state_dict())
    assert torch.equal(fresh(x), model(x))


def test_torchs_random_state_comes_back(tmp_path: Path) -> None:
    """Dropout and shuffling go on where they were."""
    objects = run()
    torch.manual_seed(5)
    torch.rand(3)
    gs.save_checkpoint(tmp_path / "c", *objects[:3])
    expected = torch.rand(4)
    torch.manual_seed(99)
    gs.load_checkpoint(tmp_path / "c", *objects[:3])
    assert torch.equal(torch.rand(4), expected)


@pytest.mark.parametrize("home", ["packed", "masked"])
def test_a_dense_model_and_no_engine_are_fine_too(home: str, tmp_path: Path) -> None:
    """Any module, any optimizer; an engine is optional when saving and when loading."""
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    optim = torch.optim.Adam(net.parameters(), lr=torch.tensor(0.25), betas=(0.5, 0.75))
    net(torch.randn(2, 1, 5, 5)).sum().backward()
    optim.step()
    gs.save_checkpoint(tmp_path / "c", net, optim, extras=Extras(progress={"epoch": 3}))
    other = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    optim2 = torch.optim.Adam(other.parameters(), lr=torch.tensor(0.5))
    assert gs.load_checkpoint(tmp_path / "c", other, optim2) == {"epoch": 3}
    differ = differences(everything(net, optim), everything(other, optim2))
    assert all(key.startswith("grad/") for key in differ)
    assert optim2.param_groups[0]["betas"] == (0.5, 0.75)
    assert torch.equal(optim2.param_groups[0]["lr"], torch.tensor(0.25))


@pytest.mark.parametrize("value", [{1, 2}, object(), b"bytes", torch.zeros(3)])
def test_what_json_cannot_hold_is_refused_with_its_place(value: Any, tmp_path: Path) -> None:
    """And no file appears."""
    objects = run()
    with pytest.raises(ConfigError, match=r"progress.*note"):
        gs.save_checkpoint(tmp_path / "c", *objects[:3], Extras(progress={"note": [value]}))
    assert list(tmp_path.iterdir()) == []


# --- refused with nothing changed ---------------------------------------------------------------------------


def rewrite(path: Path, tensors: Any = None, document: Any = None) -> None:
    """Change a checkpoint's tensors and JSON and write it again."""
    with safe_open(path, framework="pt") as file:
        meta = json.loads(file.metadata()["gossamer"])
    parts = load_file(path)
    if tensors:
        tensors(parts)
    if document:
        document(meta)
    save_file({k: v.contiguous() for k, v in parts.items()}, path, metadata={"gossamer": json.dumps(meta)})


def drop(key: str) -> Any:
    """Remove an entry."""
    return lambda parts: parts.pop(key)


def put(key: str, change: Any) -> Any:
    """Replace an entry by a function of it."""
    return lambda parts: parts.__setitem__(key, change(parts[key]))


TENSOR_DAMAGE = {
    "missing weight": drop("model/0.bias"),
    "missing index": drop("model/3.col"),
    "missing values": drop("model/3.values"),
    "unexpected tensor": lambda p: p.__setitem__("model/evil", torch.zeros(2)),
    "wrong shape": put("model/3.bias", lambda t: t[:-1].clone()),
    "short values": put("model/3.values", lambda t: t[:-1].clone()),
    "values of integers": put("model/3.values", torch.Tensor.int),
    "fingerprint of other connections": put("model/3.fingerprint", lambda t: t.flip(0)),
    "column out of range": put("model/3.col", lambda t: torch.full(t.shape, 60_000).to(torch.uint16)),
    "columns repeated": put("model/3.col", torch.zeros_like),
    "row out of range": put("model/3.rows", lambda t: (t.int() + 40_000).to(torch.uint16)),
    "columns of another dtype": put("model/3.col", torch.Tensor.int),
    "columns flattened": put("model/3.col", lambda t: t.flatten()),
    "too many connections": put("model/3.col", lambda t: torch.arange(24).repeat(len(t), 1).to(torch.uint16)),
    "state of another shape": put("optimizer/1/exp_avg", lambda t: t[:-1].clone()),
    "state of a dense parameter of another shape": put("optimizer/2/exp_avg", lambda t: torch.zeros(7)),
    "state without a parameter": lambda p: p.__setitem__("optimizer/99/exp_avg", torch.zeros(3)),
    "state under a strange name": lambda p: p.__setitem__("optimizer/one", torch.zeros(3)),
    "missing random state": drop("random/torch"),
    "short random state": put("random/torch", lambda t: t[:-8].clone()),
    "random state of floats": put("random/torch", torch.Tensor.float),
    "random garbage": put("random/torch", lambda t: torch.full_like(t, 255)),
}  # fmt: skip
DOCUMENT_DAMAGE = {
    "no optimizer": drop("optimizer"),
    "optimizer is a list": put("optimizer", lambda _: []),
    "no groups": lambda d: d["optimizer"].pop("groups"),
    "one group too many": lambda d: d["optimizer"]["groups"].append(d["optimizer"]["groups"][0]),
    "one parameter too many": lambda d: d["optimizer"]["groups"][0]["params"].append(4),
    "a learning rate of text": lambda d: d["optimizer"]["groups"][0].update(lr="fast"),
    "a setting is missing": lambda d: d["optimizer"]["groups"][0].pop("lr"),
    "a setting too many": lambda d: d["optimizer"]["groups"][0].update(evil=1),
    "groups of numbers": lambda d: d["optimizer"].update(groups=[1]),
    "scalars of nothing": lambda d: d["optimizer"].update(scalars={"x": {"step": 1}}),
    "scalars as a list": lambda d: d["optimizer"].update(scalars=[1]),
    "no engine": drop("engine"),
    "engine of text": put("engine", lambda _: "SRigL"),
    "engine at a strange step": lambda d: d["engine"].update(step="soon"),
    "engine with a strange history": lambda d: d["engine"].update(history=[{"step": 1}]),
    "engine of another rule": lambda d: d["engine"]["rule"].update(every=3),
    "no scheduler": put("scheduler", lambda _: None),
    "scheduler with a strange entry": lambda d: d["scheduler"].update(evil=1),
    "scheduler without its entries": put("scheduler", lambda _: {}),
    "scheduler with text for a number": lambda d: d["scheduler"].update(last_epoch="x"),
    "progress is a number": put("progress", lambda _: 3),
    "no progress": drop("progress"),
    "a tag nobody knows": put("progress", lambda _: {"$eval": "1+1"}),
}


@pytest.fixture
def target(tmp_path: Path) -> tuple[Path, Any, dict[str, Any]]:
    """A checkpoint, another run it could be loaded into, and a copy of all that run holds."""
    saved = run()
    advance(saved, range(5))
    gs.save_checkpoint(tmp_path / "c", *saved[:3], Extras(saved[3], {"step": 5}))
    mine = run(seed=3)
    advance(mine, range(3))
    return tmp_path / "c", mine, facts(mine)


def facts(objects: Any) -> dict[str, Any]:
    """Everything a load could change."""
    model, optim, engine, scheduler = objects
    groups = [{k: v for k, v in group.items() if k != "params"} for group in optim.param_groups]
    rest = {"groups": groups, "engine": engine.state_dict(), "scheduler": scheduler.state_dict()}
    return {**everything(model, optim), **json.loads(json.dumps(rest)), "random": torch.get_rng_state()}


@pytest.mark.parametrize("what", TENSOR_DAMAGE)
def test_damaged_tensors_are_refused_with_nothing_changed(what: str, target: Any) -> None:
    """Everything is checked before anything is touched."""
    path, mine, before = target
    rewrite(path, tensors=TENSOR_DAMAGE[what])
    with pytest.raises(GossamerError):
        gs.load_checkpoint(path, *mine)
    assert differences(before, facts(mine)) == []


@pytest.mark.parametrize("what", DOCUMENT_DAMAGE)
def test_a_damaged_document_is_refused_with_nothing_changed(what: str, target: Any) -> None:
    """Whatever the JSON says: an error of ours, and the run goes on as if nothing had been asked."""
    path, mine, before = target
    rewrite(path, document=DOCUMENT_DAMAGE[what])
    with pytest.raises(GossamerError):
        gs.load_checkpoint(path, *mine)
    assert differences(before, facts(mine)) == []


def test_an_untouched_checkpoint_loads(target: Any) -> None:
    """The two tests above fail for their damage, not for the rewriting."""
    path, mine, before = target
    rewrite(path)
    assert gs.load_checkpoint(path, *mine) == {"step": 5}
    assert differences(before, facts(mine)) != []


@pytest.mark.parametrize(
    "other",
    [
        lambda: run(home="masked"),
        lambda: run(optimizer="nesterov_wd"),
        lambda: run(rule=gs.RigL(every=2)),
        lambda: run(schedule="multistep"),
        lambda: (nn.Linear(3, 3), *run()[1:]),
    ],
    ids=["home", "optimizer", "rule", "scheduler", "model"],
)
def test_a_checkpoint_of_another_run_is_refused_with_nothing_changed(other: Any, target: Any) -> None:
    """Another home, optimizer, rule, scheduler or model."""
    path, _, _ = target
    mine = other()
    before = facts(mine)
    with pytest.raises(GossamerError):
        gs.load_checkpoint(path, *mine)
    assert differences(before, facts(mine)) == []


def test_training_goes_on_after_a_refused_load(target: Any) -> None:
    """With the same bits as if it had never been asked."""
    path, mine, _ = target
    rewrite(path, tensors=TENSOR_DAMAGE["column out of range"])
    with pytest.raises(GossamerError):
        gs.load_checkpoint(path, *mine)
    twin = run(seed=3)
    assert advance(twin, range(6))[3:] == advance(mine, range(3, 6))
    assert all(layer.tape.followed for _, layer in sparse_layers(mine[0]))
