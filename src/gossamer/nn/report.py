"""What sparsify did, layer by layer, and what it left as it was."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod

from torch import nn
from torch.nn.utils import parametrize

from gossamer.measure import nbytes
from gossamer.nn.accounting import places
from gossamer.nn.packed import Packed
from gossamer.nn.sparse import SparseModule


@dataclass(frozen=True)
class LayerReport:
    """One row of a SparsifyReport: what a layer became, or why it stayed dense.

    A weight is a number in a parameter of two dimensions or more; a connection is a weight that exists.
    """

    name: str
    kind: str
    shape: tuple[int, ...]  # of the weight as a matrix; () where a module holds several
    size: int  # weights of the dense layer
    connections: int
    home: str
    bytes: int
    parameters: int  # all that it holds, biases too; one that rows share is counted in the first
    note: str = ""  # why it stayed dense, or what was kept of its values

    @property
    def density(self) -> float:
        """Share of the dense layer's connections."""
        return self.connections / self.size if self.size else 1.0


@dataclass(frozen=True)
class OtherReport:
    """A module that holds parameters but no weights: a norm, a scale."""

    name: str
    kind: str
    parameters: int


@dataclass(frozen=True)
class SparsifyReport:
    """What ``sparsify`` did; print it for a table.

    Args:
        layers: list of LayerReport - every module that holds weights, the ones left dense included.
        others: list of OtherReport - modules that hold vectors and single numbers only.
        dense_parameters: int - parameters of the model before.
    """

    layers: list[LayerReport] = field(default_factory=list)
    others: list[OtherReport] = field(default_factory=list)
    dense_parameters: int = 0

    @property
    def sparse(self) -> list[LayerReport]:
        """The layers that are sparse now."""
        return [row for row in self.layers if row.home != "dense"]

    @property
    def left(self) -> list[LayerReport | OtherReport]:
        """What stayed as it was."""
        rows: list[LayerReport | OtherReport] = [row for row in self.layers if row.home == "dense"]
        return rows + self.others

    @property
    def connections(self) -> int:
        """All connections of the model, those of modules left dense included."""
        return sum(row.connections for row in self.layers)

    @property
    def density(self) -> float:
        """Share of the whole dense model's weights that are connections now, modules left dense included."""
        return _share(self.connections, sum(row.size for row in self.layers))

    @property
    def sparse_density(self) -> float:
        """The same share in the layers made sparse alone: what ``density=`` asked of them."""
        return _share(sum(row.connections for row in self.sparse), sum(row.size for row in self.sparse))

    @property
    def parameters(self) -> int:
        """Numbers in all parameters of the model now: masked layers hold their zeros."""
        return sum(row.parameters for row in self.sparse) + sum(row.parameters for row in self.left)

    @property
    def left_share(self) -> float:
        """Share of the dense model's parameters that stayed as they were."""
        return _share(sum(row.parameters for row in self.left), self.dense_parameters)

    def __str__(self) -> str:
        head = ("layer", "kind", "shape", "density", "connections", "bytes", "  storage")
        table = [head, *(_cells(row) for row in self.layers)]
        wide = [max(len(cells[i]) for cells in table) for i in range(len(head))]
        lines = [
            "  ".join(
                cell.ljust(width) if i in (0, 1, 6) else cell.rjust(width)
                for i, (cell, width) in enumerate(zip(cells, wide, strict=True))
            ).rstrip()
            for cells in table
        ]
        return "\n".join([*lines, self._summary()])

    def _summary(self) -> str:
        """What the rows come to."""
        kinds = Counter(row.kind for row in self.others)
        without = ", ".join(f"{count} {kind}" for kind, count in kinds.items())
        connections, size = (
            sum(getattr(row, what) for row in self.sparse) for what in ("connections", "size")
        )
        return (
            f"made sparse: {len(self.sparse)}, with {connections:,} of {size:,} weights, "
            f"density {self.sparse_density:.4f}\n"
            f"left as they were: {len(self.left)}{f' ({without} without a weight matrix)' if without else ''}, with "
            f"{self.left_share:.1%} of the {self.dense_parameters:,} parameters before\n"
            f"whole model: {self.connections:,} connections, density {self.density:.4f}; "
            f"{self.parameters:,} parameters now"
        )


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 1.0


def _cells(row: LayerReport) -> tuple[str, ...]:
    """The words of a row."""
    return (
        row.name or "(the model)",
        row.kind,
        "x".join(map(str, row.shape)) or "several",
        f"{row.density:.4f}",
        f"{row.connections:,}",
        f"{row.bytes:,}",
        f"  {row.home}{f': {row.note}' if row.note else ''}",
    )


def report_on(model: nn.Module, notes: Mapping[str, str], dense_parameters: int) -> SparsifyReport:
    """Count a model.

    Args:
        model: nn.Module - with its sparse layers in place.
        notes: name -> what to say of a module.
        dense_parameters: int - parameters of the model before.
    Returns:
        SparsifyReport - its rows hold every parameter of the model, once.
    Cost: O(modules); sizes alone are read.
    """
    layers, others, seen = list[LayerReport](), list[OtherReport](), set[int]()
    for name, module in model.named_modules():
        if "parametrizations" in name.split("."):
            continue  # held by the module that is parametrized
        held = own_parameters(module)
        counted = sum(p.numel() for p in held if id(p) not in seen)
        fresh = sum(p.numel() for p in held if id(p) not in seen and p.dim() > 1)
        seen.update(map(id, held))
        if isinstance(module, SparseModule) or any(p.dim() > 1 for p in held):
            layers.append(_row(name, module, held, counted, fresh, notes.get(name, "")))
        elif held:
            others.append(OtherReport(name, type(module).__name__, counted))
    return SparsifyReport(layers, others, dense_parameters)


def own_parameters(module: nn.Module) -> list[nn.Parameter]:
    """The parameters that a module holds itself, those of its parametrizations included."""
    own = list(module.parameters(recurse=False))
    if parametrize.is_parametrized(module):
        own += module.parametrizations.parameters()  # type: ignore[union-attr]  # a ModuleDict
    return own


def _row(
    name: str, module: nn.Module, held: list[nn.Parameter], counted: int, fresh: int, note: str
) -> LayerReport:
    """The row of a module that holds weights; bytes are parameters, indices and other buffers."""
    shape: tuple[int, ...]
    if isinstance(module, SparseModule):
        connections, shape, home = module.connections, module.shape, module.home
        size = shape[0] * shape[1]
    else:
        connections = size = fresh
        home, weights = "dense", [p for p in held if p.dim() > 1]
        shape = (weights[0].shape[0], prod(weights[0].shape[1:])) if len(weights) == 1 else ()
    if counted < sum(parameter.numel() for parameter in held):
        note = f"{note}; " * bool(note) + "parameters shared with a row above are counted there"
    beside = places(module) if isinstance(module, Packed) else module.buffers(recurse=False)
    used = nbytes([*held, *beside])
    return LayerReport(name, type(module).__name__, shape, size, connections, home, used, counted, note)
