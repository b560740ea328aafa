"""Swap the dense layers of any model for sparse ones."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import nn

from gossamer.errors import TrainingWarning
from gossamer.nn import arguments
from gossamer.nn.candidates import check_model, dense_layers, refuse_tied
from gossamer.nn.densities import densities_by_layer
from gossamer.nn.init import LAWS
from gossamer.nn.opening import Pairs, opened, to_replace
from gossamer.nn.replacing import reasons, refuse_nothing, replace_layers, without
from gossamer.nn.report import SparsifyReport, report_on
from gossamer.nn.skip import Skip, skipped
from gossamer.nn.twin import RANDOM, Wanted, check_fit, twin
from gossamer.patterns import Pattern
from gossamer.registry import answers_unknown, check_choice
from gossamer.topology import ALLOCATIONS

HOMES = ("packed", "masked")
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
            at random, with a warning: to prune a trained network, call ``gossamer.prune``. Where a layer has zeros,
            from pruning, the topology holds its largest weights instead.
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
    if allocation is not None:
        check_choice("sparsify(allocation=)", allocation, ALLOCATIONS)
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
    if init == "keep" and (lost := [name for name, note in notes.items() if note.endswith(RANDOM)]):
        warnings.warn(
            f"sparsify(init='keep') kept connections drawn at random in {', '.join(lost[:3])}"
            f"{' and others' if len(lost) > 3 else ''}: to prune a trained network, call gossamer.prune",
            TrainingWarning,
            stacklevel=3,
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
    notes = reasons(model, wanted.init, wanted.device) | skips(layers)
    chosen = without(layers, notes)
    refuse_nothing(model, chosen, notes, "sparsify")
    refuse_tied(model, chosen)
    densities = densities_by_layer("sparsify", chosen, notes, asked[0], wanted.pattern, asked[1])
    sparse = {name: layer for name, layer in chosen.items() if densities[name] < 1.0 or full == "sparse"}
    notes |= dict.fromkeys(chosen.keys() - sparse.keys(), "density 1")
    for name, layer in sparse.items():
        check_fit(name, layer, densities[name], wanted.pattern)
    make = {name: partial(twin, name, layer, densities[name], wanted) for name, layer in sparse.items()}
    notes |= replace_layers(model, recurrent, chosen, densities, make, wanted.home, "sparsify")
    closed = recurrent.keys() - to_replace(recurrent, sparse).keys()
    return notes | {name: notes[f"{name}.ih_l0"] for name in closed}
