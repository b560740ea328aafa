"""What pruning of channels did, layer by layer, and removing of blocks, block by block."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class ChannelRow:
    """A layer: its channels before and now, and why some stay.

    Args:
        name: str.
        kind: str - its class.
        outputs: (int, int) - before and now.
        inputs: (int, int) - before and now.
        note: str - why outputs stay, and what became of the constants that inputs were.
    """

    name: str
    kind: str
    outputs: tuple[int, int]
    inputs: tuple[int, int]
    note: str = ""


@dataclass(frozen=True)
class ChannelReport:
    """What ``prune_channels`` did; print it for a table, ``dataclasses.asdict`` makes JSON of it.

    Args:
        layers: list of ChannelRow - every layer in order of computation, then those that were not followed.
        parameters: (int, int) - numbers in all parameters, before and now.
        channels: (int, int) - channels that could go, and that went; those that go together count once.
        deviation: float - how far the output for the example is from that of the network before with its removed
            channels held at their constants: rounding, and the borders of convolutions that pad with zeros.
        largest: float - the largest absolute number of that output.
    """

    layers: list[ChannelRow] = field(default_factory=list)
    parameters: tuple[int, int] = (0, 0)
    channels: tuple[int, int] = (0, 0)
    deviation: float = 0.0
    largest: float = 0.0

    def __str__(self) -> str:
        head = ("layer", "kind", "outputs", "inputs", "  note")
        rows = [(r.name, r.kind, _step(r.outputs), _step(r.inputs), f"  {r.note}") for r in self.layers]
        wide = [max(len(row[at]) for row in (head, *rows)) for at in range(4)]
        lines = [
            f"{name:{wide[0]}}  {kind:{wide[1]}}  {outputs:>{wide[2]}}  {inputs:>{wide[3]}}{note}".rstrip()
            for name, kind, outputs, inputs, note in (head, *rows)
        ]
        return "\n".join([*lines, self._summary()])

    def _summary(self) -> str:
        before, now = self.parameters
        able, gone = self.channels
        return (
            f"removed {gone:,} of {able:,} channels that could go; parameters {before:,} -> {now:,}\n"
            f"against the network before with these channels held at their constants: the output for the example "
            f"differs by {self.deviation:.2g} at most, of {self.largest:.2g}"
        )


def _step(sizes: tuple[int, int]) -> str:
    before, now = sizes
    return f"{before}" if before == now else f"{before} -> {now}"


@dataclass(frozen=True)
class BlockRow:
    """A block: how alike what it reads and gives are, and whether it is gone.

    Args:
        name: str.
        kind: str - its class.
        similarity: float in [-1, 1] - mean cosine of input and output.
        parameters: int - numbers in its parameters.
        removed: bool.
    """

    name: str
    kind: str
    similarity: float
    parameters: int
    removed: bool = False


@dataclass(frozen=True)
class BlockReport:
    """What ``remove_blocks`` did; print it for a table, ``dataclasses.asdict`` makes JSON of it.

    Args:
        blocks: list of BlockRow - in the order in which they were named.
        parameters: (int, int) - numbers in all parameters of the model, before and now.
    """

    blocks: list[BlockRow] = field(default_factory=list)
    parameters: tuple[int, int] = (0, 0)

    def __str__(self) -> str:
        wide = max(len("block"), *(len(row.name) for row in self.blocks))
        lines = [f"{'block':{wide}}  similarity  parameters"]
        for row in self.blocks:
            gone = "  removed" if row.removed else ""
            lines.append(f"{row.name:{wide}}  {row.similarity:10.4f}  {row.parameters:10,}{gone}")
        before, now = self.parameters
        return "\n".join([*lines, f"parameters {before:,} -> {now:,}"])
