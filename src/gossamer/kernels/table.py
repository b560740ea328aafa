"""The one list of kernels, read by dispatch, tests, benchmarks and docs; held equal to the compiled core."""

from __future__ import annotations

from functools import cache
from typing import Final

from gossamer.kernels.cpu import library
from gossamer.kernels.spec import KernelSpec

OPS: Final = ("linear", "linear_grad_input", "linear_grad_values")
LAYOUTS: Final = ("csr", "fanin", "nm", "block", "nm_lanes", "dense")
TRAINED: Final = (
    "csr",
    "fanin",
    "nm",
    "block",
)  # layouts with gradients; the others only run frozen networks

# op, layout, dtypes the compiled core has, for every instruction set.
_COMPILED: Final = (
    *((op, layout, ("float32", "float64")) for op in OPS for layout in TRAINED),
    ("linear", "nm_lanes", ("float32",)),
    ("linear", "dense", ("float32",)),
)


def _reference() -> tuple[KernelSpec, ...]:
    entry = "gossamer.kernels.reference"
    trained = (KernelSpec(op, layout, "any", "any", "reference", entry) for op in OPS for layout in TRAINED)
    frozen = (
        KernelSpec("linear", layout, "any", "any", "reference", entry)
        for layout in LAYOUTS
        if layout not in TRAINED
    )
    return (*trained, *frozen)


@cache
def rows() -> tuple[KernelSpec, ...]:
    """Every kernel that runs here, in order of preference: best instruction set first, reference last.

    Example:
        >>> rows()[-1].isa
        'reference'
    """
    compiled = tuple(
        KernelSpec(op, layout, dtype, "cpu", isa, "gossamer.kernels.cpu.linear")
        for isa in reversed(library.available_isas())
        for op, layout, dtypes in _COMPILED
        for dtype in dtypes
    )
    return (*compiled, *_reference())
