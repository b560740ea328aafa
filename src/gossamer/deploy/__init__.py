"""From a trained model to what is shipped: nothing dead, every layer in its fastest form, a checked file."""

from gossamer.deploy.artifact import load, save
from gossamer.deploy.freezing import freeze
from gossamer.deploy.frozen import Frozen

__all__ = ["Frozen", "freeze", "load", "save"]
