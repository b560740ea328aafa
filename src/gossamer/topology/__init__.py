"""Which connections exist: positions, how they change, and how a density is spread over layers."""

from gossamer.topology.allocation import ALLOCATIONS, allocate, erdos_renyi
from gossamer.topology.change import Edit, TopologyChange
from gossamer.topology.passes import Passes, TorchPasses
from gossamer.topology.selection import TileScores
from gossamer.topology.topk import top_mask
from gossamer.topology.topology import Topology

__all__ = [
    "ALLOCATIONS",
    "Edit",
    "Passes",
    "TileScores",
    "Topology",
    "TopologyChange",
    "TorchPasses",
    "allocate",
    "erdos_renyi",
    "top_mask",
]
