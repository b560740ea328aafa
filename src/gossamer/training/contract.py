"""What a rule answered, checked before anything is done with it: a slip in a rule of one's own gets a sentence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Integral, Real
from typing import Any

from torch import Tensor

from gossamer.errors import ConfigError
from gossamer.rules import LayerView, Rule


def checked_gradients(rule: Rule, layer: LayerView, units: Tensor) -> Tensor:
    """What ``rule.before_step`` makes of gradients [units, members]; raises ConfigError for another shape or kind."""
    return _alike(
        f"{type(rule).__name__}.before_step for {layer.name}", rule.before_step(layer, units), units
    )


def checked_weights(rule: Rule, layer: LayerView) -> Tensor:
    """What ``rule.after_step`` makes of a layer's weights; raises ConfigError for another shape or kind."""
    found = rule.after_step(layer, layer.values)
    return _alike(f"{type(rule).__name__}.after_step for {layer.name}", found, layer.values)


def checked_values(rule: Rule, layer: LayerView, positions: Tensor) -> Tensor | None:
    """What ``rule.revalued`` gives the weights of new positions; raises ConfigError for another shape or kind."""
    if (found := rule.revalued(layer, positions)) is None:
        return None
    wanted = layer.values.new_empty(positions.numel(), layer.values.shape[1])
    return _alike(f"{type(rule).__name__}.revalued for {layer.name}", found, wanted)


def _alike(where: str, found: Any, given: Tensor) -> Tensor:
    """Numbers of the shape in which a rule got them; raises ConfigError."""
    if not isinstance(found, Tensor) or found.shape != given.shape or not found.is_floating_point():
        raise ConfigError(
            where, expected=f"numbers of shape {tuple(given.shape)}, as they came", got=_said(found)
        )
    return found


def checked_whole(rule: Rule, layer: LayerView, found: Any, given: Tensor) -> Tensor:
    """What ``before_whole_step`` made of gradients [positions, members]; raises ConfigError for another shape."""
    return _alike(f"{type(rule).__name__}.before_whole_step for {layer.name}", found, given)


def checked_plan(rule: Rule, layers: Sequence[LayerView], fraction: float) -> dict[str, Tensor]:
    """What ``rule.plan`` decided, one tensor of positions a layer; raises ConfigError."""
    found, names = rule.plan(layers, fraction), [layer.name for layer in layers]
    where = f"{type(rule).__name__}.plan"
    if not isinstance(found, Mapping) or set(found) != set(names):
        got = (", ".join(map(str, found)) or "none") if isinstance(found, Mapping) else _said(found)
        raise ConfigError(where, expected=f"positions for {', '.join(names)}", got=got)
    if wrong := [name for name in names if not isinstance(found[name], Tensor)]:
        raise ConfigError(
            f"{where} for {wrong[0]}", expected="a tensor of positions", got=_said(found[wrong[0]])
        )
    return dict(found)


def checked_memory(rule: Rule, name: str, state: Any) -> dict[str, Any]:
    """What a rule remembers of a layer: tensors, and numbers as Python's own, for a checkpoint holds nothing else.

    Raises:
        ConfigError: anything else in it.
    """
    if not isinstance(state, Mapping):
        raise _no_memory(rule, name, _said(state))
    kept: dict[str, Any] = {}
    for key, value in state.items():
        if isinstance(value, Integral):
            kept[key] = int(value)
        elif isinstance(value, Real):
            kept[key] = float(value)
        elif isinstance(value, Tensor):
            kept[key] = value
        else:
            raise _no_memory(rule, name, f"{_said(value)} under {key!r}")
        if not isinstance(key, str):
            raise _no_memory(rule, name, f"the key {key!r}")
    return kept


def _no_memory(rule: Rule, name: str, got: str) -> ConfigError:
    return ConfigError(
        f"what {type(rule).__name__} remembers of {name}",
        expected="tensors and numbers by name",
        got=got,
        hint="keep numbers and tensors in layer.state, which a checkpoint can hold",
    )


def _said(value: Any) -> str:
    return (
        f"a tensor {tuple(value.shape)}, {value.dtype}" if isinstance(value, Tensor) else type(value).__name__
    )
