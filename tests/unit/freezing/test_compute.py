"""The arithmetic that layers may use: what is allowed, what is said, what is stored, what older plans called it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

import gossamer as gs
from gossamer.errors import ConfigError, DtypeError, FormatError, PatternError, SparseEfficiencyWarning
from gossamer.freezing.candidates import candidates
from gossamer.kernels import units
from gossamer.layouts import layout, layouts
from gossamer.layouts.connections import Connections
from gossamer.layouts.csr import Csr
from gossamer.network.plan import LayerPlan, Plan
from gossamer.network.store import smallest, to_store


@pytest.fixture
def half():
    """A layout of half precision as others will be: csr whose weights are rounded when they are made ready."""

    class Half(Csr):
        number, values, compute = None, ("bfloat16",), "bfloat16"

        def arrange(self, connections, parameters):
            return replace(super().arrange(connections, parameters), layout="half")

    layouts.register("half")(Half)
    yield Half()
    layouts.remove("half")


def held(dtype: str = "float32") -> Connections:
    return Connections((3, 8), np.array([0, 5, 9, 23]), np.array([0.1, 0.2, -0.3, 7.01], dtype))


def test_a_layout_is_tried_only_where_its_arithmetic_is_allowed(half):
    refused = candidates(held(), None, None).refused["half"]
    assert refused == "it computes in bfloat16, which compute='float32' does not allow"
    assert "half" in candidates(held(), None, None, "int8").refused
    found = candidates(held(), None, None, "bfloat16")
    assert {"half", "csr"} <= set(found.forms)
    with pytest.raises(PatternError, match="does not allow"):
        candidates(held(), "half", None, "float16")
    assert "reads float32" in candidates(held("float64"), None, None, "bfloat16").refused["half"]


@pytest.mark.parametrize("prefer", ["speed", "size"])
def test_what_is_stored_stays_exact(half, prefer):
    c = held()
    form = half.encode(c, half.runs(c))
    assert (form.dtype, str(form.values.dtype.names)) == ("float32", "('bfloat16',)")
    assert layout(to_store(c, {"half": form}).layout).exact
    assert layout(smallest(c, {"half": form})[0].layout).exact
    found = candidates(c, "half", None, "bfloat16", prefer)
    assert list(found.forms) == ["half"]
    stored = found.stored(["half"])
    assert np.array_equal(layout(stored.layout).decode(stored).values, c.values)
    if prefer == "size":
        assert "half" not in candidates(c, None, None, "bfloat16", prefer).forms


def test_narrow_values_are_rounded_again_for_what_runs(half):
    c = Connections(
        (1, 2),
        np.array([0, 1]),
        np.array([3, -127], np.int8),
        None,
        None,
        np.array([0.1], np.float32),
        "float32",
    )
    form = half.encode(c, half.runs(c))
    assert form.scale is None
    assert half.decode(form).wide().values.tolist() == [
        pytest.approx(0.3, rel=1e-2),
        pytest.approx(-12.7, rel=1e-2),
    ]


def test_arithmetic_that_nothing_can_use_is_said(mlp):
    with pytest.warns(
        SparseEfficiencyWarning, match="compute='int8' is not used: no layer can compute in it"
    ):
        frozen = gs.freeze(
            mlp("block:4"), torch.randn(2, 32), candidates=["csr"], values="int8", compute="int8"
        )
    assert "note: compute='int8' is not used" in frozen.explain()
    assert "nm_bytes: not trained under an N:M pattern" in frozen.explain()
    with pytest.warns(SparseEfficiencyWarning, match="no layer"):
        gs.freeze(nn.Sequential(nn.ReLU()), torch.randn(2, 32), compute="bfloat16")


def test_arithmetic_that_is_slower_is_noted(mlp):
    names = ["nm_bytes", "dense"]
    frozen = gs.freeze(mlp("nm:1:4"), torch.randn(2, 32), candidates=names, values="int8", compute="int8")
    used = any(row["compute"] == "int8" for row in frozen.plan["layers"])
    assert used or "at least as fast in every layer" in frozen.explain()


def test_explain_names_the_arithmetic_of_every_layer(mlp):
    frozen = gs.freeze(mlp("nm:1:4"), torch.randn(2, 32), keep="csr")
    assert frozen.explain().count("arithmetic in float32") == len(frozen.plan["layers"])
    wide = gs.freeze(mlp("fanin").double(), torch.randn(2, 32).double(), keep="csr")
    assert {row["compute"] for row in wide.plan["layers"]} == {"float64"}
    assert "arithmetic in float64" in wide.explain()


def test_batch_classes_that_compute_differently_are_told_apart():
    row = LayerPlan(
        name="a",
        shape=(2, 2),
        was=(2, 2),
        connections=1,
        chosen="csr",
        compute="int8",
        runs=["nm_bytes/core", "csr/core"],
    )
    plan = Plan.model_validate(
        {"batches": [{"batch": 1, "up_to": 8}, {"batch": 64}], "layers": [row.model_dump()]}, strict=False
    )
    assert "sums in 32-bit integers for batch 1; float32 for batch 64" in str(plan)


def test_a_unit_that_is_missing_is_said(mlp, monkeypatch):
    frozen = gs.freeze(mlp("fanin"), torch.randn(2, 32), keep="csr")
    assert "gives the same bits without it" not in frozen.explain()
    monkeypatch.setitem(units.UNITS, "csr", lambda: "this processor has no hardware gathers")
    assert "note: this processor has no hardware gathers: csr gives the same bits" in frozen.explain()


def test_a_network_of_float64_is_refused(mlp):
    with pytest.raises(DtypeError, match="of float64"):
        gs.freeze(mlp("fanin").double(), torch.randn(2, 32).double(), compute="bfloat16")


def test_int8_needs_values_of_as_few_bits(mlp):
    with pytest.raises(ConfigError, match="int8 with values="):
        gs.freeze(mlp("nm:1:4"), torch.randn(2, 32), compute="int8")
    frozen = gs.freeze(mlp("nm:1:4"), torch.randn(2, 32), keep="nm_bytes", values="int4", compute="int8")
    assert {row["compute"] for row in frozen.plan["layers"]} == {"int8"}


@pytest.mark.parametrize(
    ("old", "values", "new"),
    [("exact", "float32", "float32"), ("exact", "float64", "float64"), ("int8", "int8", "int8")],
)
def test_older_plans_are_read(old, values, new, mlp):
    row = LayerPlan(
        name="a", shape=(2, 2), was=(2, 2), connections=1, chosen="csr", values=values
    ).model_dump()
    row = {name: value for name, value in row.items() if name != "compute"} | {"activations": old}
    assert LayerPlan.model_validate(row).compute == new
    both = {"batches": [{"batch": 1}], "layers": [row | {"compute": "int8"}]}
    with pytest.raises(FormatError, match="activations"):
        gs.freeze(mlp("fanin"), torch.randn(2, 32), plan=both)


class Branching(nn.Module):
    """Its code asks for numbers, which nothing traces."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(64, 32), nn.Linear(32, 8)

    def forward(self, x):
        x = 2 * x if float(x.sum()) > 1e9 else x
        return self.second(torch.relu(self.first(x)))


def test_layers_that_round_are_frozen_where_a_model_cannot_be_traced():
    model, x = Branching().eval(), torch.randn(4, 64)
    gs.sparsify(model, None, "nm:1:8", "uniform")
    frozen = gs.freeze(model, x, keep="nm_bytes", values="int8", compute="int8")
    assert [row["compute"] for row in frozen.plan["layers"]] == ["int8", "int8"]
    exact = model(x)
    assert 1e-3 < (frozen(x) - exact).abs().max() / exact.abs().max() < 0.05
    assert torch.equal(gs.freeze(model, x, plan=frozen)(x), frozen(x))


def test_a_network_that_was_chosen_on_another_processor_says_so(mlp):
    frozen = gs.freeze(mlp("fanin"), torch.randn(2, 32), keep="csr")
    assert "were chosen on" not in frozen.explain()
    frozen.report = frozen.report.model_copy(update={"machine": frozen.report.machine | {"cpu": "Z80"}})
    assert "note: the forms were chosen on Z80; this one is" in frozen.explain()
