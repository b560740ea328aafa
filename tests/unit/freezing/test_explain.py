"""The plan says what was tried, what it cost, what runs, and why."""

from __future__ import annotations

import json

import torch
from torch import nn

import gossamer as gs
from gossamer.freezing.candidates import TIE
from gossamer.network.plan import Plan
from gossamer.nn import count


def test_every_candidate_is_listed_with_time_and_bytes(mlp):
    frozen = gs.freeze(mlp("nm:1:4"), torch.randn(4, 32), batch_sizes=(1, 64))
    plan = frozen.plan
    assert json.loads(json.dumps(plan, allow_nan=False)) == plan
    assert [row["batch"] for row in plan["batches"] if row["asked"]] == [1, 64]
    number = len(plan["batches"])
    for layer in plan["layers"]:
        tried = {(row["layout"], row["engine"]) for row in layer["candidates"] if row["engine"]}
        assert tried >= {
            ("csr", "core"),
            ("nm", "core"),
            ("nm_lanes", "core"),
            ("dense", "core"),
        }
        assert all(
            len(row["seconds"]) == number and row["bytes"] > 0 for row in layer["candidates"] if row["engine"]
        )
        assert all(row["why"] for row in layer["candidates"] if not row["engine"])
        assert layer["chosen"] == layer["runs"][0].split("/")[0]
    for row in (row for row in plan["batches"] if row["asked"]):
        assert {name.split()[0] for name in row["seconds"]} <= {"core", "mixed", "dense", "all"}
        assert row["seconds"][row["chosen"]] <= TIE * min(row["seconds"].values())
        assert row["why"]


def test_the_table_in_words(mlp, ablate):
    model = mlp("fanin", 0.4)
    ablate(model[0], [1, 2])
    text = gs.freeze(model, torch.randn(4, 32)).explain()
    assert "2 constant neurons folded into the next layer" in text
    assert "+ relu" in text
    assert "<- chosen for batch 4: " in text
    assert "not tried: not trained under an N:M pattern" in text
    assert "whole network" in text
    assert "x dense" in text
    forced = gs.freeze(model, torch.randn(4, 32), keep="csr").explain()
    assert "not tried: csr is forced" in forced
    assert "the only one asked for" in forced
    assert "batch 4 (any batch): not measured" in forced


def test_dense_layers_say_why_sparse_layouts_were_not_tried():
    rows = gs.freeze(nn.Sequential(nn.Linear(8, 4)), torch.randn(2, 8)).plan["layers"][0]["candidates"]
    assert {row["layout"]: row["why"] for row in rows}["csr"] == "density 1.00 is above 0.50"


def test_frozen_networks_are_counted_as_stored(mlp, ablate):
    model = mlp("fanin", 0.4)
    ablate(model[4], [0])
    frozen = gs.freeze(model, torch.randn(4, 32), keep={"0": "fanin", "4": "fanin"}, candidates=["dense"])
    rows = count(frozen)
    assert [row.kind for row in rows] == ["fanin", "dense", "fanin"]
    assert rows[0].connections == frozen.plan["layers"][0]["connections"]
    assert rows[1].value_bytes == 4 * rows[1].shape[0] * rows[1].shape[1]
    assert rows[1].connections < rows[1].shape[0] * rows[1].shape[1]
    assert rows[2].fan_in[0] == 1
    assert rows[2].active == 7
    assert rows[0].bytes == sum(array.nbytes for array in _arrays(frozen, 0))
    assert "3 nodes" not in repr(frozen) or "fanin" in repr(frozen)


def _arrays(frozen, number):
    layer = frozen.graph.layers()[number][1]
    return [layer.stored.values, *layer.stored.index.values(), layer.bias]


def test_a_plan_reads_back():
    plan = gs.freeze(nn.Sequential(nn.Linear(8, 4)), torch.randn(2, 8)).report
    assert Plan.model_validate_json(plan.model_dump_json()) == plan


def test_a_layout_is_measured_at_the_batches_at_which_it_may_win(mlp):
    """Sizes beyond those asked for may have classes of their own, where another form wins on this machine."""
    frozen = gs.freeze(mlp("nm:1:4"), torch.randn(4, 32), batch_sizes=(1, 64))
    sizes = [row["batch"] for row in frozen.plan["batches"]]
    one, many = sizes.index(1), sizes.index(64)
    for layer in frozen.plan["layers"]:
        rows = {row["layout"]: row for row in layer["candidates"]}
        bands, lanes = rows["csr_bands"], rows["nm_lanes"]
        assert [bands["seconds"][at] is None for at in (one, many)] == [True, False]
        assert [lanes["seconds"][at] is None for at in (one, many)] == [False, True]
        assert layer["runs"][many] != "nm_lanes/core"
        assert layer["runs"][one] != "csr_bands/core"
        assert "csr_bands/core" in layer["runs"] or bands["why"] == "worth measuring from batch 2"
        assert "nm_lanes/core" in layer["runs"] or lanes["why"] == "worth measuring up to batch 8"
    assert Plan.model_validate_json(frozen.report.model_dump_json()) == frozen.report


def test_layouts_named_by_the_caller_are_measured_everywhere(mlp):
    frozen = gs.freeze(mlp("nm:1:4"), torch.randn(1, 32), candidates=["csr", "csr_bands"])
    for layer in frozen.plan["layers"]:
        assert all(row["seconds"][0] > 0 for row in layer["candidates"] if row["engine"])
