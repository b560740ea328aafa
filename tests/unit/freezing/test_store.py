"""One form of a layer goes into the file: the smallest that gives back all that run."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
import torch

import gossamer as gs
from gossamer.errors import FormatError
from gossamer.freezing import Frozen
from gossamer.layouts import Encoded, layout, layouts
from gossamer.layouts.connections import Connections
from gossamer.layouts.values import narrowed
from gossamer.network import verify
from gossamer.network.graph import Choice, Graph, Layer, Node
from gossamer.network.plan import BatchPlan, InputPlan, Plan
from gossamer.network.store import to_store
from gossamer.trace.read import read

PATTERNS = ("unstructured", "fanin", "fanin:2", "nm:1:4", "block:2:4")


def layer_of(mlp, pattern: str, *, uneven: bool = False) -> Connections:
    """Ten neurons that read sixteen inputs, or one less, which leaves fan-ins to fill up."""
    connections = read(mlp(pattern, 0.25, widths=(16, 10))[0])
    return connections.without(inputs=np.array([3])) if uneven else connections


def forms_of(connections: Connections) -> dict[str, Encoded]:
    """The layer in every layout that holds it and that the core runs."""
    fits = {name: layout(name).fit(connections) for name in layouts if layout(name).kernel}
    return {
        name: layout(name).encode(connections, fit) for name, fit in fits.items() if not isinstance(fit, str)
    }


def network(connections: Connections, forms: dict[str, Encoded], stored: Encoded) -> Frozen:
    """A frozen layer with a batch class for every form."""
    choices = tuple(Choice(name, "core") for name in forms)
    layer = Layer(connections.shape, connections.bias, None, stored, forms, choices)
    sizes = [4**number for number in range(len(forms))]
    batches = [BatchPlan(batch=size, up_to=size) for size in sizes[:-1]] + [BatchPlan(batch=sizes[-1])]
    report = Plan(inputs=[InputPlan(dtype="float32", shape=[1, connections.shape[1]])], batches=batches)
    return Frozen(Graph(("x",), (Node("fc", ("x",), layer),), "fc"), report)


def check_round_trip(connections: Connections, forms: dict[str, Encoded], stored: Encoded, path) -> None:
    """Every form runs once, before and after."""
    frozen = network(connections, forms, stored)
    gs.save(frozen, path)
    loaded = gs.load(path)
    for number in range(len(forms)):
        x = torch.randn(4**number, connections.shape[1])
        assert torch.equal(loaded(x), frozen(x))
    back = loaded.graph.layers()[0][1].forms
    for name, form in forms.items():
        assert np.array_equal(form.values, back[name].values)
        assert all(np.array_equal(form.index[key], back[name].index[key]) for key in form.index)


@pytest.mark.parametrize("values", ["exact", "int8", "bfloat16"])
@pytest.mark.parametrize("uneven", [False, True])
@pytest.mark.parametrize("pattern", PATTERNS)
def test_every_mix_of_layouts_comes_back_from_the_smallest(mlp, tmp_path, pattern, uneven, values):
    connections = layer_of(mlp, pattern, uneven=uneven)
    if values != "exact":
        connections = narrowed(connections, values)
    forms = forms_of(connections)
    for size in (2, 3, len(forms)):
        for names in combinations(forms, size):
            mix = {name: forms[name] for name in names}
            stored = to_store(connections, mix)
            assert layout(stored.layout).explicit
            check_round_trip(connections, mix, stored, tmp_path / "net.safetensors")


@pytest.mark.parametrize("pattern", PATTERNS)
def test_no_exact_form_among_those_that_run_is_smaller(mlp, pattern):
    """What the pattern trained in is exact: whatever else runs, the file is not larger than with it alone."""
    connections = layer_of(mlp, pattern)
    forms = forms_of(connections)
    kept = [form.bytes for name, form in forms.items() if layout(name).explicit and layout(name).exact]
    assert to_store(connections, forms).bytes == min(kept)


def test_bands_leave_a_grouped_layer_as_small_as_it_was(mlp):
    connections = layer_of(mlp, "fanin:2")
    forms = forms_of(connections)
    stored = to_store(connections, {name: forms[name] for name in ("csr_bands", "fanin")})
    assert stored.layout == "fanin"
    assert stored.bytes == forms["fanin"].bytes < forms["csr"].bytes


def test_a_form_with_added_zeros_is_made_from_one_without(mlp):
    connections = layer_of(mlp, "fanin", uneven=True)
    forms = forms_of(connections)
    assert forms["fanin"].values.size > connections.positions.size
    for names in (("fanin",), ("fanin", "csr")):
        stored = to_store(connections, {name: forms[name] for name in names})
        assert stored.layout != "fanin"
        assert stored.values.size == connections.positions.size


@pytest.mark.parametrize("pattern", ["unstructured", "fanin", "fanin:2"])
def test_files_that_store_csr_beside_other_runs_still_load(mlp, tmp_path, pattern):
    connections = layer_of(mlp, pattern)
    forms = {name: form for name, form in forms_of(connections).items() if name != "block"}
    stored = layout("csr").encode(replace(connections, trained=None), {})
    check_round_trip(connections, forms, stored, tmp_path / "net.safetensors")


def test_a_file_that_load_would_refuse_is_not_written(mlp, tmp_path, monkeypatch):
    """Each dense form may be in proportion to what is stored, and all together not."""
    connections = layer_of(mlp, "unstructured")
    forms = {name: forms_of(connections)[name] for name in ("csr", "dense")}
    frozen = network(connections, forms, to_store(connections, forms))
    gs.save(frozen, tmp_path / "net.safetensors")
    for name, most in (("SMALL_MATRIX", 159), ("LARGEST_BLOWUP", 1)):
        monkeypatch.setattr(verify, name, most)
    with pytest.raises(FormatError, match="of a size that suit"):
        gs.load(tmp_path / "net.safetensors")
    with pytest.raises(FormatError, match="of a size that suit"):
        gs.save(frozen, tmp_path / "other.safetensors")
    assert not (tmp_path / "other.safetensors").exists()
