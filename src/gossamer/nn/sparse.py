"""What every sparse layer shares, whatever its home: packed (truly sparse) or masked (dense times mask)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any, Self

import torch
from torch import Tensor, nn

from gossamer.errors import DtypeError, ShapeError, TopologyError
from gossamer.nn.arguments import check_real, density_of, pattern_of
from gossamer.nn.init import check_law, draw_values
from gossamer.nn.tape import Tape
from gossamer.nn.traced import as_one_call, is_traced
from gossamer.ops.growth import compiled_selector
from gossamer.patterns import Grid, Pattern
from gossamer.topology import TileScores, Topology, TopologyChange, TorchSelector

HINT = (  # where values and connections do not belong together
    "copy with load_state_dict; average between topology updates and start a new average after one; "
    "on several ranks use gossamer.parallel.data_parallel"
)


class SparseModule(nn.Module, ABC):
    """Base of all sparse layers: a dense layer's shape, the pattern of its zeros, and its connections.

    Subclasses hold the connections (a home) and say how an input becomes an output (a kind of layer).
    """

    pattern: Pattern
    shape: tuple[int, int]  # (out, in) of the weight seen as a matrix
    capacity: int  # budget in units; a rule never exceeds it
    bias: nn.Parameter | None
    home: str

    def __init__(
        self,
        shape: tuple[int, int],
        pattern: Pattern | str | None,
        density: float,
        fan_in: str = "sparse",
        law: str = "he_normal",
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        check_law(law, fan_in)
        kind = type(self).__name__
        pattern = pattern_of(pattern, f"{kind}(pattern=)")
        density = density_of(density, f"{kind}(density=)")
        check_real(dtype, f"{kind}(dtype=)")
        self.pattern, self.shape, self.fan_in, self.law = pattern, shape, fan_in, law
        self.capacity = pattern.budget(density, shape)
        self.tape = Tape()

    @property
    def title(self) -> str:
        """What errors call a layer that does not know its name."""
        return f"{type(self).__name__} {self.shape[1]} -> {self.shape[0]}"

    @property
    def grid(self) -> Grid:
        """The unit grid of the layer."""
        return self.pattern.grid(self.shape)

    @property
    def dense_size(self) -> tuple[int, ...]:
        """The shape of the dense layer's weight."""
        return self.shape

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

    @property
    def encoded(self) -> Topology:
        """The same for whoever keeps it at hand: it takes no memory of its own where the home allows that."""
        return self.topology

    @abstractmethod
    def to_dense(self) -> Tensor:
        """The weight as a dense layer would hold it; gradients through it reach ``weights``."""

    @abstractmethod
    def unit_values(self, tensor: Tensor | None = None) -> Tensor:
        """[units, members]: the weights, or a tensor of their shape, in topology order, on the CPU."""

    @abstractmethod
    def place(self, tensor: Tensor, units: Tensor) -> None:
        """Write [units, members] in topology order into a tensor of the weights' shape."""

    @abstractmethod
    def assign(self, topology: Topology, values: Tensor) -> None:
        """Replace topology and values ([connections], flat order) at once."""

    @abstractmethod
    def carry(self, change: TopologyChange, states: Iterable[Tensor] = ()) -> None:
        """Carry the weights and every tensor of their shape through a topology update, in place."""

    @abstractmethod
    def plant(self, change: TopologyChange, values: Tensor) -> None:
        """Give connections grown in an update their values out of ``values`` ([new connections], flat order)."""

    # --- what a kind of layer provides ------------------------------------------------------------------------------
    @classmethod
    @abstractmethod
    def of(cls, dense: Any, device: torch.device | None = None, **drawn: Any) -> Self:
        """A sparse layer in the shape and dtype of a dense one, whose values are not kept.

        Args:
            dense: nn.Module - of a dense class of the kind, see ``gossamer.nn.kinds``.
            device: torch.device or None - where it is made; None, and where a kind cannot choose: where ``dense`` is.
            drawn: density, pattern, generator, fan_in and law, as the layer takes them.
        """

    @abstractmethod
    def compute(self, x: Tensor) -> Tensor:
        """The layer's output for an input."""

    @abstractmethod
    def gradient_tile(self, rows: slice, cols: slice) -> Tensor:
        """[rows * h, cols * w], that part of the grid of the dense gradient, from the recorded passes; new memory."""

    @staticmethod
    def to_matrix(weight: Tensor) -> Tensor:
        """[out, in]: a tensor of the dense weight's shape, as the pattern sees it. A linear layer's is one already."""
        return weight

    def _from_matrix(self, matrix: Tensor) -> Tensor:
        """The inverse of to_matrix."""
        return matrix

    @abstractmethod
    def check_state(self, state: Mapping[str, Tensor], name: str) -> Topology | None:
        """The topology in a state of this layer, None without one; changes nothing.

        Raises:
            TopologyError, ShapeError, DtypeError: it does not describe this layer.
        """

    # --- what all get ------------------------------------------------------------------------------------------------
    def forward(self, x: Tensor) -> Tensor:
        """Compute, and record the pass where an engine asked for it; one call in a graph that torch.fx traces."""
        if is_traced(x):
            return as_one_call(self, x)
        y = self.compute(x)
        if y.requires_grad:
            self.tape.watch(self.weights, x, y)
        return y

    def draw(self, topology: Topology, generator: torch.Generator | None = None) -> Tensor:
        """[connections], flat order: values for a topology by the layer's initial law."""
        return draw_values(topology, self.fan_in, generator, self.law)

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw a new topology within the budget, and values by the layer's initial law; zero the bias."""
        positions = self.pattern.sample(self.capacity, self.grid, generator)
        topology = Topology(self.pattern, self.shape, positions)
        self.assign(topology, self.draw(topology, generator))
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def gradient_scores(self, name: str) -> TileScores:
        """The dense gradient by tiles, one score a unit; needs a recorded pass."""
        if not self.tape.pairs:
            raise TopologyError(
                f"grow in {name}",
                expected="a forward and backward pass through the layer before optimizer.step()",
                got="none",
                hint="a layer that is not used in the loss cannot be grown by gradient",
            )
        selector = compiled_selector(self.weights.dtype) or TorchSelector()
        return TileScores(self.grid, self.gradient_tile, f"gradient of {name}", selector)

    def _check_budget(self, topology: Topology, name: str, room: int | None = None) -> None:
        """Refuse more connections than the layer has room for, in units."""
        room = self.capacity if room is None else room
        if topology.positions.numel() > room:
            raise TopologyError(
                f"load {name}",
                expected=f"at most {room * self.grid.members} connections",
                got=str(topology.connections),
                hint="build the model with the density it was saved with",
            )

    def _check_bias(self, state: Mapping[str, Tensor], name: str) -> None:
        """Refuse another bias before anything is loaded."""
        if self.bias is not None and "bias" in state:
            check_like(f"load {name}.bias", state["bias"], self.bias)

    @property
    def connections(self) -> int:
        """Stored connections, counted exactly."""
        return self.topology.connections

    def extra_repr(self) -> str:
        """Shape, pattern and home."""
        out, inp = self.shape
        return f"{inp} -> {out}, pattern={self.pattern}, connections={self.connections:,}, home={self.home}"


