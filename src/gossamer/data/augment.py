"""Training images moved and mirrored at random, the same for the same step: a resumed run sees them again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gossamer.errors import ConfigError, ShapeError

if TYPE_CHECKING:
    import torch


def step_generator(seed: int, step: int, part: int = 0) -> torch.Generator:
    """Return the random generator of one batch: a function of (seed, step, part) and of nothing that happened before.

    Args:
        seed: int - the run's seed, at least 0.
        step: int - steps already done, at least 0.
        part: int - the part of the data, where several workers have one each.

    Returns:
        torch.Generator on the CPU, fresh; it shares nothing with those of ``epoch_generator``.

    Raises:
        ConfigError: a negative number.

    Cost: microseconds.

    Example:
        >>> import torch
        >>> a, b = (torch.rand(3, generator=step_generator(0, 7)) for _ in range(2))
        >>> torch.equal(a, b)
        True
    """
    import torch

    if seed < 0 or step < 0 or part < 0:
        raise ConfigError(
            "step_generator", expected="seed, step and part >= 0", got=f"{seed}, {step} and {part}"
        )
    mixed = np.random.SeedSequence([seed, part, step, 1]).generate_state(1, np.uint32)[0]
    return torch.Generator().manual_seed(int(mixed))


def crop_and_flip(images: torch.Tensor, padding: int, generator: torch.Generator) -> torch.Tensor:
    """Cut every image anew out of itself with a border of zeros, and mirror every second one, at random.

    Args:
        images: ``[n, c, h, w]``, any dtype, on the CPU - standardized, so that zero is the mean.
        padding: int, pixels - of the border; at least 0.
        generator: torch.Generator on the CPU.

    Returns:
        ``[n, c, h, w]``, contiguous, new memory.

    Raises:
        ShapeError: not a batch of images. ConfigError: a negative padding.

    Cost: two copies of the batch.

    Source: He et al., CVPR 2016, section 4.2: padding 4 for CIFAR-10.

    Example:
        >>> import torch
        >>> moved = crop_and_flip(torch.ones(2, 3, 8, 8), 4, step_generator(0, 0))
        >>> moved.shape, float(moved.max())
        (torch.Size([2, 3, 8, 8]), 1.0)
    """
    import torch
    from torch.nn import functional as F

    if images.ndim != 4:
        raise ShapeError("crop_and_flip", expected="images [n, c, h, w]", got=f"{tuple(images.shape)}")
    if padding < 0:
        raise ConfigError("crop_and_flip", expected="a padding >= 0", got=str(padding))
    n, _, height, width = images.shape
    top, left = torch.randint(0, 2 * padding + 1, (2, n), generator=generator)
    mirrored = torch.randint(0, 2, (n,), generator=generator, dtype=torch.bool)
    places = F.pad(images, (padding,) * 4).unfold(2, height, 1).unfold(3, width, 1)
    cut = places[torch.arange(n), :, top, left]
    return torch.where(mirrored.view(n, 1, 1, 1), cut.flip(3), cut)
