"""What a sparse layer remembers of its passes when growth will look at its gradient."""

from __future__ import annotations

import warnings
from typing import Any
from weakref import ref

import torch
from torch import Tensor

COPY = (
    "training a copy of a sparse layer: hooks do not survive deepcopy, so its topology stays; "
    "call gossamer.attach on the copied model and its own optimizer"
)


class Tape:
    """Inputs and output gradients of one layer, kept between backward and the update that scores growth with them."""

    def __init__(self) -> None:
        self.recording = False
        self._follower: ref[object] | None = None  # the engine that updates this layer
        self._through = False  # whether its rule wants gradients of absent connections, too
        self.unfollowed = ""  # why no engine does, although one updates its like: said once, when it trains
        self.pairs: list[tuple[Tensor, Tensor]] = []
        self._added: int | None = (
            None  # version of the weights' gradient after the last recorded pass was added to it
        )
        self._hook: Any = None

    def __getstate__(self) -> dict[str, Any]:
        """A copy holds no passes, and no engine follows it: hooks do not survive deepcopy or pickle."""
        return {**Tape().__dict__, "unfollowed": COPY if self.followed else self.unfollowed}

    @property
    def followed(self) -> bool:
        """Whether an engine updates this layer: one that is gone, with its optimizer, does not."""
        return self._follower is not None and self._follower() is not None

    @property
    def through(self) -> bool:
        """Whether gradients pass through a mask to connections that do not exist."""
        return self._through and self.followed

    def follow(self, engine: object, through: bool = False) -> None:
        """This engine updates the layer from now on."""
        self._follower, self._through, self.unfollowed = ref(engine), through, ""

    def let_go(self, engine: object) -> bool:
        """This engine does not any more; False where it did not before."""
        if self._follower is None or self._follower() is not engine:
            return False
        self._follower = None
        return True

    def arm(self, weights: Tensor, recording: bool) -> None:
        """Forget all passes; record the coming ones, or none."""
        self.pairs.clear()
        self._added = None
        if self._hook is not None:
            self._hook.remove()
            self._hook = None
        self.recording = recording
        if recording:
            self.notice(weights)

    def watch(self, weights: Tensor, x: Tensor, y: Tensor) -> None:
        """Record the pair (x, dL/dy) of this forward pass when it runs backward; not where the weights are frozen."""
        if self.unfollowed and weights.requires_grad:
            warnings.warn(self.unfollowed, stacklevel=4)
            self.unfollowed = ""
        if self.recording and weights.requires_grad:
            self._await(weights, x.detach(), y)

    @torch.compiler.disable
    def _await(self, weights: Tensor, x: Tensor, y: Tensor) -> None:
        """Have the coming backward pass recorded."""
        self.notice(weights)
        y.register_hook(lambda dy: self._record(weights, x, dy.detach()))

    def _record(self, weights: Tensor, x: Tensor, dy: Tensor) -> None:
        """Keep a pair; first drop those whose gradient was thrown away (a step that AMP skipped, a bad batch).

        Copies, for the memory of both belongs to others: a loader may write the next batch over the input, also in ways
        that torch cannot see, and autograd may take the gradient over as that of a parameter that was added to ``y``.
        """
        if not self.recording:
            return
        if self.thrown_away(weights.grad):
            self.pairs.clear()
        self._added = None  # until this pass has reached the weights
        self.pairs.append((x.clone(), dy.clone()))

    def notice(self, weights: Tensor) -> None:
        """Learn when a pass reaches the weights, until ``arm``; frozen ones take no hook until they train again."""
        if self._hook is None and weights.requires_grad:
            self._hook = weights.register_post_accumulate_grad_hook(self._add)

    def _add(self, weights: Tensor) -> None:
        """The pairs recorded so far are in the gradient now."""
        if weights.grad is not None:
            self._added = weights.grad._version  # noqa: SLF001 (torch's own count of writes)

    def reached(self, gradient: Tensor | None) -> bool:
        """Whether a pass that was noticed is in the weights' gradient."""
        return self._added is not None and not self.thrown_away(gradient)

    def thrown_away(self, gradient: Tensor | None) -> bool:
        """Whether zero_grad ran: no gradient, or one that was written to and is zero (it may be zero by itself)."""
        if self._added is None:
            return False
        written = gradient is not None and gradient._version != self._added  # noqa: SLF001 (see above)
        return gradient is None or (written and not bool(gradient.any()))
