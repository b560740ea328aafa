"""Safetensors: weights with zeros, with masks beside them, or in the forms of compressed-tensors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from gossamer.errors import FormatError
from gossamer.importing.formats.base import FileFormat, file_format
from gossamer.importing.names import unmasked
from gossamer.importing.packed import unpacked
from gossamer.importing.weights import Weights
from gossamer.storage import kind_of

CONFIG = "config.json"  # beside the weights
LARGEST_CONFIG = 16 << 20
MOST_DIMENSIONS, LARGEST_SIZE = 64, 1 << 40
PAIRS, BITS, PERMUTED = "sparse-24-bitmask", "sparse-bitmask", "marlin-24"


def _read(path: Path) -> Weights:
    """Raises FormatError."""
    if (kind := kind_of(path)) is not None:
        raise FormatError(
            f"convert {path.name}",
            expected="a file of somebody else",
            got=f"a Gossamer {kind}",
            hint="gossamer.load reads it",
        )
    try:
        with safe_open(path, framework="pt") as file:
            names = list(file.keys())
            for name in names:
                _check_shape(path, name, file.get_slice(name).get_shape())
            tensors = {name: file.get_tensor(name) for name in names}
    except (SafetensorError, RuntimeError, ValueError, OverflowError) as error:
        said = str(error).partition("\n")[0][:200]
        raise FormatError(f"convert {path.name}", expected="a complete safetensors file", got=said) from None
    note = _sparsity(path)
    kind = note.get("format")
    permuted = kind == PERMUTED or any(name.endswith(".weight_packed") for name in names)
    if (permuted and any(name.endswith(".meta") for name in names)) or kind == PERMUTED:
        raise FormatError(
            f"convert {path.name}",
            expected=f"weights that are dense, {BITS} or {PAIRS}",
            got=f"{PERMUTED}: integers in the order of tiles of one GPU kernel",
            hint="compressed-tensors, which wrote them, can decompress the model; save that one",
        )
    pairs = kind == PAIRS or (kind is None and not any(name.endswith(".row_offsets") for name in names))
    stated = note.get("global_sparsity")
    zeros = float(stated) if isinstance(stated, (int, float)) and 0 <= stated <= 1 else None
    return unmasked(unpacked(tensors, path.name, pairs=pairs), path.name, zeros)


def _check_shape(path: Path, name: str, shape: list[int]) -> None:
    """Refuse sizes that no weight has; raises FormatError."""
    if len(shape) > MOST_DIMENSIONS or any(size > LARGEST_SIZE for size in shape):
        raise FormatError(
            f"convert {path.name}",
            expected=f"at most {MOST_DIMENSIONS} dimensions of at most {LARGEST_SIZE:,}",
            got=f"{name!r} of {len(shape)} dimensions, the largest {max(shape):,}",
        )


def _sparsity(path: Path) -> dict[str, Any]:
    """What the model's configuration says of zeros, if there is one; a dense format with such a note is dense."""
    config = path.with_name(CONFIG)
    if not config.is_file():
        return {}
    if config.stat().st_size > LARGEST_CONFIG:
        raise FormatError(
            f"convert {path.name}", expected=f"a {CONFIG} of settings", got="one of many megabytes"
        )
    try:
        found = json.loads(config.read_text("utf-8"))
    except (ValueError, RecursionError) as error:
        raise FormatError(
            f"convert {path.name}", expected=f"JSON in {CONFIG}", got=str(error)[:200]
        ) from None
    for key in (("quantization_config", "compression_config"), ("sparsity_config",)):
        found = next((found[name] for name in key if isinstance(found, dict) and name in found), None)
    return found if isinstance(found, dict) else {}


def _fits(path: Path, head: bytes) -> bool:
    return path.suffix == ".safetensors" or head[8:9] == b"{"


file_format(FileFormat("safetensors", _fits, _read))
