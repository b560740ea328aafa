"""Arithmetic in int8: values worked out by hand, extremes, what is allowed, files."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import gossamer as gs
from gossamer.errors import ConfigError, FormatError, PatternError
from gossamer.kernels import pick, rows, use
from gossamer.layouts import Encoded, layout, layouts
from gossamer.layouts.connections import Connections, Trained
from gossamer.trace.tensors import tensor_of

INT8 = {"values": "int8", "compute": "int8"}
ROUNDING = sorted(name for name in layouts if layout(name).compute == "int8")
TILED = [name for name in ROUNDING if name.startswith("nm")]
WAYS = [(row.layout, row.isa) for row in rows() if row.layout in (*TILED, "tile_bytes")]
ways = pytest.mark.parametrize(("name", "isa"), WAYS)


def run(isa: str, x: torch.Tensor, encoded: Encoded) -> torch.Tensor:
    dtype = "float32" if isa == "reference" else "float32-int8"
    with use(isa):
        kernel = pick("linear", encoded.layout, dtype, "cpu").call
    values, scale = tensor_of(encoded.values), tensor_of(encoded.scale)
    index = [tensor_of(array) for array in encoded.index.values()]
    return kernel(x, values, index, None, encoded.dims, scale)


def layer(values: torch.Tensor, n_in: int, m: int, name: str) -> Encoded:
    """Neurons that read the first input of every tile."""
    n_out = values.shape[0]
    positions = (np.arange(n_out)[:, None] * n_in + np.arange(0, n_in, m)).reshape(-1)
    one, trained = np.ones(n_out, np.float32), Trained("nm", {"n": 1, "m": m}) if name in TILED else None
    flat = values.reshape(-1).numpy()
    held = Connections((n_out, n_in), positions, flat, None, trained, one, "float32")
    return layout(name).encode(held, layout(name).fit(held))


@ways
def test_worked_out_by_hand(name, isa):
    encoded = layer(torch.tensor([[2, 3], [-1, 127]], dtype=torch.int8), 8, 4, name)
    x = torch.tensor([[127.0, 9, 9, 9, 2.5, 9, 9, 9], [0.0] * 8, [63.5, 0, 0, 0, -0.75, 0, 0, 0]])
    # steps of 1: 127 and 2 (2.5 rounds to even); zeros; steps of 0.5: 127 and -2 (-1.5 rounds to even)
    assert run(isa, x, encoded).tolist() == [[260.0, 127.0], [0.0, 0.0], [124.0, -190.5]]


@ways
@pytest.mark.parametrize("weight", [-128, -127, 127])
@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_extremes_do_not_saturate(name, isa, weight, sign):
    for m in (8, 16):
        encoded = layer(torch.full((18, 101), weight, dtype=torch.int8), 101 * m, m, name)
        assert run(isa, torch.full((5, 101 * m), 127 * sign), encoded).unique().tolist() == [
            101 * 127 * sign * weight
        ]


@pytest.mark.parametrize("bad", [float("inf"), float("-inf"), float("nan")])
@ways
def test_a_sample_that_is_not_finite_gives_nan(name, isa, bad):
    encoded = layer(torch.ones(17, 5, dtype=torch.int8), 40, 8, name)
    x = torch.ones(6, 40)
    x[2, 39] = bad
    y = run(isa, x, encoded)
    assert y[2].isnan().all()
    assert (y[[0, 1, 3, 4, 5]] == 5).all()


def test_instruction_sets_and_layouts_agree_to_the_bit():
    values = torch.randint(-127, 128, (33, 37), dtype=torch.int8)
    for batch in (1, 3, 4, 9):
        x = torch.randn(batch, 37 * 8) * 1e3
        first, *others = (run(isa, x, layer(values, 37 * 8, 8, name)) for name, isa in WAYS)
        assert all(torch.equal(first, other) for other in others)


@pytest.mark.parametrize("name", [*TILED, "tile_bytes"])
@pytest.mark.parametrize("pattern", ["nm:1:4", "nm:1:8", "nm:2:4"])
def test_frozen_close_to_the_model_and_the_same_from_a_file(mlp, tmp_path, pattern, name):
    model = mlp(pattern if name in TILED else "unstructured")
    frozen = gs.freeze(model, torch.randn(4, 32), keep=name, **INT8)
    assert "arithmetic in int8" in frozen.explain()
    gs.save(frozen, tmp_path / "net.safetensors")
    loaded = gs.load(tmp_path / "net.safetensors")
    for batch in (1, 2, 7):
        x = torch.randn(batch, 32)
        exact = model(x)
        assert (frozen(x) - exact).abs().max() <= 0.05 * exact.abs().max()
        assert torch.equal(loaded(x), frozen(x))
    assert loaded.plan == frozen.plan


@pytest.mark.parametrize("name", ROUNDING)
def test_it_runs_only_where_it_is_allowed(mlp, name):
    model, x = mlp("nm:1:4"), torch.randn(1, 32)
    with pytest.raises(PatternError, match="compute='float32' does not allow"):
        gs.freeze(model, x, keep=name, values="int8")
    with pytest.raises(ConfigError, match="int8 with values='int8'"):
        gs.freeze(model, x, compute="int8")
    with pytest.raises(ConfigError, match="int4"):
        gs.freeze(model, x, values="int8", compute="int4")
    assert all(row["chosen"] not in ROUNDING for row in gs.freeze(model, x, values="int8").plan["layers"])


@pytest.mark.parametrize(
    ("spot", "value"),
    [((0, 0, 0, 0, 0), 4), ((0, 0, 0, 0, 1), 3), ((0, 0, 0, 0, 1), 8), ((0, 0, 0, 9, 0), 1)],
)
def test_offsets_outside_their_tile_or_in_the_padding_are_refused(spot, value):
    encoded = layer(torch.ones(9, 2, dtype=torch.int8), 8, 4, "nm_bytes")
    encoded.index["offset"][spot] = value
    with pytest.raises(Exception, match=r"layout|below|tile|offset"):
        layout("nm_bytes").check(encoded)


@pytest.mark.parametrize(
    ("spot", "value"), [((0, 0, 0, 0), 4), ((0, 0, 0, 1), 16), ((0, 0, 0, 2), 1), ((0, 0, 9, 0), 1)]
)
def test_nibbles_outside_their_tile_or_in_the_padding_are_refused(spot, value):
    """Two tiles and one step: other bytes and upper halves are padding, and so is the tenth neuron."""
    encoded = layer(torch.ones(9, 2, dtype=torch.int8), 8, 4, "nm_nibble_bytes")
    encoded.index["offset"][spot] = value
    with pytest.raises(Exception, match=r"layout|below|tile|offset"):
        layout("nm_nibble_bytes").check(encoded)


@pytest.mark.parametrize("name", TILED)
def test_padding_that_weighs_something_is_refused(name):
    encoded = layer(torch.ones(9, 3, dtype=torch.int8), 12, 4, name)
    encoded.values[-1] = 1
    with pytest.raises(FormatError, match="padding of zeros"):
        layout(name).check(encoded)
