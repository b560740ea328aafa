"""Transposed indices: made once for a topology, at the first input gradient that gains by one, and kept."""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Final
from weakref import ref

from gossamer.errors import ConfigError, TopologyError
from gossamer.kernels.cpu import library, pack

if TYPE_CHECKING:
    from torch import Tensor

MODES: Final = ("auto", "always", "never")
VARIABLE: Final = "GOSSAMER_TRANSPOSED"
STRUCT: Final = struct.Struct("6q")

# Bytes of a gradient row from which a transposed index pays: a whole batch tile, batch 64 in float32. Below, bringing
# the values into order costs what the faster product gains. Groups share the work on an input's gradient already and
# gain little: they scatter. Measured: docs/decisions/0009-input-gradient-by-a-transposed-index.md.
PAYS_FROM: Final = 256

ROWS: Final = (0, 1, 2)  # csr, fanin, nm of gs_layout: connections one by one

_mode: ContextVar[str] = ContextVar("gossamer_transposed", default=os.environ.get(VARIABLE) or "auto")


@dataclass(frozen=True)
class Transposed:
    """The connections of one index in the order of its columns: ``gs_transposed`` of the C header."""

    tensors: tuple[Tensor, Tensor, Tensor]  # starts int32, rows uint16, order int32
    packed: bytes  # the struct that points to them
    connections: int


@dataclass(frozen=True)
class _Kept:
    """A transposed index with the tensors it was made from, held weakly, and how often they had been written to."""

    index: tuple[ref[Tensor], ...]
    versions: tuple[int, ...]
    made: Transposed


_kept: dict[int, _Kept] = {}  # by id of the last tensor of the index; an entry goes when that tensor goes


@cache
def _checked(mode: str) -> str:
    if mode not in MODES:
        raise ConfigError("kernels.transposing", expected=f"one of {', '.join(MODES)}", got=repr(mode))
    return mode


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
    token = _mode.set(_checked(mode))
    try:
        yield
    finally:
        _mode.reset(token)


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
    kept = _look_up(index)
    return () if kept is None else kept.tensors


def find(index: Sequence[Tensor], matrix: pack.Fields, row_bytes: int) -> Transposed | None:
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
    mode, layout, group, n_values = _checked(_mode.get()), matrix[0], matrix[4], matrix[8]
    if (
        mode == "never"
        or layout not in ROWS
        or group > 1
        or n_values >= 2**31
        or (mode == "auto" and row_bytes < PAYS_FROM)
    ):
        return None
    found = _look_up(index)
    if found is None and not any(tensor.is_inference() for tensor in index):  # those do not count writes
        found = _make(matrix)
        key = id(index[-1])
        refs = (*map(ref, index[:-1]), ref(index[-1], lambda _: _kept.pop(key, None)))
        _kept[key] = _Kept(refs, _versions(index), found)
    return found


def _versions(index: Sequence[Tensor]) -> tuple[int, ...]:
    return tuple([tensor._version for tensor in index])  # noqa: SLF001 (torch's own count of writes)


def _look_up(index: Sequence[Tensor]) -> Transposed | None:
    """What is kept for exactly these tensors, unless one of them was written to since."""
    kept = _kept.get(id(index[-1])) if index else None
    if kept is None or any(mine() is not given for mine, given in zip(kept.index, index, strict=True)):
        return None
    return kept.made if kept.versions == _versions(index) else None


def _make(matrix: pack.Fields) -> Transposed:
    """Build the transposed index of a matrix."""
    from torch import empty, int32, uint16

    core, packed, room = library.core(), pack.MATRIX.pack(*matrix), ctypes.create_string_buffer(STRUCT.size)
    _raise(core.gs_transposed_size(packed, room))
    block, n_starts, n_order = STRUCT.unpack(room.raw)[:3]
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
