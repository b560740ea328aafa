"""Masks that torch hangs on a model's weights, taken off for a while: what is left are weights with zeros."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize, prune

from gossamer.nn.candidates import prune_hooks

Masks = dict[int, Tensor]  # id of a parameter -> mask of its shape
Undo = Callable[[], None]
SPARSITY = "FakeSparsity"  # the parametrization of torch.ao.pruning and of its successor in torchao


@contextmanager
def masks_applied(model: nn.Module) -> Iterator[Masks]:
    """Have the masks of ``torch.nn.utils.prune`` and ``torch.ao.pruning`` multiplied into the weights.

    Modules that are still part of the model at the end of the block get their masks back; after an error all do.

    Args:
        model: nn.Module - changed in place.
    Yields:
        id of a parameter -> the mask that it had.
    Cost: O(weights under a mask).
    """
    masks: Masks = {}
    undo: list[tuple[nn.Module, Undo]] = []
    try:
        for module in list(model.modules()):
            undo += [
                (module, _take_off(module, key, hook, masks)) for key, hook in prune_hooks(module).items()
            ]
            if _is_sparsified(module):
                undo += [(module, _squash(module, name, masks)) for name in list(_parametrized(module))]
        yield masks
    except BaseException:
        for _, back in undo:
            back()
        raise
    stays = {id(module) for module in model.modules()}
    for module, back in undo:
        if id(module) in stays:
            back()


@torch.no_grad()
def _take_off(module: nn.Module, key: int, hook: prune.BasePruningMethod, masks: Masks) -> Undo:
    """Make one mask of ``torch.nn.utils.prune`` permanent."""
    name = hook._tensor_name  # noqa: SLF001 (no public question)
    parameter, mask = getattr(module, f"{name}_orig"), getattr(module, f"{name}_mask")
    stale = parameter.data
    hook.remove(module)
    del module._forward_pre_hooks[key]  # noqa: SLF001 (torch's own way)
    masks[id(parameter)] = mask

    def back() -> None:
        del module._parameters[name]  # noqa: SLF001 (delattr of a recurrent layer forgets more)
        parameter.data = stale
        module.register_parameter(f"{name}_orig", parameter)
        module.register_buffer(f"{name}_mask", mask)
        setattr(module, name, hook.apply_mask(module))
        module._forward_pre_hooks[key] = hook  # noqa: SLF001

    return back


def _parametrized(module: nn.Module) -> dict[str, Any]:
    """Name of a parameter -> the list of its parametrizations."""
    if not parametrize.is_parametrized(module):
        return {}
    return dict(module.parametrizations.items())  # type: ignore[union-attr, operator]  # a ModuleDict


def _is_sparsified(module: nn.Module) -> bool:
    """Whether all that is parametrized is a mask."""
    found = [each for parts in _parametrized(module).values() for each in parts]
    return bool(found) and all(type(each).__name__ == SPARSITY for each in found)


@torch.no_grad()
def _squash(module: nn.Module, name: str, masks: Masks) -> Undo:
    """Multiply the masks of one parametrized weight into it."""
    parts = _parametrized(module)[name]
    held, parameter = list(parts), parts.original
    stale = parameter.detach().clone()
    masks[id(parameter)] = torch.stack([part.mask.bool() for part in held]).all(0)
    parametrize.remove_parametrizations(module, name, leave_parametrized=True)

    def back() -> None:
        with torch.no_grad():
            parameter.copy_(stale)
        for part in held:
            parametrize.register_parametrization(module, name, part)

    return back
