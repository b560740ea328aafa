"""What ``torch.save`` wrote: tensors alone, through torch's own reader that runs no code."""

from __future__ import annotations

import pickle
import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gossamer.errors import FormatError
from gossamer.importing.formats.base import FileFormat, file_format
from gossamer.importing.names import unmasked
from gossamer.importing.weights import Weights

INSIDE = ("state_dict", "model_state_dict", "model")  # where checkpoints keep the weights
LARGEST_SHARE = 4  # numbers of all tensors together, against the bytes of the file
REASON = "a pickled module runs code when it is opened, and is never opened here"
INSTEAD = "where the model comes from: torch.save(model.state_dict(), file), or torch.export"


def _read(path: Path) -> Weights:
    """Raises FormatError."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            whole = sum(each.file_size for each in archive.infolist())
        if whole > 2 * path.stat().st_size:
            raise FormatError(
                f"convert {path.name}",
                expected="an archive that is not compressed",
                got=f"{whole:,} bytes in it",
            )
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Detected pickle protocol", category=UserWarning)
            found = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        said = str(error).splitlines()[0][:200]
        raise FormatError(
            f"convert {path.name}",
            expected="tensors by name",
            got=f"something else: {said}",
            hint=f"{REASON}; {INSTEAD}",
        ) from None
    except (
        RuntimeError,
        ValueError,
        EOFError,
        KeyError,
        IndexError,
        TypeError,
        AttributeError,
        OSError,
    ) as error:
        said = str(error).partition("\n")[0][:200]
        raise FormatError(f"convert {path.name}", expected="a file of torch.save", got=said) from None
    return unmasked(_state(path, found), path.name)


def _state(path: Path, found: Any) -> dict[str, Tensor]:
    """The tensors of a checkpoint, copied, once all of them together are known to be in proportion to the file."""
    for name in INSIDE:
        if isinstance(found, dict) and isinstance(found.get(name), dict):
            found = found[name]
    tensors = (
        {str(k): v for k, v in found.items() if isinstance(v, Tensor)} if isinstance(found, dict) else {}
    )
    if not tensors:
        got = type(found).__name__
        raise FormatError(f"convert {path.name}", expected="tensors by name", got=got, hint=INSTEAD)
    numbers = sum(tensor.numel() for tensor in tensors.values())
    if numbers > LARGEST_SHARE * path.stat().st_size or any(
        t.layout != torch.strided for t in tensors.values()
    ):
        raise FormatError(
            f"convert {path.name}",
            expected="dense tensors in proportion to the file",
            got=f"{numbers:,} numbers",
        )
    return {
        name: tensor.detach().clone(memory_format=torch.contiguous_format) for name, tensor in tensors.items()
    }


def _fits(path: Path, head: bytes) -> bool:
    return head.startswith((b"PK\3\4", b"\x80")) and path.suffix not in (".npz", ".safetensors")


file_format(FileFormat("torch", _fits, _read))
