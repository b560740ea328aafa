"""A fit that fails leaves an estimator as it was, and one that goes on uses the settings it began with."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from gossamer.errors import ConfigError
from gossamer.estimators.settings import widths

P = ParamSpec("P")
T = TypeVar("T")

# What the network was made of; what the course of its training was planned from; what the optimizer's state belongs to.
BUILT = (
    "hidden_layer_sizes",
    "density",
    "epsilon",
    "pattern",
    "activation",
    "negative_slope",
    "dropout",
    "random_state",
    "device",
)
PLANNED = ("rule", "drop_fraction", "update_every", "max_iter")
STATE = ("optimizer", "momentum")


def whole(method: Callable[P, T]) -> Callable[P, T]:
    """Decorate a method of an estimator that trains: where it raises, nothing that was fitted has changed.

    Cost: a copy of the network and of its training before the call, if there are any.
    """

    @wraps(method)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        estimator: Any = args[0]
        before: dict[str, Any] = {
            name: list(value) if name.endswith("_") and isinstance(value, list) else value
            for name, value in vars(estimator).items()
        }
        network = before.get("network_")
        kept = None if network is None else copy.deepcopy((network.state_dict(), before["_stand"]))
        try:
            return method(*args, **kwargs)
        except BaseException:
            vars(estimator).clear()
            vars(estimator).update(before)
            if network is not None and kept is not None:
                network.load_state_dict(kept[0])
                estimator._stand = kept[1]  # noqa: SLF001 (its own decorator)
            raise

    return run


def remembered(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as they are now, whatever is done to their lists and dicts later."""
    kept = {name: dict(value) if isinstance(value, Mapping) else value for name, value in parameters.items()}
    return kept | {"hidden_layer_sizes": widths(parameters.get("hidden_layer_sizes"))}


def check_unchanged(
    operation: str, names: Iterable[str], before: Mapping[str, Any], parameters: Mapping[str, Any]
) -> None:
    """Refuse to go on where a setting that can no longer be followed has changed.

    Args:
        operation: str - for the message.
        names: of the settings.
        before: from ``remembered``, in the call before.
        parameters: as they are now.

    Raises:
        ConfigError.

    Example:
        >>> check_unchanged("partial_fit", ["optimizer"], {"optimizer": "adam"}, {"optimizer": "sgd"})
        Traceback (most recent call last):
        ...
        gossamer.errors.ConfigError: partial_fit: expected optimizer='adam', as in the call before, got 'sgd'; set ...
    """
    now = remembered(parameters)
    for name in names:
        if now[name] is not before[name] and now[name] != before[name]:
            raise ConfigError(
                operation,
                expected=f"{name}={before[name]!r}, as in the call before",
                got=repr(now[name]),
                hint="set it back, or begin anew with fit and warm_start=False",
            )
