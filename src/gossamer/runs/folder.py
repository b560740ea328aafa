"""Run folders: begun, reopened, and read back as the training that wrote them."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from gossamer import models
from gossamer.errors import ConfigError, DataError, FormatError
from gossamer.rules import describe
from gossamer.runs import record
from gossamer.runs.build import build_model, build_optimizer, build_rule, sample_shape
from gossamer.runs.config import DENSE, RunConfig, checked_config
from gossamer.runs.journal import write_json
from gossamer.runs.kept import forget
from gossamer.runs.known import check_known
from gossamer.runs.loop import Loop
from gossamer.runs.modes import check_parallel
from gossamer.runs.samples import Source, describe_source, source_of
from gossamer.runs.teacher import remembered
from gossamer.training import load_checkpoint

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn


def begin(
    folder: Path, config: RunConfig, *, fresh: bool = False, samples: Source | None = None
) -> tuple[RunConfig, Source]:
    """Load the data and make a run folder, with all that the configuration leaves open decided.

    Args:
        folder: Path.
        config: RunConfig.
        fresh: bool - delete the run that is there, and nothing else.
        samples: Source or None - where they are loaded already.

    Returns:
        (config, samples): the configuration as recorded.

    Raises:
        ConfigError: there is a run already, or something that is no run where files of a run would be.
        DataError: no such data set at hand.
    """
    _check_free(folder, fresh=fresh)
    samples = samples or source_of(config)
    decided = decide(config, samples.name)
    # What cannot be trained is refused before anything is written or deleted.
    trial = Loop(decided, samples)
    check_parallel(decided, trial.model)
    decided = remembered(decided, trial.distillation)
    _clear(folder)
    write_json(folder / record.CONFIG, _document(decided, samples))
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
    model = None if config.model is None else models.describe(config.model)
    threads = config.threads or torch.get_num_threads()
    return config.model_copy(update={"data": data, "threads": threads, "rule": rule, "model": model})


def open_folder(folder: Path, config: RunConfig, samples: Source) -> None:
    """Make a folder that is there, and ours, the run folder of a training that another command has decided.

    Args:
        folder: Path.
        config: RunConfig.
        samples: Source.
    """
    if not (folder / record.CONFIG).is_file():
        decided = decide(config, samples.name)
        write_json(folder / record.CONFIG, _document(decided, samples))


def _document(decided: RunConfig, samples: Source) -> dict[str, Any]:
    """What a run folder says of itself."""
    return {"version": 1, "config": decided.model_dump(mode="json"), "data": describe_source(samples)}


def reopen(folder: Path) -> tuple[RunConfig, Source]:
    """Configuration and data of a run that is there.

    Raises:
        FileNotFoundError: no run.
        FormatError, ConfigError: a damaged one, or one that needs a plug-in.
        DataError: the data set is gone, or another.
    """
    document = record.read_document(folder)
    config = checked_config(document.config, str(folder / record.CONFIG))
    check_known(f"resume {folder}", config, "data", "model", "pattern", "rule")
    samples = source_of(config)
    if samples.sha256 != document.data.sha256:
        raise DataError(f"resume {folder}", expected=f"the {samples.name} it began with", got="other content")
    return config, samples


class Restored(NamedTuple):
    """A model as a checkpoint left it."""

    model: nn.Module
    config: RunConfig
    shape: tuple[int, ...]  # of a sample, as the model reads it
    step: int


def restored(path: Path, checkpoint: str = record.LAST) -> Restored:
    """The model of a run, for freezing and inspecting; its data set is not needed.

    Args:
        path: Path - a run folder, or one of the checkpoints in it.
        checkpoint: str - which one of a folder: ``last.safetensors`` or ``best.safetensors``.

    Returns:
        Restored.

    Raises:
        FormatError: no such checkpoint, or a damaged one. ConfigError: no such path, a damaged
            configuration, or one that needs a plug-in.
        FileNotFoundError: a folder without a run.
    """
    if not path.is_dir() and not (path.is_file() and (path.parent / record.CONFIG).is_file()):
        got = "a file outside of one" if path.exists() else "no such file or folder"
        raise ConfigError(f"open {path}", expected="a run folder, or a checkpoint in one", got=got)
    folder, name = (path, checkpoint) if path.is_dir() else (path.parent, path.name)
    document = record.read_document(folder)
    config = checked_config(document.config, str(folder / record.CONFIG))
    if not (folder / name).is_file():
        raise FormatError(
            f"open {folder}", expected=f"a checkpoint {name}", got="none", hint="train it first"
        )
    check_known(f"open {folder}", config, "model", "pattern")
    shape = tuple(document.data.shape)
    model = build_model(config, shape, document.data.classes)
    progress = load_checkpoint(folder / name, model, build_optimizer(config.optimizer, model))
    return Restored(model.eval(), config, sample_shape(config, shape), int(progress.get("step", 0)))


def is_checkpoint(path: Path) -> bool:
    """Whether a path is a run folder, or a file that lies in one under a checkpoint's name."""
    return path.is_dir() or (
        path.name in (record.LAST, record.BEST) and (path.parent / record.CONFIG).is_file()
    )


def forget_workers(folder: Path) -> None:
    """Delete the checkpoints of workers that trained alone."""
    for own in _of_workers(folder):
        own.unlink()


def _of_workers(folder: Path) -> list[Path]:
    name = re.compile(re.escape(record.WORKER).replace(r"\{\}", r"\d+-[0-9a-f]{16}"))
    return [path for path in folder.glob(record.WORKER.format("*")) if name.fullmatch(path.name)]


def _check_free(folder: Path, *, fresh: bool) -> None:
    """Refuse a folder in which a new run would hide, replace or delete what is there."""
    where = f"run folder {folder}"
    if folder.exists() and not folder.is_dir():
        raise ConfigError(where, expected="a folder", got="a file")
    there = [folder / name for name in record.FILES if os.path.lexists(folder / name)]
    if _is_run(folder):
        if not fresh:
            hint = "go on with --resume, or delete it with --fresh"
            raise ConfigError(where, expected="a new folder", got="a run", hint=hint)
        in_the_way = [path for path in there if path.is_dir()]
    else:
        places = [folder / name for name in (record.TENSORBOARD, record.TOPOLOGIES)]
        in_the_way = there + _of_workers(folder) + [place for place in places if os.path.lexists(place)]
    if in_the_way:
        names = ", ".join(path.name for path in in_the_way)
        hint = "choose another folder, or move them away yourself: only files of a run are ever deleted"
        raise ConfigError(where, expected="no foreign files under the names of a run", got=names, hint=hint)


def _is_run(folder: Path) -> bool:
    """Whether a folder holds a run of ours; a foreign ``config.json`` is none."""
    try:
        record.read_document(folder)
    except (FormatError, FileNotFoundError):
        return False
    return True


def _clear(folder: Path) -> None:
    """Delete what a run consists of, and nothing else that may be in its folder; the caller replaces its first file."""
    for name in record.FILES:
        if name != record.CONFIG:
            (folder / name).unlink(missing_ok=True)
    forget_workers(folder)
    forget(folder)
    events = folder / record.TENSORBOARD
    for own in events.glob(f"*{record.EVENTS}"):
        own.unlink()
    if events.is_dir() and not events.is_symlink() and not any(events.iterdir()):
        events.rmdir()
