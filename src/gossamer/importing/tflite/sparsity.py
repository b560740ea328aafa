"""A sparse tensor of TFLite as positions, whatever its order of traversal and its blocks; nothing is made dense."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from gossamer.errors import FormatError

if TYPE_CHECKING:
    from gossamer.importing.tflite.flat import Record
    from gossamer.layouts.arrays import Array

DENSE, COMPRESSED = 0, 1
INDICES = {1: "int32", 2: "uint16", 3: "uint8"}  # the types of a SparseIndexVector
LARGEST_RANK = 8


class Level(NamedTuple):
    """One step of the traversal: a whole dimension, or of each entry above it the listed ones."""

    size: int
    segments: Array | None = None
    indices: Array | None = None


def positions(record: Record, shape: tuple[int, ...], stored: int, where: str) -> Array:
    """Where the stored values of a tensor are.

    Args:
        record: Record - SparsityParameters.
        shape: of the dense tensor.
        stored: int - number of values.
        where: str - for messages.

    Returns:
        [stored], int64 - places in the dense tensor, row by row, in the order of the values; each once.

    Raises:
        FormatError: anything that does not fit together; before memory is taken for it.

    Cost: O(stored + rows).
    """
    order, blocks = record.numbers(0, "int32").tolist(), record.numbers(1, "int32").tolist()
    levels = [_level(each, where) for each in record.records(2)[: 2 * LARGEST_RANK + 1]]
    rank, count = len(shape), len(shape) + len(blocks)
    fits = rank <= LARGEST_RANK and len(levels) == count and sorted(order) == list(range(count))
    if not fits or len(set(blocks)) != len(blocks) or any(not 0 <= dim < rank for dim in blocks):
        raise _wrong(
            where, "an order of all dimensions and blocks", f"{order} with blocks {blocks} of {shape}"
        )
    inner = {blocks[dim - rank]: level.size for dim, level in zip(order, levels, strict=True) if dim >= rank}
    for number, (dim, level) in enumerate(zip(order, levels, strict=True)):
        size = shape[blocks[dim - rank]] if dim >= rank else shape[dim]
        step = level.size if dim >= rank else inner.get(dim, 1)
        whole = step < 1 or size % step or (dim >= rank and level.segments is not None)
        if whole or (dim < rank and level.segments is None and level.size * step != size):
            raise _wrong(
                where, f"levels of the shape {list(shape)}", f"one of {level.size} for dimension {dim}"
            )
        if dim < rank:
            levels[number] = level._replace(size=size // step)  # files leave out that of a compressed level
    return _flat(_traversed(levels, stored, where), order, blocks, inner, shape)


def _traversed(levels: list[Level], stored: int, where: str) -> list[Array]:
    """The index of every stored value in every level."""
    found: list[Array] = []
    count = 1
    for level in levels:
        if level.segments is None or level.indices is None:
            rows = level.size * count
            listed = max((len(each.segments) for each in levels if each.segments is not None), default=0)
            if rows > max(stored, listed):  # a later level lists each of them, or each has a value
                raise _wrong(where, f"a level of at most {max(stored, listed)} entries", f"{rows}")
            found = [each.repeat(level.size) for each in found]
            found.append(np.tile(np.arange(level.size), count))
            count = rows
            continue
        segments, indices = level.segments, level.indices
        if len(segments) != count + 1 or segments[0] != 0 or segments[-1] != len(indices):
            raise _wrong(
                where, f"{count + 1} ends of segments, up to {len(indices)}", f"{len(segments)} of them"
            )
        lengths = np.diff(segments)
        if bool((lengths < 0).any()) or not bool(((indices >= 0) & (indices < level.size)).all()):
            raise _wrong(where, f"ascending segments, and indices below {level.size}", "others")
        ascends = np.diff(indices) > 0
        ascends[segments[1:-1][(segments[1:-1] > 0) & (segments[1:-1] < len(indices))] - 1] = True
        if not bool(ascends.all()):
            raise _wrong(where, "ascending indices in each segment", "an index twice, or in another order")
        found = [each.repeat(lengths) for each in found]
        found.append(indices)
        count = len(indices)
    if count != stored:
        raise _wrong(where, f"a value for each of {count} entries", f"{stored}")
    return found


def _flat(
    found: list[Array], order: list[int], blocks: list[int], inner: dict[int, int], shape: tuple[int, ...]
) -> Array:
    """Places in the dense tensor: the index of a block times its size, and the index inside of it."""
    rank = len(shape)
    places = np.zeros(len(found[-1]) if found else 1, np.int64)
    for dim, index in zip(order, found, strict=True):
        at, step = (dim, inner.get(dim, 1)) if dim < rank else (blocks[dim - rank], 1)
        places += index * (step * prod(shape[at + 1 :]))
    return places


def _level(record: Record, where: str) -> Level:
    size = record.number(1, "int32")
    kind = record.number(0, "int8")
    if kind == DENSE and size >= 1:
        return Level(size)
    if kind != COMPRESSED:
        raise _wrong(where, "levels that are dense or compressed", f"kind {kind} of size {size}")
    segments, indices = (_indices(record, field, where) for field in (2, 4))
    return Level(size, segments, indices)


def _indices(record: Record, field: int, where: str) -> Array:
    """A vector of integers in one of three types."""
    kind, held = record.number(field, "uint8"), record.record(field + 1)
    if kind not in INDICES or held is None:
        raise _wrong(where, "segments and indices of a compressed level", "none")
    return held.numbers(0, INDICES[kind]).astype(np.int64)


def _wrong(where: str, expected: str, got: str) -> FormatError:
    return FormatError(where, expected=expected, got=got, hint="the file is damaged")
