"""A plan is repeated: nothing is measured, and the same model gives the same bits."""

from __future__ import annotations

import json

import pytest
import torch
from torch import nn

import gossamer as gs
from gossamer.errors import ConfigError, FormatError, GossamerError

WISHES = [
    {},
    {"values": "int8"},
    {"values": "bfloat16", "batch_sizes": (1, 64)},
    {"keep": "csr"},
    {"prefer": "size", "values": "int8"},
    {"keep": {"0": "fanin"}, "candidates": ["dense"], "values": "int8"},
]


@pytest.fixture
def unmeasured(monkeypatch):
    """Nothing is timed while this is in force."""

    def refuse(*_args, **_named):
        raise AssertionError("measured")

    def start() -> None:
        for room in ("race", "guard"):
            monkeypatch.setattr(f"gossamer.freezing.{room}.alternate", refuse)

    return start


@pytest.mark.parametrize("wish", WISHES, ids=str)
def test_the_same_bits_from_every_home_of_a_plan(mlp, ablate, tmp_path, unmeasured, wish):
    model = mlp("fanin", 0.4)
    ablate(model[0], [1, 2])
    x = torch.randn(4, 32)
    frozen = gs.freeze(model, x, **wish)
    first = tmp_path / "first.safetensors"
    gs.save(frozen, first)
    (tmp_path / "plan.json").write_text(json.dumps(frozen.plan))
    unmeasured()
    for source in (frozen, frozen.report, frozen.plan, first, str(first), tmp_path / "plan.json"):
        again = gs.freeze(model, x, plan=source)
        gs.save(again, tmp_path / "again.safetensors")
        assert (tmp_path / "again.safetensors").read_bytes() == first.read_bytes()
        assert again.explain() == frozen.explain()
        for batch in (1, 5, 64, 300):
            y = torch.randn(batch, 32)
            assert torch.equal(again(y), frozen(y))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_models_of_other_types_are_repeated(mlp, unmeasured, tmp_path, dtype):
    model, x = mlp("fanin").to(dtype), torch.randn(2, 32, dtype=dtype)
    frozen = gs.freeze(model, x)
    gs.save(frozen, tmp_path / "net.safetensors")
    unmeasured()
    for source in (frozen, tmp_path / "net.safetensors"):
        assert torch.equal(gs.freeze(model, x, plan=source)(x), frozen(x))


def test_rounded_inputs_are_repeated(mlp, unmeasured):
    model, x = mlp("nm:1:4", widths=(64, 48, 16)), torch.randn(2, 64)
    frozen = gs.freeze(model, x, keep="nm_bytes", values="int8", compute="int8")
    unmeasured()
    again = gs.freeze(model, x, plan=frozen)
    assert [row["compute"] for row in again.plan["layers"]] == ["int8", "int8"]
    assert torch.equal(again(x), frozen(x))


class Branching(nn.Module):
    """Cannot be traced."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(40, 30), nn.Linear(30, 10)

    def forward(self, x):
        return self.last(self.first(x).relu() if x.sum() > 0 else self.first(x))


def test_a_model_frozen_layer_by_layer_is_repeated(unmeasured):
    model = Branching()
    gs.sparsify(model, density=0.2)
    x = torch.rand(3, 40)
    frozen = gs.freeze(model, x, batch_sizes=(1, 64))
    unmeasured()
    again = gs.freeze(model, x, plan=frozen.plan)
    assert again.plan["layers"] == frozen.plan["layers"]
    assert torch.equal(again(x), frozen(x))


def test_a_model_trained_further_takes_the_old_plan(mlp, check_same):
    model, x = mlp("unstructured"), torch.randn(4, 32)
    plan = gs.freeze(model, x, keep="csr").plan
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.5)
    check_same(gs.freeze(model, x, plan=plan), model, x)


def changed(plan: dict, **row) -> dict:
    """The plan with another first layer."""
    first, *rest = plan["layers"]
    return plan | {"layers": [first | row, *rest]}


def test_a_plan_of_another_network_is_refused(mlp):
    model, x = mlp("unstructured"), torch.randn(4, 32)
    plan = gs.freeze(model, x, keep="csr").plan
    for bad, what in (
        (plan | {"layers": plan["layers"][1:]}, "a difference in 0"),
        (plan | {"layers": plan["layers"] + plan["layers"][:1]}, "a layer twice"),
        (changed(plan, shape=[24, 31]), r"shape \[24, 31\]"),
        (changed(plan, values="float64"), "of float64"),
        (changed(plan, runs=["nm/core"]), "not trained under an N:M pattern"),
        (changed(plan, runs=["csr/torch"]), "runs of '0' that are known"),
        (changed(plan, runs=["slice/core"]), "in layout slice"),
        (changed(plan, runs=["coo/core"]), "layouts that run '0'"),
        (changed(plan, runs=["csrr/core"]), "did you mean 'csr'"),
        (changed(plan, runs=["csr/cor"]), "engines that run '0'.* did you mean 'core'"),
        (changed(plan, runs=[]), "1 runs of '0'"),
        (changed(plan, stored="fan-in"), "stored layout of '0'.* did you mean 'fanin'"),
        (changed(plan, stored="dense"), "stored so that its runs can be made"),
    ):
        with pytest.raises(ConfigError, match=what):
            gs.freeze(model, x, plan=bad)


def test_batch_classes_that_do_not_ascend_are_refused(mlp):
    model, x = mlp("unstructured"), torch.randn(4, 32)
    plan = gs.freeze(model, x, keep="csr", batch_sizes=(1, 64)).plan
    for limits in ((8, 8), (None, None), (None, 8)):
        rows = [row | {"up_to": limit} for row, limit in zip(plan["batches"], limits, strict=True)]
        with pytest.raises(FormatError, match="ascending batch limits"):
            gs.freeze(model, x, plan=plan | {"batches": rows})


def test_what_is_no_plan_is_refused(mlp, tmp_path):
    model, x = mlp("unstructured"), torch.randn(4, 32)
    (tmp_path / "bad.json").write_text("{")
    (tmp_path / "other.json").write_text("[1]")
    (tmp_path / "net.safetensors").write_bytes(b"no network")
    for bad in ({"layers": 3}, tmp_path / "bad.json", tmp_path / "other.json", tmp_path / "net.safetensors"):
        with pytest.raises(FormatError):
            gs.freeze(model, x, plan=bad)
    with pytest.raises(FileNotFoundError):
        gs.freeze(model, x, plan=tmp_path / "none.json")
    with pytest.raises(ConfigError, match="a plan, a frozen network"):
        gs.freeze(model, x, plan=3)
    with pytest.raises(ConfigError, match="no other argument that chooses layouts"):
        gs.freeze(model, x, plan={"batches": [{"batch": 1}]}, keep="csr")


def test_values_of_a_plan_are_those_of_its_layers(mlp):
    model, x = mlp("unstructured", 0.6), torch.randn(4, 32)
    frozen = gs.freeze(model, x, values="int8", keep="csr")
    again = gs.freeze(model, x, plan=frozen)
    assert [row["values"] for row in again.plan["layers"]] == [row["values"] for row in frozen.plan["layers"]]
    with pytest.raises(GossamerError):
        gs.freeze(model.double(), x.double(), plan=frozen)
