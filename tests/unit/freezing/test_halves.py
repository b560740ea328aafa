"""Sums in float16: roundings worked out by hand, what leaves the range, what is stored and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import gossamer as gs
from gossamer.errors import PatternError
from gossamer.kernels import pick, rows, use
from gossamer.layouts import Encoded, layout
from gossamer.layouts.connections import Connections
from gossamer.trace.tensors import tensor_of

ISAS = [row.isa for row in rows() if row.layout == "csr_halves"]


def run(isa: str, x: torch.Tensor, encoded: Encoded) -> torch.Tensor:
    dtype = "float32" if isa == "reference" else "float32-float16"
    with use(isa):
        kernel = pick("linear", "csr_halves", dtype, "cpu").call
    index = [tensor_of(array) for array in encoded.index.values()]
    return kernel(x, tensor_of(encoded.values), index, None, encoded.dims)


def neuron(weights: list[float]) -> Encoded:
    """One neuron that reads every input."""
    n = len(weights)
    connections = Connections((1, n), np.arange(n), np.array(weights, np.float32))
    return layout("csr_halves").encode(connections, {})


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize(
    ("weights", "inputs", "sum_"),
    [
        ([1.0], [2049.0], 2048.0),  # halves to even
        ([1.0], [1.00048828125], 1.0),  # 1 + 2^-11
        ([2048.0, 0.0, 1.0], [1.0, 1.0, 1.0], 2048.0),  # the first and the third are added up in float16
        ([2048.0, 1.0], [1.0, 1.0], 2048.0),  # side by side, then together
        ([2048.0, *[0.0] * 15, 1.0], [1.0] * 17, 2049.0),  # the seventeenth comes in float32
        ([1.0], [2.0**-24], 2.0**-24),
        ([1.0], [2.0**-25], 0.0),
        ([1.0, 0.0, 2.0**-10], [1.0, 0.0, 2.0**-1], 1.0),  # 1 + 2^-11, rounded once
    ],
)
def test_worked_out_by_hand(isa, weights, inputs, sum_):
    assert run(isa, torch.tensor([inputs]), neuron(weights)).item() == sum_


@pytest.mark.parametrize("isa", ISAS)
def test_what_leaves_the_range_is_computed_again_from_the_inputs_as_they_are(isa):
    encoded = neuron([0.5, 1.0, 0.0])
    x = torch.ones(40, 3)
    x[3, 0] = 1e6  # no float16 holds it
    x[5] = torch.tensor([1.0, 1.0, -1e30])  # nor this, which weighs nothing
    y = run(isa, x, encoded)[:, 0]
    assert y[3] == 500_001.0
    assert y[5] == 1.5
    assert y[[0, 1, 2, 4, *range(6, 40)]].eq(1.5).all()
    sums = neuron([60000.0] * 4)  # each of them is in range, and no sum is
    assert run(isa, torch.ones(33, 4), sums).unique().tolist() == [60000.0 // 32 * 32 * 4]


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("bad", [float("inf"), float("-inf"), float("nan")])
def test_inputs_that_are_not_finite_reach_what_reads_them(isa, bad):
    x = torch.ones(35, 2)
    x[2, 1] = bad
    y = run(isa, x, neuron([1.0, 2.0]))[:, 0]
    assert torch.equal(y[2], torch.tensor(bad)) or (y[2].isnan() and np.isnan(bad))
    assert y[[0, 1, *range(3, 35)]].eq(3.0).all()


def test_what_a_sample_gives_does_not_depend_on_the_others():
    torch.manual_seed(0)
    dense = torch.randn(9, 70) * (torch.rand(9, 70) < 0.4)
    flat = dense.reshape(-1).numpy()
    held = Connections((9, 70), np.flatnonzero(flat), flat[flat != 0])
    encoded, x = layout("csr_halves").encode(held, {}), torch.randn(200, 70) * 1e4
    whole = run(ISAS[0], x, encoded)
    for first in (0, 7, 64, 199):
        assert torch.equal(run(ISAS[0], x[first : first + 1], encoded)[0], whole[first])


def test_weights_out_of_range_refuse_the_layer():
    large = Connections((1, 3), np.arange(3), np.array([1.0, 65520.0, -1e9], np.float32))
    assert layout("csr_halves").runs(large) == "2 weights beyond 65,504, the range of float16"
    doubles = Connections((1, 1), np.arange(1), np.ones(1))
    assert "reads float32" in str(layout("csr_halves").runs(doubles))


@pytest.mark.parametrize("values", ["exact", "bfloat16", "int8"])
def test_frozen_close_to_the_model_and_the_same_from_a_file(mlp, tmp_path, values):
    model = mlp("unstructured")
    x = torch.randn(40, 32)
    frozen = gs.freeze(model, x, keep="csr_halves", compute="float16", values=values)
    exact = gs.freeze(model, x, keep="csr", values=values)
    assert "arithmetic in float16" in frozen.explain()
    assert all(row["stored"] != "csr_halves" for row in frozen.plan["layers"])
    gs.save(frozen, tmp_path / "net.safetensors")
    loaded = gs.load(tmp_path / "net.safetensors")
    for batch in (1, 2, 40):
        x = torch.randn(batch, 32)
        assert (frozen(x) - exact(x)).abs().max() <= 0.01 * exact(x).abs().max()
        assert torch.equal(loaded(x), frozen(x))
    assert loaded.plan == frozen.plan


def test_it_runs_only_where_it_is_allowed_and_from_a_vector_of_samples_on(mlp):
    model = mlp("unstructured")
    for compute in ("float32", "bfloat16"):
        with pytest.raises(PatternError, match="does not allow"):
            gs.freeze(model, torch.randn(40, 32), keep="csr_halves", compute=compute)
    assert layout("csr_halves").unpromising(31)
    assert not layout("csr_halves").unpromising(32)
