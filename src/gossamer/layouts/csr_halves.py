"""Row-compressed in float16: for processors that multiply and add in it, many samples at a time."""

from __future__ import annotations

from typing import Any

import numpy as np

from gossamer.layouts.arrays import cast
from gossamer.layouts.base import layouts
from gossamer.layouts.connections import Connections
from gossamer.layouts.csr import Csr
from gossamer.layouts.kernel_side import Address, Dims, Fields, Numbers, Parameters
from gossamer.layouts.values import LARGEST_HALF


@layouts.register("csr_halves")
class CsrHalves(Csr):
    """As csr, with float16 values: up to 16 connections are added up in float16, their sums in float32.

    Made when it is to run: a file holds the weights that it is made from.
    """

    number = 10
    convolves = False
    trains = False
    values = ("float16",)
    rates = ()
    compute = "float16"
    from_batch = 32  # samples of a vector

    def fit(self, connections: Connections) -> Parameters | str:
        """Where no weight leaves the range of float16."""
        lost = ~np.isfinite(cast(connections.wide().values, "float16"))
        return (
            f"{int(lost.sum())} weights beyond {LARGEST_HALF:,}, the range of float16" if lost.any() else {}
        )

    def fields(self, dtype: int, values: Any, index: Numbers, shape: Dims, at: Address) -> Fields:
        """As csr."""
        return (self.number, *super().fields(dtype, values, index, shape, at)[1:])
