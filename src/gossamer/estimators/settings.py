"""Hyper-parameters are checked when fitting starts, as scikit-learn wants it: one table, one error."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from gossamer.bounds import LARGEST_DECAY, LARGEST_RATE, LARGEST_SLOPE
from gossamer.errors import ConfigError, PatternError
from gossamer.nn.arguments import pattern_of
from gossamer.nn.perceptron import ACTIVATIONS
from gossamer.patterns import NM, Pattern, parse
from gossamer.registry import did_you_mean
from gossamer.rules import Rule, rule_of, rules
from gossamer.rules.base import is_number, is_whole
from gossamer.training import OPTIMIZERS


def _count(value: Any) -> bool:
    return is_whole(value) and 1 <= value < 1 << 31


def _number(value: Any) -> bool:
    return is_number(value) and -LARGEST_SLOPE <= value <= LARGEST_SLOPE


def _density(value: Any) -> bool:
    return is_number(value) and 0 < value <= 1


def _share(value: Any) -> bool:
    return is_number(value) and 0 < value < 1


def _not_negative(value: Any) -> bool:
    return _number(value) and value >= 0


def _flag(value: Any) -> bool:
    return isinstance(value, (bool, np.bool_))


def _among(names: Iterable[str]) -> Callable[[Any], bool]:
    known = tuple(names)
    return lambda value: isinstance(value, str) and value in known


def _device(value: Any) -> bool:
    """Whether torch can compute on a device of this name here."""
    try:
        kind = torch.device(value).type
    except (RuntimeError, TypeError):
        return False
    return kind == "cpu" or (hasattr(torch, kind) and bool(getattr(torch, kind).is_available()))


def _seed(value: Any) -> bool:
    """What sklearn.utils.check_random_state takes."""
    own = value is None or value is np.random or isinstance(value, np.random.RandomState)
    return own or (isinstance(value, (int, np.integer)) and 0 <= int(value) < 1 << 32)


def widths(value: Any) -> tuple[int, ...] | None:
    """Widths of hidden layers from what scikit-learn's own perceptron takes: an integer, a sequence, an array, or ().

    Returns:
        tuple of int, or None where the value is none of these.

    Example:
        >>> widths(32), widths(np.array([16, 8])), widths(()), widths("32")
        ((32,), (16, 8), (), None)
    """
    if isinstance(value, np.ndarray):
        value = value.tolist() if value.dtype.kind in "iu" else None
    if is_whole(value):
        value = (value,)
    if isinstance(value, str) or not isinstance(value, Sequence) or not all(map(_count, value)):
        return None
    return tuple(map(int, value))


# name of a parameter -> (what it has to be, whether a value is that)
CHECKS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "hidden_layer_sizes": (
        "an integer from 1 to 2**31 - 1, or a sequence of them",
        lambda v: widths(v) is not None,
    ),
    "activation": (f"one of {', '.join(ACTIVATIONS)}", _among(ACTIVATIONS)),
    "negative_slope": (f"a number of size at most {LARGEST_SLOPE:g}", _number),
    "dropout": ("a number in [0, 1)", lambda v: is_number(v) and 0 <= v < 1),
    "density": (
        "a number in (0, 1], one by layer, or None",
        lambda v: v is None or all(map(_density, v.values() if isinstance(v, Mapping) else [v])),
    ),
    "epsilon": (
        f"a number > 0, at most {LARGEST_SLOPE:g}, or None",
        lambda v: v is None or (_number(v) and v > 0),
    ),
    "pattern": ("a Pattern or its short name", lambda v: isinstance(v, (str, Pattern))),
    "rule": (f"a Rule or one of {', '.join(rules)}", lambda v: isinstance(v, Rule) or _among(rules)(v)),
    "drop_fraction": ("a number in [0, 1]", lambda v: is_number(v) and 0 <= v <= 1),
    "update_every": ("an integer >= 1 or None", lambda v: v is None or _count(v)),
    "optimizer": (f"one of {', '.join(OPTIMIZERS)}", _among(OPTIMIZERS)),
    "learning_rate": (
        f"a number > 0, at most {LARGEST_RATE:g}",
        lambda v: is_number(v) and 0 < v <= LARGEST_RATE,
    ),
    "momentum": ("a number in [0, 1) or None", lambda v: v is None or (is_number(v) and 0 <= v < 1)),
    "alpha": (f"a number from 0 to {LARGEST_DECAY:g}", lambda v: is_number(v) and 0 <= v <= LARGEST_DECAY),
    "batch_size": ("an integer >= 1", _count),
    "max_iter": ("an integer >= 1", _count),
    "validation_fraction": ("a number between 0 and 1", _share),
    "n_iter_no_change": ("an integer >= 1", _count),
    "tol": (f"a number from 0 to {LARGEST_SLOPE:g}", _not_negative),
    "early_stopping": ("True or False", _flag),
    "warm_start": ("True or False", _flag),
    "device": ("a device that torch has here", _device),
    "random_state": ("None, an integer from 0 to 2**32 - 1, or a numpy.random.RandomState", _seed),
    "class_weight": (
        '"balanced", a dict of a number >= 0 for each class, or None',
        lambda v: (
            v is None
            or (isinstance(v, str) and v == "balanced")
            or (isinstance(v, Mapping) and all(map(_not_negative, v.values())))
        ),
    ),
}
WORDS: dict[str, Iterable[str]] = {
    "activation": ACTIVATIONS,
    "rule": rules,
    "optimizer": OPTIMIZERS,
    "class_weight": ("balanced",),
}
NAMED = ("unstructured", "fanin", "nm:1:8", "block:4")  # one of each kind, for hints


def check_settings(name: str, parameters: dict[str, Any]) -> None:
    """Refuse the first hyper-parameter outside its range.

    Args:
        name: str - of the estimator, for the message.
        parameters: name -> value, as ``get_params`` gives them.

    Raises:
        ConfigError, PatternError; both are ValueErrors.

    Example:
        >>> check_settings("SparseMLPClassifier", {"max_iter": 0})
        Traceback (most recent call last):
        ...
        gossamer.errors.ConfigError: SparseMLPClassifier(max_iter=): expected an integer >= 1, got 0
    """
    for parameter, (expected, fits) in CHECKS.items():
        if parameter in parameters and not fits(parameters[parameter]):
            value = parameters[parameter]
            raise ConfigError(
                f"{name}({parameter}=)", expected=expected, got=repr(value), hint=_meant(parameter, value)
            )
    if {"density", "epsilon"} <= parameters.keys():
        _check_counted(name, parameters)
    if {"rule", "pattern"} <= parameters.keys():
        _check_together(name, parameters)


def _meant(parameter: str, value: Any) -> str:
    """What a word, or a class in the place of an object, was probably meant to be; an empty string where nothing."""
    if isinstance(value, type) and issubclass(value, (Rule, Pattern)):
        return f"make one: {value.__name__}({'2, 4' if value is NM else ''})"
    return did_you_mean(value, WORDS[parameter]) if parameter in WORDS and isinstance(value, str) else ""


def _check_counted(name: str, parameters: Mapping[str, Any]) -> None:
    """Refuse settings that leave open how many connections there are."""
    pattern = parameters.get("pattern")
    fixed = pattern is not None and isinstance(pattern_of(pattern, f"{name}(pattern=)"), NM)
    if parameters["density"] is None and parameters["epsilon"] is None and not fixed:
        raise ConfigError(
            f"{name}(epsilon=)",
            expected="density or epsilon, which say how many connections there are",
            got="None for both",
            hint="only N:M patterns bring their own density",
        )


def _check_together(name: str, parameters: Mapping[str, Any]) -> None:
    """Refuse settings that exclude each other, also where all layers of this table would be dense."""
    rule, pattern = parameters["rule"], parameters["pattern"]
    made, zeros = rule_of(rule), pattern_of(pattern, f"{name}(pattern=)")
    epsilon = parameters.get("epsilon") if parameters.get("density") is None else None
    if isinstance(zeros, NM) and epsilon is not None:
        raise ConfigError(
            f"{name}(epsilon=)", expected=f"None, as {zeros} fixes the density", got=repr(epsilon)
        )
    if reason := made.undefined_in("packed"):
        raise ConfigError(
            f"{name}(rule=)", expected="a rule that is defined on packed layers", got=made.name, hint=reason
        )
    if made.undefined_on(zeros):
        taken = [repr(other) for other in NAMED if not made.undefined_on(parse(other))]
        raise PatternError(
            f"{name}(rule=)",
            expected=f"a rule that is defined on the pattern {zeros}",
            got=made.name,
            hint=f"choose pattern={' or '.join(taken)}, or another rule",
        )
