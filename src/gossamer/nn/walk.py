"""Walks on a graph: how features spread over it, hop by hop."""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import Tensor

from gossamer.errors import ConfigError, ShapeError, TopologyError
from gossamer.nn.rows import Rows
from gossamer.registry import check_choice

if TYPE_CHECKING:
    from collections.abc import Iterator

LARGEST = (1 << 31) - 1  # nodes that a column index of 32 bits can name


@dataclass(frozen=True, kw_only=True)
class Walk:
    """How features spread: settings of a DiffusionConv, of which its graphs are made.

    Args:
        hops: int >= 0.
        transition: "row" - every row sums to 1 - or "published".
        threshold_before: float in [0, 1] - what the transition matrix has to exceed; 0 keeps all of it.
        threshold_after: float in [0, 1] - what a power of it has to exceed.
    Raises:
        ConfigError: a setting out of range.
    Example:
        >>> Walk(hops=2, threshold_before=0.05).transition
        'row'
    """

    hops: int = 2
    transition: str = "row"
    threshold_before: float = 0.0
    threshold_after: float = 0.0

    def __post_init__(self) -> None:
        if not isinstance(self.hops, int) or isinstance(self.hops, bool) or self.hops < 0:
            raise ConfigError("DiffusionConv", expected="hops, an integer of 0 or more", got=repr(self.hops))
        check_choice("DiffusionConv(transition=)", self.transition, ("row", "published"))
        for name in ("threshold_before", "threshold_after"):
            value = getattr(self, name)
            number = isinstance(value, (int, float)) and not isinstance(value, bool)
            if not number or not 0 <= value <= 1:
                raise ConfigError("DiffusionConv", expected=f"{name} from 0 to 1", got=repr(value))

    @property
    def by_powers(self) -> bool:
        """Whether every hop has a matrix of its own, and is not a hop from the one before."""
        return self.threshold_after > 0


