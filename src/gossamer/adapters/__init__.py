"""Low-rank adapters that keep the zeros of a sparse network."""

import gossamer.needs_torch  # noqa: F401 (before what needs it)
from gossamer.adapters.lora import add_lora, load_lora

__all__ = ["add_lora", "load_lora"]
