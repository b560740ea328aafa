"""Which kernel runs: forced, missing, explained; and what importing the bindings brings along."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings

import pytest
import torch

from gossamer import ops
from gossamer.errors import KernelUnavailable, SparseEfficiencyWarning
from gossamer.kernels import dispatch, explain, pick, table, use
from gossamer.kernels.cpu import available_isas, library

POINTER, COLUMN = torch.tensor([0, 1], dtype=torch.int32), torch.tensor([1]).to(torch.uint16)


def _run(code: str, **env: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, env={**os.environ, **env}
    )
    return done.stdout + done.stderr


@pytest.fixture
def no_core(monkeypatch: pytest.MonkeyPatch):
    """As if nothing had been compiled."""
    monkeypatch.setattr(library, "find", lambda: None)
    monkeypatch.setattr(library, "why_missing", lambda: "no compiled core at nowhere")
    table.rows.cache_clear()
    dispatch._choose.cache_clear()
    yield
    monkeypatch.undo()
    table.rows.cache_clear()
    dispatch._choose.cache_clear()


def test_the_best_set_runs_unless_one_is_forced() -> None:
    best = available_isas()[-1]
    assert pick("linear", "csr", torch.float32, "cpu").isa == best
    for isa in (*available_isas(), "reference"):
        with use(isa):
            assert pick("linear", "csr", torch.float32, "cpu").isa == isa
            with use(None):
                assert pick("linear", "csr", torch.float32, "cpu").isa == best


def test_a_forced_set_that_is_missing_raises() -> None:
    missing = [isa for isa in library.ISAS if isa not in available_isas()]
    assert missing, "no processor has both AVX-512 and NEON"
    for isa in missing:
        with pytest.raises(KernelUnavailable, match=isa), use(isa):
            pass
    with pytest.raises(KernelUnavailable, match="no such name"), use("fast"):
        pass


def test_a_forced_set_never_falls_back() -> None:
    """The compiled core has no bfloat16 kernel: forcing it must not run the reference instead."""
    assert pick("linear", "csr", torch.bfloat16, "cpu").isa == "reference"
    with (
        use("scalar" if "scalar" in available_isas() else "neon"),
        pytest.raises(KernelUnavailable, match="bfloat16"),
    ):
        pick("linear", "csr", torch.bfloat16, "cpu")


def test_the_environment_forces_a_set_for_the_whole_process() -> None:
    code = "from gossamer.kernels import pick; print(pick('linear', 'csr', 'float32', 'cpu').isa)"
    assert _run(code, GOSSAMER_ISA="reference").strip() == "reference"
    slowest = available_isas()[0]
    assert _run(code, GOSSAMER_ISA=slowest).strip() == slowest
    assert "KernelUnavailable" in _run(code, GOSSAMER_ISA="fast")


def test_explain_names_the_chosen_row_and_why_not_the_others() -> None:
    lines = explain("linear", "csr", torch.float32, "cpu").splitlines()
    chosen = [line for line in lines if line.endswith(": chosen")]
    assert chosen == [f"{pick('linear', 'csr', torch.float32, 'cpu').name}: chosen"]
    assert any("takes float64 on cpu, not float32" in line for line in lines)
    with use("reference"):
        assert "reference is forced" in explain("linear", "csr", torch.float32, "cpu")
        assert "linear:csr:any:reference: chosen" in explain("linear", "csr", torch.float32, "cpu")


def test_bindings_import_without_torch() -> None:
    code = "import sys, gossamer.kernels, gossamer.kernels.cpu; print('torch' in sys.modules)"
    assert _run(code).strip() == "False"


def test_a_chain_runs_without_torch() -> None:
    code = (
        "import sys, numpy as np; from gossamer.kernels.cpu import Chain\n"
        "c = Chain([{'layout': 'dense', 'shape': [1, 2], 'values': np.ones(2, np.float32), 'index': []}])\n"
        "print(c(np.ones((3, 2), np.float32)).tolist(), 'torch' in sys.modules)"
    )
    assert _run(code).strip() == "[[2.0], [2.0], [2.0]] False"


def test_without_a_compiled_core_the_reference_runs_with_a_warning(no_core: None) -> None:
    with pytest.warns(SparseEfficiencyWarning, match="pip install"):
        y = ops.linear(
            torch.tensor([[1.0, 2.0]]), torch.tensor([3.0]), [POINTER, COLUMN], None, "csr", [1, 2]
        )
    assert y.tolist() == [[6.0]]
    assert "no compiled core at nowhere" in explain("linear", "csr", torch.float32, "cpu")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with use("reference"):  # asked for: no warning
            pick("linear", "nm", torch.float32, "cpu")
        with pytest.raises(KernelUnavailable, match="no compiled core"), use("avx2"):
            pass
