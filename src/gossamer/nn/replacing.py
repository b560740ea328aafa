"""What ``sparsify`` and ``prune`` share: which layers are replaced, and how sparse ones take their places."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import torch
from torch import nn

from gossamer.errors import ConfigError
from gossamer.measure import require_memory
from gossamer.nn.candidates import why_left
from gossamer.nn.kinds import Dense, between, kinds
from gossamer.nn.opening import OURS, Pairs, to_replace, why_closed
from gossamer.nn.outside import places
from gossamer.nn.report import own_parameters
from gossamer.nn.sparse import SparseModule
from gossamer.nn.swap import swap
from gossamer.nn.twin import least_bytes

Made = tuple[SparseModule, str]  # a sparse layer, and what there is to say of its values
Layer = TypeVar("Layer", bound=nn.Module)
_LESS = {
    "packed": "a lower density needs less",
    "masked": "home='packed' takes memory of the connections alone",
}


def reasons(model: nn.Module, init: str, device: torch.device | None) -> dict[str, str]:
    """Name -> why a module of an opened model stays as it is, "" for one that can be replaced; see ``why_left``."""
    return {
        name: why_closed(module) if isinstance(module, nn.RNNBase) else why_left(module, init, device)
        for name, module in model.named_modules()
    }


def without(layers: Mapping[str, Layer], notes: Mapping[str, str]) -> dict[str, Layer]:
    """The layers of which there is nothing to say."""
    return {name: layer for name, layer in layers.items() if not notes[name]}


def refuse_nothing(
    model: nn.Module, chosen: Mapping[str, Any], notes: Mapping[str, str], operation: str
) -> None:
    """Refuse a model of which nothing can be replaced, with the first reasons; raises ConfigError."""
    if chosen:
        return
    held = {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, SparseModule) or any(p.dim() > 1 for p in own_parameters(module))
    }
    replaced = [
        f"nn.{row.dense[0].__name__}"
        for row in kinds.values()
        if row.dense[0].__module__.startswith("torch.")
    ]
    replaced += [f"nn.{each.__name__}" for each in OURS]
    found = [f"{name or 'the model itself'} ({notes[name]})" for name in held]
    raise ConfigError(
        operation,
        expected=f"at least one {' or '.join(replaced)} to replace",
        got=f"none of {len(found)} modules with weights: {', '.join(found[:5])}" if found else "none",
        hint="skip= leaves out layers that could be replaced" if "skip=" in notes.values() else "",
    )


def replace_layers(
    model: nn.Module,
    recurrent: Pairs,
    chosen: Mapping[str, Dense],
    densities: Mapping[str, float],
    make: Mapping[str, Callable[[], Made]],
    home: str,
    operation: str,
) -> dict[str, str]:
    """Put sparse layers in the places of dense ones; whatever fails does so before the first is replaced.

    Args:
        model: nn.Module - whose recurrent layers are open; changed in place.
        recurrent: name -> (torch's layer, ours), as ``opened`` gives them.
        chosen: name -> dense layer, all that could be replaced; those that are not get a form that suits packed ones.
        densities: name -> density of those that are, or of more.
        make: name -> () -> (sparse layer, what there is to say of its values) of those that are replaced.
        home: str - "packed" or "masked".
        operation: str - named in errors.
    Returns:
        name -> what there is to say of each layer that was replaced.
    Raises:
        MemoryShortage, ConfigError, and what ``make`` raises; nothing is changed then.
    Cost: that of the layers.
    """
    sparse = {name: chosen[name] for name in make}
    needed = sum(least_bytes(layer, densities[name], home) for name, layer in sparse.items())
    require_memory(operation, needed, _LESS[home])
    replaced = to_replace(recurrent, sparse)
    parts = [part for m in sparse.values() for part in (m, *m.parameters(recurse=False))]
    held = places(model, {id(part) for part in (*parts, *(old for old, _ in replaced.values()))}, operation)
    twins: dict[str, nn.Module] = {}
    notes: dict[str, str] = {}
    with torch.device("cpu"):  # topologies are drawn there, whatever the default is
        for name, made in make.items():
            twins[name], notes[name] = made()
    if twins and home == "packed":  # what sparse layers write is feature-major
        kept = {name: layer for name, layer in chosen.items() if name not in sparse}
        twins |= between(kept)
    pairs: dict[str, tuple[Any, nn.Module]] = {name: (chosen[name], new) for name, new in twins.items()}
    swap(model, {**pairs, **replaced}, held)
    return notes