class WalkGraph:
    """A graph made ready for a walk: fixed sparse matrices, made once and used at every step.

    Without a threshold after, one transition matrix multiplies again and again and no power is ever made. With one,
    there is a matrix a hop: what is above the threshold in that power.

    Args:
        walk: Walk.
        nodes: int.
        matrices: tuple of Rows - one, or one a hop.
        joined: [nodes], int64 - the lowest node that edges join each one with, before any threshold.
    Example:
        >>> graph = WalkGraph.of(Walk(hops=2), torch.tensor([[0, 1], [1, 0]]), 3)
        >>> graph.spread(torch.tensor([[1.0], [2.0], [3.0]])).squeeze(2).tolist()
        [[1.0, 2.0, 1.0], [2.0, 1.0, 2.0], [3.0, 0.0, 0.0]]
    """

    def __init__(self, walk: Walk, nodes: int, matrices: tuple[Rows, ...], joined: Tensor) -> None:
        self.walk, self.nodes, self.matrices, self.joined = walk, nodes, matrices, joined

    @classmethod
    def of(
        cls,
        walk: Walk,
        edge_index: Tensor,
        nodes: int,
        edge_weight: Tensor | None = None,
        device: Any = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> Self:
        """Prepare a graph.

        Args:
            walk: Walk.
            edge_index: [2, edges], integers - from node, to node. A node reads from the nodes its edges lead to.
            nodes: int - how many there are.
            edge_weight: [edges] or None.
            device: torch.device or str - where the features will be.
            dtype: torch.dtype - theirs.
        Raises:
            MissingPackage: SciPy is not installed. ConfigError: a number of nodes that cannot be.
            ShapeError, DtypeError, TopologyError, NonFiniteError: see `transition.adjacency`.
        Cost: O(edges) memory and a sort; with a threshold after, see `transition.thresholded_powers`.
        """
        from gossamer.nn import transition as matrices  # SciPy, which layers of other kinds can do without

        nodes = _count(nodes)
        made = matrices.adjacency(edge_index, nodes, edge_weight)
        with torch.inference_mode(mode=False):  # as in Rows.of
            joined = torch.tensor(matrices.joined(made), device=device)
        made = matrices.TRANSITIONS[walk.transition](made)
        made = matrices.above(made, walk.threshold_before)
        many = [made]
        if walk.by_powers:
            many = matrices.thresholded_powers(made, walk.hops, walk.threshold_after)
        return cls(walk, nodes, tuple(Rows.of(each, device, dtype) for each in many), joined)

    def is_for(self, walk: Walk) -> bool:
        """Whether it was made with these settings."""
        return self.walk == walk

    @property
    def connections(self) -> tuple[int, ...]:
        """Entries of every matrix that is held."""
        return tuple(each.values.numel() for each in self.matrices)

    @property
    def bytes(self) -> int:
        """Of all matrices, indices included."""
        return sum(each.bytes for each in self.matrices)

    def spread(self, x: Tensor, nodes: Tensor | None = None) -> Tensor:
        """The features as a walker meets them after 0, 1, ... hops, on average.

        Args:
            x: [nodes, features], float.
            nodes: [picked], int64 - the nodes wanted, in any order; None: all.
        Returns:
            [nodes or picked, hops + 1, features]; hop 0 is ``x``.
        Raises:
            ShapeError: features of another number of nodes, or a picked node that does not exist.
        Cost: 2 * features operations an entry and hop. For picked nodes only what lies within their reach is computed.
        """
        if x.ndim != 2 or x.shape[0] != self.nodes:
            raise ShapeError("DiffusionConv", expected=f"x [{self.nodes}, features]", got=str(tuple(x.shape)))
        if nodes is not None:
            self._check(nodes)
        if self.walk.by_powers:
            many = self.matrices if nodes is None else [matrix.pick(nodes) for matrix in self.matrices]
            parts = [x if nodes is None else x[nodes], *(matrix.times(x) for matrix in many)]
        else:
            parts = list(self._everywhere(x) if nodes is None else self._around(x, nodes))
        return torch.stack(parts, 1)

    def _everywhere(self, x: Tensor) -> Iterator[Tensor]:
        """Every hop of all nodes."""
        yield x
        for _ in range(self.walk.hops):
            x = self.matrices[0].times(x)
            yield x

    def _around(self, x: Tensor, nodes: Tensor) -> Iterator[Tensor]:
        """Every hop of some nodes: a hop less is computed for those they read from, and so on."""
        matrix, wanted = self.matrices[0], nodes.unique()
        steps: list[tuple[Rows, Tensor]] = []  # of the last hop first: the matrix, and the nodes of its rows
        for _ in range(self.walk.hops):
            picked = matrix.pick(wanted)
            reach = torch.cat([wanted, picked.col.long()]).unique()
            steps.append((picked.among(reach), wanted))
            wanted = reach
        walked = x[wanted]
        yield x[nodes]
        for step, held in reversed(steps):
            walked = step.times(walked)
            yield walked[torch.searchsorted(held, nodes)]

    def _check(self, nodes: Tensor) -> None:
        """Refuse nodes that do not exist, and masks."""
        fine = isinstance(nodes, Tensor) and nodes.ndim == 1 and nodes.dtype == torch.int64
        if not fine or (nodes.numel() and not 0 <= int(nodes.min()) <= int(nodes.max()) < self.nodes):
            says = f"{int(nodes.min())} to {int(nodes.max())}" if fine else said(nodes)
            raise ShapeError(
                "DiffusionConv",
                expected=f"nodes [picked], int64, from 0 to {self.nodes - 1}",
                got=says,
                hint="of a mask: mask.nonzero().squeeze(1); of a list: torch.tensor(nodes)",
            )

    def check_batch(self, batch: Tensor) -> None:
        """Refuse graphs that an edge joins, and numbers that are no graphs.

        Args:
            batch: [nodes], int64 >= 0 - which graph a node belongs to.
        Raises:
            ShapeError: another shape or type, or a negative number. TopologyError: edges between two graphs.
        Cost: O(nodes).
        """
        fits = isinstance(batch, Tensor) and batch.shape == (self.nodes,) and batch.dtype == torch.int64
        if not fits or (batch.numel() and int(batch.min()) < 0):
            raise ShapeError(
                "DiffusionConv",
                expected=f"batch [{self.nodes}], int64, 0 or more",
                got=f"{int(batch.min())}" if fits else said(batch),
            )
        across = (batch != batch[self.joined]).nonzero().flatten()
        if across.numel():
            b = int(across[0])
            a = int(self.joined[b])
            raise TopologyError(
                "DiffusionConv(batch=)",
                expected="edges between nodes of one graph",
                got=f"edges that join node {a} of graph {int(batch[a])} with node {b} of graph {int(batch[b])}",
                hint="add to the edges of every graph the number of nodes in the graphs before it",
            )


def said(given: object) -> str:
    """What was given where a tensor of another shape or type is expected."""
    return (
        f"{given.dtype} of shape {tuple(given.shape)}" if isinstance(given, Tensor) else type(given).__name__
    )


def _count(nodes: Any) -> int:
    """A number of nodes: any integer, NumPy's and tensors of one included."""
    try:
        count = -1 if isinstance(nodes, bool) else operator.index(nodes)
    except TypeError:
        count = -1
    if not 0 <= count <= LARGEST:
        raise ConfigError("graph", expected=f"0 to {LARGEST} nodes, as an integer", got=repr(nodes))
    return count
