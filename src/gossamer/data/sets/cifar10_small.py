"""A subset of CIFAR-10 for tests and quick looks, under a name of its own."""

from __future__ import annotations

from gossamer.data.formats import Spec
from gossamer.data.recipe import Recipe
from gossamer.data.registry import register
from gossamer.data.sets.cifar10 import CLASSES, LICENCE


@register
def cifar10_small() -> Recipe:
    """5000 + 1000 images of CIFAR-10 from a local ``cifar10-small.npz``; which ones is up to that file.

    Returns:
        Recipe - without a published checksum, so what it loads is never marked verified.

    Source: Krizhevsky, "Learning multiple layers of features from tiny images", 2009.

    Example:
        >>> cifar10_small().sha256 is None
        True
    """
    return Recipe(
        name="cifar10-small",
        spec=Spec(n_train=5000, n_test=1000, shape=(32, 32, 3), n_classes=10),
        classes=CLASSES,
        licence=LICENCE,
    )
