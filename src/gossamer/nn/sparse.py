"""What every sparse layer shares, and its two homes: packed (truly sparse) and masked (dense times mask)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from gossamer.errors import DtypeError, ShapeError, TopologyError
from gossamer.nn.init import draw_values
from gossamer.nn.tape import Tape
from gossamer.patterns import Grid, Pattern
from gossamer.topology import TileScores, Topology, TopologyChange


class SparseModule(nn.Module, ABC):
    """Base of all sparse layers: a dense layer's shape, the pattern of its zeros, and its connections.

    Subclasses hold the connections (a home) and say how an input becomes an output (a kind of layer).
    """

    pattern: Pattern
    shape: tuple[int, int]  # (out, in) of the weight seen as a matrix
    capacity: int  # budget in units; a rule never exceeds it
    bias: nn.Parameter | None
    home: str

    def __init__(self, shape: tuple[int, int], pattern: Pattern, density: float) -> None:
        super().__init__()
        self.pattern, self.shape = pattern, shape
        self.capacity = pattern.budget(density, shape)
        self.tape = Tape()

    @property
    def grid(self) -> Grid:
        """The unit grid of the layer."""
        return self.pattern.grid(self.shape)

    # --- what a home provides ---------------------------------------------------------------------------------------
    @abstractmethod
    def _make_home(self, size: tuple[int, ...], device: Any, dtype: torch.dtype | None) -> None:
        """Create the parameter and buffers for a weight of this size."""

    @property
    @abstractmethod
    def weights(self) -> nn.Parameter:
        """The parameter that holds the connections' values."""

    @property
    @abstractmethod
    def topology(self) -> Topology:
        """The connections that exist now."""

    @abstractmethod
    def unit_values(self) -> Tensor:
        """[units, members]: values in topology order, without gradient."""

    @abstractmethod
    def assign(self, topology: Topology, values: Tensor) -> None:
        """Replace topology and values ([connections], flat order) at once."""

    @abstractmethod
    def carry(self, change: TopologyChange, states: Iterable[Tensor] = ()) -> None:
        """Carry the weights and every tensor of their shape through a topology update, in place."""

    # --- what a kind of layer provides ------------------------------------------------------------------------------
    @abstractmethod
    def compute(self, x: Tensor) -> Tensor:
        """The layer's output for an input."""

    @abstractmethod
    def gradient_rows(self, lo: int, hi: int) -> Tensor:
        """[(hi - lo) * h, in], rows of the dense gradient, from the recorded passes."""

    def to_matrix(self, weight: Tensor) -> Tensor:
        """[out, in]: a tensor of the dense weight's shape, as the pattern sees it. A linear layer's is one already."""
        return weight

    def from_matrix(self, matrix: Tensor) -> Tensor:
        """The inverse of to_matrix."""
        return matrix

    # --- what all get ------------------------------------------------------------------------------------------------
    def forward(self, x: Tensor) -> Tensor:
        """Compute, and record the pass where an engine asked for it."""
        y = self.compute(x)
        if y.requires_grad:
            self.tape.watch(self, x, y)
        return y

    def reset_parameters(self, generator: torch.Generator | None = None, fan_in: str = "sparse") -> None:
        """Draw a new topology within the budget, and values for its fan-in; zero the bias."""
        positions = self.pattern.sample(self.capacity, self.grid, generator)
        topology = Topology(self.pattern, self.shape, positions)
        self.assign(topology, draw_values(topology, fan_in, generator))
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def gradient_scores(self, name: str) -> TileScores:
        """Absolute dense gradient by tiles, one score a unit; needs a recorded pass."""
        if not self.tape.pairs:
            raise TopologyError(
                f"grow in {name}",
                expected="a forward and backward pass through the layer before optimizer.step()",
                got="none",
                hint="a layer that is not used in the loss cannot be grown by gradient",
            )
        grid = self.grid

        def rows(lo: int, hi: int) -> Tensor:
            dense = self.gradient_rows(lo, hi).abs_()
            if grid.members == 1:
                return dense
            return dense.view(hi - lo, grid.h, grid.cols, grid.w).sum((1, 3))

        return TileScores(grid, rows, f"gradient of {name}")

    @property
    def connections(self) -> int:
        """Stored connections, counted exactly."""
        return self.topology.connections

    def extra_repr(self) -> str:
        """Shape, pattern and home."""
        out, inp = self.shape
        return f"{inp} -> {out}, pattern={self.pattern}, connections={self.connections:,}, home={self.home}"


