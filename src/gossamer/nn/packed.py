"""The packed home: connections only, and narrow indices."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from gossamer import ops
from gossamer.errors import DtypeError, ShapeError, TopologyError
from gossamer.measure import require_memory
from gossamer.nn import living
from gossamer.nn.dense_view import DenseView, ReadOnly, refusal
from gossamer.nn.fingerprint import NAME, code_of, number_in, number_of
from gossamer.nn.index import Indexed
from gossamer.nn.resize import refuse_fixed_size, resize_
from gossamer.nn.sparse import HINT, check_like
from gossamer.topology import IndexedTopology, Topology, TopologyChange

DRAWING, NEURON = 100, 16  # bytes a unit and a neuron at the peak of drawing a topology


class Packed(Indexed):
    """Home of truly sparse layers: a flat ``values`` parameter and a narrow index; nothing has dense size."""

    home = "packed"

    def _make_home(self, size: tuple[int, ...], device: Any, dtype: torch.dtype | None) -> None:
        """``size`` is what the dense weight would have; nothing of that size is made."""
        needed = self.capacity * (DRAWING + 4 * self.grid.members) + NEURON * self.grid.rows
        hint = "a lower density needs less"
        require_memory(f"packed layer {size[1]} -> {size[0]}", needed, hint)
        self.room = self.capacity  # the budget it was built with; ``compact`` lowers its capacity
        flat = torch.zeros(self.capacity * self.grid.members, device=device, dtype=dtype)
        self.values = nn.Parameter(flat)
        self._make_index(device)
        living.enter(self)  # not before: layers in other threads look at those that are there

    @property
    def weights(self) -> nn.Parameter:
        """``values`` [capacity]: connections in flat order, then unused zeros."""
        return self.values

    @property
    def weight(self) -> Tensor:
        """Of the dense layer's shape, read-only: for code that asks a layer for its weight's dtype, shape or device.

        It takes no memory. Reading its numbers makes a dense copy each time, see ``to_dense``; writing raises.
        """
        return DenseView(self)

    @weight.setter
    def weight(self, value: object) -> None:
        raise refusal("weight =")

    def register_parameter(self, name: str, param: nn.Parameter | None) -> None:
        """As every module, but for a dense weight, under any name: the layer would not compute with it."""
        if name == "weight" or isinstance(param, ReadOnly):
            raise refusal(f"register_parameter({name!r})")
        super().register_parameter(name, param)

    def to_dense(self) -> Tensor:
        """Of the dense layer's shape: a dense copy; gradients through it reach ``values``.

        Raises:
            MemoryShortage. TopologyError: the values are of other connections, as averages may be.
        Cost: O(dense size) memory and time.
        """
        self.operands()  # refuses what a product would refuse
        return self.unpacked(self.values)

    def unpacked(self, flat: Tensor) -> Tensor:
        """Of the dense layer's shape: numbers in the order of ``values``, zeros elsewhere."""
        size = self.shape[0] * self.shape[1] * flat.element_size()
        require_memory(f"dense copy of {self.shape[1]} -> {self.shape[0]}", size, "keep the layer packed")
        matrix = self.pattern.unpack(flat, self.topology.positions.to(flat.device), self.grid)
        return self._from_matrix(matrix)

    @property
    def transposed(self) -> tuple[Tensor, ...]:
        """What input gradients keep beside the index, () before the first that does; see kernels.transposing."""
        return ops.transposed_of(list(self.index.values()))

    def transposed_bytes(self, batch: int) -> int:
        """What that will take at most, where products of ``batch`` samples make it."""
        return ops.transposed_bytes(self.connections, batch * self.values.element_size())

    @property
    def densified(self) -> tuple[Tensor, ...]:
        """The dense weight that products keep beside the values, () where none does; see kernels.densifying."""
        return ops.dense_of(list(self.index.values()), self.values)

    @property
    def by_input(self) -> ops.ByInput:
        """The connections in the order of their inputs, for sparse batches; made at the first one, until an update."""
        index = self.operands()  # first: it forgets what was made from another index
        if self._by_input is None:
            self._by_input = ops.by_input(index, self.pattern.layout, self.pattern.dims(self.shape))
        return self._by_input

    @property
    def topology(self) -> Topology:
        """Decoded from the index, on the CPU."""
        if torch.compiler.is_compiling():  # a tracer would take the arrays in it for tensors
            decoded: Topology = torch.compiler.disable(self._decoded)()
            return decoded
        return self._decoded()

    def _decoded(self) -> Topology:
        on_cpu = {name: tensor.cpu() for name, tensor in self.index.items()}
        return Topology(self.pattern, self.shape, self.pattern.decode(on_cpu, self.grid))

    @property
    def encoded(self) -> IndexedTopology:
        """The index itself."""
        on_cpu = {name: tensor.cpu() for name, tensor in self.index.items()}
        return IndexedTopology(self.pattern, self.shape, on_cpu, self.connections)

    def unit_values(self, tensor: Tensor | None = None) -> Tensor:
        """[units, members], on the CPU; raises TopologyError where the values are of other connections."""
        self.operands()
        flat = self.values if tensor is None else tensor
        return flat.detach()[: self.connections].view(-1, self.grid.members).cpu()

    def place(self, tensor: Tensor, units: Tensor) -> None:
        """Units lie side by side."""
        tensor[: units.numel()] = units.reshape(-1).to(tensor.device, tensor.dtype)

    @property
    def connections(self) -> int:
        """Stored connections, from the index sizes alone."""
        index = list(self.index.values())
        return ops.used_values(self.title, index, self.pattern.layout, self.pattern.dims(self.shape))

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
            self.values[: values.numel()] = values.to(self.values.device, self.values.dtype)  # may be its own
            self.values[values.numel() :] = 0

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

    def shrink(self, states: Iterable[Tensor] = ()) -> None:
        """Free the unused end of the values, and of states of their shape; ``gossamer.compact`` does it for a model.

        Args:
            states: tensors of the shape of ``values`` - optimizer state; the gradient goes along.
        Cost: a copy of what stays.
        """
        self.operands()
        self._resize(self.connections, states)

    def _resize(self, size: int, states: Iterable[Tensor] = ()) -> None:
        """Keep the first values, and a budget of that size."""
        resize_(self.values, size, states)
        self.capacity = size // self.grid.members
        self._remember()

    # --- states -----------------------------------------------------------------------------------------------------
    def check_state(self, state: Mapping[str, Tensor], name: str) -> Topology | None:
        """The topology of a state; its index may have another size, for neurons are ablated, and fewer values."""
        self._check_bias(state, name)
        entries = ("values", *self._index_names)
        found = [entry for entry in (*entries, NAME) if entry in state]
        if not found:
            return None
        if any(entry not in state for entry in entries):
            raise TopologyError(
                f"load {name}",
                expected=f"{', '.join(entries)} together",
                got=", ".join(found),
                hint="load all entries of the layer together",
            )
        for entry in self._index_names:
            if state[entry].dtype != (mine := self.index[entry]).dtype:
                raise DtypeError(
                    f"load {name}.{entry}", expected=str(mine.dtype), got=str(state[entry].dtype)
                )
        index = {entry: state[entry].cpu() for entry in self._index_names}
        try:
            topology = Topology.from_index(self.pattern, self.shape, index)
        except TopologyError as error:
            raise error.within(f"load {name}") from None
        self._check_budget(topology, name, self.room)
        for entry, tensor in topology.index().items():
            if tensor.shape != index[entry].shape:
                raise TopologyError(
                    f"load {name}.{entry}",
                    expected=f"shape {tuple(tensor.shape)}",
                    got=f"{tuple(index[entry].shape)}",
                )
        self._check_values(state["values"], topology, f"load {name}.values")
        if NAME in state and number_in(state[NAME]) != number_of(self.pattern, self.dense_size, index):
            raise TopologyError(
                f"load {name}.{NAME}",
                expected=f"the fingerprint of the index in the same state, for a weight {self.dense_size}",
                got="another one, of another weight, or an average of several",
                hint=HINT,
            )
        return topology

    def _check_values(self, given: Tensor, topology: Topology, operation: str) -> None:
        """As many as mine, or any capacity that ``compact`` may have left on the way to these connections."""
        members, room = self.grid.members, self.room * self.grid.members
        fits = topology.connections <= given.numel() <= room and given.numel() % members == 0
        other = given.dim() == 1 and fits and given.numel() != self.values.numel()
        check_like(operation, given, self.values.detach().new_empty(given.shape) if other else self.values)
        if other:
            refuse_fixed_size(self.values)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        """Check first, then take the sizes that come."""
        state = {key[len(prefix) :]: tensor for key, tensor in state_dict.items() if key.startswith(prefix)}
        topology = self.check_state(state, prefix[:-1] or type(self).__name__)
        index = {prefix + name for name in self._index_names}
        rest = {key: tensor for key, tensor in state_dict.items() if key not in index}
        if topology is None:
            strict, missing = args[1], args[2]
            missing += [*index] if strict else []
            return super()._load_from_state_dict(rest, prefix, *args)
        if state["values"].numel() != self.values.numel():
            self._resize(state["values"].numel())
        rest.setdefault(prefix + NAME, code_of(self.number))  # states of before it have none
        super()._load_from_state_dict(rest, prefix, *args)
        return self._set_index(topology)  # where the values are now
