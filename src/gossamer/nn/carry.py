"""What hangs on a layer, and moves to the layer that takes its place."""

from __future__ import annotations

from functools import partial
from typing import Any, NoReturn

from torch import nn

from gossamer.errors import StateError
from gossamer.nn.candidates import additions, prune_hooks, pruned_names
from gossamer.nn.kinds import Dense
from gossamer.nn.sparse import SparseModule

# Registries of hooks; torch's handles remove a hook from the very dictionary that it was put in.
HOOKS = (
    "_forward_pre_hooks",
    "_forward_pre_hooks_with_kwargs",
    "_forward_hooks",
    "_forward_hooks_with_kwargs",
    "_forward_hooks_always_called",
    "_backward_pre_hooks",
    "_backward_hooks",
)


def carry_over(old: Dense, new: nn.Module) -> None:
    """Give a new layer what hung on the old one: mode, hooks and their handles, additions, and marks of its parameters.

    Args:
        old: nn.Linear, a convolution or a recurrent layer - one that ``why_left`` has nothing against.
        new: nn.Module - the layer that takes its place.
    Cost: O(number of hooks and attributes); tensors are shared.
    """
    added, pruned = set(additions(old)), pruned_names(old)  # read before the hooks that tell are gone
    carry_hooks(old, new)
    for key in prune_hooks(old):  # the zeros are in the topology now
        del new._forward_pre_hooks[key]  # noqa: SLF001 (torch's own way)
    for held in ("_parameters", "_buffers", "_modules"):
        found = getattr(old, held)
        getattr(new, held).update({name: found[name] for name in found if name in added})
    for name, value in vars(old).items():
        private = name.startswith("_") and name not in added  # torch's own notes
        if name not in vars(new) and not hasattr(type(new), name) and name not in pruned and not private:
            new.__dict__[name] = value


def carry_hooks(old: nn.Module, new: nn.Module) -> None:
    """Give a new layer the mode of the old one, its hooks, and which of its buffers are not saved.

    Cost: O(number of hooks).
    """
    new.training = old.training
    for name in HOOKS:
        shared = getattr(old, name)
        shared.update(getattr(new, name))
        new.__dict__[name] = shared
    new._is_full_backward_hook = old._is_full_backward_hook  # noqa: SLF001 (torch's own switch)
    new._non_persistent_buffers_set |= old._non_persistent_buffers_set  # noqa: SLF001 (no public access)


def mark_parameters(old: Dense | SparseModule, new: SparseModule) -> None:
    """The attributes of the dense weight and bias, such as a group for the optimizer, and which of them train."""
    weight = old._parameters.get("weight", old._parameters.get("weight_orig"))  # noqa: SLF001 (pruned: _orig)
    for source, target in ((weight, new.weights), (old.bias, new.bias)):
        if source is not None and target is not None:
            vars(target).update(vars(source))
            target.requires_grad_(source.requires_grad)


def retire(old: Dense, name: str) -> None:
    """Make a replaced layer refuse to be called: whoever still holds it would train and use weights of the past."""
    old.forward = partial(_refuse_call, name)  # type: ignore[method-assign]


def _refuse_call(name: str, *_: Any, **__: Any) -> NoReturn:
    raise StateError(
        f"call of the dense layer {name!r}",
        expected="the sparse layer that sparsify put in its place",
        got="the dense one, held by a list, a closure or another model",
        hint="look layers up in the model when they are called; for a dense model beside the sparse one, "
        "sparsify a copy: copy.deepcopy(model)",
    )
