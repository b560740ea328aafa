"""Saving and loading: the same bits, nothing more in the file than the network, never a half-written one."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import torch
from safetensors import safe_open
from torch import nn

import gossamer as gs
from gossamer.errors import ConfigError, FormatError
from gossamer.freezing import Frozen
from gossamer.freezing.candidates import candidates
from gossamer.freezing.race import with_choices
from gossamer.layouts import layouts
from gossamer.network.graph import Graph, Linear, Node
from gossamer.network.plan import BatchPlan, InputPlan, Plan
from gossamer.trace.read import read


@pytest.mark.parametrize("keep", ["fastest", "csr", "dense", "fanin", "nm", "nm_lanes", "block"])
def test_round_trip_has_the_same_bits(mlp, keep, tmp_path):
    pattern = {"fanin": "fanin:4", "block": "block:4"}.get(keep, "nm:1:4")
    frozen = gs.freeze(mlp(pattern), torch.randn(4, 32), keep=keep)
    gs.save(frozen, tmp_path / "net.safetensors")
    loaded = gs.load(tmp_path / "net.safetensors")
    for batch in (0, 1, 7, 64):
        x = torch.randn(batch, 32)
        assert torch.equal(loaded(x), frozen(x))
    assert loaded.explain() == frozen.explain()
    assert loaded.plan == frozen.plan
    gs.save(loaded, tmp_path / "again.safetensors")
    assert (tmp_path / "again.safetensors").read_bytes() == (tmp_path / "net.safetensors").read_bytes()


def test_where_a_tensor_lies_in_the_file_changes_no_bit(mlp, tmp_path):
    """Torch's own dense product at batch 1 adds up in another order where its weights are not aligned."""
    for width in range(24, 32):  # moves the tensors by the length of the numbers in the header
        frozen = gs.freeze(mlp(None, widths=(32, width, 32)), torch.randn(4, 32), keep="dense")
        gs.save(frozen, tmp_path / "net")
        loaded = gs.load(tmp_path / "net")
        assert all(layer.stored.values.ctypes.data % 64 == 0 for _, layer in loaded.graph.layers())
        x = torch.randn(1, 32)
        assert torch.equal(loaded(x), frozen(x))


def test_several_batch_classes_with_layouts_of_their_own(mlp, tmp_path):
    frozen = gs.freeze(
        mlp("nm:1:4"), torch.randn(4, 32), batch_sizes=(1, 64), candidates=["nm", "nm_lanes", "dense"]
    )
    gs.save(frozen, tmp_path / "net.safetensors")
    loaded = gs.load(tmp_path / "net.safetensors")
    assert [layer.choices for _, layer in loaded.graph.layers()] == [
        layer.choices for _, layer in frozen.graph.layers()
    ]
    for batch in (1, 8, 9, 100):
        x = torch.randn(batch, 32)
        assert torch.equal(loaded(x), frozen(x))


PAIRS = [(a, b) for a in sorted(layouts) for b in sorted(layouts) if a < b]


@pytest.mark.parametrize(("first", "second"), PAIRS)
@pytest.mark.parametrize("pattern", ["fanin", "nm:1:4", "block:2:4"])
def test_every_pair_of_layouts_is_stored_once_and_comes_back(mlp, tmp_path, pattern, first, second):
    """Ten neurons fill lanes badly; a removed input leaves fan-ins to fill up: neither changes a bit."""
    layer = read(mlp(pattern, 0.5, widths=(16, 10))[0])
    if pattern == "fanin":
        layer = layer.without(inputs=torch.tensor([3]))
    found = candidates(layer, None, frozenset([first, second]))
    if len(found.forms) < 2:
        pytest.skip("one of them cannot hold the layer")
    ways = [next(way for way in found.ways if way.layout == name) for name in (first, second)]
    graph = Graph(("x",), (Node("fc", ("x",), Linear(layer)),), "fc")
    report = Plan(
        inputs=[InputPlan(dtype="float32", shape=[1, layer.shape[1]])],
        batches=[BatchPlan(batch=1, up_to=8), BatchPlan(batch=64)],
    )
    frozen = Frozen(with_choices(graph, {"fc": found}, {"fc": ways}), report)
    gs.save(frozen, tmp_path / "net.safetensors")
    loaded = gs.load(tmp_path / "net.safetensors")
    for batch in (1, 64):
        x = torch.randn(batch, layer.shape[1])
        assert torch.equal(loaded(x), frozen(x))
    mine, theirs = (net.graph.layers()[0][1].forms for net in (frozen, loaded))
    assert set(mine) == set(theirs) == {first, second}
    for name, form in mine.items():
        assert np.array_equal(form.values, theirs[name].values)
        assert all(np.array_equal(form.index[key], theirs[name].index[key]) for key in form.index)


def test_removed_neurons_are_gone_from_the_file(mlp, ablate, tmp_path):
    model = mlp("fanin", 0.5, widths=(32, 24, 8))
    whole, less = tmp_path / "whole.safetensors", tmp_path / "less.safetensors"
    gs.save(gs.freeze(model, torch.randn(1, 32), keep="csr"), whole)
    ablate(model[0], list(range(12)))
    gs.save(gs.freeze(model, torch.randn(1, 32), keep="csr"), less)
    with safe_open(less, framework="pt") as file:
        assert file.get_slice("0/bias").get_shape() == [12]
        assert file.get_slice("0/row_ptr").get_shape() == [13]
        assert sorted(file.keys()) == [
            f"{n}/{t}" for n in (0, 2) for t in ("bias", "col", "row_ptr", "values")
        ]
    with safe_open(whole, framework="pt") as file:
        assert file.get_slice("0/bias").get_shape() == [24]


def test_bias_free_network(mlp, check_same, tmp_path):
    model = mlp("fanin", bias=False)
    gs.save(gs.freeze(model, torch.randn(1, 32), keep="fanin"), tmp_path / "net.safetensors")
    check_same(gs.load(tmp_path / "net.safetensors"), model, torch.randn(5, 32))


def test_kill_while_saving_leaves_the_old_file(mlp, tmp_path):
    path = tmp_path / "net.safetensors"
    frozen = gs.freeze(mlp("fanin"), torch.randn(1, 32), keep="csr")
    gs.save(frozen, path)
    before = path.read_bytes()
    script = f"""
        import os, signal, torch, gossamer as gs
        import safetensors.torch as st
        write = st.save_file
        def half(tensors, target, metadata):
            write(tensors, target, metadata)
            os.truncate(target, os.path.getsize(target) // 2)
            os.kill(os.getpid(), signal.SIGKILL)
        st.save_file = half
        gs.save(gs.load({str(path)!r}), {str(path)!r})
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert path.read_bytes() == before
    assert torch.equal(gs.load(path)(torch.ones(1, 32)), frozen(torch.ones(1, 32)))


def test_only_frozen_networks_are_saved(tmp_path):
    with pytest.raises(ConfigError, match="freeze the model first"):
        gs.save(nn.Linear(2, 2), tmp_path / "net.safetensors")


def test_a_checkpoint_is_not_a_network(tmp_path):
    model = nn.Linear(2, 2)
    gs.save_checkpoint(tmp_path / "c.safetensors", model, torch.optim.SGD(model.parameters(), lr=0.1))
    with pytest.raises(FormatError, match="network"):
        gs.load(tmp_path / "c.safetensors")
    with pytest.raises(FileNotFoundError):
        gs.load(tmp_path / "nothing.safetensors")
