"""A file of somebody else, of whatever format, read."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from gossamer.errors import FormatError
from gossamer.importing.formats import formats
from gossamer.importing.network import Network
from gossamer.importing.weights import Weights

REFUSED = {  # by first bytes
    b"GGUF": "GGUF, whose quantised blocks keep no zeros; the checkpoint that it was made from may have them",
    b"\x89HDF": "HDF5; save the weights as safetensors",
}


class Found(NamedTuple):
    """The name of the format, and what is in the file."""

    format: str
    content: Network | Weights


def read(path: str | Path) -> Found:
    """Read a file; nothing in it is executed, and what it says of sizes is checked before memory is taken.

    Args:
        path: str or Path.

    Returns:
        Found - a Network where the file describes a whole one with operators of ours, else Weights.

    Raises:
        FormatError: an unknown format, a damaged or hostile file, an operator that we do not have.
        MissingPackage: the format's own package. FileNotFoundError.

    Cost: O(file); weights are dense.

    Example:
        >>> import tempfile, torch
        >>> file = Path(tempfile.mkdtemp()) / "net.pt"
        >>> torch.save({"weight": torch.eye(2)}, file)
        >>> read(file).content.tensors["weight"].shape
        torch.Size([2, 2])
    """
    path = Path(path)
    with path.open("rb") as file:
        head = file.read(16)
    for entry in formats.values():
        if entry.fits(path, head):
            return Found(entry.name, entry.read(path))
    got = next((what for magic, what in REFUSED.items() if head.startswith(magic)), "something else")
    raise FormatError(f"convert {path.name}", expected=f"a file of {', '.join(formats)}", got=got)
