"""One image file as pixels: checked, decoded by Pillow, cut to a square."""

from __future__ import annotations

import importlib
from functools import cache
from math import exp, log, sqrt
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gossamer.errors import DataError, MissingPackage

LARGEST = 1 << 26  # pixels of one image, 67 million; decoded they take four bytes each
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "TIFF", "WEBP")  # Pillow reads more, some of them by other programs
EIGHT_BITS = ("1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "CMYK", "YCbCr")
SIXTEEN_BITS = ("I;16", "I;16L", "I;16B", "I;16N")
AREA, SHAPE = (0.08, 1.0), (3 / 4, 4 / 3)  # of a random crop: share of the image, width by height
TRIES = 10
DAMAGED = (  # what Pillow raises for files that are; a warning where the caller makes errors of warnings
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    MemoryError,
    ArithmeticError,
    LookupError,
    TypeError,
    UserWarning,
)

Box = tuple[float, float, float, float]


@cache
def pillow() -> Any:
    """Pillow's module ``Image``; raises MissingPackage with the extra that brings it."""
    try:
        return importlib.import_module("PIL.Image")
    except ModuleNotFoundError as error:
        raise MissingPackage(
            "images in folders", expected="Pillow", got=str(error), hint="pip install 'gossamer[images]'"
        ) from error


def training_pixels(path: Path, size: int, draw: np.random.Generator) -> NDArray[np.uint8]:
    """A random part of an image, resized to a square, and mirrored half of the time.

    Args:
        path: Path - the file.
        size: int, pixels - of a side of the result.
        draw: numpy Generator - decides the part.

    Returns:
        ``[size, size, 3]``, uint8, red green blue; see ``decoded`` for what becomes of other kinds of colour.

    Raises:
        DataError: as ``decoded``.

    Cost: decoding the whole image.

    Source: Szegedy et al., CVPR 2015: 8 to 100 % of the area, width by height from 3/4 to 4/3; as torchvision draws it.
    """
    with decoded(path) as image:
        box = random_box(image.width, image.height, draw)
        pixels = np.asarray(image.resize((size, size), pillow().Resampling.BILINEAR, box=box))
    return pixels[:, ::-1] if draw.random() < 0.5 else pixels


def validation_pixels(path: Path, size: int) -> NDArray[np.uint8]:
    """The middle of an image: 7/8 of its shorter side, resized to a square; arguments as ``training_pixels``.

    For a size of 224 that is the usual way: the shorter side to 256, and the middle 224 x 224 of it.
    """
    with decoded(path) as image:
        width, height = image.size
        side = min(width, height) * 7 / 8
        left, top = (width - side) / 2, (height - side) / 2
        box = (left, top, left + side, top + side)
        return np.asarray(image.resize((size, size), pillow().Resampling.BILINEAR, box=box))


def decoded(path: Path) -> Any:
    """A file as a Pillow image in red, green and blue, its first frame if there are several.

    Grey becomes three equal channels, 16 bits become the upper 8, palettes and CMYK are converted, and transparency is
    dropped.

    Args:
        path: Path.

    Returns:
        PIL.Image.Image - a context manager.

    Raises:
        DataError: no image of a known format, truncated or damaged, more than 67 million pixels, or a kind of pixel
            that has no one way to 8 bits. MissingPackage: no Pillow.

    Cost: decoding; size and kind are checked before.
    """
    opened = pillow()
    bombs = (opened.DecompressionBombError, opened.DecompressionBombWarning)
    try:
        with opened.open(path, formats=FORMATS) as image:
            width, height = image.size
            if width * height > LARGEST:
                raise _refused(path, f"at most {LARGEST} pixels", f"{width} x {height}")
            if image.mode not in (*EIGHT_BITS, *SIXTEEN_BITS):
                raise _refused(path, "pixels of 1, 8 or 16 bits", f"the mode {image.mode!r}")
            return _rgb(image)
    except bombs as error:
        raise _refused(path, f"at most {LARGEST} pixels", str(error)) from None
    except opened.UnidentifiedImageError:
        raise _refused(path, f"an image, {', '.join(FORMATS)}", "something else") from None
    except DAMAGED as error:
        raise _refused(path, "a whole image", f"{type(error).__name__}: {error}"[:200]) from None


def random_box(width: int, height: int, draw: np.random.Generator) -> Box:
    """Left, top, right and bottom of a random part of an image; the middle where ten tries did not fit.

    Example:
        >>> random_box(100, 1000, np.random.default_rng(0))[2] <= 100
        True
    """
    for _ in range(TRIES):
        area = width * height * draw.uniform(*AREA)
        ratio = exp(draw.uniform(log(SHAPE[0]), log(SHAPE[1])))
        wide, high = round(sqrt(area * ratio)), round(sqrt(area / ratio))
        if 0 < wide <= width and 0 < high <= height:
            left, top = (int(draw.integers(room, endpoint=True)) for room in (width - wide, height - high))
            return left, top, left + wide, top + high
    wide = min(width, round(height * SHAPE[1]))
    high = min(height, round(width / SHAPE[0]))
    left, top = (width - wide) // 2, (height - high) // 2
    return left, top, left + wide, top + high


def _rgb(image: Any) -> Any:
    """Converted, which decodes it."""
    if image.mode in SIXTEEN_BITS:
        upper = (np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8)
        return pillow().fromarray(upper).convert("RGB")
    if image.mode in ("P", "PA"):
        return image.convert("RGBA").convert("RGB")
    return image.convert("RGB")


def _refused(path: Path, expected: str, got: str) -> DataError:
    return DataError(f"image {path}", expected=expected, got=got, hint="mend or remove the file")
