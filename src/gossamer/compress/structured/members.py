"""A model as pruning of channels sees it: layers and norms, and which of their channels go together."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from torch import nn

if TYPE_CHECKING:
    from gossamer.layouts.arrays import Array
    from gossamer.trace.calling import Example
    from gossamer.trace.held import Held

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)


@dataclass(frozen=True)
class Member:
    """A layer or a norm of the model.

    Args:
        module: nn.Module - of the copy that was followed.
        outputs: [channels], int64 - the unit of each; -1 where it stays.
        inputs: [channels], int64 - likewise; of a grouped convolution and a norm none, for they go with the outputs.
        constants: Held or None - what is known of the inputs.
        read: int - how many channels it reads.
        shifted: str - the norm that reads the outputs alone, and can take a shift of them; "" where there is none.
    """

    module: nn.Module
    outputs: Array
    inputs: Array
    constants: Held | None = None
    read: int = 0
    shifted: str = ""

    @property
    def moves(self) -> bool:
        """Whether it has a channel that could go."""
        return bool((self.outputs >= 0).any() or (self.inputs >= 0).any())

    @property
    def kind(self) -> str:
        """The class of the module."""
        return type(self.module).__name__

    @property
    def axis(self) -> int:
        """The dimension of its input in which channels stand."""
        return -1 if isinstance(self.module, nn.Linear) else 1


@dataclass(frozen=True)
class Followed:
    """A model as pruning sees it.

    Args:
        twin: nn.Module - a copy in evaluation.
        example: Example.
        layers: name -> Member, in order of computation.
        norms: name -> Member, batch norms.
        groups: arrays of units, which the same layers have.
        why: name of a layer -> why some of its outputs stay.
    """

    twin: nn.Module
    example: Example
    layers: dict[str, Member]
    norms: dict[str, Member]
    groups: list[Array] = field(default_factory=list)
    why: dict[str, str] = field(default_factory=dict)

    @property
    def members(self) -> dict[str, Member]:
        """Layers and norms."""
        return self.layers | self.norms

    @property
    def units(self) -> int:
        """How many there are."""
        return sum(group.size for group in self.groups)
