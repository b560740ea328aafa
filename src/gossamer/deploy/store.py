"""Which form of a layer goes into a file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from gossamer.deploy.layouts import Packed, layout, layouts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gossamer.deploy.connections import Connections


def to_store(connections: Connections, forms: dict[str, Packed]) -> Packed:
    """What goes into a file: the form that runs; where several do, the smallest that all are made from to the bit.

    A filled-up fan-in has lost which zeros were added, csr does not say that tiles or blocks are whole; so a form is
    unpacked to see whether it gives the layer back, and whether the others still fit.

    Cost: O(connections log connections) for each explicit layout where several forms run.

    Example:
        >>> from gossamer.deploy.connections import Connections
        >>> c = Connections((2, 2), torch.tensor([0, 3]), torch.ones(2))
        >>> forms = {name: layout(name).pack(c, layout(name).fit(c)) for name in ("csr", "fanin")}
        >>> to_store(c, {"fanin": forms["fanin"]}).layout, to_store(c, forms).layout
        ('fanin', 'fanin')
    """
    if len(forms) == 1:
        return next(iter(forms.values()))
    able = (form for form in _explicit(connections) if _gives_all(form, connections, forms))
    return min(able, key=lambda form: (form.bytes, form.layout not in forms))


def _explicit(connections: Connections) -> Iterator[Packed]:
    """The layer in every explicit layout that holds it."""
    for kind in map(layout, layouts):
        fits = kind.fit(connections)
        if kind.explicit and not isinstance(fits, str):
            yield kind.pack(connections, fits)


def _gives_all(stored: Packed, connections: Connections, forms: dict[str, Packed]) -> bool:
    """Whether the stored form gives back the connections and no others, and every form from them."""
    back = layout(stored.layout).unpack(stored)
    same = torch.equal(back.positions, connections.positions)
    return same and all(layout(name).fit(back) == form.parameters for name, form in forms.items())
