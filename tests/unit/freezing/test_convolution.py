"""Convolutions freeze as linear layers do: every geometry, layout and home gives what the model gives, and is saved."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from torch import nn

import gossamer as gs
from gossamer.errors import DtypeError, FormatError, PatternError, ShapeError
from gossamer.freezing.rivals import LAST, contenders
from gossamer.network.graph import Layer
from gossamer.runtime import Runtime

if TYPE_CHECKING:
    from pathlib import Path

GEOMETRIES: list[dict[str, Any]] = [
    {"kernel_size": 1},
    {"kernel_size": 1, "stride": 2},
    {"kernel_size": 3, "padding": 1},
    {"kernel_size": (3, 2), "padding": "same", "padding_mode": "zeros"},
    {"kernel_size": (2, 3), "stride": (2, 1), "padding": (1, 2), "dilation": (2, 1), "bias": False},
    {"kernel_size": 3, "padding": 1, "groups": 4},
    {"kernel_size": 3, "stride": 2, "padding": 1, "groups": 8},
    *({"kernel_size": 3, "padding": (2, 1), "padding_mode": m} for m in ("circular", "reflect", "replicate")),
]


def model_of(home: str, pattern: str = "fanin", **settings: Any) -> nn.Sequential:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(8, 16, **settings), nn.ReLU()).eval()
    if home != "dense":
        gs.sparsify(model, None if pattern.startswith("nm") else 0.5, pattern, "uniform", home=home)
    return model


@pytest.mark.parametrize("keep", ["csr", "dense"])
@pytest.mark.parametrize("settings", GEOMETRIES, ids=str)
def test_every_geometry(check_same, tmp_path: Path, settings, keep):
    """The file gives the same bits, with torch and without; a depth-wise convolution is always dense."""
    model = model_of("dense" if settings.get("groups") == 8 else "masked", **settings)
    frozen = gs.freeze(model, torch.randn(2, 8, 7, 6), keep=keep)
    gs.save(frozen, tmp_path / "net")
    assert [type(node.body) for node in frozen.graph.nodes] == [Layer]
    runtime = Runtime(tmp_path / "net", exact=keep == "csr")
    for shape in ((3, 8, 7, 6), (1, 8, 5, 9), (0, 8, 7, 6)):
        x = torch.randn(shape)
        check_same(frozen, model, x)
        assert torch.equal(gs.load(tmp_path / "net")(x), frozen(x))
        got = runtime(x.numpy())
        assert np.array_equal(got, frozen(x)) if keep == "csr" else np.allclose(got, frozen(x), atol=1e-5)


@pytest.mark.parametrize("home", ["packed", "masked"])
@pytest.mark.parametrize(
    ("pattern", "keep"), [("fanin:4", "fanin"), ("nm:1:4", "nm"), ("block:4:4", "block"), ("fanin:2", "csr")]
)
def test_every_layout_and_home(check_same, pattern, keep, home):
    model = model_of(home, pattern, kernel_size=3, padding=1)
    frozen = gs.freeze(model, torch.randn(2, 8, 5, 5), keep=keep)
    ((_, layer),) = frozen.graph.layers()
    assert layer.stored.layout == keep
    check_same(frozen, model, torch.randn(3, 8, 5, 5))


def test_by_hand():
    """Tap by tap, channels inside: a single connection from channel 1, one pixel to the right."""
    model = nn.Sequential(nn.Conv2d(2, 1, (1, 2), bias=False)).eval()
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([0.0, 0.0, 0.0, 3.0]).view(1, 2, 1, 2))
    frozen = gs.freeze(model, torch.ones(1, 2, 1, 3), keep="csr")
    ((_, layer),) = frozen.graph.layers()
    assert layer.stored.index["col"].tolist() == [3]
    x = torch.tensor([[1.0, 2.0, 4.0], [8.0, 16.0, 32.0]]).view(1, 2, 1, 3)
    assert frozen(x).tolist() == [[[[48.0, 96.0]]]]


def test_neurons_that_share_inputs_read_the_same_channels():
    """Three neurons a group, and layouts in which two or more share: the groups of the convolution cut them."""
    model = nn.Sequential(nn.Conv2d(2, 6, 3, groups=2)).eval()
    with pytest.raises(PatternError, match="2 neurons share their inputs, of 3"):
        gs.freeze(model, torch.ones(1, 2, 4, 4), keep="fanin")


@pytest.mark.parametrize("home", ["packed", "masked"])
def test_lines_are_images_of_one_row(check_same, tmp_path, home):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv1d(8, 8, 3, stride=2, padding=1, padding_mode="circular"), nn.Tanh())
    gs.sparsify(model.eval(), 0.5, allocation="uniform", home=home)
    frozen = gs.freeze(model, torch.randn(2, 8, 9), keep="csr")
    check_same(frozen, model, torch.randn(3, 8, 11))
    gs.save(frozen, tmp_path / "net")
    assert torch.equal(gs.load(tmp_path / "net")(torch.ones(0, 8, 9)), frozen(torch.ones(0, 8, 9)))
    with pytest.raises(
        ShapeError, match="one sample is a batch"
    ):  # the model takes one, as no frozen network does
        frozen(torch.ones(8, 9))
    with pytest.raises(ShapeError, match="one sample is a batch"):
        Runtime(tmp_path / "net", exact=False)(np.ones((8, 9), np.float32))


class Tiny(nn.Module):
    """A stem, a residual block and a classifier, as residual networks are made."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, width, 3, padding=1, bias=False), nn.BatchNorm2d(width))
        self.a, self.an = nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)
        self.b, self.bn = nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)
        self.out = nn.Linear(width, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.stem(x))
        y = torch.relu(x + self.bn(self.b(torch.relu(self.an(self.a(x))))))
        return self.out(y.mean((2, 3)))


