"""Layers scored in the order in which a model calls them, each on inputs from layers that are pruned already."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor

from gossamer.compress.calibrating import Flow, calls_of, flows
from gossamer.compress.ranking import global_densities, prepared
from gossamer.compress.scores.base import Task
from gossamer.compress.watching import Calls
from gossamer.registry import check_choice

ORDERS = ("blocks", "layers", "once")
Decide = Callable[[str, Flow], tuple[Tensor, Tensor]]


def check_order(score: str, order: str) -> None:
    """Refuse an unknown order; raises ConfigError."""
    check_choice(f"{score}(order=)", order, ORDERS)


def in_order(task: Task, order: str, decide: Decide, *, products: bool = False) -> dict[str, Tensor]:
    """Scores of all layers; the model is as it was afterwards, after an error too.

    Args:
        task: Task - with batches.
        order: "layers" - each layer sees inputs from pruned layers alone; "blocks" - those of one entry of a list or
            of an ``nn.Sequential`` are looked at together, as the authors of SparseGPT do with transformers; "once" -
            all see the inputs of the model as it is.
        decide: (name, what flows in) -> (scores, weights that flow goes through from now on), of the weights' shape.
        products: bool - whether ``decide`` reads X^T X.
    Returns:
        name -> scores.
    Raises:
        As ``calibrate``.
    Cost: for each batch a forward pass, and one up to each group of layers; a copy of the weights.
    """
    found: dict[str, Tensor] = {}
    with _lent(task) as put:
        calls = None if order == "once" else calls_of(task.model, task.batches, task.layers)
        for names in _groups(task, order, calls or []):
            layers = {name: task.layers[name] for name in names}
            seen = flows(task.model, task.batches, layers, products, calls)
            for name in names:
                found[name], weights = decide(name, seen.pop(name))
                if order != "once":
                    put(name, weights)
    return found


def densities_for(task: Task, decide: Decide, *, products: bool = False) -> Mapping[str, float]:
    """Density of each layer; where all are ranked together, what their scores give in the model as it is.

    Cost: none, or that of ``in_order`` with order "once".
    """
    if task.density is not None:
        return task.density
    found, weights = in_order(task, "once", decide, products=products), task.weights
    ranked = {n: prepared(n, layer, found[n], weights[n], task.pattern) for n, layer in task.layers.items()}
    task.settled.update(global_densities(task.layers, ranked, task.pattern, task.overall))
    return task.settled


def _groups(task: Task, order: str, calls: list[Calls]) -> list[list[str]]:
    """Names of layers that are looked at in one pass, in the order of the passes."""
    if order == "once":
        return [list(task.layers)]
    groups: dict[str, list[str]] = {}
    for name in dict.fromkeys(name for counted in calls for name in counted):
        groups.setdefault(name if order == "layers" else block_of(name), []).append(name)
    return list(groups.values())


def block_of(name: str) -> str:
    """The innermost numbered module that a layer is in, or the layer itself.

    Example:
        >>> block_of("model.layers.3.mlp.up"), block_of("features.0"), block_of("head")
        ('model.layers.3', 'features.0', 'head')
    """
    parts = name.split(".")
    numbered = [place for place, part in enumerate(parts) if part.isdigit()]
    return ".".join(parts[: numbered[-1] + 1]) if numbered else name


@contextmanager
def _lent(task: Task) -> Iterator[Callable[[str, Tensor], None]]:
    """Have layers compute with other weights for a while."""
    parameters: Mapping[str, Tensor] = task.parameters
    kept: dict[str, Tensor] = {}

    def put(name: str, weights: Tensor) -> None:
        with torch.no_grad():
            kept.setdefault(name, parameters[name].detach().clone())
            parameters[name].copy_(weights)

    try:
        yield put
    finally:
        with torch.no_grad():
            for name, weights in kept.items():
                parameters[name].copy_(weights)
