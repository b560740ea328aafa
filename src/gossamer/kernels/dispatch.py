"""Which row of the table runs: cached, forcible, and able to say why."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from gossamer.errors import KernelUnavailable, SparseEfficiencyWarning
from gossamer.kernels import cost
from gossamer.kernels.cpu import densified, gathers, library
from gossamer.kernels.operands import known
from gossamer.kernels.scanned import Scanned
from gossamer.kernels.spec import KernelSpec
from gossamer.kernels.table import TRAINED, rows
from gossamer.registry import did_you_mean

if TYPE_CHECKING:
    from torch import Tensor

VARIABLE: Final = "GOSSAMER_ISA"

_named: ContextVar[str | None] = ContextVar("gossamer_isa", default=os.environ.get(VARIABLE) or None)


def _check(isa: str) -> None:
    there = dict.fromkeys(row.isa for row in rows())
    if isa in there:
        return
    raise KernelUnavailable(
        "kernels.use",
        expected=f"one of {', '.join(there)}",
        got=isa,
        hint=(library.why_missing() or "this processor or this build does not have it")
        if isa in library.ISAS
        else did_you_mean(isa, there) or "no such name",
    )


def _forced() -> str | None:
    """The name that is forced; None where it is the instruction set that is taken anyway: nothing changes then."""
    name = _named.get()
    return None if name in library.ISAS and name == rows()[0].isa else name


@contextmanager
def use(isa: str | None) -> Iterator[None]:
    """Force one instruction set, the reference kernels, or a backend, inside a ``with`` block.

    Args:
        isa: ``"scalar"``, ``"avx2"``, ``"avx512"``, ``"neon"``, ``"reference"``, or the name in the rows of a backend;
            None: the automatic choice.

    Raises:
        KernelUnavailable: it is not there. Later, from a product that it has no kernel for.

    The instruction set that is chosen anyway changes nothing. Any other name gives only the kernels it has; a backend
    has none for frozen layers in one call into the core, which run in the best set. The environment variable
    ``GOSSAMER_ISA`` does the same for a whole process.

    Example:
        >>> with use("reference"):
        ...     pick("linear", "csr", "float32", "cpu").isa
        'reference'
    """
    if isa is not None:
        _check(isa)
    token = _named.set(isa)
    try:
        yield
    finally:
        _named.reset(token)


def forced_set() -> str | None:
    """What is forced on work that has no row in the table: an instruction set or ``"reference"``; None: nothing is.

    A forced backend forces nothing here: it is rows of the table alone.

    Raises:
        KernelUnavailable: the forced one is not there.

    Cost: one look-up.

    Example:
        >>> with use("reference"):
        ...     forced_set()
        'reference'
    """
    forced = _forced()
    if forced is None:
        return None
    _check(forced)
    return forced if forced in {*library.ISAS, "reference"} else None


def instruction_set() -> str:
    """The instruction set of work that has no row in the table.

    Returns:
        The forced one, else the best that runs here, also beside a forced backend, which is rows of the table alone;
        ``"reference"`` where there is no compiled core.

    Raises:
        KernelUnavailable: the forced one is not there.

    Example:
        >>> with use("reference"):
        ...     instruction_set()
        'reference'
    """
    return forced_set() or (*library.available_isas()[-1:], "reference")[0]


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
        hint=f"layouts {', '.join(map(repr, TRAINED))} have gradients; the others run forward only"
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
    return _choose(op, layout, dtype, device, _forced())


def goes_dense(op: str, found: Scanned, values: Tensor, samples: Tensor, training: bool = True) -> bool:
    """Whether a product goes through a dense weight instead of a row of the table.

    Args:
        op: operation of the table.
        found: Scanned - the index: what counts are its connections; a layer that lost some keeps room for them.
        values: the stored values.
        samples: [batch, ..] - an operand with a row a sample.
        training: whether the values change before the next product.

    Raises:
        ConfigError: the environment variable ``GOSSAMER_DENSIFIED`` holds an unknown word.

    Cost: one comparison below the floor of `cost.FLOOR`, one look-up above it.
    """
    mode = densified.mode()
    if mode == "never" or (mode == "auto" and not found.crowded):
        return False
    if _dense_refused(found.layout, str(values.dtype).removeprefix("torch."), values.device.type):
        return False
    if mode == "always":
        return True
    if values.is_inference():  # nothing is kept for them: they do not count writes
        return False
    return cost.estimates(found.layout, found.shape, found.used, samples.shape[0], training)[op].pays


def _dense_refused(layout: str, dtype: str, device: str) -> str:
    """Why no product of this kind goes through a dense weight; empty where it may."""
    kind = known("kernels", layout)
    if not kind.trains:
        return f"layout {layout!r} runs frozen networks, which freeze measures"
    if kind.number is None:
        return f"layout {layout!r} has reference kernels alone"
    if device != "cpu" or dtype not in {"float32", "float64"}:
        return f"takes float32 or float64 on cpu, not {dtype} on {device}"
    if library.find() is None:
        return "needs the compiled core"
    forced = _forced()
    return f"{forced} is forced" if forced is not None and densified.mode() == "auto" else ""


def explain(
    op: str,
    layout: str,
    dtype: Any,
    device: str,
    *,
    shape: Sequence[int] | None = None,
    density: float = 1.0,
    batch: int = 1,
    training: bool = False,
) -> str:
    """Why a product runs as it does, one line a way.

    Args:
        op: operation of the table.
        layout: layout of the table.
        dtype: torch dtype or its name.
        device: device type.
        shape: the layout's integers, to have the dense weight among the ways; or None.
        density: share of stored connections, in (0, 1].
        batch: samples.
        training: whether the values change before the next product, as in a training step.

    Returns:
        Lines ``name: reason``, the dense weight first, then the table in its order of preference; behind the chosen row
        how it fetches the inputs of one sample.

    Example:
        >>> "chosen" in explain("linear", "csr", "float32", "cpu")
        True
        >>> print(explain("linear", "csr", "float32", "cpu", shape=[512, 512], density=0.1).splitlines()[0])
        dense weight: not below a density of 0.4
    """
    forced, name = _forced(), str(dtype).removeprefix("torch.")
    lines, chosen = [], False
    if library.find() is None:
        lines.append(f"compiled core: {library.why_missing()}; {library.BUILD_HINT}")
    if shape is not None:
        connections = round(density * shape[0] * shape[1])
        reason, chosen = _explain_dense(op, layout, name, device, tuple(shape), connections, batch, training)
        lines.append(f"dense weight: {reason}")
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
        if reason == "chosen" and batch == 1 and (fetched := gathers.explained(op, layout, row.isa)):
            lines.append(fetched)
    return "\n".join(lines)


def _explain_dense(
    op: str,
    layout: str,
    dtype: str,
    device: str,
    shape: tuple[int, ...],
    connections: int,
    batch: int,
    training: bool,
) -> tuple[str, bool]:
    """What speaks for or against the dense weight, and whether it is taken."""
    mode = densified.mode()
    refused = _dense_refused(layout, dtype, device)
    if refused or mode != "auto":
        forced = (
            "chosen: forced by kernels.densifying" if mode == "always" else "kernels.densifying says never"
        )
        return (refused or forced), not refused and mode == "always"
    if connections < cost.FLOOR * shape[0] * shape[1]:
        return f"not below a density of {cost.FLOOR}", False
    found = cost.estimates(layout, shape, connections, batch, training)[op]
    written = f" and {found.due:.0f} us to bring it up to date" if found.due else ""
    times = f"{found.dense:.0f} us{written} estimated, {found.sparse:.0f} us by the layout's kernel"
    return f"{'chosen' if found.pays else 'slower'}: {times}", found.pays
