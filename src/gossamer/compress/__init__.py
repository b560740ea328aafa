"""From a trained network to a smaller one."""

from gossamer.compress.neurons import prune_neurons
from gossamer.compress.shrinking import compact

__all__ = ["compact", "prune_neurons"]
