"""The networks of the benchmarks: as large as published, and frozen, saved and run whole."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from networks import NETWORKS, example, multiply_adds
from networks.resnet50_keras import NORM, _layers, load_keras, resnet50_keras
from networks.squeezenet import SqueezeNet, load_caffe
from torch import nn

import gossamer as gs
from gossamer.network.graph import Layer, Opaque
from gossamer.network.plan_step import PlanStep
from gossamer.runtime import Runtime

SIDES = {"squeezenet1_0": 47, "squeezenet1_1": 47, "unet": 16}  # others: 64
BEHIND = ("flatten", "concatenate")  # operators that may stand behind the images
ERROR = 2e-5  # of the largest output
TRUE_ZEROS = 3  # of four weights


def small(name: str) -> nn.Module:
    """Narrow, with batch norms that do something, and three of four weights zero."""
    torch.manual_seed(0)
    model = NETWORKS[name].make(width=0.125).eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
        if isinstance(module, (nn.Conv2d, nn.Linear)) and getattr(module, "groups", 1) == 1:
            with torch.no_grad():
                module.weight *= torch.rand_like(module.weight) > TRUE_ZEROS / 4
                module.weight *= 2
    return model


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_are_as_large_as_published(name: str) -> None:
    with torch.device("meta"):
        model = NETWORKS[name].make().eval()
    assert sum(parameter.numel() for parameter in model.parameters()) == NETWORKS[name].parameters
    macs = multiply_adds(model, example(name).to("meta"))
    assert macs / 1e9 == pytest.approx(NETWORKS[name].gigamacs, rel=0.01)


@pytest.mark.parametrize("name", NETWORKS)
def test_whole_networks_freeze_save_load_and_run_without_torch(name: str, tmp_path: Path) -> None:
    """One call into the core makes all images, and every way to run gives the same but for rounding."""
    model, side, path = small(name), SIDES.get(name, 64), tmp_path / "net.safetensors"
    frozen = gs.freeze(model, torch.randn(2, 3, side, side), keep="csr")
    assert not [node.name for node in frozen.graph.nodes if isinstance(node.body, Opaque)]
    x = torch.randn(3, 3, side, side)
    with torch.no_grad():
        wanted = model(x)
    allowed = ERROR * float(wanted.abs().max())
    assert (frozen(x) - wanted).abs().max() <= allowed
    (plan,) = [step.run for step in frozen.programs[0].steps if isinstance(step.run, PlanStep)]
    assert plan.planned((x,)) is not None, "the core has no step for a node"
    outside = {node.name for node in frozen.graph.nodes} - {node.name for node in plan.stretch.nodes}
    bodies = [node.body for node in frozen.graph.nodes if node.name in outside]
    assert all(body.geometry is None if isinstance(body, Layer) else body.op in BEHIND for body in bodies)
    gs.save(frozen, path)
    assert torch.equal(gs.load(path)(x), frozen(x))
    assert np.abs(Runtime(path, exact=False)(x.numpy()) - wanted.numpy()).max() <= allowed


def test_arrays_of_caffe_are_those_of_the_first_squeezenet() -> None:
    """Each layer gets its own array, and others are refused."""
    net = SqueezeNet(0.125, version="1.0", classes=5)
    layers = [
        "conv1",
        *(f"fire{n}/{part}" for n in range(2, 10) for part in ("conv1x1_1", "conv1x1_2", "conv3x3_2")),
    ]
    held = [module for module in net.modules() if isinstance(module, nn.Conv2d)]
    arrays = {}
    for number, (name, layer) in enumerate(zip([*layers, "conv_final"], held, strict=True)):
        arrays[f"{name}/w"] = np.full(layer.weight.shape, number, np.float32)
        arrays[f"{name}/b"] = np.full(layer.bias.shape, -number, np.float32)
    load_caffe(net, arrays)
    assert [float(layer.weight.detach().mean()) for layer in held] == list(range(26))
    assert [float(layer.bias.detach().mean()) for layer in held] == [-float(number) for number in range(26)]
    with pytest.raises(ValueError, match="are not those"):
        load_caffe(net, {"conv1/w": arrays["conv1/w"]})


def test_values_of_keras_are_taken_over() -> None:
    """Biases of convolutions go into the means behind them: what the first layer and a later one compute, by hand."""
    torch.manual_seed(0)
    net = resnet50_keras(width=0.125, classes=5).eval()
    arrays = {}
    for name, (conv, _) in _layers(net).items() | {("conv1", (net.conv1, net.bn1))}:
        out, inner, high, wide = conv.weight.shape
        place, norm = ("conv1", "bn_conv1") if name == "conv1" else (f"res{name}", f"bn{name}")
        arrays |= {
            f"{norm}|{part}": np.random.default_rng(1).uniform(0.5, 2, out).astype(np.float32)
            for part in NORM
        }
        arrays[f"{place}|bias"] = np.random.default_rng(2).normal(size=out).astype(np.float32)
        arrays[f"{place}|kernel"] = (
            np.random.default_rng(3).normal(size=(high, wide, inner, out)).astype(np.float32)
        )
    arrays["fc1000|kernel"] = np.random.default_rng(4).normal(size=(net.fc.in_features, 5)).astype(np.float32)
    arrays["fc1000|bias"] = np.zeros(5, np.float32)
    load_keras(net, arrays)
    block, x = net.layer2[0], torch.randn(1, net.layer2[0].conv1.in_channels, 5, 5)
    held = {part: torch.from_numpy(arrays[f"bn3a_branch2a|{part}"])[:, None, None] for part in NORM}
    kernel, bias = arrays["res3a_branch2a|kernel"][0, 0], torch.from_numpy(arrays["res3a_branch2a|bias"])
    y = torch.einsum("io,bihw->bohw", torch.from_numpy(kernel), x[:, :, ::2, ::2]) + bias[:, None, None]
    y = (y - held["moving_mean"]) / (held["moving_variance"] + 1e-3).sqrt() * held["gamma"] + held["beta"]
    torch.testing.assert_close(block.bn1(block.conv1(x)).detach(), y, atol=1e-4, rtol=1e-4)
    with pytest.raises(ValueError, match="not those"):
        load_keras(net, {"conv1|bias": arrays["conv1|bias"]})
