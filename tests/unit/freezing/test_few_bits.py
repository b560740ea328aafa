"""Values of four, two and one bit: scales by hand, exact bytes, files to the bit, hostile ones refused."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

import gossamer as gs
from gossamer.errors import ConfigError, FormatError, NonFiniteError
from gossamer.layouts import layout
from gossamer.layouts.bits import fewest, packed, unpacked
from gossamer.layouts.connections import Connections
from gossamer.layouts.rounding import ROUNDINGS
from gossamer.layouts.values import narrowed

FEW = ("int4", "ternary", "binary")


def row(*weights):
    return Connections((1, len(weights)), np.arange(len(weights)), np.array(weights, np.float32))


@pytest.mark.parametrize(
    ("to", "codes", "scale"),
    [
        ("int8", [127, -18, 0, 64], 7 / 127),
        ("int4", [7, -1, 0, 4], 1.0),  # 3.5 goes to the even side
        ("ternary", [1, 0, 0, 1], 5.25),  # 0.7 * mean (7, 1, 0, 3.5) = 2.0125; the mean of 7 and 3.5
        ("binary", [1, -1, 0, 1], 11.5 / 3),
    ],
)
def test_scales_by_hand(to, codes, scale):
    layer = narrowed(row(7.0, -1.0, 0.0, 3.5), to)
    assert layer.values.tolist() == codes
    assert layer.scale.tolist() == [np.float32(scale)]


@pytest.mark.parametrize("to", ROUNDINGS)
def test_zeros_stay_zeros_and_neurons_of_zeros_are_left(to):
    layer = Connections((2, 3), np.array([0, 1, 4]), np.array([0.0, -0.0, 2.0], np.float32))
    assert narrowed(layer, to).wide().values.tolist() == [0.0, 0.0, 2.0]
    with pytest.raises(NonFiniteError, match=to):
        narrowed(row(1.0, np.nan), to)


@pytest.mark.parametrize("to", ["ternary", "binary"])
def test_the_scale_of_signs_is_the_best_one(to):
    weights = np.random.default_rng(0).normal(size=200).astype(np.float32)
    layer = narrowed(row(*weights), to)
    signs = layer.values.astype(np.float64)
    assert layer.scale[0] == pytest.approx(float(signs @ weights / (signs @ signs)), rel=1e-6)


@pytest.mark.parametrize(("to", "decibel"), [("int8", 42.1), ("int4", 16.9)])
def test_gaussian_weights_have_the_known_error(to, decibel):
    weights = np.random.default_rng(0).normal(size=(256, 1024)).astype(np.float32)
    layer = Connections(weights.shape, np.arange(weights.size), weights.reshape(-1))
    error = narrowed(layer, to).dense() - weights
    assert 10 * np.log10((weights**2).sum() / (error**2).sum()) == pytest.approx(decibel, abs=0.15)


@pytest.mark.parametrize(("bits", "codes"), [(1, [1, -1]), (2, [1, 0, -1]), (4, [7, -7, 0])])
@pytest.mark.parametrize("number", [3, 8, 13])
def test_packed_values_come_back_and_nothing_else_is_read(bits, codes, number):
    values = np.resize(np.array(codes, np.int8), number)
    held = packed(values, bits)
    assert fewest(values) == bits
    assert held.size == 1 + -(-number * bits // 8)
    assert np.array_equal(unpacked(held, bits), values)
    first = held.copy()
    first[0] = 255
    strange = [first, held[:1], held[:0], held.astype(np.int8), held[None]]
    if held[0]:
        filled = held.copy()
        filled[-1] |= 128  # a place that is empty
        strange.append(filled)
    for bad in strange:
        with pytest.raises(FormatError):
            unpacked(bad, bits)


def bits_of(path):
    with safe_open(path, "pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, file.metadata()  # noqa: SIM118


@pytest.mark.parametrize("values", FEW)
@pytest.mark.parametrize("keep", ["csr", "dense", "fanin"])
def test_a_layer_computes_what_its_rounded_weights_do_and_its_file_is_as_small_as_they_are(
    tmp_path, keep, values
):
    torch.manual_seed(3)
    layer = gs.SparseLinear(301, 16, density=0.5, pattern=gs.FanIn())
    x = torch.randn(5, 301)
    frozen = gs.freeze(layer, x, keep=keep, values=values)
    exact = gs.freeze(layer, x, keep=keep).graph.layers()[0][1].stored
    rounded = narrowed(layout(keep).decode(exact).only(exact.values != 0) if keep == "dense"
                       else layout(keep).decode(exact), values)  # fmt: skip
    expected = nn.functional.linear(x, torch.from_numpy(rounded.dense()), layer.bias)
    assert torch.allclose(frozen(x), expected, atol=1e-5)

    path = tmp_path / "net.safetensors"
    gs.save(frozen, path)
    loaded = gs.load(path)
    assert torch.equal(loaded(x), frozen(x))
    assert loaded.plan == frozen.plan
    stored = loaded.graph.layers()[0][1].stored
    bits = 2 if (values, keep) == ("binary", "dense") else ROUNDINGS[values].bits  # zeros of a dense form
    held = bits_of(path)[0]
    assert held["0/values"].numel() == 1 + -(-stored.values.size * bits // 8)
    plan = frozen.plan["layers"][0]
    assert plan["values"] == values
    assert plan["bytes"] == sum(t.nbytes for name, t in held.items() if name != "0/bias")
    assert f"values {values}" in frozen.explain()
    assert "values held as int8; arithmetic in float32" in frozen.explain()
    assert torch.equal(gs.freeze(layer, x, plan=frozen)(x), frozen(x))


def test_convolutions_have_values_of_few_bits_too(tmp_path):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 8, 3, stride=2)).eval()
    gs.sparsify(model, density=0.3)
    x = torch.randn(2, 8, 9, 9)
    sizes = []
    for values in ("int8", *FEW):
        frozen = gs.freeze(model, x, keep="csr", values=values)
        gs.save(frozen, tmp_path / "net.safetensors")
        assert torch.equal(gs.load(tmp_path / "net.safetensors")(x), frozen(x))
        assert [layer["values"] for layer in frozen.plan["layers"]] == [values, values]
        sizes.append((tmp_path / "net.safetensors").stat().st_size)
    assert sizes == sorted(sizes, reverse=True)


def test_layers_have_types_of_their_own_and_others_stay_exact():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(99, 99), nn.ReLU(), nn.Linear(99, 99), nn.ReLU(), nn.Linear(99, 9))
    frozen = gs.freeze(model, torch.randn(1, 99), keep="dense", values={"0": "int4", "4": "exact"})
    assert [layer["values"] for layer in frozen.plan["layers"]] == ["int4", "float32", "float32"]
    for wrong in ({"1": "int8"}, {"0": "int3"}):
        with pytest.raises(ConfigError, match="values"):
            gs.freeze(model, torch.randn(1, 99), values=wrong)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda t, d: t | {"0/values": t["0/values"][:-1]}, "values"),
        (lambda t, d: t | {"0/values": t["0/values"].float()}, "values that need 4 bits"),
        (lambda t, d: d["nodes"][0].update(values="int2") or t, "values that need 2 bits"),
        (lambda t, d: d["nodes"][0].update(values="int3") or t, "bfloat16"),
        (lambda t, d: d["nodes"][0].update(values="int8") or t, "values of int8"),
    ],
)
def test_hostile_files_are_refused(tmp_path, change, what):
    path = tmp_path / "net.safetensors"
    layer = gs.SparseLinear(300, 8, density=0.5)
    gs.save(gs.freeze(layer, torch.randn(1, 300), keep="csr", values="int4"), path)
    tensors, metadata = bits_of(path)
    document = json.loads(metadata["gossamer"])
    tensors = change(tensors, document)
    save_file(tensors, path, {"gossamer": json.dumps(document)})
    with pytest.raises(FormatError, match=what):
        gs.load(path)
