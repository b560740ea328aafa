"""Which connections exist: positions, how they change, and how a density is spread over layers."""

from gossamer.topology.allocation import ALLOCATIONS, allocate
from gossamer.topology.change import TopologyChange
from gossamer.topology.selection import TileScores, top_mask
from gossamer.topology.topology import Topology

__all__ = ["ALLOCATIONS", "TileScores", "Topology", "TopologyChange", "allocate", "top_mask"]
