"""The teacher of a training: loaded, checked, and remembered by its check sum."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open
from torch import nn
from torch.nn import functional as F

from gossamer import models
from gossamer.distillation import (
    AttentionTransfer,
    Distillation,
    Logits,
    SquareHead,
    TeacherCache,
    Term,
    fingerprint_of,
)
from gossamer.errors import ConfigError, FormatError
from gossamer.runs.build import sample_shape

if TYPE_CHECKING:
    from gossamer.runs.config import DistillConfig, DistillLoss, RunConfig
    from gossamer.runs.samples import Source

FEATURES: dict[str, Any] = {"attention": AttentionTransfer, "squarehead": SquareHead}
EXAMPLES = 2


def distillation_of(config: RunConfig, samples: Source, student: nn.Module) -> Distillation | None:
    """The loss of a configuration that has a teacher.

    Args:
        config: RunConfig.
        samples: Source.
        student: nn.Module - the model that trains.
    Returns:
        Distillation, or None without a teacher.
    Raises:
        ConfigError: no such teacher, one of other samples or classes, or other weights than the run began with.
        FormatError: a damaged file. FileNotFoundError.
    Cost: the teacher's memory, and one pass over its weights.
    """
    if config.distill is None:
        return None
    shape = sample_shape(config, samples.shape)
    with torch.random.fork_rng(devices=[]):  # building one draws values, and they are none of the run's
        teacher = load_teacher(config.distill, shape, samples.classes)
        _check_weights(config.distill, teacher)
    return taught_by(teacher, config.distill, config, samples, student, _cache(config, samples))


def taught_by(
    teacher: nn.Module,
    loss: DistillLoss,
    config: RunConfig,
    samples: Source,
    student: nn.Module,
    cache: TeacherCache | None = None,
) -> Distillation:
    """The loss of a student whose teacher is at hand.

    Args:
        teacher: nn.Module.
        loss: DistillLoss.
        config: RunConfig - of the training.
        samples: Source.
        student: nn.Module - the model that trains.
        cache: TeacherCache or None - of the teacher's answers.
    Returns:
        Distillation.
    Raises:
        ConfigError.
    Cost: a pass of both over two samples.
    """
    return Distillation(
        teacher,
        student,
        *_terms(loss),
        task=partial(F.cross_entropy, label_smoothing=config.label_smoothing),
        task_weight=1 - loss.alpha,
        example=torch.zeros(EXAMPLES, *sample_shape(config, samples.shape)),
        cache=cache,
    )


def remembered(config: RunConfig, distillation: Distillation | None) -> RunConfig:
    """The configuration with the check sum of the teacher's weights."""
    if config.distill is None or distillation is None:
        return config
    known = config.distill.model_copy(update={"sha256": fingerprint_of(distillation.teacher)})
    return config.model_copy(update={"distill": known})


def load_teacher(config: DistillConfig, shape: tuple[int, ...], classes: int) -> nn.Module:
    """The network that a teacher's settings name, for samples of a shape.

    Args:
        config: DistillConfig.
        shape: tuple of int - of a sample as the student reads it.
        classes: int.
    Returns:
        nn.Module.
    Raises:
        As distillation_of.
    """
    path = Path(config.teacher)
    if config.model is None:
        from gossamer.runs.folder import restored  # it needs the loop, which needs this file

        run = restored(path)
        if run.shape != shape:
            raise ConfigError(
                f"teacher {path}", expected=f"one that reads samples {list(shape)}", got=str(list(run.shape))
            )
        return run.model
    if len(shape) != 3:
        raise ConfigError(
            f"teacher {path}", expected="a student that reads images, as the teacher does", got="a perceptron"
        )
    model = models.build(config.model, channels=shape[0], classes=classes)
    _load(path, model)
    return model


def _load(path: Path, model: nn.Module) -> None:
    """Take a state out of a safetensors file; names, shapes and types are compared before a number is read."""
    if not path.is_file():
        raise FileNotFoundError(f"no weights of a teacher in {path}: expected a safetensors file")
    wanted = model.state_dict()
    try:
        with safe_open(path, framework="pt") as file:
            there = {name: list(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
            for name in sorted({*there, *wanted}):
                expected = list(wanted[name].shape) if name in wanted else "no such tensor"
                if (got := there.get(name, "no such tensor")) != expected:
                    raise FormatError(
                        f"teacher {path}",
                        expected=f"{name}: {expected}",
                        got=str(got),
                        hint="choose the network with --teacher-model",
                    )
            model.load_state_dict({name: file.get_tensor(name) for name in wanted})
    except SafetensorError as error:
        hint = "write it with safetensors.torch.save_file; pickled files are not read"
        raise FormatError(
            f"teacher {path}", expected="a complete safetensors file", got=str(error), hint=hint
        ) from None


def _check_weights(config: DistillConfig, teacher: nn.Module) -> None:
    """Refuse another teacher than the run began with."""
    if config.sha256 is not None and (got := fingerprint_of(teacher)) != config.sha256:
        raise ConfigError(
            f"teacher {config.teacher}",
            expected=f"the weights that the run began with, {config.sha256[:12]}",
            got=f"others, {got[:12]}",
        )


def _terms(config: DistillLoss) -> list[Term]:
    terms: list[Term] = [Logits(temperature=config.temperature, alpha=config.alpha)]
    if config.features != "none":
        weight = {} if config.weight is None else {"weight": config.weight}
        terms.append(FEATURES[config.features](layers=config.layers, **weight))
    return terms


def _cache(config: RunConfig, samples: Source) -> TeacherCache | None:
    """Of the draws of this configuration: batches are named too, for they decide the last bits of an output."""
    if config.distill is None or config.distill.cache is None:
        return None
    draws = f"{config.augment}, seed {config.seed}, batches of {config.batch}"
    return TeacherCache(config.distill.cache, data=samples.sha256, augmentation=draws)
