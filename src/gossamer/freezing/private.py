"""A copy of a model that freezing may change."""

from __future__ import annotations

from torch import nn
from torch.nn.utils.prune import BasePruningMethod
from torch.nn.utils.weight_norm import WeightNorm

from gossamer.nn import Quantized
from gossamer.trace.copied import copied


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
    twin = copied("freeze", model)
    for parent in list(twin.modules()):
        for name, child in parent._modules.items():  # noqa: SLF001 (what torch.compile was given, in its place)
            parent._modules[name] = getattr(child, "_orig_mod", child)  # noqa: SLF001
    twin.eval().requires_grad_(requires_grad=False)
    for module in twin.modules():
        _work_in(module)
    return twin


def _work_in(module: nn.Module) -> None:
    """Make a weight that a hook of torch or a Quantized computes before every call what it is in evaluation."""
    if isinstance(module, Quantized):
        module.settle()
    hooks = module._forward_pre_hooks  # noqa: SLF001 (torch has no public list)
    for key, hook in list(hooks.items()):
        if isinstance(hook, (BasePruningMethod, WeightNorm)):
            hook.remove(module)
            del hooks[key]
