"""State as plain JSON and back: what JSON alone would change on the way (integer keys, tuples, infinity) is tagged."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from math import isfinite
from typing import Any

import torch
from torch import Tensor

from gossamer.errors import ConfigError, FormatError

_DTYPES = {
    str(dtype).removeprefix("torch."): dtype
    for dtype in (torch.float32, torch.float64, torch.int64, torch.bool)
}


def to_plain(value: Any, where: str) -> Any:
    """A value that JSON keeps exactly.

    Args:
        value: None, bool, int, float, str, list, tuple, dict, Counter, 0-dim tensor, or any nesting of them.
        where: str - named in errors, e.g. "scheduler".
    Returns:
        JSON-ready data for ``from_plain``.
    Raises:
        ConfigError: a value of any other kind, with its place.
    Cost: O(size).
    Example:
        >>> to_plain({"lr": (0.1, float("inf"))}, "optimizer")
        {'lr': {'$tuple': [0.1, {'$float': 'inf'}]}}
    """
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if isfinite(value) else {"$float": str(value)}
    if isinstance(value, (list, tuple)):
        items = [to_plain(item, f"{where}[{number}]") for number, item in enumerate(value)]
        return items if isinstance(value, list) else {"$tuple": items}
    if isinstance(value, dict):
        if not isinstance(value, Counter) and all(
            isinstance(key, str) and not key.startswith("$") for key in value
        ):
            return {key: to_plain(item, f"{where}.{key}") for key, item in value.items()}
        items = [[to_plain(key, where), to_plain(item, f"{where}.{key}")] for key, item in value.items()]
        return {"$counter" if isinstance(value, Counter) else "$dict": items}
    if isinstance(value, Tensor) and value.dim() == 0 and value.dtype in _DTYPES.values():
        return {"$tensor": [to_plain(value.item(), where), str(value.dtype).removeprefix("torch.")]}
    raise ConfigError(
        f"checkpoint of {where}",
        expected="numbers, text, lists and dicts of them",
        got=type(value).__name__,
        hint="save it beside the checkpoint",
    )


def from_plain(value: Any) -> Any:
    """The inverse of ``to_plain``; raises FormatError on a tag it does not know.

    Cost: O(size).
    Example:
        >>> from_plain({"$counter": [[30, 2]]})
        Counter({30: 2})
    """
    if isinstance(value, list):
        return [from_plain(item) for item in value]
    if not isinstance(value, dict):
        return value
    tag = next((key for key in value if key.startswith("$")), None)
    if tag is None:
        return {key: from_plain(item) for key, item in value.items()}
    try:
        return _TAGS[tag](from_plain(value[tag]))
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        got = f"{tag}: {str(value[tag])[:60]} ({type(error).__name__})"
        raise FormatError("checkpoint", expected=f"tags among {', '.join(_TAGS)}", got=got) from None


_TAGS: dict[str, Callable[[Any], Any]] = {
    "$float": float,
    "$tuple": tuple,
    "$dict": dict,
    "$counter": lambda items: Counter(dict(items)),
    "$tensor": lambda pair: torch.tensor(pair[0], dtype=_DTYPES[pair[1]]),
}
