"""What a layer knows of its values when others with its connections have moved on, and may be averaged in."""

from __future__ import annotations

from typing import Any
from weakref import ref

from torch import Tensor, nn

from gossamer.nn.fingerprint import sum_of
from gossamer.nn.sparse import HINT

WRITTEN = (  # got and hint of the error
    "values written to, without a gradient, after a layer with the same connections moved on: averages, it seems",
    f"{HINT}; values of your own are taken by layer.assign(layer.topology, layer.values[: layer.connections])",
)


class Left:
    """Whether values were written to by no training, since a layer with the same connections moved to others.

    Parameters alone say nothing of connections, so it is looked at whether they are written to, and by whom: what
    gets gradients is trained by itself.

    Args:
        values: nn.Parameter - of the layer that stays.
        check_sum: int or None - what the values were; None takes them as they are.
    Cost: one pass over the values.
    """

    def __init__(self, values: nn.Parameter, check_sum: int | None = None) -> None:
        self._values = ref(values)
        self.check_sum = sum_of(values) if check_sum is None else check_sum
        self._hook: Any = None
        self._trained = False
        self._listen(values)

    def speaks_of(self, values: Tensor) -> bool:
        """Whether these are the values, and not others that are lent for a call."""
        return self._values() is values

    def trained(self, values: nn.Parameter) -> bool:
        """Whether they got a gradient, by ``backward`` or ``torch.autograd.grad``."""
        self._listen(values)
        return self._trained or values.grad is not None

    def strayed(self, values: nn.Parameter) -> bool:
        """Whether they are others now."""
        return sum_of(values) != self.check_sum

    def _listen(self, values: nn.Parameter) -> None:
        """Have the next gradient noticed; frozen values take no hook until they train."""
        if self._hook is None and values.requires_grad:
            me = ref(self)  # torch keeps a hook as long as the values

            def notice(_: Tensor) -> None:
                if (left := me()) is not None:
                    left._trained = True  # noqa: SLF001

            self._hook = values.register_hook(notice)
