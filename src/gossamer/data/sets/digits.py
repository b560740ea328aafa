"""scikit-learn's digits: the data set that is always at hand."""

from __future__ import annotations

import importlib

import numpy as np

from gossamer.data.formats import Arrays, Spec
from gossamer.data.recipe import Embedded, Recipe
from gossamer.data.registry import register
from gossamer.errors import DataError


def _read() -> Arrays:
    try:
        datasets = importlib.import_module("sklearn.datasets")
    except ModuleNotFoundError as error:
        raise DataError(
            "digits",
            expected="scikit-learn, which carries them",
            got=str(error),
            hint="pip install scikit-learn",
        ) from error
    bunch = datasets.load_digits()
    x, y = bunch.images.astype(np.uint8), bunch.target.astype(np.uint8)
    test = np.zeros(len(y), bool)
    for label in range(10):
        test[np.flatnonzero(y == label)[4::5]] = True
    return Arrays(x[~test], y[~test], x[test], y[test])


@register
def digits() -> Recipe:
    """1442 + 355 grey images of 8x8 with values 0 .. 16, 10 digits; scikit-learn carries them.

    The set has no official split. Here every fifth image of each class, in stored order, is a test image: balanced, the
    same everywhere, and without a random number. Writers therefore appear in both parts.

    Returns:
        Recipe.

    Source: Alpaydin, Kaynak, "Optical Recognition of Handwritten Digits", UCI, 1998 (its test part), CC BY 4.0.

    Example:
        >>> digits().spec.shape
        (8, 8)
    """
    return Recipe(
        name="digits",
        spec=Spec(n_train=1442, n_test=355, shape=(8, 8), n_classes=10),
        classes=tuple("0123456789"),
        licence="CC BY 4.0, Alpaydin and Kaynak",
        sha256="eb16a5b9fcc31197ecd8be8456b687084ffc10eb4cc2efbd406de3cc793713c8",
        formats=(),
        embedded=Embedded("scikit-learn, sklearn.datasets.load_digits", _read),
    )
