"""Values in fewer bits: bfloat16, or whole numbers with a scale for each neuron. Inputs stay float32 unless told."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np

from gossamer.errors import DtypeError, NonFiniteError
from gossamer.layouts.arrays import Array, cast, name_of
from gossamer.layouts.bits import fewest
from gossamer.layouts.rounding import ROUNDINGS

if TYPE_CHECKING:
    from gossamer.layouts.base import Encoded
    from gossamer.layouts.connections import Connections

EXACT: Final = "exact"
BFLOAT16: Final = "bfloat16"
FLOAT32: Final = "float32"
ROUNDED: Final = (BFLOAT16, "float16")  # arithmetic whose weights are rounded when they are made ready to run
COMPUTE: Final = (FLOAT32, *ROUNDED, "int8")  # what layers may compute in; the first is what all may
NARROW: Final = (BFLOAT16, *ROUNDINGS)
LARGEST_HALF: Final = 65504  # of float16
PACKED: Final = {"int1": 1, "int2": 2, "int4": 4}  # types of values in files: bits
SCALE_ENTRY: Final = 80  # bytes of a file that name one more tensor


def narrowed(connections: Connections, to: str) -> Connections:
    """The same connections with values of fewer bits.

    Args:
        connections: Connections - float32.
        to: "bfloat16" rounds to 8 significant bits; "int8" and "int4" to 255 and 15 steps between minus and plus the
            largest weight of each neuron; "ternary" keeps the signs of weights above 0.7 of the neuron's mean
            and makes 0 of the others; "binary" keeps all signs. A weight of 0 stays 0.

    Returns:
        Connections - it reads float32.

    Raises:
        DtypeError: values of another type than float32.
        NonFiniteError: a neuron that has an infinity or NaN among its weights, but for bfloat16.

    Cost: O(connections).

    Source: Jacob et al. 2018, symmetric quantization per channel; Li et al. 2016 (ternary); Rastegari et al. 2016
    (binary).

    Example:
        >>> from gossamer.layouts.connections import Connections
        >>> c = narrowed(Connections((1, 3), np.array([0, 2]), np.array([-2.54, 0.6], np.float32)), "int8")
        >>> c.values.tolist(), [round(w, 4) for w in c.wide().values.tolist()]
        ([-127, 30], [-2.54, 0.6])
    """
    if name_of(connections.values) != "float32":
        raise DtypeError("freeze(values=)", expected="a float32 layer", got=name_of(connections.values))
    if to == BFLOAT16:
        return replace(connections, values=cast(connections.values, to), reads="float32")
    if not bool(np.isfinite(connections.values).all()):
        raise NonFiniteError(f"freeze(values={to!r})", expected="finite weights", got="an infinity or NaN")
    codes, scale = ROUNDINGS[to].round(connections.values, connections.rows, connections.shape[0])
    return replace(connections, values=codes, scale=scale, reads="float32")


def rounded(connections: Connections, to: str) -> Connections:
    """The same connections with the weights that arithmetic of 16 bits multiplies; nothing of this is stored.

    Args:
        connections: Connections - it reads float32; values of any type.
        to: "bfloat16" or "float16": halves to even, to an infinity where a weight is too large.

    Returns:
        Connections - it reads float32, without scales.

    Cost: O(connections).

    Example:
        >>> from gossamer.layouts.connections import Connections
        >>> c = Connections((1, 3), np.array([0, 2]), np.array([2.0001, 1e6], np.float32))
        >>> rounded(c, "float16").values.tolist()
        [2.0, inf]
    """
    with np.errstate(over="ignore"):
        values = cast(connections.wide().values, to)
    return replace(connections, values=values, scale=None, reads=FLOAT32)


def fitting(connections: Connections, to: str) -> str:
    """The type of values in which a layer takes the fewest bytes: that wanted, or bfloat16, which has no scales.

    Args:
        connections: Connections.
        to: str - of ``NARROW``: the fewest bits wanted.

    Returns:
        "bfloat16" or ``to``.

    Example:
        >>> from gossamer.layouts.connections import Connections
        >>> few, many = (Connections((1, n), np.arange(n), np.ones(n)) for n in (3, 300))
        >>> fitting(few, "int8"), fitting(many, "int8"), fitting(few, "binary")
        ('bfloat16', 'int8', 'bfloat16')
    """
    return lightest(connections.positions.size, connections.shape[0], to)


def lightest(stored: int, neurons: int, to: str) -> str:
    """The same for a number of stored values.

    Example:
        >>> lightest(3, 1, "int8"), lightest(300, 1, "int8"), lightest(300, 1, "bfloat16")
        ('bfloat16', 'int8', 'bfloat16')
    """
    if to == BFLOAT16:
        return to
    scales, saved = 4 * neurons + SCALE_ENTRY, 16 - ROUNDINGS[to].bits
    return BFLOAT16 if stored * saved <= 8 * scales else to


def widened(values: Array, rows: Array, scale: Array | None, dtype: str) -> Array:
    """[n], what stored values weigh: value i belongs to neuron ``rows[i]``."""
    wide = cast(values, dtype)
    with np.errstate(over="ignore"):  # a scale of a file may be of any size
        return wide if scale is None else wide * scale[rows]


def narrow_name(encoded: Encoded) -> str | None:
    """The type of values in a file that are narrower than what the layer reads, by name; else None."""
    if encoded.reads is None:
        return None
    bits = fewest(encoded.values)
    return next((name for name, each in PACKED.items() if each == bits), name_of(encoded.values))
