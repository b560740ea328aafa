"""From a trained model to what is shipped: nothing dead, every layer in its fastest form, a checked file."""

from gossamer.freezing.files import load, save
from gossamer.freezing.freezing import freeze
from gossamer.freezing.frozen import Frozen

__all__ = ["Frozen", "freeze", "load", "save"]
