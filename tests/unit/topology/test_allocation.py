"""Density by layer against tables computed from RigL's published code; totals give the sizes it prints."""

from __future__ import annotations

from math import prod

import pytest

from gossamer.errors import ConfigError, DensityError
from gossamer.patterns import Unstructured
from gossamer.topology import ALLOCATIONS, allocate, erdos_renyi

Shapes = dict[str, tuple[int, ...]]


def resnet50() -> Shapes:
    """The 54 weights of ResNet-50 v1.5 in network order; a stage's first block ends in a projection."""
    shapes: Shapes = {"conv1": (64, 3, 7, 7)}
    inputs = 64
    for stage, (blocks, width) in enumerate([(3, 64), (4, 128), (6, 256), (3, 512)], start=1):
        for block in range(blocks):
            name = f"s{stage}b{block}"
            shapes[name + "c1"] = (width, inputs, 1, 1)
            shapes[name + "c2"] = (width, width, 3, 3)
            shapes[name + "c3"] = (4 * width, width, 1, 1)
            if block == 0:
                shapes[name + "ds"] = (4 * width, inputs, 1, 1)
            inputs = 4 * width
    return {**shapes, "fc": (1000, 2048)}


def wrn22_2() -> Shapes:
    """The 23 weights of a wide ResNet 22-2 for CIFAR."""
    shapes: Shapes = {"conv1": (16, 3, 3, 3)}
    inputs = 16
    for group, width in enumerate((32, 64, 128), start=1):
        for block in range(3):
            shapes[f"g{group}b{block}c1"] = (width, inputs, 3, 3)
            shapes[f"g{group}b{block}c2"] = (width, width, 3, 3)
            if block == 0:
                shapes[f"g{group}shortcut"] = (width, inputs, 1, 1)
            inputs = width
    return {**shapes, "fc": (10, 128)}


MLP: Shapes = {"l1": (300, 784), "l2": (100, 300), "l3": (10, 100)}


def connections(shapes: Shapes, densities: dict[str, float]) -> int:
    """Exact count over all layers: zeros rounded down in each."""
    return sum(
        Unstructured().budget(densities[name], (shape[0], prod(shape[1:]))) for name, shape in shapes.items()
    )


def dense_set(densities: dict[str, float]) -> list[str]:
    """Layers that had to stay dense."""
    return [name for name, density in densities.items() if density == 1.0]


def eps(shapes: Shapes, densities: dict[str, float]) -> float:
    """The scale that the solver found, from any layer that is not dense."""
    name = next(name for name, density in densities.items() if density < 1.0)
    return densities[name] * prod(shapes[name]) / sum(shapes[name])


EIGHT = ["s1b0c1", "s1b0c3", "s1b0ds", "s1b1c1", "s1b1c3", "s1b2c1", "s1b2c3", "s2b0c1"]


def test_the_networks_are_the_ones_of_the_tables() -> None:
    """Tensors and weights are counted; the dense layers sit where a log of SRigL shows them."""
    assert (len(resnet50()), sum(map(prod, resnet50().values()))) == (54, 25_502_912)
    assert (len(wrn22_2()), sum(map(prod, wrn22_2().values()))) == (23, 1_076_912)
    assert [list(resnet50()).index(name) for name in EIGHT] == [1, 3, 4, 5, 7, 8, 10, 11]


@pytest.mark.parametrize(
    ("sparsity", "scale", "dense", "nnz"),
    [
        (0.80, 99.5617, EIGHT, 5_100_630),
        (0.90, 48.7866, ["s1b0c1"], 2_550_353),
        (0.95, 24.3721, [], 1_275_200),
        (0.965, 17.0607, [], 892_651),
        (0.98, 9.749, [], 510_110),
        (0.99, 4.8748, [], 255_082),
    ],
)
def test_erk_on_resnet50(sparsity: float, scale: float, dense: list[str], nnz: int) -> None:
    """Scale, dense layers and exact count."""
    densities = allocate(resnet50(), 1 - sparsity, "erk")
    assert dense_set(densities) == dense
    assert eps(resnet50(), densities) == pytest.approx(scale, abs=6e-5)
    assert connections(resnet50(), densities) == nnz


@pytest.mark.parametrize(
    ("sparsity", "expected"),
    [
        (
            0.8,
            {
                "conv1": 0.8572, "s1b0c2": 0.3619, "s2b1c2": 0.1769, "s3b1c1": 0.4869, "s3b1c2": 0.0874,
                "s4b1c3": 0.2433, "s4b1c2": 0.0435, "s4b0ds": 0.1459, "fc": 0.1482,
            },
        ),
        (0.9, {"conv1": 0.42, "s1b0c3": 0.9588, "fc": 0.0726, "s4b1c2": 0.0213}),
    ],
)  # fmt: skip
def test_selected_erk_densities_of_resnet50(sparsity: float, expected: dict[str, float]) -> None:
    """Layer by layer, as printed."""
    densities = allocate(resnet50(), 1 - sparsity, "erk")
    assert {name: round(densities[name], 4) for name in expected} == expected


def test_custom_layers_are_left_out_of_the_sum() -> None:
    """99 % with the first convolution dense: the other layers' scale is the published one."""
    densities = allocate(resnet50(), 1 - 0.99, "erk", custom={"conv1": 1.0})
    assert densities.pop("conv1") == 1.0
    assert eps(resnet50(), densities) == pytest.approx(4.8805, abs=6e-5)