def check_like(operation: str, given: Tensor, mine: Tensor) -> None:
    """Refuse a tensor of another shape, or of another kind of number; raises ShapeError or DtypeError."""
    if given.shape != mine.shape:
        hint = "build the model with the density it was saved with"
        raise ShapeError(
            operation, expected=f"shape {tuple(mine.shape)}", got=f"{tuple(given.shape)}", hint=hint
        )
    kinds = [(tensor.is_floating_point(), tensor.dtype == torch.bool) for tensor in (given, mine)]
    if kinds[0] != kinds[1]:
        raise DtypeError(operation, expected=str(mine.dtype), got=str(given.dtype))


def check_model_state(
    model: nn.Module,
    state: Mapping[str, Tensor],
    prefix: str = "",
    *unused: object,  # noqa: ARG001 (what a hook is given)
) -> dict[str, Topology]:
    """Check the state of every sparse layer of a model before any of it is loaded.

    Args:
        model: nn.Module.
        state: name -> tensor, as ``model.state_dict()`` gives it.
        prefix: str - in front of every name.
        unused: what else torch hands to a hook.
    Returns:
        layer name -> Topology that the state holds for it.
    Raises:
        TopologyError, ShapeError, DtypeError: with the name of the layer.
    Cost: O(connections).
    """
    found = {}
    for name, layer in model.named_modules():
        if isinstance(layer, SparseModule):
            start = f"{prefix}{name}." if name else prefix
            own = {key[len(start) :]: tensor for key, tensor in state.items() if key.startswith(start)}
            if (topology := layer.check_state(own, start[:-1] or type(layer).__name__)) is not None:
                found[name] = topology
    return found
