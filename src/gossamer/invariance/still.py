"""Values that do not move with an image: are they the same at all pixels, where no example tells their shapes?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from gossamer.invariance.calls import OVER, SIZES, argument, takes, word

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import fx

NUMBER: Final = "number"  # of Python, such as a size
ALIKE: Final = "alike"  # a tensor of one number for all pixels
OWN: Final = "own"  # a tensor that may have numbers of their own for each pixel
SHAPED: Final = frozenset(("view", "reshape"))


def one_pixel(shape: tuple[int, ...]) -> bool:
    """Whether a tensor of this shape, added to images, is the same at all pixels.

    Example:
        >>> one_pixel((8, 1, 1)), one_pixel(()), one_pixel((8,))
        (True, True, False)
    """
    return all(size == 1 for size in shape[-2:])


def kind_of(node: fx.Node, kinds: Mapping[fx.Node, str]) -> str:
    """NUMBER, ALIKE or OWN, for a value that is computed and does not move.

    Args:
        node: fx.Node - no placeholder, and no tensor that the model holds.
        kinds: of all values before it that do not move.
    """
    read, name = [kinds[each] for each in node.all_input_nodes if each in kinds], word(node)
    if len(read) < len(node.all_input_nodes):  # straight from an image: pooled over all pixels, or a size
        return NUMBER if name in SIZES or name == "getattr" else ALIKE
    if (shaped := _shaped(node, name)) is not None:
        return ALIKE if shaped else OWN
    if OWN not in read and (ALIKE in read or not _makes_tensors(node)):
        return ALIKE if ALIKE in read else NUMBER
    return OWN


def _shaped(node: fx.Node, name: str) -> bool | None:
    """Whether a call leaves one pixel; None where it does not say."""
    if name in OVER and argument(node, 1, "dim", "axis") is None:
        return True
    if takes(node):
        index: Any = node.args[1]
        return True if isinstance(index, tuple) and index[-2:] == (None, None) else None
    if name in SHAPED:
        sizes: Any = node.args[1] if isinstance(node.args[1], (tuple, list)) else node.args[1:]
        return tuple(sizes[-2:]) == (1, 1) if len(sizes) > 2 else None
    return None


def _makes_tensors(node: fx.Node) -> bool:
    """Whether it gives tensors though it reads numbers alone: a function of torch, or a module."""
    home = (getattr(node.target, "__module__", None) or "torch").partition(".")[0]
    return node.op == "call_module" or (node.op == "call_function" and home == "torch")
