"""Arrays by the names of their types: bfloat16 to the bit as torch rounds it, memory shared, refusals."""

from __future__ import annotations

import pickle
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gossamer.errors import DtypeError
from gossamer.layouts import layout
from gossamer.layouts.arrays import BFLOAT16, aligned, cast, name_of, nonzero
from gossamer.layouts.connections import Connections
from gossamer.layouts.values import narrowed, widened
from gossamer.trace.tensors import array_of, tensor_of

FLOATS = ("float16", "bfloat16", "float32", "float64")
# Halves between two neighbours, to an even and to an odd one; what is too large; what is too small; what is no number.
BITS = (
    0x3F808000,
    0x3F818000,
    0x3F808001,
    0x7F7FFFFF,
    0x00000001,
    0x80000000,
    0x7F800000,
    0x7F800001,
    0xFFC00000,
)


@given(st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=40))
def test_bfloat16_is_rounded_to_the_bit_as_torch_does(drawn):
    numbers = np.array([*BITS, *drawn], np.uint32).view(np.float32)
    mine = cast(numbers, "bfloat16").view(np.uint16)
    theirs = torch.from_numpy(numbers).bfloat16().view(torch.uint16).numpy()
    nan = np.isnan(numbers)
    assert np.array_equal(mine[~nan], theirs[~nan])
    assert np.array_equal(mine[nan], theirs[nan])


@pytest.mark.parametrize("to", FLOATS)
@pytest.mark.parametrize("of", FLOATS)
@given(st.lists(st.floats(), min_size=1, max_size=30))
def test_every_cast_gives_the_bits_of_torch_and_says_nothing(of, to, drawn):
    start = torch.tensor(drawn, dtype=torch.float64).to(getattr(torch, of))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        mine = cast(array_of(start), to)
    wanted = array_of(start.to(getattr(torch, to)))
    assert name_of(mine) == to
    number = ~np.isnan(cast(wanted, "float64"))
    assert np.array_equal(number, ~np.isnan(cast(mine, "float64")))
    assert mine[number].tobytes() == wanted[number].tobytes()


def test_numpy_refuses_to_calculate_with_bits_of_bfloat16():
    """Else a sum of bits would pass for a sum of numbers."""
    bits = cast(np.ones(2, np.float32), "bfloat16")
    with pytest.raises(TypeError):
        bits + bits
    assert nonzero(cast(np.array([0.0, -0.0, 1e-40], np.float32), "bfloat16")).tolist() == [
        False,
        False,
        True,
    ]


def test_tensor_and_array_are_one_memory():
    for dtype in (torch.float32, torch.bfloat16, torch.uint16, torch.int8, torch.int64):
        tensor = torch.zeros(3, dtype=dtype)
        array = array_of(tensor)
        assert array.ctypes.data == tensor.data_ptr() == tensor_of(array).data_ptr()
        assert tensor_of(array).dtype == dtype
    assert array_of(torch.zeros(1).bfloat16()).dtype == BFLOAT16


def test_a_negative_view_is_read_as_what_it_means():
    assert array_of(torch._neg_view(torch.ones(2))).tolist() == [-1.0, -1.0]


@pytest.mark.parametrize("tensor", [torch.ones(2, 2).to_sparse(), torch.empty(2, device="meta")])
def test_tensors_without_memory_are_refused(tensor):
    with pytest.raises(DtypeError, match="strided tensor on the CPU"):
        array_of(tensor)


def test_what_kernels_read_begins_with_a_cache_line_after_a_pickle_too():
    layer = Connections((2, 3), np.array([0, 2, 4]), np.ones(3, np.float32))
    form = layout("csr").encode(layer, {})
    for each in (form, pickle.loads(pickle.dumps(form))):  # noqa: S301 (its own bytes)
        assert all(array.ctypes.data % 64 == 0 for array in (each.values, *each.index.values()))
    kept = aligned(form.values)
    assert kept is form.values
    assert aligned(form.values[::2]).tolist() == [1.0, 1.0]


def test_scales_of_any_size_are_multiplied_without_a_word():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        wide = widened(np.array([2], np.int8), np.array([0]), np.array([3e38], np.float32), "float32")
    assert wide.tolist() == [np.inf]


@given(st.lists(st.floats(-(2.0**99), 2.0**99, width=32), min_size=1, max_size=30))
def test_int8_has_the_bits_that_torch_rounds_to(drawn):
    held = torch.tensor(drawn)
    layer = narrowed(Connections((1, held.numel()), np.arange(held.numel()), held.numpy()), "int8")
    scale = held.abs().amax() / 127
    scale = torch.where(scale > 0, scale, 1.0)
    assert layer.scale.tobytes() == scale.numpy().tobytes()
    assert np.array_equal(layer.values, (held / scale).round().clamp(-127, 127).to(torch.int8).numpy())
