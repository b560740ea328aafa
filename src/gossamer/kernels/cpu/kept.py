"""What is made once from tensors and kept beside them: held weakly, never stale."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar
from weakref import ref

if TYPE_CHECKING:
    from torch import Tensor

T = TypeVar("T")
Marks = list[tuple[int, int, int]]


@dataclass(frozen=True, slots=True)
class _Entry(Generic[T]):
    """The thing made, the tensors it goes with, held weakly, and what the index was then."""

    owners: tuple[ref[Tensor], ...]
    marks: Marks
    made: T


class Kept(Generic[T]):
    """Things made from an index; each goes when one of its tensors goes.

    A tensor that is given beside the index shares its life, but writes to it are for the user of this to watch.
    Inference tensors do not count writes: nothing is kept for an index of them.
    """

    def __init__(self) -> None:
        self._entries: dict[int, _Entry[T]] = {}  # by id of the last owner

    def __len__(self) -> int:
        return len(self._entries)

    def find(self, index: Sequence[Tensor], *beside: Tensor) -> T | None:
        """What is kept for exactly these tensors, unless the index was written to, or given other memory, since."""
        owners = (*index, *beside)
        entry = self._entries.get(id(owners[-1])) if owners else None
        if entry is None or len(entry.owners) != len(owners):
            return None
        for mine, given in zip(entry.owners, owners, strict=True):
            if mine() is not given:
                return None
        return entry.made if entry.marks == _marks(index) else None

    def keep(self, made: T, index: Sequence[Tensor], *beside: Tensor) -> None:
        """Keep a thing for these tensors, in place of an older one."""
        owners, marks = (*index, *beside), _marks(index)
        if marks is None or not owners:
            return
        key = id(owners[-1])
        refs = tuple(ref(owner, lambda _: self._entries.pop(key, None)) for owner in owners)
        self._entries[key] = _Entry(refs, marks, made)


def _marks(index: Sequence[Tensor]) -> Marks | None:
    """Writes as torch counts them, and where the memory is: ``tensor.data = other`` is no write to torch."""
    try:
        return [(tensor._version, tensor.data_ptr(), tensor.nbytes) for tensor in index]  # noqa: SLF001
    except RuntimeError:  # an inference tensor
        return None
