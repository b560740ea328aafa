"""Run folders: begun, reopened, and read back as the training that wrote them."""

from __future__ import annotations

import shutil
from math import prod
from typing import TYPE_CHECKING, NamedTuple

import torch

from gossamer.cli.build import Samples, build_model, build_optimizer, build_rule, load_samples
from gossamer.cli.config import DENSE, RunConfig, checked_config
from gossamer.cli.journal import write_json
from gossamer.cli.loop import Loop
from gossamer.cli.modes import check_parallel
from gossamer.errors import ConfigError, DataError, FormatError
from gossamer.report import run as layout
from gossamer.rules import describe
from gossamer.training import load_checkpoint

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn


def begin(
    folder: Path, config: RunConfig, *, fresh: bool = False, samples: Samples | None = None
) -> tuple[RunConfig, Samples]:
    """Load the data and make a run folder, with all that the configuration leaves open decided.

    Args:
        folder: Path.
        config: RunConfig.
        fresh: bool - delete the run that is there.
        samples: Samples or None - where they are loaded already.

    Returns:
        (config, samples): the configuration as recorded.

    Raises:
        ConfigError: there is a run already, or something that is no run.
        DataError: no such data set at hand.
    """
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"run folder {folder}", expected="a folder", got="a file")
    if (folder / layout.CONFIG).is_file() and not fresh:
        raise ConfigError(
            f"run folder {folder}",
            expected="a new folder",
            got="a run",
            hint="go on with --resume, or delete it with --fresh",
        )
    samples = samples or load_samples(config.data, config.data_root)
    decided = decide(config, samples.name)
    # What cannot be trained is refused before anything is written or deleted.
    check_parallel(decided, Loop(decided, samples).model)
    _clear(folder)
    write_json(
        folder / layout.CONFIG,
        {"version": 1, "config": decided.model_dump(mode="json"), "data": samples.describe()},
    )
    return decided, samples


def decide(config: RunConfig, data: str) -> RunConfig:
    """The configuration with all it leaves open decided: data set, threads, and every setting of the rule.

    Args:
        config: RunConfig.
        data: str - the data set that "best" stands for.

    Returns:
        RunConfig - to record; a later default changes nothing in it.

    Raises:
        ConfigError: no such rule, or a setting it does not take.

    Example:
        >>> decide(RunConfig(rule={"name": "set"}, threads=1), "digits").rule["until"]
        1.0
    """
    rule = None if config.pattern == DENSE else describe(build_rule(config))
    threads = config.threads or torch.get_num_threads()
    return config.model_copy(update={"data": data, "threads": threads, "rule": rule})


def reopen(folder: Path) -> tuple[RunConfig, Samples]:
    """Configuration and data of a run that is there.

    Raises:
        FileNotFoundError: no run.
        FormatError, ConfigError: a damaged one.
        DataError: the data set is gone, or another.
    """
    document = layout.read_document(folder)
    config = checked_config(document.config, str(folder / layout.CONFIG))
    samples = load_samples(config.data, config.data_root)
    if samples.sha256 != document.data.sha256:
        raise DataError(f"resume {folder}", expected=f"the {samples.name} it began with", got="other content")
    return config, samples


class Restored(NamedTuple):
    """A model as a checkpoint left it."""

    model: nn.Module
    config: RunConfig
    inputs: int  # features of a sample
    step: int


def restored(path: Path, checkpoint: str = layout.LAST) -> Restored:
    """The model of a run, for freezing and inspecting; its data set is not needed.

    Args:
        path: Path - a run folder, or one of the checkpoints in it.
        checkpoint: str - which one of a folder: ``last.safetensors`` or ``best.safetensors``.

    Returns:
        Restored.

    Raises:
        FormatError: no such checkpoint, or a damaged one. ConfigError: a damaged configuration.
        FileNotFoundError: no run.
    """
    folder, name = (path, checkpoint) if path.is_dir() else (path.parent, path.name)
    document = layout.read_document(folder)
    config = checked_config(document.config, str(folder / layout.CONFIG))
    if not (folder / name).is_file():
        raise FormatError(
            f"open {folder}", expected=f"a checkpoint {name}", got="none", hint="train it first"
        )
    inputs = prod(document.data.shape)
    model = build_model(config, inputs, document.data.classes)
    progress = load_checkpoint(folder / name, model, build_optimizer(config.optimizer, model))
    return Restored(model.eval(), config, inputs, int(progress.get("step", 0)))


def is_checkpoint(path: Path) -> bool:
    """Whether a path is a run folder, or a file that lies in one under a checkpoint's name."""
    return path.is_dir() or (
        path.name in (layout.LAST, layout.BEST) and (path.parent / layout.CONFIG).is_file()
    )


def forget_workers(folder: Path) -> None:
    """Delete the checkpoints of workers that trained alone."""
    for own in folder.glob(layout.WORKER.format("*")):
        own.unlink()


def _clear(folder: Path) -> None:
    """Delete what a run consists of, and nothing else that may be in its folder."""
    for name in (layout.CONFIG, layout.LAST, layout.BEST, layout.METRICS, layout.TOPOLOGY, layout.PIXELS):
        (folder / name).unlink(missing_ok=True)
    for name in (layout.SUMMARY, layout.SPEED, layout.NETWORK):
        (folder / name).unlink(missing_ok=True)
    forget_workers(folder)
    if (folder / layout.TENSORBOARD).is_dir():
        shutil.rmtree(folder / layout.TENSORBOARD)
