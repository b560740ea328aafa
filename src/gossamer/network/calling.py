"""How a network is called: its inputs by position or by name."""

from __future__ import annotations

from typing import Any

from gossamer.errors import ConfigError


def arranged(
    names: tuple[str, ...], given: tuple[Any, ...], named: dict[str, Any], operation: str
) -> tuple[Any, ...]:
    """The inputs of a frozen network in order.

    Args:
        names: of its inputs.
        given: by position; None counts as not given.
        named: by name, likewise.
        operation: str - for the message.

    Raises:
        ConfigError: an input that is missing, unknown, or given twice.

    Example:
        >>> arranged(("x", "mask"), (1,), {"mask": 2, "labels": None}, "Frozen")
        (1, 2)
    """
    placed = [value for value in given if value is not None]
    table = dict(zip(names, placed, strict=False))
    found = {name: value for name, value in named.items() if value is not None}
    wrong = [f"{name!r} twice" for name in found if name in table]
    wrong += [f"an unknown input {name!r}" for name in found if name not in names]
    wrong += [f"{len(placed)} inputs by position"] if len(placed) > len(names) else []
    table |= found
    wrong += [f"nothing for {name!r}" for name in names if name not in table]
    if wrong:
        raise ConfigError(
            operation,
            expected=f"the inputs it was frozen with: {', '.join(names)}",
            got=", ".join(wrong),
            hint="freeze again with an example of this call to change them",
        )
    return tuple(table[name] for name in names)
