"""What freezing did and why, ready for JSON and for eyes."""

from __future__ import annotations

import math
from math import prod
from operator import mul
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from gossamer.layouts import layout, layouts
from gossamer.layouts.values import BFLOAT16, FLOAT32, NARROW
from gossamer.network.retired_plans import COMPUTE, arithmetic

Text = Annotated[str, Field(max_length=2000)]
Count = Annotated[int, Field(ge=0, le=1 << 62)]
Seconds = Annotated[float, Field(ge=0.0)]
WORDS = {
    "int8": "int8, inputs rounded sample by sample, sums in 32-bit integers",
    "bfloat16": "bfloat16, inputs and weights rounded, sums in float32",
    "float16": "float16, inputs and weights rounded",
}
Few: Any = Field(default_factory=list, max_length=64)


class _Row(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)


class Candidate(_Row):
    """One way to run a layer: layout, who computes it, bytes, seconds by batch class (None: unmeasured), or why not."""

    layout: Text
    engine: Text = ""
    bytes: Count = 0
    seconds: list[Seconds | None] = Few
    why: Text = ""


class LayerPlan(_Row):
    """One layer: what it was, what was removed, what was tried, and what runs in each batch class.

    ``kernel``: of a convolution, in words, ``pixels`` those of its output for the example. ``compute``: the arithmetic
    of its layouts; where batch classes differ, the one that is not that of the network.
    """

    name: Text
    shape: tuple[Count, Count]
    was: tuple[Count, Count]
    connections: Count
    kernel: Text = ""
    pixels: Count = 0
    constant: Count = 0
    unread: Count = 0
    unused_inputs: Count = 0
    activation: Text | None = None
    values: Text = ""
    compute: Text = Field(FLOAT32, validation_alias=COMPUTE)
    residual: bool = False
    chosen: Text
    runs: list[Text] = Few
    bytes: Count = 0
    stored: Text = ""
    memory: Count = 0
    candidates: list[Candidate] = Few

    @model_validator(mode="after")
    def _of_today(self) -> Self:
        self.compute = arithmetic(self.compute, self.values)
        return self


class BatchPlan(_Row):
    """One batch class: the size measured, the largest it is used for (None: any), the network's times.

    ``asked``: whether the size was asked for, or there because what was chosen for others is slower than dense.
    ``steps``: of the calls that run images through the core, of which ``copies`` only move numbers, and ``planned`` the
    bytes of memory that they plan for.
    """

    batch: Annotated[int, Field(ge=1, le=1 << 31)]
    up_to: Annotated[int, Field(ge=1, le=1 << 31)] | None = None
    chosen: Text = ""
    why: Text = ""
    asked: bool = True
    seconds: dict[Text, Seconds] = Field(default_factory=dict, max_length=16)
    steps: Count = 0
    copies: Count = 0
    planned: Count = 0


class InputPlan(_Row):
    """An input of the example: its dtype ("" where it is no tensor) and shape."""

    dtype: Text = ""
    shape: Annotated[list[Annotated[int, Field(ge=0, le=1 << 31)]], Field(max_length=8)] = Field(
        default_factory=list
    )


Fact = Text | Count | list[Text] | dict[Text, Text]


class Plan(_Row):
    """Everything ``explain`` prints.

    Example:
        >>> print(Plan(batches=[BatchPlan(batch=1)], notes=["nothing to freeze"]))
        note: nothing to freeze
        <BLANKLINE>
        batch 1 (any batch): not measured
    """

    inputs: list[InputPlan] = Few
    batches: Annotated[list[BatchPlan], Field(min_length=1, max_length=16)]
    layers: Annotated[list[LayerPlan], Field(max_length=100_000)] = Field(default_factory=list)
    notes: list[Text] = Few
    machine: dict[Text, Fact] = Field(default_factory=dict, max_length=64)

    def of_layer(self, name: str) -> Plan:
        """The plan of one layer by itself."""
        return self.model_copy(update={"layers": [row for row in self.layers if row.name == name]})

    def __str__(self) -> str:
        lines = [f"note: {note}" for note in self.notes]
        for layer in self.layers:
            lines += ["", *_layer_lines(layer, [row.batch for row in self.batches])]
        lines.append("")
        lines += _kept(self.layers)
        lines += [_batch_line(row) for row in self.batches]
        return "\n".join(lines)


