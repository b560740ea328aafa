"""Everybody in the benchmarks of one layer computes the same thing, from the same connections."""

from __future__ import annotations

from typing import Any

import accuracy
import layer_calls
import layer_cases
import layer_dlmc
import layer_rivals
import layer_sparselab
import numpy as np
import pytest
import torch

from gossamer.trace.tensors import tensor_of

INPUTS, OUTPUTS, BATCH = 64, 48, 5
ERROR = {
    "torch bfloat16": 0.05,
    "torch compile bfloat16": 0.05,
    "torch int8": 0.05,
    "ONNX Runtime int8": 0.05,
    "OpenVINO bfloat16": 0.05,
    "OpenVINO int8": 0.05,
    "OpenVINO int8 both": 0.05,
}  # of the largest


@pytest.mark.parametrize("pattern", [*layer_cases.PATTERNS, "nm:1:8"])
def test_every_layout_holds_the_whole_layer(pattern: str) -> None:
    layer = layer_calls.random_layer(pattern, 0.125, INPUTS, OUTPUTS)
    x = torch.randn(BATCH, INPUTS)
    for form in layer_calls.layouts_of(layer).values():
        got = layer_calls.forward(layer_calls.copy(form), x)()
        close = 0.02 if form.reads else 1e-5  # int8 values are rounded
        assert (got - layer(x)).abs().max() <= close * layer(x).abs().max()


@pytest.mark.parametrize("name", [name for name in layer_rivals.RIVALS if name != "DeepSparse"])
@pytest.mark.filterwarnings("ignore")  # what others warn about is not ours to fix
def test_rivals_compute_the_product(name: str) -> None:
    w, x = torch.randn(OUTPUTS, INPUTS), torch.randn(BATCH, INPUTS)
    w[torch.rand(w.shape) < 0.8] = 0
    with torch.no_grad():
        call = layer_rivals.RIVALS[name].make(w, x)
        if call is None:
            pytest.skip(f"{name} is not installed")
        y = accuracy.as_tensor(call()).float()
    y, wanted = y if y.shape == (BATCH, OUTPUTS) else y.T, x @ w.T
    assert (y - wanted).abs().max() <= ERROR.get(name, 1e-5) * wanted.abs().max()


def test_every_speed_has_its_error() -> None:
    w, ours = layer_cases.layers(INPUTS, OUTPUTS, 75.0)
    x = layer_cases.inputs_of(BATCH, INPUTS)
    calls = {name: layer_calls.forward(form, x) for name, (_, form) in ours.items()}
    dense = {"torch dense": layer_rivals.RIVALS["torch dense"].make(w, x)}
    row = {"ours": {name: {} for name in calls}, "rivals": {"torch dense": {}}}
    accuracy.with_errors(row, {**calls, **dense}, accuracy.exact_of(ours, w, x))
    assert row["rivals"]["torch dense"]["error"] < 1e-6
    for name, got in row["ours"].items():
        assert got["error"] < (0.03 if name.endswith("int8") else 1e-6), name


def test_cases_are_the_product_of_what_is_chosen() -> None:
    class Options:
        shapes, sparsities, batches = "8x4,4x8", "90", "1,2"

    got = [tuple(case.values()) for case in layer_cases.grid(Options)]
    assert got == [(8, 4, 90.0, 1), (8, 4, 90.0, 2), (4, 8, 90.0, 1), (4, 8, 90.0, 2)]


def test_real_patterns_are_read_row_by_row(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    np.savez(
        tmp_path / layer_dlmc.FILE,
        names=np.array(["a", "empty", "b"]),
        shape=np.array([[2, 3, 2], [1, 3, 0], [1, 2, 1]]),
        row_nnz=np.array([0, 2, 0, 1], dtype=np.uint16),
        col=np.array([2, 0, 1], dtype=np.uint16),
    )
    monkeypatch.setenv("GOSSAMER_DATA", str(tmp_path))
    layer_dlmc.patterns.cache_clear()
    got = {name: (made.shape, made.positions.tolist()) for name, made in layer_dlmc.patterns().items()}
    assert got == {"a": ((2, 3), [3, 5]), "b": ((1, 2), [1])}


@pytest.mark.filterwarnings("ignore")  # what others warn about is not ours to fix
def test_training_steps_agree() -> None:
    x, grad = torch.randn(INPUTS, BATCH), torch.randn(OUTPUTS, BATCH)
    layer = layer_calls.random_layer("unstructured", 0.25, INPUTS, OUTPUTS)
    w = tensor_of(layer_calls.connections_of(layer).dense())
    dx, dw = layer_sparselab.ours("unstructured", 75.0, x.T, grad.T)["step"]()
    dense = layer_sparselab.dense(w, x.T.contiguous(), grad.T.contiguous())["step"]()
    torch.testing.assert_close(dx, dense[0])
    torch.testing.assert_close(dw[: layer.connections], dense[1].view(-1)[layer.topology.positions])
    if peer := layer_sparselab.sparselab(w, x, grad):
        torch.testing.assert_close(peer["step"]()[0].T, dense[0])
        torch.testing.assert_close(peer["dX"]().T, dense[0])
