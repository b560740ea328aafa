"""The one list of kernels, read by dispatch, tests, benchmarks and docs: those the core names, then the reference."""

from __future__ import annotations

from functools import cache
from typing import Final

from gossamer.kernels.cpu import library
from gossamer.kernels.spec import KernelSpec
from gossamer.layouts import layout, layouts

OPS: Final = ("linear", "linear_grad_input", "linear_grad_values")
CONV_OPS: Final = ("conv", "conv_grad_input", "conv_grad_values")  # on layouts that train
LAYOUTS: Final = tuple(name for name in layouts if layout(name).kernel)
# With gradients; the others only run frozen networks.
TRAINED: Final = tuple(name for name in LAYOUTS if layout(name).trains)


def _compiled() -> tuple[KernelSpec, ...]:
    """What the core says it has (csrc/kernels/kernels.inc), best instruction set first."""
    named = [name.split(":") for name in library.kernel_names()]
    return tuple(
        KernelSpec(op, layout, dtype, "cpu", isa, f"gossamer.kernels.cpu.{op.partition('_')[0]}")
        for best in reversed(library.available_isas())
        for op, layout, dtype, isa in named
        if isa == best
    )


def _reference() -> tuple[KernelSpec, ...]:
    entry = "gossamer.kernels.reference"
    return tuple(
        KernelSpec(op, layout, "any", "any", "reference", entry)
        for op in (*OPS, *CONV_OPS)
        for layout in LAYOUTS
        if op == "linear" or layout in TRAINED
    )


BACKENDS: Final = (_compiled, _reference)  # in order of preference


@cache
def rows() -> tuple[KernelSpec, ...]:
    """Every kernel that runs here, in order of preference: best instruction set first, reference last.

    Example:
        >>> rows()[-1].isa
        'reference'
    """
    return tuple(row for backend in BACKENDS for row in backend())