def tiny(width: int = 16, density: float = 0.1) -> Tiny:
    torch.manual_seed(0)
    model = Tiny(width)
    gs.sparsify(model, density, "fanin", "uniform")
    model(torch.randn(8, 3, 8, 8))  # statistics of its own
    return model.eval()


def test_norms_sums_and_activations_become_part_of_convolutions(check_same):
    model = tiny(density=0.3)
    frozen = gs.freeze(model, torch.randn(2, 3, 8, 8), keep="csr")
    layers = [node for node in frozen.graph.nodes if isinstance(node.body, Layer)]
    assert [(node.name, len(node.inputs), node.body.activation) for node in layers] == [
        ("stem.0", 1, "relu"),
        ("a", 1, "relu"),
        ("b", 2, "relu"),
        ("out", 1, None),
    ]
    assert len(frozen.graph.nodes) == 5
    check_same(frozen, model, torch.randn(3, 3, 8, 8))


def test_a_file_of_a_sparse_network_is_a_small_one(tmp_path):
    """90 % sparse: about a tenth to a fifth of the dense one, whatever was measured."""
    x = torch.randn(1, 3, 8, 8)
    gs.save(gs.freeze(tiny(64), x), tmp_path / "sparse")
    gs.save(gs.freeze(tiny(64), x, keep="dense"), tmp_path / "dense")
    assert 0.1 < (tmp_path / "sparse").stat().st_size / (tmp_path / "dense").stat().st_size < 0.2


def test_narrow_values_are_those_of_linear_layers(tmp_path):
    model, x = model_of("packed", kernel_size=3, padding=1), torch.randn(2, 8, 5, 5)
    frozen = gs.freeze(model, x, keep="csr", values="int8")
    ((_, layer),) = frozen.graph.layers()
    assert layer.stored.values.dtype == np.int8
    assert torch.allclose(frozen(x), model(x), atol=0.05)
    gs.save(frozen, tmp_path / "net")
    assert np.array_equal(Runtime(tmp_path / "net")(x.numpy()), frozen(x))


