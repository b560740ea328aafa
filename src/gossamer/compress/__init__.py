"""From a trained network to a smaller one."""

from gossamer.compress.neurons import prune_neurons

__all__ = ["prune_neurons"]
