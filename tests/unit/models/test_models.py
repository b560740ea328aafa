"""Every registered network: shapes, names, counts, settings, and one published set of weights."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from gossamer import models
from gossamer.errors import ConfigError, MemoryShortage

# Parameters as published, at 1000 classes for ImageNet and 10 for CIFAR-10.
PUBLISHED = {
    "resnet18": (1000, 11_689_512),
    "resnet50": (1000, 25_557_032),
    "resnet18-small": (10, 11_173_962),
    "resnet20": (10, 269_722),
    "resnet32": (10, 464_154),
    "resnet56": (10, 853_018),
    "wrn-22-2": (10, 1_079_642),
}


def test_every_registered_network_is_counted_here() -> None:
    """A new one needs its published count."""
    assert set(models.models) == set(PUBLISHED)


@pytest.mark.parametrize("name", list(models.models))
def test_parameters_are_as_many_as_published(name: str) -> None:
    """Built without memory: only shapes count."""
    classes, wanted = PUBLISHED[name]
    with torch.device("meta"):
        model = models.build({"name": name}, channels=3, classes=classes)
    assert sum(parameter.numel() for parameter in model.parameters()) == wanted


@pytest.mark.parametrize("name", list(models.models))
def test_any_size_of_image_becomes_one_row_of_classes(name: str) -> None:
    """Odd sizes and one channel too; gradients reach every parameter."""
    model = models.build({"name": name, "width": 0.125}, channels=1, classes=7)
    output = model(torch.randn(2, 1, 37, 45, generator=torch.Generator().manual_seed(0)))
    assert output.shape == (2, 7)
    output.square().sum().backward()
    assert [n for n, p in model.named_parameters() if p.grad is None] == []


@pytest.mark.parametrize("name", list(models.models))
def test_values_follow_torchs_generator(name: str) -> None:
    """Same seed, same values."""
    first, second = (_seeded(name) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


def _seeded(name: str) -> nn.Module:
    torch.manual_seed(5)
    return models.build({"name": name, "width": 0.125}, channels=3, classes=4)


def test_names_of_imagenet_networks_are_those_of_torchvision() -> None:
    """Spot checks at the places where implementations differ."""
    with torch.device("meta"):
        state = models.resnet50().state_dict()
    shapes = {
        "conv1.weight": (64, 3, 7, 7),
        "layer1.0.downsample.0.weight": (256, 64, 1, 1),
        "layer1.0.downsample.1.running_mean": (256,),
        "layer3.5.conv2.weight": (256, 256, 3, 3),
        "layer4.2.bn3.num_batches_tracked": (),
        "fc.bias": (1000,),
    }
    assert {name: tuple(state[name].shape) for name in shapes} == shapes
    assert len(state) == 320


def test_the_stride_of_a_bottleneck_is_in_its_3x3_convolution() -> None:
    """Version 1.5; version 1 has it in the first 1x1."""
    with torch.device("meta"):
        block = models.resnet50().layer2[0]
    assert (block.conv1.stride, block.conv2.stride) == ((1, 1), (2, 2))


def test_published_weights_of_resnet20_answer_as_published() -> None:
    """91.7 % on the 10,000 test images of CIFAR-10; 914 of the first thousand were counted once."""
    folders = [Path(entry) for entry in os.environ.get("GOSSAMER_DATA", "").split(os.pathsep) if entry]
    found = [folder for folder in folders if (folder / "models" / "resnet20_cifar10.th").is_file()]
    if not found:
        pytest.skip("set GOSSAMER_DATA to a folder with models/resnet20_cifar10.th")
    stored = torch.load(found[0] / "models/resnet20_cifar10.th", map_location="cpu", weights_only=True)
    model = models.resnet20()
    model.load_state_dict({k.removeprefix("module."): v for k, v in stored["state_dict"].items()})
    with np.load(found[0] / "cifar10_small.npz") as file:
        x, y = torch.from_numpy(file["x_test"]), torch.from_numpy(file["y_test"].astype(np.int64))
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    with torch.no_grad():
        output = model.eval()(((x / 255 - mean) / std).permute(0, 3, 1, 2))
    assert int((output.argmax(1) == y).sum()) == 914


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"name": "resnet_20"}, "did you mean 'resnet20'"),
        ({"name": "resnet20", "widht": 2}, "did you mean 'width'"),
        ({"name": "resnet20", "width": 0}, "a number from 1/64 to 64, got 0"),
        ({"name": "resnet20", "width": "2"}, "a number from 1/64 to 64, got '2'"),
        ({"name": "resnet20", "width": float("nan")}, "got nan"),
        ({"name": "wrn-22-2", "dropout": 1.0}, r"a number in \[0, 1\), got 1.0"),
        ({"name": "resnet20", "classes": 3}, "classes"),
        ({}, "one of"),
        ("resnet20", r"a dict with its name and settings, got 'resnet20'; \{"),
    ],
)
def test_wrong_settings_are_named(config: dict[str, object], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        models.build(config, channels=3, classes=10)


@pytest.mark.parametrize("sizes", [{"classes": 10**12}, {"channels": 10**12}])
def test_a_network_that_memory_cannot_hold_is_refused_before_it_is_built(sizes: dict[str, int]) -> None:
    with pytest.raises(MemoryShortage, match=r"model resnet20: .*smaller width"):
        models.build({"name": "resnet20"}, **{"channels": 3, "classes": 10, **sizes})


@pytest.mark.parametrize("sizes", [{"channels": 0}, {"channels": -1}, {"classes": 0}, {"classes": "ten"}])
def test_networks_without_channels_or_classes_are_refused(sizes: dict[str, object]) -> None:
    (name,) = sizes
    with pytest.raises(ConfigError, match=f"model resnet20: expected {name} of at least 1"):
        models.build({"name": "resnet20"}, **{"channels": 3, "classes": 10, **sizes})


def test_settings_are_recorded_with_their_defaults() -> None:
    """So that a later default changes nothing in a run that goes on."""
    assert models.describe({"name": "wrn-22-2", "width": 2}) == {
        "name": "wrn-22-2",
        "width": 2,
        "dropout": 0.3,
    }
