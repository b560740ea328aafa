"""Checksums, and the checks every set of arrays passes before it becomes a Dataset."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gossamer.data.formats.base import Arrays, Spec, damaged
from gossamer.errors import DataError


def sha256_of_arrays(arrays: Arrays) -> str:
    """Return the SHA-256 of the four arrays' bytes, in order: the same however the data set was stored.

    Args:
        arrays: Arrays of C-contiguous uint8 - x_train, y_train, x_test, y_test.

    Returns:
        str of 64 hex digits.

    Cost: O(size) time, no copy.

    Example:
        >>> empty = np.zeros(0, np.uint8)
        >>> sha256_of_arrays(Arrays(empty, empty, empty, empty))[:16]
        'e3b0c44298fc1c14'
    """
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(array.data if array.size else b"")
    return digest.hexdigest()


def checked(arrays: Arrays, spec: Spec, where: str) -> Arrays:
    """Check the four arrays against the sizes of their data set.

    Args:
        arrays: Arrays - as read from a file.
        spec: Spec - counts, sample shape and number of classes.
        where: str - the file, for errors.

    Returns:
        Arrays of uint8: samples ``[n, *spec.shape]``, labels ``[n]``, C-contiguous.

    Raises:
        FormatError: a wrong dtype, shape or length, or a label outside ``0 .. n_classes - 1``.

    Cost: O(labels) time; no copy of the samples.

    Example:
        >>> x, y = np.zeros((2, 3, 3), np.uint8), np.array([0, 1])
        >>> checked(Arrays(x, y, x, y), Spec(2, 2, (3, 3), 2), "demo").y_train
        array([0, 1], dtype=uint8)
    """
    return Arrays(
        _samples(arrays.x_train, (spec.n_train, *spec.shape), f"{where}, x_train"),
        _labels(arrays.y_train, spec.n_train, spec.n_classes, f"{where}, y_train"),
        _samples(arrays.x_test, (spec.n_test, *spec.shape), f"{where}, x_test"),
        _labels(arrays.y_test, spec.n_test, spec.n_classes, f"{where}, y_test"),
    )


def check_published(found: str, published: str, where: str) -> None:
    """Refuse arrays that are not the published data set, whatever the file is called.

    Args:
        found: str, 64 hex digits - `sha256_of_arrays` of what was read.
        published: str, 64 hex digits - the same of the published data set.
        where: str - the file, for the error.

    Raises:
        DataError: they differ.

    Example:
        >>> check_published("ab", "ab", "demo")
    """
    if found != published:
        raise DataError(
            f"reading {where}",
            expected=f"the published data set (sha256 of its arrays {published})",
            got=f"other values or another order (sha256 {found})",
            hint="replace the file, or register your variant under a name of its own",
        )


def _samples(x: NDArray[Any], shape: tuple[int, ...], where: str) -> NDArray[Any]:
    if x.dtype != np.uint8 or x.shape != shape:
        raise damaged(where, f"uint8 of shape {shape}", f"{x.dtype} of shape {x.shape}")
    return np.ascontiguousarray(x)


def _labels(y: NDArray[Any], n: int, n_classes: int, where: str) -> NDArray[Any]:
    if y.dtype.kind not in "iu" or y.shape != (n,):
        raise damaged(where, f"{n} integer labels of shape ({n},)", f"{y.dtype} of shape {y.shape}")
    low, high = int(y.min()), int(y.max())
    if low < 0 or high >= n_classes:
        raise damaged(where, f"labels 0 to {n_classes - 1}", f"labels {low} to {high}")
    return np.ascontiguousarray(y, dtype=np.uint8)
