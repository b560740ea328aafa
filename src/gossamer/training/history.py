"""What an engine has done, and its state as plain data that is checked before it is believed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from torch import Tensor

from gossamer.errors import ConfigError, FormatError


@dataclass(frozen=True)
class LayerUpdate:
    """What one topology update did to one layer: a row of ``Engine.history``."""

    step: int
    layer: str
    dropped: int
    grown: int
    connections: int
    active: int  # neurons with at least one connection
    fan_in: int  # largest fan-in

    @classmethod
    def parse(cls, row: Any) -> LayerUpdate:
        """A row from plain data; raises FormatError where it is anything else."""
        kinds = {field.name: str if field.name == "layer" else int for field in fields(cls)}
        if not isinstance(row, dict) or {key: type(value) for key, value in row.items()} != kinds:
            raise FormatError("engine history", expected=f"rows of {', '.join(kinds)}", got=repr(row)[:80])
        return cls(**row)


def flip_rates(
    history: Iterable[LayerUpdate], positions: Mapping[str, int]
) -> dict[str, list[tuple[int, float]]]:
    """Share of a layer's positions whose mask changed, at every update.

    Args:
        history: rows.
        positions: layer -> weights of the dense layer.
    Returns:
        layer -> [(step, share)].
    Cost: O(rows).
    """
    found: dict[str, list[tuple[int, float]]] = {name: [] for name in positions}
    for row in history:
        found[row.layer].append((row.step, (row.dropped + row.grown) / positions[row.layer]))
    return found


@dataclass(frozen=True)
class Standing:
    """Where an engine stands: what its state says beside its settings."""

    step: int
    history: list[LayerUpdate]
    topologies: dict[str, str]  # a digest of every layer's connections
    remembered: dict[str, dict[str, Any]]  # what the rule keeps of layers


def parse_state(state: Any, settings: Mapping[str, Any]) -> Standing:
    """Where an engine stood; raises ConfigError where the state is of another run, FormatError where it is damaged.

    Args:
        state: whatever a file holds.
        settings: name -> value - what the state of the same run says of its engine.
    """
    if not isinstance(state, dict):
        raise FormatError("Engine.load_state_dict", expected="the state of an engine", got=repr(state)[:60])
    state = {"ranks": 1, **state}  # files of one process do not say so
    if differ := {key: (value, state.get(key)) for key, value in settings.items() if state.get(key) != value}:
        raise ConfigError(
            "Engine.load_state_dict",
            expected=", ".join(f"{key}={value[0]}" for key, value in differ.items()),
            got=", ".join(f"{key}={value[1]}" for key, value in differ.items()),
            hint="attach with the settings the checkpoint was written with",
        )
    step, rows, topologies = (state.get(key) for key in ("step", "history", "topologies"))
    if type(step) is not int or step < 0 or not (isinstance(rows, list) and isinstance(topologies, dict)):
        raise FormatError(
            "Engine.load_state_dict",
            expected="a step, a history and digests of topologies",
            got=f"step {step!r}, {type(rows).__name__}, {type(topologies).__name__}",
        )
    remembered = _parse_remembered(state.get("remembered", {}), settings["layers"])
    return Standing(step, [LayerUpdate.parse(row) for row in rows], topologies, remembered)


def _parse_remembered(given: Any, layers: Iterable[str]) -> dict[str, dict[str, Any]]:
    """What a rule kept: tensors and numbers by name, for layers of this run; raises FormatError."""
    known, kinds = set(layers), (Tensor, int, float)
    whole = isinstance(given, dict) and all(
        name in known
        and isinstance(kept, dict)
        and all(isinstance(key, str) and isinstance(value, kinds) for key, value in kept.items())
        for name, kept in given.items()
    )
    if not whole:
        raise FormatError(
            "Engine.load_state_dict",
            expected="the state of the rule: tensors and numbers, by layer of this run",
            got=repr(given)[:60],
        )
    return {name: dict(kept) for name, kept in given.items()}
