"""Which form of a layer goes into a file, and which layouts may run if the file is to be small."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gossamer.layouts import Encoded, layout, layouts

# a dense form may have this many numbers, or this many for each connection of the file that it is made from
SMALL_MATRIX, LARGEST_BLOWUP = 1 << 24, 1024

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gossamer.layouts.connections import Connections


def to_store(connections: Connections, forms: dict[str, Encoded]) -> Encoded:
    """What goes into a file: the smallest form from which every form that runs is made to the bit.

    A filled-up fan-in has lost which zeros were added, a dense form which zeros are connections, csr does not say that
    tiles or blocks are whole; so a form is unpacked to see whether it gives the layer back, and whether the others
    still fit. A form that runs alone may be stored itself.

    Cost: O(connections log connections) for each layout.

    Example:
        >>> from gossamer.layouts.connections import Connections
        >>> c = Connections((2, 40), np.array([0, 42]), np.ones(2, np.float32))
        >>> forms = {name: layout(name).encode(c, layout(name).fit(c)) for name in ("csr", "dense")}
        >>> to_store(c, {"dense": forms["dense"]}).layout, to_store(c, forms).layout
        ('fanin', 'fanin')
    """
    if len(forms) == 1 and _crowded(connections, forms):
        return forms["dense"]
    able = [form for form in _explicit(connections) if not lost(form, connections, forms)]
    able += [form for name, form in forms.items() if len(forms) == 1 and layout(name).exact]
    least = min(able, key=lambda form: (form.file_bytes, form.layout not in forms))
    return forms.get(least.layout, least)


def smallest(connections: Connections, forms: dict[str, Encoded]) -> tuple[Encoded, set[str]]:
    """The smallest form in which a file may hold the layer, given what may run, and the layouts made from it.

    Args:
        connections: Connections.
        forms: layout -> Encoded - what may run.

    Returns:
        (Encoded, names of ``forms``). It depends on the type of values only by their bytes: with fewer bits a value it
        is never larger.

    Example:
        >>> from gossamer.layouts.connections import Connections
        >>> c = Connections((2, 2), np.arange(4), np.ones(4, np.float32))
        >>> forms = {name: layout(name).encode(c, layout(name).fit(c)) for name in ("csr", "dense")}
        >>> form, made = smallest(c, forms)
        >>> form.layout, made
        ('dense', {'dense'})
    """
    if _crowded(connections, forms):
        return forms["dense"], {"dense"}
    found = [(form, set(forms) - lost(form, connections, forms)) for form in _explicit(connections)]
    found += [(form, {name}) for name, form in forms.items() if layout(name).exact]
    return min(
        ((form, made) for form, made in found if made), key=lambda each: (each[0].file_bytes, -len(each[1]))
    )


def _crowded(connections: Connections, forms: dict[str, Encoded]) -> bool:
    """Whether every number of a dense form is a connection: nothing is smaller, and nothing need be tried."""
    size = connections.shape[0] * connections.shape[1]
    return "dense" in forms and connections.positions.size == size


def _explicit(connections: Connections) -> Iterator[Encoded]:
    """The layer in every explicit layout that holds it exactly."""
    for kind in map(layout, layouts):
        fits = kind.fit(connections)
        if kind.explicit and kind.exact and not isinstance(fits, str):
            yield kind.encode(connections, fits)


def lost(stored: Encoded, connections: Connections, forms: dict[str, Encoded]) -> set[str]:
    """Which forms cannot be made to the bit from a stored one."""
    back = layout(stored.layout).decode(stored)
    if not np.array_equal(back.positions, connections.positions):
        return set(forms)
    return {
        name
        for name, form in forms.items()
        if layout(name).fit(back) != form.parameters
        or not (layout(name).explicit or in_proportion(connections))
    }


def in_proportion(connections: Connections) -> bool:
    """Whether a file of the connections alone may ask for a dense form: a small file must not fill the memory."""
    size = connections.shape[0] * connections.shape[1]
    return size <= max(SMALL_MATRIX, LARGEST_BLOWUP * connections.positions.size)
