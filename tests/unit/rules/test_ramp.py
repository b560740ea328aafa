"""Pruning by a threshold in two slopes: the published numbers, who goes, and what becomes of the memory."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import gossamer as gs
from gossamer.errors import ConfigError, NonFiniteError, TrainingWarning
from gossamer.patterns import Pattern
from gossamer.rules import LayerView
from gossamer.topology import Topology
from strategies import OPTIMIZERS, dense_weight, differences, everything, train_step


def view(values: list[list[float]], pattern: Pattern, shape: tuple[int, int], size: int) -> LayerView:
    """A layer of the first units of its grid."""
    topology = Topology(pattern, shape, torch.arange(len(values)))
    numbers = torch.tensor(values, dtype=torch.float64).reshape(len(values), topology.grid.members)
    return LayerView("layer", topology, size, numbers, None, torch.Generator(), step=1, total_steps=10)


def kept(rule: gs.RampPruning, layer: LayerView, fraction: float) -> list[int]:
    """Positions after an update."""
    return rule.update(layer, fraction).tolist()


# --- the threshold ------------------------------------------------------------------------------------------

PUBLISHED = gs.RampPruning(begin=1000, ramp=0.25, until=0.5, q=0.1)  # of 20,000 steps: 1000, 5000, 10000


def test_the_threshold_is_the_published_one() -> None:
    """theta is 8.6957e-4 and phi 1.30435e-3 for q = 0.1, every 100 steps."""
    found = {step: 0.1 * PUBLISHED.fraction(step, 20_000) for step in (1000, 3000, 5000, 7500, 10_000)}
    assert found == pytest.approx(
        {1000: 8.6957e-6, 3000: 0.0174, 5000: 0.034804, 7500: 0.067413, 10_000: 0.100022}, rel=1e-4
    )
    theta, phi = (
        0.1 * (PUBLISHED.fraction(step + 100, 20_000) - PUBLISHED.fraction(step, 20_000))
        for step in (2000, 8000)
    )
    assert (theta, phi) == pytest.approx((8.6957e-4, 1.30435e-3), rel=1e-4)


def test_each_slope_has_an_interval_of_its_own() -> None:
    """Gains of an update are theta up to the ramp and phi behind it, and no third number."""
    course = [PUBLISHED.fraction(step, 20_000) for step in range(1000, 10_000, 100)]
    gains = torch.tensor(course).double().diff()
    theta, phi = gains[0], gains[-1]
    assert float(phi / theta) == pytest.approx(1.5, rel=1e-4)
    assert int((gains - theta).abs().lt(1e-6).sum()) == 39
    assert int((gains - phi).abs().lt(1e-6).sum()) == 49


@given(
    begin=st.integers(0, 400),
    ramp=st.floats(0, 0.99),
    until=st.floats(0.05, 1.0),
    phi=st.floats(1.0, 4.0),
)
def test_it_rises_from_nothing_to_q(begin: int, ramp: float, until: float, phi: float) -> None:
    """Whatever the slopes: it never falls, is nothing before the first step, and stands at q at the end."""
    rule = gs.RampPruning(begin=begin, ramp=ramp, until=until, phi=phi)
    course = [rule.fraction(step, 1000) for step in range(1001)]
    assert course == sorted(course)
    assert course[:begin] == [0.0] * begin
    end = until * 1000
    if end - begin > 50:
        assert course[begin] < 0.1
        assert course[-1] == pytest.approx(1.0, abs=1.01 * (1 + phi) / (end - begin))
        assert rule.fraction(10**6, 1000) == course[-1]


# --- who goes -----------------------------------------------------------------------------------------------


def test_the_threshold_of_blocks_is_that_of_connections_times_the_fourth_root_of_their_size() -> None:
    """q = 0.1 at half: 0.05 for connections, 0.05 * sqrt 2 for blocks of four, whose maximum counts."""
    rule = gs.RampPruning(q=0.1)
    single = view([[0.049], [-0.051], [0.2], [0.0]], gs.Unstructured(), (2, 2), 4)
    assert kept(rule, single, 0.5) == [1, 2]
    blocks = [[0.01, 0.02, 0.03, -0.0708], [0.07, 0.07, 0.07, 0.07], [0.0, 0.08, 0.0, 0.0]]
    assert kept(rule, view(blocks, gs.Block(2), (2, 6), 3), 0.5) == [0, 2]


def test_without_q_the_share_that_goes_is_the_one_asked_for() -> None:
    """Of ten with sizes 1 to 10, two stay: q is 9, and at half of it those below 4.5 go."""
    rule = gs.RampPruning(drop=0.8)
    layer = view([[n] for n in (3.0, -9, 1, 10, 5, 4, -7, 2, 8, 6)], gs.Unstructured(), (2, 5), 10)
    assert kept(rule, layer, 1.0) == [1, 3]
    assert kept(rule, layer, 1.1) == [1, 3]
    assert kept(rule, layer, 0.5) == [1, 3, 4, 6, 8, 9]
    later = view([[3.0], [-9.0], [1.0]], gs.Unstructured(), (2, 5), 10)  # seven are gone already
    assert kept(rule, later, 1.0) == [0, 1]
    assert kept(rule, view([[0.5]], gs.Unstructured(), (2, 5), 10), 1.0) == [0]


@given(
    sizes=st.lists(st.integers(-5, 5), min_size=1, max_size=24),
    drop=st.floats(0.01, 0.99),
    fraction=st.floats(0, 1.2),
)
def test_never_more_than_the_share_and_always_the_smallest(
    sizes: list[int], drop: float, fraction: float
) -> None:
    """Also where many are equal, or zero."""
    layer = view([[float(n)] for n in sizes], gs.Unstructured(), (1, 24), 24)
    stay = kept(gs.RampPruning(drop=drop), layer, fraction)
    assert len(stay) >= min(len(sizes), 24 - int(drop * 24 + 1e-9))
    gone = [abs(n) for place, n in enumerate(sizes) if place not in stay]
    assert max(gone, default=-1) < min(abs(sizes[place]) for place in stay)


def test_a_layer_keeps_its_largest_unit_and_that_is_said() -> None:
    """A threshold beyond all weights empties no layer in silence."""
    layer = view([[0.1], [-0.3], [0.2]], gs.Unstructured(), (1, 3), 3)
    with pytest.warns(TrainingWarning, match="layer would lose all its connections: q is too large"):
        assert kept(gs.RampPruning(q=5.0), layer, 1.0) == [1]
    empty = view([], gs.Unstructured(), (1, 3), 3)
    assert kept(gs.RampPruning(q=5.0), empty, 1.0) == []


def test_nan_is_refused() -> None:
    """With the name of the layer."""
    layer = view([[float("nan")], [1.0]], gs.Unstructured(), (1, 2), 2)
    for rule in (gs.RampPruning(), gs.RampPruning(q=0.1)):
        with pytest.raises(NonFiniteError, match="weights in layer"):
            rule.update(layer, 1.0)


@pytest.mark.parametrize(
    "wrong",
    [
        {"drop": 0.0},
        {"drop": 1.0},
        {"drop": gs.Constant(0.5)},
        {"ramp": 1.0},
        {"ramp": -0.1},
        {"phi": 0.9},
        {"phi": float("nan")},
        {"q": 0.0},
        {"q": float("inf")},
        {"q": "0.1"},
    ],
    ids=str,
)
def test_settings_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    """In words."""
    with pytest.raises(ConfigError, match="RampPruning"):
        gs.RampPruning(**wrong)


# --- training -----------------------------------------------------------------------------------------------


def dense_start(pattern: Pattern, home: str = "packed") -> torch.nn.Sequential:
    """Two layers with every connection, in double precision."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(32, 24), torch.nn.ReLU(), torch.nn.Linear(24, 16)).double()
    drawn = torch.Generator().manual_seed(0)
    gs.sparsify(model, 1.0, pattern, "uniform", home=home, generator=drawn, full="sparse")
    return model


