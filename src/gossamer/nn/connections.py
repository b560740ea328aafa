"""The topologies of a model's layers, as those who analyse them want them."""

from __future__ import annotations

from torch import nn

from gossamer.nn.kinds import is_layer, matrix_shape
from gossamer.nn.sparse import SparseModule
from gossamer.topology import FullTopology, Topology


def topologies(model: nn.Module) -> dict[str, Topology]:
    """The connections of every layer of a model, dense ones included.

    Args:
        model: nn.Module - with sparse layers; a layer that is used in several places is there once.

    Returns:
        name -> Topology, in order of registration; of a dense layer a FullTopology. A convolution is the matrix
        [out, kernel * channels], channels innermost.

    Cost: O(connections of the sparse layers).

    Example:
        >>> import gossamer as gs
        >>> model = nn.Sequential(nn.Linear(8, 4), nn.ReLU(), nn.Linear(4, 2))
        >>> _ = gs.sparsify(model, density=0.5, skip=["2"])
        >>> {name: topology.connections for name, topology in topologies(model).items()}
        {'0': 16, '2': 8}
    """
    found: dict[str, Topology] = {}
    for name, module in model.named_modules():
        if isinstance(module, SparseModule):
            found[name] = module.topology
        elif is_layer(module):
            found[name] = FullTopology(matrix_shape(module))
    return found
