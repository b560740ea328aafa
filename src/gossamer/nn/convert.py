"""Swap the dense layers of any model for sparse ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from gossamer.errors import ConfigError, DensityError, PatternError
from gossamer.measure import require_memory
from gossamer.nn import arguments
from gossamer.nn.candidates import check_model, dense_layers, refuse_tied, why_left
from gossamer.nn.init import LAWS
from gossamer.nn.kinds import Dense, between, kinds
from gossamer.nn.opening import OURS, Pairs, opened, to_replace, why_closed
from gossamer.nn.outside import places
from gossamer.nn.report import SparsifyReport, own_parameters, report_on
from gossamer.nn.skip import Skip, skipped
from gossamer.nn.sparse import SparseModule
from gossamer.nn.swap import swap
from gossamer.nn.twin import Wanted, check_fit, least_bytes, twin
from gossamer.patterns import NM, Pattern
from gossamer.registry import answers_unknown, check_choice, did_you_mean
from gossamer.topology import ALLOCATIONS, allocate

HOMES = ("packed", "masked")
_LESS = {
    "packed": "a lower density needs less",
    "masked": "home='packed' takes memory of the connections alone",
}
INITS = ("sparse", "dense", "keep")
FULL = ("dense", "sparse")


@answers_unknown
def sparsify(
    model: nn.Module,
    density: float | Mapping[str, float] | None = None,
    pattern: Pattern | str | None = None,
    allocation: str | None = None,
    home: str = "packed",
    generator: torch.Generator | None = None,
    skip: Skip = (),
    dense_first: bool = False,
    dense_last: bool = False,
    init: str = "sparse",
    law: str = "he_normal",
    device: torch.device | str | None = None,
    full: str = "dense",
) -> SparsifyReport:
    """Replace linear, recurrent layers and convolutions in place by sparse ones of the same shape, device and dtype.

    Hooks, training mode, ``requires_grad``, and attributes of a layer or its parameters move to the new layer. A layer
    that cannot be replaced without loss stays as it is, and the report says why. Print the report.

    Args:
        model: nn.Module - its ``nn.Linear``, ``nn.Conv1d`` and ``nn.Conv2d`` are replaced, and every matrix of its
            ``nn.LSTM``, ``nn.GRU`` and ``nn.RNN``, named ``ih_l0``, ``hh_l0`` and so on. Create the optimizer after it.
        density: float in (0, 1] for the layers made sparse, or a mapping layer name -> density; None takes n / m of
            an NM pattern.
        pattern: Pattern, or its short name such as "fanin:4" or "nm:2:4" - FanIn() by default.
        allocation: "uniform", "er" or "erk"; None is uniform for NM (it has no other) and erk else.
        home: "packed" (truly sparse) or "masked" (dense times a mask).
        generator: torch.Generator or None - draws topologies and values.
        skip: names, types or modules to leave dense with all inside, or a function (name, module) -> bool.
        dense_first: bool - leave the first of the candidates dense.
        dense_last: bool - leave the last of the candidates dense.
        init: "sparse" or "dense" draws new values for that fan-in; "keep" keeps the dense values at a topology drawn
            at random, which is no way to prune a trained network. Where a layer has zeros, from pruning, the topology
            holds its largest weights instead.
        law: "he_normal", "he_uniform", "xavier_uniform" or "normal" - what new values are drawn from; see SparseLinear.
        device: where sparse layers are made; None is where the dense ones are. A model on "meta", too wide to
            exist, gets sparse layers that do; what stays dense stays on "meta".
        full: "dense" or "sparse" - what a layer that keeps every connection becomes; "sparse" is for trainings that
            start dense and lose connections.
    Returns:
        SparsifyReport - what became of each layer, and the share of the model that was left as it was.
    Raises:
        DensityError, PatternError, ConfigError, MemoryShortage - before anything is changed.
        NonFiniteError - init="keep" of a pruned layer with NaN; before anything is changed.
    Cost: O(connections) memory and time beyond the dense model that is already there.
    Source: RigL (Evci et al. 2020) for the allocations.
    Example:
        >>> model = nn.Sequential(nn.Linear(784, 300), nn.ReLU(), nn.Linear(300, 10))
        >>> report = sparsify(model, density=0.1, pattern="fanin", dense_last=True)
        >>> type(model[0]).__name__, report.connections
        ('SparseLinear', 26400)
    """
    for name, word, words in (
        ("home", home, HOMES),
        ("init", init, INITS),
        ("law", law, LAWS),
        ("full", full, FULL),
    ):
        check_choice(f"sparsify({name}=)", word, words)
    arguments.check_draws(generator, dense_first, dense_last)
    wanted = Wanted(arguments.pattern_of(pattern), home, init, law, generator, arguments.device_of(device))
    check_model(model)
    asked = (arguments.densities_of(density), allocation)
    before = sum(parameter.numel() for parameter in model.parameters())
    with opened(model) as recurrent:
        notes = _replace(
            model,
            recurrent,
            wanted,
            asked,
            lambda layers: skipped(model, layers, skip, dense_first, dense_last),
            full,
        )
    return report_on(model, notes, before)


def _replace(
    model: nn.Module,
    recurrent: Pairs,
    wanted: Wanted,
    asked: tuple[float | dict[str, float] | None, str | None],
    skips: Callable[[Mapping[str, nn.Module]], dict[str, str]],
    full: str,
) -> dict[str, str]:
    """Replace the layers of a model whose recurrent ones are open; name -> what to say of each module."""
    layers = dense_layers(model)
    notes = {
        name: why_closed(module)
        if isinstance(module, nn.RNNBase)
        else why_left(module, wanted.init, wanted.device)
        for name, module in model.named_modules()
    }
    notes |= skips(layers)
    chosen = {name: layer for name, layer in layers.items() if not notes[name]}
    if not chosen:
        raise _nothing(model, notes)
    refuse_tied(model, chosen)
    densities = _densities(chosen, notes, asked[0], wanted.pattern, asked[1])
    sparse = {name: layer for name, layer in chosen.items() if densities[name] < 1.0 or full == "sparse"}
    notes |= dict.fromkeys(chosen.keys() - sparse.keys(), "density 1")
    for name, layer in sparse.items():
        check_fit(name, layer, densities[name], wanted.pattern)
    needed = sum(least_bytes(layer, densities[name], wanted.home) for name, layer in sparse.items())
    require_memory("sparsify", needed, _LESS[wanted.home])
    replaced = to_replace(recurrent, sparse)
    parts = [part for m in sparse.values() for part in (m, *m.parameters(recurse=False))]
    held = places(model, {id(part) for part in (*parts, *(old for old, _ in replaced.values()))})
    twins: dict[str, nn.Module] = {}
    with torch.device("cpu"):  # topologies are drawn there, whatever the default is
        for name, layer in sparse.items():
            twins[name], notes[name] = twin(name, layer, densities[name], wanted)
    if twins and wanted.home == "packed":  # what sparse layers write is feature-major
        kept = {name: layer for name, layer in chosen.items() if name not in sparse}
        twins |= between(kept)
    pairs: dict[str, tuple[Any, nn.Module]] = {name: (layers[name], new) for name, new in twins.items()}
    swap(model, {**pairs, **replaced}, held)
    stays = {name: notes[f"{name}.ih_l0"] for name in recurrent.keys() - replaced.keys()}
    return notes | stays


def _nothing(model: nn.Module, notes: Mapping[str, str]) -> ConfigError:
    """The error for a model of which nothing can be replaced, with the first reasons."""
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
    return ConfigError(
        "sparsify",
        expected=f"at least one {' or '.join(replaced)} to replace",
        got=f"none of {len(found)} modules with weights: {', '.join(found[:5])}" if found else "none",
        hint="skip= leaves out layers that could be replaced" if "skip=" in notes.values() else "",
    )


def _densities(
    layers: Mapping[str, Dense],
    notes: Mapping[str, str],
    density: float | dict[str, float] | None,
    pattern: Pattern,
    allocation: str | None,
) -> dict[str, float]:
    """Density by layer, from one number and an allocation or from a mapping."""
    if allocation is not None:
        check_choice("sparsify(allocation=)", allocation, ALLOCATIONS)
    if isinstance(density, dict):
        if allocation is not None:
            raise ConfigError(
                "sparsify", expected="allocation=None with a density for each layer", got=repr(allocation)
            )
        missing, unknown = [sorted(set(a) - set(b)) for a, b in ((layers, density), (density, layers))]
        if missing or unknown:
            wrong = [("none for", missing), ("one for", unknown)]
            meant = [did_you_mean(name, missing or layers) for name in unknown]
            raise ConfigError(
                "sparsify(density=)",
                expected=f"one density for each of {', '.join(layers)}",
                got=" and ".join(f"{what} {', '.join(names)}" for what, names in wrong if names),
                hint="; ".join(f"{name}: {notes[name]}" for name in unknown if notes.get(name))
                or next(filter(None, meant), "leave layers dense with skip=, or give them 1.0"),
            )
        return density
    if isinstance(pattern, NM):
        density = pattern.n / pattern.m if density is None else density
        if allocation not in (None, "uniform"):
            raise PatternError(
                "sparsify",
                expected=f"allocation 'uniform' for {pattern}",
                got=repr(allocation),
                hint="N:M fixes every layer's density",
            )
        allocation = "uniform"
    if density is None:
        raise DensityError(
            "sparsify",
            expected="a density in (0, 1]",
            got="None",
            hint="density=0.1 keeps a tenth of the connections; only N:M patterns fix it themselves",
        )
    return allocate({name: tuple(m.weight.shape) for name, m in layers.items()}, density, allocation or "erk")
