"""FashionMNIST: articles of clothing, a drop-in for MNIST that is harder."""

from __future__ import annotations

from gossamer.data.formats import Idx, Npz, Spec
from gossamer.data.recipe import Recipe, Remote
from gossamer.data.registry import register

_MIRRORS = (
    "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",
    "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
)
_FILES = (
    (
        "train-images-idx3-ubyte.gz",
        26421880,
        "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
    ),
    ("train-labels-idx1-ubyte.gz", 29515, "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845"),
    (
        "t10k-images-idx3-ubyte.gz",
        4422102,
        "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
    ),
    ("t10k-labels-idx1-ubyte.gz", 5148, "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5"),
)


@register
def fashion_mnist() -> Recipe:
    """FashionMNIST: 60000 + 10000 grey images of 28x28, 10 kinds of clothing.

    Returns:
        Recipe.

    Source: Xiao, Rasul, Vollgraf, "Fashion-MNIST", arXiv:1708.07747. Debian packages it as dataset-fashion-mnist.

    Example:
        >>> fashion_mnist().classes[9]
        'ankle boot'
    """
    return Recipe(
        name="fashion-mnist",
        spec=Spec(n_train=60000, n_test=10000, shape=(28, 28), n_classes=10),
        classes=(
            "T-shirt/top",
            "trouser",
            "pullover",
            "dress",
            "coat",
            "sandal",
            "shirt",
            "sneaker",
            "bag",
            "ankle boot",
        ),
        licence="MIT, Zalando SE",
        sha256="ca3ab2a37f845e1b8ae23cab1b51749a3011ba3bf1d9016176d75cbaabac376f",
        formats=(Npz(), Idx()),
        system=("/usr/share/datasets/fashion-mnist",),
        remotes=tuple(
            Remote(name, tuple(mirror + name for mirror in _MIRRORS), sha256, size)
            for name, size, sha256 in _FILES
        ),
    )
