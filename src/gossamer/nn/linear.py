"""Sparse linear layers, packed and masked."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gossamer import ops
from gossamer.nn.dense import DenseLinear
from gossamer.nn.kinds import Kind, kind
from gossamer.nn.masked import Masked
from gossamer.nn.packed import Packed
from gossamer.nn.sparse import SparseModule
from gossamer.nn.sparse_batch import batch_of, product_of_columns
from gossamer.nn.traced import as_one_call, is_traced
from gossamer.ops.growth import compiled_selector, growth_factors
from gossamer.patterns import Pattern
from gossamer.registry import answers_unknown
from gossamer.topology import TileScores


class _Linear(SparseModule):
    """What the linear layers of both homes share: construction, and rows of the dense gradient."""

    @answers_unknown
    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        *,
        density: float,
        pattern: Pattern | str | None = None,
        generator: torch.Generator | None = None,
        fan_in: str = "sparse",
        law: str = "he_normal",
        device: Any = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__((out_features, in_features), pattern, density, fan_in, law, dtype)
        self.in_features, self.out_features = in_features, out_features
        self.bias = nn.Parameter(torch.zeros(out_features, device=device, dtype=dtype)) if bias else None
        self._make_home((out_features, in_features), device, dtype)
        self.reset_parameters(generator)

    @classmethod
    def of(cls, dense: Any, device: torch.device | None = None, **drawn: Any) -> Self:
        """In the shape of an nn.Linear."""
        place, dtype = device or dense.weight.device, dense.weight.dtype
        bias = dense.bias is not None
        return cls(dense.in_features, dense.out_features, bias, device=place, dtype=dtype, **drawn)

    def gradient_tile(self, rows: slice, cols: slice) -> Tensor:
        """A part of dY^T X, summed over the recorded passes; never more than this part."""
        grid, dtype = self.grid, self.weights.dtype
        total = torch.empty(0)
        for number, (x, dy) in enumerate(self.tape.pairs):
            outputs = dy.reshape(-1, grid.rows, grid.h)[:, rows].flatten(1).to(dtype)
            if x.layout == torch.sparse_csr:
                part = product_of_columns(outputs, x, cols, grid.w)
                total = total.add_(part) if number else part
                continue
            inputs = x.reshape(-1, grid.cols, grid.w)[:, cols].flatten(1).to(dtype)
            total = total.addmm_(outputs.T, inputs) if number else outputs.T @ inputs
        return total.cpu()

    def gradient_scores(self, name: str) -> TileScores:
        """As for every layer; of dense batches on the CPU the compiled selector makes the rows, a few at a time."""
        scores, weights = super().gradient_scores(name), self.weights
        dense = all(x.layout == torch.strided for x, _ in self.tape.pairs)
        if weights.device.type != "cpu" or compiled_selector(weights.dtype) is None or not dense:
            return scores
        pairs = [
            (
                x.reshape(-1, self.in_features).to(weights.dtype),
                dy.reshape(-1, self.out_features).to(weights.dtype),
            )
            for x, dy in self.tape.pairs
        ]
        return replace(scores, given=growth_factors(pairs, self.grid))


class SparseLinear(_Linear, Packed):
    """A truly sparse linear layer: memory, arithmetic and gradient only for connections that exist.

    Args:
        in_features: int.
        out_features: int.
        bias: bool - a dense bias; an ablated neuron outputs it.
        density: float in (0, 1] - share of connections.
        pattern: Pattern, or its short name such as "fanin:4" - FanIn() by default.
        generator: torch.Generator or None - draws topology and values.
        fan_in: "sparse" or "dense" - which fan-in the initial values are scaled for.
        law: str - of the initial values: "he_normal", "he_uniform", "xavier_uniform", "normal" (see draw_values).
        device, dtype: as for torch.nn.Linear.

    A batch may be sparse itself, as ``torch.sparse_csr`` or a SciPy matrix: for the first layer on data that is mostly
    zero. Then only connections that leave its numbers are touched, and no input gradient is computed.

    Cost: 2 * connections * batch operations forward, twice that backward; memory O(connections).
    Example:
        >>> layer = SparseLinear(784, 300, density=0.01)
        >>> layer.connections, layer.values.shape, layer.col.dtype
        (2100, torch.Size([2352]), torch.uint16)
    """

    def forward(self, x: Tensor | Any) -> Tensor:
        """A tensor, dense or sparse_csr, or a SciPy matrix."""
        if not isinstance(x, Tensor) or x.layout is not torch.strided:
            if is_traced(x):
                return as_one_call(self, x)
            x = batch_of(x, self.values.dtype)
        y = self.compute(x)
        if y.requires_grad:
            self.tape.watch(self.weights, x, y)
        return y

    def compute(self, x: Tensor) -> Tensor:
        """[..., in_features] to [..., out_features]."""
        held: dict[str, Any] = self._parameters  # every product comes here, and getattr of a module is slow
        try:
            values, bias = held["values"], held["bias"]
        except KeyError:  # a parametrization takes its own out
            values, bias = self.values, self.bias
        if x.layout is not torch.strided:
            return ops.linear_of_sparse(x, values, self.by_input, bias, self.out_features)
        pattern = self.pattern
        return ops.linear(x, values, self.operands(), bias, pattern.layout, pattern.dims(self.shape))

    def explain(self, batch: int = 1, training: bool = False) -> str:
        """Why its products run as they do.

        Args:
            batch: int - samples, leading dimensions multiplied.
            training: bool - explain a training step: all three products, on values that change.
        Returns:
            Lines ``name: reason``, one a way, under the name of each product.
        Example:
            >>> print(SparseLinear(512, 512, density=0.1).explain(64).splitlines()[1])
              dense weight: not below a density of 0.4
        """
        names = ("linear", "linear_grad_input", "linear_grad_values")[: None if training else 1]
        lines = []
        for name in names:
            text = ops.explain(
                name,
                self.pattern.layout,
                self.values.dtype,
                self.values.device.type,
                shape=self.pattern.dims(self.shape),
                density=self.connections / (self.shape[0] * self.shape[1]),
                batch=batch,
                training=training,
            )
            lines += [name, *(f"  {line}" for line in text.splitlines())]
        return "\n".join(lines)


class MaskedLinear(_Linear, Masked):
    """The same layer as a dense weight times a mask: the oracle, and the home for devices without a sparse kernel.

    Args:
        in_features, out_features, bias, density, pattern, generator, fan_in, law, device, dtype: see SparseLinear.
    Cost: that of torch.nn.Linear plus one product with the mask; no memory is saved.
    Example:
        >>> int(MaskedLinear(784, 300, density=0.01).mask.sum())
        2100
    """

    def compute(self, x: Tensor) -> Tensor:
        """[..., in_features] to [..., out_features]."""
        return F.linear(x, self.effective_weight(), self.bias)


kind(
    Kind(
        "linear",
        dense=(nn.Linear, DenseLinear),
        masked=MaskedLinear,
        packed=SparseLinear,
        example=lambda: nn.Linear(1, 1),
        linear=True,
        between=DenseLinear.of,
    )
)
