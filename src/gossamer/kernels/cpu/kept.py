"""What is made once from tensors and kept beside them: held weakly, never stale."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar
from weakref import ref

if TYPE_CHECKING:
    from torch import Tensor

T = TypeVar("T")


@dataclass(frozen=True)
class _Entry(Generic[T]):
    """The thing made, the tensors it goes with, held weakly, and how often the index had been written to."""

    owners: tuple[ref[Tensor], ...]
    versions: tuple[int, ...]
    made: T


class Kept(Generic[T]):
    """Things made from an index; each goes when one of its tensors goes.

    A tensor that is given beside the index shares its life, but writes to it are for the user of this to watch.
    """

    def __init__(self) -> None:
        self._entries: dict[int, _Entry[T]] = {}  # by id of the last owner

    def __len__(self) -> int:
        return len(self._entries)

    def find(self, index: Sequence[Tensor], *beside: Tensor) -> T | None:
        """What is kept for exactly these tensors, unless the index was written to since."""
        owners = (*index, *beside)
        entry = self._entries.get(id(owners[-1])) if owners else None
        if entry is None or len(entry.owners) != len(owners):
            return None
        if any(mine() is not given for mine, given in zip(entry.owners, owners, strict=True)):
            return None
        return entry.made if entry.versions == _versions(index) else None

    def keep(self, made: T, index: Sequence[Tensor], *beside: Tensor) -> None:
        """Keep a thing for these tensors, in place of an older one."""
        owners = (*index, *beside)
        key = id(owners[-1])
        refs = tuple(ref(owner, lambda _: self._entries.pop(key, None)) for owner in owners)
        self._entries[key] = _Entry(refs, _versions(index), made)


def _versions(index: Sequence[Tensor]) -> tuple[int, ...]:
    return tuple([tensor._version for tensor in index])  # noqa: SLF001 (torch's own count of writes)
