"""Operators of older files that are layers today."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Literal

import numpy as np

from gossamer.errors import FormatError
from gossamer.layouts import layout
from gossamer.layouts.arrays import name_of
from gossamer.layouts.connections import Connections
from gossamer.layouts.geometry import Geometry
from gossamer.network.graph import Choice, Layer, Linear, frozen
from gossamer.network.operators.base import FLOATS, Border, Settings, Size
from gossamer.network.operators.spatial import Borders, Pair
from gossamer.network.schema import parse

if TYPE_CHECKING:
    from gossamer.layouts.arrays import Array
    from gossamer.network.schema import CallPart


class Convolution(Settings):
    """A convolution of version 1; ``border`` (left, right, top, bottom) was padded where the mode is not zeros."""

    out_channels: Size
    in_channels: Size
    kernel: Pair
    stride: Pair
    padding: Borders
    dilation: Pair
    groups: Size
    bias: bool
    mode: Literal["zeros", "circular", "reflect", "replicate"] = "zeros"
    border: tuple[Border, Border, Border, Border] = (0, 0, 0, 0)


def _convolution(part: CallPart, arrays: dict[str, Array], classes: int) -> Layer:
    """A dense convolution, which the core runs now."""
    s = parse(Convolution, part.settings, f"load {part.name}")
    if s.in_channels % s.groups or s.out_channels % s.groups:
        got = f"{s.in_channels} -> {s.out_channels} in {s.groups} groups"
        raise FormatError(f"load {part.name}", expected="groups that divide the channels", got=got)
    expected: dict[str, tuple[int, ...]] = {"weight": (s.out_channels, s.in_channels // s.groups, *s.kernel)}
    expected |= {"bias": (s.out_channels,)} if s.bias else {}
    held = {name: array.shape for name, array in arrays.items()}
    types = {name_of(array) for array in arrays.values()}
    if held != expected or len(types) != 1 or not types <= set(FLOATS) or len(part.inputs) != 1:
        raise FormatError(
            f"load {part.name}", expected=f"tensors of one floating type {expected}", got=f"{held} of {types}"
        )
    top, left = s.padding
    padding = (left, left, top, top) if s.mode == "zeros" else s.border
    geometry = Geometry(s.in_channels, s.kernel, s.stride, padding, s.dilation, s.groups, s.mode)
    weights = arrays["weight"].transpose(0, 2, 3, 1).reshape(-1)
    connections = Connections(
        (s.out_channels, geometry.columns), np.arange(weights.size), weights, arrays.get("bias")
    )
    form = layout("dense").encode(connections, {})
    choices = (Choice("dense", "core"),) * classes
    return frozen(Linear(connections, geometry=geometry), form, {"dense": form}, choices)


RETIRED: Final[dict[str, Callable[[CallPart, dict[str, Array], int], Layer]]] = {"conv2d": _convolution}
