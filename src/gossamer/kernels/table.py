"""The one list of kernels, read by dispatch, tests, benchmarks and docs; held equal to the compiled core."""

from __future__ import annotations

from functools import cache
from typing import Final

from gossamer.kernels.cpu import library
from gossamer.kernels.spec import KernelSpec

OPS: Final = ("linear", "linear_grad_input", "linear_grad_values")
LAYOUTS: Final = ("csr", "fanin", "nm", "block", "nm_lanes", "nm_bytes", "dense", "csr_bands")
TRAINED: Final = ("csr", "fanin", "nm", "block")  # with gradients; the others only run frozen networks
NARROW: Final = ("float32-bfloat16", "float32-int8")  # float32 inputs, narrow values; frozen networks only

# op, layout, dtypes the compiled core has, for every instruction set.
_COMPILED: Final = (
    *((op, layout, ("float32", "float64")) for op in OPS for layout in TRAINED),
    *(("linear", layout, NARROW) for layout in ("csr", "fanin", "nm", "block")),
    ("linear", "nm_lanes", ("float32", *NARROW)),
    ("linear", "nm_bytes", ("float32-int8",)),
    ("linear", "dense", ("float32", *NARROW)),
    ("linear", "csr_bands", ("float32", "float64", *NARROW)),
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
