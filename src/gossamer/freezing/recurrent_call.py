"""The recurrent layers of a frozen network on tensors, and the operator that stands for them in a trace."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gossamer.errors import KernelUnavailable
from gossamer.layouts import layout
from gossamer.network.recurrent_step import RecurrentStep


class RecurrentCall(RecurrentStep):
    """One of them; tracers see the operator that trains it."""

    def recorded(self, x: Tensor) -> Tensor:
        """The same as one operator; raises KernelUnavailable where values or layout have none."""
        self.check(x)
        form = self.form
        if form.reads is not None or not layout(form.layout).trains:
            raise KernelUnavailable(
                "Frozen, traced",
                expected="recurrent layers with exact values, in a layout that trains",
                got=f"{form.layout} of {form.values.dtype}",
                hint="call the frozen network itself",
            )
        by_time = x.transpose(0, 1) if self.batch_first else x
        zeros = x.new_zeros(by_time.shape[1], self.hidden)
        c = zeros if self.cell == "lstm" else None
        held: list[Any] = [torch.as_tensor(each) for each in (form.values, *form.index.values())]
        bias = None if self.bias is None else torch.as_tensor(self.bias)
        about = (self.cell, form.layout, form.dims, self.reverse, False)
        columns = by_time.reshape(-1, form.shape[0])
        y: Tensor = torch.ops.gossamer.recurrent(columns, held[0], held[1:], bias, zeros, c, None, *about)[0]
        y = y.reshape(*by_time.shape[:2], self.hidden)
        return y.transpose(0, 1) if self.batch_first else y
