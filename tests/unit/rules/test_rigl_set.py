"""RigL and SET on small layers computed by hand."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from gossamer.errors import ConfigError, NonFiniteError
from gossamer.patterns import NM, FanIn, Unstructured
from gossamer.rules import SET, LayerView, RigL
from gossamer.topology import TileScores, Topology


def layer(
    values: list[float], positions: list[int], shape: tuple[int, int], gradient=None, pattern=None
) -> LayerView:
    """A view of a layer with these connections."""
    topology = Topology(pattern or Unstructured(), shape, torch.tensor(positions))
    scores = None
    if gradient is not None:
        grid = topology.grid
        units = torch.tensor(gradient).view(grid.rows, grid.h, grid.cols, grid.w)

        def tile(rows: slice, cols: slice) -> Tensor:
            return units[rows, :, cols].clone().flatten(2).flatten(0, 1)

        scores = TileScores(grid, tile, "gradient of layer")
    return LayerView(
        "layer",
        topology,
        len(positions),
        torch.tensor(values).view(len(positions), -1),
        scores,
        torch.Generator().manual_seed(0),
    )


def test_rigl_by_hand() -> None:
    """Four of eight connections, half dropped: the two largest stay, the two steepest free ones grow."""
    view = layer([0.5, -0.1, 0.2, -0.9], [0, 2, 5, 7], (2, 4), [9.0, 0.3, 0.1, 0.2, 0.4, 0.0, 0.7, 9.0])
    assert RigL().update(view, 0.5).tolist() == [0, 4, 6, 7]


def test_rigl_just_dropped_connections_are_eligible() -> None:
    """Dropped and grown in the same update: it never left."""
    view = layer([0.5, -0.1, 0.2, -0.9], [0, 2, 5, 7], (2, 4), [0.0, 0.3, 8.0, 0.2, 0.4, 9.0, 0.7, 0.0])
    assert RigL().update(view, 0.5).tolist() == [0, 2, 5, 7]


def test_rigl_growth_never_takes_a_survivor() -> None:
    """However steep the survivors are, as many new positions grow as were dropped."""
    view = layer([0.5, -0.1, 0.2, -0.9], [0, 2, 5, 7], (2, 4), [99.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 99.0])
    assert RigL().update(view, 0.5).tolist() == [0, 1, 2, 7]  # ties: the first positions


def test_rigl_ties_of_zero_weights_keep_active_positions_only() -> None:
    """The published tie noise can keep an inactive position among zeros; here survivors are active ones."""
    view = layer([0.0, 0.0, 0.0, 0.0], [1, 3, 5, 7], (2, 4), [0.0] * 8)
    assert RigL().update(view, 0.5).tolist() == [0, 1, 2, 3]


def test_rigl_on_nm_refills_every_tile() -> None:
    """1:4: the weakest are dropped over the whole layer, and each tile grows its steepest again."""
    view = layer(
        [0.1, 0.9, 0.8, 0.2],
        [0, 5, 8, 12],
        (2, 8),
        [0.0, 5, 1, 1, 9, 9, 9, 9, 9, 9, 9, 9, 1, 1, 1, 7],
        NM(1, 4),
    )
    assert RigL().update(view, 0.5).tolist() == [1, 5, 8, 15]


def test_rigl_on_fan_in_keeps_every_neuron_at_its_fan_in() -> None:
    """The weakest of the layer are all in one neuron: it grows as many."""
    view = layer([0.1, 0.2, 0.8, 0.9], [0, 1, 4, 5], (2, 4), [1.0, 1, 3, 2, 9, 9, 9, 9], FanIn())
    assert RigL().update(view, 0.5).tolist() == [2, 3, 4, 5]


def test_rigl_grows_groups_by_the_sum_of_their_scores() -> None:
    """The largest gradient of one neuron is in column 2; of both together in column 3."""
    view = layer([0.1, 0.2, 0.9, 0.8], [0, 1], (2, 4), [0.0, 0, 10, -6, 0, 0, 0, 6], FanIn(2))
    assert RigL().update(view, 0.5).tolist() == [1, 3]


def test_rigl_without_gradient_is_refused() -> None:
    """Never a silent growth by zeros."""
    with pytest.raises(ConfigError, match="gradient"):
        RigL().update(layer([1.0, 2.0], [0, 1], (1, 4)), 0.5)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_non_finite_weights_stop_the_decision(bad: float) -> None:
    """NaN compares false with everything: without this check it would be kept or dropped by accident."""
    for rule in (RigL(), SET()):
        with pytest.raises(NonFiniteError, match="finite weights in layer"):
            rule.update(layer([1.0, bad], [0, 1], (1, 4), [0.0] * 4), 0.5)


def test_set_cuts_each_sign_apart() -> None:
    """30 % of ten positive and of ten negative ones, although all negative ones are larger."""
    values = [0.01 * i for i in range(1, 11)] + [-1.0 * i for i in range(1, 11)]
    view = layer(values, list(range(20)), (2, 20))
    kept = SET().keep(view, 0.3)
    assert (~kept).nonzero().squeeze(1).tolist() == [0, 1, 2, 10, 11, 12]


def test_set_counts_zero_as_positive() -> None:
    """A connection just grown is the first to go."""
    view = layer([0.0, 0.5, -0.1, -0.2], [0, 1, 2, 3], (2, 4))
    assert (~SET().keep(view, 0.5)).nonzero().squeeze(1).tolist() == [0, 2]


@given(st.integers(0, 1 << 30), st.floats(0, 1))
def test_set_keeps_the_balance_of_signs(seed: int, fraction: float) -> None:
    """Of p positive and n negative ones exactly floor(f p) and floor(f n) go."""
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(30, generator=generator)
    view = layer(values.tolist(), list(range(30)), (5, 10))
    dropped = ~SET().keep(view, fraction)
    negative = view.values.squeeze(1) < 0
    for side in (negative, ~negative):
        assert int((dropped & side).sum()) == int(fraction * int(side.sum()))


def test_set_growth_is_uniform_over_free_positions() -> None:
    """Every free position, the just-dropped ones included, is hit about equally often."""
    hits = torch.zeros(20)
    generator = torch.Generator().manual_seed(0)
    topology = Topology(Unstructured(), (2, 10), torch.arange(10))
    for _ in range(1000):
        view = LayerView("layer", topology, 10, torch.arange(10.0, 0, -1).unsqueeze(1), None, generator)
        hits[SET().update(view, 0.5)] += 1
    assert hits[:5].tolist() == [1000.0] * 5  # survivors
    expected = 1000 * 5 / 15
    chi2 = float(((hits[5:] - expected) ** 2 / (expected * (1 - 5 / 15))).sum())
    assert chi2 < 36  # 14 degrees of freedom: p = 0.001
    assert chi2 > 3  # and not suspiciously even
