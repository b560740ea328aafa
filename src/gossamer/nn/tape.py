"""What a sparse layer remembers of its passes when growth will look at its gradient."""

from __future__ import annotations

import warnings
from typing import Any

from torch import Tensor


class Tape:
    """Inputs and output gradients of one layer, kept between backward and the update that scores growth with them."""

    def __init__(self) -> None:
        self.recording = False
        self.followed = False  # an engine updates this layer
        self.orphan = False  # copied from a layer that an engine updates
        self.pairs: list[tuple[Tensor, Tensor]] = []
        self._added: int | None = (
            None  # version of the weights' gradient after the last recorded pass was added to it
        )
        self._hook: Any = None

    def __getstate__(self) -> dict[str, Any]:
        """A copy holds no passes, and no engine follows it: hooks do not survive deepcopy or pickle."""
        return {**Tape().__dict__, "orphan": self.followed or self.orphan}

    def arm(self, weights: Tensor, recording: bool) -> None:
        """Forget all passes; record the coming ones, or none."""
        self.pairs.clear()
        self._added = None
        if self._hook is not None:
            self._hook.remove()
        self._hook = weights.register_post_accumulate_grad_hook(self._add) if recording else None
        self.recording = recording

    def watch(self, weights: Tensor, x: Tensor, y: Tensor) -> None:
        """Record the pair (x, dL/dy) of this forward pass when it runs backward."""
        if self.orphan:
            self.orphan = False
            warnings.warn(
                "training a copy of a sparse layer: hooks do not survive deepcopy, so its topology stays; "
                "call gossamer.attach on the copied model and its own optimizer",
                stacklevel=4,
            )
        if self.recording:
            seen = x.detach()
            y.register_hook(lambda dy: self._record(weights, seen, dy.detach()))

    def _record(self, weights: Tensor, x: Tensor, dy: Tensor) -> None:
        """Keep a pair; first drop those whose gradient was thrown away (a step that AMP skipped, a bad batch)."""
        if self._added is not None and self._thrown_away(weights.grad, self._added):
            self.pairs.clear()
        self._added = None  # until this pass has reached the weights
        self.pairs.append((x, dy))

    def _add(self, weights: Tensor) -> None:
        """The pairs recorded so far are in the gradient now."""
        if weights.grad is not None:
            self._added = weights.grad._version  # noqa: SLF001 (torch's own count of writes)

    @staticmethod
    def _thrown_away(gradient: Tensor | None, added: int) -> bool:
        """Whether zero_grad ran: no gradient, or one that was written to and is zero (it may be zero by itself)."""
        written = gradient is not None and gradient._version != added  # noqa: SLF001 (see above)
        return gradient is None or (written and not bool(gradient.any()))
