"""Everything a training needs to go on, in one safetensors file: no pickle."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from gossamer import storage
from gossamer.errors import FormatError
from gossamer.nn.sparse import check_model_state
from gossamer.training.engine import Engine
from gossamer.training.plain import from_plain, to_plain

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
        "optimizer": to_plain({"groups": optimizer_state["param_groups"], "scalars": scalars}, "optimizer"),
        "engine": engine.state_dict() if engine else None,
        "scheduler": to_plain(extras.scheduler.state_dict(), "scheduler") if extras.scheduler else None,
        "progress": to_plain(extras.progress or {}, "progress"),
    }
    storage.write(path, tensors, document)


def load_checkpoint(
    path: str | Path,
    model: nn.Module,
    optimizer: Optimizer,
    engine: Engine | None = None,
    scheduler: Any = None,
) -> dict[str, Any]:
    """Put a checkpoint back into the objects of a run built the same way; training then goes on with the same bits.

    Everything is checked before anything is touched: after an error the run goes on as if nothing had been asked.

    Args:
        path: str or Path.
        model: nn.Module - built as the saved one was.
        optimizer: Optimizer - the same.
        engine: Engine or None - the same.
        scheduler: learning-rate scheduler or None.
    Returns:
        dict - the progress that was saved.
    Raises:
        FormatError, ConfigError, TopologyError, ShapeError, DtypeError: damaged, or of another run. FileNotFoundError.
    Cost: one pass over the file.
    """
    tensors, document = storage.read(path, KIND, (VERSION,))
    weights = {
        key.removeprefix("model/"): tensor for key, tensor in tensors.items() if key.startswith("model/")
    }
    _check_weights(model, weights)
    optimizer_state = _optimizer_state(optimizer, tensors, from_plain(document.get("optimizer")))
    schedule = from_plain(document.get("scheduler"))
    if scheduler is not None:
        _alike("scheduler", scheduler.state_dict(), schedule)
    progress = from_plain(document.get("progress"))
    _alike("progress", {}, progress, same_keys=False)
    random = _random_state(tensors)
    if engine is not None:
        engine.parse(document.get("engine"))

    model.load_state_dict(weights)
    optimizer.load_state_dict(optimizer_state)
    if engine is not None:
        engine.load_state_dict(document["engine"])
    if scheduler is not None:
        scheduler.load_state_dict(schedule)
    torch.set_rng_state(random)
    return dict(progress)


def _check_weights(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Names, shapes and dtypes of the model's own; index buffers may have another size, so layers check those."""
    mine = model.state_dict()
    _same_keys("model", mine, weights)
    topologies = check_model_state(model, weights)
    resized = {
        f"{layer}.{name}" if layer else name for layer, found in topologies.items() for name in found.index()
    }
    for name, tensor in weights.items():
        expected = (mine[name].dtype, None if name in resized else tuple(mine[name].shape))
        if (got := (tensor.dtype, None if name in resized else tuple(tensor.shape))) != expected:
            raise _refused(
                f"model {name}", f"{expected[0]} of shape {expected[1]}", f"{got[0]} of shape {got[1]}"
            )


def _optimizer_state(optimizer: Optimizer, tensors: Mapping[str, Tensor], saved: Any) -> dict[str, Any]:
    """What ``optimizer.load_state_dict`` takes: groups like its own, and state that fits its parameters."""
    groups = optimizer.state_dict()["param_groups"]
    _alike("optimizer", {"groups": [], "scalars": {}}, saved)
    if len(saved["groups"]) != len(groups):
        raise _refused("optimizer", f"{len(groups)} parameter groups", str(len(saved["groups"])))
    for mine, given in zip(groups, saved["groups"], strict=True):
        _alike("optimizer group", mine, given)
        if mine["params"] != given["params"]:
            raise _refused("optimizer group", f"{len(mine['params'])} parameters", repr(given["params"])[:60])
    parameters = {
        str(n): p for n, p in enumerate(p for group in optimizer.param_groups for p in group["params"])
    }
    state: dict[int, dict[str, Any]] = {}
    entries: list[tuple[str, str, Any]] = []
    for key, tensor in tensors.items():
        if key.startswith("optimizer/"):
            number, _, entry = key.removeprefix("optimizer/").partition("/")
            entries.append((number, entry, tensor))
    for number, values in saved["scalars"].items():
        _alike("optimizer state", {}, values, same_keys=False)
        entries += [(number, entry, value) for entry, value in values.items()]
    for number, entry, value in entries:
        if number not in parameters or not entry:
            raise _refused(
                "optimizer", "state of the optimizer's parameters", f"{entry!r} of parameter {number}"
            )
        _check_state(f"optimizer state {entry} of parameter {number}", parameters[number], value)
        state.setdefault(int(number), {})[entry] = value
    return {"state": state, "param_groups": saved["groups"]}


def _check_state(what: str, parameter: Tensor, value: Any) -> None:
    """State is a scalar, has its parameter's shape, or broadcasts to it (as factored state of matrices does)."""
    if not isinstance(value, Tensor) or value.dim() == 0 or value.shape == parameter.shape:
        return
    fits = value.dim() == parameter.dim() and all(
        a in (1, b) for a, b in zip(value.shape, parameter.shape, strict=True)
    )
    if not fits or parameter.dim() == 1:
        raise _refused(what, f"shape {tuple(parameter.shape)}", f"{tuple(value.shape)}")


def _random_state(tensors: Mapping[str, Tensor]) -> Tensor:
    """The random state in a file, tried on a generator of its own."""
    try:
        torch.Generator().set_state(state := tensors["random/torch"])
    except (KeyError, RuntimeError, TypeError) as error:
        raise _refused("random state", "one of torch", str(error).splitlines()[0]) from None
    return state


def _alike(what: str, mine: Any, given: Any, *, same_keys: bool = True) -> None:
    """Refuse data of another kind than mine: number, text, list or dict; and a dict with other keys."""
    if _kind(mine) != _kind(given):
        raise _refused(what, _kind(mine), f"{_kind(given)} {given!r}"[:80])
    if isinstance(mine, dict) and same_keys:
        _same_keys(what, mine, given)
        for key, value in mine.items():
            if value is not None and given[key] is not None:
                _alike(f"{what} {key}", value, given[key], same_keys=False)


def _kind(value: Any) -> str:
    """What a piece of state is, as far as JSON can tell."""
    kinds = ((dict, "a dict"), ((list, tuple), "a list"), (str, "text"), (type(None), "nothing"))
    return next((name for kind, name in kinds if isinstance(value, kind)), "a number")


def _same_keys(what: str, mine: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    """Refuse missing and unexpected entries."""
    if differ := sorted(set(mine) ^ set(given)):
        missing = [key for key in differ if key in mine]
        extra = sorted(set(differ) - set(missing))
        got = f"missing {', '.join(missing[:5]) or 'nothing'}, unexpected {', '.join(extra[:5]) or 'nothing'}"
        raise _refused(what, "the entries of this run", got)


def _refused(what: str, expected: str, got: str) -> FormatError:
    """The error of a checkpoint that does not fit."""
    return FormatError(f"load checkpoint, {what}", expected=expected, got=got, hint="nothing was changed")
