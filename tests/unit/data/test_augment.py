"""Random crops and mirror images: every result is one of those that can be, and a function of the step."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from gossamer.data import crop_and_flip, step_generator
from gossamer.errors import ConfigError, ShapeError


def test_every_image_is_a_window_of_itself_with_a_border_maybe_mirrored() -> None:
    """Against all windows written out; the drawn ones differ, and both mirrorings occur."""
    images = torch.randn(40, 2, 5, 6, generator=torch.Generator().manual_seed(0))
    moved = crop_and_flip(images, 2, step_generator(3, 11))
    seen = set()
    for image, result in zip(F.pad(images, (2, 2, 2, 2)), moved, strict=True):
        windows = {
            (dy, dx, mirrored): part.flip(2) if mirrored else part
            for dy in range(5)
            for dx in range(5)
            for mirrored in (False, True)
            for part in [image[:, dy : dy + 5, dx : dx + 6]]
        }
        (found,) = [place for place, window in windows.items() if torch.equal(window, result)]
        seen.add(found)
    assert {mirrored for *_, mirrored in seen} == {False, True}
    assert len({place[:2] for place in seen}) > 10


def test_the_step_alone_decides() -> None:
    """Same seed, step and part: same bits; another of any: others."""
    images = torch.randn(16, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    first = crop_and_flip(images, 4, step_generator(0, 5))
    assert torch.equal(first, crop_and_flip(images, 4, step_generator(0, 5)))
    for other in ((1, 5, 0), (0, 6, 0), (0, 5, 1)):
        assert not torch.equal(first, crop_and_flip(images, 4, step_generator(*other)))


def test_wrong_arguments_are_named() -> None:
    """Flat samples and negative numbers."""
    with pytest.raises(ShapeError, match=r"images \[n, c, h, w\], got \(2, 12\)"):
        crop_and_flip(torch.zeros(2, 12), 4, step_generator(0, 0))
    with pytest.raises(ConfigError, match="a padding >= 0, got -1"):
        crop_and_flip(torch.zeros(1, 1, 2, 2), -1, step_generator(0, 0))
    with pytest.raises(ConfigError, match="seed, step and part >= 0"):
        step_generator(0, -1)
