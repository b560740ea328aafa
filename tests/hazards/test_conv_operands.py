"""What reaches a convolution is refused before a kernel runs: images, geometry, index; a pass outlives no update."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

import gossamer as gs
from gossamer import ops
from gossamer.errors import ConfigError, DtypeError, KernelUnavailable, ShapeError, TopologyError
from gossamer.ops import Geometry
from gossamer.ops.conv_operators import integers

GEOMETRY = Geometry(2, (2, 2), padding=(1, 0, 1, 0))


def good() -> dict[str, Any]:
    """3 connections of 2 outputs to 8 inputs."""
    index = [torch.tensor([0, 2, 3], dtype=torch.int32), torch.tensor([0, 7, 1]).to(torch.uint16)]
    values, bias = torch.ones(4), torch.ones(2)
    return {
        "x": torch.ones(3, 2, 4, 5),
        "values": values,
        "index": index,
        "bias": bias,
        "layout": "csr",
        "shape": [2, 8],
        "geometry": GEOMETRY,
    }


Change = Callable[[dict[str, Any]], Any]
REFUSED: dict[str, tuple[type[Exception], str, Change]] = {
    "channels": (ShapeError, r"x \[batch, 2", lambda o: o.update(x=torch.ones(3, 3, 4, 5))),
    "a line": (ShapeError, "x ", lambda o: o.update(x=torch.ones(2, 5))),
    "no plane": (ShapeError, "pixels", lambda o: o.update(x=torch.ones(3, 2, 0, 5))),
    "a small plane": (
        ShapeError,
        "2 x 9",
        lambda o: o.update(geometry=Geometry(2, (2, 2), dilation=(1, 8))),
    ),
    "matrix": (ShapeError, "18 columns", lambda o: o.update(geometry=Geometry(2, (3, 3)))),
    "rows in groups": (
        ShapeError,
        "3 groups",
        lambda o: o.update(geometry=Geometry(6, (2, 2), groups=3), x=torch.ones(3, 6, 4, 5)),
    ),
    "too few values": (ShapeError, ">= 3", lambda o: o.update(values=torch.ones(2))),
    "values with gaps": (ShapeError, "contiguous", lambda o: o.update(values=torch.ones(8)[::2])),
    "bias": (ShapeError, "bias", lambda o: o.update(bias=torch.ones(3))),
    "types": (DtypeError, "autocast", lambda o: o.update(x=o["x"].double())),
    "sparse images": (DtypeError, "sparse", lambda o: o.update(x=o["x"].to_sparse())),
    "a column out of range": (
        TopologyError,
        "ops.conv",
        lambda o: o.update(index=[o["index"][0], torch.tensor([0, 8, 1]).to(torch.uint16)]),
    ),
    "a frozen layout": (
        KernelUnavailable,
        "csr",
        lambda o: o.update(index=[], layout="dense", values=torch.ones(16)),
    ),
}


@pytest.mark.parametrize(("error", "words", "change"), REFUSED.values(), ids=REFUSED)
def test_operands_that_do_not_fit_are_refused(error: type[Exception], words: str, change: Change) -> None:
    """By the function, and by the operator itself, where nothing checked before."""
    operands = good()
    assert ops.conv(**operands).shape == (3, 2, 4, 5)
    change(operands)
    with pytest.raises(error, match=words):
        ops.conv(**operands)
    raw = operands | {"geometry": integers(operands["geometry"])}
    with pytest.raises(error, match=words):
        torch.ops.gossamer.conv(*raw.values())


@pytest.mark.parametrize(
    ("numbers", "error"),
    [
        ([2, 2, 2, 1, 1, 1, 0, 1, 0, 1, 1], ShapeError),
        ([2, 2, 2, 0, 1, 1, 0, 1, 0, 1, 1, 1], ConfigError),
        ([2, 2, 2, 1, 1, -1, 0, 1, 0, 1, 1, 1], ConfigError),
        ([2, 2, 2, 1, 1, 1, 0, 1, 0, 1, 1, 0], ConfigError),
    ],
    ids=["eleven", "stride", "padding", "groups"],
)
def test_a_geometry_that_is_none_is_refused(numbers: list[int], error: type[Exception]) -> None:
    """Integers of strangers come here through files and traced graphs."""
    operands = good()
    with pytest.raises(error):
        torch.ops.gossamer.conv(*(operands | {"geometry": numbers}).values())


@pytest.mark.parametrize("size", [[4], [4, 5, 1], [5, 5], [-1, 5]], ids=str)
def test_an_input_gradient_is_of_images_that_its_output_has(size: list[int]) -> None:
    """Of their number of sides, and of a size from which that output comes."""
    o = good()
    tail = (o["index"], "csr", [2, 8], integers(GEOMETRY), size)
    with pytest.raises(ShapeError):
        torch.ops.gossamer.conv_grad_input(torch.ones(3, 2, 4, 5), o["values"], *tail)


def test_gradients_of_other_images_are_refused() -> None:
    """Another batch, another plane, another type."""
    o = good()
    tail = (o["values"], o["index"], "csr", [2, 8], integers(GEOMETRY))
    for grad, error in (
        (torch.ones(2, 2, 4, 5), ShapeError),
        (torch.ones(3, 2, 5, 5), ShapeError),
        (torch.ones(3, 2, 4, 5).double(), DtypeError),
    ):
        with pytest.raises(error):
            torch.ops.gossamer.conv_grad_values(grad, o["x"], *tail)


def test_a_topology_that_changes_between_forward_and_backward_is_noticed() -> None:
    """Values of the new one would get gradients of the old one."""
    layer = gs.SparseConv2d(4, 4, 3, density=0.5)
    y = layer(torch.randn(1, 4, 5, 5))
    layer.reset_parameters()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()
