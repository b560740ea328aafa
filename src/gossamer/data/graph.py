"""Graphs with labelled nodes, one file each: found, read and checked as other data sets are."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from gossamer.data.dataset import Provenance
from gossamer.data.formats.base import damaged, frozen
from gossamer.data.formats.npz import read_npz
from gossamer.data.search import folders
from gossamer.errors import DataError, DtypeError
from gossamer.registry import Registry

if TYPE_CHECKING:
    import torch

SPLITS: Final = ("train", "val", "test")
FEATURES: Final = ("feat_indptr", "feat_indices", "feat_data")
NAMES: Final = (*FEATURES, "edge_index", "y", *(f"{split}_idx" for split in SPLITS))


@dataclass(frozen=True, kw_only=True)
class GraphRecipe:
    """What a graph has to be, and its name.

    Args:
        name: str - of the file, ``<name>.npz``.
        nodes, edges, features, entries: int - an undirected edge counts twice, entries are features other than 0.
        splits: (int, int, int) - nodes to train with, to validate with and to test with.
        classes: tuple of str.
        licence: str.
    """

    name: str
    nodes: int
    edges: int
    features: int
    entries: int
    splits: tuple[int, int, int]
    classes: tuple[str, ...]
    licence: str


@dataclass(frozen=True, eq=False)
class GraphDataset:
    """A graph in memory; its arrays are read-only.

    Args:
        name: str.
        feat_indptr, feat_indices, feat_data: features row by row, compressed: ``[nodes + 1]``, ``[entries]`` twice.
        features: int - of a node.
        edge_index: ``[2, edges]``, int64 - from node, to node; undirected graphs have both directions.
        y: ``[nodes]``, int64 - classes; -1 where there is none.
        train, val, test: int64 - numbers of nodes: the fixed split that came with the graph.
        classes: tuple of str.
        provenance: Provenance - its checksum is of the arrays in this order, and compared with nothing.
    Cost: features and edges as integers of 64 bits.
    """

    name: str
    feat_indptr: NDArray[np.int64] = field(repr=False)
    feat_indices: NDArray[np.int64] = field(repr=False)
    feat_data: NDArray[np.int64] = field(repr=False)
    features: int
    edge_index: NDArray[np.int64] = field(repr=False)
    y: NDArray[np.int64] = field(repr=False)
    train: NDArray[np.int64] = field(repr=False)
    val: NDArray[np.int64] = field(repr=False)
    test: NDArray[np.int64] = field(repr=False)
    classes: tuple[str, ...]
    provenance: Provenance

    def __post_init__(self) -> None:
        for name in (*FEATURES, "edge_index", "y", *SPLITS):
            object.__setattr__(self, name, frozen(getattr(self, name)))

    @property
    def nodes(self) -> int:
        """How many there are."""
        return self.y.size

    def tensors(self, dtype: torch.dtype | None = None) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The graph as torch tensors.

        Args:
            dtype: torch.dtype, floating point - of the features; None is ``torch.float32``.
        Returns:
            (x, edge_index, y): ``[nodes, features]``, ``[2, edges]`` and ``[nodes]``, these two int64; fresh memory.
        Raises:
            DtypeError: `dtype` is not a floating-point type.
        Cost: memory of dense features.
        """
        import torch

        dtype = torch.float32 if dtype is None else dtype
        if not dtype.is_floating_point:
            raise DtypeError("GraphDataset.tensors", expected="a floating-point dtype", got=str(dtype))
        x = torch.zeros(self.nodes, self.features, dtype=dtype)
        rows = np.repeat(np.arange(self.nodes), np.diff(self.feat_indptr))
        x[torch.from_numpy(rows), torch.tensor(self.feat_indices)] = torch.tensor(self.feat_data).to(dtype)
        return x, torch.tensor(self.edge_index), torch.tensor(self.y)


graphs: Registry[GraphRecipe] = Registry("graph", package="gossamer.data.graphs")


def register_graph(make: Callable[[], GraphRecipe]) -> Callable[[], GraphRecipe]:
    """Add a graph: decorate a function that returns its GraphRecipe.

    Args:
        make: function without arguments - called once, now.
    Returns:
        The function, unchanged.
    Raises:
        ConfigError: the name is taken.
    Cost: a look-up.
    """
    recipe = make()
    graphs.add(recipe.name, recipe)
    return make


