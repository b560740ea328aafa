"""Training of convolutional networks: configuration, augmentation, resuming, and what is refused."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from gossamer import data
from gossamer.errors import ConfigError
from gossamer.nn import MaskedConv2d, SparseConv2d
from gossamer.runs.build import build_model, sample_shape
from gossamer.runs.config import RunConfig, read_config
from gossamer.runs.folder import begin, reopen, restored
from gossamer.runs.loop import Loop
from gossamer.runs.samples import load_samples

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

TINY: dict[str, Any] = {"name": "resnet20", "width": 0.25}


@pytest.fixture
def shapes() -> Iterator[str]:
    """A registered set of small colour images, two classes that a network can tell apart."""
    draw = np.random.default_rng(0)
    y = np.arange(24, dtype=np.uint8) % 2
    x = draw.integers(0, 60, (24, 12, 12, 3), dtype=np.uint8)
    x[y == 1, 3:9, 3:9] += 180

    @data.register
    def shapes() -> data.Recipe:
        spec = data.Spec(n_train=16, n_test=8, shape=(12, 12, 3), n_classes=2)
        arrays = data.Arrays(x[:16], y[:16], x[16:], y[16:])
        embedded = data.Embedded("this test", lambda: arrays)
        return data.Recipe(
            name="shapes", spec=spec, classes=("no", "yes"), licence="CC0", formats=(), embedded=embedded
        )

    yield "shapes"
    data.unregister("shapes")


def config(**settings: Any) -> RunConfig:
    """A training of seconds."""
    given = {"data": "shapes", "model": TINY, "density": 0.3, "batch": 6, "epochs": 4, "threads": 1}
    given |= {"augment": "standard", "label_smoothing": 0.1, "dense_first": True, "home": "masked"}
    given |= {"rule": {"name": "rigl", "every": 2}, "pattern": "unstructured"}
    return RunConfig(**(given | settings))


def test_a_network_of_the_registry_is_built_sparse_with_its_first_layer_dense() -> None:
    model = build_model(config(), (12, 12, 3), 2)
    assert type(model.conv1) is torch.nn.Conv2d
    assert isinstance(model.layer3[2].conv2, MaskedConv2d)
    assert model.conv1.out_channels == 4


def test_the_configuration_alone_decides_the_values() -> None:
    """Whatever was drawn before; and torch's own generator is left alone."""
    first = build_model(config(), (12, 12, 3), 2).state_dict()
    torch.randn(100)
    state = torch.get_rng_state()
    second = build_model(config(), (12, 12, 3), 2).state_dict()
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_grey_images_have_one_channel() -> None:
    assert sample_shape(config(), (8, 9)) == (1, 8, 9)
    assert build_model(config(), (8, 9), 3).conv1.in_channels == 1


def test_samples_that_are_no_images_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"model resnet20: expected images .* got samples \[500\]"):
        build_model(config(), (500,), 3)


@pytest.mark.parametrize("name", ["resnet20", "wrn-22-2"])
def test_a_training_stopped_in_an_epoch_goes_on_with_the_same_bits(
    shapes: str, name: str, tmp_path: Path
) -> None:
    """Crops, dropout, running statistics, momentum and topology: all as without the stop, across an update."""
    wanted = config(data=shapes, model={"name": name, "width": 0.125})
    checked, samples = begin(tmp_path, wanted)
    whole = Loop(checked, samples)
    whole.run(None)
    half = Loop(checked, samples)
    steps = half._epoch()
    half.model.train()
    next(steps)
    half.step += 1
    next(steps)
    half.step += 1
    half.save(tmp_path / "last.safetensors")
    torch.randn(7)
    resumed = Loop(*reopen(tmp_path))
    resumed.restore(tmp_path / "last.safetensors")
    resumed.run(None)
    assert len({row.step for row in whole.engine.history}) > 1
    for key, value in whole.model.state_dict().items():
        assert torch.equal(resumed.model.state_dict()[key], value), key


def test_packed_convolutions_train_as_masked_ones(shapes: str) -> None:
    """The same start, images and rule, in another home: the same connections, and weights within rounding."""
    loops = []
    for home in ("packed", "masked"):
        loop = Loop(config(data=shapes, home=home, epochs=2), load_samples(shapes, flatten=False))
        loop.run(None)
        loops.append(loop)
    packed, masked = (dict(loop.model.named_modules()) for loop in loops)
    names = [name for name, layer in masked.items() if isinstance(layer, MaskedConv2d)]
    assert len(names) == 12  # the others keep every connection
    for name in names:
        assert isinstance(packed[name], SparseConv2d)
        assert torch.equal(packed[name].topology.positions, masked[name].topology.positions), name
        torch.testing.assert_close(packed[name].to_dense(), masked[name].to_dense(), rtol=1e-3, atol=1e-4)


