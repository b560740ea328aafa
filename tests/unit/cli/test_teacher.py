"""Training with a teacher: its answers count, a kill changes nothing, and another teacher is refused."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import save_file

from gossamer import models
from gossamer.errors import ConfigError, FormatError
from gossamer.runs.config import RunConfig, checked_config
from gossamer.runs.folder import begin, reopen, restored
from gossamer.runs.loop import Loop
from gossamer.runs.samples import load_samples
from run_folders import same_bits

if TYPE_CHECKING:
    from pathlib import Path


def config(teacher: Path, **settings: Any) -> RunConfig:
    base = {
        "data": "digits",
        "widths": [16],
        "density": 0.5,
        "epochs": 2,
        "threads": 1,
        "rule": {"name": "set"},
    }
    document = {**base, "distill": {"teacher": str(teacher), **settings.pop("distill", {})}, **settings}
    return checked_config(document, "test")


def test_a_run_learns_from_a_run(call, finished, tmp_path):
    flags = ["--data", "digits", "--widths", "16", "--density", "0.5", "--epochs", 2, "--threads", 1]
    answer = call(
        *("train", *flags, "--teacher", finished, "--distill-alpha", 0.5, "--distill-temperature", 2),
        *("--teacher-cache", tmp_path / "cache", "--out", tmp_path / "run", "--json"),
    )
    assert answer.code == 0
    recorded = json.loads((tmp_path / "run" / "config.json").read_text())["config"]["distill"]
    assert (recorded["alpha"], recorded["temperature"]) == (0.5, 2.0)
    assert len(recorded["sha256"]) == 64
    call("train", *flags, "--out", tmp_path / "plain", "--json")
    assert not same_bits(*(tmp_path / name / "last.safetensors" for name in ("plain", "run")))
    assert len([*(tmp_path / "cache").rglob("*.safetensors")]) == 1


def test_the_loss_is_that_of_the_formula(finished):
    """The first step: half the cross entropy, half T^2 KL."""
    from torch.nn import functional as F

    from gossamer.distillation import logits_loss

    samples = load_samples("digits")
    loop = Loop(config(finished, distill={"alpha": 0.5, "temperature": 2.0}, label_smoothing=0.1), samples)
    x, y = next(samples.training(loop.config, 0, 0, 0, 1))
    with torch.no_grad():
        z, t = loop.model(x), restored(finished).model(x)
        expected = 0.5 * F.cross_entropy(z, y, label_smoothing=0.1) + 0.5 * logits_loss(z, t, 2.0)
    assert loop._train_step(x, y).mean == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize("features", ["none", "squarehead"])
def test_a_stop_at_any_step_changes_no_bit(features, finished, tmp_path):
    """With a cache that is filled on the way."""
    samples, layers = load_samples("digits"), {} if features == "none" else {"fc1": "fc2"}
    distill: dict[str, Any] = {"features": features, "layers": layers}

    def trained(name: str, stop: int) -> Loop:
        chosen = config(finished, distill=distill | {"cache": str(tmp_path / name)})
        loop = Loop(chosen, samples)
        for pair in [*samples.training(chosen, 0, 0, 0, 1)][:stop]:
            loop._train_step(*pair)
            loop.step += 1
        if stop:
            loop.save(tmp_path / f"{name}.safetensors")
            loop = Loop(chosen, samples)
            loop.restore(tmp_path / f"{name}.safetensors")
        loop.run(None)
        return loop

    whole, stopped = trained("whole", 0), trained("stopped", 7)
    for name, tensor in whole.model.state_dict().items():
        assert torch.equal(tensor, stopped.model.state_dict()[name])


def test_a_run_goes_on_with_the_teacher_it_began_with(finished, tmp_path):
    teacher = tmp_path / "teacher"
    shutil.copytree(finished, teacher)
    begin(tmp_path / "run", config(teacher))
    chosen, samples = reopen(tmp_path / "run")
    Loop(chosen, samples)
    model = restored(teacher)
    other = Loop(model.config.model_copy(update={"seed": 5}), samples)
    other.save(teacher / "last.safetensors")
    with pytest.raises(ConfigError, match="the weights that the run began with"):
        Loop(chosen, samples)


def test_teachers_that_do_not_fit_are_refused_before_anything_is_written(finished, tmp_path):
    cases = (
        (config(finished, model={"name": "resnet20"}, widths=[300, 100]), ConfigError, "reads samples"),
        (config(tmp_path / "none"), ConfigError, "no such file or folder"),
        (
            config(finished, distill={"features": "squarehead", "layers": ["fc1", "fc7"]}),
            ConfigError,
            "'fc7'",
        ),
    )
    for number, (chosen, kind, says) in enumerate(cases):
        with pytest.raises(kind, match=says):
            begin(tmp_path / str(number), chosen)
        assert not (tmp_path / str(number)).exists()
    for settings in ({"layers": ["fc1"]}, {"features": "attention"}, {"temperature": 0}, {"alpha": 2}):
        with pytest.raises(ConfigError):
            config(finished, distill=settings)
    with pytest.raises(ConfigError, match="one process"):
        config(finished, parallel={"workers": 2})


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    torch.manual_seed(3)
    model = models.build({"name": "resnet20", "width": 0.25}, channels=1, classes=10)
    path = tmp_path_factory.mktemp("weights") / "teacher.safetensors"
    save_file(model.state_dict(), path)
    return path, model.eval()


def of_images(path: Path, width: float = 0.25) -> RunConfig:
    return config(
        path,
        widths=[300, 100],
        model={"name": "resnet20", "width": 0.25},
        distill={
            "model": {"name": "resnet20", "width": width},
            "features": "attention",
            "layers": ["layer1"],
        },
    )


def test_a_file_of_weights_and_a_name_are_a_teacher(weights):
    path, model = weights
    loop = Loop(of_images(path), load_samples("digits", flatten=False))
    x = torch.randn(2, 1, 8, 8)
    assert loop.distillation is not None
    assert torch.equal(loop.distillation.taught(x)[""], model(x))


@pytest.mark.parametrize("damage", ["other width", "cut", "pickle", "extra"])
def test_weights_of_another_network_or_another_format_are_refused(damage, weights, tmp_path):
    path, model = weights
    copy = tmp_path / "copy.safetensors"
    if damage == "pickle":
        torch.save(model.state_dict(), copy)
    elif damage == "extra":
        save_file({**model.state_dict(), "more": torch.ones(1)}, copy)
    else:
        copy.write_bytes(path.read_bytes()[: -8 if damage == "cut" else None])
    with pytest.raises(FormatError, match=r"teacher .*copy"):
        Loop(of_images(copy, 0.5 if damage == "other width" else 0.25), load_samples("digits", flatten=False))


def test_drawing_is_the_same_with_and_without_a_teacher(finished):
    samples = load_samples("digits")
    chosen = config(finished)
    with_teacher = Loop(chosen, samples)
    state = torch.get_rng_state()
    without = Loop(chosen.model_copy(update={"distill": None}), samples)
    assert torch.equal(state, torch.get_rng_state())
    assert all(map(torch.equal, with_teacher.model.parameters(), without.model.parameters()))
