"""What a plan does, step by step, in words: sizes, bytes, copies and times."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from gossamer.kernels.cpu.plan import NativePlan
    from gossamer.kernels.cpu.steps import View


class Row(NamedTuple):
    """A step of a plan.

    Args:
        name: str - of the node that it is for.
        kind: str - what is done.
        reads, makes: (channels, height, width).
        bytes: int - that are written for an image.
        copies: bool - whether it only moves what was there already.
        seconds: float - that it takes for one image.
    """

    name: str
    kind: str
    reads: tuple[int, int, int]
    makes: tuple[int, int, int]
    bytes: int
    copies: bool
    seconds: float


def describe(plan: NativePlan) -> list[Row]:
    """A row for each step; every step is run a few times for its time."""
    return [
        Row(
            step.name,
            "copy" if step.copies else step.kind,
            _size(step.x),
            _size(step.out),
            4 * prod(_size(step.out)),
            step.copies,
            taken,
        )
        for step, taken in zip(plan.steps, plan.seconds(), strict=True)
    ]


def lines(plan: NativePlan) -> list[str]:
    """The table that ``explain`` prints."""
    rows = describe(plan)
    copied, total = sum(row.copies for row in rows), sum(row.seconds for row in rows)
    first = f"plan of {len(rows)} steps, {copied} copies, {plan.memory:,} bytes, {total * 1e6:.1f} us for an image"
    titles = f"  {'step':<28}{'kind':<11}{'from':>16}{'to':>16}{'bytes':>12}{'us':>10}"
    return [first, titles, *map(_line, rows)]


def _line(row: Row) -> str:
    reads, makes = (" x ".join(map(str, size)) for size in (row.reads, row.makes))
    return f"  {row.name[-27:]:<28}{row.kind:<11}{reads:>16}{makes:>16}{row.bytes:>12,}{row.seconds * 1e6:>10.1f}"


def _size(view: View) -> tuple[int, int, int]:
    return view.channels, view.height, view.width
