"""Which kernel runs: forced, missing, explained; and what importing the bindings brings along."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from types import ModuleType

import pytest
import torch
from torch import Tensor

from gossamer import ops
from gossamer.errors import KernelUnavailable, SparseEfficiencyWarning
from gossamer.kernels import KernelSpec, dispatch, explain, instruction_set, pick, table, use
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
    with use(None):  # whatever the environment forces
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


@pytest.mark.parametrize("isa", available_isas()[:-1])
def test_a_forced_set_never_falls_back(isa: str) -> None:
    """The compiled core has no bfloat16 kernel: forcing a set must not run the reference instead."""
    assert pick("linear", "csr", torch.bfloat16, "cpu").isa == "reference"
    with use(isa), pytest.raises(KernelUnavailable, match="bfloat16"):
        pick("linear", "csr", torch.bfloat16, "cpu")


def _everything(name: str | None) -> str:
    """What runs, why, and with which bits, in a process of its own where `name` is forced."""
    env = {"GOSSAMER_ISA": name or "", "GOSSAMER_DENSIFIED": "", "OMP_NUM_THREADS": "1"}
    return _run(EVERYTHING, **env)


EVERYTHING = """
from zlib import crc32
import torch
import gossamer as gs
from gossamer import kernels, ops
from gossamer.kernels import table

SHAPES = {"fanin": [512, 512, 4], "nm": [512, 512, 2, 4], "block": [512, 512, 4, 4], "csr": [512, 512]}
for op in table.OPS:
    for layout in table.LAYOUTS:
        for dtype in ("float32", "float64", "bfloat16", "float32-bfloat16", "float32-int8"):
            try:
                print(kernels.pick(op, layout, dtype, "cpu").name)
            except gs.GossamerError as error:
                print(error)
            print(kernels.explain(op, layout, dtype, "cpu"))
        for batch in (1, 4, 8, 9, 16, 17, 256):
            if layout in table.TRAINED:
                sizes = {"shape": SHAPES[layout], "density": 0.5, "batch": batch}
                print(kernels.explain(op, layout, "float32", "cpu", **sizes, training=True))
print(kernels.instruction_set())

def bits(tensor):
    return crc32(tensor.detach().double().numpy().tobytes())

torch.manual_seed(0)
for pattern, density in (("fanin", 0.1), ("unstructured", 0.9), ("nm:2:4", 0.5), ("block:4", 0.2)):
    for dtype in (torch.float32, torch.bfloat16):
        layer = gs.SparseLinear(256, 512, pattern=pattern, density=density).to(dtype)
        for batch in (1, 8, 16, 64):
            x = torch.randn(batch, 256, dtype=dtype, requires_grad=True)
            y = layer(x)
            y.square().sum().backward()
            print(pattern, dtype, batch, bits(y), bits(x.grad), bits(layer.values.grad), bool(layer.densified))
            print(layer.explain(batch, training=True))
print(bits(ops.leaky_dropout(torch.randn(5, 64), 0.1, 0.5)))
one, two = (gs.SparseLinear(64, 64, density=0.1, generator=torch.Generator().manual_seed(n)) for n in (1, 2))
frozen = gs.freeze(torch.nn.Sequential(one, torch.nn.ReLU(), two), torch.ones(4, 64), keep="csr")
print(frozen.explain(), bits(frozen(torch.randn(4, 64))))
"""


@pytest.mark.skipif(not available_isas(), reason="no compiled core: there is no set to choose")
def test_forcing_the_set_that_runs_anyway_changes_nothing() -> None:
    """Rows, explanations, dense weights, the reference where the core has no kernel, bits and plans."""
    free, forced = _everything(None), _everything(available_isas()[-1])
    assert "Traceback" not in free, free[-2000:]
    for part in (":reference: chosen", "dense weight: chosen", "True\n"):  # each of them was there to compare
        assert part in free
    assert forced == free
    with use(available_isas()[-1]):
        assert pick("linear", "csr", torch.bfloat16, "cpu").isa == "reference"


def test_a_set_that_is_not_the_best_keeps_products_off_the_dense_weight() -> None:
    arguments = ("linear", "csr", "float32", "cpu")
    for isa in (*available_isas()[:-1], "reference"):
        with use(isa):
            first = explain(*arguments, shape=[512, 512], density=0.9, batch=256).splitlines()[0]
        assert first == f"dense weight: {isa} is forced"


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """A backend with one kernel, preferred to all others; the products it ran."""
    ran: list[str] = []

    def bind(spec: KernelSpec) -> Callable[..., Tensor]:
        def call(x: Tensor, values: Tensor, index: Sequence[Tensor], *_: object) -> Tensor:
            ran.append(spec.name)
            return torch.full((x.shape[0], 1), 7.0)

        return call

    toy = ModuleType("toy_backend")
    toy.bind = bind  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, toy.__name__, toy)
    row = KernelSpec("linear", "csr", "float32", "cpu", "toy", toy.__name__)
    monkeypatch.setattr(table, "BACKENDS", (lambda: (row,), *table.BACKENDS))
    table.rows.cache_clear()
    dispatch._choose.cache_clear()
    with use(None):  # whatever the environment forces
        yield ran
    monkeypatch.undo()
    table.rows.cache_clear()
    dispatch._choose.cache_clear()


def test_a_backend_is_forced_by_the_name_in_its_rows(backend: list[str]) -> None:
    operands = torch.tensor([[1.0, 2.0]]), torch.tensor([3.0]), [POINTER, COLUMN], None, "csr", [1, 2]
    assert ops.linear(*operands).tolist() == [[7.0]]  # it comes first
    assert pick("linear", "nm", "float32", "cpu").isa != "toy"  # what it lacks falls through
    with use("toy"):
        assert ops.linear(*operands).tolist() == [[7.0]]
        for missing in (
            ("linear", "nm", "float32"),
            ("linear", "csr", "float64"),
            ("linear_grad_input", "csr", "float32"),
        ):
            with pytest.raises(KernelUnavailable, match=r"forced to toy") as caught:
                pick(*missing, "cpu")
            assert f"layout {missing[1]!r}, {missing[2]}" in str(caught.value)
        assert "toy is forced" in explain("linear", "csr", "float32", "cpu", shape=[64, 64]).splitlines()[0]
        assert instruction_set() != "toy"  # dropout and growth have no rows
        ops.leaky_dropout(torch.ones(3), 0.1, 0.5)
    assert backend == ["linear:csr:float32:toy"] * 2
    for isa in (*available_isas(), "reference"):  # the best set is not taken anyway, with a backend before it
        with use(isa):
            assert ops.linear(*operands).tolist() == [[6.0]]
            assert f"linear:csr:float32:toy: {isa} is forced" in explain("linear", "csr", "float32", "cpu")
    with pytest.raises(KernelUnavailable, match="toy") as caught, use("toys"):
        pass
    assert "expected one of toy" in str(caught.value)


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
