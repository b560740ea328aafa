"""The engine's state rides in ``optimizer.state_dict()``: whoever saves and loads an optimizer resumes it too."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from torch.optim import Optimizer

from gossamer.errors import ConfigError, FormatError

KEY = "gossamer"  # entry of the first parameter group: a list, one state an engine, in the order they were attached


class Rider(Protocol):
    """What has a state to carry."""

    def state_dict(self) -> dict[str, Any]:
        """Plain data."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from it."""

    def parse(self, state: Any) -> Any:
        """Refuse what ``load_state_dict`` could not take."""


def ride(optimizer: Optimizer, rider: Rider) -> list[Any]:
    """Put a rider's state into every state of an optimizer, and take it from every one that is loaded.

    Args:
        optimizer: Optimizer.
        rider: Rider - an engine.
    Returns:
        list of handles - ``remove()`` each to stop.
    """
    coming: list[dict[str, Any]] = []

    def give(_: Optimizer, state: dict[str, Any]) -> None:
        first = state["param_groups"][0]
        first[KEY] = [*first.get(KEY, ()), rider.state_dict()]

    def check(_: Optimizer, state: dict[str, Any]) -> dict[str, Any]:
        mine, groups = first_of(state["param_groups"])
        if mine is None:
            raise ConfigError(
                "optimizer.load_state_dict",
                expected="a state saved with the rule attached: it holds the engine's step and settings",
                got="one without",
                hint="to begin at step 0 on purpose, load it before gossamer.attach",
            )
        rider.parse(mine)
        coming[:] = [mine]
        return {**state, "param_groups": groups}

    def take(_: Optimizer) -> None:
        rider.load_state_dict(coming.pop())

    return [
        optimizer.register_state_dict_post_hook(give),
        optimizer.register_load_state_dict_pre_hook(check),
        optimizer.register_load_state_dict_post_hook(take),
    ]


def riders(optimizer: Optimizer) -> int:
    """How many engines ride in an optimizer's state."""
    return len(optimizer.state_dict()["param_groups"][0].get(KEY, ()))


def claim(optimizer: Optimizer, load: Callable[[Any], None]) -> None:
    """Load what was put into an optimizer while nothing rode in it: before ``attach``, or past torch's hooks.

    Args:
        optimizer: Optimizer.
        load: takes a state; what it refuses stays where it is.
    """
    state, groups = first_of(optimizer.param_groups)
    if state is None:
        return
    load(state)
    if KEY in groups[0]:
        optimizer.param_groups[0][KEY] = groups[0][KEY]
    else:
        del optimizer.param_groups[0][KEY]


def first_of(groups: list[dict[str, Any]]) -> tuple[Any, list[dict[str, Any]]]:
    """The first state in parameter groups, None without one, and the groups without it."""
    if not groups or KEY not in groups[0]:
        return None, groups
    group = dict(groups[0])
    states = group.pop(KEY)
    if not isinstance(states, list) or not states:
        raise FormatError("engine state", expected="a list of states", got=repr(states)[:60])
    if len(states) > 1:
        group[KEY] = states[1:]
    return states[0], [group, *groups[1:]]
