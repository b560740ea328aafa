"""A copy of a model that freezing may change."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.utils.prune import BasePruningMethod
from torch.nn.utils.weight_norm import WeightNorm

from gossamer.errors import StateError

if TYPE_CHECKING:
    from collections.abc import Iterator


def private(model: nn.Module) -> nn.Module:
    """A deep copy in evaluation, without gradients, and with the masks and norms of torch's hooks worked in.

    Args:
        model: nn.Module.

    Raises:
        StateError: a model that cannot be copied, or whose copy shares modules with it.

    Cost: one copy of the model.

    Example:
        >>> from torch.nn.utils import prune
        >>> pruned = prune.l1_unstructured(nn.Linear(4, 1), "weight", 3)
        >>> int(private(pruned).weight.count_nonzero()), hasattr(pruned, "weight_mask")
        (1, True)
    """
    # torch copies no tensor that has a history; its number does here
    computed = {id(tensor): tensor.detach().clone() for tensor in _kept(model) if not tensor.is_leaf}
    try:
        with torch.no_grad():  # TorchScript's copies of parameters would have a history
            twin = copy.deepcopy(model, computed)
    except (RuntimeError, TypeError, AttributeError, ValueError, NotImplementedError) as error:
        raise StateError(
            "freeze",
            expected="a model that can be copied",
            got=f"{type(error).__name__}: {error}",
            hint="take out of the model what copy.deepcopy does not copy",
        ) from error
    if not set(model.modules()).isdisjoint(twin.modules()):
        raise StateError(
            "freeze",
            expected="a model whose copy is its own",
            got="a copy that shares modules with it",
            hint="a module's __deepcopy__ must return a new module",
        )
    for parent in list(twin.modules()):
        for name, child in parent._modules.items():  # noqa: SLF001 (what torch.compile was given, in its place)
            parent._modules[name] = getattr(child, "_orig_mod", child)  # noqa: SLF001
    twin.eval().requires_grad_(requires_grad=False)
    for module in twin.modules():
        _work_in(module)
    return twin


def _kept(model: nn.Module) -> Iterator[Tensor]:
    """Tensors that modules keep beside parameters and buffers, as far as lists, tuples and dicts go."""

    def inside(value: Any) -> Iterator[Tensor]:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, dict):
            for each in value.values():
                yield from inside(each)
        elif isinstance(value, (list, tuple)):
            for each in value:
                yield from inside(each)

    for module in model.modules():
        yield from inside({name: value for name, value in vars(module).items() if name != "_modules"})


def _work_in(module: nn.Module) -> None:
    """Make a weight that a hook of torch computes before every call what it is in evaluation."""
    hooks = module._forward_pre_hooks  # noqa: SLF001 (torch has no public list)
    for key, hook in list(hooks.items()):
        if isinstance(hook, (BasePruningMethod, WeightNorm)):
            hook.remove(module)
            del hooks[key]
