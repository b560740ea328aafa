"""Diffusion convolution: by hand, against dense powers in float64, and what it refuses."""

from __future__ import annotations

import copy
import io
import math
import pickle
import sys
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.autograd import gradcheck

import gossamer as gs
from gossamer import data
from gossamer.errors import (
    ConfigError,
    DataError,
    DtypeError,
    FormatError,
    GossamerError,
    MemoryShortage,
    MissingPackage,
    NonFiniteError,
    ShapeError,
    TopologyError,
)
from gossamer.nn import DiffusionConv
from gossamer.nn.transition import above, adjacency, row_stochastic, thresholded_powers

LINE = torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]])  # 0 - 1 - 2
X = torch.tensor([[1.0], [2.0], [4.0]])


def hops_of(x: Tensor, edges: Tensor, weights: Tensor | None = None, **settings: Any) -> list[list[float]]:
    """What nodes of one feature see after every hop."""
    conv = DiffusionConv(1, **settings)
    return conv.diffuse(x, conv.prepare(edges, x.shape[0], weights)).squeeze(2).T.tolist()


# --- by hand --------------------------------------------------------------------------------------------------------
def test_a_line_of_three_nodes_by_hand() -> None:
    """Node 1 goes either way with one half; the ends go back to it."""
    assert hops_of(X, LINE, hops=2) == [[1, 2, 4], [2, 2.5, 2], [2.5, 2, 2.5]]
    conv = DiffusionConv(1, hops=1)
    with torch.no_grad():
        conv.weight.copy_(torch.tensor([[10.0], [100.0]]))
    assert conv(X, LINE).tolist() == [[10, 200], [20, 250], [40, 200]]


def test_the_published_matrix_divides_columns_by_a_degree_too_many() -> None:
    hops = hops_of(X.double(), LINE, hops=1, transition="published", dtype=torch.float64)
    assert hops[1] == pytest.approx([2 / 3, 1 / 2 + 4 / 2, 2 / 3], rel=1e-15)


def test_a_node_reads_where_its_edges_lead() -> None:
    assert hops_of(X, torch.tensor([[0, 0], [1, 2]]), hops=2) == [[1, 2, 4], [3, 0, 0], [0, 0, 0]]


def test_loops_stay_repeated_edges_count_once_and_weights_add_up() -> None:
    edges = torch.tensor([[0, 0, 0, 1], [0, 1, 1, 1]])
    assert hops_of(X, edges, hops=1)[1] == [1.5, 2, 0]
    weights = torch.tensor([1.0, 1.0, 2.0, 0.0])  # the last edge is none
    assert hops_of(X, edges, weights, hops=1)[1] == [1.75, 0, 0]


@pytest.mark.parametrize("which", ["threshold_before", "threshold_after"])
def test_what_equals_a_threshold_goes(which: str) -> None:
    """0 drops nothing, 1 all but hop 0; one half is not more than one half."""
    line = [[1, 2, 4], [2, 2.5, 2]]
    assert hops_of(X, LINE, hops=1, **{which: 0}) == hops_of(X, LINE, hops=1, **{which: 0.49}) == line
    assert hops_of(X, LINE, hops=1, **{which: 0.5}) == [[1, 2, 4], [2, 0, 2]]
    assert hops_of(X, LINE, hops=2, **{which: 1}) == [[1, 2, 4], [0, 0, 0], [0, 0, 0]]


def test_a_threshold_before_ends_ways_and_one_after_weighs_them() -> None:
    """Node 0 goes back to itself by two hops surely, but its way over node 1 is gone once that has no step left."""
    assert hops_of(X, LINE, hops=2, threshold_before=0.5)[2] == [0, 0, 0]
    assert hops_of(X, LINE, hops=2, threshold_after=0.5)[2] == [0, 2, 0]


def test_graphs_are_means_of_their_nodes() -> None:
    conv = DiffusionConv(1, hops=1)
    nn.init.ones_(conv.weight)
    batch = torch.tensor([0, 0, 2])
    assert conv(X, torch.tensor([[0, 1], [1, 0]]), batch=batch).tolist() == [[1.5, 1.5], [0, 0], [4, 0]]


