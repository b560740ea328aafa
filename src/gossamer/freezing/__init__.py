"""From a trained model to what is shipped: nothing dead, every layer in its fastest form, a checked file."""

import gossamer.needs_torch  # noqa: F401 (before what needs it)
from gossamer.freezing.files import load, save
from gossamer.freezing.freezing import freeze
from gossamer.freezing.frozen import Frozen

__all__ = ["Frozen", "freeze", "load", "save"]
