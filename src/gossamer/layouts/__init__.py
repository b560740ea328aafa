"""How a frozen layer may be stored: one file per layout, found by existing."""

from gossamer.layouts.base import Encoded, Layout, layout, layouts
from gossamer.registry import discover

discover(__name__, __path__)

__all__ = ["Encoded", "Layout", "layout", "layouts"]
