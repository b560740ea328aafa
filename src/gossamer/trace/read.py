"""What a module of torch is in our terms: a linear layer with its connections, or an operator."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from torch import Tensor, nn

from gossamer.layouts.connections import Connections, singles
from gossamer.network.operators import operators
from gossamer.nn import DenseLinear, MaskedLinear, SparseLinear

if TYPE_CHECKING:
    from gossamer.network.operators import Operator


def read(module: nn.Module) -> Connections | None:
    """The connections of a linear layer of any home, or None where a module is not one that is known exactly.

    Args:
        module: SparseLinear, MaskedLinear, DenseLinear or nn.Linear; a dense one has a connection wherever its
            weight is not zero.

    Returns:
        Connections - copies on the CPU, no gradient - or None (subclasses, and layers that carry hooks: who
        knows what they compute).

    Cost: O(connections); O(dense size) for masked and plain layers.

    Example:
        >>> read(nn.Linear(3, 2)).shape, read(nn.ReLU())
        ((2, 3), None)
    """
    if has_hooks(module) or not linear(module):
        return None
    if isinstance(module, (nn.Linear, DenseLinear)):
        weight = module.weight.detach()
        positions = weight.reshape(-1).nonzero().squeeze(1)
        shape = (module.out_features, module.in_features)
        return Connections(shape, positions, weight.reshape(-1)[positions].clone(), _bias(module.bias))
    layer = cast("SparseLinear | MaskedLinear", module)
    topology = layer.topology
    positions, values = singles(topology.positions, layer.unit_values(), topology.grid)
    return Connections(layer.shape, positions, values, _bias(layer.bias), layer.pattern)


def linear(module: nn.Module) -> bool:
    """Whether a module is a linear layer of a class that is known exactly; one without inputs or neurons is none."""
    if type(module) not in (nn.Linear, DenseLinear, SparseLinear, MaskedLinear):
        return False
    layer = cast("nn.Linear | SparseLinear", module)
    return layer.in_features > 0 and layer.out_features > 0


def has_hooks(module: nn.Module) -> bool:
    """Whether something runs before or after the module's own forward."""
    return bool(module._forward_hooks or module._forward_pre_hooks)  # noqa: SLF001 (torch has no public question)


def _bias(bias: Tensor | None) -> Tensor | None:
    return None if bias is None else bias.detach().clone()


def find_module(module: nn.Module) -> Operator | None:
    """The operator of a module, or None: unknown class, a subclass, or one that carries hooks.

    Example:
        >>> find_module(nn.ReLU()).name, find_module(nn.LSTM(2, 2))
        ('relu', None)
    """
    if has_hooks(module):
        return None
    return next((entry for entry in operators.values() if type(module) in entry.modules), None)
