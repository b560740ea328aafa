"""The step: rules meet layers at the optimizer, and runs survive a kill."""

from gossamer.training.checkpoint import Extras, load_checkpoint, save_checkpoint
from gossamer.training.engine import Engine, Update, attach
from gossamer.training.sgdw import SGDW

__all__ = ["SGDW", "Engine", "Extras", "Update", "attach", "load_checkpoint", "save_checkpoint"]
