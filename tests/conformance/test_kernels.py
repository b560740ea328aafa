"""Every row of the kernel table on every layer that bites: values, tails, memory orders; the table itself."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from gossamer.kernels import KernelSpec, pick, rows, transposing, use
from gossamer.kernels.cpu import available_isas, check_index, library
from gossamer.kernels.reference import coordinates
from gossamer.kernels.table import LAYOUTS, OPS, TRAINED
from gossamer.layouts import layout, layouts
from kernel_cases import Case, cases, memory_orders, within_budget

CASES = cases()
NARROW = ("float32-bfloat16", "float32-int8")  # float32 inputs, narrow values
ROUNDING = {name for name in layouts if layout(name).compute == "int8"}  # they read inputs in steps
HALVES = {"tiles", "shared_tiles"}  # layouts that round inputs to bfloat16, and hold no other values
ONE_ORDER, FUSED = {"bitmask", "nm_nibbles"}, {"avx2", "avx512"}
FLOAT16 = {"csr_halves"}  # layouts that compute in float16
ROWS = [row for row in rows() if row.op in OPS]
PAIRS = [
    pytest.param(row, case, id=f"{row.name}-{case.name}")
    for row in ROWS
    for case in CASES
    if row.layout == case.layout
]


Types = tuple[torch.dtype, torch.dtype]  # of inputs, of values


def _types(row: KernelSpec) -> list[Types]:
    if row.layout in FLOAT16:
        return [(torch.float32, torch.float16)]
    names = [row.dtype]
    if row.dtype == "any":
        names = ["float32", "float64", *(NARROW if row.op == "linear" else ())]
    return [(getattr(torch, n.split("-")[0]), getattr(torch, n.split("-")[-1])) for n in names]


def _narrowed(values: Tensor, dtype: torch.dtype, case: Case) -> tuple[Tensor, Tensor | None, Tensor]:
    """Stored values, the scale of each row where they are integers, and what they stand for."""
    if dtype != torch.int8:
        stored = values.to(dtype)
        return stored, None, stored.to(values.dtype)
    scale = torch.rand(case.shape[0]) + 0.5
    stored = torch.full(values.shape, 113, dtype=torch.int8)  # nobody may read the tail
    stored[: case.used] = torch.randint(-127, 128, (case.used,)).where(case.real, 0)
    weights = stored[: case.used].float() * scale[case.row.clamp(max=case.shape[0] - 1)]
    return stored, scale, weights


def _draw(case: Case, batch: int, dtype: torch.dtype, tail: int = 3) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """x, values (NaN past the used part: nobody may read it), bias, gradient of the output."""
    n_out, n_in = case.shape[:2]
    values = torch.full((case.used + tail,), float("nan"), dtype=dtype)
    values[: case.used] = torch.randn(case.used, dtype=dtype).where(case.real, 0.0)
    return (
        torch.randn(batch, n_in, dtype=dtype),
        values,
        torch.randn(n_out, dtype=dtype),
        torch.randn(batch, n_out, dtype=dtype),
    )


def _exact(a: Tensor, b: Tensor) -> Tensor:
    """The product in float64; that of float64 operands in as many bits as this machine has, then rounded."""
    if a.dtype != torch.float64:
        return a.double() @ b.double()
    wide = a.numpy().astype(np.longdouble) @ b.numpy().astype(np.longdouble)
    return torch.from_numpy(wide.astype(np.float64))


def _ones(case: Case, stored: torch.dtype) -> Tensor | None:
    return torch.ones(case.shape[0]) if stored == torch.int8 else None


def _as_read(case: Case, x: Tensor) -> Tensor:
    """What the layout reads of x: itself, or rounded to bfloat16, or in 127 steps of either sign, in float64."""
    if case.layout in HALVES:
        return x.bfloat16().to(x.dtype)
    if case.layout not in ROUNDING:
        return x
    step = x.abs().amax(1, keepdim=True) / 127
    return (x * (127 / x.abs().amax(1, keepdim=True))).round() * step.double()


# What is independent of each other takes turns from batch to batch: every two of batch, memory order and the rest meet.


def _check_linear(row: KernelSpec, case: Case, batch: int, types: Types, turn: int) -> None:
    x, values, bias, _ = _draw(case, batch, types[0])
    values, factor, weights = _narrowed(values, types[1], case)
    w = case.dense(weights)
    x, given = _as_read(case, x), x
    product, size = _exact(x, w.t()), x.double().abs() @ w.double().abs().t()
    for n, (order, laid) in enumerate(memory_orders(given)):
        b = torch.zeros_like(bias) if (n + turn) % 2 else bias
        y = row.call(laid, values, case.index, None if (n + turn) % 2 else bias, case.shape, factor)
        exact, scale = product + b.double(), size + b.double().abs()
        assert within_budget(y, exact, x.to(w.dtype) @ w.t() + b, scale), (batch, order)


def _check_halves(row: KernelSpec, case: Case, batch: int, turn: int) -> None:
    """The bits of the reference; each of ten roundings at most loses half a step of eleven bits."""
    x, values, bias, _ = _draw(case, batch, torch.float32)
    stored, w = values.half(), case.dense(values.half().double())
    with use("reference"):
        reference = pick("linear", case.layout, "float32", "cpu")
    for n, (order, laid) in enumerate(memory_orders(x)):
        b = torch.zeros_like(bias) if (n + turn) % 2 else bias
        given = (stored, case.index, None if (n + turn) % 2 else bias, case.shape)
        y = row.call(laid, *given)
        assert torch.equal(y, reference.call(x, *given)), (batch, order)
        exact, scale = x.double() @ w.t() + b, x.double().abs() @ w.abs().t() + b.abs()
        assert ((y - exact).abs() <= 10 * 2.0**-11 * scale + 1e-6).all(), (batch, order)


def _check_grad_input(row: KernelSpec, case: Case, batch: int, types: Types, turn: int) -> None:
    _, values, _, grad = _draw(case, batch, types[0])
    w = case.dense(values)
    exact, scale = _exact(grad, w), grad.double().abs() @ w.double().abs()
    for n, (order, laid) in enumerate(memory_orders(grad)):
        mode = ("never", "always")[(n + turn) % 2]
        with transposing(mode):
            dx = row.call(laid, values, case.index, case.shape)
        assert within_budget(dx, exact, grad @ w, scale), (batch, order, mode)


def _check_grad_values(row: KernelSpec, case: Case, batch: int, types: Types, turn: int) -> None:
    x, values, _, grad = _draw(case, batch, types[0])

    def sampled(product: Tensor) -> Tensor:
        return product[case.row, case.column]

    exact, scale = sampled(_exact(grad.t(), x)), sampled(grad.double().abs().t() @ x.double().abs())
    grads = memory_orders(grad)
    for n, (order, laid) in enumerate(memory_orders(x)):
        grad_order, grad_laid = grads[(n + turn) % len(grads)]
        dv = row.call(grad_laid, laid, values, case.index, case.shape)
        assert within_budget(dv[: case.used], exact, sampled(grad.t() @ x), scale), (batch, order, grad_order)
        assert dv.shape == values.shape
        assert dv[case.used :].eq(0).all(), "the unused tail gets no gradient"


_CHECKS = {
    "linear": _check_linear,
    "linear_grad_input": _check_grad_input,
    "linear_grad_values": _check_grad_values,
}


@pytest.mark.parametrize(("row", "case"), PAIRS)
def test_value_within_a_stated_multiple_of_plain_torch(row: KernelSpec, case: Case) -> None:
    for types in _types(row):
        for turn, batch in enumerate(case.batches):
            if case.layout in FLOAT16:
                _check_halves(row, case, batch, turn)
                continue
            _CHECKS[row.op](row, case, batch, types, turn)


@pytest.mark.parametrize(("row", "case"), PAIRS)
def test_missing_connections_are_never_multiplied(row: KernelSpec, case: Case) -> None:
    """An infinity reaches exactly the outputs that are connected to it."""
    dtype, stored = _types(row)[0]
    x, values, _, grad = _draw(case, 9, dtype)
    linked = torch.zeros(case.shape[:2], dtype=torch.bool)
    linked[case.row[case.real], case.column[case.real]] = True
    values[: case.used] = values[: case.used].abs() + 1
    if row.op == "linear":
        x = x.abs()
        x[4, -1] = float("inf")
        values = values.nan_to_num().to(stored)  # all of them at least 1
        y = row.call(x, values, case.index, None, case.shape, _ones(case, stored))
        if case.layout in ROUNDING:  # it sets the step of its sample
            assert y[4].isnan().all()
        else:
            assert torch.equal(y.isinf()[4], linked[:, -1])
        assert y[[0, 1, 2, 3, 5, 6, 7, 8]].isfinite().all()
    elif row.op == "linear_grad_input":
        grad = grad.abs()
        grad[4, 0] = float("inf")
        for mode in ("never", "always"):
            with transposing(mode):
                dx = row.call(grad, values, case.index, case.shape)
            assert torch.equal(dx.isinf()[4], linked[0])
            assert dx[[0, 1, 2, 3, 5, 6, 7, 8]].isfinite().all()
    else:
        x[4, -1], grad = float("inf"), grad.abs() + 1
        dv = row.call(grad, x, values, case.index, case.shape)[: case.used]
        assert torch.equal(dv.isinf(), case.column == case.shape[1] - 1)


@pytest.mark.parametrize("row", [r for r in ROWS if r.isa != "reference"], ids=lambda r: r.name)
def test_outputs_are_feature_major_and_repeats_give_the_same_bits(row: KernelSpec) -> None:
    case = next(c for c in CASES if c.layout == row.layout)
    dtype, stored = _types(row)[0]
    x, values, bias, grad = _draw(case, 40, dtype)
    operands = {
        "linear": (x, values.nan_to_num().to(stored), case.index, bias, case.shape, _ones(case, stored)),
        "linear_grad_input": (grad, values, case.index, case.shape),
        "linear_grad_values": (grad, x, values, case.index, case.shape),
    }[row.op]
    first = row.call(*operands)
    assert row.op == "linear_grad_values" or first.stride() == (1, 40)
    assert all(torch.equal(first, row.call(*operands)) for _ in range(5))


@pytest.mark.parametrize("row", [r for r in ROWS if r.isa == "reference"], ids=lambda r: r.name)
def test_reference_takes_half_precision(row: KernelSpec) -> None:
    """Every product and addition rounds once: at most (terms + 1) roundings of the sum of magnitudes."""
    case = next(c for c in CASES if c.layout == row.layout)
    x, values, _, grad = _draw(case, 5, torch.bfloat16, tail=0)
    w = case.dense(values).double()
    if row.op == "linear":
        read = _as_read(case, x).double()
        got, exact, scale = (
            row.call(x, values, case.index, None, case.shape),
            read @ w.t(),
            read.abs() @ w.abs().t(),
        )
    elif row.op == "linear_grad_input":
        got, exact, scale = (
            row.call(grad, values, case.index, case.shape),
            grad.double() @ w,
            grad.double().abs() @ w.abs(),
        )
    else:
        got = row.call(grad, x, values, case.index, case.shape)
        exact = (grad.double().t() @ x.double())[case.row, case.column]
        scale = (grad.double().abs().t() @ x.double().abs())[case.row, case.column]
    assert got.dtype == torch.bfloat16
    terms = max(case.shape[0], case.shape[1], 5)
    assert ((got.double() - exact).abs() <= (terms + 1) * torch.finfo(torch.bfloat16).eps * scale).all()


@pytest.mark.parametrize("case", [c for c in CASES if c.layout in ONE_ORDER], ids=lambda c: c.name)
@pytest.mark.parametrize("dtype", ["float32", *NARROW])
def test_sets_that_add_in_one_order_give_the_same_bits(case: Case, dtype: str) -> None:
    """Where products and additions are fused: the plain set rounds in between."""
    fused = [row for row in rows() if (row.layout, row.dtype) == (case.layout, dtype) and row.isa in FUSED]
    for batch in case.batches:
        x, values, bias, _ = _draw(case, batch, torch.float32)
        stored, factor, _ = _narrowed(values, getattr(torch, dtype.rsplit("-", maxsplit=1)[-1]), case)
        first, *others = (row.call(x, stored, case.index, bias, case.shape, factor) for row in fused)
        assert all(torch.equal(first, other) for other in others)


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_reference_coordinates_define_the_layouts(case: Case) -> None:
    row, column = coordinates(case.index, case.layout, case.shape)
    assert torch.equal(row, case.row)
    assert torch.equal(column, case.column)


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_every_case_passes_the_full_scan(case: Case) -> None:
    dtype = {**dict.fromkeys(ROUNDING, torch.int8), **dict.fromkeys(HALVES, torch.bfloat16)}
    values = torch.zeros(case.used, dtype=dtype.get(case.layout, torch.float32))
    check_index(values, case.index, case.layout, case.shape)


@pytest.mark.parametrize("isa", available_isas())
def test_every_set_has_what_training_and_freezing_need(isa: str) -> None:
    """The compiled rows come from the core: a row it lost would run as a slow reference."""
    there = [(row.op, row.layout, row.dtype) for row in rows() if row.isa == isa and row.op in OPS]
    assert len(set(there)) == len(there)
    trained = {(op, layout, dtype) for op in OPS for layout in TRAINED for dtype in ("float32", "float64")}
    frozen = {
        ("linear", layout, dtype)
        for layout in LAYOUTS
        if layout not in ROUNDING | HALVES | FLOAT16
        for dtype in ("float32", *NARROW)
    }
    special = {("linear", layout, "float32-int8") for layout in ROUNDING} | {
        ("linear", layout, "float64") for layout in ("csr_bands", "dense")
    }
    special |= {("linear", layout, "float32-bfloat16") for layout in HALVES}
    special |= {("linear", layout, "float32-float16") for layout in FLOAT16}
    assert set(there) == trained | frozen | special


def test_the_core_names_its_sets_as_the_bindings_do() -> None:
    assert available_isas(), "no compiled core: nothing of this suite tests it"
    assert {row.isa for row in rows()} == {*available_isas(), "reference"}
    assert [library.core().gs_isa_name(i).decode() for i in library.ISAS.values()] == list(library.ISAS)
    assert library.core().gs_isa() == library.ISAS[available_isas()[-1]]


def test_every_operation_and_layout_has_a_reference() -> None:
    reference = {(row.op, row.layout) for row in rows() if row.isa == "reference"}
    assert {(row.op, row.layout) for row in rows()} == reference
