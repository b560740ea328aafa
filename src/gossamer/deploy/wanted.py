"""What the caller of ``freeze`` asked for, checked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from gossamer.deploy.layouts import layouts
from gossamer.deploy.values import ACTIVATIONS, EXACT, NARROW
from gossamer.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from gossamer.deploy.plan import Plan

SPEED: Final = "speed"
SIZE: Final = "size"
LARGEST_NUMBER_OF_BATCHES = 16


@dataclass(frozen=True)
class Wanted:
    """What the caller asked for.

    Args:
        keep: "fastest", a layout for all layers, or layer -> layout.
        allowed: layouts that may be tried, or None for all.
        batches: batch sizes measured, ascending.
        seconds: float - to spend on measuring, about.
        values: "exact", or the type that values are rounded to.
        activations: "exact", or "int8": layers may round their inputs.
        prefer: "speed", or "size": of forms of different sizes only the smallest may run.
        plan: what to repeat instead of measuring, or None.
        guarded: bool - whether batch sizes beyond those asked for are looked at.
    """

    keep: str | Mapping[str, str] = "fastest"
    allowed: frozenset[str] | None = None
    batches: tuple[int, ...] = (1,)
    seconds: float = 1.8
    values: str = EXACT
    activations: str = EXACT
    prefer: str = SPEED
    plan: Plan | None = None
    guarded: bool = True

    @classmethod
    def of(
        cls,
        keep: str | Mapping[str, str],
        allowed: Iterable[str] | None,
        batches: Iterable[int],
        layers: Iterable[str],
        values: str = EXACT,
        activations: str = EXACT,
        prefer: str = SPEED,
    ) -> Wanted:
        """Check the names first; raises ConfigError."""
        named = [] if keep == "fastest" else [keep] if isinstance(keep, str) else list(keep.values())
        if unknown := sorted({*named, *(allowed or ())} - set(layouts)):
            raise ConfigError(
                "freeze", expected=f"layouts among {', '.join(layouts)}", got=", ".join(unknown)
            )
        if not isinstance(keep, str) and (unknown := sorted(set(keep) - set(layers))):
            raise ConfigError(
                "freeze(keep=)", expected=f"layers among {', '.join(layers)}", got=", ".join(unknown)
            )
        if values not in (EXACT, *NARROW):
            raise ConfigError(
                "freeze(values=)", expected=f"one of {EXACT}, {', '.join(NARROW)}", got=repr(values)
            )
        if activations not in ACTIVATIONS or activations not in (EXACT, values):
            raise ConfigError(
                "freeze(activations=)",
                expected=f"one of {', '.join(ACTIVATIONS)}, and int8 with values='int8' only",
                got=f"{activations!r} with {values} values",
            )
        if prefer not in (SPEED, SIZE):
            raise ConfigError("freeze(prefer=)", expected=f"{SPEED} or {SIZE}", got=repr(prefer))
        sizes = tuple(sorted(set(batches)))
        if sizes[0] < 1 or len(sizes) > LARGEST_NUMBER_OF_BATCHES:
            raise ConfigError(
                "freeze(batch_sizes=)",
                expected=f"up to {LARGEST_NUMBER_OF_BATCHES} sizes from 1 on",
                got=str(sizes),
            )
        return cls(
            keep,
            None if allowed is None else frozenset(allowed),
            sizes,
            values=values,
            activations=activations,
            prefer=prefer,
        )

    def for_layer(self, name: str) -> str | None:
        """The layout a layer has to take, or None."""
        if isinstance(self.keep, str):
            return None if self.keep == "fastest" else self.keep
        return self.keep.get(name, self.keep.get(name.rpartition(":")[0]))  # "fc:2" is the second use of "fc"
