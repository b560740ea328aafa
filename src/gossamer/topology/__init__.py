"""Which connections exist: positions, how they change, and how a density is spread over layers."""

import gossamer.needs_torch  # noqa: F401 (before what needs it)
from gossamer.topology.allocation import ALLOCATIONS, allocate, erdos_renyi
from gossamer.topology.change import Edit, TopologyChange
from gossamer.topology.passes import Selector, TorchSelector
from gossamer.topology.selection import TileScores
from gossamer.topology.topk import top_mask, top_mask_in_buckets
from gossamer.topology.topology import IndexedTopology, Topology

__all__ = [
    "ALLOCATIONS",
    "Edit",
    "IndexedTopology",
    "Selector",
    "TileScores",
    "Topology",
    "TopologyChange",
    "TorchSelector",
    "allocate",
    "erdos_renyi",
    "top_mask",
    "top_mask_in_buckets",
]
