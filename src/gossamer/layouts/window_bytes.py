"""Windows of 64 inputs, and the places of connections in them: sixteen neurons and four of each side by side."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from gossamer.errors import ShapeError, TopologyError
from gossamer.layouts.arrays import name_of
from gossamer.layouts.base import Encoded, Layout, layouts
from gossamer.layouts.bitmask import SINGLE
from gossamer.layouts.compressed import pointers_hold
from gossamer.layouts.connections import Connections
from gossamer.layouts.kernel_side import (
    OFFSETS,
    Address,
    Dims,
    Fields,
    Makes,
    Numbers,
    Parameters,
    Shape,
    Spec,
)
from gossamer.layouts.nm_bytes import MOST
from gossamer.layouts.ranges import DAMAGED

NEURONS, WINDOW, TOGETHER = 16, 64, 4
STEP = NEURONS * TOGETHER
EMPTY = 255  # the place of what fills up a step


@layouts.register("window_bytes")
class WindowBytes(Layout):
    """``starts`` [ceil(out / 16) * ceil(in / 64) + 1], in steps, and ``place`` [steps, 16, 4]; int8 values alike.

    The connections of a neuron in a window ascend; places of 255 and zeros fill up its last step. Inputs are rounded
    when read.
    """

    number = 18
    values = ("int8",)
    lanes = NEURONS
    compute = "int8"
    accepts: ClassVar[dict[str, tuple[str, ...]]] = {"starts": ("int32",), "place": OFFSETS}
    densest = 0.3
    up_to_batch: ClassVar[int | None] = 8

    def fit(self, connections: Connections) -> Parameters | str:
        """Single connections, int8 values, up to 2^17 inputs: sums of byte products fit 32 bits."""
        if connections.values.dtype != np.int8:
            return f"{name_of(connections.values)} values instead of int8"
        if connections.trained is not None and connections.trained.layout not in SINGLE:
            return f"trained as {connections.trained.layout}, which places do not tell"
        return {} if connections.shape[1] <= MOST else f"{connections.shape[1]} inputs, more than {MOST}"

    def arrange(self, connections: Connections, parameters: Parameters) -> Encoded:
        """O(connections + windows)."""
        (n_out, _), windows = connections.shape, -(-connections.shape[1] // WINDOW)
        rows, cols = connections.rows, connections.cols
        part = rows * windows + cols // WINDOW  # ascends
        counts = np.bincount(part, minlength=-(-n_out // NEURONS) * NEURONS * windows)
        rank = np.arange(part.size) - (np.cumsum(counts) - counts)[part]
        steps = -(-counts.reshape(-1, NEURONS, windows).max(1) // TOGETHER)
        starts = np.zeros(steps.size + 1, np.int32)
        np.cumsum(steps.reshape(-1), out=starts[1:])
        step = starts[rows // NEURONS * windows + cols // WINDOW] + rank // TOGETHER
        slot = (step * NEURONS + rows % NEURONS) * TOGETHER + rank % TOGETHER
        place = np.full(int(starts[-1]) * NEURONS * TOGETHER, EMPTY, np.uint8)
        values = np.zeros(place.size, connections.values.dtype)
        place[slot], values[slot] = cols % WINDOW, connections.values
        index = {"starts": starts, "place": place.reshape(-1, NEURONS, TOGETHER)}
        return Encoded(self.name, connections.shape, parameters, values, index)

    def restore(self, encoded: Encoded) -> Connections:
        """Starts, places and their order are checked, and that nothing but zeros fills up steps."""
        (n_out, n_in), (starts, place) = encoded.shape, encoded.index.values()
        self.expect(encoded, place.size)
        windows, ends_at = -(-n_in // WINDOW), starts.astype(np.int64)
        steps = ends_at[1:] - ends_at[:-1]
        whole = int(starts[0]) == 0 and int(starts[-1]) == place.shape[0] and not bool((steps < 0).any())
        if not whole:
            raise TopologyError(
                f"layout {self.name}", expected="ascending starts", got="others", hint=DAMAGED
            )
        part = np.repeat(np.arange(steps.size), steps)
        row = (part // max(windows, 1) * NEURONS)[:, None, None] + np.arange(NEURONS)[:, None]
        col = (part % max(windows, 1) * WINDOW)[:, None, None] + place.astype(np.int64)
        row = np.broadcast_to(row, place.shape)
        there, values = place != EMPTY, encoded.values.reshape(place.shape)
        positions = (row * n_in + col)[there]
        order = np.argsort(positions, kind="stable")
        inside = (place < WINDOW) & (col < n_in) & (row < n_out)
        twice = bool((np.diff(positions[order]) == 0).any())
        kept = np.count_nonzero(values[~there]) == 0
        plain = Connections(encoded.shape, positions[order], values[there][order])
        if not bool(inside[there].all()) or twice or not kept or not self._same(encoded, plain):
            raise TopologyError(
                f"layout {self.name}",
                expected=f"ascending places within {n_in} inputs, and zeros at {EMPTY} behind them",
                got="others",
                hint=DAMAGED,
            )
        return plain

    def _same(self, encoded: Encoded, plain: Connections) -> bool:
        """Whether this is how the layer is arranged: there is one way."""
        again = self.arrange(plain, {})
        return all(
            np.array_equal(a, b) for a, b in zip(encoded.index.values(), again.index.values(), strict=True)
        )

    def spec(self, shape: Shape, parameters: Parameters) -> Spec:
        """Starts of every window of every sixteen neurons, and places in steps."""
        self.grid(shape, parameters)
        windows = -(-shape[0] // NEURONS) * -(-shape[1] // WINDOW)
        return {"starts": ("int32", (windows + 1,)), "place": ("uint8", (-1, NEURONS, TOGETHER))}

    def wants(self, shape: Shape, parameters: Parameters) -> str:
        """Rows of bounded size."""
        return "" if shape[1] <= MOST else f"up to {MOST} inputs"

    def coordinates(self, index: Numbers, shape: Dims, make: Makes) -> tuple[Any, Any]:
        """Step by step; what fills them up lies past the inputs."""
        starts, place = make.wide(index[0]), make.wide(index[1])
        windows = max(-(-shape[1] // WINDOW), 1)
        part = make.repeat(make.arange(starts.shape[0] - 1), starts[1:] - starts[:-1])[:, None, None]
        row = part // windows * NEURONS + make.arange(NEURONS)[:, None]
        there = place < WINDOW
        col = (part % windows * WINDOW + place) * there + shape[1] * ~there
        return make.spread(row, place.shape).reshape(-1), col.reshape(-1)

    def inside(self, index: Numbers, shape: Dims, make: Makes) -> bool:
        """Starts first; then places of connections, and what fills up steps."""
        if not pointers_hold(index, make):
            return False
        row, col = self.coordinates(index, shape, make)
        there = make.wide(index[1]).reshape(-1) != EMPTY
        return bool(((row < shape[0]) & (col < shape[1]) | ~there).all())

    def fields(self, dtype: int, values: Any, index: Numbers, shape: Dims, at: Address) -> Fields:
        """Starts, and places as columns."""
        starts, place = index
        if starts.shape[0] != (parts := -(-shape[0] // NEURONS) * -(-shape[1] // WINDOW)) + 1:
            raise ShapeError("kernels.cpu", expected=f"starts [{parts + 1}]", got=f"{tuple(starts.shape)}")
        return (self.number, dtype, shape[0], shape[1], 1, 0, 0, 0, values.shape[0], place.shape[0] * STEP,
                starts.itemsize, 1, at(values), at(starts), at(place))  # fmt: skip