def test_the_plan_counts_steps_and_copies():
    """Images are taken in, three convolutions, and a mean: nothing is a copy."""
    frozen = gs.freeze(tiny(density=0.25), torch.randn(1, 3, 8, 8), keep="fanin")
    (row,) = frozen.plan["batches"]
    assert (row["steps"], row["copies"]) == (5, 0)
    assert row["planned"] > 0
    assert "images run in 5 steps, 0 of them copies" in frozen.explain()


def test_a_stride_beyond_the_plane_takes_no_memory_for_pixels_that_are_not_there(check_same):
    model = model_of("masked", kernel_size=3, padding=1, stride=1000)
    frozen = gs.freeze(model, torch.randn(1, 8, 7, 6), keep="csr")
    assert frozen.report.batches[0].planned < 1 << 20
    check_same(frozen, model, torch.randn(3, 8, 7, 6))


def test_the_plan_names_kernels_and_what_is_left():
    frozen = gs.freeze(tiny(density=0.25), torch.randn(1, 3, 8, 8))
    rows = frozen.plan["layers"]
    assert [(row["kernel"], row["pixels"]) for row in rows] == [("3 x 3", 64)] * 3 + [("", 0)]
    assert "3 x 3, 64 pixels" in frozen.explain()
    assert "of the dense multiplications" in frozen.explain()
    assert [row.flops for row in frozen.layer_counts()] == [
        2 * row["connections"] * (row["pixels"] or 1) for row in rows
    ]
    again = gs.freeze(tiny(density=0.25), torch.randn(1, 3, 8, 8), plan=frozen)
    assert torch.equal(again(torch.ones(2, 3, 8, 8)), frozen(torch.ones(2, 3, 8, 8)))


@pytest.mark.parametrize("keep", ["csr", "dense"])
def test_what_a_convolution_cannot_take_is_refused(keep):
    frozen = gs.freeze(model_of("masked", kernel_size=3), torch.randn(1, 8, 5, 5), keep=keep)
    with pytest.raises(ShapeError, match="8, height, width"):
        frozen(torch.ones(1, 7, 5, 5))
    with pytest.raises(ShapeError, match="3 x 3 pixels"):
        frozen(torch.ones(1, 8, 2, 5))
    with pytest.raises(DtypeError, match="float32"):
        frozen(torch.ones(1, 8, 5, 5, dtype=torch.float64))


def test_a_border_out_of_proportion_is_not_written(tmp_path):
    """What load would refuse is not written."""
    model = nn.Sequential(nn.Conv2d(1, 1, 1, padding=600)).eval()
    frozen = gs.freeze(model, torch.ones(1, 1, 4, 4), keep="dense")
    with pytest.raises(FormatError, match="in proportion"):
        gs.save(frozen, tmp_path / "net")


def test_rivals_compute_the_same_network():
    frozen = gs.freeze(tiny(density=0.3), torch.randn(2, 3, 8, 8), keep="csr")
    x = torch.randn(2, 3, 8, 8)
    field = contenders(frozen, frozen, x)
    assert LAST in {entry.name for entry in field}
    assert all(torch.allclose(entry.run(x), frozen(x), atol=1e-4) for entry in field)


class Shortcut(nn.Module):
    """Every second pixel, and channels of zeros around: the shortcut of thin residual networks."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(4, 8, 3, stride=2, padding=1), nn.Conv2d(8, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        shorter = nn.functional.pad(x[:, :, ::2, 1::2], (0, 0, 0, 0, 3, 1))
        return self.b(torch.relu(self.a(x) + shorter))[:, :, 1:]


def test_shortcuts_of_slices_and_zeros_run_in_the_plan(check_same):
    torch.manual_seed(0)
    model = Shortcut().eval()
    frozen = gs.freeze(model, torch.randn(2, 4, 8, 8), keep="csr")
    assert frozen.plan["batches"][0]["steps"] > 0
    check_same(frozen, model, torch.randn(3, 4, 8, 8))
