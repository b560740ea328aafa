"""Topologies that a training keeps on its way: small files, integers only, without values."""

from __future__ import annotations

import re
from math import ceil
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from gossamer import storage
from gossamer.errors import FormatError, GossamerError
from gossamer.patterns import parse
from gossamer.runs import record
from gossamer.topology import FullTopology, Topology

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from gossamer.runs.config import RunConfig

KIND, VERSION = "topologies", 1
INTEGERS = (torch.uint8, torch.uint16, torch.int32, torch.int64)
NAME = re.compile(r"(\d{10,})\.safetensors")


class Kept(NamedTuple):
    """A file of topologies.

    Args:
        step: int - after how many optimizer steps.
        path: Path.
    """

    step: int
    path: Path


Side = Annotated[int, Field(ge=1, le=1 << 27)]  # neurons or inputs: counting them takes a gigabyte at most


class _Layer(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)
    name: str
    shape: tuple[Side, Side]
    pattern: str | None  # None: a dense layer


class _Document(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)
    layers: list[_Layer]


def is_due(config: RunConfig, epoch: int) -> bool:
    """Whether topologies are kept after an epoch: at the start, ``config.topologies`` times, and at the end.

    Example:
        >>> from gossamer.runs.config import RunConfig
        >>> [epoch for epoch in range(26) if is_due(RunConfig(epochs=25, topologies=4), epoch)]
        [0, 7, 14, 21, 25]
    """
    if not config.topologies:
        return False
    every = ceil(config.epochs / config.topologies)
    return epoch % every == 0 or epoch == config.epochs


def keep(folder: Path, step: int, topologies: Mapping[str, Topology]) -> None:
    """Write topologies into a run folder; nothing where all layers are dense.

    Args:
        folder: Path - of the run.
        step: int.
        topologies: name -> Topology, in order of computation.
    Cost: the narrow index of every layer, on disk: 2 bytes a connection for up to 65,536 inputs.
    """
    layers: list[dict[str, Any]] = []
    tensors: dict[str, Any] = {}
    for number, (name, topology) in enumerate(topologies.items()):
        full = isinstance(topology, FullTopology)
        pattern = None if full else str(topology.pattern)
        layers.append({"name": name, "shape": topology.shape, "pattern": pattern})
        if not full:
            tensors |= {f"{number}/{part}": tensor for part, tensor in topology.index().items()}
    if tensors:
        path = folder / record.TOPOLOGIES / f"{step:010}.safetensors"
        storage.write(path, tensors, {"kind": KIND, "version": VERSION, "layers": layers})


def kept(folder: Path) -> list[Kept]:
    """The files of topologies in a run folder, in order of training; O(files)."""
    found = [(NAME.fullmatch(path.name), path) for path in (folder / record.TOPOLOGIES).glob("*")]
    return sorted(Kept(int(name[1]), path) for name, path in found if name)


def read_kept(path: Path) -> dict[str, Topology]:
    """Read and check a file of topologies.

    Args:
        path: Path.
    Returns:
        name -> Topology.
    Raises:
        FormatError: a damaged file. ConfigError: a pattern that is not known here. FileNotFoundError.
    Cost: O(connections).
    """
    tensors, document = storage.read(path, KIND, (VERSION,))
    try:
        layers = _Document.model_validate(document).layers
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        raise FormatError(f"read {path.name}", expected="layers", got=problem["msg"]) from None
    return {layer.name: _topology(path, number, layer, tensors) for number, layer in enumerate(layers)}


def _topology(path: Path, number: int, layer: _Layer, tensors: dict[str, Any]) -> Topology:
    if layer.pattern is None:
        return FullTopology(layer.shape)
    pattern, start = parse(layer.pattern), f"{number}/"
    index = {name.removeprefix(start): tensor for name, tensor in tensors.items() if name.startswith(start)}
    where = f"read {path.name}, layer {layer.name!r}"
    if wrong := [str(tensor.dtype) for tensor in index.values() if tensor.dtype not in INTEGERS]:
        raise FormatError(where, expected="integers", got=", ".join(wrong))
    try:
        return Topology.from_index(pattern, layer.shape, index)
    except (GossamerError, KeyError) as error:
        raise FormatError(where, expected="a valid topology", got=str(error)) from None


def forget(folder: Path, after: int = -1) -> None:
    """Delete the topologies of a run that were kept after a step, and their folder where nothing else is in it."""
    for each in kept(folder):
        if each.step > after:
            each.path.unlink()
    place = folder / record.TOPOLOGIES
    if place.is_dir() and not place.is_symlink() and not any(place.iterdir()):
        place.rmdir()
