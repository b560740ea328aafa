"""The sparse layers of this process: of which other layers the values in a layer may be."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, TypeVar, cast
from weakref import WeakSet

if TYPE_CHECKING:
    from gossamer.nn.sparse import SparseModule

Layer = TypeVar("Layer", bound="SparseModule")

_layers: WeakSet[SparseModule] = WeakSet()
_lock = threading.Lock()  # a set may not grow while another thread walks over it


def enter(layer: SparseModule) -> None:
    """Note a layer; it is held weakly."""
    with _lock:
        _layers.add(layer)


def alike(layer: Layer) -> list[Layer]:
    """The other layers of the same class, pattern and shape.

    Cost: O(sparse layers of the process).
    """
    with _lock:
        found = list(_layers)
    return [cast("Layer", other) for other in found if other is not layer and _form(other) == _form(layer)]


def _form(layer: SparseModule) -> tuple[object, ...]:
    return type(layer), layer.pattern, layer.shape