# --- against dense powers -------------------------------------------------------------------------------------------
def by_dense_powers(conv: DiffusionConv, x: Tensor, edges: Tensor) -> Tensor:
    """The definition, in float64, with dense matrices."""
    nodes, walk = x.shape[0], conv.walk
    a = torch.zeros(nodes, nodes, dtype=torch.float64)
    a[edges[0], edges[1]] = 1
    p = a / (a.sum(0) + 1) if walk.transition == "published" else a / a.sum(1, keepdim=True).clamp(min=1)
    p[p <= walk.threshold_before] = 0
    power, parts = torch.eye(nodes, dtype=torch.float64), [x * conv.weight[0]]
    for weight in conv.weight[1:]:
        power = power @ p
        kept = power.where(power > walk.threshold_after * (1 + 1e-12), 0)
        parts.append(kept @ x * weight)
    return torch.cat(parts, 1)


@st.composite
def graphs(draw: st.DrawFn) -> tuple[int, Tensor]:
    nodes = draw(st.integers(1, 12))
    node = st.integers(0, nodes - 1)
    edges = draw(st.lists(st.tuples(node, node), max_size=40))
    return nodes, torch.tensor(edges, dtype=torch.int64).reshape(-1, 2).T


@given(
    graph=graphs(),
    hops=st.integers(0, 3),
    transition=st.sampled_from(["row", "published"]),
    before=st.sampled_from([0.0, 0.2, 0.25, 1.0]),
    after=st.sampled_from([0.0, 0.1, 0.25, 1.0]),
    seed=st.integers(0, 99),
)
def test_values_and_gradients_are_those_of_dense_powers(
    graph: tuple[int, Tensor], hops: int, transition: str, before: float, after: float, seed: int
) -> None:
    nodes, edges = graph
    settings = {"transition": transition, "threshold_before": before, "threshold_after": after}
    generator = torch.Generator().manual_seed(seed)
    conv = DiffusionConv(2, hops, generator=generator, dtype=torch.float64, **settings)
    x = torch.randn(nodes, 2, dtype=torch.float64, generator=generator, requires_grad=True)
    got, expected = conv(x, edges), by_dense_powers(conv, x, edges)
    torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-14)
    slope = torch.randn(got.shape, dtype=torch.float64, generator=generator)
    mine = torch.autograd.grad(got, [x, conv.weight], slope)
    torch.testing.assert_close(
        mine, torch.autograd.grad(expected, [x, conv.weight], slope), rtol=1e-11, atol=1e-13
    )
    picked = torch.randint(nodes, (5,), generator=generator)
    torch.testing.assert_close(conv(x, edges, picked), expected[picked], rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("after", [0.0, 0.3])
def test_gradcheck_of_all_nodes_some_and_graphs(after: float) -> None:
    torch.manual_seed(0)
    conv = DiffusionConv(2, 2, threshold_after=after, dtype=torch.float64)
    x = torch.randn(6, 2, dtype=torch.float64, requires_grad=True)
    edges, some, batch = torch.randint(6, (2, 30)), torch.tensor([4, 1, 4]), torch.tensor([0, 0, 1, 1, 1, 3])
    graph = conv.prepare(edges[:, batch[edges[0]] == batch[edges[1]]], 6)
    for how in ({}, {"nodes": some}, {"batch": batch}):
        assert gradcheck(lambda x, _, how=how: conv(x, graph, **how), (x, conv.weight))


@pytest.mark.parametrize("threshold", [Fraction(1, 20), Fraction(1, 10), Fraction(1, 6), Fraction(1, 4)])
def test_entries_that_equal_a_threshold_go_however_they_were_added_up(threshold: Fraction) -> None:
    """Against rational numbers: many sums equal such a threshold, and miss it by a rounding in floating point."""
    generator = torch.Generator().manual_seed(1)
    one_way = torch.randint(40, (2, 90), generator=generator)
    a = adjacency(torch.cat([one_way, one_way.flip(0)], 1), 40)
    reads = [[int(node) for node in a.indices[a.indptr[i] : a.indptr[i + 1]]] for i in range(40)]
    exact = [[Fraction(int(i == j)) for j in range(40)] for i in range(40)]
    powers = thresholded_powers(row_stochastic(a), 3, float(threshold))
    ties = 0
    for power in powers:
        exact = [
            [sum((exact[k][j] for k in near), Fraction(0)) / max(1, len(near)) for j in range(40)]
            for near in reads
        ]
        ties += sum(value == threshold for row in exact for value in row)
        assert (power.toarray() > 0).tolist() == [[value > threshold for value in row] for row in exact]
    assert ties > 10


# --- size -----------------------------------------------------------------------------------------------------------
def star(leaves: int) -> Tensor:
    """Every leaf is two hops from every other: the second power is full."""
    hub, rim = torch.zeros(leaves, dtype=torch.int64), torch.arange(1, leaves + 1)
    return torch.stack([torch.cat([hub, rim]), torch.cat([rim, hub])])


def test_a_full_power_is_never_made() -> None:
    """200,001 nodes, whose second power would take 160 GB."""
    conv = DiffusionConv(1, 2, dtype=torch.float64)
    nn.init.ones_(conv.weight)
    x = torch.arange(200_001.0, dtype=torch.float64).remainder(2).unsqueeze(1).requires_grad_()
    y = conv(x, star(200_000))
    y.sum().backward()
    assert y[5].tolist() == pytest.approx([1, 0, 0.5])
    assert conv(x, star(200_000), nodes=torch.tensor([5]))[0].tolist() == pytest.approx([1, 0, 0.5])
    assert x.grad is not None
    assert float(x.grad[7]) == pytest.approx(1 + 1 / 200_000 + 1)


def test_thresholded_powers_are_made_in_pieces_of_a_bounded_size() -> None:
    matrix = row_stochastic(adjacency(star(2000), 2001))  # 4 million entries in the second power
    whole = thresholded_powers(matrix, 2, 0.4)
    tracemalloc.start()
    pieces = thresholded_powers(matrix, 2, 0.4, piece=20_000)
    used = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert used < 4 << 20
    assert [power.nnz for power in pieces] == [2000, 1]
    for one, other in zip(whole, pieces, strict=True):
        assert np.array_equal(one.indptr, other.indptr)
        assert np.array_equal(one.indices, other.indices)
        assert np.array_equal(one.data, other.data)


def test_a_node_alone_in_reach_is_not_touched_by_nan_elsewhere() -> None:
    x = X.clone()
    x[2] = math.nan
    y = DiffusionConv(1, 1).diffuse(x, LINE).squeeze(2)
    assert y.isnan().tolist() == [[False, False], [False, True], [True, False]]


# --- as a module ----------------------------------------------------------------------------------------------------
def test_copies_and_files_compute_the_same() -> None:
    conv = DiffusionConv(2, 3, threshold_before=0.1, transition="published")
    x, edges = torch.randn(9, 2), torch.randint(9, (2, 30))
    graph, expected = conv.prepare(edges, 9), conv(x, edges)
    other = DiffusionConv(2, 3, threshold_before=0.1, transition="published")
    other.load_state_dict(conv.state_dict())
    file = io.BytesIO()
    torch.save(conv, file)
    file.seek(0)
    read = torch.load(file, weights_only=False)
    for layer in (copy.deepcopy(conv), pickle.loads(pickle.dumps(conv)), other, read):  # noqa: S301 (our own)
        assert list(layer.state_dict()) == ["weight"]
        for made in (graph, copy.deepcopy(graph), pickle.loads(pickle.dumps(graph))):  # noqa: S301 (same)
            assert torch.equal(layer(x, made), expected)


def test_threads_share_a_layer_and_a_graph() -> None:
    conv = DiffusionConv(8, 2)
    edges, x = torch.randint(300, (2, 2000)), torch.randn(300, 8)
    graph = conv.prepare(edges, 300)

    def step(_: int) -> tuple[Tensor, Tensor]:
        mine = x.clone().requires_grad_()
        y = conv(mine, graph)
        return y.detach(), torch.autograd.grad(y.square().sum(), mine)[0]

    with ThreadPoolExecutor(8) as pool:
        first, *others = pool.map(step, range(32))
    assert all(torch.equal(a, b) for other in others for a, b in zip(first, other, strict=True))


def test_a_graph_prepared_in_inference_mode_trains_outside() -> None:
    conv = DiffusionConv(1, 2)
    with torch.inference_mode():
        graph = conv.prepare(LINE, 3)
    conv(X.clone().requires_grad_(), graph).sum().backward()
    assert conv.weight.grad is not None


def test_autocast_computes_in_float32() -> None:
    conv = DiffusionConv(1, 1)
    nn.init.ones_(conv.weight)
    with torch.autocast("cpu"):
        y = conv(X.bfloat16(), LINE)
    assert y.dtype == torch.float32
    assert y.tolist() == [[1, 2], [2, 2.5], [4, 2]]


def test_it_compiles_with_a_prepared_graph_as_one_and_with_edges_in_parts() -> None:
    conv = DiffusionConv(1, 2, threshold_before=0.1)
    graph, expected = conv.prepare(LINE, 3), conv(X, LINE)
    assert torch.equal(torch.compile(conv, backend="eager", fullgraph=True)(X, graph), expected)
    assert torch.equal(torch.compile(conv, backend="eager")(X, LINE), expected)
    with pytest.raises(ConfigError, match="prepare the graph before"):
        torch.export.export(conv, (X, LINE))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_narrow_types_run_by_the_reference_kernels(dtype: torch.dtype) -> None:
    assert hops_of(X.to(dtype), LINE, hops=2, dtype=dtype) == [[1, 2, 4], [2, 2.5, 2], [2.5, 2, 2.5]]


def test_a_model_with_it_freezes_layer_by_layer_and_says_why_it_cannot_be_saved(tmp_path: Any) -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.out = DiffusionConv(8, 2), nn.Linear(24, 4)

        def forward(self, x: Tensor, edges: Tensor) -> Tensor:
            out: Tensor = self.out(torch.tanh(self.conv(x, edges)))
            return out

    model = Net()
    gs.sparsify(model, density=0.3)
    x, edges = torch.randn(20, 8), torch.randint(20, (2, 60))
    frozen = gs.freeze(model, (x, edges), keep="csr")
    torch.testing.assert_close(frozen(x, edges), model(x, edges))
    assert "DiffusionConv: expected a call with tensors" in frozen.explain()
    with pytest.raises(FormatError, match="Net"):
        gs.save(frozen, tmp_path / "net.safetensors")


# --- what is refused ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("nodes", [0, 1, 3])
@pytest.mark.parametrize("after", [0.0, 0.2])
def test_graphs_without_nodes_or_edges_are_graphs(nodes: int, after: float) -> None:
    x, none = torch.ones(nodes, 2, requires_grad=True), torch.empty(2, 0, dtype=torch.int64)
    conv = DiffusionConv(2, 2, threshold_after=after)
    y = conv(x, none)
    y.sum().backward()
    assert y.shape == (nodes, 6)
    assert not y[:, 2:].any()
    nobody = torch.empty(0, dtype=torch.int64)
    assert conv(x, none, nodes=nobody).shape == (0, 6)


@pytest.mark.parametrize(
    "settings",
    [
        {"in_channels": 0},
        {"in_channels": True},
        {"hops": -1},
        {"hops": 1.5},
        {"transition": "column"},
        {"threshold_before": -0.1},
        {"threshold_before": 1.1},
        {"threshold_after": math.nan},
        {"threshold_before": True},
        {"threshold_after": False},
        {"threshold_after": "0.1"},
        {"thresold_after": 0.1},
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises((ConfigError, TypeError), match="DiffusionConv"):
        DiffusionConv(**{"in_channels": 1, **settings})


@pytest.mark.parametrize(
    ("edges", "error", "said"),
    [
        (torch.tensor([[0, 1, 2], [1, 3, 7]]), TopologyError, "edge 1 from 1 to 3, and 1 more"),
        (torch.tensor([[-1], [0]]), TopologyError, "edge 0 from -1 to 0"),
        (LINE.T, ShapeError, r"\(4, 2\)"),
        (torch.tensor([0, 1]), ShapeError, r"edge_index \[2, edges\]"),
        (LINE.float(), DtypeError, "torch.float32"),
        (LINE.bool(), DtypeError, "torch.bool"),
        ([[0], [1]], ShapeError, "list"),
    ],
)
def test_edges_that_describe_no_graph_are_refused(edges: Any, error: type[GossamerError], said: str) -> None:
    with pytest.raises(error, match=said):
        DiffusionConv(1).prepare(edges, 3)


@pytest.mark.parametrize(
    ("weights", "error"),
    [
        (torch.tensor([1.0, math.nan, 1, 1]), NonFiniteError),
        (torch.tensor([1.0, math.inf, 1, 1]), NonFiniteError),
        (torch.tensor([1, 1.7e308, 1.7e308, 1], dtype=torch.float64), NonFiniteError),
        (torch.tensor([1.0, -1, 1, 1]), TopologyError),
        (torch.ones(3), ShapeError),
        (torch.ones(4, requires_grad=True), DtypeError),
    ],
)
def test_edge_weights_that_are_no_chances_are_refused(weights: Tensor, error: type[GossamerError]) -> None:
    with pytest.raises(error, match="graph: expected"):
        DiffusionConv(1).prepare(LINE, 3, weights)


def test_calls_that_do_not_fit_are_refused() -> None:
    conv, node = DiffusionConv(1), torch.tensor([0])
    graph = conv.prepare(LINE, 3)
    with pytest.raises(ShapeError, match=r"x \[nodes, 1\], got torch.float32 of shape \(3, 2\)"):
        conv(torch.ones(3, 2), graph)
    with pytest.raises(ShapeError, match=r"x \[3, features\], got \(2, 1\)"):
        conv(X[:2], graph)
    with pytest.raises(DtypeError, match="cast one of them"):
        conv(X.double(), graph)
    with pytest.raises(ConfigError, match="call prepare of this layer"):
        DiffusionConv(1, threshold_before=0.5)(X, graph)
    with pytest.raises(ConfigError, match=r"edges, or a graph prepared for .* got list"):
        conv(X, [[0], [1]])
    with pytest.raises(ConfigError, match="nodes or batch, got both"):
        conv(X, graph, node, node)
    with pytest.raises(ShapeError, match=r"x \[nodes, 1\], got list"):
        conv([[1.0]] * 3, graph)  # type: ignore[arg-type]
    for nodes in (
        [1],
        1,
        torch.tensor([3]),
        torch.tensor([-1]),
        torch.tensor([True, False, True]),
        node.float(),
    ):
        with pytest.raises(ShapeError, match="of a mask"):
            conv(X, graph, nodes)
    for batch in ([0, 0, 0], torch.tensor([0, 0]), torch.tensor([0, -1, 0]), torch.zeros(3)):
        with pytest.raises(ShapeError, match=r"batch \[3\], int64"):
            conv(X, graph, batch=batch)
    with pytest.raises(MemoryShortage, match="number graphs from 0"):
        conv(X, graph, batch=torch.tensor([1 << 50] * 3))
    with pytest.raises(ShapeError, match="as diffuse gives"):
        conv.weigh(torch.ones(3, 2, 1))
    with pytest.raises(ShapeError, match="got list"):
        conv.weigh([1.0])  # type: ignore[arg-type]


@pytest.mark.parametrize("settings", [{}, {"threshold_before": 0.5}, {"threshold_after": 0.5}])
@pytest.mark.parametrize("prepared", [False, True])
def test_edges_between_two_graphs_are_refused_with_their_place(settings: Any, prepared: bool) -> None:
    """Also where they go one way alone, and where a threshold drops them: ways over them were counted."""
    conv, batch = DiffusionConv(1, hops=2, **settings), torch.tensor([0, 0, 5])
    said = r"edges that join node 0 of graph 0 with node 2 of graph 5; .*number of nodes in the graphs before"
    for edges in (LINE, torch.tensor([[0, 1, 2], [1, 0, 1]])):
        with pytest.raises(TopologyError, match=said):
            conv(X, conv.prepare(edges, 3) if prepared else edges, batch=batch)
    assert conv(X, torch.tensor([[0, 1, 2], [1, 0, 2]]), batch=batch).shape == (6, 3)


@pytest.mark.parametrize("nodes", [np.int64(3), torch.tensor(3), 3])
def test_a_number_of_nodes_is_any_integer(nodes: Any) -> None:
    graph = DiffusionConv(1).prepare(LINE, nodes)
    assert (graph.nodes, type(graph.nodes)) == (3, int)


@pytest.mark.parametrize("nodes", [3.0, True, "3", None, -1, torch.ones(2), np.float64(3)])
def test_what_is_no_number_of_nodes(nodes: Any) -> None:
    with pytest.raises(ConfigError, match="nodes, as an integer"):
        DiffusionConv(1).prepare(LINE, nodes)


def test_derivatives_of_functions_take_a_prepared_graph_and_name_it() -> None:
    conv = DiffusionConv(1, hops=1)
    nn.init.ones_(conv.weight)
    graph = conv.prepare(LINE, 3)
    assert torch.func.grad(lambda x: conv(x, graph).sum())(X).flatten().tolist() == [1.5, 3, 1.5]
    for call in (
        lambda: torch.func.grad(lambda x: conv(x, LINE).sum())(X),
        lambda: torch.func.jvp(lambda x: conv(x, LINE), (X,), (X,)),
        lambda: torch.func.vmap(lambda edges: conv(X, edges))(LINE[None]),
        lambda: torch.func.grad(lambda x: conv(x, conv.prepare(LINE, 3, torch.ones(4))).sum())(X),
    ):
        with pytest.raises(ConfigError, match=r"torch\.func; call prepare before"):
            call()


def test_without_scipy_the_package_is_named_where_a_graph_is_prepared(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delitem(sys.modules, "gossamer.nn.transition")
    monkeypatch.delattr(gs.nn, "transition")
    monkeypatch.setitem(sys.modules, "scipy", None)
    conv = DiffusionConv(1)
    with pytest.raises(MissingPackage, match="scipy"):
        conv(X, LINE)


# --- real graphs ----------------------------------------------------------------------------------------------------
def test_the_powers_of_cora_have_the_entries_that_were_counted_elsewhere() -> None:
    """At 0.01, 16 and 462 entries of the second and third power equal the threshold, and go."""
    try:
        cora = data.load_graph("cora")
    except DataError as error:
        pytest.skip(f"set GOSSAMER_DATA to a folder with cora.npz: {error}")
    matrix = row_stochastic(adjacency(torch.tensor(cora.edge_index), cora.nodes))
    counted = {
        0.0: ([10556, 94728, 330614], [10556, 94728, 330614]),
        0.01: ([10388, 67558, 228401], [10388, 40828, 41741]),
        0.05: ([9578, 35417, 94504], [9578, 12774, 10776]),
        0.1: ([8312, 20159, 40726], None),
        0.25: ([3310, 2188, 2335], None),
        0.5: ([485, 114, 114], None),
    }
    longest = {0.01: 78, 0.05: 19, 0.1: 9, 0.25: 3, 0.5: 1}
    for threshold, (before, after) in counted.items():
        first = above(matrix, threshold)
        assert [power.nnz for power in thresholded_powers(first, 3, 0.0)] == before
        assert longest.get(threshold, 168) == np.diff(first.indptr).max()
        if after is not None:
            assert [power.nnz for power in thresholded_powers(matrix, 3, threshold)] == after
