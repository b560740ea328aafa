"""Rules as plain data: for checkpoints, config files and the command line."""

from __future__ import annotations

from dataclasses import fields
from typing import Any, TypeVar

from gossamer.errors import ConfigError
from gossamer.registry import Registry, check_names
from gossamer.rules.base import Rule, rules
from gossamer.rules.schedules import Schedule, schedules

T = TypeVar("T")


def describe(rule: Rule | Schedule) -> dict[str, Any]:
    """A rule or schedule as JSON-ready data; the inverse of ``build``.

    Cost: O(1).
    Example:
        >>> from gossamer.rules import SRigL
        >>> describe(SRigL(gamma=None))["name"]
        'srigl'
    """
    values = {field.name: getattr(rule, field.name) for field in fields(rule)}
    return {
        "name": rule.name,
        **{key: describe(v) if isinstance(v, (Rule, Schedule)) else v for key, v in values.items()},
    }


def build(config: dict[str, Any]) -> Rule:
    """A rule from its data.

    Args:
        config: dict - ``name`` and the rule's settings; a schedule, or a rule beside it, is a dict of its own.
    Returns:
        Rule.
    Raises:
        ConfigError: unknown name or setting, or a value out of range.
    Cost: O(1).
    Example:
        >>> build({"name": "rigl", "every": 50, "drop": {"name": "linear", "start": 0.4}}).drop
        LinearDecay(start=0.4, end=0.0)
    """
    return _make(
        rules, {key: _part(value) if isinstance(value, dict) else value for key, value in config.items()}
    )


def rule_of(given: Any) -> Rule:
    """The rule meant by an instance, or by the name of a rule that needs no settings.

    Args:
        given: Rule, or str - "rigl" is RigL().
    Returns:
        Rule.
    Raises:
        ConfigError: unknown name, a class without its settings, or anything else.
    Cost: O(1).
    Example:
        >>> rule_of("set")
        SET(...)
    """
    if isinstance(given, Rule):
        return given
    if isinstance(given, str):
        return build({"name": given.strip().lower()})
    named = isinstance(given, type) and issubclass(given, Rule)
    raise ConfigError(
        "rule",
        expected='a rule such as RigL(every=100), or a name such as "rigl"',
        got=f"the class {given.__name__}" if named else repr(given),
        hint=f"make one: {given.__name__}()" if named else "",
    )


def _part(config: dict[str, Any]) -> Rule | Schedule:
    """A rule or schedule inside a rule."""
    return build(config) if config.get("name") in rules else _make(schedules, dict(config))


def _make(registry: Registry[type[T]], settings: dict[str, Any]) -> T:
    """Construct by name with keyword arguments; a wrong one is a ConfigError."""
    kind: Any = registry[str(settings.pop("name", ""))]
    allowed = [field.name for field in fields(kind)]
    check_names(f"settings of {kind.name}", sorted(settings), "some", allowed)
    try:
        made: T = kind(**settings)
    except TypeError as error:
        raise ConfigError(
            f"settings of {kind.name}",
            expected="settings that the class knows, of the right type",
            got=repr(settings),
            hint=str(error),
        ) from None
    return made
