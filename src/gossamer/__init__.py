"""Gossamer: train and run truly sparse neural networks in PyTorch.

Public names are imported on first use, so that ``import gossamer`` costs nothing and needs no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from gossamer.version import __version__ as __version__

if TYPE_CHECKING:
    from gossamer.adapters import add_lora, load_lora
    from gossamer.compress import (
        compact,
        from_zeros,
        prune,
        prune_channels,
        prune_neurons,
        quantize,
        remove_blocks,
    )
    from gossamer.distillation import Distillation, distill
    from gossamer.errors import GossamerError
    from gossamer.export import export_onnx
    from gossamer.freezing import freeze, load, save
    from gossamer.invariance import make_shift_invariant
    from gossamer.nn import (
        AllReLU,
        Dropout,
        MaskedConv1d,
        MaskedConv2d,
        MaskedLinear,
        SparseConv1d,
        SparseConv2d,
        SparseLinear,
        all_relus,
        pack,
        sparsify,
    )
    from gossamer.patterns import NM, Block, FanIn, Unstructured
    from gossamer.rules import (
        ACDC,
        MEST,
        SET,
        SNFS,
        SRSTE,
        SSTE,
        Constant,
        CosineDecay,
        CubicDecay,
        GradualMagnitude,
        GraNet,
        GroupLasso,
        ImportancePruning,
        LinearDecay,
        MovementPruning,
        RampPruning,
        RigL,
        SRigL,
        Static,
    )
    from gossamer.training import SGDW, attach, load_checkpoint, save_checkpoint

_HOME = {
    "gossamer.compress": (
        "compact",
        "from_zeros",
        "prune",
        "prune_channels",
        "prune_neurons",
        "quantize",
        "remove_blocks",
    ),
    "gossamer.adapters": ("add_lora", "load_lora"),
    "gossamer.distillation": ("Distillation", "distill"),
    "gossamer.freezing": ("freeze", "load", "save"),
    "gossamer.errors": ("GossamerError",),
    "gossamer.export": ("export_onnx",),
    "gossamer.invariance": ("make_shift_invariant",),
    "gossamer.nn": (
        "AllReLU",
        "Dropout",
        "MaskedConv1d",
        "MaskedConv2d",
        "MaskedLinear",
        "SparseConv1d",
        "SparseConv2d",
        "SparseLinear",
        "all_relus",
        "pack",
        "sparsify",
    ),
    "gossamer.patterns": ("NM", "Block", "FanIn", "Unstructured"),
    "gossamer.rules": (
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
        "LinearDecay",
        "MovementPruning",
        "RampPruning",
        "RigL",
        "SRigL",
        "Static",
    ),
    "gossamer.training": ("SGDW", "attach", "load_checkpoint", "save_checkpoint"),
}
_WHERE = {name: module for module, names in _HOME.items() for name in names}

__all__ = [
    "ACDC",
    "MEST",
    "NM",
    "SET",
    "SGDW",
    "SNFS",
    "SRSTE",
    "SSTE",
    "AllReLU",
    "Block",
    "Constant",
    "CosineDecay",
    "CubicDecay",
    "Distillation",
    "Dropout",
    "FanIn",
    "GossamerError",
    "GraNet",
    "GradualMagnitude",
    "GroupLasso",
    "ImportancePruning",
    "LinearDecay",
    "MaskedConv1d",
    "MaskedConv2d",
    "MaskedLinear",
    "MovementPruning",
    "RampPruning",
    "RigL",
    "SRigL",
    "SparseConv1d",
    "SparseConv2d",
    "SparseLinear",
    "Static",
    "Unstructured",
    "add_lora",
    "all_relus",
    "attach",
    "compact",
    "distill",
    "export_onnx",
    "freeze",
    "from_zeros",
    "load",
    "load_checkpoint",
    "load_lora",
    "make_shift_invariant",
    "pack",
    "prune",
    "prune_channels",
    "prune_neurons",
    "quantize",
    "remove_blocks",
    "save",
    "save_checkpoint",
    "sparsify",
]


def __getattr__(name: str) -> Any:
    """Import a public name from its room on first use; ``gossamer.nn``, too, which has layers of many names."""
    if name == "nn":
        return import_module("gossamer.nn")
    if name not in _WHERE:
        raise AttributeError(f"module 'gossamer' has no attribute {name!r}")
    try:
        return getattr(import_module(_WHERE[name]), name)
    except ModuleNotFoundError as error:
        from gossamer.errors import MissingPackage

        raise MissingPackage.behind(error) from None


def __dir__() -> list[str]:
    """Public names, loaded or not."""
    return [*__all__, "__version__"]
