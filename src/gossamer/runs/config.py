"""The configuration of a training: one TOML file, one set of flags, one checked object."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from gossamer.bounds import LARGEST_DECAY, LARGEST_RATE, LARGEST_SLOPE
from gossamer.errors import ConfigError
from gossamer.registry import did_you_mean, setting_meant

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

LONGEST_WAIT = 1e6  # seconds; torch counts them in a timedelta
LARGEST_COUNT = (1 << 31) - 1  # of epochs, samples, steps and threads
LARGEST_CONFIG = 1 << 20  # bytes; a configuration is a page, not a book
DENSE = "dense"  # the pattern name that means: ordinary torch layers, no rule
BEST = "best"  # the name that means: what is at hand
FOLDER = "folder"  # the name of a data set that means: images below data_root


@dataclass(frozen=True)
class Flag:
    """In the annotation of a setting: it is an option of ``gossamer train`` too.

    Args:
        help: str - what the option does; choices and the default are added where the setting says them.
        name: str - of the option; empty: as the setting.
        key, kind: where the setting is a dict, what is set in it, and its type.
    """

    help: str
    name: str = ""
    key: str = ""
    kind: type = str


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class OptimizerConfig(_Strict):
    """The optimizer.

    Args:
        name: "sgd", "sgdw", "adam", "adamw" or "rmsprop".
        lr: float > 0, at most 1e30 - the learning rate at the top of its schedule.
        momentum: float in [0, 1) or None - for sgd, sgdw and rmsprop; None is 0.9 for the first two and 0 for rmsprop.
        nesterov: bool - sgd only.
        weight_decay: float from 0 to 1e6 - acts on existing connections only; for sgdw below 1, and free of the lr.
    """

    name: Annotated[
        Literal["sgd", "sgdw", "adam", "adamw", "rmsprop"], Flag("How weights move", "optimizer")
    ] = "sgd"
    lr: Annotated[float, Field(gt=0, le=LARGEST_RATE), Flag("Learning rate.")] = 0.1
    momentum: Annotated[float | None, Field(ge=0, lt=1)] = None
    nesterov: bool = False
    weight_decay: Annotated[float, Field(ge=0, le=LARGEST_DECAY)] = 0.0

    @model_validator(mode="after")
    def _fits(self) -> OptimizerConfig:
        if self.name in ("adam", "adamw") and (self.momentum is not None or self.nesterov):
            raise ValueError(f"{self.name} takes no momentum and no nesterov")
        if self.nesterov and (self.name != "sgd" or self.momentum == 0):
            raise ValueError("nesterov needs sgd with momentum")
        if self.name == "sgdw" and self.weight_decay >= 1:
            raise ValueError("sgdw takes a weight_decay below 1")
        return self


class ScheduleConfig(_Strict):
    """The learning rate over time, a function of the step alone.

    Args:
        name: "constant", "cosine" (to zero) or "step" (times ``factor`` at each of ``milestones``).
        warmup: int - steps of linear rise at the start.
        milestones: epochs, ascending - for "step".
        factor: float in (0, 1] - for "step".
    """

    name: Annotated[Literal["constant", "cosine", "step"], Flag("Learning rate over time", "schedule")] = (
        "cosine"
    )
    warmup: Annotated[int, Field(ge=0, le=LARGEST_COUNT)] = 0
    milestones: tuple[Annotated[int, Field(ge=1, le=LARGEST_COUNT)], ...] = ()
    factor: Annotated[float, Field(gt=0, le=1)] = 0.1

    @model_validator(mode="after")
    def _fits(self) -> ScheduleConfig:
        if (self.name == "step") != bool(self.milestones):
            raise ValueError("milestones belong to the schedule 'step', which needs them")
        return self


class ParallelConfig(_Strict):
    """Training with several processes.

    Args:
        mode: "ddp" (in step, any rule), "wassp" (in step, learning rate scaled and warmed up), "wasap" (asynchronous).
        workers: int - processes that compute gradients; wasap has a server beside them.
        alone: float in [0, 1) - wasap: share of the epochs at the end that each worker trains by itself.
        time_limit: float > 0 - seconds without an answer after which a process counts as gone.
        restarts: int - how often processes that failed are started again from the last checkpoint.
    """

    mode: Annotated[Literal["ddp", "wassp", "wasap"], Flag("How workers train")] = "ddp"
    workers: Annotated[int, Field(ge=1, le=4096), Flag("Train with so many processes.")]
    alone: Annotated[float, Field(ge=0, lt=1)] = 0.3
    time_limit: Annotated[float, Field(gt=0, le=LONGEST_WAIT)] = 300.0
    restarts: Annotated[int, Field(ge=0, le=LARGEST_COUNT)] = 2

    @property
    def processes(self) -> int:
        """Workers, and the server."""
        return self.workers + (self.mode == "wasap")


class DistillLoss(_Strict):
    """The loss of a student.

    Args:
        temperature: float > 0 - what logits of both are divided by.
        alpha: float in [0, 1] - share of the teacher's answers in the loss.
        features: "none", "attention" or "squarehead" - a loss of layers beside it.
        layers: names of those layers in both networks, or layer of the student -> layer of the teacher.
        weight: float >= 0 or None - of that loss; None takes its own.
    """

    temperature: Annotated[
        float, Field(gt=0, le=1e6), Flag("What logits are divided by.", "distill_temperature")
    ] = 4.0
    alpha: Annotated[
        float, Field(ge=0, le=1), Flag("Share of the teacher's answers in the loss.", "distill_alpha")
    ] = 0.9
    features: Literal["none", "attention", "squarehead"] = "none"
    layers: tuple[str, ...] | dict[str, str] = ()
    weight: Annotated[float | None, Field(ge=0)] = None

    @model_validator(mode="after")
    def _fits(self) -> DistillLoss:
        if (self.features == "none") == bool(self.layers):
            raise ValueError("layers belong to features 'attention' or 'squarehead', which need them")
        return self


class DistillConfig(DistillLoss):
    """A teacher, whose answers are learned beside the labels.

    Args:
        teacher: str - a run folder or a checkpoint in one; or, with ``model``, a safetensors file of its state.
        model: dict or None - ``name`` and settings of the teacher's network, where ``teacher`` holds weights alone.
        cache: str or None - a folder that keeps what the teacher says; decides no bits.
        sha256: str or None - of the teacher's weights; filled in where the run begins, and checked when it goes on.
    """

    teacher: Annotated[str, Flag("Run folder, or file of weights, of a network to learn from.")]
    model: Annotated[
        dict[str, Any] | None,
        Flag("Network by name that a file of weights is of.", "teacher_model", key="name"),
    ] = None
    cache: Annotated[str | None, Flag("Folder that keeps what the teacher says.", "teacher_cache")] = None
    sha256: str | None = None


class RunConfig(_Strict):
    """Everything that decides the bits of a training.

    Args:
        data: str - a data set of ``gossamer.data``; "best" takes the best one at hand, "folder" images in folders.
        data_root: str or None - a folder to look for it first; of "folder" the one that holds ``train`` and ``val``.
        image_size: int - "folder": pixels of a side of the images that the network reads.
        readers: int - "folder": threads that decode images ahead; decides no bits.
        model: dict or None - ``name`` and the settings of a network of ``gossamer.models``, which reads images; None
            is a perceptron.
        widths: tuple of int - hidden layers of a perceptron.
        augment: "none", or "standard": images are moved by up to four pixels and mirrored at random.
        pattern: str - "fanin", "fanin:4", "nm:1:8", "block:4", "unstructured", or "dense" for ordinary torch.
        density: float, or layer name ("fc1", "fc2", ...) -> float, or None where the pattern fixes it.
        allocation: "uniform", "er", "erk" or None for the pattern's own.
        epsilon: float > 0 or None - in place of density and allocation: epsilon * (in + out) connections a layer.
        init, law: what the values of sparse layers are drawn from, see ``gossamer.sparsify``.
        all_relu: float >= 0 or None - perceptrons: size of the alternating slopes of All-ReLU; None is ReLU.
        dropout: float in [0, 1) - perceptrons: after every hidden activation.
        home: "packed" or "masked".
        dense_first, dense_last: bool - leave the first layer dense, and the output layer.
        rule: dict or None - ``name`` and the rule's settings; None is srigl, and nothing for a dense model.
        label_smoothing: float in [0, 1) - share of the target that all classes have in common.
        optimizer, schedule: see OptimizerConfig and ScheduleConfig.
        epochs, batch: int - a batch is one worker's.
        topologies: int - how many topologies are kept on the way, beside the first, evenly spread; decides no bits.
        parallel: see ParallelConfig; None is one process.
        distill: see DistillConfig; None is no teacher.
        seed: int - of values, topology, order of the data and every choice of the rule.
        threads: int or None - None takes torch's number, and records it.

    Example:
        >>> RunConfig(data="digits", density=0.1).optimizer.name
        'sgd'
    """

    data: Annotated[str, Flag("Data set by name, best, or folder.")] = BEST
    data_root: Annotated[str | None, Flag("Folder to look for the data first.")] = None
    image_size: Annotated[int, Field(ge=8, le=4096), Flag("Pixels of a side of images in folders.")] = 224
    readers: Annotated[int, Field(ge=0, le=256), Flag("Threads that decode images in folders.")] = 2
    model: Annotated[
        dict[str, Any] | None,
        Flag("Network by name, for example resnet20; a perceptron where none is named.", key="name"),
    ] = None
    widths: Annotated[
        tuple[Annotated[int, Field(ge=1, le=1 << 20)], ...],
        Field(max_length=100),
        Flag("Hidden layers of a perceptron."),
    ] = (300, 100)
    pattern: Annotated[str, Flag("fanin, fanin:4, nm:1:8, block:4, unstructured, or dense.")] = "fanin"
    density: Annotated[
        float | dict[str, float] | None, Flag("Share of connections that exist, in (0, 1].")
    ] = None
    allocation: Annotated[
        Literal["uniform", "er", "erk"] | None, Flag("How connections are spread over layers")
    ] = None
    epsilon: Annotated[float | None, Field(gt=0)] = None
    init: Literal["sparse", "dense"] = "sparse"
    law: Literal["he_normal", "he_uniform", "xavier_uniform", "normal"] = "he_normal"
    all_relu: Annotated[float | None, Field(ge=0, le=LARGEST_SLOPE)] = None
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    home: Annotated[Literal["packed", "masked"], Flag("How weights are held; packed is truly sparse")] = (
        "packed"
    )
    augment: Annotated[
        Literal["none", "standard"], Flag("Whether training images are moved and mirrored")
    ] = "none"
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    dense_first: bool = False
    dense_last: bool = False
    rule: Annotated[
        dict[str, Any] | None,
        Flag("static, set, rigl, srigl, ...; srigl where none is named.", key="name"),
        Flag("Steps between topology updates.", "every", "every", int),
        Flag("Share of connections replaced at the first update.", "drop", "drop", float),
    ] = None
    optimizer: OptimizerConfig = OptimizerConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    epochs: Annotated[int, Field(ge=1, le=LARGEST_COUNT), Flag("Passes over the training samples.")] = 10
    batch: Annotated[
        int,
        Field(ge=1, le=LARGEST_COUNT),
        Flag("Samples in a step; of each worker, where there are several."),
    ] = 100
    seed: Annotated[int, Field(ge=0, lt=1 << 32), Flag("Of every random choice.")] = 0
    threads: Annotated[int | None, Field(ge=1, le=4096), Flag("Threads of torch and of our kernels.")] = None
    topologies: Annotated[
        int, Field(ge=0, le=LARGEST_COUNT), Flag("Topologies to keep on the way, for compare; 0: none.")
    ] = 10
    parallel: ParallelConfig | None = None
    distill: DistillConfig | None = None

    @model_validator(mode="after")
    def _one_process(self) -> RunConfig:
        if self.distill and self.parallel:
            raise ValueError("distill: a teacher speaks to one process so far; leave out parallel")
        return self

    @model_validator(mode="after")
    def _one_density(self) -> RunConfig:
        if self.epsilon is not None and not (self.density is None and self.allocation is None):
            raise ValueError("epsilon takes the place of density and allocation")
        return self

    @model_validator(mode="after")
    def _one_network(self) -> RunConfig:
        if self.data != FOLDER and (given := self._changed("image_size", "readers")):
            raise ValueError(
                f"{given}: of data 'folder' only; other data sets have a size, and are in memory"
            )
        if self.model is None and self.data == FOLDER:
            raise ValueError("data 'folder' holds images, which a perceptron does not read: name a model")
        if self.model is None and self.augment != "none":
            raise ValueError("augment is for images, which a perceptron does not read: name a model")
        if self.model is not None and (given := self._changed("all_relu", "dropout", "epsilon", "widths")):
            raise ValueError(f"{given}: of perceptrons only; a model has settings of its own, model.*")
        return self

    def _changed(self, *names: str) -> str:
        """Those of some settings that are not what they are by default."""
        fields = type(self).model_fields
        return ", ".join(name for name in names if getattr(self, name) != fields[name].default)


GROUPS: dict[str, type[BaseModel]] = {
    "": RunConfig,
    "optimizer": OptimizerConfig,
    "schedule": ScheduleConfig,
    "parallel": ParallelConfig,
    "distill": DistillConfig,
}


def read_config(path: Path | None, overrides: dict[str, Any]) -> RunConfig:
    """A checked configuration from a TOML file and overrides, which win.

    Args:
        path: Path or None - the file.
        overrides: dotted name -> value, e.g. ``{"optimizer.lr": 0.1}``.

    Returns:
        RunConfig.

    Raises:
        ConfigError: not TOML, unknown or missing settings, values out of range. FileNotFoundError.

    Example:
        >>> read_config(None, {"optimizer.lr": 0.5}).optimizer.lr
        0.5
    """
    document = read_toml(path) if path else {}
    for name, value in overrides.items():
        _assign(document, name, value)
    return checked_config(document, str(path or "flags"))


def checked_config(document: Any, where: str) -> RunConfig:
    """A RunConfig from plain data; raises ConfigError with one sentence that names every wrong setting.

    Example:
        >>> checked_config({"epochs": -1}, "demo")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        ...
        gossamer.errors.ConfigError: config demo: expected valid settings, got epochs=-1 (input should be ...
    """
    try:
        return RunConfig.model_validate(document)
    except ValidationError as error:
        wrong = "; ".join(describe_problem(problem) for problem in error.errors(include_url=False))
        raise ConfigError(f"config {where}", expected="valid settings", got=wrong) from None


def parse_settings(settings: Iterable[str]) -> dict[str, Any]:
    """Overrides from ``name=value`` texts; a value is TOML, or a plain string where it is not.

    Raises:
        ConfigError: no ``=``.

    Example:
        >>> parse_settings(["rule.every=50", "rule.name=rigl", "widths=[30, 20]"])
        {'rule.every': 50, 'rule.name': 'rigl', 'widths': [30, 20]}
    """
    overrides = {}
    for setting in settings:
        name, equals, text = setting.partition("=")
        if not equals or not name.strip():
            raise ConfigError("--set", expected="name=value, e.g. rule.every=50", got=repr(setting))
        try:
            overrides[name.strip()] = tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            overrides[name.strip()] = text.strip()
    return overrides


def read_toml(path: Path) -> dict[str, Any]:
    """A TOML file of reasonable size as plain data; raises ConfigError."""
    if path.stat().st_size > LARGEST_CONFIG:
        raise ConfigError(
            f"config {path.name}", expected=f"at most {LARGEST_CONFIG} bytes", got=str(path.stat().st_size)
        )
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigError(f"config {path.name}", expected="a TOML file", got=str(error)) from None


def _assign(document: dict[str, Any], name: str, value: Any) -> None:
    """Set a dotted name in nested dicts."""
    *groups, last = name.split(".")
    for group in groups:
        document = document.setdefault(group, {})
        if not isinstance(document, dict):
            raise ConfigError("config", expected=f"{group} to be a group of settings", got=repr(document))
    document[last] = value


def describe_problem(problem: Any) -> str:
    """One pydantic problem as a phrase."""
    name = ".".join(str(part) for part in problem["loc"]) or "settings"
    message = problem["msg"][0].lower() + problem["msg"][1:]
    if problem["type"] == "value_error" and isinstance(problem["input"], dict):  # ours, of several settings
        return f"{name}: {problem['ctx']['error']}" if problem["loc"] else str(problem["ctx"]["error"])
    given = repr(problem["input"])
    if problem["type"] == "less_than_equal":
        message = f"at most {problem['ctx']['le']:g}"  # not written out to thirty digits
    hint = _meant(problem)
    said = f"{message}; {hint}" if hint else message
    return f"{name}={given if len(given) <= 80 else given[:77] + '...'} ({said})"


def _meant(problem: Any) -> str:
    """The value, or the name of a setting, that was probably meant."""
    if problem["type"] == "literal_error":
        return did_you_mean(problem["input"], re.findall(r"'(\w+)'", problem["ctx"]["expected"]))
    if problem["type"] != "extra_forbidden":
        return ""
    *groups, name = problem["loc"]
    group = GROUPS.get(".".join(map(str, groups)))
    return setting_meant(str(name), problem["input"], group.model_fields) if group else ""
