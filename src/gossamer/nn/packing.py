"""Masked layers become packed ones, with the same connections and the same values."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import nn

from gossamer.errors import ConfigError, StateError
from gossamer.nn.candidates import STATE_HOOKS, refuse_tied
from gossamer.nn.carry import carry_hooks, mark_parameters
from gossamer.nn.kinds import Kind, kind_of
from gossamer.nn.masked import Masked
from gossamer.nn.outside import follow, places
from gossamer.nn.packed import Packed
from gossamer.nn.swap import put_in_place
from gossamer.nn.twin import unlike_others

TENSORS = ("_parameters", "_buffers", "_modules")


def pack(model: nn.Module) -> list[str]:
    """Replace masked layers in place by packed ones, which hold the connections alone; what they compute stays.

    After a training that needs the masked home, as movement pruning, SR-STE and S-STE do. Hooks, training mode and
    attributes move to the new layers. Create optimizers after it.

    Args:
        model: nn.Module - with masked layers that no engine follows; changed in place.
    Returns:
        list of str - names of the layers that were replaced, in the model's order.
    Raises:
        ConfigError: no masked layer, or one that is shared in a way that cannot be kept, or hooks on its state.
        StateError: an engine follows one. Nothing is changed then.
        TopologyError: a layer whose weights are of other connections.
    Cost: O(dense size) time, a layer at a time; memory O(connections).
    Example:
        >>> import gossamer as gs
        >>> model = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 16))
        >>> _ = gs.sparsify(model, pattern="nm:2:4", home="masked")
        >>> pack(model), model[0]
        (['0', '2'], SparseLinear(64 -> 32, pattern=nm:2:4, connections=1,024, home=packed))
    """
    found = {name: module for name, module in model.named_modules() if isinstance(module, Masked)}
    forms = {name: kind_of(layer) for name, layer in found.items()}  # None of a subclass of a user's own
    layers = {name: found[name] for name, row in forms.items() if row is not None and row.packed is not None}
    if not layers:
        raise ConfigError(
            "pack",
            expected="masked layers that have a packed form",
            got=", ".join(f"{name}, {type(layer).__name__}" for name, layer in found.items()) or "none",
            hint='gossamer.sparsify(model, ..., home="masked") makes masked layers',
        )
    if "" in layers:
        raise ConfigError(
            "pack",
            expected="a model that holds masked layers",
            got="a layer by itself, which cannot be replaced in place",
            hint="put it into nn.Sequential",
        )
    for name, layer in layers.items():
        _refuse(name, layer)
    refuse_tied(model, cast("Any", layers), "pack")
    parts = {id(part) for layer in layers.values() for part in (layer, *layer.parameters(recurse=False))}
    held = places(model, parts, "pack")
    new = {name: _packed(layer) for name, layer in layers.items()}
    swapped: dict[int, nn.Module] = {id(layer): new[name] for name, layer in layers.items()}
    follow(held, swapped)
    put_in_place(model, swapped)
    for name, layer in layers.items():
        _carry(layer, new[name])
    return [*layers]


def _refuse(name: str, layer: Masked) -> None:
    """Refuse a layer that is being trained by an engine, or watched by hooks that know a dense weight."""
    if layer.tape.followed:
        raise StateError(
            f"pack {name}",
            expected="layers that no engine follows",
            got="one attached to an optimizer",
            hint="call engine.detach() first, and make a new optimizer afterwards",
        )
    if any(getattr(layer, hooks) for hooks in STATE_HOOKS):
        raise ConfigError(
            f"pack {name}",
            expected="a layer without hooks on its state",
            got="hooks, which know a dense weight",
            hint="remove them first",
        )


def _packed(layer: Masked) -> Packed:
    """The packed layer, of exactly the connections that exist."""
    topology, kind = layer.topology, cast("Kind", kind_of(layer))
    values = layer.unit_values().reshape(-1).clone()
    room = max(topology.connections / topology.grid.size / topology.grid.members, 1 / topology.grid.cols)
    with torch.device("cpu"):
        made: Packed = cast("Any", kind.packed).of(
            layer,
            density=room,
            pattern=layer.pattern,
            generator=unlike_others(),
            fan_in=layer.fan_in,
            law=layer.law,
        )
    made.assign(topology, values)
    if made.bias is not None and layer.bias is not None:
        with torch.no_grad():
            made.bias.copy_(layer.bias)
    mark_parameters(cast("Any", layer), made)
    return made


def _carry(old: Masked, new: Packed) -> None:
    """Mode and hooks, and what a user hung on the layer."""
    own = {"weight", "mask", "bias"}
    carry_hooks(old, new)
    for held in TENSORS:
        getattr(new, held).update({key: value for key, value in getattr(old, held).items() if key not in own})
    for name, value in vars(old).items():
        if name not in vars(new) and not name.startswith("_") and name not in ("left", *own):
            new.__dict__[name] = value
