"""Recurrent layers with sparse matrices: the arguments, states and results of torch's own."""

from __future__ import annotations

from typing import Any, ClassVar, Self, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gossamer import ops
from gossamer.nn.gates import GateLinear, SparseGates
from gossamer.nn.kinds import kinds
from gossamer.nn.recurrent_input import Given, check_settings, given
from gossamer.nn.sparse import SparseModule
from gossamer.nn.traced import as_one_call, is_traced
from gossamer.registry import check_choice

GATES = {"tanh": 1, "relu": 1, "lstm": 4, "gru": 3}
HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
State = tuple[Tensor, Tensor | None]


class Recurrent(nn.Module):
    """What LSTM, GRU and RNN share.

    Layer k holds two matrices, ``ih_l{k}`` [gates * hidden, inputs] and ``hh_l{k}`` [gates * hidden, hidden]; a
    bidirectional one ``ih_l{k}_reverse`` and ``hh_l{k}_reverse`` as well. They are layers of ours, packed or masked, or
    dense ones. Gates and biases lie in them as in torch.
    """

    cell: str  # "tanh", "relu", "lstm" or "gru"
    torch_class: ClassVar[type[nn.RNNBase]]
    proj_size = 0  # of torch's layers

    def __init__(
        self,
        cell: str,
        sizes: tuple[int, int],
        num_layers: int,
        bias: bool,
        batch_first: bool,
        dropout: float,
        bidirectional: bool,
    ) -> None:
        super().__init__()
        check_settings(type(self).__name__, *sizes, num_layers, dropout)
        self.cell, (self.input_size, self.hidden_size) = cell, sizes
        self.num_layers, self.bias, self.batch_first = num_layers, bias, batch_first
        self.dropout, self.bidirectional = float(dropout), bidirectional

    @classmethod
    def of(cls, dense: nn.RNNBase) -> Self:
        """A recurrent layer of torch matrix by matrix: dense ones, which hold its own parameters."""
        made, sizes = cls.__new__(cls), (dense.input_size, dense.hidden_size)
        cell = {"RNN_TANH": "tanh", "RNN_RELU": "relu", "LSTM": "lstm", "GRU": "gru"}[dense.mode]
        around = (dense.num_layers, dense.bias, dense.batch_first, dense.dropout, dense.bidirectional)
        Recurrent.__init__(made, cell, sizes, *around)
        for name, (inputs, rows) in made.matrices().items():
            matrix = GateLinear(inputs, rows, dense.bias, gates=GATES[cell], device="meta")
            matrix.weight = getattr(dense, f"weight_{name}")
            if dense.bias:
                matrix.bias = getattr(dense, f"bias_{name}")
            made.add_module(name, matrix)
        made.__dict__["stands_for"] = dense
        return made.train(dense.training)

    def _draw(self, home: str, matrix: dict[str, Any]) -> None:
        """Make the matrices of a layer that is built sparse."""
        check_choice(f"{type(self).__name__}(home=)", home, ("packed", "masked"))
        made, gates = kinds["gates"].home(home), GATES[self.cell]
        for name, (inputs, rows) in self.matrices().items():
            self.add_module(name, cast("Any", made)(inputs, rows, self.bias, gates=gates, **matrix))

    @property
    def mode(self) -> str:
        """What torch calls the cell."""
        return {"tanh": "RNN_TANH", "relu": "RNN_RELU"}.get(self.cell, self.cell.upper())

    @property
    def directions(self) -> tuple[str, ...]:
        """The ends of the names of a layer's matrices."""
        return ("", "_reverse") if self.bidirectional else ("",)

    def matrices(self) -> dict[str, tuple[int, int]]:
        """(inputs, rows) of every matrix by its name, in torch's order."""
        rows, sizes = GATES[self.cell] * self.hidden_size, dict[str, tuple[int, int]]()
        for layer in range(self.num_layers):
            inputs = self.hidden_size * len(self.directions) if layer else self.input_size
            for end in self.directions:
                sizes |= {f"ih_l{layer}{end}": (inputs, rows), f"hh_l{layer}{end}": (self.hidden_size, rows)}
        return sizes

    def flatten_parameters(self) -> None:
        """Nothing: there is no flat copy of the weights. Code written for torch's layers calls it."""

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw new topologies and values, matrix by matrix; dense ones as torch's recurrent layers."""
        for name in self.matrices():
            matrix = self.get_submodule(name)
            if isinstance(matrix, SparseModule):
                matrix.reset_parameters(generator)
            else:
                for parameter in matrix.parameters():
                    nn.init.uniform_(parameter, -(self.hidden_size**-0.5), self.hidden_size**-0.5, generator)

    def __getattr__(self, name: str) -> Any:
        """As torch's modules; of torch's own weights it says where they are."""
        try:
            return super().__getattr__(name)
        except AttributeError as error:
            kind, _, matrix = name.partition("_")
            if kind in ("weight", "bias") and matrix in self.matrices():
                read = (
                    f"{matrix}.bias"
                    if kind == "bias"
                    else f"{matrix}.to_dense(), or {matrix}.weight of a dense one"
                )
                raise AttributeError(f"{error}; its matrices are layers by themselves: read {read}") from None
            raise

    def forward(self, input: Any, hx: Any = None) -> Any:  # noqa: A002 (torch's name)
        """As torch's: output and last state."""
        if is_traced(input):
            return as_one_call(self, input, *(() if hx is None else (hx,)))
        x = given(self, input, hx)
        y, last = self._layers(x)
        if y.requires_grad and not self.bidirectional:
            y = y.clone()  # backward reads the states; the caller may write over what is his
        return x.output(y), x.state([state[0] for state in last], [state[1] for state in last])

    def _layers(self, given: Given) -> tuple[Tensor, list[State]]:
        """What the last layer gives, [columns, directions * hidden], and the last states."""
        x = given.x
        last: list[State] = []
        for layer in range(self.num_layers):
            if layer and self.dropout and self.training:
                x = x * F.dropout(torch.ones_like(x, memory_format=torch.contiguous_format), self.dropout)
            parts = []
            for end in self.directions:
                h, c = given.first[len(last)]
                y, h, c = self._direction(f"l{layer}{end}", x, (h, c), given.active)
                parts.append(y)
                last.append((h, c))
            x = parts[0] if len(parts) == 1 else _beside(parts)
        return x, last

    def _direction(
        self, name: str, x: Tensor, state: State, active: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """One layer in one direction."""
        matrix, reverse = cast("Any", self.get_submodule(f"hh_{name}")), name.endswith("_reverse")
        gates = self.get_submodule(f"ih_{name}")(x)
        if not _runs_whole(matrix):
            return ops.recurrent_steps(
                matrix, gates, state, ops.widths(gates, state[0], active), self.cell, reverse
            )
        offset = None
        if matrix.tape.recording and torch.is_grad_enabled() and matrix.values.requires_grad:
            offset = gates.new_zeros(()).expand(gates.shape).requires_grad_()
        pattern = matrix.pattern
        about = (pattern.layout, pattern.dims(matrix.shape), reverse, offset)
        y, h, c = ops.recurrent(
            gates, matrix.values, matrix.operands(), matrix.bias, state, active, self.cell, *about
        )
        if y.requires_grad:
            before = y if offset is None else ops.earlier(y.detach(), state[0].detach(), active, reverse)
            matrix.tape.watch(matrix.weights, before, y if offset is None else offset)
        return y, h, c

    def to_torch(self) -> nn.RNNBase:
        """The same layer as torch has it, with dense weights of its own: zeros where there is no connection.

        Returns:
            nn.LSTM, nn.GRU or nn.RNN - on the device and in the mode of this one, frozen parameters frozen.
        Raises:
            MemoryShortage.
        Cost: memory of the dense size.
        """
        first = self.get_submodule("ih_l0")
        weight = first.weights if isinstance(first, SparseModule) else first.weight
        named = {"nonlinearity": self.cell} if self.torch_class is nn.RNN else {}
        place = {"device": weight.device, "dtype": weight.dtype}
        make: Any = self.torch_class
        dense: nn.RNNBase = make(
            self.input_size, self.hidden_size, self.num_layers, bias=self.bias, batch_first=self.batch_first,
            dropout=self.dropout, bidirectional=self.bidirectional, **named, **place,
        )  # fmt: skip
        for name in self.matrices():
            matrix = cast("Any", self.get_submodule(name))
            packed = isinstance(matrix, SparseModule)
            trained = (matrix.weights if packed else matrix.weight).requires_grad
            _set(getattr(dense, f"weight_{name}"), matrix.to_dense() if packed else matrix.weight, trained)
            if self.bias:
                _set(getattr(dense, f"bias_{name}"), matrix.bias, matrix.bias.requires_grad)
        return dense.train(self.training)

    def extra_repr(self) -> str:
        """Sizes, and what differs from torch's defaults."""
        usual = {"num_layers": 1, "bias": True, "batch_first": False, "dropout": 0.0, "bidirectional": False}
        said = [
            f"{name}={getattr(self, name)}" for name, value in usual.items() if getattr(self, name) != value
        ]
        said += ["nonlinearity=relu"] if self.cell == "relu" else []
        return ", ".join([f"{self.input_size}, {self.hidden_size}", *said])


def _set(parameter: nn.Parameter, values: Tensor, trained: bool) -> None:
    """Give it values, and whether it is trained."""
    parameter.data.copy_(values.detach())
    parameter.requires_grad_(trained)


def _runs_whole(matrix: nn.Module) -> bool:
    """Whether nothing but the matrix itself takes part in its product: no hooks, no computed values."""
    if type(matrix) is not SparseGates or "values" not in matrix._parameters:  # noqa: SLF001 (computed ones are none)
        return False
    hooks = any(getattr(matrix, name) for name in HOOKS)
    return not hooks and "forward" not in vars(matrix)


def _beside(parts: list[Tensor]) -> Tensor:
    """[columns, both], features outermost in memory where they are in the parts."""
    if parts[0].stride(0) == 1:
        return torch.cat([part.t() for part in parts]).t()
    return torch.cat(parts, 1)
