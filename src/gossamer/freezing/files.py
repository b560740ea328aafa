"""``save`` and ``load``: a frozen network as a file. See docs/artifact-format.md."""

from __future__ import annotations

from pathlib import Path

from gossamer.errors import ConfigError
from gossamer.freezing.frozen import Frozen
from gossamer.network import artifact


def save(frozen: Frozen, path: str | Path) -> None:
    """Write a frozen network; a kill while writing leaves the old file.

    Args:
        frozen: Frozen - from ``freeze`` or ``load``.
        path: str or Path.

    Raises:
        FormatError: a node that only torch knows, which the message names, or a network that mixes its batch
            with other dimensions. ConfigError: not a frozen network. OSError.

    Cost: one copy of the network in memory, one on disk.

    Example:
        >>> import tempfile, torch
        >>> from gossamer.freezing import freeze
        >>> file = Path(tempfile.mkdtemp()) / "net.safetensors"
        >>> net = freeze(torch.nn.Sequential(torch.nn.Linear(4, 2)), torch.ones(1, 4), keep="dense")
        >>> save(net, file); bool((load(file)(torch.ones(1, 4)) == net(torch.ones(1, 4))).all())
        True
    """
    if not isinstance(frozen, Frozen):
        raise ConfigError(
            "save",
            expected="what gossamer.freeze returns",
            got=type(frozen).__name__,
            hint="freeze the model first",
        )
    artifact.write(frozen.graph, frozen.report, path)


def load(path: str | Path) -> Frozen:
    """Read a frozen network; everything in the file is checked before anything runs, and none of it is code.

    Args:
        path: str or Path.

    Returns:
        Frozen - the same bits as the one that was saved, on the same machine.

    Raises:
        FormatError: damaged, hostile, of an unknown version, or with an unknown operator. FileNotFoundError.

    Cost: O(file) time and memory.
    """
    return Frozen(*artifact.read(path))
