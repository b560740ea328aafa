"""What sparsify did, layer by layer."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import nn

from gossamer.nn.sparse import SparseModule


@dataclass(frozen=True)
class LayerReport:
    """One row of a SparsifyReport: what a layer became."""

    name: str
    kind: str
    shape: tuple[int, int]
    connections: int
    home: str
    bytes: int

    @classmethod
    def of(cls, name: str, layer: SparseModule | nn.Linear | nn.Conv2d) -> LayerReport:
        """Count a layer; bytes are values, indices and bias."""
        if isinstance(layer, SparseModule):
            connections, shape, home = layer.connections, layer.shape, layer.home
        else:
            connections, home = layer.weight.numel(), "dense"
            shape = (layer.weight.shape[0], layer.weight[0].numel())
        size = sum(
            tensor.numel() * tensor.element_size() for tensor in [*layer.parameters(), *layer.buffers()]
        )
        return cls(name, type(layer).__name__, shape, connections, home, size)

    @property
    def density(self) -> float:
        """Share of the dense layer's connections."""
        return self.connections / (self.shape[0] * self.shape[1])


@dataclass(frozen=True)
class SparsifyReport:
    """What ``sparsify`` did; print it for a table.

    Args:
        layers: list of LayerReport - every linear and convolution, the ones left dense included.
    """

    layers: list[LayerReport] = field(default_factory=list)

    @property
    def connections(self) -> int:
        """All connections, dense layers included."""
        return sum(layer.connections for layer in self.layers)

    @property
    def density(self) -> float:
        """Share of the dense model's connections."""
        return self.connections / sum(layer.shape[0] * layer.shape[1] for layer in self.layers)

    def __str__(self) -> str:
        lines = [
            f"{'layer':<24}{'kind':<14}{'shape':>14}{'density':>10}{'connections':>14}{'bytes':>12}  home"
        ]
        lines += [
            f"{row.name:<24}{row.kind:<14}{f'{row.shape[0]}x{row.shape[1]}':>14}{row.density:>10.4f}"
            f"{row.connections:>14,}{row.bytes:>12,}  {row.home}"
            for row in self.layers
        ]
        return "\n".join([*lines, f"total: {self.connections:,} connections, density {self.density:.4f}"])
