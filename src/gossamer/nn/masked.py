"""The masked home: a dense weight and a boolean mask."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import prod
from typing import Any

import torch
from torch import Tensor, nn

from gossamer.errors import TopologyError
from gossamer.measure import require_memory
from gossamer.nn import living
from gossamer.nn.fingerprint import sum_of
from gossamer.nn.sparse import HINT, SparseModule, check_like
from gossamer.topology import Topology, TopologyChange

DENSE = 9  # bytes a position at the peak of building: weight, mask, and the weight once more


class Masked(SparseModule):
    """Home for layers or devices without a sparse kernel, and the oracle: a dense weight times a boolean mask."""

    home = "masked"

    def _make_home(self, size: tuple[int, ...], device: Any, dtype: torch.dtype | None) -> None:
        hint = 'home="packed" needs memory of the connections alone'
        if torch.device(device or torch.get_default_device()).type == "cpu":
            require_memory(f"masked layer {self.shape[1]} -> {self.shape[0]}", DENSE * prod(size), hint)
        self.weight = nn.Parameter(torch.zeros(size, device=device, dtype=dtype))
        self.register_buffer("mask", torch.zeros(size, device=device, dtype=torch.bool))
        self.mask: Tensor
        self.left: int | None = None  # check sum of the mask when another layer with it moved to another one
        living.enter(self)  # not before: layers in other threads look at those that are there

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        living.enter(self)

    @property
    def weights(self) -> nn.Parameter:
        """``weight``: dense; zero where the mask is."""
        return self.weight

    @property
    def topology(self) -> Topology:
        """Read off the mask."""
        units = self.pattern.units(self.to_matrix(self.mask).cpu(), self.grid)
        return Topology(self.pattern, self.shape, units.all(1).nonzero().squeeze(1))

    def unit_values(self, tensor: Tensor | None = None) -> Tensor:
        """[units, members], on the CPU; raises TopologyError where the weights are of other connections."""
        self._settle()
        dense = self.to_matrix((self.weight if tensor is None else tensor).detach()).cpu()
        return self.pattern.pack(dense, self.topology.positions, self.grid).view(-1, self.grid.members)

    def place(self, tensor: Tensor, units: Tensor) -> None:
        """Each where its connection is; the rest stays as it is."""
        dense = self.pattern.unpack(units.reshape(-1), self.topology.positions, self.grid)
        tensor.copy_(torch.where(self.mask, self._from_matrix(dense).to(tensor), tensor))

    def every_unit(self, tensor: Tensor) -> Tensor:
        """[positions of the grid, members], on the CPU: a tensor of the weight's shape, absent connections included."""
        return self.pattern.units(self.to_matrix(tensor.detach()).cpu(), self.grid)

    def fill(self, tensor: Tensor, units: Tensor) -> None:
        """The inverse: write all of them."""
        dense = self.pattern.unpack(units.reshape(-1), torch.arange(self.grid.size), self.grid)
        tensor.copy_(self._from_matrix(dense))

    def assign(self, topology: Topology, values: Tensor) -> None:
        """Replace mask and weight."""
        dense = self.pattern.unpack(values, topology.positions, self.grid)
        with torch.no_grad():
            self._leave(mask := self._from_matrix(topology.mask()).to(self.mask.device))
            self.mask.copy_(mask)
            self.weight.copy_(self._from_matrix(dense))
        self.left = None

    @torch.no_grad()
    def carry(self, change: TopologyChange, states: Iterable[Tensor] = ()) -> None:
        """Zero weight and states wherever a connection is not in both topologies."""
        new = self._from_matrix(change.new.mask()).to(self.mask.device)
        self._leave(new)
        stays = self._from_matrix(change.part(change.source >= 0).mask()).to(self.mask.device)
        for tensor in (self.weight, *states):
            tensor.masked_fill_(~stays, 0)
        self.mask.copy_(new)
        self.left = None

    @torch.no_grad()
    def plant(self, change: TopologyChange, values: Tensor) -> None:
        """Write the grown units."""
        dense = self.pattern.unpack(values, change.new.positions, self.grid)
        grown = self._from_matrix(change.part(change.source < 0).mask()).to(self.mask.device)
        self.weight.copy_(torch.where(grown, self._from_matrix(dense).to(self.weight), self.weight))

    def effective_weight(self) -> Tensor:
        """The weight the layer computes with; gradients reach existing connections only, or all where a rule says so.

        Weights of absent connections are zero whenever the layer computes.
        """
        if self.left is not None:
            torch.compiler.disable(self._settle)()
        return self.weight if self.tape.through else self.weight * self.mask

    def to_dense(self) -> Tensor:
        """A copy of the weight that the layer computes with, of the dense layer's shape; gradients reach ``weight``."""
        return self.effective_weight()

    def _leave(self, new: Tensor) -> None:
        """Tell untrained layers with these connections, before they change, that weights here will be of others."""
        for other in [] if torch.equal(new, self.mask) else living.alike(self):
            same = other.mask.device == self.mask.device and torch.equal(other.mask, self.mask)
            if same and not other.tape.followed:
                other.left = sum_of(other.mask)

    @torch.no_grad()
    def _settle(self) -> None:
        """Find the mask for weights that were copied without, and refuse averaged ones; raises TopologyError."""
        if self.left is None or not bool(self.weight.masked_fill(self.mask, 0).any()):
            return
        if self.tape.followed or self.left != sum_of(
            self.mask
        ):  # the mask came along: weights meet by position
            self.left = None
            return
        for other in living.alike(self):
            if other.weight.device == self.weight.device and torch.equal(other.weight, self.weight):
                self.mask.copy_(other.mask)
                return
        raise TopologyError(
            self.title,
            expected="no weights outside of its mask",
            got="weights averaged with those of other connections",
            hint=HINT,
        )

    def check_state(self, state: Mapping[str, Tensor], name: str) -> Topology | None:
        """The topology of a state's mask, which must obey pattern and budget."""
        self._check_bias(state, name)
        if "weight" in state:
            check_like(f"load {name}.weight", state["weight"], self.weight)
        if "mask" not in state:
            return None
        mask = state["mask"]
        check_like(f"load {name}.mask", mask, self.mask)
        units = self.pattern.units(self.to_matrix(mask).cpu(), self.grid)
        topology = Topology(self.pattern, self.shape, units.all(1).nonzero().squeeze(1))
        self.pattern.validate(topology.positions, self.grid)
        if topology.connections != int(mask.sum()):
            raise TopologyError(
                f"load {name}.mask", expected=f"whole units of pattern {self.pattern}", got="parts of some"
            )
        self._check_budget(topology, name)
        return topology

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        """Check first; what a file holds outside the mask is cleared."""
        state = {key[len(prefix) :]: tensor for key, tensor in state_dict.items() if key.startswith(prefix)}
        if self.check_state(state, prefix[:-1] or type(self).__name__) is not None:
            self._leave(state["mask"].to(self.mask.device))
        super()._load_from_state_dict(state_dict, prefix, *args)
        with torch.no_grad():
            self.weight.masked_fill_(~self.mask, 0)
        self.left = None
