"""How connections come and go: one file per algorithm."""

from gossamer.registry import discover
from gossamer.rules.base import LayerView, Rule, rules
from gossamer.rules.config import build, describe, rule_of
from gossamer.rules.importance import ImportancePruning
from gossamer.rules.rigl import RigL
from gossamer.rules.schedules import Constant, Cosine, Cubic, Linear, Schedule, schedules
from gossamer.rules.set import SET
from gossamer.rules.srigl import SRigL
from gossamer.rules.static import Static

discover(__name__, __path__)

__all__ = [
    "SET",
    "Constant",
    "Cosine",
    "Cubic",
    "ImportancePruning",
    "LayerView",
    "Linear",
    "RigL",
    "Rule",
    "SRigL",
    "Schedule",
    "Static",
    "build",
    "describe",
    "rule_of",
    "rules",
    "schedules",
]
