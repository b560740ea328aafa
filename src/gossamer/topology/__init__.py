"""Which connections exist: positions, how they change, and how a density is spread over layers."""

import gossamer.needs_torch  # noqa: F401 (before what needs it)
from gossamer.topology.allocation import ALLOCATIONS, allocate, erdos_renyi
from gossamer.topology.change import Edit, TopologyChange
from gossamer.topology.connectivity import Components, Effective, components, effective, paths
from gossamer.topology.degree import Degrees, degrees
from gossamer.topology.distance import Distance, LayerDistance, distance_matrix, nnstd, null_model
from gossamer.topology.overlaps import Overlap, exploration, overlap
from gossamer.topology.passes import Selector, TorchSelector
from gossamer.topology.selection import TileScores
from gossamer.topology.topk import top_mask, top_mask_in_buckets
from gossamer.topology.topology import FullTopology, IndexedTopology, Topology

__all__ = [
    "ALLOCATIONS",
    "Components",
    "Degrees",
    "Distance",
    "Edit",
    "Effective",
    "FullTopology",
    "IndexedTopology",
    "LayerDistance",
    "Overlap",
    "Selector",
    "TileScores",
    "Topology",
    "TopologyChange",
    "TorchSelector",
    "allocate",
    "components",
    "degrees",
    "distance_matrix",
    "effective",
    "erdos_renyi",
    "exploration",
    "nnstd",
    "null_model",
    "overlap",
    "paths",
    "top_mask",
    "top_mask_in_buckets",
]
