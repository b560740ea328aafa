"""Inputs of one sample, by loads and by gathers: the same bits, and a choice that can be forced and asked for."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gossamer.errors import ConfigError, KernelUnavailable
from gossamer.kernels import explain, gathering, gathers, pick
from gossamer.kernels.cpu import available_isas

SIMD = "avx2" in available_isas()
needs_gathers = pytest.mark.skipif(not SIMD, reason="no gathers in the sets that run here")


@needs_gathers
@given(
    lengths=st.lists(st.integers(0, 40), min_size=1, max_size=9),
    wide=st.booleans(),
    values=st.sampled_from([torch.float32, torch.float64, torch.bfloat16, torch.int8]),
    seed=st.integers(0, 99),
)
def test_both_forms_give_the_same_bits(
    lengths: list[int], wide: bool, values: torch.dtype, seed: int
) -> None:
    random = torch.Generator().manual_seed(seed)
    columns = [torch.randperm(40, generator=random)[:n].sort().values for n in lengths]
    pointer = torch.tensor([0, *lengths]).cumsum(0).to(torch.int32)
    index = (pointer, torch.cat(columns).to(torch.int32 if wide else torch.uint16))
    dtype = torch.float64 if values == torch.float64 else torch.float32
    stored = (torch.randn(sum(lengths), generator=random) * 50).to(values)
    scale = torch.rand(len(lengths), generator=random) if values == torch.int8 else None
    name = str(dtype).removeprefix("torch.")
    row = pick("linear", "csr", name if values == dtype else f"{name}-{str(values)[6:]}", "cpu")
    x = torch.randn(1, 40, generator=random, dtype=dtype)
    found = []
    for mode in ("never", "always"):
        with gathering(mode):
            found.append(row.call(x, stored, index, None, (len(lengths), 40), scale))
    assert torch.equal(*found)


@needs_gathers
def test_threads_that_ask_at_once_agree() -> None:
    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(lambda _: gathers(), range(32)))) == 1


@needs_gathers
def test_explain_says_how_inputs_of_one_sample_are_fetched() -> None:
    said = "one sample: inputs by"
    for mode, word in (("never", "loads"), ("always", "gathers")):
        with gathering(mode):
            assert f"{said} {word}, forced" in explain("linear", "csr", "float32", "cpu")
            assert gathers() == (mode == "always")
    assert "measured" in explain("linear", "fanin", "float32", "cpu")
    assert said not in explain("linear", "csr", "float32", "cpu", batch=2)
    assert said not in explain("linear", "block", "float32", "cpu")


def test_a_word_that_is_none_is_refused_and_changes_nothing() -> None:
    before = gathers()
    with pytest.raises(ConfigError), gathering("sometimes"):
        pass
    assert gathers() == before


@pytest.mark.skipif(SIMD, reason="there are gathers here")
def test_gathers_that_are_not_there_are_refused() -> None:
    with pytest.raises(KernelUnavailable), gathering("always"):
        pass