class Packed(SparseModule):
    """Home of truly sparse layers: a flat ``values`` parameter and narrow index buffers; nothing has dense size."""

    home = "packed"

    def _make_home(self, size: tuple[int, ...], device: Any, dtype: torch.dtype | None) -> None:
        """``size`` is what the dense weight would have; nothing of that size is made."""
        flat = torch.zeros(self.capacity * self.grid.members, device=device, dtype=dtype)
        self.values = nn.Parameter(flat)
        self._index_names: tuple[str, ...] = ()

    @property
    def weights(self) -> nn.Parameter:
        """``values`` [capacity]: connections in flat order, then unused zeros."""
        return self.values

    @property
    def index(self) -> dict[str, Tensor]:
        """The narrow index buffers by name."""
        return {name: getattr(self, name) for name in self._index_names}

    def operands(self) -> list[Tensor]:
        """The index buffers in the order the kernels take them."""
        return [getattr(self, name) for name in self._index_names]

    @property
    def topology(self) -> Topology:
        """Decoded from the index buffers, on the CPU."""
        on_cpu = {name: tensor.cpu() for name, tensor in self.index.items()}
        return Topology(self.pattern, self.shape, self.pattern.decode(on_cpu, self.grid))

    def unit_values(self) -> Tensor:
        """[units, members], on the CPU."""
        members = self.grid.members
        return self.values.detach()[: self.connections].view(-1, members).cpu()

    @property
    def connections(self) -> int:
        """Stored connections, from the index sizes alone."""
        return self.operands()[-1].numel() * self.grid.members

    def assign(self, topology: Topology, values: Tensor) -> None:
        """Replace topology and values; raises ShapeError where they exceed the budget."""
        if values.numel() != topology.connections or topology.connections > self.values.numel():
            raise ShapeError(
                "assign", expected=f"at most {self.values.numel()} values, one a connection", got=str(values.numel())
            )
        self._set_index(topology)
        with torch.no_grad():
            self.values.zero_()
            self.values[: values.numel()] = values.to(self.values.device, self.values.dtype)

    def _set_index(self, topology: Topology) -> None:
        index = topology.index()
        self._index_names = tuple(index)
        for name, tensor in index.items():
            self.register_buffer(name, tensor.to(self.values.device))

    @torch.no_grad()
    def carry(self, change: TopologyChange, states: Iterable[Tensor] = ()) -> None:
        """Remap values and states by the same index map; the parameter object stays."""
        for tensor in (self.values, *states):
            change.remap_(tensor)
        self._set_index(change.new)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        """Index buffers change size when neurons are ablated: check what is loaded, then take its size."""
        names = [prefix + name for name in self._index_names]
        if all(name in state_dict for name in names):
            index = {name: state_dict[prefix + name].cpu() for name in self._index_names}
            for name, tensor in index.items():
                if tensor.dtype != getattr(self, name).dtype:
                    raise DtypeError(f"load {prefix}{name}", expected=str(getattr(self, name).dtype), got=str(tensor.dtype))
            topology = Topology.from_index(self.pattern, self.shape, index)
            if topology.connections > self.values.numel():
                raise TopologyError(
                    f"load {prefix[:-1]}",
                    expected=f"at most {self.values.numel()} connections",
                    got=str(topology.connections),
                    hint="build the model with the density it was saved with",
                )
            self._set_index(topology)
        super()._load_from_state_dict(state_dict, prefix, *args)


class Masked(SparseModule):
    """Home for layers or devices without a sparse kernel, and the oracle: a dense weight times a boolean mask."""

    home = "masked"

    def _make_home(self, size: tuple[int, ...], device: Any, dtype: torch.dtype | None) -> None:
        self.weight = nn.Parameter(torch.zeros(size, device=device, dtype=dtype))
        self.register_buffer("mask", torch.zeros(size, device=device, dtype=torch.bool))
        self.mask: Tensor

    @property
    def weights(self) -> nn.Parameter:
        """``weight``: dense; zero where the mask is."""
        return self.weight

    @property
    def topology(self) -> Topology:
        """Read off the mask."""
        units = self.pattern.units(self.to_matrix(self.mask).cpu(), self.grid)
        return Topology(self.pattern, self.shape, units.all(1).nonzero().squeeze(1))

    def unit_values(self) -> Tensor:
        """[units, members], on the CPU."""
        dense = self.to_matrix(self.weight.detach()).cpu()
        return self.pattern.pack(dense, self.topology.positions, self.grid).view(-1, self.grid.members)

    def assign(self, topology: Topology, values: Tensor) -> None:
        """Replace mask and weight."""
        dense = self.pattern.unpack(values, topology.positions, self.grid)
        with torch.no_grad():
            self.mask.copy_(self.from_matrix(topology.mask()))
            self.weight.copy_(self.from_matrix(dense))

    @torch.no_grad()
    def carry(self, change: TopologyChange, states: Iterable[Tensor] = ()) -> None:
        """Zero weight and states wherever a connection is not in both topologies."""
        new = self.from_matrix(change.new.mask()).to(self.mask.device)
        stays = self.mask & new
        for tensor in (self.weight, *states):
            tensor.masked_fill_(~stays, 0)
        self.mask.copy_(new)

    def effective_weight(self) -> Tensor:
        """The weight the layer computes with; gradients reach existing connections only."""
        return self.weight * self.mask

