"""``save`` and ``load``: a frozen network as a file. See docs/artifact-format.md."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from gossamer import storage
from gossamer.errors import ConfigError
from gossamer.freezing.frozen import Frozen
from gossamer.network import artifact
from gossamer.network.graph import Call
from gossamer.network.operators import operators
from gossamer.trace.tensors import tensor_of


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
    numbers, document, room = artifact.content(frozen.graph, frozen.report)
    storage.write(path, {name: _tensor(held) for name, held in numbers.items()}, document, room)


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
    graph, report = artifact.read(path)
    nodes = (replace(node, body=_with_tensors(node.body)) for node in graph.nodes)
    return Frozen(replace(graph, nodes=tuple(nodes)), report)


def _with_tensors(body: Any) -> Any:
    """An operator's arrays as tensors; layers, and operators that take either, hold arrays wherever they run."""
    if not isinstance(body, Call) or operators[body.op].step is not None:
        return body
    return replace(body, tensors={name: tensor_of(array) for name, array in body.tensors.items()})


def _tensor(held: Any) -> Tensor:
    """A tensor as it is, an array in the same memory."""
    return held if isinstance(held, Tensor) else tensor_of(held)
