"""Connections, bytes and operations of every layer of a network, counted and not estimated.

A module counts as a layer when it is a sparse layer, or of a dense class in the table of kinds, subclasses included. A
module that has ``layer_counts(example_input)`` answers for itself and everything below it: frozen networks do.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from gossamer.measure import nbytes
from gossamer.nn.kinds import is_layer, matrix_shape
from gossamer.nn.packed import Packed
from gossamer.nn.sparse import SparseModule


@dataclass(frozen=True)
class LayerCount:
    """One layer, counted.

    Args:
        name, kind: str - where it is in the model, and its class or layout.
        shape: (int, int) - out, in of the weight as a matrix.
        connections: int - stored ones, just-grown zeros included.
        value_bytes, index_bytes, bias_bytes: int - as held in memory.
        outputs_per_sample: int or None - output positions a sample (1 for a linear layer on vectors); None
            where a convolution was counted without an example input.
        fan_in: fan-in -> number of neurons that have it.
        transposed_bytes: int - what the input gradient keeps beside the index now; no file has it.
        dense_bytes: int - of the dense weight that products keep beside the values now; no file has it.
    """

    name: str
    kind: str
    shape: tuple[int, int]
    connections: int
    value_bytes: int
    index_bytes: int
    bias_bytes: int
    outputs_per_sample: int | None = 1
    fan_in: dict[int, int] = field(default_factory=dict)
    transposed_bytes: int = 0
    dense_bytes: int = 0

    @property
    def density(self) -> float:
        """Share of the dense layer's connections."""
        return self.connections / (self.shape[0] * self.shape[1])

    @property
    def bytes(self) -> int:
        """Values, all indices, bias and what products keep beside them."""
        own = self.value_bytes + self.index_bytes + self.bias_bytes
        return own + self.transposed_bytes + self.dense_bytes

    @property
    def active(self) -> int:
        """Neurons with at least one connection."""
        return sum(number for fan_in, number in self.fan_in.items() if fan_in > 0)

    @property
    def flops(self) -> int | None:
        """Multiplications and additions of a forward pass of one sample, biases left out."""
        return None if self.outputs_per_sample is None else 2 * self.connections * self.outputs_per_sample

    @property
    def dense_flops(self) -> int | None:
        """The same for a dense layer of this shape."""
        if self.outputs_per_sample is None:
            return None
        return 2 * self.shape[0] * self.shape[1] * self.outputs_per_sample


def count(model: nn.Module, example_input: Any = None) -> list[LayerCount]:
    """Count every layer of a model.

    Args:
        model: nn.Module - with sparse, linear or convolution layers, or frozen.
        example_input: Tensor [batch, ...] or tuple of them, or None - run once, without gradient, to see how
            many output positions a sample has; needed for the operations of convolutions and of layers on
            sequences.

    Returns:
        list of LayerCount, in order of registration; a layer that is used in several places is counted once.

    Cost: O(connections) memory and time for the fan-ins; one forward pass where an example is given.

    Example:
        >>> import torch
        >>> row = count(torch.nn.Sequential(torch.nn.Linear(8, 4)))[0]
        >>> row.name, row.connections, row.flops, row.bytes, row.fan_in
        ('0', 32, 64, 144, {8: 4})
    """
    layers: dict[str, Any] = dict(_layers(model, ""))
    positions = {} if example_input is None else _positions(model, layers, example_input)
    rows: list[LayerCount] = []
    for name, module in layers.items():
        if hasattr(module, "layer_counts"):
            rows.extend(module.layer_counts(example_input))
        else:
            rows.append(_row(name, module, positions.get(id(module))))
    return rows


def _layers(module: nn.Module, prefix: str, seen: set[int] | None = None) -> Iterable[tuple[str, nn.Module]]:
    """(name, module) of everything that counts as a layer; what answers for itself is not looked into."""
    seen = set() if seen is None else seen
    if id(module) in seen:
        return
    seen.add(id(module))
    if hasattr(module, "layer_counts") or is_layer(module):
        yield prefix, module
        return
    for name, child in module.named_children():
        yield from _layers(child, f"{prefix}.{name}" if prefix else name, seen)


def _positions(model: nn.Module, layers: dict[str, nn.Module], example: Any) -> dict[int, int]:
    """Id of a layer -> outputs it computes for a sample, divided by its neurons; summed over its uses."""
    inputs = example if isinstance(example, tuple) else (example,)
    batch = max(1, inputs[0].shape[0])
    found: Counter[int] = Counter()

    def watch(module: Any, _inputs: Any, output: Tensor) -> None:
        found[id(module)] += output.numel()

    was_training = model.training
    with ExitStack() as stack:
        for module in layers.values():
            if not hasattr(module, "layer_counts"):
                stack.callback(module.register_forward_hook(watch).remove)
        stack.callback(model.train, was_training)
        with torch.no_grad():
            model.eval()
            model(*inputs)
    rows = {id(module): matrix_shape(module)[0] for module in layers.values() if id(module) in found}
    return {each: numbers // (batch * rows[each]) for each, numbers in found.items()}


def _row(name: str, module: Any, positions: int | None) -> LayerCount:
    """The count of one layer."""
    shape, sparse = matrix_shape(module), isinstance(module, SparseModule)
    weights: Tensor = module.weights if sparse else module.weight
    fan_in = Counter(module.topology.fan_in().tolist()) if sparse else {shape[1]: shape[0]}
    return LayerCount(
        name,
        type(module).__name__,
        shape,
        module.connections if sparse else weights.numel(),
        nbytes([weights]),
        nbytes(places(module)) if sparse else 0,
        nbytes([module.bias]),
        1 if positions is None and module.weight.dim() <= 2 else positions,
        dict(sorted(fan_in.items())),
        nbytes(module.transposed) if isinstance(module, Packed) else 0,
        nbytes(module.densified) if isinstance(module, Packed) else 0,
    )


def places(layer: SparseModule) -> list[Tensor]:
    """The tensors that say where a sparse layer's connections are: an index, or a mask."""
    return [*layer.index.values()] if isinstance(layer, Packed) else [layer.get_buffer("mask")]
