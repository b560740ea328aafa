"""One-shot pruning: a trained model goes in, and comes out with the connections that are worth keeping."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer

from gossamer.compress.batches import batches_of
from gossamer.compress.ordering import check_order, in_better_order
from gossamer.compress.ranking import global_densities, prepared, thinned
from gossamer.compress.rebinding import check_rebinding, checked_optimizers, rebind
from gossamer.compress.recalibrating import recalibrate as recalibrate_norms
from gossamer.compress.recalibrating import refuse_without_norms
from gossamer.compress.scores import Score, Task
from gossamer.compress.scores.base import Loss, score_of, weights_of
from gossamer.compress.states import states_of
from gossamer.errors import PatternError, StateError
from gossamer.nn import SparseModule, arguments
from gossamer.nn.candidates import check_model, refuse_tied
from gossamer.nn.convert import HOMES
from gossamer.nn.densities import dense_size, densities_by_layer, whole_density
from gossamer.nn.init import LAWS
from gossamer.nn.kinds import dense_kind
from gossamer.nn.opening import Pairs, opened, to_replace
from gossamer.nn.replacing import reasons, refuse_nothing, replace_layers, without
from gossamer.nn.report import SparsifyReport, report_on
from gossamer.nn.skip import Skip, skipped
from gossamer.nn.twin import Wanted, check_fit, twin_of_best, unlike_others
from gossamer.patterns import Pattern, Unstructured
from gossamer.registry import answers_unknown, check_choice
from gossamer.topology import ALLOCATIONS

GLOBAL = "global"


@answers_unknown
def prune(
    model: nn.Module,
    density: float | Mapping[str, float] | None = None,
    pattern: Pattern | str | None = None,
    *,
    score: Score | str = "magnitude",
    allocation: str | None = None,
    data: Any = None,
    loss: Loss | None = None,
    recalibrate: Any = None,
    skip: Skip = (),
    dense_first: bool = False,
    dense_last: bool = False,
    permute: Any = None,
    home: str = "packed",
    generator: torch.Generator | None = None,
    optimizers: Iterable[Optimizer] = (),
) -> SparsifyReport:
    """Keep the connections of a trained model that score highest, once; linear layers and convolutions become sparse.

    Biases, norms, embeddings and depth-wise convolutions stay as they are. Counts are exact, and among equal scores the
    first win. Layers that are sparse already lose connections in place and never regain one; to a density that they
    have already, nothing changes. Train the model afterwards: at high sparsity one shot alone costs much.

    Args:
        model: nn.Module - changed in place. Create optimizers after it, or pass them.
        density: float in (0, 1] of the pruned layers together, or a mapping layer name -> density; None takes n / m of
            an NM pattern.
        pattern: Pattern, or its short name - Unstructured() by default. It is the scope too: FanIn compares within a
            row or a group of rows, NM within m inputs, Block whole blocks. Sparse layers keep theirs.
        score: Score, or its name - what a connection is worth; see ``gossamer.compress.scores``.
        allocation: "uniform", "er", "erk", or "global", which ranks all layers together; None takes that of the score.
        data: batches that the score looks at: inputs, or pairs (inputs, targets); one tensor is one batch.
        loss: (outputs, targets) -> mean loss; None is cross entropy.
        recalibrate: batches for ``gossamer.compress.recalibrate``, after pruning; None leaves batch norms as they are.
        skip: names, types or modules to leave as they are, or a function (name, module) -> bool.
        dense_first: bool - leave the first of the candidates as it is.
        dense_last: bool - leave the last of them as it is.
        permute: an input of the model, as ``freeze`` takes it: before connections are chosen, outputs are reordered so
            that those with alike inputs share a group or block, and inputs for NM. What reads them is reordered, too,
            also in layers that are skipped, so the dense network computes the same. None leaves the order.
        home: "packed" (truly sparse) or "masked" (dense times a mask).
        generator: torch.Generator or None - for scores that draw.
        optimizers: that go on afterwards: they get the parameters of the new layers, and keep the state of what stays.
            One that has state of a layer sparse already, or of what ``permute`` reorders, has to be given.
    Returns:
        SparsifyReport - what became of each layer; print it.
    Raises:
        DensityError, PatternError, ConfigError, DataError, NonFiniteError, StateError, MemoryShortage - before
        anything is changed; what the model raises while norms are recalibrated comes after.
    Cost: O(dense size), and the passes of the score.
    Source: Han et al. 2015 for magnitudes; each score names its own.
    Example:
        >>> model = nn.Sequential(nn.Linear(784, 300), nn.ReLU(), nn.Linear(300, 10))
        >>> prune(model, 0.1, dense_last=True).sparse_density, prune(model, 0.05, dense_last=True).sparse_density
        (0.1, 0.05)
    """
    check_choice("prune(home=)", home, HOMES)
    arguments.check_draws(generator, dense_first, dense_last, "prune")
    if allocation is not None:
        check_choice("prune(allocation=)", allocation, (*ALLOCATIONS, GLOBAL))
    scoring, asked = score_of(score), arguments.densities_of(density, "prune")
    given = None if pattern is None else arguments.pattern_of(pattern, "prune(pattern=)")
    check_model(model, "prune")
    _refuse_inference_mode()
    check_order(permute, given or Unstructured())
    optimizers = checked_optimizers(optimizers, "prune")
    _refuse_followed(model)
    batches = scoring.check(data)
    shift = None if recalibrate is None else batches_of(recalibrate, "prune(recalibrate=)")
    if shift is not None:
        refuse_without_norms(model, "prune(recalibrate=)")
    wanted = Wanted(given or Unstructured(), home, "keep", LAWS[0], unlike_others(), None)
    before = sum(parameter.numel() for parameter in model.parameters())
    with opened(model) as recurrent:
        chosen, notes = _candidates(model, given, partial(_skips, model, skip, dense_first, dense_last))
        default = scoring.allocation
        densities, overall = _densities(chosen, notes, asked, wanted.pattern, allocation, default)
        task = Task(
            model, chosen, densities, overall, wanted.pattern, batches, loss or F.cross_entropy, generator
        )
        found = _scores(scoring, task)
        densities = densities or task.settled or global_densities(chosen, found, wanted.pattern, overall)
        with in_better_order(task, permute, densities, found, optimizers) as order:
            found = found if order is None else _scores(scoring, task)
            notes |= _apply(model, recurrent, task, densities, found, wanted, optimizers)
        notes |= {name: f"{notes[name]}; {note}" for name, note in (order or {}).items()}
    if shift is not None:
        recalibrate_norms(model, shift)
    return report_on(model, notes, before)


def _skips(
    model: nn.Module, skip: Skip, dense_first: bool, dense_last: bool, layers: Mapping[str, nn.Module]
) -> dict[str, str]:
    return skipped(model, layers, skip, dense_first, dense_last, "prune")


def _candidates(
    model: nn.Module,
    given: Pattern | None,
    skips: Callable[[Mapping[str, nn.Module]], dict[str, str]],
) -> tuple[dict[str, Any], dict[str, str]]:
    """Name -> layer, dense or sparse, that is pruned, and what there is to say of every module."""
    layers = {n: m for n, m in model.named_modules() if isinstance(m, SparseModule) or dense_kind(m)}
    empty = {n: "no weights" for n, m in layers.items() if not prod(dense_size(m))}
    notes = reasons(model, "keep", None) | dict.fromkeys(_sparse(layers), "") | empty
    notes |= skips(layers)
    chosen = without(layers, notes)
    refuse_nothing(model, chosen, notes, "prune")
    refuse_tied(model, chosen, "prune")
    for name, layer in _sparse(chosen).items():
        if given is not None and layer.pattern != given:
            raise PatternError(
                f"prune {name}",
                expected=f"pattern {layer.pattern}, which the layer has",
                got=str(given),
                hint="leave pattern= out, or the layer with skip=",
            )
    return chosen, notes


def _sparse(layers: Mapping[str, Any]) -> dict[str, SparseModule]:
    """Those that are sparse already."""
    return {name: layer for name, layer in layers.items() if isinstance(layer, SparseModule)}


def _densities(
    chosen: Mapping[str, Any],
    notes: Mapping[str, str],
    asked: float | dict[str, float] | None,
    pattern: Pattern,
    allocation: str | None,
    default: str,
) -> tuple[dict[str, float] | None, float]:
    """Density of each layer, None where the scores decide; and of all of them together."""
    if not isinstance(asked, dict):
        asked, allocation = whole_density("prune", asked, pattern, allocation)
        if (allocation or default) == GLOBAL:
            return None, asked
    found = densities_by_layer("prune", chosen, notes, asked, pattern, allocation, default)
    sizes = {name: prod(dense_size(layer)) for name, layer in chosen.items()}
    return found, sum(found[name] * size for name, size in sizes.items()) / sum(sizes.values())


def _scores(scoring: Score, task: Task) -> dict[str, Tensor]:
    """Name -> scores that can be ranked."""
    found, weights = scoring.of(task), task.weights
    return {
        name: prepared(name, layer, found[name], weights[name], task.pattern)
        for name, layer in task.layers.items()
    }


def _apply(
    model: nn.Module,
    recurrent: Pairs,
    task: Task,
    densities: Mapping[str, float],
    found: Mapping[str, Tensor],
    wanted: Wanted,
    optimizers: tuple[Optimizer, ...],
) -> dict[str, str]:
    """Replace dense layers and thin sparse ones; whatever fails does so before the first is changed."""
    sparse = _sparse(task.layers)
    edits = {name: thinned(name, layer, found[name], densities[name]) for name, layer in sparse.items()}
    fewer = {name: sparse[name] for name, edit in edits.items() if edit is not None}
    states = states_of(fewer, optimizers, "prune", "pass optimizers=[optimizer]")
    dense: dict[str, Any] = {n: layer for n, layer in task.layers.items() if n not in sparse}
    make = {}
    for name, layer in dense.items():
        if densities[name] < 1:
            check_fit(name, layer, densities[name], wanted.pattern, "prune")
            weight = task.updated.get(name, weights_of(layer))
            make[name] = partial(twin_of_best, name, layer, densities[name], found[name], weight, wanted)
    check_rebinding(
        {name: dense[name] for name in make}, optimizers, "prune", " or pass optimizers=[optimizer]"
    )
    notes = dict.fromkeys(dense.keys() - make.keys(), "density 1")
    notes |= replace_layers(model, recurrent, dense, densities, make, wanted.home, "prune")
    rebind(optimizers, [(dense[name], model.get_submodule(name)) for name in make])
    for name, edit in edits.items():
        notes[name] = "has no more connections than that" if edit is None else "sparse before, fewer now"
        if edit is not None:
            if name in task.updated:
                with torch.no_grad():
                    sparse[name].weights.copy_(task.updated[name])
            sparse[name].carry(edit.of(sparse[name].topology), states[name])
    closed = recurrent.keys() - to_replace(recurrent, make).keys()
    return notes | dict.fromkeys(closed, "its matrices stay as they are")


def _refuse_inference_mode() -> None:
    """Refuse to make parameters that could never be trained; raises StateError."""
    if torch.is_inference_mode_enabled():
        raise StateError(
            "prune",
            expected="a call outside of torch.inference_mode",
            got="one inside, whose parameters cannot be trained",
            hint="torch.no_grad() is fine",
        )


def _refuse_followed(model: nn.Module) -> None:
    """Refuse a model whose topology an engine changes; raises StateError."""
    for name, module in model.named_modules():
        if isinstance(module, SparseModule) and module.tape.followed:
            raise StateError(
                f"prune {name}",
                expected="layers that no engine follows",
                got="one attached to an optimizer",
                hint="detach the engine, engine.detach(), or prune while training with a rule",
            )
