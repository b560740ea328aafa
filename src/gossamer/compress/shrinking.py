"""Giving back the memory of connections that are gone for good."""

from __future__ import annotations

from torch import nn
from torch.optim import Optimizer

from gossamer.compress.states import states_of
from gossamer.errors import ConfigError
from gossamer.nn.packed import Packed
from gossamer.nn.resize import refuse_compiling, refuse_fixed_size
from gossamer.training.ranks import refuse_shards


def compact(model: nn.Module, *optimizers: Optimizer) -> int:
    """Free the memory of lost connections: values, gradients and optimizer state get the size of those that are left.

    After ``prune_neurons``, importance pruning or ablation. Every parameter stays the same object, the network computes
    and trains on as before, and a topology update may not grow beyond what is left now. Masked layers, which are dense
    in memory, stay as they are.

    Args:
        model: nn.Module - with packed layers; changed in place.
        optimizers: every Optimizer that holds state of their values.
    Returns:
        int - bytes that were freed.
    Raises:
        ConfigError: no packed layer, or one whose weights FSDP cut into shards.
        StateError: an optimizer that was not given, or whose state does not follow the shape of its parameters; a model
            inside of DistributedDataParallel; a call inside of a compiled step. Nothing is changed then.
        TopologyError: a layer whose values are of other connections.
    Cost: a copy of what stays, one layer at a time, and a walk over the objects of the process.
    Example:
        >>> import torch, gossamer as gs
        >>> model = nn.Sequential(nn.Linear(100, 50), nn.ReLU(), nn.Linear(50, 10))
        >>> _ = gs.sparsify(model, 0.5, gs.Unstructured(), "uniform", generator=torch.Generator().manual_seed(0))
        >>> _ = gs.prune_neurons(model, 0.9)
        >>> model[0].values.shape, gs.compact(model) > 8_000, model[0].values.numel() == model[0].connections
        (torch.Size([2500]), True, True)
    """
    refuse_compiling()
    layers = {name: module for name, module in model.named_modules() if isinstance(module, Packed)}
    if not layers:
        raise ConfigError(
            "compact",
            expected="packed layers",
            got="none",
            hint='a masked weight is dense and frees nothing: use sparsify with home="packed"',
        )
    refuse_shards(layers)
    states = states_of(layers, optimizers, "compact", "call gossamer.compact(model, optimizer)")
    for layer in layers.values():
        layer.operands()
        if layer.connections < layer.values.numel():
            refuse_fixed_size(layer.values)
    freed = 0
    for name, layer in layers.items():
        before = layer.values.numel()
        layer.shrink(states[name])
        held = {id(tensor): tensor for tensor in (layer.values, *states[name])}.values()
        freed += (before - layer.values.numel()) * sum(tensor.element_size() for tensor in held)
    return freed
