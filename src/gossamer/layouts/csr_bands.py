"""Row-compressed band by band of inputs: the order in which a batch meets the connections."""

from __future__ import annotations

import torch

from gossamer.errors import ConfigError, TopologyError
from gossamer.layouts.base import Encoded, Layout, Parameters, Spec, layouts
from gossamer.layouts.connections import Connections

# A visit of a row to a band is worth its cost from some sixteen connections on; bands of fewer than 128 inputs gain
# nothing, for the tile of that many lies in the first cache level. Measured: docs/decisions/0011-bands-of-inputs.md.
VISIT, LEAST, MOST = 16, 128, 65536


@layouts.register("csr_bands")
class CsrBands(Layout):
    """``starts`` [bands * out + 1] and ``col`` [connections], counted from the first input of its band."""

    parameters = ("band",)
    from_batch = 2  # a band is a pass over the rows, which a single sample does not pay back

    def fit(self, connections: Connections) -> Parameters | str:
        """Always, up to 2^31 connections."""
        (n_out, n_in), n = connections.shape, connections.positions.numel()
        if n >= 1 << 31:
            return f"{n} connections are more than 2^31"
        band = min(MOST, n_in, max(LEAST, VISIT * n_in * n_out // max(1, n)))
        return {"band": -(-n_in // _bands(connections.shape, band))}  # of about one size

    def arrange(self, connections: Connections, parameters: Parameters) -> Encoded:
        """O(connections log connections)."""
        (n_out, _), band = connections.shape, parameters["band"]
        part = connections.cols // band * n_out + connections.rows
        part, order = part.sort(stable=True)
        parts = _bands(connections.shape, band) * n_out
        starts = torch.zeros(parts + 1, dtype=torch.int64)
        torch.cumsum(torch.bincount(part, minlength=parts), 0, out=starts[1:])
        col = (connections.cols[order] % band).to(_offset(band))
        index = {"starts": starts.to(torch.int32), "col": col}
        return Encoded(self.name, connections.shape, parameters, connections.values[order], index)

    def restore(self, encoded: Encoded) -> Connections:
        """Starts and columns are checked here: no pattern of ours is stored this way."""
        (n_out, n_in), band = encoded.shape, encoded.parameters["band"]
        starts, col = (encoded.index[name].to(torch.int64) for name in ("starts", "col"))
        count = starts.diff()
        if int(starts[0]) != 0 or int(starts[-1]) != col.numel() or bool((count < 0).any()):
            raise TopologyError("layout csr_bands", expected=f"starts from 0 to {col.numel()}", got="others")
        part = torch.repeat_interleave(torch.arange(count.numel()), count)
        position = part * band + col  # ascends where columns do: a part is a row of one band
        row, column = part % n_out, part // n_out * band + col
        if bool((col >= band).any()) or bool((column >= n_in).any()) or bool((position.diff() <= 0).any()):
            raise TopologyError("layout csr_bands", expected="ascending columns within a band", got="others")
        self.expect(encoded, col.numel())
        positions, order = (row * n_in + column).sort()
        return Connections(encoded.shape, positions, encoded.values[order])

    def spec(self, shape: tuple[int, int], parameters: Parameters) -> Spec:
        """Starts of every row in every band, and columns within one."""
        band = parameters["band"]
        if not 1 <= band <= MOST:
            raise ConfigError("layout csr_bands", expected=f"a band of 1 to {MOST} inputs", got=str(band))
        starts = (torch.int32, (_bands(shape, band) * shape[0] + 1,))
        return {"starts": starts, "col": (_offset(band), (-1,))}


def _bands(shape: tuple[int, int], band: int) -> int:
    return -(-shape[1] // band)


def _offset(band: int) -> torch.dtype:
    """The narrowest type for a place within a band."""
    return torch.uint8 if band <= 256 else torch.uint16
