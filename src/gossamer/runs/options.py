"""The flags of ``gossamer train``: those settings of a run whose annotations say so, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Literal, NamedTuple, get_args, get_origin

from gossamer.runs.config import GROUPS, Flag


class Option(NamedTuple):
    """One option of the command line that sets something in the configuration.

    Args:
        name: str - with underscores.
        kind: type - of what is typed.
        help: str.
        setting: str - dotted, as in ``--set``.
        read: callable - from what is typed to the value of the setting.
    """

    name: str
    kind: Any
    help: str
    setting: str
    read: Callable[[Any], Any]


def options() -> list[Option]:
    """Every option, in the order of the settings.

    Example:
        >>> [option.setting for option in options() if option.name in ("lr", "rule", "seed")]
        ['rule.name', 'seed', 'optimizer.lr']
    """
    return [option for group in GROUPS for option in _of_group(group)]


def _of_group(group: str) -> Iterator[Option]:
    for name, field in GROUPS[group].model_fields.items():
        for flag in (mark for mark in field.metadata if isinstance(mark, Flag)):
            setting = ".".join(part for part in (group, name, flag.key) if part)
            kind, read = (flag.kind, _as_typed) if flag.key else _kind(field.annotation)
            yield Option(flag.name or name, kind, _help(flag, field), setting, read)


def _kind(annotation: Any) -> tuple[type, Callable[[Any], Any]]:
    """What is typed for a setting, and how it becomes its value."""
    if get_origin(annotation) is tuple:
        return str, _listed
    there = {annotation, *get_args(annotation)}
    return next((kind for kind in (int, float) if kind in there), str), _as_typed


def _help(flag: Flag, field: Any) -> str:
    """What the setting itself knows stands behind: what there is to choose from, and the default."""
    parts = (field.annotation, *get_args(field.annotation))
    choices = [choice for part in parts if get_origin(part) is Literal for choice in get_args(part)]
    text = f"{flag.help}: {', '.join(choices[:-1])} or {choices[-1]}." if choices else flag.help
    default = field.default
    if isinstance(default, tuple):
        default = ",".join(map(str, default))
    shown = isinstance(default, (str, int, float)) and not field.is_required()
    return f"{text} Default: {default}." if shown else text


def _as_typed(value: Any) -> Any:
    return value


def _listed(text: str) -> list[str]:
    """``"300, 100"`` as a list."""
    return text.replace(" ", "").split(",")
