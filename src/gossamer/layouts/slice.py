"""A dense matrix without the rows and columns that hold no connection."""

from __future__ import annotations

import torch
from torch import Tensor

from gossamer.errors import TopologyError
from gossamer.layouts.base import Encoded, Layout, Parameters, Spec, layouts
from gossamer.layouts.connections import Connections
from gossamer.patterns.base import narrow


@layouts.register("slice")
class Slice(Layout):
    """``rows`` [a] and ``cols`` [b] in use, ``values`` [a * b]; the other neurons give their bias."""

    kernel = False
    explicit = False

    def fit(self, connections: Connections) -> Parameters | str:
        """Where something can be left out."""
        if not connections.positions.numel():
            return "there is no connection"
        if bool((connections.fan_in() > 0).all()) and bool((connections.fan_out() > 0).all()):
            return "every neuron and every input is in use"
        return {}

    def arrange(self, connections: Connections, parameters: Parameters) -> Encoded:
        """O(size of the slice)."""
        rows = connections.fan_in().nonzero().squeeze(1)
        cols = connections.fan_out().nonzero().squeeze(1)
        values = connections.values.new_zeros(rows.numel(), cols.numel())
        at = torch.searchsorted(rows, connections.rows), torch.searchsorted(cols, connections.cols)
        values[at] = connections.values
        n_out, n_in = connections.shape
        index = {"rows": rows.to(narrow(n_out)), "cols": cols.to(narrow(n_in))}
        return Encoded(self.name, connections.shape, parameters, values.view(-1), index)

    def restore(self, encoded: Encoded) -> Connections:
        """Every number of the slice is taken for a connection."""
        rows = _ascending(encoded.index["rows"], encoded.shape[0], "rows")
        cols = _ascending(encoded.index["cols"], encoded.shape[1], "cols")
        self.expect(encoded, rows.numel() * cols.numel())
        return Connections(
            encoded.shape, (rows.unsqueeze(1) * encoded.shape[1] + cols).view(-1), encoded.values
        )

    def spec(self, shape: tuple[int, int], parameters: Parameters) -> Spec:
        """Rows and columns in use."""
        return {"rows": (narrow(shape[0]), (-1,)), "cols": (narrow(shape[1]), (-1,))}


def _ascending(tensor: Tensor, limit: int, name: str) -> Tensor:
    """As int64, once it is known to ascend below the limit."""
    wide = tensor.to(torch.int64)
    inside = wide.numel() == 0 or (int(wide[0]) >= 0 and int(wide[-1]) < limit)
    if not inside or not bool((wide.diff() > 0).all()):
        raise TopologyError("layout slice", expected=f"ascending {name} below {limit}", got="others")
    return wide
