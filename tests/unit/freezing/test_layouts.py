"""Every layout holds a layer exactly, and says so when it cannot."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gossamer.errors import ConfigError, FormatError, GossamerError
from gossamer.kernels.reference import coordinates
from gossamer.layouts import Encoded, layout, layouts
from gossamer.layouts.connections import Connections
from gossamer.layouts.grid import Grid, group
from gossamer.layouts.values import narrowed, rounded
from gossamer.patterns import NM, parse
from gossamer.trace.read import trained


def drawn(pattern: str, shape: tuple[int, int], density: float = 0.5) -> Connections:
    """A layer of single connections under a pattern."""
    kind = parse(pattern)
    if isinstance(kind, NM):
        density = kind.n / kind.m
    grid = kind.grid(shape)
    units = kind.sample(kind.budget(density, shape), grid)
    dense = kind.unpack(torch.randn(units.numel() * grid.members), units, grid)
    positions = (
        kind.unpack(torch.ones(units.numel() * grid.members), units, grid).reshape(-1).nonzero().squeeze(1)
    )
    values = dense.reshape(-1)[positions]
    return Connections(shape, positions.numpy(), values.numpy(), trained=trained(kind))


@pytest.mark.parametrize("shape", [(8, 8), (1, 8), (17, 16), (24, 40), (32, 24)])
@pytest.mark.parametrize(
    "pattern", ["unstructured", "fanin", "fanin:4", "fanin:16", "nm:1:4", "nm:3:8", "block:1:4", "block:4"]
)
@pytest.mark.parametrize("name", sorted(layouts))
def test_pack_then_check_gives_the_layer_back(name, pattern, shape):
    if shape[0] % parse(pattern).unit[0]:
        pytest.skip("groups or blocks do not divide it")
    layer = drawn(pattern, shape)
    kind = layout(name)
    fits = kind.fit(layer)
    if isinstance(fits, str):
        assert fits
        return
    encoded = kind.encode(layer, fits)
    held = layer if kind.exact else rounded(layer, kind.compute).wide()
    assert np.array_equal(kind.check(encoded).wide().dense(), held.dense())
    assert encoded.bytes == sum(array.nbytes for array in (encoded.values, *encoded.index.values()))
    assert encoded.dims == [*shape, *fits.values()]
    for array in (encoded.values, *encoded.index.values()):
        assert array.flags.c_contiguous
        assert array.ctypes.data % 64 == 0


@given(st.data())
def test_fan_in_filled_up_with_zeros(data):
    rows, cols = data.draw(st.integers(1, 6)) * 4, data.draw(st.integers(2, 12))
    layer = drawn("fanin", (rows, cols), 1.0 if cols < 3 else 0.6)
    gone = data.draw(st.sets(st.integers(0, cols - 1), max_size=max(1, cols // 4)))
    smaller = layer.without(inputs=np.array(sorted(gone), np.int64))
    if smaller.shape[1] == 0 or not isinstance(fits := layout("fanin").fit(smaller), dict):
        return
    encoded = layout("fanin").encode(smaller, fits)
    back = layout("fanin").check(encoded)
    assert np.array_equal(back.dense(), smaller.dense())
    assert back.positions.size <= 1.25 * smaller.positions.size


def test_uneven_fan_ins_do_not_fit():
    layer = Connections((2, 8), np.array([0, 8, 9, 10, 11, 12]), np.ones(6))
    assert layout("fanin").fit(layer) == "fan-ins from 1 to 5 would need 4 zeros"


def test_largest_group_is_found():
    positions = np.array([r * 8 + c for r in range(8) for c in ((1, 4) if r < 4 else (0, 7))])
    layer = Connections((8, 8), positions, np.arange(1.0, 17.0))
    assert layout("fanin").fit(layer) == {"group": 4}
    assert group(layer, Grid(1, 8, 8, 1)) is None


def test_whole_blocks_are_found():
    layer = drawn("block:8", (32, 48), 0.3)
    plain = Connections(layer.shape, layer.positions, layer.values)
    assert layout("block").fit(plain) == {"h": 8, "w": 8}
    broken = plain.only(np.arange(plain.positions.size) > 0)
    assert layout("block").fit(broken) == (
        "connections do not come in whole blocks of 32 x 32 or 16 x 16 or 8 x 8 or 4 x 4"
    )


def test_no_connection_at_all():
    layer = Connections((3, 4), np.empty(0, np.int64), np.empty(0, np.float32))
    assert {name: isinstance(layout(name).fit(layer), dict) for name in layouts} == {
        "bitmask": True, "bitmask_bytes": False, "window_bytes": False,
        "block": False, "csr": True, "csr_bands": True, "csr_halves": True, "dense": True,
        "fanin": False, "fanin_bytes": False, "nm": False, "nm_bytes": False,
        "nm_lanes": False, "nm_nibble_bytes": False, "nm_nibbles": False,
        "shared_tile_bytes": False, "shared_tiles": False, "slice": False, "tile_bytes": False, "tiles": True
    }  # fmt: skip
    assert layout("csr").check(layout("csr").encode(layer, {})).positions.size == 0


def test_lanes_put_eight_neurons_side_by_side():
    layer = drawn("nm:1:4", (9, 8))
    plain, lanes = (layout(name).encode(layer, {"n": 1, "m": 4}) for name in ("nm", "nm_lanes"))
    assert lanes.index["offset"].shape == (2, 2, 1, 8)
    for row in range(9):
        assert np.array_equal(lanes.index["offset"][row // 8, :, :, row % 8], plain.index["offset"][row])
    assert not lanes.values.reshape(2, 2, 1, 8)[1, ..., 1:].any()


@pytest.mark.parametrize(
    ("array", "spot", "value"),
    [("mask", (0, 1), 1 << 6), ("mask", (1, 0), 0), ("row_ptr", 1, 5), ("row_ptr", 0, 1)],
)
def test_bits_past_the_inputs_or_uncounted_ones_are_refused(array, spot, value):
    layer = Connections((2, 10), np.array([0, 9, 13]), np.ones(3, np.float32))
    encoded = layout("bitmask").encode(layer, {"n": 3})
    encoded.index[array][spot] = value
    with pytest.raises(GossamerError, match="3 bits within 10 inputs"):
        layout("bitmask").check(encoded)
    with pytest.raises(GossamerError):
        layout("bitmask").check(replace(encoded, parameters={"n": 4}))


@pytest.mark.parametrize(
    ("spot", "value"), [((0, 0, 0), 9), ((0, 0, 1), 255), ((0, 0, 1), 10), ((0, 1, 1), 63), ((0, 9, 0), 1)]
)
def test_places_that_are_not_where_they_belong_are_refused(spot, value):
    """Two neurons of ten inputs: 0 and 9 of the first, 3 of the second."""
    layer = narrowed(Connections((2, 10), np.array([0, 9, 13]), np.ones(3, np.float32)), "int8")
    encoded = layout("window_bytes").encode(layer, {})
    assert encoded.index["place"][0, :2].tolist() == [[0, 9, 255, 255], [3, 255, 255, 255]]
    encoded.index["place"][spot] = value
    with pytest.raises(GossamerError, match="ascending places within 10 inputs"):
        layout("window_bytes").check(encoded)


@pytest.mark.parametrize("name", ["tiles", "shared_tiles", "tile_bytes", "shared_tile_bytes"])
def test_numbers_beside_the_matrix_are_refused(name):
    """They would be multiplied: by zeros, or by inputs of nobody."""
    layer = drawn("fanin:16", (16, 40), 0.2)
    kind = layout(name)
    layer = narrowed(layer, "int8") if kind.compute == "int8" else layer
    encoded = kind.encode(layer, kind.runs(layer))
    values = encoded.values.copy()
    values.view(np.int8 if kind.compute == "int8" else np.uint16)[-1] = 1
    with pytest.raises(FormatError, match=f"layout {name}: expected zeros"):
        kind.check(replace(encoded, values=values))


@pytest.mark.parametrize("name", ["tiles", "shared_tiles"])
def test_coordinates_are_those_of_the_connections(name):
    layer = drawn("fanin:16", (48, 40), 0.2)
    kind = layout(name)
    encoded = kind.encode(layer, kind.runs(layer))
    row, col = coordinates([torch.from_numpy(a) for a in encoded.index.values()], name, encoded.dims)
    inside = (row < 48) & (col < 40)
    dense = np.zeros(layer.shape, np.float32)
    values = layout("dense").encode(rounded(layer, "bfloat16").wide(), {}).values.reshape(layer.shape)
    stored = replace(encoded, reads=None).values.view(np.uint16).astype(np.uint32) << 16
    dense[row[inside], col[inside]] = stored.view(np.float32)[inside.numpy()]
    assert np.array_equal(dense, values)
    assert not stored[~inside.numpy()].any()


def test_nibbles_hold_eight_places_of_a_neuron_in_four_bytes():
    layer = drawn("nm:2:16", (17, 80))
    plain, nibbles = (layout(name).encode(layer, {"n": 2, "m": 16}) for name in ("nm", "nm_nibbles"))
    assert nibbles.index["offset"].shape == (2, 2, 16, 4)
    for row in range(17):
        words = nibbles.index["offset"][row // 16, :, row % 16].reshape(-1)
        places = np.stack((words & 15, words >> 4), -1).reshape(-1)
        assert np.array_equal(places[:10], plain.index["offset"][row].reshape(-1))
        assert not places[10:].any()


@pytest.mark.parametrize("name", sorted(layouts))
def test_values_of_another_number_are_refused(name):
    patterns = {"block": "block:4", "bitmask": "fanin", "bitmask_bytes": "fanin", "window_bytes": "fanin"}
    pattern = patterns.get(name, "fanin:16" if name.startswith("shared") else "nm:1:4")
    layer = drawn(pattern, (16, 8))
    if name == "slice":
        layer = layer.without(inputs=np.array([0]))
        layer = Connections((16, 8), layer.positions, layer.values)
    layer = narrowed(layer, "int8") if layout(name).compute == "int8" else layer
    kind = layout(name)
    encoded = kind.encode(layer, kind.fit(layer))
    short = Encoded(name, encoded.shape, encoded.parameters, encoded.values[:-1], encoded.index)
    with pytest.raises(FormatError, match="values"):
        kind.check(short)
    missing = Encoded(name, encoded.shape, encoded.parameters, encoded.values, {"what": encoded.values})
    with pytest.raises(GossamerError):
        kind.check(missing)


def test_unknown_layout():
    with pytest.raises(ConfigError, match="csr"):
        layout("coo")
