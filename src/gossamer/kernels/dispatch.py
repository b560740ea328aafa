"""Which row of the table runs: cached, forcible, and able to say why."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import Any, Final

from gossamer.errors import KernelUnavailable, SparseEfficiencyWarning
from gossamer.kernels.cpu import library
from gossamer.kernels.spec import KernelSpec
from gossamer.kernels.table import rows

FORCIBLE: Final = (*library.ISAS, "reference")
VARIABLE: Final = "GOSSAMER_ISA"

_forced: ContextVar[str | None] = ContextVar("gossamer_isa", default=os.environ.get(VARIABLE) or None)


def _check(isa: str) -> None:
    there = (*library.available_isas(), "reference")
    if isa in there:
        return
    known = isa in FORCIBLE
    raise KernelUnavailable(
        "kernels.use",
        expected=f"one of {', '.join(there)}",
        got=isa,
        hint=(library.why_missing() or "this processor or this build does not have it")
        if known
        else "no such name",
    )


@contextmanager
def use(isa: str | None) -> Iterator[None]:
    """Force one instruction set, or the reference kernels, inside a ``with`` block.

    Args:
        isa: ``"scalar"``, ``"avx2"``, ``"avx512"``, ``"neon"``, ``"reference"``; None: the automatic choice.

    Raises:
        KernelUnavailable: it is not there.

    The environment variable ``GOSSAMER_ISA`` does the same for a whole process.

    Example:
        >>> with use("reference"):
        ...     pick("linear", "csr", "float32", "cpu").isa
        'reference'
    """
    if isa is not None:
        _check(isa)
    token = _forced.set(isa)
    try:
        yield
    finally:
        _forced.reset(token)


def instruction_set() -> str:
    """The instruction set of work that has no row in the table.

    Returns:
        The forced one, else the best that runs here; ``"reference"`` where there is no compiled core.

    Raises:
        KernelUnavailable: the forced one is not there.

    Example:
        >>> with use("reference"):
        ...     instruction_set()
        'reference'
    """
    forced = _forced.get()
    if forced is not None:
        _check(forced)
        return forced
    return (*library.available_isas()[-1:], "reference")[0]


def _fits(row: KernelSpec, op: str, layout: str, dtype: str, device: str) -> bool:
    return (
        (row.op, row.layout) == (op, layout) and row.dtype in {dtype, "any"} and row.device in {device, "any"}
    )


@cache
def _choose(op: str, layout: str, dtype: Any, device: str, forced: str | None) -> KernelSpec:
    name = str(dtype).removeprefix("torch.")
    if forced is not None:
        _check(forced)
    for row in rows():
        if _fits(row, op, layout, name, device) and forced in {None, row.isa}:
            if forced is None and device == "cpu" and library.find() is None:
                message = f"{library.why_missing()}: slow reference kernels run instead; {library.BUILD_HINT}"
                warnings.warn(message, SparseEfficiencyWarning, stacklevel=3)
            return row
    raise KernelUnavailable(
        f"kernels.{op}",
        expected=f"a kernel for layout {layout!r}, {name}, {device}"
        + (f", forced to {forced}" if forced else ""),
        got="none in the table",
        hint="layouts 'nm_lanes', 'nm_bytes', 'csr_bands' and 'dense' run forward only"
        if op != "linear"
        else "kernels.explain() lists what there is",
    )


def pick(op: str, layout: str, dtype: Any, device: str) -> KernelSpec:
    """The row that runs an operation.

    Args:
        op: operation of the table.
        layout: layout of the table.
        dtype: torch dtype or its name.
        device: device type, e.g. ``"cpu"``.

    Returns:
        The forced row where one is forced, else the first row of the table that fits.

    Raises:
        KernelUnavailable: no row fits, or the forced one does not.

    Cost: one dictionary look-up after the first call with the same arguments.

    Example:
        >>> pick("linear", "nm", "bfloat16", "cpu").isa
        'reference'
    """
    return _choose(op, layout, dtype, device, _forced.get())


def explain(op: str, layout: str, dtype: Any, device: str) -> str:
    """Why `pick` takes the row it takes, one line a row of the table.

    Args:
        op: operation of the table.
        layout: layout of the table.
        dtype: torch dtype or its name.
        device: device type.

    Returns:
        Lines ``name: reason``, in the table's order of preference.

    Example:
        >>> "chosen" in explain("linear", "csr", "float32", "cpu")
        True
    """
    forced, name = _forced.get(), str(dtype).removeprefix("torch.")
    lines, chosen = [], False
    if library.find() is None:
        lines.append(f"compiled core: {library.why_missing()}; {library.BUILD_HINT}")
    for row in rows():
        if (row.op, row.layout) != (op, layout):
            continue
        if not _fits(row, op, layout, name, device):
            reason = f"takes {row.dtype} on {row.device}, not {name} on {device}"
        elif forced not in {None, row.isa}:
            reason = f"{forced} is forced"
        else:
            reason = "fits, but a faster one comes first" if chosen else "chosen"
            chosen = True
        lines.append(f"{row.name}: {reason}")
    return "\n".join(lines)
