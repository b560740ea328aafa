"""CIFAR-10: small colour photographs, the full set."""

from __future__ import annotations

from gossamer.data.formats import CifarArchive, CifarBinary, Npz, Spec
from gossamer.data.recipe import Recipe, Remote
from gossamer.data.registry import register

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
LICENCE = "no formal licence; cite Krizhevsky 2009"
_ARCHIVE = Remote(
    "cifar-10-binary.tar.gz",
    ("https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",),
    sha256="c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
    size=170052171,
)


@register
def cifar10() -> Recipe:
    """CIFAR-10: 50000 + 10000 colour images of 32x32x3, 10 classes; never the small subset.

    Returns:
        Recipe.

    Source: Krizhevsky, "Learning multiple layers of features from tiny images", 2009.

    Example:
        >>> cifar10().spec.shape
        (32, 32, 3)
    """
    return Recipe(
        name="cifar10",
        spec=Spec(n_train=50000, n_test=10000, shape=(32, 32, 3), n_classes=10),
        classes=CLASSES,
        licence=LICENCE,
        sha256="80387ddb9a0edf3fc4a964ee3770296169bb26a651050df20035579673099660",
        formats=(Npz(), CifarBinary(), CifarArchive(sha256=_ARCHIVE.sha256)),
        remotes=(_ARCHIVE,),
    )
