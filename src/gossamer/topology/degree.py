"""How many connections neurons and inputs have, and how unevenly."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gossamer.topology.topology import Topology


@dataclass(frozen=True)
class Degrees:
    """The connections of the nodes on one side of a layer, summed up.

    Args:
        mean: float.
        max: int.
        gini: float in [0, 1) - 0 where all have as many, near 1 where few have nearly all.
        empty: float in [0, 1] - share of those that have none.
    """

    mean: float
    max: int
    gini: float
    empty: float

    @classmethod
    def of(cls, counts: Tensor) -> Degrees:
        """Of a count a node ([nodes], integers)."""
        ordered = counts.double().sort().values
        number, total = counts.numel(), float(ordered.sum())
        rank = torch.arange(1, number + 1, dtype=torch.float64)
        gini = float(2 * (rank * ordered).sum() / (number * total)) - (number + 1) / number if total else 0.0
        return cls(total / number, int(ordered[-1]), max(gini, 0.0), float((counts == 0).double().mean()))


def degrees(topology: Topology) -> tuple[Degrees, Degrees]:
    """How the connections of a layer are spread over its neurons and over its inputs.

    Args:
        topology: Topology.
    Returns:
        (of the neurons, by connections that arrive; of the inputs, by connections that leave).
    Cost: O(connections).
    Example:
        >>> from gossamer.patterns import Unstructured
        >>> neurons, inputs = degrees(Topology(Unstructured(), (2, 4), torch.tensor([0, 1, 2, 3])))
        >>> neurons, inputs.gini
        (Degrees(mean=2.0, max=4, gini=0.5, empty=0.5), 0.0)
    """
    return Degrees.of(topology.fan_in()), Degrees.of(topology.fan_out())
