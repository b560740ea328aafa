"""SRigL: the worked 4 x 6 example row by row, and the invariants of constant fan-in with ablation."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gossamer.patterns import NM, FanIn, Grid, Unstructured
from gossamer.rules import LayerView, RigL, Rule, SRigL
from gossamer.topology import TileScores, Topology

W = torch.tensor(
    [
        [0.9, -0.8, 0.7, 0.0, 0.0, 0.0],
        [0.6, 0.0, 0.0, -0.5, 0.4, 0.0],
        [0.0, 0.05, 0.0, 0.0, -0.04, 0.03],
        [0.0, 0.0, 0.35, 0.3, 0.0, -0.25],
    ]
)
G = torch.tensor(
    [
        [0.1, 0.1, 0.2, 0.9, 0.3, 0.4],
        [0.2, 0.8, 0.1, 0.1, 0.3, 0.5],
        [0.05, 0.01, 0.02, 0.03, 0.01, 0.04],
        [0.7, 0.2, 0.1, 0.1, 0.6, 0.1],
    ]
)
FRACTION = 1 / 3 + 1e-9  # of 12 connections: 4


def layer(
    weight: torch.Tensor, gradient: torch.Tensor, capacity: int | None = None, pattern=None, **facts
) -> LayerView:
    """A view of a small layer; capacity in units, by default what is there."""
    pattern = pattern or FanIn()
    positions = (weight != 0).view(-1).nonzero().squeeze(1)
    topology = Topology(pattern, tuple(weight.shape), positions)
    scores = TileScores(topology.grid, lambda rows, cols: gradient[rows, cols].clone())
    values = weight.view(-1)[positions].unsqueeze(1)
    return LayerView(
        "layer",
        topology,
        capacity or positions.numel(),
        values,
        scores,
        torch.Generator().manual_seed(0),
        **facts,
    )


def rows(positions: torch.Tensor, shape: tuple[int, int] = (4, 6)) -> list[str]:
    """A topology as strings of ones and zeros."""
    mask = torch.zeros(shape, dtype=torch.int64)
    mask.view(-1)[positions] = 1
    return ["".join(map(str, row)) for row in mask.tolist()]


EXPECTED = ["111100", "110110", "000000", "101110"]


def test_worked_example_counts_salient_connections() -> None:
    """n1 12, K 4, keep 8, B 12, k0 3: salient 4, 4, 0, 4, threshold 2, so neuron 2 is ablated and k = 4."""
    view = layer(W, G)
    units = view.positions.numel()
    keep = units - int(FRACTION * units)
    assert (units, units - keep, keep, view.capacity // 4) == (12, 4, 8, 3)
    salient = torch.zeros(24, dtype=torch.bool)
    salient[W.abs().view(-1).topk(keep).indices] = True
    salient[G.view(-1).topk(units - keep).indices] = True
    assert salient.view(4, 6).sum(1).tolist() == [4, 4, 0, 4]
    rule = SRigL(gamma=0.7)
    assert rule.threshold(3) == 2
    assert rule._active(view, view.magnitude(), keep).tolist() == [True, True, False, True]


def test_worked_example_new_mask() -> None:
    """The row of the table, and the four connections grown from zero."""
    view = layer(W, G)
    new = SRigL(gamma=0.7).update(view, FRACTION)
    assert rows(new) == EXPECTED
    grown = set(new.tolist()) - set(view.positions.tolist())
    assert sorted(divmod(p, 6) for p in grown) == [(0, 3), (1, 1), (3, 0), (3, 4)]


def test_worked_example_tiny_gamma_has_threshold_one_and_the_same_result() -> None:
    """gamma 0.0001: only neurons without any salient connection are ablated."""
    rule = SRigL(gamma=0.0001)
    assert rule.threshold(3) == 1
    assert rows(rule.update(layer(W, G), FRACTION)) == EXPECTED


@pytest.mark.parametrize("rule", [SRigL(gamma=None), SRigL(gamma=0), RigL()])
def test_worked_example_without_ablation(rule: Rule) -> None:
    """k stays 3; that is RigL on constant fan-in."""
    assert rows(rule.update(layer(W, G), FRACTION)) == ["111000", "100110", "100101", "101100"]


def test_worked_example_plain_rigl() -> None:
    """Unstructured: the same 8 kept and the same 4 grown, 12 connections in rows of 4, 4, 0, 4."""
    view = layer(W, G, pattern=Unstructured())
    new = RigL().update(view, FRACTION)
    assert rows(new) == EXPECTED
    assert set(new.tolist()) - set(view.positions.tolist()) == {3, 7, 18, 22}


def test_worked_example_last_layer_keeps_all_neurons() -> None:
    """The outputs of a model are never ablated."""
    new = SRigL(gamma=0.7).update(layer(W, G, is_output=True), FRACTION)
    assert rows(new) == ["111000", "100110", "100101", "101100"]


@pytest.mark.parametrize(
    ("shape", "density", "budget", "fan_in", "halved"),
    [
        ((768, 3072), 0.1, 235_929, 307, 614),
        ((768, 3072), 0.2, 471_859, 614, 1228),
        ((3072, 768), 0.1, None, 76, None),
        ((2304, 768), 0.1, 176_947, 76, None),
        ((300, 784), 0.01, 2_352, 7, None),
    ],
)
def test_fan_in_goldens(
    shape: tuple[int, int], density: float, budget: int | None, fan_in: int, halved: int | None
) -> None:
    """Layers of ViT-B/16 and LeNet: budget, fan-in, and fan-in with half of the neurons ablated."""
    pattern = FanIn()
    units = pattern.budget(density, shape)
    assert pattern.quotas(units, pattern.grid(shape)).tolist() == [fan_in] * shape[0]
    assert budget is None or units == budget
    assert halved is None or units // (shape[0] // 2) == halved


@pytest.mark.parametrize(
    ("gamma", "fan_in", "threshold"),
    [
        (0.3, 76, 22),
        (0.95, 307, 291),
        (0.3, 3, 1),
        (0.01, 5, 1),
        (1.0, 50, 1),
        (1, 50, 1),
        (7, 50, 7),
        (2.9, 50, 2),
    ],
)
def test_gamma_below_one_is_a_share_and_from_one_on_a_count(
    gamma: float, fan_in: int, threshold: int
) -> None:
    """gamma = 1 means one connection, not all of them; a threshold is at least one."""
    assert SRigL(gamma=gamma).threshold(fan_in) == threshold


@st.composite
def layers(draw) -> LayerView:
    """Random constant fan-in layers, some with ablated neurons, some with weights or gradients at zero."""
    group = draw(st.sampled_from([1, 1, 2]))
    neurons, inputs = draw(st.integers(2, 10)), draw(st.integers(2, 20))
    capacity = draw(st.integers(neurons, neurons * inputs - 1))
    active = draw(st.integers(-(-capacity // inputs), neurons))
    fan_in = capacity // active
    generator = torch.Generator().manual_seed(draw(st.integers(0, 1 << 30)))
    chosen = torch.randperm(neurons, generator=generator)[:active].sort().values
    positions = torch.cat(
        [row * inputs + torch.randperm(inputs, generator=generator)[:fan_in].sort().values for row in chosen]
    )
    topology = Topology(FanIn(group), (neurons * group, inputs), positions)
    values = torch.randn(positions.numel(), group, generator=generator)
    scores = torch.rand(neurons, inputs, generator=generator)
    if draw(st.booleans()):
        values[torch.rand(positions.numel(), generator=generator) < 0.5] = 0
        scores[torch.rand(neurons, generator=generator) < 0.5] = 0
    gradient = TileScores(Grid(neurons, inputs, 1, 1), lambda rows, cols: scores[rows, cols].clone())
    return LayerView("layer", topology, capacity, values, gradient, generator)


@given(layers(), st.floats(0, 1), st.sampled_from([1e-4, 0.3, 0.7, 0.95, 1, 3, 50]))
def test_invariants_of_ablation(view: LayerView, fraction: float, gamma: float) -> None:
    """Active neurons have the same k <= inputs, and of the budget less than one input each is left."""
    new = SRigL(gamma=gamma).update(view, fraction)
    grid, capacity = view.topology.grid, view.capacity
    assert new.tolist() == sorted(set(new.tolist()))
    counts = torch.bincount(new // grid.cols, minlength=grid.rows)
    fan_ins = set(counts[counts > 0].tolist())
    assert len(fan_ins) == 1
    k, active = fan_ins.pop(), int((counts > 0).sum())
    assert 1 <= k <= grid.cols
    assert new.numel() == k * active <= capacity
    assert capacity - new.numel() < active
    assert k == capacity // active


def by_the_book(view: LayerView, fraction: float, gamma: float) -> list[int]:
    """The published update as plain loops, repaired: survivors are active ones, the largest stay."""
    grid, budget = view.topology.grid, view.capacity
    weight = dict(zip(view.positions.tolist(), view.values.abs().sum(1).tolist(), strict=True))
    score = torch.cat([tile.view(-1) for _, _, tile in view.gradient.tiles()]).tolist()
    n1 = len(weight)
    keep = min(n1 - int(fraction * n1), sum(w != 0 for w in weight.values()))
    by_weight = sorted(weight, key=lambda p: (-weight[p], p))
    by_score = sorted(range(len(score)), key=lambda p: (-score[p], p))
    salient = set(by_weight[:keep]) | set(by_score[: n1 - keep])
    counts = [sum(p // grid.cols == row for p in salient) for row in range(grid.rows)]
    threshold = int(gamma) if gamma >= 1 else max(1, int(gamma * (budget // grid.rows)))
    threshold = min(threshold, sorted(counts, reverse=True)[budget // grid.cols])
    active = [row for row in range(grid.rows) if counts[row] >= threshold]
    k = budget // len(active)
    kept = [p for p in by_weight if p // grid.cols in active][:keep]
    new = []
    for row in active:
        mine = [p for p in kept if p // grid.cols == row][:k]
        rest = [p for p in by_score if p // grid.cols == row and p not in mine]
        new += mine + rest[: k - len(mine)]
    return sorted(new)


@given(layers(), st.floats(0, 1), st.sampled_from([1e-4, 0.3, 0.7, 0.95, 1, 3, 50]))
def test_update_is_the_published_one(view: LayerView, fraction: float, gamma: float) -> None:
    """Against the reference's pseudo-code written as loops."""
    assert SRigL(gamma=gamma).update(view, fraction).tolist() == by_the_book(view, fraction, gamma)


