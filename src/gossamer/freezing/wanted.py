"""What the caller of ``freeze`` asked for, checked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from operator import index
from typing import TYPE_CHECKING, Any, Final, SupportsIndex

from gossamer.errors import ConfigError
from gossamer.layouts import layouts
from gossamer.layouts.rounding import ROUNDINGS
from gossamer.layouts.values import COMPUTE, EXACT, FLOAT32, NARROW
from gossamer.registry import check_choice, check_names

if TYPE_CHECKING:
    from gossamer.network.plan import Plan

SPEED: Final = "speed"
SIZE: Final = "size"
LARGEST_NUMBER_OF_BATCHES = 16
MOST = 2**24  # samples of a batch that is measured


@dataclass(frozen=True)
class Wanted:
    """What the caller asked for.

    Args:
        keep: "fastest", a layout for all layers, or layer -> layout.
        allowed: layouts that may be tried, or None for all.
        batches: batch sizes measured, ascending.
        seconds: float - to spend on measuring, about.
        values: "exact", the type that values are rounded to, or layer -> type; layers that are not named are exact.
        compute: of ``COMPUTE``: the arithmetic that layers may use beside that of the network.
        prefer: "speed", or "size": of forms of different sizes only the smallest may run.
        plan: what to repeat instead of measuring, or None.
        guarded: bool - whether batch sizes beyond those asked for are looked at.
    """

    keep: str | Mapping[str, str] = "fastest"
    allowed: frozenset[str] | None = None
    batches: tuple[int, ...] = (1,)
    seconds: float = 1.8
    values: str | Mapping[str, str] = EXACT
    compute: str = FLOAT32
    prefer: str = SPEED
    plan: Plan | None = None
    guarded: bool = True

    @classmethod
    def of(
        cls,
        keep: str | Mapping[str, str],
        allowed: Iterable[str] | None,
        batches: tuple[int, ...],
        layers: Iterable[str],
        values: str | Mapping[str, str] = EXACT,
        compute: str = FLOAT32,
        prefer: str = SPEED,
    ) -> Wanted:
        """Check all that was asked for; raises ConfigError."""
        _check_keep(keep, layers)
        allowed = None if allowed is None else _listed("freeze(candidates=)", "layouts", allowed)
        check_names("freeze(candidates=)", allowed or (), "layouts", layouts)
        types = _types(values, layers)
        check_choice("freeze(compute=)", compute, COMPUTE)
        if compute == "int8" and not types & set(ROUNDINGS):
            raise ConfigError(
                "freeze(compute=)",
                expected=f"int8 with values={' or '.join(map(repr, ROUNDINGS))}",
                got=f"int8 with {', '.join(sorted(types))} values",
            )
        check_choice("freeze(prefer=)", prefer, (SPEED, SIZE))
        return cls(
            keep,
            None if allowed is None else frozenset(allowed),
            batches,
            values=values,
            compute=compute,
            prefer=prefer,
        )

    def for_layer(self, name: str) -> str | None:
        """The layout a layer has to take, or None."""
        if isinstance(self.keep, str):
            return None if self.keep == "fastest" else self.keep
        return self.keep.get(name, self.keep.get(name.rpartition(":")[0]))  # "fc:2" is the second use of "fc"

    def type_of(self, name: str) -> str:
        """The type of a layer's values."""
        if isinstance(self.values, str):
            return self.values
        return self.values.get(name, self.values.get(name.rpartition(":")[0], EXACT))


def _check_keep(keep: Any, layers: Iterable[str]) -> None:
    """Refuse layouts and layers that there are not."""
    if isinstance(keep, str):
        check_choice("freeze(keep=)", keep, ("fastest", *layouts))
    elif isinstance(keep, Mapping):
        check_names("freeze(keep=)", keep, "linear layers", layers)
        check_names("freeze(keep=)", keep.values(), "layouts", layouts)
    else:
        expected = "fastest, a layout, or a mapping layer -> layout"
        raise ConfigError("freeze(keep=)", expected=expected, got=repr(keep)[:80])


def _types(values: Any, layers: Iterable[str]) -> set[str]:
    """Types of values that were asked for, once they and the layers are known to be there."""
    if isinstance(values, Mapping):
        check_names("freeze(values=)", values, "linear layers", layers)
        check_names("freeze(values=)", values.values(), "types of values", (EXACT, *NARROW))
        return set(values.values())
    check_choice("freeze(values=)", values, (EXACT, *NARROW))
    return {values}


def _listed(operation: str, of: str, given: Any) -> list[Any]:
    """What several things are given as."""
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise ConfigError(operation, expected=f"a list of {of}", got=repr(given)[:80])
    return list(given)


def sizes(given: Any) -> tuple[int, ...]:
    """Batch sizes that somebody asked for, ascending, each once; raises ConfigError.

    Example:
        >>> sizes([256, 1, 1])
        (1, 256)
    """
    operation, expected = (
        "freeze(batch_sizes=)",
        f"up to {LARGEST_NUMBER_OF_BATCHES} sizes from 1 to {MOST:,}",
    )
    found: set[int] = set()
    for size in _listed(operation, "sizes", given):
        if isinstance(size, bool) or not isinstance(size, SupportsIndex) or not 1 <= index(size) <= MOST:
            raise ConfigError(operation, expected=expected, got=repr(size)[:80])
        found.add(index(size))
    if len(found) > LARGEST_NUMBER_OF_BATCHES:
        raise ConfigError(operation, expected=expected, got=f"{len(found)} sizes")
    return tuple(sorted(found))
