"""A frozen network travels between processes and comes back the same."""

from __future__ import annotations

import copy
import io
import multiprocessing
import pickle

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import gossamer as gs
from gossamer.layouts import layouts
from gossamer.patterns import parse

LAYOUTS = (
    ("unstructured", "csr"),
    ("unstructured", "csr_bands"),
    ("unstructured", "csr_halves"),
    ("unstructured", "dense"),
    ("fanin", "fanin"),
    ("fanin:4", "fanin"),
    ("fanin:4", "fanin_bytes"),
    ("nm:1:4", "nm"),
    ("nm:1:4", "nm_lanes"),
    ("nm:1:4", "nm_bytes"),
    ("nm:1:4", "nm_nibbles"),
    ("unstructured", "bitmask"),
    ("unstructured", "bitmask_bytes"),
    ("unstructured", "window_bytes"),
    ("nm:1:4", "nm_nibble_bytes"),
    ("block:4", "block"),
    ("unstructured", "tiles"),
    ("fanin:16", "shared_tiles"),
    ("unstructured", "tile_bytes"),
    ("fanin:16", "shared_tile_bytes"),
)


def through_torch(frozen):
    file = io.BytesIO()
    torch.save(frozen, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


WAYS = {
    "pickle": lambda frozen: pickle.loads(pickle.dumps(frozen)),  # noqa: S301 (our own bytes)
    "old pickle": lambda frozen: pickle.loads(pickle.dumps(frozen, 2)),  # noqa: S301
    "deepcopy": copy.deepcopy,
    "torch.save": through_torch,
}


@pytest.mark.parametrize("values", ["exact", "bfloat16", "int8"])
def test_every_layout_gives_the_same_bits_after_a_round_trip(mlp, values):
    x, seen = torch.randn(3, 32), set()
    for pattern, layout in LAYOUTS:
        rounds = layouts[layout].compute == "int8"
        if rounds and values != "int8":
            continue
        model = mlp(pattern, widths=(32, 48, 16))
        compute = layouts[layout].compute
        frozen = gs.freeze(model, x, keep=layout, values=values, compute=compute)
        for name, way in WAYS.items():
            again = way(frozen)
            assert torch.equal(again(x), frozen(x)), (layout, name)
            assert again.plan == frozen.plan
        seen.add(layout)
    rounding = {name for name in layouts if layouts[name].compute == "int8"}  # some of them are above
    assert seen | rounding | {"slice"} >= set(layouts)


def test_the_parts_travel_too(mlp):
    frozen = gs.freeze(mlp("fanin"), torch.randn(3, 32), keep="fanin")
    graph, report = pickle.loads(pickle.dumps((frozen.graph, frozen.report)))  # noqa: S301
    assert report == frozen.report
    assert [node.name for node in graph.nodes] == [node.name for node in frozen.graph.nodes]
    one, other = graph.layers()[0][1].stored, frozen.graph.layers()[0][1].stored
    assert all(np.array_equal(one.index[name], other.index[name]) for name in other.index)
    assert {name: one.index[name].dtype for name in other.index} == {
        name: other.index[name].dtype for name in other.index
    }


class Mixed(nn.Module):
    """Calls that only torch knows: a module, functions that have no importable name, a method, a parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.norm = nn.Linear(32, 16), nn.Linear(8, 4), nn.LayerNorm(16)
        self.scale = nn.Parameter(torch.rand(4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = F.max_pool1d(self.norm(self.a(x)).unsqueeze(1), 2).squeeze(1)
        return self.b(h) * self.scale


def test_calls_that_stay_torch_travel():
    model, x = Mixed(), torch.randn(3, 32)
    gs.sparsify(model, 0.5, allocation="uniform")
    frozen = gs.freeze(model, x, keep="csr")
    assert "stays torch" in frozen.explain()
    for way in WAYS.values():
        assert torch.equal(way(frozen)(x), frozen(x))


class Branches(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(32, 16)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.a(x) if float(x.sum()) < 1e9 else x


def test_a_network_frozen_layer_by_layer_travels():
    model, x = Branches(), torch.randn(3, 32)
    gs.sparsify(model, 0.5, gs.FanIn(), "uniform")
    frozen = gs.freeze(model, x, keep="fanin")
    for way in WAYS.values():
        assert torch.equal(way(frozen)(x), frozen(x))


def answer(frozen, x):
    return frozen(x)


def test_a_spawned_process_computes_the_same_bits_and_so_does_this_one():
    """torch moves a tensor's memory where it sends it to a process; the kernels here keep theirs."""
    model, x = nn.Sequential(nn.Linear(32, 16)), torch.randn(3, 32)
    gs.sparsify(model, 0.5, parse("fanin"), "uniform")
    frozen = gs.freeze(model, x, keep="fanin")
    expected = frozen(x)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        got = pool.apply(answer, (frozen, x))
    assert torch.equal(got, expected)
    assert torch.equal(frozen(x), expected)