def test_an_ablated_neuron_comes_back_when_its_gradient_is_salient() -> None:
    """Ablation is decided afresh at each update, from the dense gradient of dead neurons too."""
    rule = SRigL(gamma=0.7)
    first = rule.update(layer(W, G), FRACTION)
    mask = torch.zeros(24)
    mask[first] = 1
    weight = (mask.view(4, 6) * torch.where(W == 0, 0.2, W)).contiguous()
    gradient = torch.full((4, 6), 0.01)
    gradient[2] = 1.0
    again = rows(rule.update(layer(weight, gradient, capacity=12), 0.5))
    assert again[2].count("1") > 0


def test_tiny_gamma_ablates_only_neurons_without_salient_connections() -> None:
    """One salient connection is enough to live."""
    gradient = G.clone()
    gradient[2, 0] = 0.95
    assert rows(SRigL(gamma=0.0001).update(layer(W, gradient), FRACTION))[2].count("1") == 3


def test_a_dense_layer_is_skipped() -> None:
    """Sparsity 0: there is nothing to ablate and no index past the end."""
    full = torch.rand(3, 4) + 0.1
    assert SRigL(gamma=0.9).update(layer(full, torch.rand(3, 4)), 0.3).tolist() == list(range(12))


def test_all_weights_at_zero_still_gives_a_valid_layer() -> None:
    """Just-grown layers have nothing but zeros: everything is decided by the gradient."""
    view = layer(W, G)
    empty = LayerView("layer", view.topology, 12, torch.zeros(12, 1), view.gradient, view.generator)
    new = SRigL(gamma=0.7).update(empty, FRACTION)
    counts = torch.bincount(new // 6, minlength=4)
    assert set(counts[counts > 0].tolist()) == {12 // int((counts > 0).sum())}


def test_free_places_are_filled_by_gradient_and_not_in_index_order() -> None:
    """The published top-k fills up with inactive positions in index order once neurons are ablated."""
    gradient = torch.zeros(4, 6)
    gradient[:, 5] = torch.tensor([9.0, 8.0, 0.0, 7.0])
    gradient[:, 4] = 5.0
    new = SRigL(gamma=0.7).update(layer(W, gradient), 0.9)
    for row in torch.bincount(new // 6, minlength=4).nonzero().squeeze(1).tolist():
        assert row * 6 + 5 in new.tolist()


def test_ablation_is_undefined_on_nm_and_without_it_defined() -> None:
    """N:M fixes each neuron's fan-in, so an ablated one could give nothing away."""
    assert "gamma=0 (rule.gamma=0)" in SRigL().undefined_on(NM(1, 4))
    assert SRigL(gamma=None).undefined_on(NM(1, 4)) == ""
    assert "FanIn" in SRigL(gamma=None).undefined_on(Unstructured())
