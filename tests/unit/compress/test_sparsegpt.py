"""SparseGPT: against numbers worked out apart, an inverse for every column, and the optimum for its choice."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import gossamer as gs
from gossamer.compress.matrices import matrix_of
from gossamer.compress.scores.sparsegpt import SparseGPT
from gossamer.compress.sweep import Chooser, factor_of, swept
from gossamer.errors import ConfigError, NonFiniteError
from gossamer.patterns import Pattern, parse
from strategies import PATTERNS, density_near, differences, everything

X = torch.tensor([[1.0, 2, 0, 1], [0, 1, 1, 1], [2, 0, 1, 0], [1, 1, 1, 3], [0, 2, 1, 1]])
W = torch.tensor([[1.0, -0.5, 0.8, 0.3], [0.2, 0.9, -0.4, 0.6]])


def alike(samples: int, inputs: int) -> Tensor:
    """Samples whose neighbouring inputs are alike."""
    return torch.randn(samples, inputs).cumsum(1)


def pruned(weight: Tensor, x: Tensor, pattern: str, density: float, **settings: Any) -> Tensor:
    """The weights of one linear layer after pruning."""
    model = nn.Sequential(nn.Linear(weight.shape[1], weight.shape[0], bias=False, dtype=weight.dtype))
    model[0].weight.data.copy_(weight)
    gs.prune(model, density, pattern, score=SparseGPT(**settings), data=x)
    return model[0].to_dense().detach()


def loss(weight: Tensor, other: Tensor, x: Tensor) -> float:
    """Half the squared error of the outputs."""
    return 0.5 * float((x.double() @ (weight - other).double().T).square().sum())


def optimum(weight: Tensor, mask: Tensor, x: Tensor) -> Tensor:
    """The best weights with these zeros: on the free set F of a row, H_FF w_F = (H w)_F."""
    h, best = x.double().T @ x.double(), torch.zeros_like(weight, dtype=torch.float64)
    for row, free in enumerate(mask):
        right = (h @ weight[row].double())[free]
        best[row, free] = torch.linalg.solve(h[free][:, free], right)
    return best


def column_by_column(weight: Tensor, h: Tensor, lost: list[int], block: int) -> Tensor:
    """The definition, with an inverse of what is left for every column; ``lost`` weights go in each block."""
    weight = weight.clone()
    for start, count in zip(range(0, weight.shape[1], block), lost, strict=True):
        end = min(start + block, weight.shape[1])
        inverses = [torch.linalg.inv(h[i:, i:]) for i in range(start, end)]
        salience = torch.stack([weight[:, i] ** 2 / inverses[i - start][0, 0] for i in range(start, end)], 1)
        order = salience.flatten().sort(stable=True, descending=True).indices
        gone = torch.zeros_like(salience, dtype=torch.bool).flatten()
        gone[order[len(order) - count :]] = True
        gone = gone.view(salience.shape)
        for i in range(start, end):
            inverse = inverses[i - start]
            step = torch.where(gone[:, i - start], weight[:, i], 0.0) / inverse[0, 0]
            weight[:, i:] -= step.unsqueeze(1) * inverse[0]
            weight[gone[:, i - start], i] = 0
    return weight


@pytest.mark.parametrize("pattern", ["unstructured", "fanin", "nm:2:4"])
def test_numbers_worked_out_apart(pattern: str) -> None:
    found = pruned(W, X, pattern, 0.5, damping=0.0)
    expected = torch.tensor([[1, 0, 0.626087, 0], [0, 0.894118, 0, 0.503922]])
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
    assert loss(W, found, X) == pytest.approx(0.702439, abs=1e-6)
    assert loss(W, W * (found != 0), X) == pytest.approx(0.79, abs=1e-6)


def test_the_optimum_of_two_weights() -> None:
    """Removing one of w = (1, 1.5): the other makes up for it. What is to the left is frozen: saliencies 1, 2.25."""
    h, w = torch.tensor([[2.0, 1.0], [1.0, 1.0]]), torch.tensor([[1.0, 1.5]])
    x = torch.linalg.cholesky(h).T
    torch.testing.assert_close(
        optimum(w, torch.tensor([[False, True]]), x), torch.tensor([[0, 2.5]], dtype=torch.float64)
    )
    torch.testing.assert_close(
        optimum(w, torch.tensor([[True, False]]), x), torch.tensor([[1.75, 0]], dtype=torch.float64)
    )
    factor, _ = factor_of(h[None], 0.0)
    torch.testing.assert_close(w.square() / factor[0].diagonal().square(), torch.tensor([[1.0, 2.25]]))
    torch.testing.assert_close(pruned(w, x, "unstructured", 0.5, damping=0.0), torch.tensor([[0, 2.5]]))


@pytest.mark.parametrize(("block", "lost"), [(4, [8, 9, 9, 5]), (14, [31])])
def test_the_definition_column_by_column(block: int, lost: list[int]) -> None:
    torch.manual_seed(0)
    x, w = torch.randn(40, 14).double() * torch.rand(14), torch.randn(5, 14).double()
    found = pruned(w, x, "unstructured", 1 - 31.5 / 70, damping=0.0, block=block)
    torch.testing.assert_close(found, column_by_column(w, x.T @ x, lost, block))


def test_tiles_are_decided_when_they_are_reached() -> None:
    torch.manual_seed(0)
    x, w = torch.randn(40, 16).double(), torch.randn(1, 16).double()
    found = pruned(w, x, "nm:1:4", 0.25, damping=0.0, block=8)
    torch.testing.assert_close(found, column_by_column(w, x.T @ x, [3] * 4, 4))


@pytest.mark.parametrize("pattern", PATTERNS, ids=str)
def test_every_pattern_keeps_its_count_and_gains(pattern: Pattern) -> None:
    torch.manual_seed(0)
    channels = {7: 14}.get(pattern.neighbours, 16)
    model = nn.Sequential(nn.Conv2d(channels, 16, 3, padding=1, groups=2, bias=False)).double()
    conv = copy.deepcopy(model[0])
    x = torch.randn(6, channels, 8, 8).double().cumsum(1).cumsum(3)  # neighbours are alike
    density = density_near(pattern, 0.3, (16, 9 * channels // 2))
    gs.prune(model, density, pattern, score=SparseGPT(block=24), data=x)
    layer = model[0]
    assert (
        layer.connections
        == layer.capacity
        // (1 if str(pattern)[:5] != "fanin" else layer.grid.rows)
        * (1 if str(pattern)[:5] != "fanin" else layer.grid.rows)
        * layer.grid.members
    )
    assert int(layer.to_dense().count_nonzero()) == layer.connections  # no connection is wasted on a zero
    masked = copy.deepcopy(conv)
    masked.weight.data.mul_(layer.to_dense() != 0)
    with torch.no_grad():
        y = conv(x)
        errors = [float((other(x) - y).square().sum()) for other in (layer, masked)]
    assert errors[0] < 0.9 * errors[1]


def test_between_the_optimum_and_no_update() -> None:
    torch.manual_seed(0)
    x, w = alike(200, 96), torch.randn(24, 96)
    for pattern, density in (("unstructured", 0.5), ("fanin", 0.3), ("nm:2:4", 0.5), ("block:4", 0.4)):
        found = pruned(w, x, pattern, density, block=32)
        mask = found != 0
        best, plain = loss(w, optimum(w, mask, x), x), loss(w, w * mask, x)
        assert best * (1 - 1e-6) <= loss(w, found, x) < 0.7 * plain


def test_inputs_without_correlation_give_magnitudes_of_each_block() -> None:
    torch.manual_seed(0)
    x, w = torch.linalg.qr(torch.randn(32, 32).double()).Q, torch.randn(6, 32).double()
    found = pruned(w, x, "fanin", 0.25, block=8)
    best = w.abs().unflatten(1, (4, 8)).sort(2, descending=True).indices[:, :, :2]
    mask = torch.zeros(6, 4, 8, dtype=torch.bool).scatter_(2, best, value=True).flatten(1)
    torch.testing.assert_close(found, w * mask)


def test_the_order_of_samples_does_not_matter() -> None:
    torch.manual_seed(0)
    x, w = torch.randn(64, 24), torch.randn(8, 24)
    torch.testing.assert_close(
        pruned(w, x, "unstructured", 0.4), pruned(w, x[torch.randperm(64)], "unstructured", 0.4)
    )


def test_a_dead_input_loses_its_weights() -> None:
    torch.manual_seed(0)
    x, w = torch.randn(64, 24), torch.randn(8, 24) * 0.01
    x[:, [3, 20]] = 0
    w[:, [3, 20]] = 100.0
    for pattern, density in (("unstructured", 0.5), ("fanin", 0.5), ("nm:2:4", 0.5)):
        found = pruned(w, x, pattern, density)
        assert not found[:, [3, 20]].any()
        assert int(found.count_nonzero()) == 8 * 12


def test_too_few_samples_need_damping() -> None:
    torch.manual_seed(0)
    x, w = torch.randn(4, 24), torch.randn(8, 24)
    assert pruned(w, x, "unstructured", 0.5).isfinite().all()
    model = nn.Sequential(nn.Linear(24, 24), nn.Linear(24, 8))
    before = copy.deepcopy(everything(model))
    with pytest.raises(ConfigError, match=r"prune 0: SparseGPT\(damping="):
        gs.prune(model, 0.5, score=SparseGPT(damping=0.0), data=x)
    assert not differences(before, everything(model))


@pytest.mark.parametrize("home", ["packed", "masked"])
def test_sparse_layers_lose_more_and_are_put_right(home: str) -> None:
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(24, 16), nn.ReLU(), nn.Linear(16, 8)), alike(64, 24)
    gs.prune(model, 0.5, "fanin", score="sparsegpt", data=x, home=home)
    half = [layer.to_dense().detach().clone() for layer in (model[0], model[2])]
    gs.prune(model, 0.5, score="sparsegpt", data=x)
    assert all(torch.equal(a, layer.to_dense()) for a, layer in zip(half, (model[0], model[2]), strict=True))
    gs.prune(model, 0.25, score="sparsegpt", data=x, allocation="uniform")
    left = [layer.to_dense().detach() for layer in (model[0], model[2])]
    assert [int(a.count_nonzero()) for a in left] == [16 * 6, 8 * 4]
    assert all(not a[b == 0].any() for a, b in zip(left, half, strict=True))
    assert loss(half[0], left[0], x) < 0.9 * loss(half[0], half[0] * (left[0] != 0), x)


def test_all_layers_ranked_together() -> None:
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(24, 16), nn.ReLU(), nn.Linear(16, 8)), alike(64, 24)
    report = gs.prune(model, 0.3, score="sparsegpt", data=x, allocation="global")
    size = 24 * 16 + 16 * 8
    assert (
        report.connections
        == size - int(0.7 * size)
        == sum(int(layer.to_dense().count_nonzero()) for layer in (model[0], model[2]))
    )


def test_zeros_of_a_dense_layer_do_not_come_back() -> None:
    torch.manual_seed(0)
    x, w = torch.randn(64, 24), torch.randn(8, 24)
    w[:, ::2] = 0
    assert not pruned(w, x, "unstructured", 0.75)[:, ::2].any()


def test_float16_layers_are_swept_in_float64() -> None:
    torch.manual_seed(0)
    x, w = torch.randn(64, 24), torch.randn(8, 24).half()
    model = nn.Sequential(nn.Linear(24, 8, bias=False)).half()
    model[0].weight.data.copy_(w)
    gs.prune(model, 0.5, score="sparsegpt", data=x.half(), home="masked")
    single = pruned(w.float(), x.half().float(), "unstructured", 0.5)
    torch.testing.assert_close(model[0].to_dense().float(), single, rtol=1e-3, atol=1e-3)


def test_ties_keep_the_exact_count() -> None:
    grid = parse("unstructured").grid((4, 8))
    chooser = Chooser(parse("unstructured"), grid, 13, torch.ones(4, 8, dtype=torch.bool))
    _, kept = swept(torch.zeros(4, 8), torch.eye(8)[None], chooser, 3)
    assert int(kept.sum()) == 13


def test_what_is_wrong_is_refused() -> None:
    for settings in (
        {"block": 0},
        {"block": True},
        {"damping": -1.0},
        {"damping": float("nan")},
        {"order": "x"},
    ):
        with pytest.raises(ConfigError, match="SparseGPT"):
            SparseGPT(**settings)
    with pytest.raises(NonFiniteError, match="batch 0"):
        pruned(W, X * torch.inf, "unstructured", 0.5)


def test_a_matrix_comes_back_in_the_shape_of_the_weights() -> None:
    conv = nn.Conv2d(4, 2, 3)
    assert matrix_of(conv, conv.weight).shape == (2, 36)
