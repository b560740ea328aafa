"""Transposed indices: made once for a topology, at the first input gradient that gains by one, and kept."""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from gossamer.errors import TopologyError
from gossamer.kernels import modes
from gossamer.kernels.cpu import library, pack
from gossamer.kernels.cpu.kept import Kept
from gossamer.layouts.kernel_side import Fields

if TYPE_CHECKING:
    from torch import Tensor

VARIABLE: Final = "GOSSAMER_TRANSPOSED"
STRUCT: Final = struct.Struct("6q")

# Bytes of a gradient row from which a transposed index pays: a whole batch tile, batch 64 in float32. Below, bringing
# the values into order costs what the faster product gains. Groups share the work on an input's gradient already and
# gain little: they scatter. So do layers of hundreds of thousands of neurons with a few connections each: a block has
# 65,536 rows at most, and a column would start in every block, connections or not. Measured:
# docs/decisions/0009-input-gradient-by-a-transposed-index.md.
PAYS_FROM: Final = 256

ROWS: Final = (0, 1, 2)  # csr, fanin, nm of gs_layout: connections one by one

_mode = modes.variable("gossamer_transposed", VARIABLE)


@dataclass(frozen=True)
class Transposed:
    """The connections of one index in the order of its columns: ``gs_transposed`` of the C header."""

    tensors: tuple[Tensor, Tensor, Tensor]  # starts int32, rows uint16, order int32
    packed: bytes  # the struct that points to them
    connections: int


_kept: Kept[Transposed] = Kept()


@contextmanager
def transposing(mode: str) -> Iterator[None]:
    """Say when input gradients may use a transposed index, inside a ``with`` block.

    Args:
        mode: ``"auto"``: where it was measured to pay; ``"always"``: wherever the layout allows; ``"never"``: memory
            first, no transposed index is made or used.

    Raises:
        ConfigError: another word.

    Cost: a transposed index takes 6 bytes a connection, and half a byte at most beside them for wide layers; a product
        with it, the size of the values for as long as it runs. ``"never"`` saves them: the input gradient takes up to
        three times as long.

    The environment variable ``GOSSAMER_TRANSPOSED`` does the same for a whole process.

    Example:
        >>> with transposing("never"):
        ...     pass  # a backward pass here keeps nothing beside the indices
    """
    with modes.switched(_mode, "kernels.transposing", mode):
        yield


def transposed_of(index: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """What is kept beside an index: the tensors of its transposed index, or none.

    Args:
        index: the index tensors of a layer, the same objects that its products got.

    Returns:
        (starts, rows, order), or ().

    Cost: one look-up.

    Example:
        >>> import torch
        >>> transposed_of([torch.zeros(1, 1, 1, dtype=torch.uint8)])
        ()
    """
    kept = _kept.find(index)
    return () if kept is None else kept.tensors


def transposed_bytes(connections: int, row_bytes: int) -> int:
    """Bytes, at most, that a transposed index of single connections will take.

    Args:
        connections: int - of the layer.
        row_bytes: int - of one row [batch] of the gradient.

    Returns:
        int - 0 where input gradients scatter.

    Raises:
        ConfigError: the environment variable holds another word.

    Cost: O(1).

    Example:
        >>> transposed_bytes(1000, 128), transposed_bytes(1000, 256)
        (0, 6500)
    """
    mode = modes.checked("kernels.transposing", _mode.get())
    scatters = mode == "never" or (mode == "auto" and row_bytes < PAYS_FROM)
    return 0 if scatters else connections * 13 // 2


def find(index: Sequence[Tensor], matrix: Fields, row_bytes: int) -> Transposed | None:
    """The transposed index to use for an input gradient, made now if it was not; None: scatter.

    Args:
        index: the layout's integer tensors.
        matrix: fields of ``gs_matrix``.
        row_bytes: bytes of one row [batch] of the gradient.

    Raises:
        ConfigError: the environment variable holds another word.
        TopologyError: the index does not describe a valid topology.

    Cost: O(connections) time and 6 bytes a connection the first time, one look-up after that.
    """
    mode, layout, group, n_values = (
        modes.checked("kernels.transposing", _mode.get()),
        matrix[0],
        matrix[4],
        matrix[8],
    )
    if (
        mode == "never"
        or layout not in ROWS
        or group > 1
        or n_values >= 2**31
        or (mode == "auto" and row_bytes < PAYS_FROM)
    ):
        return None
    found = _kept.find(index)
    if found is None and not any(tensor.is_inference() for tensor in index):  # those do not count writes
        found = _make(matrix, thrifty=mode == "auto")
        if found is not None:
            _kept.keep(found, index)
    return found


def _make(matrix: Fields, *, thrifty: bool) -> Transposed | None:
    """Build the transposed index of a matrix; thrifty: None where columns start in vain in most blocks of rows."""
    from torch import empty, int32, uint16

    core, packed, room = library.core(), pack.MATRIX.pack(*matrix), ctypes.create_string_buffer(STRUCT.size)
    _raise(core.gs_transposed_size(packed, room))
    block, n_starts, n_order = STRUCT.unpack(room.raw)[:3]
    if thrifty and n_starts > 2 * matrix[3] + n_order // 12 + 1:
        return None
    tensors = (empty(n_starts, dtype=int32), empty(n_order, dtype=uint16), empty(n_order, dtype=int32))
    filled = STRUCT.pack(block, n_starts, n_order, *(tensor.data_ptr() for tensor in tensors))
    _raise(core.gs_transpose(packed, filled))
    return Transposed(tensors, filled, n_order)


def _raise(status: int) -> None:
    if status:
        raise TopologyError(
            "kernels.cpu.transposed",
            expected="an index that describes a valid topology",
            got=library.status_text(status),
            hint="run kernels.cpu.check_index on the index",
        )
