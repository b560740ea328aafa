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
)  # not searched: the tree itself, and what holds no layers of a model
FLAT = {int, float, bool, complex, str, bytes, type(None)}  # passed over at once: there may be millions


class Place(NamedTuple):
    """Where something is held: ``holder[key]``, or somewhere that cannot be written to, without a holder."""

    path: tuple[Any, ...]  # words, and keys in lists of one; joined only where they are shown
    holder: Any
    key: Any
    value: Any

    def __str__(self) -> str:
        return "".join(part if isinstance(part, str) else repr(part) for part in self.path)


def places(model: nn.Module, wanted: set[int], operation: str = "sparsify") -> list[Place]:
    """Where attributes of a model's modules hold given layers, beside the tree of modules.

    Lists, dictionaries, tuples, sets, bound methods, partial functions, closures and plain objects are searched.

    Args:
        model: nn.Module.
        wanted: ids of the layers, and of their parameters.
        operation: str - named in the error.
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
                path = (f"{name or type(model).__name__}.{attribute}",)
                found += _within(Place(path, vars(module), attribute, value), wanted, seen, DEPTH)
    for place in found:
        if place.holder is None or isinstance(place.value, Tensor):
            raise ConfigError(
                operation,
                expected="layers held by modules, lists or dictionaries, and their parameters by nothing else",
                got=f"a {type(place.value).__name__} in {place}",
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


def _inside(path: tuple[Any, ...], value: Any) -> Iterator[Place]:
    """What a value holds."""
    if isinstance(value, list):
        yield from (Place((*path, [i]), value, i, x) for i, x in enumerate(value) if type(x) not in FLAT)
    elif isinstance(value, dict):
        yield from (Place((*path, [key]), value, key, x) for key, x in value.items() if type(x) not in FLAT)
        yield from (Place((*path, ", its keys"), None, None, x) for x in value if type(x) not in FLAT)
    elif isinstance(value, (tuple, set, frozenset, deque)):
        kind = f", a {type(value).__name__}"
        yield from (Place((*path, kind), None, None, x) for x in value if type(x) not in FLAT)
    elif isinstance(value, MethodType):
        yield Place((*path, ", a bound method"), None, None, value.__self__)
    elif isinstance(value, partial):
        for x in (value.func, *value.args, *value.keywords.values()):
            yield Place((*path, ", a partial function"), None, None, x)
    elif isinstance(value, FunctionType):
        held = [x for cell in value.__closure__ or () for x in _content(cell)]
        held += [*(value.__defaults__ or ()), *(value.__kwdefaults__ or {}).values()]
        yield from (Place((*path, ", a function"), None, None, x) for x in held)
    elif type(value) not in FLAT and hasattr(value, "__dict__"):
        yield from (Place((*path, f".{name}"), vars(value), name, x) for name, x in vars(value).items())


def _content(cell: Any) -> Iterator[Any]:
    """What a cell of a closure holds, unless nothing was put there yet."""
    try:
        yield cell.cell_contents
    except ValueError:
        return
