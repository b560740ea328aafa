"""The configuration of ResNet-50 on ImageNet, on twelve small images: it trains, updates, stops and goes on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from gossamer.errors import ConfigError, DataError
from gossamer.runs.config import read_config
from gossamer.runs.folder import begin, reopen, restored
from gossamer.runs.loop import Loop
from gossamer.runs.recorder import Recorder

if TYPE_CHECKING:
    from collections.abc import Callable

Image = pytest.importorskip("PIL.Image")
CONFIG = Path(__file__).parents[3] / "examples" / "imagenet-resnet50-srigl.toml"
SMALL = {
    "image_size": 32,
    "readers": 2,
    "model.width": 0.125,
    "density": 0.3,
    "home": "masked",
    "epochs": 2,
    "batch": 4,
    "threads": 1,
    "rule.every": 2,
    "schedule.warmup": 1,
    "schedule.milestones": [1],
}


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Two classes, dark and bright."""
    draw = np.random.default_rng(0)
    for split, number in (("train", 6), ("val", 2)):
        for label, name in enumerate(("dark", "bright")):
            (tmp_path / split / name).mkdir(parents=True)
            for n in range(number):
                pixels = draw.integers(0, 100, (40, 48, 3), dtype=np.uint8) + 120 * label
                Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / split / name / f"{n}.jpg")
    return tmp_path


def test_the_example_has_the_settings_of_the_papers() -> None:
    config = read_config(CONFIG, {"data_root": "."})
    assert (config.optimizer.lr, config.optimizer.momentum, config.optimizer.weight_decay) == (0.2, 0.9, 1e-4)
    assert (config.batch, config.label_smoothing, config.density, config.allocation) == (512, 0.1, 0.1, "erk")
    assert config.rule == {"name": "srigl", "every": 800, "drop": 0.3, "gamma": 0.3, "until": 0.75}


class _Stop(Exception):
    """As a kill between two steps."""


def test_imagenet_on_a_tiny_folder_stops_anywhere_and_ends_with_the_same_bits(
    images: Path, tmp_path: Path, call: Callable[..., Any]
) -> None:
    """The command to the end; the same by hand to step 3 of 6, and the command again: same weights, same topology."""
    flags = [part for name, value in SMALL.items() for part in ("--set", f"{name}={json.dumps(value)}")]
    answer = call("train", CONFIG, "--data-root", images, *flags, "--out", tmp_path / "whole", "--quiet")
    assert answer.code == 0, answer.stderr
    updates = (tmp_path / "whole/topology.jsonl").read_text().splitlines()
    assert {json.loads(row)["step"] for row in updates} == {2, 4}

    config, samples = begin(tmp_path / "cut", read_config(CONFIG, {**SMALL, "data_root": str(images)}))
    loop = Loop(config, samples)

    def told(loop: Loop, _row: Any) -> None:
        if loop.step == 3:
            raise _Stop

    with pytest.raises(_Stop):
        loop.run(Recorder(tmp_path / "cut", loop, 1, told))
    assert call("train", "--resume", tmp_path / "cut", "--quiet").code == 0
    first, second = (restored(tmp_path / name).model.state_dict() for name in ("whole", "cut"))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert (tmp_path / "cut/topology.jsonl").read_text().splitlines() == updates


def test_a_folder_that_changed_is_no_folder_to_go_on_with(images: Path, tmp_path: Path) -> None:
    begin(tmp_path / "run", read_config(CONFIG, {**SMALL, "data_root": str(images)}))
    (images / "train/dark/0.jpg").unlink()
    with pytest.raises(DataError, match="expected the folder it began with, got other content"):
        reopen(tmp_path / "run")


def test_a_folder_needs_a_place_and_a_network(tmp_path: Path) -> None:
    """Before anything is written."""
    with pytest.raises(
        DataError, match=r"data_root, which holds train and val, got none; --data-root FOLDER"
    ):
        begin(tmp_path / "run", read_config(CONFIG, SMALL))
    with pytest.raises(ConfigError, match="a perceptron does not read: name a model"):
        read_config(None, {"data": "folder"})
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("place", [["--data-root"], ["--data"]])
def test_images_in_folders_are_not_passed_over(
    images: Path, tmp_path: Path, call: Callable[..., Any], place: list[str]
) -> None:
    """Where their folder is named and the kind of data is not: the best set at hand is none of theirs."""
    answer = call(
        "train", *place, images, "--model", "resnet20", "--density", "0.3", "--out", tmp_path / "run"
    )
    assert (answer.code, f"--data folder --data-root {images}" in answer.stderr) == (2, True)
    assert not (tmp_path / "run").exists()
