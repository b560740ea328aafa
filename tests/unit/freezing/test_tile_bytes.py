"""Layouts of int8 tiles: the bits of a plain loop in every form, widths of tiles, bounds, and what a file holds."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

import gossamer as gs
from gossamer.kernels.cpu import available_isas
from gossamer.kernels.cpu.chain import Chain
from gossamer.layouts import layout
from gossamer.layouts.connections import Connections
from gossamer.layouts.nm_bytes import MOST

BATCHES = (
    1,
    2,
    4,
    5,
    8,
    9,
    16,
    17,
    33,
    64,
    70,
)  # each way to multiply, one tile to four, and more than a chunk


def shared(n_out: int, n_in: int, group: int, k: int) -> Connections:
    """Groups of neurons with k inputs each, all but the second of them."""
    random, weight = np.random.default_rng(n_in), np.zeros((n_out, n_in), np.int8)
    for first in range(0, n_out, group):
        read = random.choice(n_in, k, replace=False)
        values = random.integers(-128, 128, (group, k))
        weight[first : first + group, read] = 0 if first == group else np.where(values == 0, 1, values)
    return held(weight)


def held(weight: np.ndarray) -> Connections:
    flat, scale = (
        weight.reshape(-1),
        np.random.default_rng(0).random(weight.shape[0]).astype(np.float32) + 0.5,
    )
    positions = np.flatnonzero(flat)
    return Connections(weight.shape, positions, flat[positions], scale=scale, reads="float32")


def plain(layer: Connections, bias: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Rounded inputs, exact sums, then each rounding of float32 in its turn."""
    weight = np.zeros(layer.shape, np.int64)
    weight.reshape(-1)[layer.positions] = layer.values
    most = np.abs(x).max(1, keepdims=True)
    sums = np.rint(x * (np.float32(127) / most)).astype(np.int64) @ weight.T
    return sums.astype(np.float32) * (most / np.float32(127)) * layer.scale + bias


@pytest.mark.parametrize("isa", available_isas())
@pytest.mark.parametrize(
    ("name", "parameters", "layer"),
    [
        ("tile_bytes", {"w": 64}, (48, 200, 16, 9)),
        ("tile_bytes", {"w": 32}, (48, 200, 16, 9)),
        ("shared_tile_bytes", {"group": 16}, (48, 200, 16, 70)),
        ("shared_tile_bytes", {"group": 32}, (96, 65, 32, 65)),
    ],
)
def test_every_form_gives_the_bits_of_a_plain_loop(name, parameters, layer, isa):
    layer = shared(*layer)
    encoded = layout(name).encode(layer, parameters)
    bias = np.random.default_rng(1).standard_normal(layer.shape[0]).astype(np.float32)
    index = list(encoded.index.values())
    arrays = {"values": encoded.values, "index": index, "scale": layer.scale, "bias": bias}
    product = Chain([{"layout": name, "shape": encoded.dims, **arrays}], isa=isa)
    for batch in BATCHES:
        x = torch.randn(batch, layer.shape[1]) * 1e3
        wanted = torch.from_numpy(plain(layer, bias, x.numpy()))
        for laid in (x, x.t().contiguous().t()):
            assert torch.equal(product(laid), wanted), batch
        x[batch // 2, -1] = float("nan")
        y = product(x)
        assert y[batch // 2].isnan().all()
        assert y.isnan().sum() == layer.shape[0]


def test_blocks_of_thirty_two_get_tiles_of_their_own():
    for width in (32, 64):
        weight = np.zeros((32, 640), np.int8)
        for first in (0, 192, 320):
            weight[:16, first : first + width] = 1
        assert layout("tile_bytes").fit(held(weight)) == {"w": width}


def test_neurons_whose_sums_may_not_fit_are_refused():
    layer = Connections((16, MOST + 1), np.arange(16) * (MOST + 1), np.ones(16, np.int8))
    for name in ("tile_bytes", "shared_tile_bytes"):
        assert layout(name).fit(layer) == f"{MOST + 1} inputs, more than {MOST}"
        assert "float32 values" in layout(name).fit(
            Connections((16, 4), np.arange(4), np.ones(4, np.float32))
        )


@pytest.mark.parametrize(
    ("name", "pattern"), [("tile_bytes", "block:16:32"), ("shared_tile_bytes", "fanin:16")]
)
def test_a_file_holds_the_connections_and_not_the_tiles(mlp, tmp_path, name, pattern):
    from safetensors import safe_open

    model, x = mlp(pattern, 0.3, (128, 64, 32)), torch.randn(20, 128)
    frozen = gs.freeze(model, x, keep=name, values="int8", compute="int8")
    assert (frozen(x) - model(x)).abs().max() <= 0.05 * model(x).abs().max()
    assert {row["compute"] for row in frozen.plan["layers"]} == {"int8"}
    gs.save(frozen, tmp_path / "net.safetensors")
    loaded = gs.load(tmp_path / "net.safetensors")
    assert torch.equal(loaded(x), frozen(x))
    assert loaded.explain() == frozen.explain()
    with safe_open(tmp_path / "net.safetensors", framework="np") as file:
        nodes = json.loads(str(file.metadata()["gossamer"]))["nodes"]
    assert all(layout(node["layout"]).exact for node in nodes if node["op"] == "linear")
