"""The matrices of recurrent layers: linear layers whose rows belong to gates, which no block crosses."""

from __future__ import annotations

from typing import Any, Self

from torch import nn

from gossamer.errors import PatternError
from gossamer.nn.arguments import pattern_of
from gossamer.nn.kinds import Kind, kind
from gossamer.nn.linear import MaskedLinear, SparseLinear, _Linear
from gossamer.patterns import Pattern


class GateLinear(nn.Linear):
    """A dense linear layer whose rows belong to gates: what a recurrent layer holds before ``sparsify``.

    Args:
        in_features, out_features, bias, device, dtype: as for torch.nn.Linear.
        gates: int - divides out_features.
    Cost: that of torch.nn.Linear.
    Example:
        >>> GateLinear(8, 12, gates=3).gates
        3
    """

    def __init__(
        self, in_features: int, out_features: int, bias: bool = True, *, gates: int, **place: Any
    ) -> None:
        super().__init__(in_features, out_features, bias, **place)
        self.gates = gates

    def extra_repr(self) -> str:
        """Torch's own, and the gates."""
        return f"{super().extra_repr()}, gates={self.gates}"


class _Gates(_Linear):
    """What the matrices of both homes add to linear layers."""

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        *,
        gates: int,
        pattern: Pattern | str | None = None,
        **drawn: Any,
    ) -> None:
        pattern = pattern_of(pattern, f"{type(self).__name__}(pattern=)")
        check_gates(pattern, (out_features, in_features), gates)
        super().__init__(in_features, out_features, bias, pattern=pattern, **drawn)
        self.gates = gates

    @classmethod
    def of(cls, dense: Any, device: Any = None, **drawn: Any) -> Self:
        """In the shape of a GateLinear."""
        place = {"device": device or dense.weight.device, "dtype": dense.weight.dtype}
        bias = dense.bias is not None
        return cls(dense.in_features, dense.out_features, bias, gates=dense.gates, **place, **drawn)

    def extra_repr(self) -> str:
        """What every sparse layer says, and the gates."""
        return f"{super().extra_repr()}, gates={self.gates}"


class SparseGates(_Gates, SparseLinear):
    """A truly sparse matrix of a recurrent layer.

    Args:
        in_features, out_features, bias: as for SparseLinear.
        gates: int - divides out_features; no unit of the pattern has rows of two gates.
        density, pattern, generator, fan_in, law, device, dtype: see SparseLinear.
    Cost: that of SparseLinear.
    Example:
        >>> SparseGates(8, 12, gates=3, density=0.5, pattern="block:4:4").connections
        48
    """


class MaskedGates(_Gates, MaskedLinear):
    """The same as a dense weight times a mask.

    Args:
        in_features, out_features, bias, gates: see SparseGates.
        density, pattern, generator, fan_in, law, device, dtype: see SparseLinear.
    Cost: that of MaskedLinear.
    Example:
        >>> int(MaskedGates(8, 12, gates=3, density=0.5, pattern="block:4:4").mask.sum())
        48
    """


def check_gates(pattern: Pattern, shape: tuple[int, int], gates: int) -> None:
    """Refuse units with rows of two gates: a gate by itself must have whole ones; raises PatternError."""
    try:
        pattern.grid((shape[0] // gates, shape[1]))
    except PatternError as error:
        raise error.within("a gate of a recurrent layer") from None


kind(
    Kind(
        "gates",
        dense=(GateLinear,),
        masked=MaskedGates,
        packed=SparseGates,
        example=lambda: GateLinear(1, 1, gates=1),
        fits=lambda layer, pattern: check_gates(pattern, tuple(layer.weight.shape), layer.gates),
    )
)
