"""Layers look at the other layers of the process; one that another thread is still building is not among them."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import pytest

import gossamer as gs
from gossamer.nn import living

if TYPE_CHECKING:
    from collections.abc import Callable


def packed() -> gs.SparseLinear:
    return gs.SparseLinear(8, 8, density=0.5)


def masked() -> gs.MaskedLinear:
    return gs.MaskedLinear(8, 8, density=0.5)


@pytest.mark.parametrize("make", [packed, masked])
@pytest.mark.parametrize("again", [lambda _layer, make: make(), lambda layer, _make: copy.deepcopy(layer)])
def test_a_layer_is_seen_only_when_it_is_whole(
    make: Callable[[], gs.SparseLinear | gs.MaskedLinear],
    again: Callable[..., gs.SparseLinear | gs.MaskedLinear],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What other layers ask of it is there at the moment in which it is entered."""
    first, entered = make(), []

    def enter(layer: gs.SparseLinear | gs.MaskedLinear) -> None:
        asked = ("values", "number", "fingerprint") if make is packed else ("weight", "mask", "left")
        entered.append([hasattr(layer, name) for name in asked] + [layer.tape is not None])

    monkeypatch.setattr(living, "enter", enter)
    again(first, make)
    assert entered == [[True] * 4]
