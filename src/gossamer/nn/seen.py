"""A look at an index that is as cheap as can be, for every product takes one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, eq=False, slots=True)
class Seen:
    """Fingerprint and index as they were found in order: a later look at both costs about a microsecond.

    The bytes are compared, not only torch's count of writes, which writes through ``.data`` leave as it is.
    """

    buffer: Tensor
    address: int  # a view of memory that torch has moved elsewhere must not be looked at
    view: NDArray[np.uint8] | None  # of the bytes, None on other devices than the CPU
    bytes: bytes | int  # or torch's count of writes there
    versions: list[int]

    @classmethod
    def of(cls, buffer: Tensor, versions: list[int]) -> Seen:
        """As they are now."""
        if buffer.device.type != "cpu":
            return cls(buffer, 0, None, buffer._version, versions)  # noqa: SLF001 (torch's own count of writes)
        view = buffer.detach().view(torch.uint8).numpy()
        return cls(buffer, buffer.data_ptr(), view, view.tobytes(), versions)

    def holds(self, buffer: Tensor, index: list[Tensor]) -> bool:
        """Whether nobody has written to either since."""
        if buffer is not self.buffer or [tensor._version for tensor in index] != self.versions:  # noqa: SLF001
            return False
        if self.view is None:
            return buffer._version == self.bytes  # noqa: SLF001
        return buffer.data_ptr() == self.address and self.view.tobytes() == self.bytes
