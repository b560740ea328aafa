"""Everything a training needs to go on, in one safetensors file: no pickle."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from gossamer import storage
from gossamer.errors import FormatError
from gossamer.training.engine import Engine

KIND, VERSION = "checkpoint", 1


@dataclass(frozen=True)
class Extras:
    """What else rides in a checkpoint.

    Args:
        scheduler: a learning-rate scheduler, or None.
        progress: dict - JSON-ready facts of the run (epoch, metrics, config).
    """

    scheduler: Any = None
    progress: dict[str, Any] | None = None


def save_checkpoint(
    path: str | Path, model: nn.Module, optimizer: Optimizer, engine: Engine | None = None, extras: Extras | None = None
) -> None:
    """Write model, optimizer, engine, scheduler and torch's random state; a kill while writing leaves the old file.

    Args:
        path: str or Path.
        model, optimizer: as trained.
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
    optimizer_state = optimizer.state_dict()
    tensors = {f"model/{name}": tensor for name, tensor in model.state_dict().items()}
    scalars: dict[str, dict[str, Any]] = {}
    for number, state in optimizer_state["state"].items():
        for key, value in state.items():
            if isinstance(value, Tensor):
                tensors[f"optimizer/{number}/{key}"] = value
            else:
                scalars.setdefault(str(number), {})[key] = value
    tensors["random/torch"] = torch.get_rng_state()
    document = {
        "kind": KIND,
        "version": VERSION,
        "optimizer": {"groups": optimizer_state["param_groups"], "scalars": scalars},
        "engine": engine.state_dict() if engine else None,
        "scheduler": extras.scheduler.state_dict() if extras.scheduler else None,
        "progress": extras.progress or {},
    }
    storage.write(path, tensors, document)


def load_checkpoint(
    path: str | Path, model: nn.Module, optimizer: Optimizer, engine: Engine | None = None, scheduler: Any = None
) -> dict[str, Any]:
    """Put a checkpoint back into the objects of a run built the same way; training then goes on with the same bits.

    Args:
        path, model, optimizer, engine: as given to save_checkpoint.
        scheduler: learning-rate scheduler or None.
    Returns:
        dict - the progress that was saved.
    Raises:
        FormatError, ConfigError, TopologyError: damaged, or from another run; FileNotFoundError.
    Cost: one pass over the file.
    """
    tensors, document = storage.read(path, KIND, (VERSION,))
    name = Path(path).name
    try:
        groups, scalars = document["optimizer"]["groups"], document["optimizer"]["scalars"]
        state: dict[int, dict[str, Any]] = {int(number): dict(values) for number, values in scalars.items()}
        for key, tensor in tensors.items():
            if key.startswith("optimizer/"):
                _, number, entry = key.split("/", 2)
                state.setdefault(int(number), {})[entry] = tensor
        parts = {key[6:]: tensor for key, tensor in tensors.items() if key.startswith("model/")}
        if engine is not None:
            engine.load_state_dict(document["engine"])
        model.load_state_dict(parts)
        optimizer.load_state_dict({"state": state, "param_groups": groups})
        if scheduler is not None:
            scheduler.load_state_dict(document["scheduler"])
        torch.set_rng_state(tensors["random/torch"])
    except (KeyError, TypeError, AttributeError, RuntimeError) as error:
        raise FormatError(
            f"load {name}", expected="a checkpoint of this model and optimizer", got=str(error) or type(error).__name__
        ) from error
    return dict(document["progress"])
