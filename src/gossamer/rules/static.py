"""Static sparsity: the topology drawn at the start stays."""

from __future__ import annotations

from dataclasses import dataclass

from gossamer.rules.base import Rule, rules


@rules.register("static")
@dataclass(frozen=True, kw_only=True)
class Static(Rule):
    """No update ever; the baseline every other rule has to beat.

    Cost: none.
    Example:
        >>> Static().due(100, 1000)
        False
    """

    def due(self, step: int, total_steps: int) -> bool:
        """Never."""
        return False
