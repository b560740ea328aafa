"""What became of a network, layer by layer."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Change:
    """One layer: what it is, and what it does now."""

    name: str
    kind: str
    now: str


@dataclass(frozen=True)
class ShiftReport:
    """What ``make_shift_invariant`` or ``anti_alias`` changed; print it for a table.

    Args:
        changes: list of Change - in order of computation.
        output: "still" where the answer stays the same for a circular shift, "moves" where it shifts too (an image,
            or features of one); "may change" where the grids are fixed.
        sized: calls in the model's code, by name and line, for which this holds at the size of the example alone.
        tried: bool - whether it was tried out on an example.
    """

    changes: list[Change] = field(default_factory=list)
    output: str = "still"
    sized: list[str] = field(default_factory=list)
    tried: bool = True

    def __str__(self) -> str:
        rows = [("layer", "kind", "now"), *((row.name, row.kind, row.now) for row in self.changes)]
        wide = [max(len(row[at]) for row in rows) for at in range(2)]
        lines = (f"{name:{wide[0]}}  {kind:{wide[1]}}  {now}" for name, kind, now in rows)
        said = {
            "still": "the answer stays the same for every circular shift of the image",
            "moves": "the output shifts with the image",
            "may change": "the grids are fixed: the answer may change where the image moves",
        }
        size = f"this holds for images as large as the example alone: {', '.join(self.sized)}"
        tried = "not tried out: no example was given"
        notes = [size] * bool(self.sized) + [tried] * (not self.tried)
        return "\n".join([*lines, said[self.output], *notes])
