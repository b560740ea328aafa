"""State as plain JSON and back: what JSON alone would change on the way (integer keys, tuples, infinity) is tagged."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gossamer.errors import ConfigError, FormatError

_DTYPES = {
    str(dtype).removeprefix("torch."): dtype
    for dtype in (
        torch.float16, torch.bfloat16, torch.float32, torch.float64,
        torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.bool,
    )
}  # fmt: skip


def to_plain(value: Any, where: str, keep: Callable[[str, Tensor], str] | None = None) -> Any:
    """A value that JSON keeps exactly.

    Args:
        value: None, bool, int, float, str, Path, a NumPy scalar (which comes back as Python's own number), list, tuple,
            dict, Counter, 0-dim tensor, or any nesting of them; other tensors where ``keep`` is given.
        where: str - named in errors, e.g. "scheduler".
        keep: (place, tensor) -> name, or None - stores a tensor elsewhere.
    Returns:
        JSON-ready data for ``from_plain``.
    Raises:
        ConfigError: a value of any other kind, with its place.
    Cost: O(size).
    Example:
        >>> to_plain({"lr": (0.1, float("inf"))}, "optimizer")
        {'lr': {'$tuple': [0.1, {'$float': 'inf'}]}}
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, (int, str, float)):
        return _number_or_text(value)
    if isinstance(value, np.generic) and not isinstance(number := value.item(), (np.generic, tuple)):
        return to_plain(number, where)
    if isinstance(value, Path):
        return {"$path": str(value)}
    if isinstance(value, (list, tuple)):
        items = [to_plain(item, f"{where}[{number}]", keep) for number, item in enumerate(value)]
        return items if isinstance(value, list) else {"$tuple": items}
    if isinstance(value, dict):
        return _plain_dict(value, where, keep)
    if isinstance(value, Tensor) and value.dim() == 0 and value.dtype in _DTYPES.values():
        return {"$tensor": [to_plain(value.item(), where), str(value.dtype).removeprefix("torch.")]}
    if isinstance(value, Tensor) and keep is not None:
        return {"$stored": keep(where, value)}
    raise ConfigError(
        f"checkpoint of {where}",
        expected="numbers, text, lists and dicts of them",
        got=type(value).__name__,
        hint="save it beside the checkpoint",
    )


def _number_or_text(value: float | str) -> Any:
    """As Python's own type: subclasses (of NumPy, of enumerations) are for their makers to read."""
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        return int(value)
    return float(value) if isfinite(value) else {"$float": str(float(value))}


def _plain_dict(value: dict[Any, Any], where: str, keep: Callable[[str, Tensor], str] | None) -> Any:
    """As a JSON object where all keys are ordinary text, else as tagged pairs."""
    if not isinstance(value, Counter) and all(
        isinstance(key, str) and not key.startswith("$") for key in value
    ):
        return {str.__str__(key): to_plain(item, f"{where}.{key}", keep) for key, item in value.items()}
    items = [[to_plain(key, where), to_plain(item, f"{where}.{key}", keep)] for key, item in value.items()]
    return {"$counter" if isinstance(value, Counter) else "$dict": items}


def from_plain(value: Any, stored: Mapping[str, Tensor] | None = None) -> Any:
    """The inverse of ``to_plain``; raises FormatError on a tag it does not know.

    Args:
        value: plain data.
        stored: name -> tensor - what was stored elsewhere.
    Cost: O(size).
    Example:
        >>> from_plain({"$counter": [[30, 2]]})
        Counter({30: 2})
    """
    if isinstance(value, list):
        return [from_plain(item, stored) for item in value]
    if not isinstance(value, dict):
        return value
    tag = next((key for key in value if key.startswith("$")), None)
    if tag is None:
        return {key: from_plain(item, stored) for key, item in value.items()}
    try:
        if tag == "$stored":
            return (stored or {})[value[tag]]
        return _TAGS[tag](from_plain(value[tag], stored))
    except (KeyError, TypeError, ValueError, RuntimeError, IndexError) as error:
        got = f"{tag}: {str(value[tag])[:60]} ({type(error).__name__})"
        raise FormatError("checkpoint", expected=f"tags among {', '.join(_TAGS)}", got=got) from None


_TAGS: dict[str, Callable[[Any], Any]] = {
    "$float": float,
    "$path": Path,
    "$tuple": tuple,
    "$dict": dict,
    "$counter": lambda items: Counter(dict(items)),
    "$tensor": lambda pair: torch.tensor(pair[0], dtype=_DTYPES[pair[1]]),
}