def graph_names() -> tuple[str, ...]:
    """List the graphs by name.

    Example:
        >>> graph_names()
        ('citeseer', 'cora')
    """
    return tuple(graphs)


def load_graph(name: str, root: str | Path | None = None) -> GraphDataset:
    """Read and check ``<name>.npz`` of a folder: ``root``, else the first in ``GOSSAMER_DATA`` that has it.

    Args:
        name: str - one of `graph_names()`.
        root: str, Path or None - a folder to look into first; it must exist.
    Returns:
        GraphDataset.
    Raises:
        ConfigError: no graph of that name. DataError: no such file.
        FormatError: the file is malformed, or does not hold this graph: other sizes, a node, feature or class that is
            not there, a node in two splits.
    Cost: O(size) time and memory; nothing larger than the graph is unpacked.
    Example:
        >>> load_graph("cora", "no/such/folder")
        Traceback (most recent call last):
        ...
        gossamer.errors.DataError: loading cora: expected root to be a folder, got no/such/folder, which is not one
    """
    recipe, tried = graphs[name], []
    for kind, folder in folders(name, root):
        path = folder / f"{name}.npz"
        if path.is_file():
            return _read(recipe, path, kind)
        tried.append(str(path))
    raise DataError(
        f"loading {name}",
        expected=f"{name}.npz in a folder that GOSSAMER_DATA or root= names",
        got=f"it in none of the places searched: {', '.join(tried) or 'none was named'}",
    )


def _read(recipe: GraphRecipe, path: Path, kind: str) -> GraphDataset:
    sizes = (recipe.nodes + 1, 2 * recipe.entries, 2 * recipe.edges, recipe.nodes, sum(recipe.splits))
    raw = read_npz(path, NAMES, max_bytes=8 * sum(sizes))
    arrays = {name: raw[name].astype(np.int64) for name in NAMES}
    _check(recipe, arrays, str(path))
    digest = hashlib.sha256(b"".join(arrays[name].tobytes() for name in NAMES)).hexdigest()
    parts: dict[str, Any] = {name.removesuffix("_idx"): array for name, array in arrays.items()}
    provenance = Provenance(kind, str(path), digest, verified=False, licence=recipe.licence)
    return GraphDataset(
        recipe.name,
        **parts,
        features=recipe.features,
        classes=recipe.classes,
        provenance=provenance,
    )


def _check(recipe: GraphRecipe, arrays: dict[str, NDArray[np.int64]], where: str) -> None:
    """Refuse arrays of other sizes, and numbers of what is not there; raises FormatError."""
    nodes, entries = (recipe.nodes,), (recipe.entries,)
    shapes = [(recipe.nodes + 1,), entries, entries, (2, recipe.edges), nodes, *((n,) for n in recipe.splits)]
    for (name, array), shape in zip(arrays.items(), shapes, strict=True):
        if array.shape != shape:
            raise damaged(f"{where}, {name}", f"shape {shape}", f"{array.shape}")
    pointers = arrays["feat_indptr"]
    if pointers[0] != 0 or pointers[-1] != recipe.entries or (np.diff(pointers) < 0).any():
        raise damaged(f"{where}, feat_indptr", f"numbers that ascend from 0 to {recipe.entries}", "others")
    ranges = {
        "feat_indices": (0, recipe.features),
        "edge_index": (0, recipe.nodes),
        "y": (-1, len(recipe.classes)),
    }
    ranges |= {f"{split}_idx": (0, recipe.nodes) for split in SPLITS}
    for name, (low, end) in ranges.items():
        found = int(arrays[name].min()), int(arrays[name].max())
        if found[0] < low or found[1] >= end:
            raise damaged(f"{where}, {name}", f"numbers from {low} to {end - 1}", f"{found[0]} to {found[1]}")
    split = np.concatenate([arrays[f"{name}_idx"] for name in SPLITS])
    if np.unique(split).size != split.size or (arrays["y"][split] < 0).any():
        raise damaged(
            where, "splits of labelled nodes, each in one place", "a node twice, or without a class"
        )
