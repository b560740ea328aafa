"""Giving back the memory of connections that are gone for good."""

from __future__ import annotations

from torch import nn
from torch.optim import Optimizer

from gossamer.errors import ConfigError, StateError
from gossamer.nn.packed import Packed
from gossamer.nn.resize import living_one, refuse_compiling, refuse_fixed_size
from gossamer.training.optimizers import following_state, refuse_flattened_state
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
    for optimizer in optimizers:
        refuse_flattened_state(optimizer)
    _refuse_forgotten(layers, optimizers)
    states = {}
    for name, layer in layers.items():
        layer.operands()
        if layer.connections < layer.values.numel():
            refuse_fixed_size(layer.values)
        found = [following_state(optimizer, layer.values, name) for optimizer in optimizers]
        states[name] = [state for each in found for state in each]
    freed = 0
    for name, layer in layers.items():
        before = layer.values.numel()
        layer.shrink(states[name])
        held = {id(tensor): tensor for tensor in (layer.values, *states[name])}.values()
        freed += (before - layer.values.numel()) * sum(tensor.element_size() for tensor in held)
    return freed


def _refuse_forgotten(layers: dict[str, Packed], given: tuple[Optimizer, ...]) -> None:
    """Refuse optimizers with state of these values that were not given: the state would keep the old size."""
    values = {id(layer.values) for layer in layers.values()}
    given_ids = {id(one) for one in given}

    def forgotten(found: Optimizer) -> bool:
        mine = any(state and id(parameter) in values for parameter, state in found.state.items())
        return mine and id(found) not in given_ids

    if found := living_one(Optimizer, forgotten):
        raise StateError(
            "compact",
            expected="every optimizer that has state of the layers",
            got=f"a {type(found).__name__} that was not given",
            hint="call gossamer.compact(model, optimizer)",
        )
