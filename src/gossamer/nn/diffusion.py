"""Diffusion convolution: features of a graph's nodes, averaged over walks of growing length, each with a weight."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from gossamer.errors import ConfigError, DtypeError, ShapeError
from gossamer.measure import require_memory
from gossamer.nn.traced import is_traced
from gossamer.nn.walk import Walk, WalkGraph, said
from gossamer.registry import answers_unknown

STD = 0.01  # of initial weights, as published
Graph = WalkGraph | Tensor


class DiffusionConv(nn.Module):
    """Diffusion convolution of a graph: ``weight[h, f] * (P^h x)[node, f]`` for 0 to ``hops`` hops.

    ``P`` is the transition matrix of a walk along the edges. It stays sparse, and so do its powers: without
    ``threshold_after`` no power is made at all. There is no activation inside, the paper has tanh behind it.

    Args:
        in_channels: int >= 1 - features of a node.
        hops: int >= 0 - the longest walk.
        transition: "row" - every row of P sums to 1; "published" - ``A / (d + 1)`` by columns, as the paper's code.
        threshold_before: float in [0, 1] - entries of P up to this are dropped before the walk; 0 drops none, 1 all.
        threshold_after: float in [0, 1] - entries of every power up to this are dropped; the powers are exact.
        generator: torch.Generator or None - draws the weights, normal with deviation 0.01.
        device, dtype: as for torch.nn.Linear.

    A node reads from the nodes its edges lead to, ``edge_index[0]`` to ``edge_index[1]``: an undirected graph has both
    directions in it. Repeated edges count once, or with weights add up. An edge from a node to itself is a step that
    stays there. A node without edges keeps hop 0, its other hops are 0. Nothing is normalised after a threshold.

    Cost: 2 * edges * in_channels operations a hop, twice that with a gradient of ``x``; memory O(edges), or with
        thresholds O(nodes / threshold), beside hops + 1 copies of the features.
    Source: Atwood and Towsley 2016, "Diffusion-Convolutional Neural Networks"; Atwood, Pal, Towsley and Swami 2017,
        "Sparse Diffusion-Convolutional Neural Networks". Their code keeps dense powers, and its threshold before goes
        to the first power alone.
    Example:
        >>> conv = DiffusionConv(2, hops=3)
        >>> edges = torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]])  # 0 - 1 - 2
        >>> conv(torch.ones(3, 2), edges).shape
        torch.Size([3, 8])
    """

    @answers_unknown
    def __init__(
        self,
        in_channels: int,
        hops: int = 2,
        *,
        transition: str = "row",
        threshold_before: float = 0.0,
        threshold_after: float = 0.0,
        generator: torch.Generator | None = None,
        device: Any = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        if not isinstance(in_channels, int) or isinstance(in_channels, bool) or in_channels < 1:
            raise ConfigError("DiffusionConv", expected="in_channels of 1 or more", got=repr(in_channels))
        self.walk = Walk(
            hops=hops,
            transition=transition,
            threshold_before=threshold_before,
            threshold_after=threshold_after,
        )
        self.in_channels, self.hops, self.out_channels = in_channels, hops, (hops + 1) * in_channels
        self.weight = nn.Parameter(torch.empty(hops + 1, in_channels, device=device, dtype=dtype))
        self.reset_parameters(generator)

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw the weights anew."""
        nn.init.normal_(self.weight, std=STD, generator=generator)

    @torch.compiler.disable
    def prepare(self, edge_index: Tensor, nodes: int, edge_weight: Tensor | None = None) -> WalkGraph:
        """Make a graph ready once, for every call to come: a call with edges does this anew.

        Args:
            edge_index: [2, edges], integers - from node, to node.
            nodes: int - how many there are, nodes without edges included; any integer, NumPy's too.
            edge_weight: [edges], 0 or more, or None - how likely a walker takes an edge, beside the others of its node.
        Returns:
            WalkGraph - for layers of these settings, on the device and of the dtype of the weight.
        Raises:
            ShapeError, DtypeError, TopologyError, NonFiniteError: edges that describe no graph of so many nodes.
            MissingPackage: SciPy is not installed. ConfigError: inside torch.export or torch.func.
        Cost: a sort of the edges; with ``threshold_after`` hops - 1 products of sparse matrices.
        Example:
            >>> conv = DiffusionConv(1, hops=2, threshold_after=0.6)
            >>> conv.prepare(torch.tensor([[0, 0, 1], [1, 2, 0]]), 3).connections
            (1, 0)
        """
        if torch.compiler.is_exporting():
            raise ConfigError(
                "DiffusionConv.prepare",
                expected="edges that are there",
                got="a stand-in of torch.export",
                hint="prepare the graph before, and give it to the layer",
            )
        here = self.weight
        return WalkGraph.of(self.walk, edge_index, nodes, edge_weight, here.device, here.dtype)

    def forward(
        self, x: Tensor, graph: Graph, nodes: Tensor | None = None, batch: Tensor | None = None
    ) -> Tensor:
        """Convolve the nodes of a graph, some of them, or the means of several graphs.

        Args:
            x: [nodes, in_channels], dtype of the weight.
            graph: WalkGraph of ``prepare``, or edge_index [2, edges].
            nodes: [picked], int64 - the nodes wanted; None: all.
            batch: [nodes], int64 >= 0 - which graph each node belongs to: one row a graph, made of the mean over its
                nodes; that of a number nobody has is 0. Edges between two graphs are refused.
        Returns:
            [nodes, picked or graphs, (hops + 1) * in_channels], the features of hop 0 first.
        Raises:
            ShapeError, DtypeError: features, nodes or graphs that do not fit. ConfigError: a graph prepared for other
            settings, or ``nodes`` and ``batch`` together. TopologyError: an edge between graphs of ``batch``. Those of
            ``prepare``.
        Cost: see the class; edges are prepared at every call.
        """
        if is_traced(x) or is_traced(graph):  # freezing repeats samples, and the edges of a graph are none
            raise ConfigError(
                "DiffusionConv",
                expected="a call with tensors",
                got="a stand-in of torch.fx, which cannot hold a graph",
                hint="trace what follows it",
            )
        if nodes is not None and batch is not None:
            raise ConfigError("DiffusionConv", expected="nodes or batch", got="both")
        made = self._graph(x, graph)
        walked = made.spread(x, nodes)
        if batch is not None:
            made.check_batch(batch)
            walked = means(walked, batch)
        return self.weigh(walked)

    def diffuse(self, x: Tensor, graph: Graph, nodes: Tensor | None = None) -> Tensor:
        """The part without weights: where features do not change, once is enough, and batches are rows of it.

        Args:
            x: [nodes, in_channels], dtype of the weight.
            graph: WalkGraph or edge_index.
            nodes: [picked], int64, or None.
        Returns:
            [nodes or picked, hops + 1, in_channels], for ``weigh``.
        Raises:
            As ``forward``.
        Cost: all of the layer's but one multiplication a number.
        """
        return self._graph(x, graph).spread(x, nodes)

    def _graph(self, x: Tensor, graph: Graph) -> WalkGraph:
        """The graph made ready, where it and the features are for this layer."""
        if not isinstance(x, Tensor) or x.ndim != 2 or x.shape[1] != self.in_channels:
            raise ShapeError("DiffusionConv", expected=f"x [nodes, {self.in_channels}]", got=said(x))
        if x.dtype != self.weight.dtype and not (
            x.is_floating_point() and torch.is_autocast_enabled(x.device.type)
        ):
            expected = f"x of the weight's type, {self.weight.dtype}"
            raise DtypeError("DiffusionConv", expected=expected, got=str(x.dtype), hint="cast one of them")
        made: WalkGraph = self.prepare(graph, x.shape[0]) if isinstance(graph, Tensor) else graph
        if not isinstance(made, WalkGraph) or not made.is_for(self.walk):
            raise ConfigError(
                "DiffusionConv",
                expected=f"edges, or a graph prepared for {self.walk}",
                got=str(made.walk) if isinstance(made, WalkGraph) else type(made).__name__,
                hint="call prepare of this layer",
            )
        return made

    def weigh(self, walked: Tensor) -> Tensor:
        """[rows, hops + 1, in_channels] of ``diffuse``, or means of them, times the weight: [rows, out_channels]."""
        if not isinstance(walked, Tensor) or walked.shape[1:] != self.weight.shape:
            expected = f"[rows, {self.hops + 1}, {self.in_channels}], as diffuse gives"
            raise ShapeError("DiffusionConv.weigh", expected=expected, got=said(walked))
        return (walked * self.weight).flatten(1)

    def extra_repr(self) -> str:
        """Sizes and settings."""
        walk = self.walk
        thresholds = [
            f"{name}={getattr(walk, name)}"
            for name in ("threshold_before", "threshold_after")
            if getattr(walk, name)
        ]
        return ", ".join(
            [f"{self.in_channels}, hops={self.hops}, transition={walk.transition!r}", *thresholds]
        )


def means(walked: Tensor, batch: Tensor) -> Tensor:
    """The mean over the nodes of every graph.

    Args:
        walked: [nodes, ...], float.
        batch: [nodes], int64 >= 0 - which graph a node belongs to; checked by `WalkGraph.check_batch`.
    Returns:
        [largest number + 1, ...]; 0 for a graph without nodes.
    Raises:
        MemoryShortage: numbers so large that a row for each has no place.
    Cost: O(size of walked).
    Example:
        >>> means(torch.tensor([[1.0], [3.0], [5.0]]), torch.tensor([0, 0, 2])).tolist()
        [[2.0], [0.0], [5.0]]
    """
    if batch.numel():
        row = max(1, walked[:1].numel()) * walked.element_size()
        require_memory("DiffusionConv(batch=)", (int(batch.max()) + 1) * row, "number graphs from 0")
    counts = torch.bincount(batch)
    sums = walked.new_zeros(counts.numel(), *walked.shape[1:]).index_add(0, batch, walked)
    return sums / counts.clamp(min=1).to(walked.dtype).view(-1, *[1] * (walked.ndim - 1))
