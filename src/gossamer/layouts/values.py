"""Values in fewer bits: bfloat16, or int8 with one scale for each neuron. Inputs stay float32 unless told."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np

from gossamer.errors import DtypeError, NonFiniteError
from gossamer.layouts.arrays import Array, cast, name_of

if TYPE_CHECKING:
    from gossamer.layouts.base import Encoded
    from gossamer.layouts.connections import Connections

EXACT: Final = "exact"
ACTIVATIONS: Final = (EXACT, "int8")  # how a layer may read its inputs
NARROW: Final = ("bfloat16", "int8")
SCALE_ENTRY: Final = 80  # bytes of a file that name one more tensor
LARGEST: Final = 127  # of an int8 value; -128 stays unused, so that the range is symmetric


def narrowed(connections: Connections, to: str) -> Connections:
    """The same connections with values of fewer bits.

    Args:
        connections: Connections - float32.
        to: "bfloat16" rounds to 8 significant bits; "int8" to 255 steps between minus and plus the largest weight
            of each neuron.

    Returns:
        Connections - it reads float32.

    Raises:
        DtypeError: values of another type than float32.
        NonFiniteError: int8 of a neuron that has an infinity or NaN among its weights.

    Cost: O(connections).

    Source: Jacob et al. 2018, symmetric quantization per channel.

    Example:
        >>> from gossamer.layouts.connections import Connections
        >>> c = narrowed(Connections((1, 3), np.array([0, 2]), np.array([-2.54, 0.6], np.float32)), "int8")
        >>> c.values.tolist(), [round(w, 4) for w in c.wide().values.tolist()]
        ([-127, 30], [-2.54, 0.6])
    """
    if name_of(connections.values) != "float32":
        raise DtypeError("freeze(values=)", expected="a float32 layer", got=name_of(connections.values))
    if to == "bfloat16":
        return replace(connections, values=cast(connections.values, to), reads="float32")
    rows = connections.rows
    largest = np.zeros(connections.shape[0], np.float32)
    with np.errstate(invalid="ignore"):  # NaN is refused below
        np.maximum.at(largest, rows, np.abs(connections.values))
    scale = largest / np.float32(LARGEST)
    if not bool(np.isfinite(scale).all()):
        raise NonFiniteError("freeze(values='int8')", expected="finite weights", got="an infinity or NaN")
    scale = np.where(scale > 0, scale, np.float32(1))
    steps = np.rint(connections.values / scale[rows]).clip(-LARGEST, LARGEST)
    return replace(connections, values=steps.astype(np.int8), scale=scale, reads="float32")


def fitting(connections: Connections, to: str) -> str:
    """The type of values in which a layer takes the fewest bytes: int8, unless bfloat16 without scales is as small.

    Args:
        connections: Connections.
        to: "bfloat16" or "int8" - the fewest bits wanted.

    Returns:
        "bfloat16" or "int8".

    Example:
        >>> from gossamer.layouts.connections import Connections
        >>> few, many = (Connections((1, n), np.arange(n), np.ones(n)) for n in (3, 300))
        >>> fitting(few, "int8"), fitting(many, "int8")
        ('bfloat16', 'int8')
    """
    scales = 4 * connections.shape[0] + SCALE_ENTRY
    return "bfloat16" if connections.positions.size <= scales else to


def widened(values: Array, rows: Array, scale: Array | None, dtype: str) -> Array:
    """[n], what stored values weigh: value i belongs to neuron ``rows[i]``."""
    wide = cast(values, dtype)
    with np.errstate(over="ignore"):  # a scale of a file may be of any size
        return wide if scale is None else wide * scale[rows]


def narrow_name(encoded: Encoded) -> str | None:
    """The type of values that are narrower than what the layer reads, by name; else None."""
    return None if encoded.reads is None else name_of(encoded.values)