def _kept(layers: list[LayerPlan]) -> list[str]:
    """How much of the dense network is left: weights of convolutions are used once for each pixel."""
    if not any(layer.kernel for layer in layers):
        return []
    dense, uses = [prod(layer.shape) for layer in layers], [max(1, layer.pixels) for layer in layers]
    kept = [layer.connections for layer in layers]
    weights = sum(kept) / max(1, sum(dense))
    products = sum(map(mul, kept, uses)) / max(1, sum(map(mul, dense, uses)))
    return [f"all layers: {weights:.1%} of the dense weights, {products:.1%} of the dense multiplications"]


def _layer_lines(layer: LayerPlan, batches: list[int]) -> list[str]:
    """A heading and one line a candidate, fastest first."""
    (out, inp), density = layer.shape, layer.connections / max(1, layer.shape[0] * layer.shape[1])
    head = f"{layer.name}: {inp} -> {out}, {layer.connections:,} connections ({density:.1%})"
    head += f", {layer.kernel}, {layer.pixels:,} pixels" if layer.kernel else ""
    head += " + residual" if layer.residual else ""
    head += f" + {layer.activation}" if layer.activation else ""
    head += f", values {layer.values}" if layer.values in NARROW else ""
    gone = [
        (layer.constant, "constant neurons folded into the next layer"),
        (layer.unread, "neurons that nothing read removed"),
        (layer.unused_inputs, "inputs unused"),
    ]
    form = f", as {layer.stored}" if layer.stored else ""
    lines = [
        head,
        f"  {_held(layer)}arithmetic in {_arithmetic(layer, batches)}",
        f"  {layer.bytes:,} bytes in a file{form}; {layer.memory:,} in memory",
        *(f"  {number:,} {what}" for number, what in gone if number),
    ]
    titles = "".join(f"{f'us at {batch}':>14}" for batch in batches)
    lines.append(f"  {'layout':<16}{'by':<8}{'bytes':>12}{titles}")
    tried = [row for row in layer.candidates if row.engine]
    for row in sorted(tried, key=lambda row: [math.inf if s is None else s for s in row.seconds]):
        times = "".join(map(_time, row.seconds)) or _time(None) * len(batches)
        used = [
            str(batch)
            for batch, run in zip(batches, layer.runs, strict=False)
            if run == f"{row.layout}/{row.engine}"
        ]
        mark = f"  <- chosen for batch {', '.join(used)}: {row.why}" if used else f"  {row.why}".rstrip()
        lines.append(f"  {row.layout:<16}{row.engine:<8}{row.bytes:>12,}{times}{mark}")
    return lines + [f"  {row.layout:<16}not tried: {row.why}" for row in layer.candidates if not row.engine]


def _held(layer: LayerPlan) -> str:
    """How narrow values lie in memory."""
    if layer.values not in NARROW:
        return ""
    return f"values held as {layer.values if layer.values in (BFLOAT16, 'int8') else 'int8'}; "


def _arithmetic(layer: LayerPlan, batches: list[int]) -> str:
    """What computes, and for which batch classes where they differ."""
    names = [run.partition("/")[0] for run in layer.runs]
    kinds = [layout(name).compute if name in layouts else FLOAT32 for name in names]
    if len(set(kinds)) < 2:
        return WORDS.get(layer.compute, layer.compute)
    found = {
        kind: [str(b) for b, each in zip(batches, kinds, strict=False) if each == kind] for kind in kinds
    }
    return "; ".join(f"{WORDS.get(kind, kind)} for batch {', '.join(used)}" for kind, used in found.items())


def _time(seconds: float | None) -> str:
    """A column of the table, in microseconds."""
    return f"{'-':>14}" if seconds is None else f"{seconds * 1e6:>14.1f}"


def _batch_line(row: BatchPlan) -> str:
    until = "any batch" if row.up_to is None else f"used up to {row.up_to}"
    plan = f"; images run in {row.steps} steps, {row.copies} of them copies, in {row.planned:,} bytes"
    plan = plan if row.steps else ""
    if not row.seconds:
        return f"batch {row.batch} ({until}): not measured{plan}"
    times = ", ".join(f"{way} {seconds * 1e6:.1f} us" for way, seconds in row.seconds.items())
    against = row.seconds.get("dense", 0.0) / max(row.seconds.get(row.chosen, 0.0), 1e-12)
    reason = f" ({row.why})" if row.why else ""
    until += "" if row.asked else "; not asked for, but slower than dense with another choice"
    gain = f"; {against:.2f}x dense" if "dense" in row.seconds else ""
    return f"batch {row.batch} ({until}): whole network {times}; chosen: {row.chosen}{reason}{gain}{plan}"
