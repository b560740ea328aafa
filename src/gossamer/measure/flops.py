"""RigL's formulas for the operations of a training step and the size of a sparse network."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gossamer.errors import ConfigError
from gossamer.registry import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterable

_STATIC = ("static", "set", "snip", "pruning")
_RIGL = ("rigl", "srigl")


def training_flops(method: str, f_s: float, f_d: float, every: int = 100) -> float:
    """Operations of one training step, averaged between updates; backward counts as two forward passes.

    Args:
        method: "dense", "static", "set", "snip", "pruning", "snfs", "rigl" or "srigl". For "pruning" give the
            mean of f_s over the steps: the density changes while it trains.
        f_s: float - forward operations of the sparse network.
        f_d: float - forward operations of the dense network.
        every: int - steps between topology updates.

    Returns:
        float - operations a step.

    Raises:
        ConfigError: unknown method, or every < 1.

    Cost: O(1).
    Source: RigL (Evci et al. 2020), section 4 and appendix H.

    Example:
        >>> training_flops("rigl", f_s=1.0, f_d=10.0, every=99), training_flops("dense", 1.0, 10.0)
        (3.09, 30.0)
    """
    if every < 1:
        raise ConfigError("training_flops", expected="every >= 1", got=str(every))
    if method == "dense":
        return 3 * f_d
    if method in _STATIC:
        return 3 * f_s
    if method == "snfs":
        return 2 * f_s + f_d
    if method in _RIGL:
        return (3 * f_s * every + 2 * f_s + f_d) / (every + 1)
    known = ("dense", *_STATIC, "snfs", *_RIGL)
    raise ConfigError(
        "training_flops",
        expected=f"one of {', '.join(known)}",
        got=repr(method),
        hint=did_you_mean(method, known),
    )


def size_bits(layers: Iterable[tuple[int, int]], biases: int = 0) -> int:
    """Bits of a network of float32 values and one bit a position of sparse layers: the papers' convention.

    Gossamer's own files hold index tensors instead of bit masks; `count` gives those.

    Args:
        layers: (connections, positions of the dense layer) of each.
        biases: int - biases and other dense parameters.

    Returns:
        int.

    Raises:
        ConfigError: a layer with more connections than positions.

    Cost: O(layers).
    Source: RigL's code, README sizes.

    Example:
        >>> size_bits([(10, 100), (50, 50)], biases=5)  # the second layer is dense and needs no mask
        2180
    """
    total = 32 * biases
    for connections, positions in layers:
        if not 0 <= connections <= positions:
            raise ConfigError("size_bits", expected=f"0 to {positions} connections", got=str(connections))
        total += 32 * connections + (positions if connections < positions else 0)
    return total
