"""From a trained model to what is shipped: dead neurons removed, every layer in its fastest form, one checked file."""

from gossamer.deploy.artifact import load, save
from gossamer.deploy.freezing import freeze
from gossamer.deploy.frozen import Frozen

__all__ = ["Frozen", "freeze", "load", "save"]
