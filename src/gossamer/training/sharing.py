"""Layers that hold the same memory as their weights: an update of one would change the connections of the other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from gossamer.errors import ConfigError
from gossamer.nn import SparseModule
from gossamer.rules import Rule


def refuse_shared(
    operation: str, rule: Rule, layers: Iterable[str], around: Mapping[str, SparseModule]
) -> None:
    """Refuse two layers with one weight, where a rule changes the connections of at least one of them.

    Args:
        operation: str - named in the error.
        rule: Rule - one that never changes connections scrambles nothing.
        layers: names of those that it follows.
        around: name -> SparseModule - all that there are, each module once.
    Raises:
        ConfigError: with the names of both.
    Cost: O(layers).
    """
    changed: set[str] = set() if "change" in rule.never else set(layers)
    seen: dict[int, str] = {}
    for name, layer in around.items():
        # a state loaded with assign=True makes two parameters of one memory
        first = seen.setdefault(layer.weights.data_ptr() or id(layer.weights), name)
        if first != name and changed & {first, name}:
            raise ConfigError(
                operation,
                expected="weights of its own in every sparse layer",
                got=f"{first} and {name}, which share theirs",
                hint="a weight belongs to the connections of one layer: use one module in both places, or two weights",
            )
