"""Initial values for the fan-in a neuron really has, or for the one its dense layer would have."""

from __future__ import annotations

import torch
from torch import Tensor

from gossamer.registry import check_choice
from gossamer.topology import Topology

LAWS = ("he_normal", "he_uniform", "xavier_uniform", "normal")
FAN_INS = ("sparse", "dense")


def draw_values(
    topology: Topology,
    fan_in: str = "sparse",
    generator: torch.Generator | None = None,
    law: str = "he_normal",
) -> Tensor:
    """Random values, one a connection.

    Args:
        topology: Topology - the connections.
        fan_in: "sparse" - each neuron's own number of inputs; or "dense" - the layer's width.
        generator: torch.Generator or None.
        law: "he_normal" - std sqrt(2 / fan_in); "he_uniform" - up to sqrt(6 / fan_in) on either side;
            "xavier_uniform" - up to sqrt(6 / (fan_in + fan_out)); "normal" - std 0.1 whatever the fan-in.
    Returns:
        [connections], float32 - flat order.
    Raises:
        ConfigError.
    Cost: O(connections + neurons).
    Source: He et al. 2015 and Glorot and Bengio 2010, with the intended sparse fan-in of SRigL (its code passes 2 / k
        as the std instead); dense uniform ones and std 0.1 are those of Curci et al. 2021.
    Example:
        >>> from gossamer.patterns import FanIn
        >>> t = Topology(FanIn(), (1, 400), torch.arange(200))
        >>> round(draw_values(t, generator=torch.Generator().manual_seed(0)).std().item(), 1)
        0.1
        >>> draw_values(t, "dense", law="he_uniform").abs().max() <= (6 / 400) ** 0.5
        tensor(True)
    """
    check_law(law, fan_in)
    if law in ("he_normal", "normal"):
        noise = torch.randn(topology.connections, generator=generator)
        return noise.mul_(0.1 if law == "normal" else (2.0 / _inputs(topology, fan_in)) ** 0.5)
    noise = torch.rand(topology.connections, generator=generator).mul_(2).sub_(1)
    fans = _inputs(topology, fan_in)
    if law == "xavier_uniform":
        fans = fans + _outputs(topology, fan_in)
    return noise.mul_((6.0 / fans) ** 0.5)


def check_law(law: str, fan_in: str) -> None:
    """Refuse what draw_values does not know; raises ConfigError."""
    for name, value, known in (("law", law, LAWS), ("fan_in", fan_in, FAN_INS)):
        check_choice(f"initial values, {name}", value, known)


def _inputs(topology: Topology, fan_in: str) -> Tensor | int:
    """Inputs of the neuron of each connection, or of every neuron of the dense layer."""
    grid = topology.grid
    if fan_in == "dense":
        return topology.shape[1]
    row = topology.positions // grid.cols
    per_row = torch.bincount(row, minlength=grid.rows)[row] * grid.w
    return per_row.repeat_interleave(grid.members)


def _outputs(topology: Topology, fan_in: str) -> Tensor | int:
    """Connections that leave the input of each connection, or every input of the dense layer."""
    grid = topology.grid
    if fan_in == "dense":
        return topology.shape[0]
    col = topology.positions % grid.cols
    per_col = torch.bincount(col, minlength=grid.cols)[col] * grid.h
    return per_col.repeat_interleave(grid.members)
