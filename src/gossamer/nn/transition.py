"""The transition matrix of a walk on a graph, and its thresholded powers, in SciPy's sparse matrices."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
from torch import Tensor

from gossamer.errors import ConfigError, DtypeError, MissingPackage, NonFiniteError, ShapeError, TopologyError

try:
    from scipy import sparse
    from scipy.sparse import csgraph
except ModuleNotFoundError as error:
    raise MissingPackage.behind(error) from None

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

PIECE: Final = 1 << 22  # entries of exact powers held at a time, before the threshold: 48 MiB
EQUAL: Final = (
    1e-12  # relative: sums of fractions such as 1/20 + 1/20 miss 1/10 by a rounding, on one side or the other
)
WHERE: Final = "graph"


def adjacency(edge_index: Tensor, nodes: int, edge_weight: Tensor | None = None) -> Any:
    """The edges as a matrix: row ``i`` holds the nodes that edges lead to from node ``i``.

    Args:
        edge_index: [2, edges], integers - from node, to node.
        nodes: int - how many there are.
        edge_weight: [edges], 0 or more, or None - those of repeated edges add up. Without weights every edge weighs 1,
            however often it is named.
    Returns:
        scipy.sparse.csr_array [nodes, nodes] of float64: columns ascend, no stored zero.
    Raises:
        ShapeError, DtypeError: tensors of another shape or type; weights that want a gradient.
        TopologyError: a node that does not exist, a negative weight. NonFiniteError: a weight that is NaN or infinite.
    Cost: O(edges) memory, sorted once.
    Example:
        >>> import torch
        >>> adjacency(torch.tensor([[0, 0, 1], [1, 1, 1]]), 2).toarray().tolist()
        [[0.0, 1.0], [0.0, 1.0]]
    """
    starts, ends = _ends(edge_index, nodes)
    weights = np.ones(starts.size) if edge_weight is None else _weights(edge_weight, starts.size)
    matrix = sparse.coo_array((weights, (starts, ends)), (nodes, nodes)).tocsr()
    if edge_weight is None:
        matrix.data[:] = 1.0
    matrix.eliminate_zeros()
    return matrix


def joined(matrix: Any) -> NDArray[np.int64]:
    """[nodes]: the lowest of all nodes that edges join a node with, on ways of any length and direction; O(edges)."""
    _, part = csgraph.connected_components(matrix, directed=False)
    _, lowest = np.unique(part, return_index=True)
    found: NDArray[np.int64] = lowest[part].astype(np.int64)
    return found


def row_stochastic(matrix: Any) -> Any:
    """``D^-1 A``: every row sums to 1; that of a node without edges is empty."""
    degrees = _degrees(matrix, axis=1)
    return _with_values(matrix, matrix.data / np.repeat(degrees, np.diff(matrix.indptr)))


def as_published(matrix: Any) -> Any:
    """``A / (d + 1)`` by columns, ``d`` their sums, as the code of the paper has it: no sum is 1."""
    degrees = _degrees(matrix, axis=0)
    return _with_values(matrix, matrix.data / (degrees[matrix.indices] + 1.0))


TRANSITIONS: Final = {"row": row_stochastic, "published": as_published}


def above(matrix: Any, threshold: float) -> Any:
    """The entries above a threshold; those that equal it but for rounding go, in whatever order they were added up."""
    kept = matrix.copy()
    kept.data[kept.data <= threshold * (1 + EQUAL)] = 0.0
    kept.eliminate_zeros()
    return kept


def thresholded_powers(matrix: Any, hops: int, threshold: float, piece: int = PIECE) -> list[Any]:
    """What is above a threshold in the powers 1 to ``hops``, which are exact and made a few rows at a time.

    Args:
        matrix: scipy.sparse.csr_array [nodes, nodes], entries 0 or more.
        hops: int - at least 1.
        threshold: float - larger entries are kept.
        piece: int - entries of a power that may be held before the threshold; at least one row is.
    Returns:
        list of scipy.sparse.csr_array, columns ascending. Where rows, or columns, sum to 1 at most, each has fewer than
        ``nodes / threshold`` entries.
    Cost: the multiplications of ``hops - 1`` sparse products; memory of what is kept, and of one piece.
    Example:
        >>> half = sparse.csr_array(np.array([[0.5, 0.5], [0.0, 0.5]]))
        >>> [power.toarray().tolist() for power in thresholded_powers(half, 2, 0.3)]
        [[[0.5, 0.5], [0.0, 0.5]], [[0.0, 0.5], [0.0, 0.0]]]
    """
    kept = [[matrix[:0]] for _ in range(hops)]  # a graph may have no node
    for rows in _pieces(matrix, hops, piece):
        power = matrix[rows]
        for hop, parts in enumerate(kept):
            power = power @ matrix if hop else power
            parts.append(above(power, threshold))
    stacked = [sparse.vstack(parts, format="csr") for parts in kept]
    for each in stacked:
        each.sort_indices()
    return stacked


def _pieces(matrix: Any, hops: int, piece: int) -> Iterator[slice]:
    """Runs of rows whose powers have ``piece`` entries at most, by a bound: a row's is the sum of its neighbours'."""
    nodes = matrix.shape[0]
    pattern = _with_values(matrix, np.ones(matrix.nnz))
    bound = np.ones(nodes)
    largest = bound
    for _ in range(hops):
        bound = np.minimum(pattern @ bound, nodes)
        largest = np.maximum(largest, bound)
    total, start = np.cumsum(largest), 0
    while start < nodes:
        before = total[start - 1] if start else 0.0
        end = max(start + 1, int(np.searchsorted(total, before + piece, side="right")))
        yield slice(start, end)
        start = end


def _with_values(matrix: Any, values: NDArray[np.float64]) -> Any:
    return sparse.csr_array((values, matrix.indices, matrix.indptr), matrix.shape)


def _degrees(matrix: Any, axis: int) -> NDArray[np.float64]:
    """Sums of rows or columns."""
    with np.errstate(over="ignore"):  # seen below
        degrees: NDArray[np.float64] = matrix.sum(axis=axis)
    if not np.isfinite(degrees).all():
        raise NonFiniteError(WHERE, expected="weights of a node with a finite sum", got="an infinite one")
    return degrees


def _ends(edge_index: Tensor, nodes: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Both ends of every edge, checked."""
    if not isinstance(edge_index, Tensor) or edge_index.ndim != 2 or edge_index.shape[0] != 2:
        got = tuple(edge_index.shape) if isinstance(edge_index, Tensor) else type(edge_index).__name__
        raise ShapeError(WHERE, expected="edge_index [2, edges]", got=str(got))
    kind = edge_index.dtype
    if kind.is_floating_point or kind.is_complex or str(kind) == "torch.bool":
        raise DtypeError(WHERE, expected="edge_index of integers", got=str(kind))
    edges = _read(edge_index).astype(np.int64)
    outside = np.flatnonzero(((edges < 0) | (edges >= nodes)).any(axis=0))
    if outside.size:
        first = int(outside[0])
        raise TopologyError(
            WHERE,
            expected=f"edges between nodes 0 to {nodes - 1}"
            if nodes
            else "no edges where there are no nodes",
            got=f"edge {first} from {edges[0, first]} to {edges[1, first]}, and {outside.size - 1} more",
            hint="nodes are counted by the rows of x",
        )
    return edges[0], edges[1]


