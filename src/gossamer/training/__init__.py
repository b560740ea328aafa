"""The step: rules meet layers at the optimizer, and runs survive a kill."""

import gossamer.needs_torch  # noqa: F401 (before what needs it)
from gossamer.training.attaching import attach, join
from gossamer.training.checkpoint import Extras, load_checkpoint, save_checkpoint
from gossamer.training.engine import Engine
from gossamer.training.history import LayerUpdate
from gossamer.training.named import OPTIMIZERS, named_optimizer
from gossamer.training.sgdw import SGDW
from gossamer.training.step import Note, answers, train_step

__all__ = [
    "OPTIMIZERS",
    "SGDW",
    "Engine",
    "Extras",
    "LayerUpdate",
    "Note",
    "answers",
    "attach",
    "join",
    "load_checkpoint",
    "named_optimizer",
    "save_checkpoint",
    "train_step",
]
