"""What a pruned network weighs: its density, and the bytes of its file."""

from __future__ import annotations

from safetensors.torch import save
from torch import nn

import gossamer as gs
from gossamer.nn.sparse import SparseModule


def sparse_layers(model: nn.Module) -> list[SparseModule]:
    """The sparse layers of a network; those inside of recurrent ones are its matrices."""
    return [layer for layer in model.modules() if isinstance(layer, SparseModule)]


def density(model: nn.Module) -> float:
    """Share of the connections that they have; 1 where there are none."""
    layers = sparse_layers(model)
    dense = sum(layer.shape[0] * layer.shape[1] for layer in layers)
    return sum(layer.topology.connections for layer in layers) / dense if dense else 1.0


def file_bytes(model: nn.Module) -> int:
    """Bytes of a safetensors file of the network in float32, indices and all; call it when training is over."""
    if sparse_layers(model):
        gs.compact(model)
    return len(save({key: tensor.contiguous() for key, tensor in model.state_dict().items()}))
