"""Dense weights of layers with so many connections that dense products are faster: written, kept, forced or refused."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from gossamer.errors import ShapeError
from gossamer.kernels import modes
from gossamer.kernels.cpu import library, pack
from gossamer.kernels.cpu.kept import Kept
from gossamer.kernels.operands import used_values

if TYPE_CHECKING:
    from torch import Tensor

VARIABLE: Final = "GOSSAMER_DENSIFIED"
Use = Literal["training", "backward", "evaluation"]

_mode = modes.variable("gossamer_densified", VARIABLE)


@dataclass
class _Dense:
    """A weight with every value in its place, how often the values had been written to then, and their fingerprint.

    The fingerprint sees what torch does not count: writes through ``.data``. None after a training step's forward pass,
    whose backward pass trusts the count, as autograd does.
    """

    weight: Tensor
    version: int = -1
    fingerprint: int | None = None


_kept: Kept[_Dense] = Kept()


@contextmanager
def densifying(mode: str) -> Iterator[None]:
    """Say when products may go through a dense weight, inside a ``with`` block.

    Args:
        mode: ``"auto"``: where it is estimated to be faster, and only from 40 % of the connections on; ``"always"``:
            wherever there is a compiled core; ``"never"``: memory first, no dense weight is made or used.

    Raises:
        ConfigError: another word.

    Cost: a dense weight is kept beside the values, 4 n_out n_in bytes in float32; the gradient of the values takes as
        much for as long as it is computed. An infinite or undefined input reaches all outputs, as in a dense layer.

    The environment variable ``GOSSAMER_DENSIFIED`` does the same for a whole process.

    Example:
        >>> with densifying("never"):
        ...     pass  # products here keep to the connections
    """
    with modes.switched(_mode, "kernels.densifying", mode):
        yield


def mode() -> str:
    """The word that holds now.

    Raises:
        ConfigError: the environment variable holds another word.
    """
    return modes.checked("kernels.densifying", _mode.get())


def dense_of(index: Sequence[Tensor], values: Tensor) -> tuple[Tensor, ...]:
    """What is kept beside the values: their dense weight, or none.

    Args:
        index: the index tensors of a layer, the same objects that its products got.
        values: its values, likewise.

    Returns:
        (weight,), [n_out, n_in]; or ().

    Cost: one look-up.

    Example:
        >>> import torch
        >>> dense_of([torch.zeros(1, 1, 1, dtype=torch.uint8)], torch.zeros(1))
        ()
    """
    kept = _kept.find(index, values)
    return () if kept is None else (kept.weight,)


def weight_of(values: Tensor, index: Sequence[Tensor], layout: str, shape: Sequence[int], use: Use) -> Tensor:
    """The dense weight of these values, written anew where they may have changed since.

    Args:
        values: the stored values.
        index: the layout's integer tensors.
        layout: a layout that trains.
        shape: the layout's integers.
        use: ``"training"``: write it, for the values change from step to step; ``"backward"``: what the forward pass of
            the step wrote will do; ``"evaluation"``: look at every value whether it changed.

    Returns:
        [n_out, n_in], kept beside the values; not for inference tensors, which do not count writes.

    Cost: reading the values, or writing each to its place.
    """
    from torch import zeros

    if values.is_inference() or any(tensor.is_inference() for tensor in index):
        return scatter(zeros(shape[:2], dtype=values.dtype), values, index, layout, shape)
    version, kept = values._version, _kept.find(index, values)  # noqa: SLF001 (torch's own count of writes)
    if kept is None:
        kept = _Dense(zeros(shape[:2], dtype=values.dtype))
        _kept.keep(kept, index, values)
    found = (
        fingerprint(values[: used_values("densified", index, layout, shape)]) if use == "evaluation" else None
    )
    same = kept.version == version and (use == "backward" or found == kept.fingerprint is not None)
    if not same:
        scatter(kept.weight, values, index, layout, shape)
        kept.version, kept.fingerprint = version, found
    return kept.weight


def fingerprint(values: Tensor) -> int:
    """64 bits of all these values."""
    found = ctypes.c_uint64()
    library.core().gs_fingerprint(
        values.data_ptr(), values.numel() * values.element_size(), ctypes.byref(found)
    )
    return found.value


def scatter(
    weight: Tensor, values: Tensor, index: Sequence[Tensor], layout: str, shape: Sequence[int]
) -> Tensor:
    """Write every value to its place; what has none stays 0."""
    packed = pack.MATRIX.pack(*pack.matrix(values, index, layout, shape))
    _check(library.core().gs_to_dense(packed, weight.data_ptr(), library.parallel_for()), layout, shape)
    return weight


def gather(
    matrix: Tensor, values: Tensor, index: Sequence[Tensor], layout: str, shape: Sequence[int]
) -> Tensor:
    """What lies in the places of the values; 0 past the used ones."""
    out, run = values.new_empty(values.shape), library.core().gs_from_dense
    packed = pack.MATRIX.pack(*pack.matrix(values, index, layout, shape))
    _check(run(packed, matrix.data_ptr(), out.data_ptr(), library.parallel_for()), layout, shape)
    return out


def _check(status: int, layout: str, shape: Sequence[int]) -> None:
    if status:
        raise ShapeError(
            "kernels.cpu.dense",
            expected=f"operands of layout {layout!r} that fit shape {list(shape)}",
            got=library.status_text(status),
            hint="run kernels.cpu.check_index on the index",
        )
