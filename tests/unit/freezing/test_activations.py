"""Arithmetic in int8: values worked out by hand, extremes, what is allowed, files."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import gossamer as gs
from gossamer.errors import ConfigError, FormatError, PatternError
from gossamer.kernels import pick, rows, use
from gossamer.layouts import Encoded, layout
from gossamer.layouts.connections import Connections, Trained
from gossamer.trace.tensors import tensor_of

INT8 = {"values": "int8", "compute": "int8"}
ISAS = [row.isa for row in rows() if row.layout == "nm_bytes"]


def run(isa: str, x: torch.Tensor, encoded: Encoded) -> torch.Tensor:
    dtype = "float32" if isa == "reference" else "float32-int8"
    with use(isa):
        kernel = pick("linear", "nm_bytes", dtype, "cpu").call
    values, scale = tensor_of(encoded.values), tensor_of(encoded.scale)
    index = [tensor_of(array) for array in encoded.index.values()]
    return kernel(x, values, index, None, encoded.dims, scale)


def layer(values: torch.Tensor, n_in: int, m: int) -> Encoded:
    """Neurons that read the first input of every tile."""
    n_out = values.shape[0]
    positions = (np.arange(n_out)[:, None] * n_in + np.arange(0, n_in, m)).reshape(-1)
    one, trained = np.ones(n_out, np.float32), Trained("nm", {"n": 1, "m": m})
    flat = values.reshape(-1).numpy()
    held = Connections((n_out, n_in), positions, flat, None, trained, one, "float32")
    return layout("nm_bytes").encode(held, layout("nm_bytes").fit(held))


@pytest.mark.parametrize("isa", ISAS)
def test_worked_out_by_hand(isa):
    encoded = layer(torch.tensor([[2, 3], [-1, 127]], dtype=torch.int8), 8, 4)
    x = torch.tensor([[127.0, 9, 9, 9, 2.5, 9, 9, 9], [0.0] * 8, [63.5, 0, 0, 0, -0.75, 0, 0, 0]])
    # steps of 1: 127 and 2 (2.5 rounds to even); zeros; steps of 0.5: 127 and -2 (-1.5 rounds to even)
    assert run(isa, x, encoded).tolist() == [[260.0, 127.0], [0.0, 0.0], [124.0, -190.5]]


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("weight", [-128, -127, 127])
@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_extremes_do_not_saturate(isa, weight, sign):
    for m in (8, 16):
        encoded = layer(torch.full((18, 101), weight, dtype=torch.int8), 101 * m, m)
        assert run(isa, torch.full((5, 101 * m), 127 * sign), encoded).unique().tolist() == [
            101 * 127 * sign * weight
        ]


@pytest.mark.parametrize("bad", [float("inf"), float("-inf"), float("nan")])
@pytest.mark.parametrize("isa", ISAS)
def test_a_sample_that_is_not_finite_gives_nan(isa, bad):
    encoded = layer(torch.ones(17, 5, dtype=torch.int8), 40, 8)
    x = torch.ones(6, 40)
    x[2, 39] = bad
    y = run(isa, x, encoded)
    assert y[2].isnan().all()
    assert (y[[0, 1, 3, 4, 5]] == 5).all()


def test_instruction_sets_agree_to_the_bit():
    encoded = layer(torch.randint(-127, 128, (33, 37), dtype=torch.int8), 37 * 8, 8)
    for batch in (1, 3, 4, 9):
        x = torch.randn(batch, 37 * 8) * 1e3
        first, *others = (run(isa, x, encoded) for isa in ISAS)
        assert all(torch.equal(first, other) for other in others)


@pytest.mark.parametrize("pattern", ["nm:1:4", "nm:1:8", "nm:2:4"])
def test_frozen_close_to_the_model_and_the_same_from_a_file(mlp, tmp_path, pattern):
    model = mlp(pattern)
    frozen = gs.freeze(model, torch.randn(4, 32), keep="nm_bytes", **INT8)
    assert "arithmetic in int8" in frozen.explain()
    gs.save(frozen, tmp_path / "net.safetensors")
    loaded = gs.load(tmp_path / "net.safetensors")
    for batch in (1, 2, 7):
        x = torch.randn(batch, 32)
        exact = model(x)
        assert (frozen(x) - exact).abs().max() <= 0.05 * exact.abs().max()
        assert torch.equal(loaded(x), frozen(x))
    assert loaded.plan == frozen.plan


def test_it_runs_only_where_it_is_allowed(mlp):
    model, x = mlp("nm:1:4"), torch.randn(1, 32)
    with pytest.raises(PatternError, match="compute='float32' does not allow"):
        gs.freeze(model, x, keep="nm_bytes", values="int8")
    with pytest.raises(ConfigError, match="int8 with values='int8'"):
        gs.freeze(model, x, compute="int8")
    with pytest.raises(ConfigError, match="int4"):
        gs.freeze(model, x, values="int8", compute="int4")
    assert all(row["chosen"] != "nm_bytes" for row in gs.freeze(model, x, values="int8").plan["layers"])


@pytest.mark.parametrize(
    ("spot", "value"),
    [((0, 0, 0, 0, 0), 4), ((0, 0, 0, 0, 1), 3), ((0, 0, 0, 0, 1), 8), ((0, 0, 0, 9, 0), 1)],
)
def test_offsets_outside_their_tile_or_in_the_padding_are_refused(spot, value):
    encoded = layer(torch.ones(9, 2, dtype=torch.int8), 8, 4)
    encoded.index["offset"][spot] = value
    with pytest.raises(Exception, match=r"layout|below|tile|offset"):
        layout("nm_bytes").check(encoded)


def test_padding_that_weighs_something_is_refused():
    encoded = layer(torch.ones(9, 3, dtype=torch.int8), 12, 4)
    encoded.values.reshape(1, 2, 1, 16, 2)[0, 1, 0, 0, 1] = 1
    with pytest.raises(FormatError, match="padding of zeros"):
        layout("nm_bytes").check(encoded)
