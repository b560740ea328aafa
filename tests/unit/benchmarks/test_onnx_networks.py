"""The networks of the benchmarks as files of ONNX: narrow ones, with channels that are dead."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from networks import NETWORKS
from torch import nn

import gossamer as gs

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

import onnx_networks

SIDES = {"squeezenet1_1": 47, "unet": 16, "yolov8n": 64}  # others: 32


@pytest.mark.parametrize(
    "name", ["resnet50", "mobilenet_v2", "efficientnet_lite0", "squeezenet1_1", "unet", "yolov8n"]
)
def test_onnx_runtime_computes_a_published_network_without_its_dead_channels(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For batches of one and three, as the frozen network and as torch; with zeros and without them in the file."""
    published = NETWORKS[name]
    narrow = replace(published, make=partial(published.make, width=0.25), side=SIDES.get(name, 32))
    monkeypatch.setitem(NETWORKS, name, narrow)
    model, x = onnx_networks.made(name, 0.2)
    layers = [layer for layer in model.modules() if isinstance(layer, onnx_networks.LAYERS)]
    before, dead = sum(map(onnx_networks.outputs, layers)), sum(map(onnx_networks.without, layers))
    with torch.inference_mode():
        assert onnx_networks.share(model(x[:1]), model(x[1:2])) > 0.01, (
            "results that do not depend on the image"
        )
        frozen = gs.freeze(model, x[:1].clone(), keep="csr")
        for weights in onnx_networks.WEIGHTS:
            path = tmp_path / weights
            gs.export_onnx(frozen, path, weights=weights)
            found = onnx_networks.errors(path, frozen, model, x)
            assert found["onnx"] <= onnx_networks.allowed(found) < 1e-4, found
    left, empty = onnx_networks.rows_of(tmp_path / "dense")
    assert dead > 5
    assert before - left >= dead - empty > 0


def test_outputs_without_a_weight_are_counted(tmp_path: Path) -> None:
    """One of two neurons of the last layer stays empty; a channel before it, without a weight, has gone."""
    conv, linear = nn.Conv2d(2, 3, 3), nn.Linear(3, 2)
    with torch.no_grad():
        conv.weight[1], linear.weight[0] = 0, 0
    model = nn.Sequential(conv, nn.AdaptiveAvgPool2d(1), nn.Flatten(), linear)
    gs.export_onnx(gs.freeze(model, torch.randn(1, 2, 5, 5), keep="dense"), tmp_path / "net.onnx")
    assert onnx_networks.rows_of(tmp_path / "net.onnx") == (4, 1)
