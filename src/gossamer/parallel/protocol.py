"""Asynchronous messages: a header that says what about, three numbers that ride along, and a vector behind."""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

import torch

Note = tuple[float, float, float]
NOTHING: Note = (0.0, 0.0, 0.0)
LENGTH = 7 * 8  # bytes of a header


class Kind(IntEnum):
    """What a message is about."""

    HELLO = 1  # worker: here I am
    GRADIENT = 2  # worker: a gradient
    VALUES = 3  # server: the answer to both, all values; differences of topologies may follow
    DONE = 4  # worker: no more gradients from me, I train by myself
    ALIVE = 5  # worker: training by myself
    MODEL = 6  # worker: all values; differences of topologies follow, nothing after them
    BYE = 7  # worker: no more gradients from me, and nothing else


WITH_VECTOR = {Kind.GRADIENT, Kind.VALUES, Kind.MODEL}


class Header(NamedTuple):
    """What is said in front of every message.

    Args:
        kind: Kind.
        version: int - of the topologies that the rest refers to.
        steps: int - of the worker, done so far.
        difference: int - length of the differences that follow.
        note: three floats - e.g. loss, right answers, samples; their bits travel unchanged.
    """

    kind: Kind
    version: int
    steps: int
    difference: int = 0
    note: Note = NOTHING


class Letter:
    """One message: a header, and in the same piece of memory a vector, for each piece sent wakes both sides up.

    Args:
        size: int - of the vector.
        dtype: torch.dtype - of the vector.
    Example:
        >>> letter = Letter(3, torch.float32)
        >>> letter.header = Header(Kind.ALIVE, 0, 3, note=(0.1, 2.0, 4.0))
        >>> letter.header.note, letter.length
        ((0.1, 2.0, 4.0), 56)
    """

    def __init__(self, size: int, dtype: torch.dtype) -> None:
        self.bytes = torch.zeros(LENGTH + size * dtype.itemsize, dtype=torch.uint8)
        self.vector = self.bytes[LENGTH:].view(dtype)
        self._head = self.bytes[:LENGTH].view(torch.int64)

    @property
    def header(self) -> Header:
        """What the first bytes say."""
        kind, version, steps, difference = self._head[:4].tolist()
        first, second, third = self._head[4:].view(torch.float64).tolist()
        return Header(Kind(kind), version, steps, difference, (first, second, third))

    @header.setter
    def header(self, header: Header) -> None:
        self._head[:4] = torch.tensor(header[:4])
        self._head[4:].view(torch.float64)[:] = torch.tensor(header.note, dtype=torch.float64)

    @property
    def length(self) -> int:
        """Bytes that travel: without the vector where the header stands alone."""
        return self.bytes.numel() if int(self._head[0]) in WITH_VECTOR else LENGTH
