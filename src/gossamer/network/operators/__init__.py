"""What a node of a frozen graph may compute: one entry per operator, found by existing."""

from gossamer.network.operators.base import Operator, Settings, Unsupported, operator, operators
from gossamer.registry import discover

discover(__name__, __path__)

__all__ = ["Operator", "Settings", "Unsupported", "operator", "operators"]
