"""What is made once from tensors and kept beside them: held weakly, never stale."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar
from weakref import ref

if TYPE_CHECKING:
    from torch import Tensor

T = TypeVar("T")
Mark = tuple[
    "ref[Tensor]", int, int, int
]  # a tensor, writes to it as torch counts them, where its memory is, bytes


@dataclass(frozen=True, slots=True)
class _Entry(Generic[T]):
    """The thing made, and the tensors it goes with, held weakly: the index as it was then, and what lay beside it."""

    index: tuple[Mark, ...]
    beside: tuple[ref[Tensor], ...]
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
        owners = beside or index
        entry = self._entries.get(id(owners[-1])) if owners else None
        if entry is None or len(entry.index) != len(index) or len(entry.beside) != len(beside):
            return None
        for (mine, version, at, size), given in zip(entry.index, index, strict=True):
            # ``tensor.data = other`` is no write to torch, but shows in the address
            if (
                mine() is not given
                or given._version != version  # noqa: SLF001
                or given.data_ptr() != at
                or given.nbytes != size
            ):
                return None
        for mine, given in zip(entry.beside, beside, strict=True):
            if mine() is not given:
                return None
        return entry.made

    def keep(self, made: T, index: Sequence[Tensor], *beside: Tensor) -> None:
        """Keep a thing for these tensors, in place of an older one."""
        owners = beside or index
        if not owners or any(tensor.is_inference() for tensor in index):
            return
        key = id(owners[-1])

        def held(owner: Tensor) -> ref[Tensor]:
            return ref(owner, lambda _: self._entries.pop(key, None))

        marks = tuple((held(t), t._version, t.data_ptr(), t.nbytes) for t in index)  # noqa: SLF001
        self._entries[key] = _Entry(marks, tuple(map(held, beside)), made)
