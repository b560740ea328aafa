"""New layers in the places of old ones: in the tree of modules, and wherever the model holds them beside it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from gossamer.nn.carry import carry_over, retire
from gossamer.nn.outside import Place, follow
from gossamer.nn.sparse import SparseModule, check_model_state


def swap(model: nn.Module, pairs: Mapping[str, tuple[Any, nn.Module]], held: list[Place]) -> None:
    """Replace layers of a model; everything that could fail has been done before.

    Args:
        model: nn.Module - changed in place.
        pairs: name -> (layer of the model, the one that takes its place).
        held: list of Place - where the model holds some of them outside the tree.
    Cost: O(modules).
    """
    new = {id(old): layer for old, layer in pairs.values()}
    follow(held, new)
    put_in_place(model, new)
    for name, (old, layer) in pairs.items():
        carry_over(old, layer)
        if any(isinstance(part, SparseModule) for part in layer.modules()):
            retire(old, name)
    _leave_fused_paths(model)
    _check_states(model)


def put_in_place(model: nn.Module, swapped: Mapping[int, nn.Module]) -> None:
    """Put new modules wherever the old ones are registered, shared ones in every place.

    Args:
        model: nn.Module - changed in place.
        swapped: id of an old module -> the new one.
    Cost: O(modules).
    """
    for parent in list(model.modules()):
        for name, child in list(parent._modules.items()):  # noqa: SLF001 (named_children leaves out repeats)
            if child is not None and id(child) in swapped:
                parent._modules[name] = swapped[id(child)]  # noqa: SLF001


def _leave_fused_paths(model: nn.Module) -> None:
    """Torch's fused transformer for evaluation reads dense weights behind the layers' back: switch it off."""
    for module in model.modules():
        if not any(isinstance(part, SparseModule) for part in module.modules()):
            continue
        if isinstance(module, nn.TransformerEncoderLayer):
            module.activation_relu_or_gelu = 0  # what torch looks at to see whether its fused path applies
        elif isinstance(module, nn.TransformerEncoder):
            module.use_nested_tensor = False


def _check_states(model: nn.Module) -> None:
    """Loading a state is all or nothing, across layers too; once for a model, however often it is sparsified."""
    hooks = model._load_state_dict_pre_hooks.values()  # noqa: SLF001 (torch has no public question)
    if all(getattr(hook, "hook", None) is not check_model_state for hook in hooks):
        model.register_load_state_dict_pre_hook(check_model_state)
