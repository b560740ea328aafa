"""The arrays of a file, read without torch."""

from __future__ import annotations

import json
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gossamer import storage
from gossamer.errors import FormatError
from gossamer.layouts.arrays import BFLOAT16, aligned

if TYPE_CHECKING:
    from gossamer.layouts.arrays import Array

TYPES = {"F64", "F32", "F16", "BF16", "I64", "I32", "I16", "I8", "U64", "U32", "U16", "U8", "BOOL"}


def read_arrays(
    path: str | Path, kind: str, versions: tuple[int, ...]
) -> tuple[dict[str, Array], dict[str, Any]]:
    """Arrays and JSON document of a file, as ``storage.read``; each array begins with a cache line.

    Args:
        path: str or Path.
        kind: str - what the document must say it is.
        versions: versions of that kind that are read.

    Returns:
        (arrays, document).

    Raises:
        FormatError: as ``storage.read``; and numbers of a type that is not NumPy's and not bfloat16.
        FileNotFoundError.

    Cost: O(file).
    """
    with storage.opened(path, kind, versions, "np") as (file, document):
        types = {name: file.get_slice(name).get_dtype() for name in file.keys()}  # noqa: SIM118
        if strange := sorted(set(types.values()) - TYPES):
            raise FormatError(
                f"read {Path(path).name}", expected=f"numbers of {', '.join(sorted(TYPES))}", got=strange[0]
            )
        arrays = {name: aligned(file.get_tensor(name)) for name, dtype in types.items() if dtype != "BF16"}
        halves = {name: tuple(file.get_slice(name).get_shape()) for name in types.keys() - arrays.keys()}
        return arrays | _bfloat16(Path(path), halves), document


def _bfloat16(path: Path, shapes: dict[str, tuple[int, ...]]) -> dict[str, Array]:
    """Arrays of a type that safetensors does not give to NumPy; the file is known to be whole."""
    if not shapes:
        return {}
    arrays = {}
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
        for name, shape in shapes.items():
            file.seek(8 + length + header[name]["data_offsets"][0])
            arrays[name] = aligned(np.fromfile(file, BFLOAT16, prod(shape)).reshape(shape))
    return arrays
