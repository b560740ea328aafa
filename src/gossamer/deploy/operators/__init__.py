"""What a node of a frozen graph may compute: one entry per operator, found by existing."""

from gossamer.deploy.operators.base import Operator, Settings, Unsupported, find_module, operator, operators
from gossamer.registry import discover

discover(__name__, __path__)

__all__ = ["Operator", "Settings", "Unsupported", "find_module", "operator", "operators"]
