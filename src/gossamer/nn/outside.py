"""What a model holds outside its tree of modules: layers are followed in lists and dictionaries, refused elsewhere."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from functools import partial
from types import FunctionType, MethodType, ModuleType
from typing import Any, NamedTuple

from torch import Tensor, nn

from gossamer.errors import ConfigError

DEPTH = 5  # a list in a dictionary of an object, and the like
CLOSED = (
    nn.Module,
    Tensor,
    type,
    ModuleType,
    str,
    bytes,
    int,
    float,
    type(None),
)  # not searched: the tree, and numbers


class Place(NamedTuple):
    """Where something is held: ``holder[key]``, or somewhere that cannot be written to, without a holder."""

    path: str
    holder: Any
    key: Any
    value: Any


def places(model: nn.Module, wanted: set[int]) -> list[Place]:
    """Where attributes of a model's modules hold given layers, beside the tree of modules.

    Lists, dictionaries, tuples, sets, bound methods, partial functions, closures and plain objects are searched.

    Args:
        model: nn.Module.
        wanted: ids of the layers, and of their parameters.
    Returns:
        list of Place - those in lists and dictionaries; the tree itself is left out.
    Raises:
        ConfigError: a layer in a place that cannot be written to, or a parameter anywhere, with the name of the place.
    Cost: O(attributes of all modules, and what they hold, five levels deep).
    """
    usual, seen, found = set(vars(nn.Module())), set[int](), list[Place]()
    for name, module in model.named_modules():
        for attribute, value in vars(module).items():
            if attribute not in usual:
                path = f"{name or type(model).__name__}.{attribute}"
                found += _within(Place(path, vars(module), attribute, value), wanted, seen, DEPTH)
    for place in found:
        if place.holder is None or isinstance(place.value, Tensor):
            raise ConfigError(
                "sparsify",
                expected="layers held by modules, lists or dictionaries, and their parameters by nothing else",
                got=f"a {type(place.value).__name__} in {place.path}",
                hint="hold layers in nn.ModuleList, look them up when they are called, make optimizers afterwards, "
                "or leave the layer out with skip=",
            )
    return found


def follow(found: list[Place], swapped: Mapping[int, nn.Module]) -> None:
    """Put the new layers in the places of the old ones."""
    for place in found:
        place.holder[place.key] = swapped[id(place.value)]


def _within(place: Place, wanted: set[int], seen: set[int], depth: int) -> Iterator[Place]:
    """The places at and below one."""
    value = place.value
    if id(value) in wanted:
        yield place
    elif depth and not isinstance(value, CLOSED) and id(value) not in seen:
        seen.add(id(value))
        for inner in _inside(place.path, value):
            yield from _within(inner, wanted, seen, depth - 1)


def _inside(path: str, value: Any) -> Iterator[Place]:
    """What a value holds."""
    if isinstance(value, list):
        yield from (Place(f"{path}[{i}]", value, i, item) for i, item in enumerate(value))
    elif isinstance(value, dict):
        yield from (Place(f"{path}[{key!r}]", value, key, item) for key, item in value.items())
        yield from (Place(f"the keys of {path}", None, None, key) for key in value)
    elif isinstance(value, (tuple, set, frozenset, deque)):
        yield from (Place(f"{path}, a {type(value).__name__}", None, None, item) for item in value)
    elif isinstance(value, MethodType):
        yield Place(f"{path}, a bound method", None, None, value.__self__)
    elif isinstance(value, partial):
        for item in (value.func, *value.args, *value.keywords.values()):
            yield Place(f"{path}, a partial function", None, None, item)
    elif isinstance(value, FunctionType):
        held = [item for cell in value.__closure__ or () for item in _content(cell)]
        held += [*(value.__defaults__ or ()), *(value.__kwdefaults__ or {}).values()]
        yield from (Place(f"{path}, a function", None, None, item) for item in held)
    elif hasattr(value, "__dict__"):
        yield from (Place(f"{path}.{key}", vars(value), key, item) for key, item in vars(value).items())


def _content(cell: Any) -> Iterator[Any]:
    """What a cell of a closure holds, unless nothing was put there yet."""
    try:
        yield cell.cell_contents
    except ValueError:
        return
