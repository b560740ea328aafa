"""Batches of image files, decoded ahead of the training by several threads: Pillow decodes outside of Python's lock."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from math import isqrt
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gossamer.data.batches import batches, epoch_generator, part_of
from gossamer.data.decode import LARGEST, pillow, training_pixels, validation_pixels
from gossamer.data.folder import ImageFolder
from gossamer.errors import ConfigError

if TYPE_CHECKING:
    import torch

MEAN, STD = (
    (0.485, 0.456, 0.406),
    (0.229, 0.224, 0.225),
)  # of ImageNet, for every folder, as trained networks expect
AHEAD = 2  # batches being decoded while one is used
LARGEST_SIDE = isqrt(LARGEST)  # pixels; no image that is read has more


def training_images(
    folder: ImageFolder,
    size: int,
    batch: int,
    *,
    seed: int,
    epoch: int,
    start: int = 0,
    part: int = 0,
    parts: int = 1,
    augment: bool = True,
    readers: int = 0,
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Iterate once over the images of a folder in a random order, which the arguments decide, but for `readers`.

    Args:
        folder: ImageFolder.
        size: int, pixels - of a side of an image.
        batch: int - images in a batch.
        seed: int - decides order and crops, at least 0.
        epoch: int - does so too.
        start: int - batches to skip: those of a run that is resumed are the same.
        part: int - which of several workers this is, from 0.
        parts: int - workers; each has every `parts`-th image, and the last ``n % parts`` are in none.
        augment: bool - random crops and mirror images; False: the middle of each image.
        readers: int - threads that decode; 0: none but this one.

    Returns:
        Iterator of (images [n, 3, size, size], float32, standardized with ImageNet's mean and deviation; labels [n]).

    Raises:
        DataError: a file that cannot be read, named. MissingPackage: no Pillow. ConfigError: no such part, or a size,
            batch, start, seed, epoch or number of readers out of range.

    Cost: decoding; memory of three batches.
    """
    import torch

    _check("training_images", size, readers)
    mine = part_of(len(folder.files), part, parts)
    own = torch.arange(mine.stop - mine.start) * parts + part
    order = epoch_generator(seed, epoch, part)
    picks = [pick.tolist() for pick, _ in batches(own, own, batch, order, start=start)]

    def read(number: int) -> NDArray[np.uint8]:
        path = folder.root / folder.files[number]
        if not augment:
            return validation_pixels(path, size)
        return training_pixels(path, size, np.random.default_rng([seed, epoch, number]))

    return _read(folder, picks, read, readers)


def validation_images(
    folder: ImageFolder, size: int, batch: int, readers: int = 0
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Iterate once over the images of a folder in stored order, the middle of each.

    Args:
        folder: ImageFolder.
        size: int, pixels - of a side of an image.
        batch: int - images in a batch.
        readers: int - threads that decode; 0: none but this one.

    Returns:
        Iterator of (images, labels), as ``training_images``.

    Raises:
        DataError, MissingPackage, ConfigError: as ``training_images``.

    Cost: as ``training_images``.
    """
    import torch

    _check("validation_images", size, readers)
    numbers = torch.arange(len(folder.files))
    picks = [pick.tolist() for pick, _ in batches(numbers, numbers, batch, shuffle=False)]

    def read(number: int) -> NDArray[np.uint8]:
        return validation_pixels(folder.root / folder.files[number], size)

    return _read(folder, picks, read, readers)


def _check(operation: str, size: int, readers: int) -> None:
    """Refuse images without pixels, or with more than any image has; raises ConfigError."""
    if not (isinstance(size, int) and 0 < size <= LARGEST_SIDE) or readers < 0:
        expected = f"a whole size from 1 to {LARGEST_SIDE} pixels, and readers >= 0"
        raise ConfigError(operation, expected=expected, got=f"{size} and {readers}")


def _read(
    folder: ImageFolder, picks: Sequence[Sequence[int]], read: Any, readers: int
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Read in order, a few batches ahead of what is asked for."""
    pillow()  # where it is missing, one sentence and no thread
    if not readers:
        yield from (_tensors(folder, pick, map(read, pick)) for pick in picks)
        return
    pool = ThreadPoolExecutor(readers, thread_name_prefix="images")
    try:
        ahead: deque[Any] = deque()
        for pick in picks:
            ahead.append((pick, [pool.submit(read, number) for number in pick]))
            if len(ahead) > AHEAD:
                yield _finished(folder, *ahead.popleft())
        while ahead:
            yield _finished(folder, *ahead.popleft())
    finally:
        pool.shutdown(cancel_futures=True)


def _finished(folder: ImageFolder, pick: Sequence[int], futures: Any) -> tuple[torch.Tensor, torch.Tensor]:
    return _tensors(folder, pick, (future.result() for future in futures))


def _tensors(
    folder: ImageFolder, pick: Sequence[int], images: Iterator[NDArray[np.uint8]]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Channels first, standardized."""
    import torch

    pixels = torch.from_numpy(np.stack(list(images)).transpose(0, 3, 1, 2).copy()).float()
    mean, std = (torch.tensor(values).view(3, 1, 1) * 255 for values in (MEAN, STD))
    return pixels.sub_(mean).div_(std), torch.tensor([folder.labels[number] for number in pick])
