"""What a checkpoint says, held against the objects of this run before any of them is touched."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from gossamer.errors import FormatError
from gossamer.nn.sparse import check_model_state
from gossamer.training.riding import KEY

EXTRA = "_extra_state"  # torch's name for what a module keeps beside its tensors


def check_names(listed: Any, tensors: Mapping[str, Tensor]) -> None:
    """Refuse a file with other tensors than it was written with."""
    alike("list of tensors", [], listed)
    same_keys("tensors", dict.fromkeys(map(str, listed)), tensors)


def check_weights(model: nn.Module, state: Mapping[str, Any]) -> None:
    """Names, shapes and dtypes of the model's own.

    Index and values may have another size, so layers check those; extra state is its module's affair.
    """
    mine = model.state_dict()
    same_keys("model", mine, state)
    weights = {name: value for name, value in state.items() if not name.endswith(EXTRA)}
    topologies = check_model_state(model, weights)
    resized = {
        f"{layer}.{name}" if layer else name
        for layer, found in topologies.items()
        for name in ("values", *found.index())
    }
    for name, tensor in weights.items():
        expected = (mine[name].dtype, None if name in resized else tuple(mine[name].shape))
        if (got := (tensor.dtype, None if name in resized else tuple(tensor.shape))) != expected:
            raise refused(
                f"model {name}", f"{expected[0]} of shape {expected[1]}", f"{got[0]} of shape {got[1]}"
            )


def optimizer_state_of(
    optimizer: Optimizer, tensors: Mapping[str, Tensor], saved: Any, shapes: Mapping[int, torch.Size]
) -> dict[str, Any]:
    """What ``optimizer.load_state_dict`` takes: groups like its own, and state that fits its parameters.

    ``shapes`` are those that the parameters will have, by id: a file may hold a layer that was compacted.
    """
    groups = [
        {k: v for k, v in group.items() if k != KEY} for group in optimizer.state_dict()["param_groups"]
    ]
    alike("optimizer", {"groups": [], "scalars": {}}, saved)
    if len(saved["groups"]) != len(groups):
        raise refused("optimizer", f"{len(groups)} parameter groups", str(len(saved["groups"])))
    for mine, given in zip(groups, saved["groups"], strict=True):
        alike("optimizer group", mine, given)
        if mine["params"] != given["params"]:
            raise refused("optimizer group", f"{len(mine['params'])} parameters", repr(given["params"])[:60])
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
        alike("optimizer state", {}, values, exact=False)
        entries += [(number, entry, value) for entry, value in values.items()]
    for number, entry, value in entries:
        if number not in parameters or not entry:
            raise refused(
                "optimizer", "state of the optimizer's parameters", f"{entry!r} of parameter {number}"
            )
        shape = shapes.get(id(parameters[number]), parameters[number].shape)
        _check_state(f"optimizer state {entry} of parameter {number}", shape, value)
        state.setdefault(int(number), {})[entry] = value
    for number, parameter in parameters.items():
        if (own := optimizer.state.get(parameter)) and (given := state.get(int(number))):
            same_keys(f"optimizer state of parameter {number}", own, given)
    return {"state": state, "param_groups": saved["groups"]}


def _check_state(what: str, shape: torch.Size, value: Any) -> None:
    """State is a scalar, has its parameter's shape, or broadcasts to it (as factored state of matrices does)."""
    if not isinstance(value, Tensor) or value.dim() == 0 or value.shape == shape:
        return
    fits = value.dim() == len(shape) and all(a in (1, b) for a, b in zip(value.shape, shape, strict=True))
    if not fits or len(shape) == 1:
        raise refused(what, f"shape {tuple(shape)}", f"{tuple(value.shape)}")


def random_state(tensors: Mapping[str, Tensor]) -> Tensor:
    """The random state in a file, tried on a generator of its own."""
    try:
        torch.Generator().set_state(state := tensors["random/torch"])
    except (KeyError, RuntimeError, TypeError) as error:
        raise refused("random state", "one of torch", str(error).splitlines()[0]) from None
    return state


def alike(what: str, mine: Any, given: Any, *, exact: bool = True) -> None:
    """Refuse data of another kind than mine: number, text, list or dict; and a dict with other keys."""
    if _kind(mine) != _kind(given):
        raise refused(what, _kind(mine), f"{_kind(given)} {given!r}"[:80])
    if isinstance(mine, dict) and exact:
        same_keys(what, mine, given)
        for key, value in mine.items():
            if value is not None and given[key] is not None:
                alike(f"{what} {key}", value, given[key], exact=False)


def _kind(value: Any) -> str:
    """What a piece of state is, as far as JSON can tell."""
    kinds = ((dict, "a dict"), ((list, tuple), "a list"), (str, "text"), (type(None), "nothing"))
    return next((name for kind, name in kinds if isinstance(value, kind)), "a number")


def same_keys(what: str, mine: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    """Refuse missing and unexpected entries."""
    if differ := sorted(set(mine) ^ set(given)):
        missing = [key for key in differ if key in mine]
        extra = sorted(set(differ) - set(missing))
        got = f"missing {', '.join(missing[:5]) or 'nothing'}, unexpected {', '.join(extra[:5]) or 'nothing'}"
        raise refused(what, "the entries of this run", got)


def refused(what: str, expected: str, got: str) -> FormatError:
    """The error of a checkpoint that does not fit."""
    return FormatError(f"load checkpoint, {what}", expected=expected, got=got, hint="nothing was changed")
