"""RigL's formulas, and the sizes its authors published."""

from __future__ import annotations

import pytest

from gossamer.errors import ConfigError
from gossamer.measure import size_bits, training_flops
from gossamer.topology import allocate


def test_step_formulas_by_hand():
    assert training_flops("dense", 2, 10) == 30
    assert [training_flops(method, 2, 10) for method in ("static", "set", "snip", "pruning")] == [6] * 4
    assert training_flops("snfs", 2, 10) == 14
    assert training_flops("rigl", 2, 10, every=1) == (6 + 4 + 10) / 2
    assert training_flops("srigl", 2, 10, every=9) == training_flops("rigl", 2, 10, every=9) == (54 + 14) / 10


def test_seldom_updates_cost_nothing():
    assert training_flops("rigl", 2, 10, every=10**9) == pytest.approx(6, rel=1e-8)


def test_unknown_method_is_refused():
    with pytest.raises(ConfigError, match="rigl"):
        training_flops("ril", 1, 1)
    with pytest.raises(ConfigError, match="every"):
        training_flops("rigl", 1, 1, every=0)
    with pytest.raises(ConfigError, match="connections"):
        size_bits([(5, 4)])


def resnet50() -> list[tuple[int, ...]]:
    """Weight shapes of ResNet-50 v1.5 in network order: 54 tensors, 25,502,912 weights."""
    shapes: list[tuple[int, ...]] = [(64, 3, 7, 7)]
    inner = 64
    for width, blocks in ((64, 3), (128, 4), (256, 6), (512, 3)):
        for block in range(blocks):
            shapes += [(width, inner, 1, 1), (width, width, 3, 3), (4 * width, width, 1, 1)]
            if block == 0:
                shapes.append((4 * width, inner, 1, 1))
            inner = 4 * width
    return [*shapes, (1000, 2048)]


def test_the_network_is_resnet50():
    shapes = resnet50()
    assert len(shapes) == 54
    assert sum(_numel(shape) for shape in shapes) == 25_502_912


def _numel(shape: tuple[int, ...]) -> int:
    size = 1
    for n in shape:
        size *= n
    return size


@pytest.mark.parametrize(
    ("sparsity", "megabytes", "dense"),
    [(0.8, 23.683, ()), (0.9, 13.499, ()), (0.95, 8.399, ()), (0.965, 6.904, ("0",)), (0.99, 4.354, ("0",))],
)
def test_published_sizes_of_resnet50(sparsity, megabytes, dense):
    """A weight or channel 32 bits, a position of a sparse layer 1; the last two keep the first dense."""
    shapes = {str(number): shape for number, shape in enumerate(resnet50())}
    densities = allocate({n: s for n, s in shapes.items() if n not in dense}, 1 - sparsity, "erk")
    layers = []
    for name, shape in shapes.items():
        size = _numel(shape)
        layers.append((size - int((1 - densities.get(name, 1.0)) * size), size))
    channels = sum(shape[0] for shape in shapes.values())
    assert size_bits(layers, biases=channels) / 8e6 == pytest.approx(megabytes, abs=0.002)
