"""S-STE: N:M weights that are a continuous function of dense ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any, ClassVar

from torch import Tensor

from gossamer.patterns import NM, Pattern
from gossamer.rules.base import rules
from gossamer.rules.srste import SRSTE
from gossamer.rules.view import LayerView


@rules.register("sste")
@dataclass(frozen=True, kw_only=True)
class SSTE(SRSTE):
    """Smooth straight-through estimator: the weights in use are shortened so that nothing jumps where a mask flips.

    In every group of m the layer computes with ``beta * sign(w) * max(|w| - tau, 0)``, where tau is the largest of the
    ``m - n`` sizes that are masked out. ``beta = <W, S(W)> / <S(W), S(W)>`` is found once, at the first step, in every
    layer. Gradients go straight to all weights; nothing pulls.

    The layer shows the shortened weights, so a model that is saved, packed or frozen computes as it did in training.
    At the first step they take the place of those the layer had.

    Args:
        every: int - 1; the weights in use follow at every step in any case.
        begin, until, fresh: see SRSTE.
        lam: 0; a decay is not part of the method.
        transposable: see SRSTE; not defined here.
    Cost: that of SRSTE, and a sort of every group.
    Source: Hu et al., NeurIPS 2024, "S-STE: Continuous Pruning Function for Efficient 2:4 Sparse Pre-training".
    Example:
        >>> import torch
        >>> shortened(torch.tensor([0.5, -0.2, 0.1, 0.4]), NM(2, 4)).mul(10).round().tolist()
        [3.0, -0.0, 0.0, 2.0]
    """

    lam: float = 0.0
    variants: ClassVar[tuple[dict[str, Any], ...]] = ({"fresh": True},)

    def undefined_on(self, pattern: Pattern) -> str:
        """Only where a group has weights that are masked out."""
        if isinstance(pattern, NM) and pattern.n < pattern.m and not self.transposable:
            return ""
        return f"S-STE shortens weights by one that is masked out of each group, {pattern}: use NM(n, m), or SRSTE"

    def new_state(self, layer: LayerView) -> dict[str, Any]:
        """The weights of all positions, and beta."""
        state = super().new_state(layer)
        whole = state["whole"].double()
        short = shortened(whole.flatten(), layer.pattern)
        size = float(short.square().sum())
        return state | {"beta": float((whole.flatten() * short).sum()) / size if size else 1.0}

    def revalued(self, layer: LayerView, positions: Tensor) -> Tensor | None:
        """The shortened weights."""
        short = shortened(layer.state["whole"].flatten(), layer.pattern)
        used: Tensor = layer.state["beta"] * short[positions]
        return used.unsqueeze(1)

    def wrong_in(self, state: Mapping[str, Any]) -> str:
        """Also beta."""
        beta = state.get("beta")
        fine = isinstance(beta, float) and isfinite(beta)
        return super().wrong_in(state) or ("" if fine else f"no finite number beta, but {beta!r}")


def shortened(weights: Tensor, pattern: Pattern) -> Tensor:
    """Weights shortened by the largest one that is masked out of each group.

    Args:
        weights: [positions], in groups of m.
        pattern: NM, n below m - read by its ``parameters``.
    Returns:
        [positions] - at most n of each group are not zero.
    Cost: O(positions).
    """
    n, m = pattern.parameters["n"], pattern.parameters["m"]
    sizes = weights.abs().view(-1, m)
    tau = sizes.kthvalue(m - n, dim=1, keepdim=True).values
    return weights.sign() * (sizes - tau).clamp(min=0).flatten()
