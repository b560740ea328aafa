"""Pruning in another order of channels, with which the pattern keeps more."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, cast

from torch import Tensor
from torch.optim import Optimizer

from gossamer.compress.permuting.demand import Demand, demand, wants_order
from gossamer.compress.permuting.reordering import reorder
from gossamer.compress.scores import Task
from gossamer.compress.scores.base import weights_of
from gossamer.errors import ConfigError, DensityError, PatternError
from gossamer.nn import SparseModule
from gossamer.nn.kinds import Kind, dense_kind
from gossamer.patterns import Pattern


def check_order(permute: Any, pattern: Pattern) -> None:
    """Refuse to look for an order that a pattern does not ask for, and what is no input; raises ConfigError."""
    if isinstance(permute, (bool, int, float, str)):
        raise ConfigError(
            "prune(permute=)",
            expected="an input of the model, such as torch.zeros(1, 3, 32, 32)",
            got=repr(permute),
        )
    if permute is not None and not wants_order(pattern):
        raise ConfigError(
            "prune(permute=)",
            expected="a pattern to which neighbours matter: fanin:2 to fanin:32, block or nm",
            got=str(pattern),
            hint="leave permute= out: no order keeps more",
        )


@contextmanager
def in_better_order(
    task: Task,
    permute: Any,
    densities: Mapping[str, float],
    found: Mapping[str, Tensor],
    optimizers: Iterable[Optimizer],
) -> Iterator[dict[str, str] | None]:
    """Reorder the model; after an error in the block it is as before, to the bit.

    Args:
        task: Task.
        permute: an input of the model; None: nothing is reordered.
        densities: name -> float of every layer.
        found: name -> prepared scores.
        optimizers: that hold state of what is reordered.
    Yields:
        name of a layer -> what became of its order; None where nothing was asked for.
    """
    if permute is None:
        yield None
        return
    asked = {
        name: one
        for name, layer in task.layers.items()
        if (one := _asked(name, layer, task, densities, found))
    }
    order = reorder(task.model, permute, asked, optimizers)
    try:
        yield order.notes
    except BaseException:
        order.undo()
        raise


def _asked(
    name: str, layer: Any, task: Task, densities: Mapping[str, float], found: Mapping[str, Tensor]
) -> Demand | None:
    """What a dense layer that loses connections is asked for; None for others."""
    if isinstance(layer, SparseModule) or densities[name] >= 1:
        return None
    scores = found[name]
    if name in task.updated:  # its scores only mark what the pattern chose in the order as it is
        scores = cast("Kind", dense_kind(layer)).masked.to_matrix(weights_of(layer).detach().abs()).cpu()
    try:
        return demand(task.pattern, scores, weights_of(layer).shape[1], densities[name])
    except (PatternError, DensityError) as error:
        raise error.within(f"prune {name}") from None
