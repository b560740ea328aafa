"""The zeros of a trained model become the connections that its layers do not have."""

from __future__ import annotations

from functools import partial
from typing import cast

import torch
from torch import Tensor, nn

from gossamer.compress.rebinding import check_rebinding
from gossamer.errors import PatternError
from gossamer.nn import SparsifyReport, arguments
from gossamer.nn.candidates import check_model, dense_layers, refuse_tied
from gossamer.nn.convert import HOMES
from gossamer.nn.kinds import Dense, Kind, dense_kind
from gossamer.nn.masks import Masks, masks_applied
from gossamer.nn.opening import Pairs, opened, to_replace
from gossamer.nn.replacing import reasons, refuse_nothing, replace_layers, without
from gossamer.nn.report import report_on
from gossamer.nn.skip import Skip, skipped
from gossamer.nn.twin import Wanted, check_fit, twin_at, unlike_others
from gossamer.patterns import Pattern
from gossamer.registry import answers_unknown, check_choice
from gossamer.topology import Topology
from gossamer.topology.covering import covering


@answers_unknown
def from_zeros(
    model: nn.Module,
    pattern: Pattern | str = "unstructured",
    *,
    threshold: float = 0.3,
    home: str = "packed",
    skip: Skip = (),
    device: torch.device | str | None = None,
) -> SparsifyReport:
    """Make the zeros of a pruned model real: its layers become sparse ones with exactly the connections that are left.

    Every weight and bias keeps its bits. Zeros may stand in the weights, or under masks of ``torch.nn.utils.prune`` and
    ``torch.ao.pruning``, which are gone afterwards where a layer became sparse. A zero of either sign is a zero.

    Args:
        model: nn.Module - changed in place; a checkpoint has been loaded into it.
        pattern: Pattern, or its short name such as "nm:2:4" - which zeros to expect. N:M stores zeros where a group has
            fewer than N weights left.
        threshold: float in (0, 1] - a layer without a mask whose share of zeros is below it stays dense: zeros of a
            trained net may be dead units or padding. The report says so.
        home: "packed" (truly sparse) or "masked" (dense times a mask).
        skip: names, types or modules to leave dense; see ``sparsify``.
        device: where sparse layers are made; None is where the dense ones are.
    Returns:
        SparsifyReport - what became of each layer, with its connections and the reason where it stayed dense.
    Raises:
        PatternError: zeros that are not of the pattern, or a tied weight; with the name of the layer.
        ConfigError, MemoryShortage. Nothing is changed after an error.
    Cost: O(dense weights) time, one layer's memory at a time beside the sparse model.
    Example:
        >>> import gossamer as gs
        >>> from torch.nn.utils import prune
        >>> model = nn.Sequential(nn.Linear(100, 50), nn.ReLU(), nn.Linear(50, 10))
        >>> _ = prune.l1_unstructured(model[0], "weight", 0.9)
        >>> report = gs.from_zeros(model)
        >>> model[0].connections, report.layers[1].note
        (500, 'no zeros')
    """
    check_choice("from_zeros(home=)", home, HOMES)
    threshold = arguments.density_of(threshold, "from_zeros(threshold=)")
    found = arguments.pattern_of(pattern, "from_zeros(pattern=)")
    wanted = Wanted(found, home, "keep", "he_normal", unlike_others(), arguments.device_of(device))
    check_model(model, "from_zeros")
    before = sum(parameter.numel() for parameter in model.parameters())
    with masks_applied(model) as masks, opened(model) as recurrent:
        notes = _replace(model, recurrent, wanted, masks, threshold, skip)
    return report_on(model, notes, before)


def _replace(
    model: nn.Module, recurrent: Pairs, wanted: Wanted, masks: Masks, threshold: float, skip: Skip
) -> dict[str, str]:
    """Replace the layers that hold enough zeros; name -> what to say of each module."""
    layers = dense_layers(model)
    notes = reasons(model, "keep", wanted.device)
    notes |= skipped(model, layers, skip, dense_first=False, dense_last=False, operation="from_zeros")
    chosen = without(layers, notes)
    notes |= {name: _too_few(layer, masks, threshold) for name, layer in chosen.items()}
    pruned = without(chosen, notes)
    refuse_nothing(model, pruned, notes, "from_zeros")
    refuse_tied(model, pruned, "from_zeros")
    topologies = {name: _topology(name, layer, masks, wanted.pattern) for name, layer in pruned.items()}
    densities = {name: topology.density for name, topology in topologies.items()}
    make = {name: partial(twin_at, layer, topologies[name], wanted) for name, layer in pruned.items()}
    check_rebinding({name: chosen[name] for name in make}, (), "from_zeros")
    notes |= replace_layers(model, recurrent, chosen, densities, make, wanted.home, "from_zeros")
    closed = recurrent.keys() - to_replace(recurrent, pruned).keys()
    return notes | {name: notes[f"{name}.ih_l0"] for name in closed}


def _mask(layer: Dense, masks: Masks) -> Tensor:
    """Where a layer has connections: of its mask, or where no zero stands."""
    mask = masks.get(id(layer.weight), layer.weight)
    return (mask.detach() != 0).cpu()


def _too_few(layer: Dense, masks: Masks, threshold: float) -> str:
    """Why the zeros of a layer are not taken for a mask, in a few words; an empty string where they are."""
    alive, size = int(_mask(layer, masks).sum()), layer.weight.numel()
    if alive == 0:
        return "every weight is zero"
    if id(layer.weight) in masks:
        return "" if alive < size else "its mask has no zero"
    share = 1 - alive / size
    if alive == size:
        return "no zeros"
    return "" if share >= threshold else f"{share:.1%} zeros, below the threshold of {threshold:.0%}"


def _topology(name: str, layer: Dense, masks: Masks, pattern: Pattern) -> Topology:
    """The connections of a layer, which its kind and the pattern must allow; raises PatternError with its name."""
    try:
        topology = covering(cast("Kind", dense_kind(layer)).masked.to_matrix(_mask(layer, masks)), pattern)
    except PatternError as error:
        raise error.within(f"from_zeros {name}") from None
    check_fit(name, layer, topology.density, pattern, "from_zeros")
    return topology
