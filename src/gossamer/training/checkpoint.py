"""Everything a training needs to go on, in one safetensors file: no pickle."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from gossamer import storage
from gossamer.errors import ConfigError
from gossamer.training.checks import (
    alike,
    check_names,
    check_weights,
    optimizer_state_of,
    random_state,
)
from gossamer.training.engine import Engine
from gossamer.training.plain import from_plain, to_plain
from gossamer.training.restoring import loading, restoring
from gossamer.training.riding import KEY, riders

KIND, VERSION = "checkpoint", 1


@dataclass(frozen=True)
class Extras:
    """What else rides in a checkpoint.

    Args:
        scheduler: a learning-rate scheduler, or None.
        progress: dict - facts of the run (epoch, metrics, config): numbers, text, lists and dicts of them.
    """

    scheduler: Any = None
    progress: dict[str, Any] | None = None


def save_checkpoint(
    path: str | Path,
    model: nn.Module,
    optimizer: Optimizer,
    engine: Engine | None = None,
    extras: Extras | None = None,
) -> None:
    """Write model, optimizer, engine, scheduler and torch's random state; a kill while writing leaves the old file.

    Args:
        path: str or Path.
        model: nn.Module - as trained.
        optimizer: Optimizer - as trained.
        engine: Engine or None.
        extras: Extras or None - scheduler and progress.
    Cost: one copy of all state on disk.
    Example:
        >>> import tempfile
        >>> net = nn.Linear(2, 2); opt = torch.optim.SGD(net.parameters(), lr=0.1)
        >>> file = Path(tempfile.mkdtemp()) / "c.safetensors"
        >>> save_checkpoint(file, net, opt); load_checkpoint(file, net, opt)
        {}
    """
    extras = extras or Extras()
    groups, scalars, tensors = _optimizer_parts(optimizer)
    states = groups[0].pop(KEY, [])
    if engine is not None and not _holds(states, mine := engine.state_dict()):
        states = [mine, *states]

    def keep(place: str, tensor: Tensor) -> str:
        tensors[place] = _storable(place, tensor)
        return place

    extra = {}
    for name, value in model.state_dict().items():
        if isinstance(value, Tensor):
            keep(f"model/{name}", value)
        else:
            extra[name] = to_plain(value, f"extra/{name}", keep)
    keep("random/torch", torch.get_rng_state())
    document = {
        "kind": KIND,
        "version": VERSION,
        "optimizer": to_plain({"groups": groups, "scalars": scalars}, "optimizer"),
        "extra": extra,
        "engine": to_plain(next(iter(states), None), "engine", keep),
        "further_engines": to_plain(states[1:], "further_engines", keep),
        "scheduler": to_plain(extras.scheduler.state_dict(), "scheduler") if extras.scheduler else None,
        "progress": to_plain(extras.progress or {}, "progress"),
        "tensors": sorted(tensors),
    }
    storage.write(path, tensors, document)


def _holds(states: list[dict[str, Any]], mine: dict[str, Any]) -> bool:
    """Whether an engine's state is among those that ride in the optimizer; tensors are not compared."""
    plain = [{key: value for key, value in state.items() if key != "remembered"} for state in (mine, *states)]
    return plain[0] in plain[1:]


def _optimizer_parts(optimizer: Optimizer) -> tuple[list[dict[str, Any]], dict[str, Any], dict[str, Tensor]]:
    """Groups, numbers by parameter, and tensors of an optimizer's state; raises ConfigError on what has no place."""
    whole = optimizer.state_dict()
    scalars: dict[str, dict[str, Any]] = {}
    tensors = {}
    for number, state in whole["state"].items():
        if not (
            isinstance(number, int) and isinstance(state, dict) and all(isinstance(k, str) for k in state)
        ):
            raise ConfigError(
                f"checkpoint of {type(optimizer).__name__}",
                expected="optimizer state stored by parameter and name",
                got=f"an entry {number!r}",
                hint="save the optimizer's state_dict() beside the checkpoint",
            )
        for key, value in state.items():
            name = f"optimizer/{number}/{key}"
            if isinstance(value, Tensor):
                tensors[name] = _storable(name, value)
            else:
                scalars.setdefault(str(number), {})[key] = value
    return whole["param_groups"], scalars, tensors


def _storable(name: str, tensor: Tensor) -> Tensor:
    """Refuse a tensor that safetensors has no place for."""
    dense = tensor.layout == torch.strided and not (tensor.is_meta or tensor.is_quantized)
    if not dense or tensor.dtype in (torch.complex32, torch.complex128):
        raise ConfigError(
            f"checkpoint of {name}",
            expected="a dense tensor of a dtype that safetensors holds",
            got=f"{tensor.dtype}, {tensor.layout}, on {tensor.device}",
            hint="save it beside the checkpoint",
        )
    return tensor


def load_checkpoint(
    path: str | Path,
    model: nn.Module,
    optimizer: Optimizer,
    engine: Engine | None = None,
    scheduler: Any = None,
) -> dict[str, Any]:
    """Put a checkpoint back into the objects of a run built the same way; training then goes on with the same bits.

    Everything is checked before anything is touched, and put back where torch or a module refuses what the checks let
    pass: after an error the run goes on as if nothing had been asked.

    Args:
        path: str or Path.
        model: nn.Module - built as the saved one was.
        optimizer: Optimizer - the same.
        engine: Engine or None - the same; one that is attached to the optimizer resumes anyway.
        scheduler: learning-rate scheduler or None.
    Returns:
        dict - the progress that was saved.
    Raises:
        FormatError, ConfigError, TopologyError, ShapeError, DtypeError: damaged, or of another run. FileNotFoundError.
    Cost: one pass over the file, and a copy of the model while it is loaded.
    """
    tensors, document = storage.read(path, KIND, (VERSION,))
    check_names(document.get("tensors"), tensors)
    extra = from_plain(document.get("extra"), tensors)
    alike("extra state", {}, extra, exact=False)
    weights = extra | {
        key.removeprefix("model/"): tensor for key, tensor in tensors.items() if key.startswith("model/")
    }
    check_weights(model, weights)
    shapes = {id(parameter): weights[name].shape for name, parameter in model.named_parameters()}
    optimizer_state = optimizer_state_of(optimizer, tensors, from_plain(document.get("optimizer")), shapes)
    schedule = from_plain(document.get("scheduler"))
    if scheduler is not None:
        alike("scheduler", scheduler.state_dict(), schedule)
    progress = from_plain(document.get("progress"))
    alike("progress", {}, progress, exact=False)
    random = random_state(tensors)
    followed = from_plain(document.get("engine"), tensors)
    if engine is not None:
        engine.parse(followed)
    further: Any = from_plain(document.get("further_engines"), tensors)
    alike("further engines", [], further)
    if followed is not None and (count := riders(optimizer)):
        optimizer_state["param_groups"][0][KEY] = [followed, *further][:count]

    with restoring(model, optimizer, scheduler):
        with loading("model"):
            model.load_state_dict(weights)
        with loading("optimizer"):
            optimizer.load_state_dict(optimizer_state)
        if engine is not None:
            engine.load_state_dict(followed)
        if scheduler is not None:
            with loading("scheduler"):
                scheduler.load_state_dict(schedule)
        torch.set_rng_state(random)
    return dict(progress)