@pytest.mark.parametrize("allocation", ["er", "erk"])
@pytest.mark.parametrize(
    ("sparsity", "scale", "expected", "nnz"),
    [
        (0.90, 17.2642, (0.07957, 0.23019, 1.0), 26_621),
        (0.95, 8.3501, (0.03848, 0.11133, 0.91851), 13_312),
        (0.98, 3.34, (0.01539, 0.04453, 0.3674), 5_326),
        (0.99, 1.67, (0.0077, 0.02227, 0.1837), 2_664),
    ],
)
def test_er_on_the_mlp(
    allocation: str, sparsity: float, scale: float, expected: tuple[float, ...], nnz: int
) -> None:
    """784-300-100-10; for linear layers ERK is ER."""
    densities = allocate(MLP, 1 - sparsity, allocation)
    assert tuple(round(density, 5) for density in densities.values()) == expected
    assert eps(MLP, densities) == pytest.approx(scale, abs=6e-5)
    assert connections(MLP, densities) == nnz


SHORTCUTS = ["g1shortcut", "g2shortcut", "g3shortcut"]


@pytest.mark.parametrize(
    ("sparsity", "scale", "dense", "nnz"),
    [
        (0.50, 209.767, 12, 538_458),
        (0.80, 75.6077, {"conv1", "fc", *SHORTCUTS}, 215_405),
        (0.90, 35.9382, {"conv1", "fc", *SHORTCUTS[:2]}, 107_708),
        (0.95, 17.3491, {"conv1", "fc", *SHORTCUTS[:1]}, 53_864),
    ],
)
def test_erk_on_wrn22_2(sparsity: float, scale: float, dense: int | set[str], nnz: int) -> None:
    """A small network, where many layers have to stay dense."""
    densities = allocate(wrn22_2(), 1 - sparsity, "erk")
    found = dense_set(densities)
    assert (len(found) if isinstance(dense, int) else set(found)) == dense
    assert eps(wrn22_2(), densities) == pytest.approx(scale, abs=6e-4)
    assert connections(wrn22_2(), densities) == nnz


@pytest.mark.parametrize("shapes", [resnet50(), wrn22_2(), MLP], ids=["resnet50", "wrn22_2", "mlp"])
@pytest.mark.parametrize("allocation", ALLOCATIONS)
@pytest.mark.parametrize("sparsity", [0.0, 0.3, 0.5, 0.8, 0.9, 0.95, 0.99, 0.998])
def test_the_total_is_met_and_every_density_is_possible(
    shapes: Shapes, allocation: str, sparsity: float
) -> None:
    """Densities in (0, 1]; zeros are rounded down twice in a layer, so never below the target."""
    densities = allocate(shapes, 1 - sparsity, allocation)
    assert all(0 < density <= 1 for density in densities.values())
    assert list(densities) == list(shapes)
    target = (1 - sparsity) * sum(map(prod, shapes.values()))
    assert -1e-6 <= connections(shapes, densities) - target <= 2 * len(shapes)


def test_er_looks_at_outputs_and_inputs_only() -> None:
    """A 3x3 and a 1x1 kernel of the same width get the same ER score, not the same ERK score."""
    shapes = {"a": (64, 64, 3, 3), "b": (64, 64, 1, 1)}
    er, erk = allocate(shapes, 0.02, "er"), allocate(shapes, 0.02, "erk")
    assert er["a"] == er["b"]
    assert erk["b"] / erk["a"] == pytest.approx((130 / 4096) / (134 / 36864))


def test_layers_of_the_same_score_become_dense_together() -> None:
    """Ties at the top of the solver are not broken by order."""
    shapes = {"big": (1000, 1000), "a": (10, 10), "b": (10, 10)}
    assert dense_set(allocate(shapes, 0.05, "erk")) == ["a", "b"]


@pytest.mark.parametrize("density", [0.0, -1.0, 1.1, float("nan"), float("inf")])
def test_impossible_densities_are_refused(density: float) -> None:
    """For the whole, and for a layer fixed by hand."""
    with pytest.raises(DensityError, match="expected a density"):
        allocate(MLP, density)
    with pytest.raises(DensityError, match="l2"):
        allocate(MLP, 0.1, custom={"l2": density})


def test_unknown_allocations_and_layers_are_refused_by_name() -> None:
    """With what there is."""
    with pytest.raises(ConfigError, match=r"uniform, er, erk.*'erq'"):
        allocate(MLP, 0.1, "erq")
    with pytest.raises(ConfigError, match=r"l1, l2, l3.*got 'l4'"):
        allocate(MLP, 0.1, custom={"l4": 0.5})


def test_erdos_renyi_counts_of_the_published_networks() -> None:
    """Start counts of 784-1000-1000-1000-10 and of 500-400-100-400-2, the output layer capped."""
    wide = {str(n): shape for n, shape in enumerate([(1000, 784), (1000, 1000), (1000, 1000), (10, 1000)])}
    budgets = {name: Unstructured().budget(d, wide[name]) for name, d in erdos_renyi(wide, 20).items()}
    assert list(budgets.values()) == [35_680, 40_000, 40_000, 10_000]
    small = {str(n): shape for n, shape in enumerate([(400, 500), (100, 400), (400, 100), (2, 400)])}
    budgets = {name: Unstructured().budget(d, small[name]) for name, d in erdos_renyi(small, 10).items()}
    assert list(budgets.values()) == [9000, 5000, 5000, 800]


def test_erdos_renyi_refuses_no_connections() -> None:
    """Also NaN."""
    for epsilon in (0.0, -1.0, float("nan")):
        with pytest.raises(ConfigError, match="erdos_renyi"):
            erdos_renyi({"a": (2, 2)}, epsilon)
