"""The packed home: connections only, and narrow indices."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from gossamer import ops
from gossamer.errors import DtypeError, ShapeError, TopologyError
from gossamer.measure import require_memory
from gossamer.nn.dense_view import DenseView, refusal
from gossamer.nn.sparse import SparseModule, check_like
from gossamer.topology import Topology, TopologyChange

DRAWING, NEURON = 100, 16  # bytes a unit and a neuron at the peak of drawing a topology


class Packed(SparseModule):
    """Home of truly sparse layers: a flat ``values`` parameter and narrow index buffers; nothing has dense size."""

    home = "packed"

    def _make_home(self, size: tuple[int, ...], device: Any, dtype: torch.dtype | None) -> None:
        """``size`` is what the dense weight would have; nothing of that size is made."""
        needed = self.capacity * (DRAWING + 4 * self.grid.members) + NEURON * self.grid.rows
        hint = "a lower density needs less"
        require_memory(f"packed layer {size[1]} -> {size[0]}", needed, hint)
        flat = torch.zeros(self.capacity * self.grid.members, device=device, dtype=dtype)
        self.values = nn.Parameter(flat)
        self._index_names: tuple[str, ...] = ()
        self._by_input: ops.ByInput | None = None

    @property
    def weights(self) -> nn.Parameter:
        """``values`` [capacity]: connections in flat order, then unused zeros."""
        return self.values

    @property
    def weight(self) -> Tensor:
        """[out_features, in_features], read-only: for code that asks a layer for its weight's dtype, shape or device.

        It takes no memory. Reading its numbers makes a dense copy each time, see ``to_dense``; writing raises.
        """
        return DenseView(self)

    @weight.setter
    def weight(self, value: object) -> None:
        raise refusal("weight =")

    def register_parameter(self, name: str, param: nn.Parameter | None) -> None:
        """As every module, but for a dense weight: the layer would not compute with it."""
        if name == "weight":
            raise refusal("register_parameter")
        super().register_parameter(name, param)

    def to_dense(self) -> Tensor:
        """[out_features, in_features]: a dense copy; gradients through it reach ``values``.

        Raises:
            MemoryShortage.
        Cost: O(dense size) memory and time.
        """
        return self.unpacked(self.values)

    def unpacked(self, flat: Tensor) -> Tensor:
        """[out_features, in_features]: numbers in the order of ``values``, zeros elsewhere."""
        size = self.shape[0] * self.shape[1] * flat.element_size()
        require_memory(f"dense copy of {self.shape[1]} -> {self.shape[0]}", size, "keep the layer packed")
        return self.pattern.unpack(flat, self.topology.positions.to(flat.device), self.grid)

    @property
    def index(self) -> dict[str, Tensor]:
        """The narrow index buffers by name."""
        return {name: getattr(self, name) for name in self._index_names}

    def operands(self) -> list[Tensor]:
        """The index buffers in the order the kernels take them."""
        found: dict[str, Any] = self._buffers  # every product comes here, and getattr of a module is slow
        return [found[name] for name in self._index_names]

    @property
    def transposed(self) -> tuple[Tensor, ...]:
        """What input gradients keep beside the index, () before the first that does; see kernels.transposing."""
        return ops.transposed_of(self.operands())

    def transposed_bytes(self, batch: int) -> int:
        """What that will take at most, where products of ``batch`` samples make it."""
        return ops.transposed_bytes(self.connections, batch * self.values.element_size())

    @property
    def densified(self) -> tuple[Tensor, ...]:
        """The dense weight that products keep beside the values, () where none does; see kernels.densifying."""
        return ops.dense_of(self.operands(), self.values)

    @property
    def by_input(self) -> ops.ByInput:
        """The connections in the order of their inputs, for sparse batches; made at the first one, until an update."""
        if self._by_input is None:
            self._by_input = ops.by_input(self.operands(), self.pattern.layout, self.pattern.dims(self.shape))
        return self._by_input

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
                "assign",
                expected=f"at most {self.values.numel()} values, one a connection",
                got=str(values.numel()),
            )
        self._set_index(topology)
        with torch.no_grad():
            self.values.zero_()
            self.values[: values.numel()] = values.to(self.values.device, self.values.dtype)

    def _set_index(self, topology: Topology) -> None:
        index = topology.index()
        self._index_names, self._by_input = tuple(index), None
        for name, tensor in index.items():
            self.register_buffer(name, tensor.to(self.values.device))

    def __getstate__(self) -> dict[str, Any]:
        """Index buffers as NumPy arrays: torch cannot read its own pickles of 16-bit unsigned tensors."""
        index = {name: tensor.cpu().numpy() for name, tensor in self.index.items()}
        return {**self.__dict__, "_buffers": {**self._buffers, **index}, "_by_input": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """The inverse, beside the values."""
        super().__setstate__(state)
        for name in self._index_names:
            self._buffers[name] = torch.tensor(getattr(self, name), device=self.values.device)

    @torch.no_grad()
    def carry(self, change: TopologyChange, states: Iterable[Tensor] = ()) -> None:
        """Remap values and states by the same index map; the parameter object stays."""
        for tensor in (self.values, *states):
            change.remap_(tensor)
        self._set_index(change.new)

    @torch.no_grad()
    def plant(self, change: TopologyChange, values: Tensor) -> None:
        """Write the grown units."""
        members, grown = self.grid.members, change.source < 0
        units = self.values[: change.new.connections].view(-1, members)
        units[grown.to(units.device)] = values.view(-1, members)[grown].to(units.device, units.dtype)

    def check_state(self, state: Mapping[str, Tensor], name: str) -> Topology | None:
        """The topology of a state; its index buffers may have another size, for neurons are ablated."""
        entries = ("values", *self._index_names)
        found = [entry for entry in entries if entry in state]
        if not found:
            return None
        if len(found) < len(entries):
            raise TopologyError(
                f"load {name}",
                expected=f"{', '.join(entries)} together",
                got=", ".join(found),
                hint="load the layer as a whole",
            )
        check_like(f"load {name}.values", state["values"], self.values)
        for entry in self._index_names:
            if state[entry].dtype != (mine := getattr(self, entry)).dtype:
                raise DtypeError(
                    f"load {name}.{entry}", expected=str(mine.dtype), got=str(state[entry].dtype)
                )
        index = {entry: state[entry].cpu() for entry in self._index_names}
        try:
            topology = Topology.from_index(self.pattern, self.shape, index)
        except TopologyError as error:
            raise error.within(f"load {name}") from None
        self._check_budget(topology, name)
        for entry, tensor in topology.index().items():
            if tensor.shape != index[entry].shape:
                raise TopologyError(
                    f"load {name}.{entry}",
                    expected=f"shape {tuple(tensor.shape)}",
                    got=f"{tuple(index[entry].shape)}",
                )
        return topology

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        """Check first, then take the size of the index buffers that come."""
        state = {key[len(prefix) :]: tensor for key, tensor in state_dict.items() if key.startswith(prefix)}
        if (topology := self.check_state(state, prefix[:-1] or type(self).__name__)) is not None:
            self._set_index(topology)
        super()._load_from_state_dict(state_dict, prefix, *args)
