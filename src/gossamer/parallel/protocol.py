"""The headers of asynchronous messages: who says what, and three numbers that ride along."""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

import torch
from torch import Tensor

Note = tuple[float, float, float]
NOTHING: Note = (0.0, 0.0, 0.0)
LENGTH = 7


class Kind(IntEnum):
    """What a message is about."""

    HELLO = 1  # worker: here I am
    GRADIENT = 2  # worker: a gradient follows
    VALUES = 3  # server: the reply to both; differences of topologies may follow, then all values
    DONE = 4  # worker: no more gradients from me, I train by myself
    ALIVE = 5  # worker: training by myself
    MODEL = 6  # worker: differences of topologies, then all values; nothing after them
    BYE = 7  # worker: no more gradients from me, and nothing else


class Header(NamedTuple):
    """Seven integers in front of every message.

    Args:
        kind: Kind.
        version: int - of the topologies that the rest refers to.
        steps: int - of the worker, done so far.
        difference: int - length of the differences that follow.
        note: three floats - e.g. loss, right answers, samples; their bits travel unchanged.
    Example:
        >>> Header.parse(Header(Kind.ALIVE, 0, 3, note=(0.1, 2.0, 4.0)).tensor()).note
        (0.1, 2.0, 4.0)
    """

    kind: Kind
    version: int
    steps: int
    difference: int = 0
    note: Note = NOTHING

    def tensor(self) -> Tensor:
        """[LENGTH], int64."""
        numbers = torch.tensor([self.kind, self.version, self.steps, self.difference])
        return torch.cat([numbers, torch.tensor(self.note, dtype=torch.float64).view(torch.int64)])

    @classmethod
    def parse(cls, message: Tensor) -> Header:
        """The inverse of ``tensor``."""
        kind, version, steps, difference = message[:4].tolist()
        first, second, third = message[4:].view(torch.float64).tolist()
        return cls(Kind(kind), version, steps, difference, (first, second, third))
