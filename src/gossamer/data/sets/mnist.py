"""MNIST: handwritten digits."""

from __future__ import annotations

from gossamer.data.formats import Idx, Npz, Spec
from gossamer.data.recipe import Recipe, Remote
from gossamer.data.registry import register

_MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)
_FILES = (
    (
        "train-images-idx3-ubyte.gz",
        9912422,
        "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
    ),
    ("train-labels-idx1-ubyte.gz", 28881, "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c"),
    (
        "t10k-images-idx3-ubyte.gz",
        1648877,
        "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
    ),
    ("t10k-labels-idx1-ubyte.gz", 4542, "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6"),
)


@register
def mnist() -> Recipe:
    """MNIST: 60000 + 10000 grey images of 28x28, 10 digits.

    Returns:
        Recipe.

    Source: LeCun, Bottou, Bengio, Haffner, "Gradient-based learning applied to document recognition", 1998.

    Example:
        >>> mnist().spec.n_train
        60000
    """
    return Recipe(
        name="mnist",
        spec=Spec(n_train=60000, n_test=10000, shape=(28, 28), n_classes=10),
        classes=tuple("0123456789"),
        licence="LeCun and Cortes; usually given as CC BY-SA 3.0",
        sha256="06b0d1f124c4e5fa796686ade41a9b778edacc8622f2195a352ef479ad44fc16",
        formats=(Npz(), Idx()),
        system=("/usr/share/datasets/mnist",),
        remotes=tuple(
            Remote(name, tuple(mirror + name for mirror in _MIRRORS), sha256, size)
            for name, size, sha256 in _FILES
        ),
    )
