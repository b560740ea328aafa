"""Narrow values: what rounding does to a weight, the same result from every layout, files, refusals."""

from __future__ import annotations

import copy
import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

import gossamer as gs
from gossamer.errors import ConfigError, DtypeError, FormatError, KernelUnavailable, NonFiniteError
from gossamer.kernels.cpu import available_isas
from gossamer.kernels.cpu.linear import bind
from gossamer.kernels.table import rows
from gossamer.layouts import layout, layouts
from gossamer.layouts.connections import Connections
from gossamer.layouts.values import EXACT, FLOAT32, fitting, narrowed
from gossamer.trace.tensors import tensor_of

LAYOUTS = {
    name: "nm:1:4" if name.startswith("nm") else "block:4" if name == "block" else "fanin:4"
    for name in layouts
    if layout(name).kernel and name != "csr_bands" and layout(name).compute == FLOAT32  # tests of their own
}
KERNELS = ("bfloat16", "int8")  # types that kernels read; test_few_bits.py has those that are held as int8
DENSE_ENOUGH = (
    0.6  # no neuron is without inputs: constants are folded from exact weights, which a rounded twin has not
)


@given(st.lists(st.floats(-1e4, 1e4, width=32), min_size=1, max_size=40), st.integers(1, 5))
def test_int8_is_within_half_a_step_of_every_weight(weights, columns):
    n = len(weights) // columns * columns or len(weights)
    values = np.array(weights[:n], np.float32)
    shape = (max(1, n // columns), min(columns, n))
    layer = Connections(shape, np.arange(shape[0] * shape[1]), values[: shape[0] * shape[1]])
    rounded = narrowed(layer, "int8")
    step = rounded.scale[layer.rows]
    assert np.abs(rounded.values).max() <= 127
    assert (np.abs(rounded.wide().values - layer.values) <= step * 0.5001).all()


def test_a_neuron_of_zeros_stays_zero():
    layer = narrowed(Connections((2, 2), np.array([0, 1, 2]), np.array([0.0, 0.0, 5.0], np.float32)), "int8")
    assert layer.wide().values.tolist() == [0.0, 0.0, 5.0]


def test_weights_that_are_not_finite_have_no_int8():
    for bad in (math.inf, math.nan):
        layer = Connections((1, 2), np.array([0, 1]), np.array([bad, 1.0], np.float32))
        with pytest.raises(NonFiniteError, match="finite weights"):
            narrowed(layer, "int8")


def test_bfloat16_keeps_eight_bits():
    exact = Connections((1, 2), np.array([0, 1]), np.array([1.00390625, -3.0], np.float32))
    layer = narrowed(exact, "bfloat16")
    assert layer.wide().values.tolist() == [1.0, -3.0]


def rounded_model(model: nn.Sequential, values: str) -> nn.Sequential:
    """The model with the weights that freezing rounds to."""
    twin = copy.deepcopy(model)
    for module in twin:
        if isinstance(module, gs.SparseLinear):
            rows = module.topology.mask().nonzero()[:, 0]
            weight = module.pattern.unpack(module.values.detach(), module.topology.positions, module.grid)
            positions = module.topology.mask().reshape(-1).nonzero().squeeze(1)
            held = weight.reshape(-1)[positions].numpy()
            layer = Connections(module.shape, positions.numpy(), held)
            assert np.array_equal(layer.rows, rows)
            wide = tensor_of(narrowed(layer, fitting(layer, values)).dense())
            packed = module.pattern.pack(wide, module.topology.positions, module.grid)
            module.values.data[: packed.numel()] = packed
    return twin


@pytest.mark.parametrize("values", KERNELS)
@pytest.mark.parametrize("keep", sorted(LAYOUTS))
def test_every_layout_computes_the_rounded_model(mlp, check_same, keep, values):
    model = mlp(LAYOUTS[keep], DENSE_ENOUGH)
    frozen = gs.freeze(model, torch.randn(4, 32), keep=keep, values=values)
    twin = rounded_model(model, values)
    for batch in (1, 2, 70):
        check_same(frozen, twin, torch.randn(batch, 32))
    if layout(keep).explicit:
        exact = gs.freeze(model, torch.randn(4, 32), keep=keep)
        assert {layer["values"] for layer in frozen.plan["layers"]} <= {values, "bfloat16"}
        assert frozen.plan["layers"][0]["values"] == values
        assert sum(row["bytes"] for row in frozen.plan["layers"]) < sum(
            row["bytes"] for row in exact.plan["layers"]
        )
        assert f"values {values}" in frozen.explain()


@pytest.mark.parametrize("values", KERNELS)
def test_without_a_core_the_operators_compute_the_same(mlp, check_same, monkeypatch, values):
    def missing(_layers, **_more):
        raise KernelUnavailable("Chain", expected="the compiled core", got="none")

    monkeypatch.setattr("gossamer.network.chain_step.Chain", missing)
    for keep, pattern in LAYOUTS.items():
        model = mlp(pattern, DENSE_ENOUGH)
        frozen = gs.freeze(model, torch.randn(4, 32), keep=keep, values=values)
        check_same(frozen, rounded_model(model, values), torch.randn(3, 32))


@pytest.mark.parametrize("values", KERNELS)
def test_a_file_gives_the_same_bits_in_every_layout_that_runs(mlp, tmp_path, values):
    model = mlp("nm:1:4")
    for allowed in (["nm", "nm_lanes"], ["nm", "dense"], ["csr", "dense"], ["csr", "slice"]):
        frozen = gs.freeze(model, torch.randn(4, 32), candidates=allowed, batch_sizes=(1, 64), values=values)
        gs.save(frozen, tmp_path / "net.safetensors")
        loaded = gs.load(tmp_path / "net.safetensors")
        for batch in (1, 7, 64):
            x = torch.randn(batch, 32)
            assert torch.equal(loaded(x), frozen(x))
        assert loaded.plan == frozen.plan


@pytest.mark.parametrize("values", [EXACT, *KERNELS])
def test_bands_of_inputs_compute_the_same(mlp, check_same, tmp_path, values):
    model = mlp("unstructured", widths=(512, 64, 16))
    frozen = gs.freeze(model, torch.randn(4, 512), keep={"0": "csr_bands", "2": "csr"}, values=values)
    assert frozen.plan["layers"][0]["chosen"] == "csr_bands"
    gs.save(frozen, tmp_path / "net.safetensors")
    loaded = gs.load(tmp_path / "net.safetensors")
    for batch in (1, 5, 130):
        x = torch.randn(batch, 512)
        check_same(frozen, model if values == EXACT else rounded_model(model, values), x)
        assert torch.equal(loaded(x), frozen(x))


@pytest.mark.parametrize("values", KERNELS)
@pytest.mark.parametrize("pattern", ["block:8", "block:1:16", "block:16:1", "block:2:4"])
def test_blocks_of_any_shape_compute_the_same(mlp, check_same, tmp_path, pattern, values):
    model = mlp(pattern, DENSE_ENOUGH, widths=(64, 64, 16))
    frozen = gs.freeze(model, torch.randn(4, 64), keep="block", values=values)
    gs.save(frozen, tmp_path / "net.safetensors")
    loaded = gs.load(tmp_path / "net.safetensors")
    for batch in (1, 5, 70):
        x = torch.randn(batch, 64)
        check_same(frozen, rounded_model(model, values), x)
        assert torch.equal(loaded(x), frozen(x))


@pytest.mark.parametrize("batch", [1, 3, 50])
def test_extremes_of_int8_in_blocks(batch):
    """By hand: row sums of -127, 127, 0 and of -128, which no rounding makes but a file may hold."""
    values = torch.tensor([[-127] * 16, [127] * 16, [0] * 16, [-128] * 16], dtype=torch.int8).reshape(-1)
    index = [torch.tensor([0, 1], dtype=torch.int32), torch.tensor([1], dtype=torch.uint16)]
    scale, bias = torch.tensor([0.5, 2.0, 1.0, 0.25]), torch.tensor([0.0, 1.0, -3.0, 0.0])
    expected = torch.tensor([-1016.0, 4065.0, -3.0, -512.0]).expand(batch, 4)
    x = torch.ones(batch, 32)
    tried = 0
    for spec in rows():
        if (spec.op, spec.layout, spec.dtype) == (
            "linear",
            "block",
            "float32-int8",
        ) and spec.isa in available_isas():
            assert torch.equal(bind(spec)(x, values, index, bias, [4, 32, 4, 16], scale), expected)
            tried += 1
    assert tried == len(available_isas())


def test_refusals(mlp):
    with pytest.raises(ConfigError, match="exact, bfloat16, int8, int4, ternary, binary"):
        gs.freeze(mlp(), torch.randn(1, 32), values="int3")
    with pytest.raises(DtypeError, match="float32 layer"):
        gs.freeze(mlp().double(), torch.randn(1, 32).double(), values="int8")


@pytest.mark.parametrize("keep", ["csr", "dense"])
@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda t: t | {"0/values": t["0/values"].float()}, "values of int8"),
        (lambda t: t | {"0/scale": t["0/scale"][1:]}, "scale"),
        (lambda t: t | {"0/scale": t["0/scale"].double()}, "scale"),
        (lambda t: t | {"0/scale": t["0/scale"] * math.inf}, "finite scales"),
        (lambda t: t | {"0/bias": t["0/bias"].to(torch.int8)}, "bias"),
        (lambda t: {name: tensor for name, tensor in t.items() if name != "0/scale"}, "exactly the tensors"),
    ],
)
def test_damaged_files_are_refused(mlp, tmp_path, keep, change, what):
    path = tmp_path / "net.safetensors"
    gs.save(gs.freeze(mlp(density=DENSE_ENOUGH), torch.randn(1, 32), keep=keep, values="int8"), path)
    with safe_open(path, "pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
        metadata = file.metadata()
    save_file(change(tensors), path, metadata)
    with pytest.raises(FormatError, match=what):
        gs.load(path)


def test_a_scale_without_int8_values_is_refused(mlp, tmp_path):
    path = tmp_path / "net.safetensors"
    gs.save(gs.freeze(mlp(density=DENSE_ENOUGH), torch.randn(1, 32), keep="csr", values="int8"), path)
    with safe_open(path, "pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
        document = json.loads(file.metadata()["gossamer"])
    document["nodes"][0]["values"] = None
    wide = tensors | {"0/values": tensors["0/values"].float()}
    save_file(wide, path, {"gossamer": json.dumps(document)})
    with pytest.raises(FormatError, match="a scale with int8 values"):
        gs.load(path)


@pytest.mark.parametrize("slope", [0.2, -0.6, 1.5])
def test_a_leaky_relu_is_part_of_its_layer(mlp, check_same, tmp_path, slope):
    model = mlp(activation=lambda: nn.LeakyReLU(slope))
    for keep in ("csr", "dense"):
        frozen = gs.freeze(model, torch.randn(4, 32), keep=keep)
        assert [node.name for node in frozen.graph.nodes] == ["0", "2", "4"]
        check_same(frozen, model, torch.randn(9, 32))
    gs.save(frozen, tmp_path / "net.safetensors")
    assert torch.equal(gs.load(tmp_path / "net.safetensors")(torch.ones(2, 32)), frozen(torch.ones(2, 32)))
