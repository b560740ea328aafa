"""Removing whole neurons of a trained sparse network."""

from __future__ import annotations

from collections.abc import Iterable
from math import nan
from typing import Any

import torch
from torch import nn

from gossamer.errors import ConfigError
from gossamer.rules import ImportancePruning
from gossamer.training import LayerUpdate, join


def prune_neurons(
    model: nn.Module, share: float, *, published: bool = False, outputs: Iterable[str] | None = None
) -> list[LayerUpdate]:
    """Remove the neurons with the weakest incoming connections from every sparse hidden layer, once.

    Args:
        model: nn.Module - changed in place; its sparse layers are unstructured, and no engine follows them.
        share: float in [0, 1] - of each layer's neurons; the percentile of their importance over 100.
        published: bool - leave outgoing connections and biases as they are; see ImportancePruning.
        outputs: names of layers that keep their neurons; None means the model's last linear or convolution.
    Returns:
        list of LayerUpdate - what happened to each layer.
    Raises:
        ConfigError, PatternError.
    Cost: O(connections).
    Source: Curci et al. 2021, importance pruning after training.
    Example:
        >>> import gossamer as gs
        >>> model = nn.Sequential(nn.Linear(20, 10), nn.ReLU(), nn.Linear(10, 10))
        >>> _ = gs.sparsify(model, 0.5, gs.Unstructured(), "uniform")
        >>> [row.active for row in prune_neurons(model, 0.3)]
        [7, 10]
    """
    rule = ImportancePruning(every=1, drop=_share(share), published=published)
    carrier = torch.optim.SGD(model.parameters())  # an engine needs one; it never takes a step
    engine = join(model, carrier, rule, total_steps=2, outputs=outputs)
    try:
        engine.step = 1
        engine.update()
    finally:
        engine.detach()
    return engine.history


def _share(given: Any) -> float:
    """A number in [0, 1], of whatever library; raises ConfigError."""
    number = not isinstance(given, (str, bytes, bool)) and hasattr(given, "__float__")
    try:
        share = float(given) if number else nan
    except (TypeError, ValueError, RuntimeError, OverflowError):  # several numbers, or one beyond floats
        share = nan
    if not 0 <= share <= 1:
        raise ConfigError("prune_neurons", expected="a share in [0, 1]", got=repr(given))
    return share
