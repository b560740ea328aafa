"""Hyper-parameters are checked when fitting starts, as scikit-learn wants it: one table, one error."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from gossamer.errors import ConfigError
from gossamer.estimators.network import ACTIVATIONS
from gossamer.patterns import Pattern
from gossamer.rules import Rule, rules
from gossamer.rules.base import is_number, is_whole
from gossamer.training import OPTIMIZERS


def _count(value: Any) -> bool:
    return is_whole(value) and value >= 1


def _share(value: Any) -> bool:
    return is_number(value) and 0 < value < 1


def _not_negative(value: Any) -> bool:
    return is_number(value) and value >= 0


# name of a parameter -> (what it has to be, whether a value is that)
CHECKS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "hidden_layer_sizes": (
        "a sequence of integers >= 1",
        lambda v: isinstance(v, (tuple, list)) and len(v) > 0 and all(map(_count, v)),
    ),
    "activation": (f"one of {', '.join(ACTIVATIONS)}", lambda v: v in ACTIVATIONS),
    "negative_slope": ("a number", is_number),
    "dropout": ("a number in [0, 1)", lambda v: is_number(v) and 0 <= v < 1),
    "density": (
        "a number in (0, 1], one by layer, or None",
        lambda v: v is None or isinstance(v, Mapping) or (is_number(v) and 0 < v <= 1),
    ),
    "epsilon": ("a number > 0 or None", lambda v: v is None or (is_number(v) and v > 0)),
    "pattern": ("a Pattern or its short name", lambda v: isinstance(v, (str, Pattern))),
    "rule": (f"a Rule or one of {', '.join(rules)}", lambda v: isinstance(v, Rule) or v in list(rules)),
    "drop_fraction": ("a number in [0, 1]", lambda v: is_number(v) and 0 <= v <= 1),
    "update_every": ("an integer >= 1 or None", lambda v: v is None or _count(v)),
    "optimizer": (f"one of {', '.join(OPTIMIZERS)}", lambda v: v in OPTIMIZERS),
    "learning_rate": ("a number > 0", lambda v: is_number(v) and v > 0),
    "momentum": ("a number in [0, 1) or None", lambda v: v is None or (is_number(v) and 0 <= v < 1)),
    "alpha": ("a number >= 0", _not_negative),
    "batch_size": ("an integer >= 1", _count),
    "max_iter": ("an integer >= 1", _count),
    "validation_fraction": ("a number between 0 and 1", _share),
    "n_iter_no_change": ("an integer >= 1", _count),
    "tol": ("a number >= 0", _not_negative),
}


def check_settings(name: str, parameters: dict[str, Any]) -> None:
    """Refuse the first hyper-parameter outside its range.

    Args:
        name: str - of the estimator, for the message.
        parameters: name -> value, as ``get_params`` gives them.

    Raises:
        ConfigError, which is a ValueError.

    Example:
        >>> check_settings("SparseMLPClassifier", {"max_iter": 0})
        Traceback (most recent call last):
        ...
        gossamer.errors.ConfigError: SparseMLPClassifier(max_iter=): expected an integer >= 1, got 0
    """
    for parameter, (expected, fits) in CHECKS.items():
        if parameter in parameters and not fits(parameters[parameter]):
            raise ConfigError(f"{name}({parameter}=)", expected=expected, got=repr(parameters[parameter]))
