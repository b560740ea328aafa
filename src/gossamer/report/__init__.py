"""Reports on trainings: run folders in, one self-contained HTML file out.

Names are imported on first use: drawing needs matplotlib, reading a run does not.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gossamer.report.document import write_report
    from gossamer.runs.record import Run, read_run

_HOME = {
    "Run": "gossamer.runs.record",
    "read_run": "gossamer.runs.record",
    "write_report": "gossamer.report.document",
}
__all__ = ["Run", "read_run", "write_report"]


def __getattr__(name: str) -> Any:
    """Import a public name from its module on first use."""
    if name not in _HOME:
        raise AttributeError(f"module 'gossamer.report' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