def run(rule: gs.rules.Rule, pattern: Pattern, home: str = "packed", free: bool = False) -> tuple[Any, ...]:
    """Sixty steps; ``free``: memory is given back three times."""
    model = dense_start(pattern, home)
    optimizer = OPTIMIZERS["adam"](model.parameters())
    engine = gs.attach(model, optimizer, rule, total_steps=60)
    weights = []
    for step in range(60):
        train_step(model, optimizer, step, torch.float64)
        weights.append([dense_weight(model[0]), dense_weight(model[2])])
        if free and step % 20 == 19:
            gs.compact(model, optimizer)
    return model, optimizer, engine, weights


RULES = [
    gs.RampPruning(every=2, begin=4),
    gs.RampPruning(every=2, q=0.15),
    gs.GroupLasso(every=3, lam=3.0),
    gs.GroupLasso(every=3, lam=0.1, ramp=gs.RampPruning(every=2)),
]


@pytest.mark.parametrize(
    ("rule", "pattern"),
    [
        *((rule, gs.Block(4)) for rule in RULES),
        (RULES[0], gs.Unstructured()),
        (gs.GroupLasso(every=3, lam=0.4), gs.Unstructured()),
    ],
    ids=["own q", "q", "lasso", "both", "own q of connections", "lasso of connections"],
)
def test_a_dense_start_shrinks_alike_in_both_homes_and_gives_its_memory_back(
    rule: gs.rules.Rule, pattern: Pattern
) -> None:
    """Step by step; counts only fall, stay once the window is over, and freeing memory changes no bit."""
    model, optimizer, engine, weights = run(rule, pattern)
    freed, state, _, same = run(rule, pattern, free=True)
    masked = run(rule, pattern, "masked")
    for packed, other, dense in zip(weights, same, masked[3], strict=True):
        assert torch.equal(packed[0], other[0])
        assert torch.equal(packed[1], other[1])
        torch.testing.assert_close(packed, dense, rtol=1e-9, atol=1e-11)
    assert engine.history == masked[2].history
    counts = [row.connections for row in engine.history if row.layer == "0"]
    assert counts == sorted(counts, reverse=True)
    assert 0 < counts[-1] < 24 * 32
    assert max(row.step for row in engine.history) < rule.until * 60
    for layer in (freed[0], freed[2]):
        assert layer.values.numel() == layer.values.grad.numel() == layer.connections
        assert state.state[layer.values]["exp_avg"].numel() == layer.connections
    assert model[0].values.numel() == 24 * 32
    del optimizer


