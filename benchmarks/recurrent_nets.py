"""One recurrent layer whose two matrices are sparse layers, and what a network of them weighs in a file."""

from __future__ import annotations

from typing import Any

import torch
from safetensors.torch import save as to_bytes
from torch import Tensor, nn

from gossamer.nn.masked import Masked
from gossamer.nn.sparse import SparseModule

GATES = {"gru": 3, "lstm": 4}
State = Tensor | tuple[Tensor, Tensor]


class Recurrent(nn.Module):
    """A GRU or LSTM over torch's own kernel; ``gossamer.sparsify`` makes its matrices masked ones.

    A matrix holds the gates one below the other, so a block whose side divides ``hidden`` never crosses a gate.
    """

    def __init__(self, kind: str, inputs: int, hidden: int) -> None:
        super().__init__()
        self.kind, self.hidden = kind, hidden
        self.of_input = nn.Linear(inputs, GATES[kind] * hidden)
        self.of_state = nn.Linear(hidden, GATES[kind] * hidden)
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -(hidden**-0.5), hidden**-0.5)

    def zeros(self, batch: int) -> State:
        """The state before the first symbol."""
        none = torch.zeros(1, batch, self.hidden)
        return none if self.kind == "gru" else (none, none.clone())

    def forward(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """[steps, batch, inputs] and a state -> [steps, batch, hidden] and the state behind the last step."""
        weights = [
            weight_of(self.of_input),
            weight_of(self.of_state),
            self.of_input.bias,
            self.of_state.bias,
        ]
        settings = (True, 1, 0.0, self.training, False, False)
        if self.kind == "gru":
            y, last = torch._VF.gru(x, state, weights, *settings)  # noqa: SLF001 (torch's own module calls it, too)
            return y, last
        y, *both = torch._VF.lstm(x, state, weights, *settings)  # noqa: SLF001 (same)
        return y, (both[0], both[1])


def weight_of(layer: Any) -> Tensor:
    """The weight that a dense or masked layer computes with."""
    return layer.effective_weight() if isinstance(layer, Masked) else layer.weight


def file_bytes(model: nn.Module) -> int:
    """Bytes of a safetensors file of the network in float32: sparse layers as values and narrow indices."""
    sparse = {name: layer for name, layer in model.named_modules() if isinstance(layer, SparseModule)}
    left_out = {f"{name}.{part}" for name in sparse for part in ("weight", "mask")}
    held = {key: tensor for key, tensor in model.state_dict().items() if key not in left_out}
    for name, layer in sparse.items():
        held[f"{name}.values"] = layer.unit_values().contiguous()
        held |= {f"{name}.{part}": tensor for part, tensor in layer.topology.index().items()}
    return len(to_bytes(held))


def density(model: nn.Module) -> float:
    """Share of the connections that the sparse layers of a network have; 1 where there are none."""
    layers = [layer for layer in model.modules() if isinstance(layer, SparseModule)]
    dense = sum(layer.shape[0] * layer.shape[1] for layer in layers)
    return sum(layer.topology.connections for layer in layers) / dense if dense else 1.0
