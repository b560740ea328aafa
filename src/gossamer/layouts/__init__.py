"""How a linear layer may be stored: one file per layout, found by existing. NumPy alone; the floor of both wings."""

from gossamer.layouts.base import Encoded, Layout, layout, layouts
from gossamer.registry import discover

discover(__name__, __path__)

__all__ = ["Encoded", "Layout", "layout", "layouts"]