def test_the_share_of_the_end_is_reached() -> None:
    """Without q, to within the last gain of the threshold."""
    for pattern, units in ((gs.Unstructured(), 24 * 32), (gs.Block(4), 6 * 8)):
        model, *_ = run(gs.RampPruning(every=1, drop=0.9), pattern)
        left = model[0].topology.positions.numel()
        assert units - int(0.9 * units) <= left <= 0.13 * units


def test_a_run_from_a_dense_start_resumes_after_memory_was_given_back(tmp_path: Any) -> None:
    """A checkpoint with fewer connections than the fresh model loads into it; the end has the same bits."""
    rule = gs.GroupLasso(every=3, lam=0.1, ramp=gs.RampPruning(every=2))
    whole = run(rule, gs.Block(4))
    model = dense_start(gs.Block(4))
    optimizer = OPTIMIZERS["adam"](model.parameters())
    engine = gs.attach(model, optimizer, rule, total_steps=60)
    for step in range(25):
        train_step(model, optimizer, step, torch.float64)
    gs.compact(model, optimizer)
    gs.save_checkpoint(tmp_path / "killed", model, optimizer, engine)
    again = dense_start(gs.Block(4))
    optimizer = OPTIMIZERS["adam"](again.parameters())
    engine = gs.attach(again, optimizer, rule, total_steps=60)
    gs.load_checkpoint(tmp_path / "killed", again, optimizer, engine)
    for step in range(25, 60):
        train_step(again, optimizer, step, torch.float64)
    gs.compact(again, optimizer)
    gs.compact(whole[0], whole[1])
    assert differences(everything(*whole[:2]), everything(again, optimizer)) == []
    assert engine.history == whole[2].history
