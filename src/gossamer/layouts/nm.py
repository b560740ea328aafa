"""N:M: of every m inputs each neuron reads n; row by row, or eight neurons side by side."""

from __future__ import annotations

import torch
from torch import Tensor

from gossamer.errors import FormatError
from gossamer.layouts.base import Encoded, Layout, Parameters, Spec, layouts
from gossamer.layouts.connections import Connections
from gossamer.patterns import NM
from gossamer.topology import Topology

LANES = 8


@layouts.register("nm")
class NmLayout(Layout):
    """``offset`` [out, in / m, n], uint8; for layers trained under NM(n, m) whose tiles are still whole."""

    parameters = ("n", "m")

    def fit(self, connections: Connections) -> Parameters | str:
        """Where the layer's pattern is N:M and every tile holds n."""
        pattern = connections.pattern
        if not isinstance(pattern, NM):
            return "not trained under an N:M pattern"
        if connections.shape[1] % pattern.m:
            return f"{connections.shape[1]} inputs are no multiple of {pattern.m}"
        grid = pattern.grid(connections.shape)
        if problem := pattern.check_counts(pattern.count(connections.positions, grid), grid):
            return problem
        return {"n": pattern.n, "m": pattern.m}

    def arrange(self, connections: Connections, parameters: Parameters) -> Encoded:
        """O(connections)."""
        index = Topology(NM(**parameters), connections.shape, connections.positions).index()
        return Encoded(self.name, connections.shape, parameters, connections.values.contiguous(), index)

    def restore(self, encoded: Encoded) -> Connections:
        """Through the pattern's own checks."""
        pattern = NM(**encoded.parameters)
        topology = Topology.from_index(pattern, encoded.shape, encoded.index)
        self.expect(encoded, topology.connections)
        return Connections(encoded.shape, topology.positions, encoded.values, pattern=pattern)

    def spec(self, shape: tuple[int, int], parameters: Parameters) -> Spec:
        """Offsets within a tile."""
        pattern = NM(**parameters)
        grid = pattern.grid(shape)
        return {"offset": (torch.uint8, (grid.rows, grid.cols // pattern.m, pattern.n))}


@layouts.register("nm_lanes")
class NmLanes(NmLayout):
    """``offset`` [ceil(out / 8), in / m, n, 8]: eight neurons side by side, padded with zeros at the end."""

    up_to_batch = 8  # samples are taken one after the other: every one reads the whole weight

    def fit(self, connections: Connections) -> Parameters | str:
        """As nm; float32 only."""
        if connections.dtype != torch.float32:
            return f"{connections.dtype} instead of torch.float32"
        return super().fit(connections)

    def arrange(self, connections: Connections, parameters: Parameters) -> Encoded:
        """O(connections)."""
        plain = super().arrange(connections, parameters)
        shape = plain.index["offset"].shape
        values, offset = _lanes(plain.values.view(shape)), _lanes(plain.index["offset"])
        if shape[0] % LANES:
            offset[-1, ..., shape[0] % LANES :] = torch.arange(parameters["n"], dtype=torch.uint8).unsqueeze(
                1
            )
        return Encoded(self.name, plain.shape, parameters, values.view(-1), {"offset": offset})

    def restore(self, encoded: Encoded) -> Connections:
        """The rows that exist, once the padded ones are known to be zero."""
        n_out, offset = encoded.shape[0], encoded.index["offset"]
        self.expect(encoded, offset.numel())
        values = _rows(encoded.values.view(offset.shape))
        padding = _rows(offset)[n_out:].to(torch.int64)
        if bool((values[n_out:] != 0).any()) or bool(
            (padding != torch.arange(encoded.parameters["n"])).any()
        ):
            raise FormatError(
                "layout nm_lanes", expected="padding of zeros at the first offsets", got="something else"
            )
        plain = {"offset": _rows(offset)[:n_out].contiguous()}
        return super().restore(
            Encoded("nm", encoded.shape, encoded.parameters, values[:n_out].reshape(-1), plain)
        )

    def spec(self, shape: tuple[int, int], parameters: Parameters) -> Spec:
        """Offsets of eight neurons side by side."""
        dtype, (rows, tiles, n) = super().spec(shape, parameters)["offset"]
        return {"offset": (dtype, (-(-rows // LANES), tiles, n, LANES))}


def _lanes(rows: Tensor) -> Tensor:
    """[out, tiles, n] to [ceil(out / 8), tiles, n, 8], zeros at the end."""
    blocks = -(-rows.shape[0] // LANES)
    full = rows.new_zeros(blocks * LANES, *rows.shape[1:])
    full[: rows.shape[0]] = rows
    return full.view(blocks, LANES, *rows.shape[1:]).permute(0, 2, 3, 1).contiguous()


def _rows(lanes: Tensor) -> Tensor:
    """The inverse of ``_lanes``, padded rows included."""
    return lanes.permute(0, 3, 1, 2).reshape(-1, *lanes.shape[1:3])
