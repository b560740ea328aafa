"""Rewrites of borders, resizes and shuffles in front of convolutions: the same outputs, and nothing left of them."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import nn

from gossamer.freezing.passes import passes
from gossamer.network.graph import Call, Graph, Node
from gossamer.network.operators import operators
from gossamer.trace.read import layer_of
from gossamer.trace.run import run

PASSES = {entry.name: entry.apply for entry in passes()}


def call(op: str, **settings: object) -> Call:
    return Call(op, operators[op].settings(**settings))


def both(name: str, first: Call, conv: nn.Module, size: tuple[int, ...]) -> Graph:
    """The rewritten graph, whose output is that of the one before."""
    layer = layer_of(conv.eval())
    assert layer is not None
    graph = Graph(("x",), (Node("a", ("x",), first), Node("b", ("a",), layer)), "b")
    x = torch.randn(size)
    after = PASSES[name](graph, (x,)).graph
    with torch.no_grad():
        torch.testing.assert_close(run(after, (x,)), run(graph, (x,)), rtol=1e-4, atol=1e-5)
    return after


@pytest.mark.parametrize("order", ["channel first", "pixel first"])
@pytest.mark.parametrize(
    ("kernel", "padding", "dilation"), [(3, 1, 1), (3, 0, 1), (2, 0, 1), (5, 2, 1), (3, 2, 2)]
)
def test_shuffles_in_front_of_strides(order: str, kernel: int, padding: int, dilation: int) -> None:
    """For every size of images, odd ones too."""
    for factor, times, size in itertools.product((2, 3), (1, 2), ((4, 5), (7, 4))):
        conv = nn.Conv2d(3, 6, kernel, factor * times, padding, dilation, groups=3)
        graph = both(
            "fold_shuffle", call("pixel_shuffle", factor=factor, order=order), conv, (2, 3 * factor**2, *size)
        )
        assert [node.name for node in graph.nodes] == ["b"]


@pytest.mark.parametrize(
    "conv", [nn.Conv2d(3, 6, 3, 1, groups=3), nn.Conv2d(3, 6, 3, 2), nn.Conv2d(3, 3, 1, 3, groups=3)]
)
def test_other_convolutions_behind_a_shuffle_stay(conv: nn.Module) -> None:
    assert len(both("fold_shuffle", call("pixel_shuffle", factor=2), conv, (1, 12, 5, 5)).nodes) == 2


def test_borders_become_those_of_convolutions() -> None:
    """Of zeros, around images; others stay."""
    conv = nn.Conv2d(3, 4, 3, padding=1)
    assert len(both("fold_pad", call("pad", border=(1, 0, 2, 3)), conv, (1, 3, 5, 5)).nodes) == 1
    assert len(both("fold_pad", call("pad", border=(1, 2)), conv, (1, 3, 5, 5)).nodes) == 1
    assert len(both("fold_pad", call("pad", border=(1, 1), value=0.5), conv, (1, 3, 5, 5)).nodes) == 2
    assert len(both("fold_pad", call("pad", border=(0, 0, 0, 0, 1, 0)), conv, (1, 2, 5, 5)).nodes) == 2
    mirrored = nn.Conv2d(3, 4, 3, padding=1, padding_mode="reflect")
    assert len(both("fold_pad", call("pad", border=(1, 1)), mirrored, (1, 3, 5, 5)).nodes) == 2


def test_resizes_go_behind_convolutions_of_single_pixels() -> None:
    for resize in (call("upsample_bilinear2d", size=(9, 8)), call("upsample_nearest2d", scale=(2, 2))):
        names = [node.name for node in both("resize_behind", resize, nn.Conv2d(8, 2, 1), (2, 8, 4, 5)).nodes]
        assert names == ["b", "a"]
        wide = both("resize_behind", resize, nn.Conv2d(8, 2, 3), (2, 8, 4, 5))
        assert [node.name for node in wide.nodes] == ["a", "b"]
