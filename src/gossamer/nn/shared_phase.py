"""A choice that one layer makes and others follow, within one pass of one thread."""

from __future__ import annotations

import threading
from typing import Any

from gossamer.errors import StateError


class SharedPhase:
    """The phase that one layer chooses, and those that run after it in the same pass take.

    Each of them takes it once, and it is gone: a pass never sees the choice of another one, nor one thread that of
    another. Copies and pickles of a model share among its own layers, and hold no choice.

    Args:
        readers: int - how many layers take each choice.

    Example:
        >>> import torch
        >>> shared = SharedPhase(readers=1)
        >>> shared.put(torch.tensor([3]), of=(1, 8, 8))
        >>> shared.take("the shortcut", of=(1, 8, 8)).tolist()
        [3]
        >>> shared.take("the shortcut", of=(1, 8, 8))
        Traceback (most recent call last):
        ...
        gossamer.errors.StateError: the shortcut: expected a phase chosen earlier in this pass by the layer ...
    """

    def __init__(self, readers: int) -> None:
        self.readers = readers
        self._local = threading.local()

    def put(self, choice: Any, of: Any) -> None:
        """What the layer that leads has chosen; a choice that was not taken, as after an error, is forgotten.

        Args:
            choice: whatever the others take.
            of: what tells the images of one pass from others: sizes and device.
        """
        self._local.choice, self._local.of, self._local.left = choice, of, self.readers

    def take(self, operation: str, of: Any) -> Any:
        """The choice of this pass.

        Raises:
            StateError: none was made, or all layers that share it have taken it already, or it is of other images.
        """
        left = getattr(self._local, "left", 0)
        if not left or self._local.of != of:
            raise StateError(
                operation,
                expected="a phase chosen earlier in this pass by the layer that it shares it with",
                got=f"one for {self._local.of}, for an input of {of}" if left else "none",
                hint="run the whole residual block; a checkpoint of activations must hold the whole block too",
            )
        choice = self._local.choice
        self._local.left = left - 1
        if left == 1:
            self._local.choice = None
        return choice

    def __reduce__(self) -> tuple[Any, ...]:
        """How it is shared, and nothing of a pass."""
        return SharedPhase, (self.readers,)
