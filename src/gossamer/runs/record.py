"""A run folder: what is in it, and how to read it without believing it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveInt,
    ValidationError,
)

from gossamer.errors import FormatError

if TYPE_CHECKING:
    from collections.abc import Iterator

CONFIG, SUMMARY, SPEED = "config.json", "summary.json", "speed.json"
METRICS, TOPOLOGY, PIXELS = "metrics.jsonl", "topology.jsonl", "pixels.jsonl"
LAST, BEST, NETWORK = "last.safetensors", "best.safetensors", "net.safetensors"
WORKER = "worker-{}.safetensors"  # checkpoint of a worker that trains alone, until it is done
TENSORBOARD = "tensorboard"
TOPOLOGIES = "topologies"  # folder of those that were kept on the way
EVENTS = ".gossamer"  # how the names of our files in it end
FILES = (CONFIG, SUMMARY, SPEED, METRICS, TOPOLOGY, PIXELS, LAST, BEST, NETWORK)
LARGEST = 256 << 20  # bytes of one text file


class _Row(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, allow_inf_nan=False)


class Metrics(_Row):
    """One epoch."""

    epoch: PositiveInt
    step: PositiveInt
    train_loss: float
    train_accuracy: float = Field(ge=0, le=1)
    test_loss: float
    test_accuracy: float = Field(ge=0, le=1)
    lr: NonNegativeFloat
    seconds: NonNegativeFloat


class LayerUpdate(_Row):
    """One topology update of one layer."""

    step: PositiveInt
    layer: str
    dropped: NonNegativeInt
    grown: NonNegativeInt
    connections: NonNegativeInt
    active: NonNegativeInt
    fan_in: NonNegativeInt


class Pixels(_Row):
    """Connections that leave each input at one step."""

    step: NonNegativeInt
    fan_out: list[NonNegativeInt]


class LayerBytes(_Row):
    """What a layer stores."""

    values: NonNegativeInt
    indices: NonNegativeInt
    bias: NonNegativeInt


class Layer(_Row):
    """One layer, counted exactly."""

    name: str
    kind: str
    shape: tuple[PositiveInt, PositiveInt]
    connections: NonNegativeInt
    bytes: LayerBytes
    flops: NonNegativeInt | None  # of one sample
    active: NonNegativeInt  # neurons with at least one connection
    fan_in: dict[int, NonNegativeInt]  # inputs -> neurons that have so many

    @property
    def density(self) -> float:
        """Share of the dense layer's connections."""
        return self.connections / (self.shape[0] * self.shape[1])


class Data(_Row):
    """The data set."""

    name: str
    shape: list[PositiveInt]
    classes: PositiveInt
    sha256: str


class Best(_Row):
    """The best epoch on the test set."""

    epoch: NonNegativeInt
    accuracy: float = Field(ge=0, le=1)


class Summary(_Row):
    """What a finished run amounts to."""

    accuracy: float = Field(ge=0, le=1)
    best: Best
    epochs: NonNegativeInt
    steps: NonNegativeInt
    seconds: NonNegativeFloat
    layers: list[Layer]


class Speed(_Row):
    """A frozen network's size and measured speed, beside the dense network of the same session."""

    bytes: NonNegativeInt
    seconds: dict[int, float]  # batch -> median
    dense_seconds: dict[int, float]
    threads: PositiveInt
    machine: str


class RunDocument(_Row):
    """config.json."""

    version: int = Field(ge=1, le=1)
    config: dict[str, Any]
    data: Data


@dataclass(frozen=True)
class Run:
    """Everything a run folder says.

    Args:
        name: str - of the folder; any text, so escape it.
        document: RunDocument.
        metrics, updates, pixels: rows, by step.
        summary: Summary or None while the run is not finished.
        speed: Speed or None where nothing was measured.
    """

    name: str
    document: RunDocument
    metrics: list[Metrics] = field(default_factory=list)
    updates: list[LayerUpdate] = field(default_factory=list)
    pixels: list[Pixels] = field(default_factory=list)
    summary: Summary | None = None
    speed: Speed | None = None


def read_run(folder: str | Path) -> Run:
    """Read and check a run folder.

    Args:
        folder: str or Path.

    Returns:
        Run.

    Raises:
        FormatError: a file is damaged or not what it should be; FileNotFoundError: not a run folder.
    Cost: O(size of its text files); checkpoints are not opened.
    """
    folder = Path(folder)
    document = read_document(folder)
    return Run(
        name=folder.resolve().name,
        document=document,
        metrics=list(_rows(folder / METRICS, Metrics)),
        updates=list(_rows(folder / TOPOLOGY, LayerUpdate)),
        pixels=list(_rows(folder / PIXELS, Pixels)),
        summary=_optional(folder / SUMMARY, Summary),
        speed=_optional(folder / SPEED, Speed),
    )


def read_document(folder: str | Path) -> RunDocument:
    """Read a run's configuration and data set; raises as ``read_run``."""
    folder = Path(folder)
    if not (folder / CONFIG).is_file():
        found = "a folder without one" if folder.is_dir() else "no such folder"
        raise FileNotFoundError(
            f"no run in {folder}: expected a run folder, which holds {CONFIG}, got {found}"
        )
    document: RunDocument = _check(_text(folder / CONFIG), RunDocument, f"{folder.name}/{CONFIG}")
    return document


def _optional(path: Path, kind: type[_Row]) -> Any:
    return _check(_text(path), kind, f"{path.parent.name}/{path.name}") if path.is_file() else None


def _rows(path: Path, kind: type[_Row]) -> Iterator[Any]:
    """The rows of a .jsonl file; a last line that a kill cut short is left out."""
    if not path.is_file():
        return
    text = _text(path)
    for number, line in enumerate(text[: text.rfind("\n") + 1].splitlines(), start=1):
        yield _check(line, kind, f"{path.parent.name}/{path.name}, line {number}")


def _text(path: Path) -> str:
    if path.stat().st_size > LARGEST:
        raise FormatError(
            f"read {path.name}", expected=f"at most {LARGEST} bytes", got=str(path.stat().st_size)
        )
    try:
        return path.read_text("utf-8")
    except UnicodeDecodeError as error:
        raise FormatError(f"read {path.name}", expected="UTF-8 text", got=str(error)) from None


def _check(text: str, kind: type[_Row], where: str) -> Any:
    try:
        return kind.model_validate(json.loads(text))
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        name = ".".join(str(part) for part in problem["loc"])
        raise FormatError(
            f"read {where}", expected=kind.__name__.lower(), got=f"{name}: {problem['msg']}"
        ) from None
    except (ValueError, RecursionError) as error:
        raise FormatError(f"read {where}", expected="JSON", got=str(error)) from None