def _weights(edge_weight: Tensor, edges: int) -> NDArray[np.float64]:
    """A weight for every edge, checked."""
    if not isinstance(edge_weight, Tensor) or edge_weight.shape != (edges,):
        got = tuple(edge_weight.shape) if isinstance(edge_weight, Tensor) else type(edge_weight).__name__
        raise ShapeError(WHERE, expected=f"edge_weight [{edges}]", got=str(got))
    if edge_weight.requires_grad:
        raise DtypeError(
            WHERE,
            expected="edge weights without gradient, for a graph is fixed",
            got="weights that want one",
            hint="call edge_weight.detach()",
        )
    weights = _read(edge_weight.double())
    if not np.isfinite(weights).all():
        raise NonFiniteError(WHERE, expected="finite edge weights", got="NaN or infinity")
    if (weights < 0).any():
        raise TopologyError(WHERE, expected="edge weights of 0 or more", got=f"{weights.min():g}")
    return weights


def _read(tensor: Tensor) -> NDArray[Any]:
    """Its numbers."""
    try:
        return tensor.cpu().numpy()
    except RuntimeError as error:  # there is no other sign that holds for all stand-ins of torch
        raise ConfigError(
            WHERE,
            expected="edges whose numbers can be read",
            got="a tensor without memory, as inside of torch.func",
            hint="call prepare before, and give the layer what it returns",
        ) from error
