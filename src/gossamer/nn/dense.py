"""Dense layers between sparse ones."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gossamer.nn.traced import as_one_call, is_traced


class DenseLinear(nn.Linear):
    """``torch.nn.Linear`` that takes feature-major memory, as sparse layers write it, as it is.

    A product of a transposed input is up to ten times slower in torch than the same product written the other way
    round; ``sparsify`` puts this class in the place of layers that keep every connection.

    Cost: that of torch.nn.Linear, in either order of memory.
    Example:
        >>> x, layer = torch.ones(3, 8), DenseLinear(8, 4)
        >>> torch.allclose(layer(x.t().contiguous().t()), layer(x))
        True
    """

    @classmethod
    def of(cls, layer: nn.Linear) -> DenseLinear:
        """The same layer, with the same parameters."""
        with torch.device("meta"):
            twin = cls(layer.in_features, layer.out_features, layer.bias is not None)
        twin.weight, twin.bias = layer.weight, layer.bias
        return twin.train(layer.training)

    def forward(self, x: Tensor) -> Tensor:
        """[..., in_features] to [..., out_features], in the order of memory that x has."""
        if is_traced(x):
            return as_one_call(self, x)
        if x.ndim != 2 or x.is_contiguous() or x.stride(0) != 1 or self.bias is None:
            return F.linear(x, self.weight, self.bias)
        return torch.addmm(self.bias.unsqueeze(1), self.weight, x.t()).t()
