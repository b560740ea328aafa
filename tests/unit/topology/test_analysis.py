"""Degrees, ways, components, overlap and exploration, beside dense matrices and plain loops."""

from __future__ import annotations

import sys
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gossamer.errors import ConfigError, MemoryShortage, MissingPackage, ShapeError
from gossamer.patterns import FanIn, Unstructured
from gossamer.topology import (
    FullTopology,
    Topology,
    components,
    degrees,
    effective,
    exploration,
    overlap,
    paths,
)


def drawn(sizes: list[int], density: float, seed: int) -> list[Topology]:
    generator = torch.Generator().manual_seed(seed)
    shapes = [(out, inp) for inp, out in pairwise(sizes)]
    return [Topology.from_mask(torch.rand(shape, generator=generator) < density) for shape in shapes]


networks = st.builds(
    drawn, st.lists(st.integers(1, 8), min_size=2, max_size=5), st.floats(0, 1), st.integers(0, 10**6)
)


def test_degrees_by_hand() -> None:
    """Fan-in 4, 2, 0, 0: Gini is 1 - (0 + 0 + 2 + 2 + 6) / (4 * 6 / 2) by trapezoids, that is 0.5833."""
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]])
    neurons, inputs = degrees(Topology.from_mask(mask))
    assert (neurons.mean, neurons.max, neurons.empty) == (1.5, 4, 0.5)
    assert neurons.gini == pytest.approx(7 / 12)
    assert (inputs.mean, inputs.max, inputs.empty) == (1.5, 2, 0)
    assert inputs.gini == pytest.approx(1 / 6)


def test_degrees_of_an_empty_layer_and_of_an_even_one() -> None:
    none, _ = degrees(Topology.from_mask(torch.zeros(3, 2)))
    assert (none.mean, none.max, none.gini, none.empty) == (0, 0, 0, 1)
    even, _ = degrees(Topology(FanIn(), (2, 4), torch.tensor([0, 1, 4, 7])))
    assert (even.gini, even.empty) == (0, 0)


@settings(max_examples=60, deadline=None)
@given(network=networks)
def test_ways_and_effective_connections_beside_dense_products(network: list[Topology]) -> None:
    """A connection counts where ways arrive at its neuron's input and ways leave its neuron."""
    masks = [layer.mask().double() for layer in network]
    arriving = [torch.ones(masks[0].shape[1], dtype=torch.float64)]
    for mask in masks:
        arriving.append(mask @ arriving[-1])
    leaving = [torch.ones(masks[-1].shape[0], dtype=torch.float64)]
    for mask in reversed(masks):
        leaving.insert(0, mask.T @ leaving[0])
    on = [
        mask * after[:, None] * before > 0
        for mask, before, after in zip(masks, arriving, leaving[1:], strict=False)
    ]
    found = effective(network)
    assert found.connections == tuple(int(each.sum()) for each in on)
    assert found.neurons == tuple(int(each.any(1).sum()) for each in on)
    assert 0 <= found.density <= found.stored_density <= 1
    assert paths(network) == int(arriving[-1].sum())


def test_ways_beyond_64_bits_are_exact() -> None:
    assert paths([FullTopology((100, 100))] * 12) == 100**13


@settings(max_examples=60, deadline=None)
@given(network=networks)
def test_components_beside_a_plain_search(network: list[Topology]) -> None:
    parent: dict[tuple[int, int], tuple[int, int]] = {}

    def root(node: tuple[int, int]) -> tuple[int, int]:
        while parent.setdefault(node, node) != node:
            node = parent[node]
        return node

    sizes = [network[0].shape[1], *(layer.shape[0] for layer in network)]
    nodes = [(depth, number) for depth, size in enumerate(sizes) for number in range(size)]
    for depth, layer in enumerate(network):
        for neuron, read in layer.mask().nonzero().tolist():
            parent[root((depth, read))] = root((depth + 1, neuron))
    roots = [root(node) for node in nodes]
    counts = sorted((roots.count(each) for each in set(roots)), reverse=True)
    found = components(network)
    assert found.sizes == tuple(count for count in counts if count > 1)
    assert found.isolated == counts.count(1)


def test_overlap_leaves_dense_layers_out() -> None:
    one = [Topology.from_mask(torch.tensor([[1, 1, 0]])), FullTopology((2, 1))]
    two = [Topology.from_mask(torch.tensor([[0, 1, 1]])), FullTopology((2, 1))]
    found = overlap(one, two)
    assert (found.shared, found.first, found.second) == (1, 2, 2)
    assert found.jaccard == pytest.approx(1 / 3)
    empty = Topology.from_mask(torch.zeros(1, 3))
    assert overlap(empty, empty).jaccard == 1


@settings(max_examples=40, deadline=None)
@given(seeds=st.lists(st.integers(0, 50), min_size=1, max_size=5))
def test_exploration_beside_a_union_of_masks(seeds: list[int]) -> None:
    """Never falls, is at least the density, and equals it where nothing moves."""
    steps = [drawn([6, 5, 4], 0.3, seed) for seed in seeds]
    met = [torch.zeros_like(layer.mask()) for layer in steps[0]]
    expected = []
    for step in steps:
        met = [mask | layer.mask() for mask, layer in zip(met, step, strict=True)]
        expected.append(sum(int(mask.sum()) for mask in met) / sum(mask.numel() for mask in met))
    assert exploration(steps) == pytest.approx(expected)
    assert exploration([steps[0]] * 3) == pytest.approx([expected[0]] * 3)


def test_exploration_of_dense_layers_alone_and_of_nothing() -> None:
    assert exploration([FullTopology((2, 2))]) == [1.0]
    assert exploration([]) == []


def test_what_does_not_fit_is_refused() -> None:
    first, last = Topology.from_mask(torch.ones(2, 3)), Topology.from_mask(torch.ones(1, 3))
    for analysis in (effective, paths, components):
        with pytest.raises(ShapeError, match=f"{analysis.__name__}: expected layers in a row"):
            analysis([first, last])
        with pytest.raises(ConfigError, match="at least one layer"):
            analysis([])
    with pytest.raises(ShapeError, match="overlap: layer '0'"):
        overlap(first, last)
    with pytest.raises(ShapeError, match="exploration"):
        exploration([first, last])


def test_components_need_scipy_and_say_so(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "scipy.sparse", None)
    with pytest.raises(MissingPackage, match=r"gossamer\[train\]"):
        components(Topology(Unstructured(), (1, 1), torch.tensor([0])))


def test_positions_of_a_dense_layer_that_does_not_fit() -> None:
    with pytest.raises(MemoryShortage, match="dense layer"):
        effective(FullTopology((1 << 24, 1 << 24)))
