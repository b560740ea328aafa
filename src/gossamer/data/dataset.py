"""The Dataset: arrays as they were stored, where they came from, and one way to turn them into tensors."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gossamer.data.formats.base import frozen
from gossamer.errors import DtypeError

if TYPE_CHECKING:
    import torch

_CHUNK = 4096


@dataclass(frozen=True)
class Provenance:
    """Where a data set was found and what its content is.

    Args:
        kind: str - ``"root"``, ``"GOSSAMER_DATA"``, ``"system"``, ``"embedded"``, ``"cache"`` or ``"download"``.
        location: str - the file, the folder, or the package.
        sha256: str, 64 hex digits - of the bytes of x_train, y_train, x_test, y_test (uint8, C order) in that
            order; the same whatever the file format.
        verified: bool - True if `sha256` was compared with the published content; False if nothing is published.
        licence: str - the terms as the data set's authors state them.

    Example:
        >>> Provenance("system", "/usr/share/x", "ab", False, "MIT").kind
        'system'
    """

    kind: str
    location: str
    sha256: str
    verified: bool
    licence: str


@dataclass(frozen=True, eq=False)
class Dataset:
    """A labelled data set in memory; its arrays are read-only.

    Args:
        name: str - its name in the registry.
        x_train, x_test: ``[n, *shape]``, uint8 - samples as stored, channels last.
        y_train, y_test: ``[n]``, uint8 - labels, indices into `classes`.
        classes: tuple of str - the classes' names.
        provenance: Provenance - where it was found.

    Example:
        >>> from gossamer.data import load
        >>> digits = load("digits")
        >>> digits.shape, len(digits.classes), digits.x_train.dtype.name
        ((8, 8), 10, 'uint8')
    """

    name: str
    x_train: NDArray[Any] = field(repr=False)
    y_train: NDArray[Any] = field(repr=False)
    x_test: NDArray[Any] = field(repr=False)
    y_test: NDArray[Any] = field(repr=False)
    classes: tuple[str, ...]
    provenance: Provenance

    def __post_init__(self) -> None:
        for name in ("x_train", "y_train", "x_test", "y_test"):
            object.__setattr__(self, name, frozen(getattr(self, name)))

    @property
    def shape(self) -> tuple[int, ...]:
        """Tuple of int - shape of one sample as stored: ``(h, w)``, or ``(h, w, c)`` with channels last."""
        return tuple(self.x_train.shape[1:])

    def moments(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Mean and standard deviation of the training samples, one number per channel.

        Returns:
            (mean, std): each ``[c]``, float64, in stored units (0 .. 255); c = 1 for grey images. Population standard
            deviation; a constant channel gets 1, so that dividing by it is harmless.

        Cost: O(size of x_train) time, one pass; exact up to one rounding, as it counts values instead of adding floats.

        Example:
            >>> from gossamer.data import load
            >>> mean, std = load("digits").moments()
            >>> mean.round(3), std.round(3)
            (array([4.882]), array([6.019]))
        """
        channels = _channels(self.shape)
        counts = np.zeros((channels, 256), np.int64)
        for start in range(0, len(self.x_train), _CHUNK):
            part = self.x_train[start : start + _CHUNK].reshape(-1, channels)
            counts += np.stack([np.bincount(part[:, channel], minlength=256) for channel in range(channels)])
        values, total = np.arange(256), counts.sum(axis=1)
        mean = counts @ values / total
        std = np.sqrt(((values - mean[:, None]) ** 2 * counts).sum(axis=1) / total)
        return mean, np.where(std > 0, std, 1.0)

    def tensors(
        self, flatten: bool = True, standardize: bool = True, dtype: torch.dtype | None = None
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return the data set as torch tensors, ready for training.

        Standardizing subtracts the mean and divides by the standard deviation of the *training* samples, one number per
        channel (`moments`), in both splits. Without it the stored values 0 .. 255 are only cast.

        Args:
            flatten: bool - True: samples ``[n, c*h*w]``; False: ``[n, c, h, w]``. Channels come first in both.
            standardize: bool - whether to standardize.
            dtype: torch.dtype, floating point - of the samples; None is ``torch.float32``.

        Returns:
            (x_train, y_train, x_test, y_test): samples of `dtype`, labels ``[n]`` int64; on the CPU, fresh memory.

        Raises:
            DtypeError: `dtype` is not a floating-point type.

        Cost: O(size) time; memory of the samples in `dtype`, and once more in float32 for narrower types.

        Example:
            >>> from gossamer.data import load
            >>> x_train, y_train, x_test, y_test = load("digits").tensors()
            >>> tuple(x_train.shape), y_train.dtype, round(abs(x_train.mean().item()), 5)
            ((1442, 64), torch.int64, 0.0)
        """
        import torch

        dtype = torch.float32 if dtype is None else dtype
        if not dtype.is_floating_point:
            raise DtypeError("Dataset.tensors", expected="a floating-point dtype", got=str(dtype))
        moments = self.moments() if standardize else None
        samples = [_samples(x, flatten, moments, dtype) for x in (self.x_train, self.x_test)]
        labels = [torch.from_numpy(y.astype(np.int64)) for y in (self.y_train, self.y_test)]
        return samples[0], labels[0], samples[1], labels[1]


def _channels(shape: tuple[int, ...]) -> int:
    return shape[2] if len(shape) == 3 else 1


def _samples(
    stored: NDArray[Any],
    flatten: bool,
    moments: tuple[NDArray[np.float64], NDArray[np.float64]] | None,
    dtype: torch.dtype,
) -> torch.Tensor:
    import torch

    images = stored if stored.ndim == 4 else stored[..., None]
    channels_first = torch.from_numpy(images.transpose(0, 3, 1, 2).copy())
    work = channels_first.to(torch.float64 if dtype == torch.float64 else torch.float32)
    if moments is not None:
        mean, std = (torch.from_numpy(moment).to(work.dtype).view(1, -1, 1, 1) for moment in moments)
        work.sub_(mean).div_(std)
    x = work.to(dtype)
    return x.flatten(1) if flatten else x
