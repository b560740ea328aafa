"""How connections come and go: one file per algorithm."""

import gossamer.needs_torch  # noqa: F401 (before what needs it)
from gossamer.registry import discover
from gossamer.rules.acdc import ACDC
from gossamer.rules.base import Rule, rules
from gossamer.rules.config import build, describe, rule_of
from gossamer.rules.gradual import GradualMagnitude
from gossamer.rules.granet import GraNet
from gossamer.rules.group_lasso import GroupLasso, soft_threshold
from gossamer.rules.importance import ImportancePruning
from gossamer.rules.mest import MEST
from gossamer.rules.movement import MovementPruning
from gossamer.rules.ramp import RampPruning
from gossamer.rules.rigl import RigL, gradient_of
from gossamer.rules.schedules import Constant, CosineDecay, CubicDecay, LinearDecay, Schedule, schedules
from gossamer.rules.set import SET
from gossamer.rules.snfs import SNFS
from gossamer.rules.srigl import SRigL
from gossamer.rules.srste import SRSTE
from gossamer.rules.sste import SSTE
from gossamer.rules.static import Static
from gossamer.rules.view import LayerView, Stored

discover(__name__, __path__)

__all__ = [
    "ACDC",
    "MEST",
    "SET",
    "SNFS",
    "SRSTE",
    "SSTE",
    "Constant",
    "CosineDecay",
    "CubicDecay",
    "GraNet",
    "GradualMagnitude",
    "GroupLasso",
    "ImportancePruning",
    "LayerView",
    "LinearDecay",
    "MovementPruning",
    "RampPruning",
    "RigL",
    "Rule",
    "SRigL",
    "Schedule",
    "Static",
    "Stored",
    "build",
    "describe",
    "gradient_of",
    "rule_of",
    "rules",
    "schedules",
    "soft_threshold",
]