def test_augmented_batches_differ_by_epoch_and_not_by_start(shapes: str) -> None:
    """The batch at place 2 is the same after a resume at place 2."""
    samples = load_samples(shapes, flatten=False)
    wanted = config(data=shapes)
    first, again, later = (
        [x for x, _ in samples.training(wanted, epoch, start, 0, 1)]
        for epoch, start in ((1, 0), (1, 2), (2, 0))
    )
    assert torch.equal(first[2], again[0])
    assert not torch.equal(first[0], later[0])
    plain = config(data=shapes, augment="none")
    assert not torch.equal(first[0], next(samples.training(plain, 1, 0, 0, 1))[0])


def test_the_command_trains_inspects_and_freezes(
    shapes: str, tmp_path: Path, call: Callable[..., Any]
) -> None:
    """From flags; the recorded configuration has every setting of the model; test accuracy is above chance."""
    run = tmp_path / "run"
    flags = ["--data", shapes, "--model", "resnet20", "--set", "model.width=0.25", "--density", "0.5"]
    flags += ["--augment", "standard", "--epochs", "8", "--batch", "8", "--lr", "0.05", "--threads", "1"]
    answer = call("train", *flags, "--set", "home=masked", "--out", run, "--quiet")
    assert answer.code == 0, answer.stderr
    recorded = json.loads((run / "config.json").read_text())
    assert recorded["config"]["model"] == {"name": "resnet20", "width": 0.25}
    assert json.loads((run / "summary.json").read_text())["best"]["accuracy"] > 0.7
    assert not (run / "pixels.jsonl").exists()  # the first layer's inputs are places of a kernel, no pixels
    found = restored(run)
    assert found.model(torch.zeros(1, *found.shape)).shape == (1, 2)
    assert "MaskedConv2d" in call("inspect", run, "--json").stdout
    answer = call("freeze", run, "--out", tmp_path / "net.safetensors", "--batch", 1)
    assert answer.code == 0, answer.stderr


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"model": {"name": "resnet20"}, "widths": [10]}, "widths: of perceptrons only"),
        ({"model": {"name": "resnet20"}, "dropout": 0.1}, "dropout: of perceptrons only"),
        ({"model": {"name": "resnet20"}, "epsilon": 10}, "epsilon: of perceptrons only"),
        ({"augment": "standard"}, "name a model"),
        ({"augment": "lots"}, "augment='lots'"),
        ({"label_smoothing": 1.0}, "label_smoothing=1.0"),
        ({"data": "cifar10", "model": TINY, "image_size": 64}, "image_size: of data 'folder' only"),
        ({"readers": 4}, "readers: of data 'folder' only"),
        ({"readers": 4}, "got readers: of data"),  # the sentence alone, without all the settings
        ({"optimizer": {"name": "adam", "momentum": 0.5}}, "got optimizer: adam takes no momentum"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        read_config(None, settings)


@pytest.mark.parametrize(
    ("flags", "way"), [([], "dense_first="), (["--set", "dense_first=true"], "rule.gamma=0")]
)
def test_refusals_of_a_pattern_say_the_way_out(
    shapes: str, tmp_path: Path, call: Callable[..., Any], flags: list[str], way: str
) -> None:
    """Three channels are no groups of four; and SRigL, where no rule is named, ablates."""
    given = [
        "--data",
        shapes,
        "--model",
        "resnet20",
        "--pattern",
        "nm:2:4",
        *flags,
        "--out",
        tmp_path / "run",
    ]
    answer = call("train", *given)
    assert (answer.code, way in answer.stderr) == (2, True), answer.stderr
    flags = ["--set", "dense_first=true", "--set", "rule.gamma=0", "--epochs", "1", "--batch", "8"]
    assert call("train", *given, *flags, "--set", "model.width=0.25", "--quiet").code == 0


@pytest.mark.parametrize("batch", [1, 5, 15])
def test_a_batch_of_one_image_is_refused(shapes: str, batch: int) -> None:
    """Sixteen images; torch would stop in the middle of an epoch, or divide by a deviation of nothing."""
    with pytest.raises(
        ConfigError, match=r"a last batch of one: 16 samples in batches of \d+; choose another"
    ):
        Loop(config(data=shapes, batch=batch), load_samples(shapes, flatten=False))


def test_a_batch_of_one_image_is_that_of_a_worker(shapes: str, tmp_path: Path) -> None:
    """Two workers have eight images each: batches of 5 leave three, batches of 7 one, which is told before a start."""
    begin(tmp_path / "good", config(data=shapes, batch=5, parallel={"workers": 2}))
    with pytest.raises(ConfigError, match="a last batch of one: 8 samples in batches of 7"):
        begin(tmp_path / "bad", config(data=shapes, batch=7, parallel={"workers": 2}))
    assert not (tmp_path / "bad").exists()


def test_an_unknown_network_is_named(shapes: str, tmp_path: Path) -> None:
    """Before a folder is made."""
    with pytest.raises(ConfigError, match="did you mean 'resnet20'"):
        begin(tmp_path / "new", config(data=shapes, model={"name": "resnet_20"}))
    assert not (tmp_path / "new").exists()
