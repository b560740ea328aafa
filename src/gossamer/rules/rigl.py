"""RigL: drop the smallest weights, grow where the dense gradient is largest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from gossamer.errors import ConfigError
from gossamer.patterns.base import merge
from gossamer.rules.base import Rule, rules
from gossamer.rules.view import LayerView
from gossamer.topology import TileScores


@rules.register("rigl")
@dataclass(frozen=True, kw_only=True)
class RigL(Rule):
    """Rigged lottery: magnitude drop, gradient growth; on FanIn or NM the growth fills every neuron or tile again.

    The score is the gradient with respect to the *masked* weight at every position that does not survive, just-dropped
    ones included; one that is dropped and grown in the same update keeps its value and momentum, as the authors
    confirmed. Deviations from the published code: the update follows the optimizer step instead of replacing it (as
    SRigL does), survivors are chosen among active positions only (the code's tie noise can keep an inactive one), and
    ties are broken by position.

    Args:
        every, drop, begin, until: see Rule; the defaults are the paper's (100, cosine from 0.3, 3/4 of training).
    Cost: one dense-gradient product by tiles an update, O(connections) memory.
    Source: Evci et al., ICML 2020, algorithm 1; on NM: the N:M variant of the SRigL authors.
    Example:
        >>> RigL(every=100).due(200, 1000), RigL(every=100).due(800, 1000)
        (True, False)
    """

    needs_gradient: ClassVar[bool] = True

    def grow(self, layer: LayerView, survivors: Tensor, want: Tensor) -> Tensor:
        """The largest absolute dense gradient."""
        scores = gradient_of(layer)
        return merge(survivors, scores.select(survivors, want, layer.pattern.bucket(layer.topology.grid)))


def gradient_of(layer: LayerView) -> TileScores:
    """The dense gradient of a layer, by tiles.

    Args:
        layer: LayerView.
    Returns:
        TileScores - ``select`` finds the largest, ``tiles`` and ``at`` give numbers.
    Raises:
        ConfigError: the rule does not say ``needs_gradient = True``.
    Cost: O(1); see TileScores for what reading it costs.
    """
    if layer.gradient is None:
        raise ConfigError(
            "grow by gradient",
            expected="a rule with needs_gradient = True",
            got="a layer without gradient scores",
        )
    return layer.gradient
