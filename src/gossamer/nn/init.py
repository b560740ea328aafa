"""Initial values for the fan-in a neuron really has."""

from __future__ import annotations

import torch
from torch import Tensor

from gossamer.errors import ConfigError
from gossamer.topology import Topology


def draw_values(
    topology: Topology, fan_in: str = "sparse", generator: torch.Generator | None = None
) -> Tensor:
    """He-normal values, one a connection.

    Args:
        topology: Topology - the connections.
        fan_in: "sparse" - each neuron's own number of inputs, std sqrt(2 / k); or "dense" - the layer's width.
        generator: torch.Generator or None.
    Returns:
        [connections], float32 - flat order.
    Raises:
        ConfigError.
    Cost: O(connections).
    Source: the intended sparse initialisation of SRigL (its code passes 2 / k as the std instead).
    Example:
        >>> from gossamer.patterns import FanIn
        >>> t = Topology(FanIn(), (1, 400), torch.arange(200))
        >>> round(draw_values(t, generator=torch.Generator().manual_seed(0)).std().item(), 1)
        0.1
    """
    if fan_in not in ("sparse", "dense"):
        raise ConfigError("draw_values", expected="fan_in 'sparse' or 'dense'", got=repr(fan_in))
    grid = topology.grid
    noise = torch.randn(topology.connections, generator=generator)
    if fan_in == "dense":
        return noise.mul_((2.0 / topology.shape[1]) ** 0.5)
    row = topology.positions // grid.cols
    inputs = torch.bincount(row, minlength=grid.rows)[row] * grid.w
    return noise.mul_((2.0 / inputs.repeat_interleave(grid.members)).sqrt_())
