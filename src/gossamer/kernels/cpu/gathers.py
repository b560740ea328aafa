"""How the inputs of one sample are fetched: by a load each, or by the processor's gathers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from gossamer.errors import KernelUnavailable
from gossamer.kernels import modes
from gossamer.kernels.cpu import library

LAYOUTS: Final = ("csr", "fanin", "nm")  # connections one by one
SETS: Final = ("avx2", "avx512")  # the latter runs the former's kernel for one sample
_FETCHES: Final = {"auto": -1, "never": 0, "always": 1}

_forced: Final = {"mode": "auto"}  # in the core, which has one for all threads


@contextmanager
def gathering(mode: str) -> Iterator[None]:
    """Say how the inputs of one sample are fetched, in the whole process, inside a ``with`` block.

    Args:
        mode: ``"auto"``: as it was measured to be faster here; ``"always"``: by the processor's gathers; ``"never"``:
            by a load each.

    Raises:
        ConfigError: another word.
        KernelUnavailable: ``"always"`` where there are no gathers.

    Cost: nothing. The measurement takes some tens of microseconds once, at the first product that may gather.

    The bits of a product do not depend on it.

    Example:
        >>> with gathering("never"):
        ...     gathers()
        False
    """
    before = _forced["mode"]
    _force(modes.checked("kernels.gathering", mode))
    try:
        yield
    finally:
        _force(before)


def _force(mode: str) -> None:
    status = library.core().gs_fetch_by(_FETCHES[mode])
    if status:
        raise KernelUnavailable(
            "kernels.gathering",
            expected="a processor and a build with gathers",
            got=library.status_text(status),
        )
    _forced["mode"] = mode


def gathers() -> bool:
    """Whether gathers fetch the inputs of one sample; measured where nothing is known yet.

    Raises:
        KernelUnavailable: there is no compiled core.

    Cost: some tens of microseconds at the first call, or none.

    Example:
        >>> with gathering("never"):
        ...     gathers()
        False
    """
    return bool(library.core().gs_fetched_by())


def explained(op: str, layout: str, isa: str) -> str:
    """How a row of the table fetches the inputs of one sample; "" where there is but one way."""
    if op != "linear" or layout not in LAYOUTS or isa not in SETS:
        return ""
    why = "measured to be faster here" if _forced["mode"] == "auto" else "forced by kernels.gathering"
    return f"one sample: inputs by {'gathers' if gathers() else 'loads'}, {why}"
