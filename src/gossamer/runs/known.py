"""Names in a configuration that plug-ins defined: a run folder keeps names, and never the place of a file."""

from __future__ import annotations

from collections.abc import Container, Iterator
from typing import TYPE_CHECKING, Any

from gossamer import data, models, plugins
from gossamer.errors import ConfigError
from gossamer.patterns import patterns
from gossamer.rules import rules, schedules
from gossamer.runs.config import DENSE, FOLDER

if TYPE_CHECKING:
    from gossamer.registry import Registry
    from gossamer.runs.config import RunConfig

AGAIN = (
    "if a plug-in defined it, pass --plugin FILE again: a run folder does not say where files of others are"
)
NONE = "if a plug-in defined it: this command loads none"


def check_known(operation: str, config: RunConfig, *settings: str) -> None:
    """Refuse a recorded configuration with a name that nothing loaded or installed defines.

    Args:
        operation: str - named in the error.
        config: RunConfig - of a run folder.
        settings: which ones to look at: ``"data"``, ``"model"``, ``"pattern"``, ``"rule"``.

    Raises:
        ConfigError: says that a plug-in has to be named again. PluginError: it is installed, and broken.
    Cost: that of a plug-in, if it is installed.

    Example:
        >>> from gossamer.runs.config import RunConfig
        >>> check_known("resume a", RunConfig(rule={"name": "rigl"}), "data", "pattern", "rule")
    """
    asked: dict[str, list[tuple[Registry[Any], str]]] = {
        "data": [(data.recipes, config.data)],
        "model": [(models.models, name) for name in _names(config.model or {})],
        "pattern": [(patterns, config.pattern.partition(":")[0].strip().lower())],
        "rule": [(rules, name) for name in _names(config.rule or {})],
    }
    others: dict[str, Container[str]] = {
        "data": ("best", FOLDER),
        "model": (),
        "pattern": (DENSE,),
        "rule": schedules,
    }
    for setting in settings:
        for registry, name in asked[setting]:
            if name not in others[setting] and name not in registry:
                hint = AGAIN if plugins.allowed() else NONE
                raise ConfigError(
                    operation, expected=f"a {registry.kind} that is known here", got=repr(name), hint=hint
                )


def _names(rule: dict[str, Any]) -> Iterator[str]:
    """Of a rule, and of the schedules and rules inside it."""
    if "name" in rule:
        yield str(rule["name"])
    for value in rule.values():
        if isinstance(value, dict):
            yield from _names(value)
