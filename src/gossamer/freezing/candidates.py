"""What may run a layer: every layout that holds it and computes as is allowed, dense included; why others are out."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from gossamer.errors import PatternError
from gossamer.freezing.wanted import SIZE, SPEED
from gossamer.layouts import Encoded, layout, layouts
from gossamer.layouts.values import FLOAT32
from gossamer.network.conv_step import unfit
from gossamer.network.graph import Choice
from gossamer.network.store import smallest, to_store

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gossamer.layouts.connections import Connections
    from gossamer.layouts.geometry import Geometry

NEARLY_COMPLETE: Final = 0.99  # above this density no sparse layout is the smallest
TIE: Final = 1.03  # times that differ by less are equal: repeated measurements differ as much


@dataclass(frozen=True)
class Candidates:
    """The exact forms of one layer.

    Args:
        connections: Connections - what they hold.
        forms: layout -> Encoded.
        refused: layout -> why it was not tried.
        ways: what may run the layer; one where the caller left no choice.
        named: bool - the caller left few layouts: they are measured at every batch size.
        settled: bool - the caller left one layout, which is then stored as well.
        seconds: batch size -> way -> seconds; a way that was not worth measuring is missing.
        unmeasured: way -> why it has no time at some batch size.
        stores: layouts that run -> what is stored for them, as far as it has been asked for.
    """

    connections: Connections
    forms: dict[str, Encoded]
    refused: dict[str, str]
    ways: list[Choice]
    named: bool = False
    settled: bool = False
    seconds: dict[int, dict[Choice, float]] = field(default_factory=dict)
    unmeasured: dict[Choice, str] = field(default_factory=dict)
    stores: dict[frozenset[str], Encoded] = field(default_factory=dict)

    @property
    def dense(self) -> Choice:
        """The dense way: torch's for a convolution."""
        return next((way for way in self.ways if way.engine == "torch"), Choice("dense", "core"))

    def fastest(self, batch: int, engine: str | None = None) -> Choice | None:
        """The fastest way at a batch size, of one engine or both; of those as fast the smallest; None: unmeasured."""
        times = {way: s for way, s in self.seconds.get(batch, {}).items() if engine in (None, way.engine)}
        least = min(times.values(), default=0.0)
        equal = [way for way, taken in times.items() if taken <= TIE * least]
        return min(equal, key=self.memory, default=None)

    def memory(self, way: Choice) -> int:
        """Bytes of the weight as it is read when it runs: torch and slices have no narrow values."""
        form = self.forms[way.layout]
        return form.wide_bytes if way.widens else form.bytes

    def stored(self, names: Iterable[str]) -> Encoded:
        """What goes into a file where these layouts run."""
        key = frozenset(names)
        if key not in self.stores:
            forms = {name: self.forms[name] for name in sorted(key)}
            only = next(iter(forms))
            as_it_runs = self.settled and layout(only).exact
            self.stores[key] = forms[only] if as_it_runs else to_store(self.connections, forms)
        return self.stores[key]


def candidates(
    connections: Connections,
    forced: str | None,
    allowed: frozenset[str] | None,
    compute: str = FLOAT32,
    prefer: str = SPEED,
    geometry: Geometry | None = None,
) -> Candidates:
    """Every layout that holds a layer and may compute as it does, and why the others are out.

    Args:
        connections: Connections.
        forced: the layout it has to take, or None.
        allowed: layouts that may be tried, or None for all.
        compute: str - the arithmetic that is allowed beside that of the network.
        prefer: "speed", or "size": only the smallest forms are in. Where values are narrow, layouts that a file holds
            in more bytes than others are out.
        geometry: Geometry of a convolution, or None.

    Raises:
        PatternError: the forced layout cannot hold it.

    Example:
        >>> import numpy as np
        >>> from gossamer.layouts.connections import Connections
        >>> c = Connections((2, 2), np.array([0, 3]), np.ones(2, np.float32))
        >>> found = candidates(c, None, None)
        >>> list(found.forms), found.refused["nm"]
        (['bitmask', 'csr', 'csr_bands', 'dense', 'fanin'], 'not trained under an N:M pattern')
    """
    forms, refused = {}, {}
    for name in layouts:
        kind = layout(name)
        fits = kind.runs(connections)
        crowded = NEARLY_COMPLETE if prefer == SIZE else kind.densest
        if forced is not None and name != forced:
            refused[name] = f"{forced} is forced"
        elif kind.compute not in (FLOAT32, compute):
            refused[name] = f"it computes in {kind.compute}, which compute={compute!r} does not allow"
        elif isinstance(fits, str):
            refused[name] = fits
        elif forced is None and allowed is not None and name not in allowed:
            refused[name] = "not among the candidates"
        elif forced is None and allowed is None and kind.explicit and connections.density > crowded:
            refused[name] = f"density {connections.density:.2f} is above {crowded:.2f}"
        elif reason := unfit(form := kind.encode(connections, fits), geometry):
            refused[name] = reason
        else:
            forms[name] = form
    if forced is not None and forced not in forms:
        raise PatternError("freeze(keep=)", expected=f"a layer that {forced} can hold", got=refused[forced])
    if not forms:
        forms["dense"] = layout("dense").encode(connections, {})
        refused["dense"] = "no candidate holds the layer"
    _drop_large(connections, forms, refused, prefer)
    ways = [Choice(name, "core") for name in forms]
    ways += [Choice("dense", "torch")] if geometry is not None and "dense" in forms else []
    settled = len(forms) == 1 and (forced is not None or allowed is not None)
    named = allowed is not None or prefer == SIZE
    return Candidates(
        connections, forms, refused, ways[-1:] if settled else ways, named=named, settled=settled
    )


def _drop_large(
    connections: Connections, forms: dict[str, Encoded], refused: dict[str, str], prefer: str
) -> None:
    """Move forms that cost bytes from those that may run to those that are refused."""
    if prefer == SIZE:
        exact = {name: form for name, form in forms.items() if layout(name).exact} or forms
        least = min(form.file_bytes for form in exact.values())
        stays, what = {name for name, form in exact.items() if form.file_bytes == least}, f"{least:,} do"
    elif connections.reads is not None:
        stored, stays = smallest(connections, forms)
        what = f"{stored.file_bytes:,} hold it as {stored.layout}"
    else:
        return
    for name in set(forms) - stays:
        refused[name] = f"larger: {forms[name].file_bytes:,} bytes, and {what}"
        del forms[name]
